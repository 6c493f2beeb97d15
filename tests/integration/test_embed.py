"""Embed over gRPC: the vectors of the encoder itself, several requests at a time, clients that leave, refusals."""
import socket
import subprocess
import time
import urllib.request

import grpc
import numpy as np
import pytest

import minilm
import tiny_llm
from mesh import ROOT, bin_dir

START_S = 60
MODEL = ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = ["a toll gate", "The road is closed.", "caf\u00e9", ""] + [f"text number {i}" for i in range(20)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """(path of all-MiniLM-L6-v2 as a GGUF file, its weights, its tokenizer)"""
    weights, tokenizer = minilm.load()
    path = tmp_path_factory.mktemp("encoder") / "minilm.gguf"
    minilm.write_gguf(path, weights, tokenizer, "F32")
    return path, weights, tokenizer


def start(directory, more, model=MODEL, metrics_port=0):
    port = free_port()
    conf = directory / "inference.yaml"
    conf.write_text(f'version: 1\ngrpc_listen: "127.0.0.1:{port}"\nmetrics_listen: "127.0.0.1:{metrics_port}"\n'
                    f'model_file: "{model}"\nkv_tokens: 2048\n{more}')
    return port, subprocess.Popen([bin_dir() / "tollgate-inference", "--config", conf], stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def service(tmp_path_factory, encoder, stubs):
    port, process = start(tmp_path_factory.mktemp("embed"), f'embedding_model_file: "{encoder[0]}"\n')
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_receive_message_length", 1 << 25)]) as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        yield stubs["inference_grpc"].InferenceStub(channel)
    process.terminate()
    assert process.wait(30) == 0


def vectors(answer):
    return np.array([e.values for e in answer.embeddings])


def test_vectors_are_the_encoders(service, stubs, encoder):
    _, weights, tokenizer = encoder
    answer = service.Embed(stubs["inference"].EmbedRequest(inputs=TEXTS, tenant="acme"), timeout=120)
    assert answer.tokens == sum(len(tokenizer.encode(text).ids) for text in TEXTS)
    exact = minilm.exact(weights)
    for text, got in zip(TEXTS, vectors(answer), strict=True):
        want = minilm.reference(exact, tokenizer.encode(text).ids)
        assert got @ want > 0.9999, f"cosine {got @ want:.6f} for {text!r}"


def test_requests_take_turns(service, stubs):
    """A short request is answered while a long one, which came first, is still at it."""
    long = service.Embed.future(stubs["inference"].EmbedRequest(inputs=TEXTS * 8), timeout=300)
    short = service.Embed(stubs["inference"].EmbedRequest(inputs=TEXTS[:1]), timeout=120)
    assert not long.done(), "the short request waited for the whole long one"
    whole = vectors(long.result())
    assert (whole[:len(TEXTS)] == whole[-len(TEXTS):]).all() and (whole[0] == vectors(short)[0]).all()


def test_a_client_that_leaves(service, stubs):
    call = service.Embed.future(stubs["inference"].EmbedRequest(inputs=["word " * 200] * 500), timeout=300)
    time.sleep(0.2)
    call.cancel()
    service.Embed(stubs["inference"].EmbedRequest(inputs=["next"]), timeout=60)  # 500 long texts would take longer


@pytest.mark.parametrize("inputs, words", [
    ([], ("at least one",)),
    (["x"] * 3000, ("3000", "2048")),
    (["fine", "word " * 600], ("inputs[1]", "602", "512")),
    (["fine", "word " * 3000], ("inputs[1]", "more than 2048 tokens", "512")),
    (["fine"] * 3 + ["word " * 3_000_000], ("inputs[3]", "15000000 bytes", "512", "262144")),
])
def test_refusals(service, stubs, inputs, words):
    with pytest.raises(grpc.RpcError) as caught:
        service.Embed(stubs["inference"].EmbedRequest(inputs=inputs), timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert all(word in caught.value.details() for word in words), caught.value.details()


def test_the_encoder_has_what_the_engine_leaves_of_the_configured_memory(tmp_path, encoder):
    """The limit is on both together: with room for the engine, and for less than the encoder behind it, the start is refused."""
    metrics_port = free_port()
    port, process = start(tmp_path, "", metrics_port=metrics_port)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    process.terminate()
    assert process.wait(30) == 0
    engine = int(next(line.split()[1] for line in page.splitlines() if line.startswith("tollgate_engine_memory_bytes ")))
    limit = engine // 2**20 + 48 + 20
    _, process = start(tmp_path, f'embedding_model_file: "{encoder[0]}"\nmemory_limit_bytes: {limit}MiB\n')
    try:
        said = process.communicate(timeout=START_S)[1].decode()
    finally:
        process.kill()
    assert process.returncode == 1 and "the encoder needs" in said, said
    left = int(said.split("the configured limit leaves ")[1].split(" MB")[0])
    assert 19 <= left <= 21, said


def test_no_encoder(mesh, stubs):
    with grpc.insecure_channel(mesh.env["TOLLGATE_INFERENCE_GRPC"]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            stubs["inference_grpc"].InferenceStub(channel).Embed(stubs["inference"].EmbedRequest(inputs=["x"]), timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED and "embedding_model_file" in caught.value.details()


def test_a_decoder_gives_vectors(tmp_path, stubs):
    shape = tiny_llm.Shape(arch="qwen3")
    values = tiny_llm.weights(shape)
    tiny_llm.write(tmp_path / "decoder.gguf", shape, values)
    port, process = start(tmp_path, f'embedding_model_file: "{tmp_path}/decoder.gguf"\nembedding_pooling: last\n')
    texts, ids = ["a toll", "caf\u00e9"], [[1] + [3 + b for b in text.encode()] for text in (" a toll", " caf\u00e9")]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=START_S)
        answer = stubs["inference_grpc"].InferenceStub(channel).Embed(stubs["inference"].EmbedRequest(inputs=texts), timeout=60)
    process.terminate()
    assert process.wait(30) == 0
    assert answer.tokens == sum(map(len, ids))
    for text, got, each in zip(texts, vectors(answer), ids, strict=True):
        want = tiny_llm.states(shape, values, np.array(each))[-1]
        assert got @ want / np.linalg.norm(want) > 0.9999, f"cosine {got @ want / np.linalg.norm(want):.6f} for {text!r}"


def test_a_pooling_that_cannot_be_is_named(tmp_path):
    shape = tiny_llm.Shape()
    tiny_llm.write(tmp_path / "decoder.gguf", shape, tiny_llm.weights(shape))
    _, process = start(tmp_path, f'embedding_model_file: "{tmp_path}/decoder.gguf"\nembedding_pooling: first\n')
    try:
        said = process.communicate(timeout=START_S)[1].decode()
    finally:
        process.kill()
    assert process.returncode == 1 and "decoder.gguf" in said and "pooling type 2 is not supported" in said, said


@pytest.mark.parametrize("content, words", [(None, ("none.gguf",)), (b"GGUF", ("none.gguf",))])
def test_a_bad_encoder_is_named(tmp_path, content, words):
    path = tmp_path / "none.gguf"
    if content is not None:
        path.write_bytes(content)
    _, process = start(tmp_path, f'embedding_model_file: "{path}"\n')
    try:
        said = process.communicate(timeout=START_S)[1].decode()
    finally:
        process.kill()
    assert process.returncode == 1 and all(word in said for word in words), said
