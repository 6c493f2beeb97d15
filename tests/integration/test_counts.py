"""Prompts near a private target's context: the router asks the inference service for its count of their tokens before it decides,
and decides by its guess when there is no answer. The context is made small here, so that prompts can be short."""
import re
import shutil
import signal
import threading

import grpc
import httpx
import pytest

from mesh import ROOT, Mesh, until
from test_decisions import read

PRIVATE, BEDROCK = "private-gpu-llama-70b", "bedrock-llama-3-70b"
CONTEXT, OUTPUT = 400, 8
EMOJI = "\U0001f9ff" * 60  # guessed at far fewer tokens than this vocabulary makes of it


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, kafka):
    directory = tmp_path_factory.mktemp("counts")
    conf = directory / "conf"
    shutil.copytree(ROOT / "deploy" / "dev", conf)
    text = (conf / "targets.yaml").read_text()
    text, changed = re.subn(r"(id: private-gpu-llama-70b\n(?:.*\n)*?    context_tokens: )8192", rf"\g<1>{CONTEXT}", text)
    assert changed == 1
    (conf / "targets.yaml").write_text(text)
    mesh = Mesh(directory / "mesh", kafka=kafka.bootstrap, env={"TOLLGATE_CONFIG_DIR": str(conf)})
    kafka.create_topics(f"{mesh.topic}:1")
    yield mesh.up()
    mesh.down()


def counts(mesh, outcome):
    return mesh.metric("router", "tollgate_prompt_counts_total", f'outcome="{outcome}"')


def ask(mesh, content):
    response = mesh.chat(content, task_type="classification", max_tokens=OUTPUT)
    assert response.status_code == 200, response.text
    return mesh.routing(response)


def guessed(mesh, content):
    """Where the guess alone would send it."""
    plan = httpx.post(f"{mesh.url}/v1/route", timeout=10, headers=mesh.headers(task_type="classification"), json={
        "model": "auto", "max_tokens": OUTPUT, "messages": [{"role": "user", "content": content}]}).json()
    return plan["steps"][0]["target"]


def true_count(mesh, stubs, content):
    inference = stubs["inference"]
    with grpc.insecure_channel(mesh.env["TOLLGATE_INFERENCE_GRPC"]) as channel:
        message = inference.ChatMessage(role="user", content=content)
        return stubs["inference_grpc"].InferenceStub(channel).CountTokens(
            inference.CountTokensRequest(messages=inference.ChatMessages(messages=[message])), timeout=10).tokens


def prompt_guessed_to_fit(mesh, stubs):
    """As much of what is guessed low as the guess lets pass."""
    text = EMOJI
    while guessed(mesh, text + EMOJI) == PRIVATE:
        text += EMOJI
    assert true_count(mesh, stubs, text) + OUTPUT > CONTEXT, "no text was found whose guess is too low"
    return text


def test_short_prompts_are_not_counted(mesh):
    assert ask(mesh, "Is this spam?")["target"] == PRIVATE
    assert counts(mesh, "answered") == 0 == counts(mesh, "unanswered")


def test_what_does_not_fit_goes_elsewhere(mesh, stubs):
    text = prompt_guessed_to_fit(mesh, stubs)
    routing = ask(mesh, text)
    assert routing["target"] == BEDROCK and routing["attempt"] == "1", "it was sent where it cannot fit"
    assert counts(mesh, "answered") == 1


def test_grpc_clients_are_routed_the_same(mesh, stubs):
    router, text = stubs["router"], prompt_guessed_to_fit(mesh, stubs)
    metadata = (("authorization", f"Bearer {mesh.key()}"), ("x-task-type", "classification"))
    before = counts(mesh, "answered")
    with grpc.insecure_channel(mesh.env["TOLLGATE_GRPC"]) as channel:
        chat = router.ChatRequest(max_tokens=OUTPUT, messages=[stubs["inference"].ChatMessage(role="user", content=text)])
        answer = stubs["router_grpc"].RouterStub(channel).Chat(chat, metadata=metadata, timeout=60)
    assert answer.route.target == BEDROCK and counts(mesh, "answered") == before + 1


def test_what_fits_is_served_and_priced_by_its_count(mesh, stubs):
    text = "toll gate " * 120
    assert true_count(mesh, stubs, text) + OUTPUT <= CONTEXT
    before = counts(mesh, "answered")
    response = mesh.chat(text, task_type="classification", max_tokens=OUTPUT, headers={"x-request-id": "counted"})
    assert mesh.routing(response)["target"] == PRIVATE and counts(mesh, "answered") == before + 1
    assert response.json()["usage"]["prompt_tokens"] == true_count(mesh, stubs, text), "counted and charged are the same"
    found = read(mesh.kafka, mesh.topic.replace("usage", "decisions"), {"counted"}, stubs["decisions"].Decision.FromString)
    steps = found["counted"][2].steps
    assert [(s.target, s.counted_tokens > 0) for s in steps] == [(PRIVATE, True), (BEDROCK, False)]
    assert steps[0].counted_tokens == true_count(mesh, stubs, text)


def test_a_slow_service_is_not_waited_for(mesh, stubs):
    text = "toll gate " * 120
    before, answers = counts(mesh, "unanswered"), []
    mesh.signal("inference", signal.SIGSTOP)
    try:
        client = threading.Thread(target=lambda: answers.append(ask(mesh, text)))
        client.start()
        until("the router to go on without an answer", lambda: counts(mesh, "unanswered") == before + 1)
    finally:
        mesh.signal("inference", signal.SIGCONT)
    client.join(timeout=60)
    assert answers[0]["target"] in (PRIVATE, BEDROCK)


def test_a_client_that_leaves_while_it_is_asked(mesh):
    mesh.signal("inference", signal.SIGSTOP)
    try:
        for _ in range(3):
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{mesh.url}/v1/chat/completions", timeout=0.05, headers=mesh.headers(task_type="classification"),
                           json={"model": "auto", "messages": [{"role": "user", "content": "toll gate " * 120}]})
    finally:
        mesh.signal("inference", signal.SIGCONT)
    until("the engine to answer again", lambda: ask(mesh, "Is this spam?")["target"] == PRIVATE)


def test_without_the_service_the_fallback_serves(mesh):
    mesh.kill("inference")
    assert ask(mesh, "toll gate " * 120)["target"] == BEDROCK
    mesh.start("inference")
