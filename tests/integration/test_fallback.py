"""What happens when a place fails: fallback, timeouts, circuits, the private tier gone."""
import time

import httpx
import pytest

from mesh import until


@pytest.mark.parametrize("fault", [{"status": 529}, {"status": 503}, {"status": 500},
                                   {"status": 429, "reset_s": 7}])
def test_falls_back_unseen(own_mesh_once, fault):
    mesh = own_mesh_once
    mesh.fault("anthropic", fault, count=1)
    for stream in (False, True):
        response = mesh.chat("Hi", task_type="chat", stream=stream)
        assert response.status_code == 200, response.text
        route = mesh.routing(response)
        if not stream:
            assert route["target"] == "openai-gpt4o-mini" and route["attempt"] == "2", route
    until("the failed attempt's event", lambda: mesh.events().get(f"{route['request']}/1"))


def test_cut_stream_is_an_error_not_a_clean_end(own_mesh_once):
    mesh = own_mesh_once
    mesh.fault("openai", {"cut_at_byte": 700}, count=1)
    text = ""
    with pytest.raises(httpx.HTTPError):
        with httpx.stream("POST", f"{mesh.url}/v1/chat/completions", timeout=30, headers=mesh.headers(),
                          json={"model": "openai-gpt4o-mini", "stream": True,
                                "messages": [{"role": "user", "content": "x"}]}) as response:
            for piece in response.iter_text():
                text += piece
    assert "[DONE]" not in text and '"error"' in text, text


def test_last_error_reaches_the_client(own_mesh_once):
    mesh = own_mesh_once
    mesh.fault("*", {"status": 429, "reset_s": 7})
    response = mesh.chat("Hi", task_type="chat")
    assert response.status_code == 429, response.text
    assert int(response.headers["retry-after"]) >= 1
    mesh.no_faults()


def test_disconnect_cancels_upstream_at_once(own_mesh_once):
    mesh = own_mesh_once
    mesh.fault("openai", {"slow_token_ms": 100, "tokens": 100}, count=1)
    with httpx.stream("POST", f"{mesh.url}/v1/chat/completions", timeout=30, headers=mesh.headers(),
                      json={"model": "openai-gpt4o-mini", "stream": True,
                            "messages": [{"role": "user", "content": "x"}]}) as response:
        request = mesh.routing_header(response)["request"]
        next(response.iter_text())
    event, = until("the event of the abandoned request",
                   lambda: mesh.events().get(f"{request}/1"), 10)
    assert event["outcome"] == "client_gone"
    assert event["output_source"] == "estimated" and event["output_tokens"] < 100
    log = until("the stand-in notices", lambda: mesh.served().get(f"{request}/1"), 10)
    assert not log["finished"], log


def test_circuit_opens_and_half_open_restores(own_mesh_once):
    mesh = own_mesh_once
    mesh.fault("anthropic", {"status": 503})
    for _ in range(12):
        assert mesh.chat("Hi", task_type="chat").status_code == 200
    def first_attempt_goes_to_the_fallback():
        route = mesh.routing(mesh.chat("Hi", task_type="chat"))
        return route["target"] == "openai-gpt4o-mini" and route["attempt"] == "1"
    until("the open circuit makes the fallback the first attempt", first_attempt_goes_to_the_fallback, 15)
    assert " down " in mesh.command("targets")
    mesh.no_faults()
    until("a good probe restores the target",
          lambda: mesh.routing(mesh.chat("Hi", task_type="chat"))["target"] == "anthropic-claude-haiku", 30)


def test_private_tier_stopped_and_back(own_mesh_once):
    mesh = own_mesh_once
    mesh.stop("inference")
    response = mesh.chat("Spam?", task_type="classification")
    assert mesh.routing(response)["target"] == "bedrock-llama-3-70b", response.text
    mesh.start("inference")
    until("the private tier is used again", lambda: mesh.routing(
        mesh.chat("Spam?", task_type="classification", max_tokens=4))["target"] == "private-gpu-llama-70b")


def test_routers_go_on_without_health(own_mesh_once):
    mesh = own_mesh_once
    mesh.kill("health")
    until("the router says that its view is stale",
          lambda: mesh.metric("router", "tollgate_fleet_view_stale") == 1)
    assert mesh.chat("Hi", task_type="chat").status_code == 200
    mesh.start("health")
    until("the view is fresh again", lambda: mesh.metric("router", "tollgate_fleet_view_stale") == 0)


def test_slow_client_does_not_stop_the_others(own_mesh_once):
    mesh = own_mesh_once
    mesh.fault("openai", {"tokens": 2000}, count=1)
    with httpx.stream("POST", f"{mesh.url}/v1/chat/completions", timeout=30, headers=mesh.headers(),
                      json={"model": "openai-gpt4o-mini", "stream": True,
                            "messages": [{"role": "user", "content": "x"}]}) as slow:
        started = time.monotonic()
        assert mesh.chat("Hi", model="openai-gpt4o-mini").status_code == 200
        assert time.monotonic() - started < 10
        assert "[DONE]" in slow.read().decode()


@pytest.fixture(scope="module")
def broken_mesh(tmp_path_factory, kafka):
    from mesh import Mesh
    mesh = Mesh(tmp_path_factory.mktemp("fallback"), kafka=kafka.bootstrap)
    kafka.create_topics(f"{mesh.topic}:4")
    mesh.up()
    yield mesh
    mesh.down()


@pytest.fixture
def own_mesh_once(broken_mesh):
    """A mesh of this file's own: faults and circuits of one test must not reach other files."""
    mesh = broken_mesh
    mesh.no_faults()
    until("every circuit is closed", lambda: mesh.chat("x", model="anthropic-claude-haiku").status_code == 200
          and " down " not in mesh.command("targets") and " half-open " not in mesh.command("targets"), 30)
    yield mesh
    mesh.no_faults()
