"""Vectors from decoder models against a plain double-precision computation on random weights."""
import os
import pathlib
import struct
import subprocess

import gguf
import numpy as np
import pytest

import gguf_file
import tiny_llm

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
SEED = int(os.environ.get("TG_TEST_SEED", "1"))
AUTO, MEAN, FIRST, LAST = range(4)
LEAST = 0.9999

SHAPES = {
    "llama": dict(),
    "llama with a window": dict(window=100),
    "qwen2": dict(arch="qwen2", theta=1e6, eps=1e-6),
    "qwen3": dict(arch="qwen3", theta=1e6, eps=1e-6, head_dim=32, tied=True),
}


def texts():
    rng = np.random.default_rng(SEED)
    letters = np.array(list("abcdefgh \u00e9\u65e5"))
    return ["", "a", "Caf\u00e9 \U0001f600"] + ["".join(rng.choice(letters, n)) for n in [*rng.integers(1, 60, 30), 250, 700]]


def ids_of(text):
    """Of tiny_llm's vocabulary: bytes only; a space comes first."""
    return [1] + [3 + b for b in (" " + text if text else "").encode()]


def run(path, given, threads=2, batch=16, pooling=AUTO, env=None):
    data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in given)
    return subprocess.run([BUILD / "test-embed", path, str(threads), str(batch), str(pooling)], input=data,
                          capture_output=True, timeout=300, env=os.environ | (env or {}))


def vectors(path, given, **how):
    done = run(path, given, **how)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, "<f4").reshape(len(given), -1)


def reference(shape, values, given, pooling):
    ret = []
    for text in given:
        states = tiny_llm.states(shape, values, np.array(ids_of(text)))
        vector = states[-1] if pooling == LAST else states.mean(0)
        ret.append(vector / np.linalg.norm(vector))
    return np.array(ret)


@pytest.mark.parametrize("name", SHAPES)
def test_vectors_agree_with_the_definition(tmp_path, name):
    shape = tiny_llm.Shape(**SHAPES[name], seed=SEED)
    values, given = tiny_llm.weights(shape), texts()
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, values)
    for pooling in (MEAN, LAST):
        got = vectors(path, given, pooling=pooling)
        assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-5
        cosines = (got * reference(shape, values, given, pooling)).sum(1)
        worst = cosines.argmin()
        assert cosines[worst] >= LEAST, f"{name}, seed {SEED}: cosine {cosines[worst]:.6f} for {given[worst][:80]!r}"
        for threads, batch, env in ((1, 1, {}), (3, 64, {}), (2, 7, {"TOLLGATE_CPU": "scalar"})):
            again = vectors(path, given, threads=threads, batch=batch, pooling=pooling, env=env)
            assert again.tobytes() == got.tobytes(), f"{name}: batches of {batch} change the bits"
    mean, last = (reference(shape, values, given[1:], pooling) for pooling in (MEAN, LAST))
    assert (mean * last).sum(1).max() < LEAST, "the two poolings cannot be told apart here"


@pytest.mark.parametrize("stored, asked, want", [(None, AUTO, MEAN), (0, AUTO, MEAN), (1, AUTO, MEAN), (3, AUTO, LAST),
                                                 (3, MEAN, MEAN), (1, LAST, LAST)])
def test_who_says_which_pooling(tmp_path, stored, asked, want):
    shape = tiny_llm.Shape(seed=SEED)
    values = tiny_llm.weights(shape)
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, values, {} if stored is None else {"llama.pooling_type": stored})
    assert vectors(path, texts()[:9], pooling=asked).tobytes() == vectors(path, texts()[:9], pooling=want).tobytes()


@pytest.mark.parametrize("more, pooling, words", [
    ({"llama.pooling_type": 4}, AUTO, "pooling type 4 is not supported"),
    ({"llama.pooling_type": 2}, AUTO, "pooling type 2 is not supported"),
    ({}, FIRST, "pooling type 2 is not supported"),
    ({"llama.attention.causal": False}, AUTO, "'llama.attention.causal' is false"),
    ({"llama.context_length": 200}, AUTO, "a text of 702 tokens; the model takes 200"),
    ({"llama.context_length": 100}, AUTO, "a text of more than 400 tokens; the model takes 100"),
    ({"tokenizer.ggml.add_bos_token": False}, AUTO, "the text has no token"),
])
def test_refusals(tmp_path, more, pooling, words):
    shape = tiny_llm.Shape(seed=SEED)
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, tiny_llm.weights(shape), more)
    done = run(path, ["x" * 700, ""], pooling=pooling)
    assert done.returncode == 1 and words in done.stderr.decode(), done.stderr
