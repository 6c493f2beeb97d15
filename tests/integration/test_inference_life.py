"""The inference service as those see it who send requests there: when it says that it is ready, and what a client leaves behind."""
import json
import os
import socket
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import until
from test_embed import free_port, start, START_S

LONG = "The toll gate is closed, and nobody knows who has the key. " * 24


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_ready_over_http(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def is_ready_over_grpc(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="tollgate.v1.Inference"), timeout=10)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def test_ready_only_when_warm(tmp_path, stubs):
    """Ports are closed, for probes that do no more than connect, and nothing says that it is ready, until the model is loaded and a
    pass through it done (which the engine's unit tests hold to be one)."""
    metrics_port, said = free_port(), b""
    port, process = start(tmp_path, "", metrics_port=metrics_port)
    os.set_blocking(process.stderr.fileno(), False)

    def holds(probe, at):
        nonlocal said
        assert process.poll() is None, f"it ended: {said}"
        ready = probe(at)
        said += process.stderr.read() or b""
        assert not ready or b"model_loaded" in said, f"{probe.__name__} before the model was loaded: {said}"
        return ready

    def is_ready():
        return all([holds(probe, at) for probe, at in ((is_open, metrics_port), (is_open, port), (is_ready_over_http, metrics_port),
                                                       (is_ready_over_grpc, port))])
    until("readiness", is_ready, START_S)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        service, inference = stubs["inference_grpc"].InferenceStub(channel), stubs["inference"]
        assert len(list(service.Generate(inference.GenerateRequest(text="The", max_tokens=3), timeout=60))) >= 3
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture
def open_service(tmp_path, stubs):
    """open_service(settings) → (its stub, its process), which has to end well, at the latest behind the test. A test that
    ends it waits for that."""
    opened = []

    def open_it(settings):
        port, process = start(tmp_path, settings)
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        opened.append((channel, process))
        grpc.channel_ready_future(channel).result(timeout=START_S)
        return stubs["inference_grpc"].InferenceStub(channel), process
    yield open_it
    for channel, process in opened:
        channel.close()
        process.terminate()
        assert process.wait(30) == 0


def test_client_gone_mid_prefill(open_service, stubs):
    """Who leaves while its prompt is computed holds nothing any more, the rest of the prompt is not computed, and others
    are served."""
    inference = stubs["inference"]
    service, _ = open_service("max_seqs: 2\nstep_token_budget: 8\n")

    def status():
        watch = service.WatchStatus(inference.WatchStatusRequest(), timeout=60)
        first = next(watch)
        watch.cancel()
        return first
    request = inference.GenerateRequest(text=LONG, max_tokens=4, tenant="acme")
    call = service.Generate(request, timeout=300)
    assert next(call).WhichOneof("event") == "start"
    until("the prompt's first steps", lambda: status().steps_total >= 3, 60)
    early = "the prompt was computed before the client could leave"
    assert status().running == 1 and status().output_tokens_total == 0, early
    call.cancel()
    until("the end of what nobody waits for", lambda: status().running == 0, 60)
    left = status()
    assert left.kv_blocks_used == 0 and left.kv_blocks_free + left.kv_blocks_cached == left.kv_blocks_total
    assert left.output_tokens_total == 0
    other = list(service.Generate(inference.GenerateRequest(text="Hello", max_tokens=3, tenant="other"), timeout=60))
    assert other[-1].end.finish == inference.FINISH_REASON_LENGTH
    again = list(service.Generate(request, timeout=300))[-1].end
    assert 0 < again.cached_tokens < again.prompt_tokens - 16, "all of the prompt was computed for nobody"


def test_watchers_come_leave_and_are_told_of_the_end(open_service, stubs):
    inference = stubs["inference"]
    service, process = open_service("")

    def watch():
        stream = service.WatchBlocks(inference.WatchBlocksRequest(), timeout=120)
        assert next(stream).reset
        return stream
    streams = [watch() for _ in range(64)]
    with pytest.raises(grpc.RpcError) as refused:
        watch()
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "at most 64 watchers"
    status = service.WatchStatus(inference.WatchStatusRequest(), timeout=120)  # these are counted apart
    assert not next(status).draining
    streams.pop().cancel()

    def is_let_in():
        try:
            return watch()
        except grpc.RpcError:
            return None
    streams.append(until("the place of one that left", is_let_in))
    process.terminate()
    for stream in (status, *streams):
        last = None
        with pytest.raises(grpc.RpcError) as ended:
            for last in stream:
                pass
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE and ended.value.details() == "draining"
        assert stream is not status or last.draining, "the last status does not tell of it"
    assert process.wait(30) == 0


@pytest.mark.parametrize("reads", (True, False))
def test_end_amid_a_generation(open_service, tmp_path, stubs, reads):
    """A generation that outlives the time for draining is ended, whether its client reads or not, and the process with
    it. The request log has what it took."""
    inference = stubs["inference"]
    service, process = open_service(f'drain_timeout_ms: 300ms\nrequest_log: "{tmp_path}/requests"\n')
    request = inference.GenerateRequest(text="Once upon a time", max_tokens=1900, min_tokens=1900, tenant="acme",
                                        request_id="cut-off", attempt=2)
    stream = service.Generate(request, timeout=300)
    assert next(stream).WhichOneof("event") == "start"
    assert next(stream).WhichOneof("event") == "delta"
    process.terminate()
    if reads:
        with pytest.raises(grpc.RpcError) as ended:
            for _ in stream:
                pass
        assert ended.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert process.wait(60) == 0
    assert b"drain_timeout" in process.stderr.read()
    (line,) = map(json.loads, (tmp_path / "requests").read_text().splitlines())
    assert (line["request_id"], line["attempt"], line["tenant"], line["finish"]) == ("cut-off", 2, "acme", "cancelled")
    assert line["prompt_tokens"] == 4 and 1 <= line["output_tokens"] < 1900 and line["engine_ns"] > 0
