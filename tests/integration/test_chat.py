"""One chat request's way: client → router → upstream → spool → Kafka → ledger."""
import json

import httpx

from mesh import until


def test_plain_answer_reaches_the_ledger(mesh):
    before = mesh.verify()["transactions"]
    response = mesh.chat("What is a tollgate?", task_type="chat")
    assert response.status_code == 200, response.text
    body, route = response.json(), mesh.routing(response)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] in ("stop", "length")
    assert route["target"] == "anthropic-claude-haiku" and route["rule"] == "general-to-haiku"
    mesh.settled(before + 1)
    event_id = f"{route['request']}/1"
    event, = mesh.events()[event_id]
    log = mesh.served()[event_id]
    assert event["outcome"] == "ok" and event["tenant"] == "acme"
    assert (event["input_tokens"], event["output_tokens"]) == (log["input_tokens"], log["output_tokens"])
    assert event["input_tokens"] == body["usage"]["prompt_tokens"]
    assert event["output_tokens"] == body["usage"]["completion_tokens"]
    # Claude 3 Haiku: 0.25 and 1.25 dollars per million tokens.
    assert event["cost_picousd"] == 250_000 * event["input_tokens"] + 1_250_000 * event["output_tokens"]
    assert float(route["cost_usd"]) * 1e12 == event["cost_picousd"]


def test_stream_is_what_the_sdk_expects(mesh):
    response = mesh.chat("Stream please.", stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(line[6:]) for line in response.text.splitlines()
              if line.startswith("data: ") and line != "data: [DONE]"]
    assert response.text.rstrip().endswith("data: [DONE]")
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks), "a usage chunk reached a client that did not ask for it"
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"]
    assert mesh.routing(response)["cost_usd"]


def test_private_tier_answers_for_real(mesh):
    response = mesh.chat("Is the sky blue? Answer yes or no.", task_type="classification", max_tokens=8)
    assert response.status_code == 200, response.text
    assert mesh.routing(response)["target"] == "private-gpu-llama-70b"
    assert response.json()["usage"]["completion_tokens"] > 0
    event, = until("the event", lambda: mesh.events().get(f"{mesh.routing(response)['request']}/1"))
    checked = mesh.metric("router", "tollgate_estimate_checked_tokens_total", 'target="private-gpu-llama-70b"')
    assert checked >= response.json()["usage"]["prompt_tokens"], "the guess was held against what was reported"
    assert event["price_assumed"] and event["gpu_ns"] > 0 and event["numerics"]


def test_anthropic_clients(mesh):
    body = {"model": "auto", "max_tokens": 24, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"x-api-key": mesh.key("globex"), "anthropic-version": "2023-06-01"}
    for task_type, target in (("chat", "anthropic-claude-haiku"), ("classification", "private-gpu-llama-70b")):
        response = httpx.post(f"{mesh.url}/v1/messages", json=body, timeout=60,
                              headers=headers | {"X-Task-Type": task_type})
        assert response.status_code == 200, response.text
        assert response.json()["type"] == "message" and response.json()["content"][0]["text"]
        assert mesh.routing(response)["target"] == target


def test_every_managed_target_by_pin(mesh):
    """Each provider's dialect, plain and streamed, from both client dialects."""
    for target in ("openai-gpt4o-mini", "anthropic-claude-35-sonnet", "bedrock-llama-3-70b"):
        for stream in (False, True):
            response = mesh.chat("Pinned.", model=target, stream=stream)
            assert response.status_code == 200, f"{target} stream={stream}: {response.text}"
            assert mesh.routing(response)["target"] == target
            anthropic = httpx.post(
                f"{mesh.url}/v1/messages", timeout=60, headers={"x-api-key": mesh.key()},
                json={"model": target, "max_tokens": 16, "stream": stream,
                      "messages": [{"role": "user", "content": "Pinned."}]})
            assert anthropic.status_code == 200, anthropic.text
            if stream:
                assert "event: message_stop" in anthropic.text


def test_models_and_route(mesh):
    models = httpx.get(f"{mesh.url}/v1/models", headers=mesh.headers()).json()
    assert {"auto", "openai-gpt4o-mini"} <= {m["id"] for m in models["data"]}
    body = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
    plan = httpx.post(f"{mesh.url}/v1/route", json=body, headers=mesh.headers(task_type="summarization")).json()
    assert [step["target"] for step in plan["steps"]] == ["anthropic-claude-haiku", "openai-gpt4o-mini"]
    assert plan["rule"] == "general-to-haiku" and plan["trace"]
