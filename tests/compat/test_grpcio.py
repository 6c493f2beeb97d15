"""Our services from Python's grpcio with generated code, as an internal team would call them."""
import json
import re
import time

import grpc
import pytest


@pytest.fixture
def router(mesh, stubs):
    with grpc.insecure_channel(mesh.env["TOLLGATE_GRPC"]) as channel:
        yield stubs["router_grpc"].RouterStub(channel)


def metadata(mesh, task_type="chat", tenant="acme"):
    return (("authorization", f"Bearer {mesh.key(tenant)}"), ("x-task-type", task_type))


def request(stubs, **more):
    message = stubs["inference"].ChatMessage(role="user", content="Say hello.")
    return stubs["router"].ChatRequest(model="auto", messages=[message], max_tokens=12, **more)


def test_chat(mesh, stubs, router):
    answer = router.Chat(request(stubs), metadata=metadata(mesh), timeout=30)
    assert answer.text and answer.route.target == "anthropic-claude-haiku"
    assert answer.route.cost_picousd == 250_000 * answer.usage.input_tokens + 1_250_000 * answer.usage.output_tokens
    assert answer.usage.output_source == stubs["usage"].COUNT_SOURCE_REPORTED


@pytest.mark.parametrize("task_type, target", [("chat", "anthropic-claude-haiku"),
                                               ("classification", "private-gpu-llama-70b")])
def test_chat_stream(mesh, stubs, router, task_type, target):
    events = list(router.ChatStream(request(stubs), metadata=metadata(mesh, task_type), timeout=60))
    assert events[0].start.target == target
    assert "".join(e.text for e in events if e.WhichOneof("event") == "text")
    assert events[-1].end.usage.output_tokens > 0 and events[-1].end.route.request_id


def test_route_explains(mesh, stubs, router):
    plan = router.Route(stubs["router"].RouteRequest(chat=request(stubs)), metadata=metadata(mesh), timeout=10)
    assert list(plan.targets) == ["anthropic-claude-haiku", "openai-gpt4o-mini"] and plan.trace


def test_response_format(mesh, stubs, router):
    """The private tier is held to every form; schemas and JSON objects go to who has a mode for them."""
    inference = stubs["inference"]

    def ask(task_type="classification", stream=False, **form):
        call = request(stubs, response_format=inference.Constraint(**form), has_temperature=True)
        call.max_tokens = 100
        if stream:
            return "".join(e.text for e in router.ChatStream(call, metadata=metadata(mesh, task_type), timeout=60))
        return router.Chat(call, metadata=metadata(mesh, task_type), timeout=60)

    schema = json.dumps({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]})
    assert re.fullmatch("[a-c]{3,5}", ask(regex="[a-c]{3,5}").text)
    assert re.fullmatch("[a-c]{3,5}", ask(regex="[a-c]{3,5}", stream=True))
    assert ask(choice=inference.StringList(values=["spam", "no spam"])).text in ("spam", "no spam")
    assert isinstance(json.loads(ask(json_schema=schema).text)["ok"], bool)
    assert ask(json_object=True).text.startswith("{")
    assert ask("chat", json_schema=schema).route.target == "anthropic-claude-haiku"
    assert ask("chat", json_object=True).route.target == "openai-gpt4o-mini", "Anthropic has no mode for it"
    for wrong, words in (({}, "exactly one of"), ({"regex": "a", "json_object": True}, "exactly one of"),
                         ({"json_schema": "[]"}, "response_format.json_schema must be a JSON object"),
                         ({"json_schema": "{"}, "response_format.json_schema is not valid JSON"),
                         ({"choice": inference.StringList()}, "response_format.choice: 0 texts"),
                         ({"task_type": "chat", "regex": "a"}, "response_format: no target allowed here")):
        with pytest.raises(grpc.RpcError) as refused:
            ask(**wrong)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and words in refused.value.details()


@pytest.mark.parametrize("meta, code", [
    ((), grpc.StatusCode.UNAUTHENTICATED),
    ((("x-api-key", "tg_live_no"),), grpc.StatusCode.UNAUTHENTICATED),
])
def test_bad_key(stubs, router, meta, code):
    with pytest.raises(grpc.RpcError) as caught:
        router.Chat(request(stubs), metadata=meta, timeout=10)
    assert caught.value.code() == code


def test_cost_cap_and_unknown_model(mesh, stubs, router):
    with pytest.raises(grpc.RpcError) as caught:
        router.Chat(stubs["router"].ChatRequest(
            model="auto", max_tokens=8000, messages=[stubs["inference"].ChatMessage(role="user", content="w " * 3000)]),
            metadata=metadata(mesh, "analysis"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION and "0.05" in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        router.Chat(stubs["router"].ChatRequest(
            model="gpt-17", messages=[stubs["inference"].ChatMessage(role="user", content="x")]),
            metadata=metadata(mesh), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_cancel_reaches_the_engine(mesh, stubs, router):
    call = router.ChatStream(stubs["router"].ChatRequest(
        model="private-gpu-llama-70b", max_tokens=1500,
        messages=[stubs["inference"].ChatMessage(role="user", content="Tell me a very long story.")]),
        metadata=metadata(mesh), timeout=60)
    first = next(call)
    next(call)
    call.cancel()
    event_id = f"{first.start.request_id}/1"
    deadline = time.monotonic() + 20
    while event_id not in mesh.events():
        assert time.monotonic() < deadline, "no event of the cancelled request"
        time.sleep(0.1)
    event, = mesh.events()[event_id]
    assert event["outcome"] == "client_gone" and event["output_tokens"] < 1500


def test_services_answer_health_and_reflection(mesh):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
    for name, service in (("TOLLGATE_GRPC", "Router"), ("TOLLGATE_INFERENCE_GRPC", "Inference"),
                          ("TOLLGATE_BILLING_GRPC", "Billing"), ("TOLLGATE_HEALTH_GRPC", "Health")):
        with grpc.insecure_channel(mesh.env[name]) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
            assert f"tollgate.v1.{service}" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_declared_and_not_built_yet(mesh, stubs):
    with grpc.insecure_channel(mesh.env["TOLLGATE_HEALTH_GRPC"]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            stubs["health_grpc"].HealthStub(channel).AcquireLease(stubs["health"].AcquireLeaseRequest(), timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_inference_directly(mesh, stubs):
    with grpc.insecure_channel(mesh.env["TOLLGATE_INFERENCE_GRPC"]) as channel:
        stub = stubs["inference_grpc"].InferenceStub(channel)
        count = stub.CountTokens(stubs["inference"].CountTokensRequest(text="hello world"), timeout=10)
        assert count.tokens >= 2
        status = next(stub.WatchStatus(stubs["inference"].WatchStatusRequest(interval_ms=100), timeout=10))
        assert status.context_limit > 0 and status.model

        def run(generated=()):
            ids = []
            for event in stub.Generate(stubs["inference"].GenerateRequest(
                    text="The toll gate", max_tokens=12,
                    generated=stubs["inference"].TokenIds(ids=generated),
                    sampling=stubs["inference"].Sampling(temperature=0.8, has_seed=True, seed=7)), timeout=60):
                ids += event.delta.token_ids
            return ids

        whole = run()
        assert run() == whole, "the same seed gives the same tokens"
        assert whole[:5] + run(whole[:5]) == whole, "a stream continues elsewhere with the same tokens"
