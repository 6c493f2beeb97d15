"""Every architecture against a plain double-precision computation from its definition, on random weights."""
import os
import pathlib
import subprocess

import numpy as np
import pytest

import tiny_llm

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
TOKENS = 600  # more than two spans of attention
MOST = 1e-4   # of the largest logit, for 19 tokens of 20
# The engine's K and V are sums in single precision: now and then one falls on the other side of a boundary between
# two F16 numbers than the exact one, a step of 2^-10 of that value. No token may be further off than such a step.
WORST = 2.0 ** -10
SEED = int(os.environ.get("TG_TEST_SEED", "1"))


def engine(path, ids, chunk, env=None):
    done = subprocess.run([BUILD / "test-logits", path, str(chunk)], input=np.asarray(ids, "<u4").tobytes(),
                          capture_output=True, timeout=300, env=os.environ | (env or {}))
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, "<f4").reshape(-(-len(ids) // chunk), -1)


SHAPES = {
    "llama": dict(),
    "llama, tied, one key head": dict(tied=True, kv_heads=1),
    "llama with rope_freqs": dict(rope_freqs=True, theta=500000.0),
    "llama with linear scaling": dict(linear=4.0),
    "llama with a window of 100": dict(window=100),
    "llama with a window of 300": dict(window=300),
    "llama with a window of one": dict(window=1),
    "qwen2": dict(arch="qwen2", theta=1e6, eps=1e-6),
    "qwen2, tied, with a window": dict(arch="qwen2", tied=True, window=257),
    "qwen3": dict(arch="qwen3", theta=1e6, eps=1e-6, head_dim=32),
    "qwen3, tied": dict(arch="qwen3", tied=True, head_dim=8, kv_heads=4),
}


@pytest.mark.parametrize("name", SHAPES)
def test_logits_agree_with_the_definition(tmp_path, name):
    shape = tiny_llm.Shape(**SHAPES[name], seed=SEED)
    values = tiny_llm.weights(shape)
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, values)
    ids = np.random.default_rng(SEED).integers(0, shape.vocab, TOKENS)
    want = tiny_llm.logits(shape, values, ids)
    got = engine(path, ids, 1)
    off = np.abs(got - want).max(-1) / np.abs(want).max()
    assert np.quantile(off, 0.95) <= MOST, f"{name}, seed {SEED}: off by {np.quantile(off, 0.95):.2e} of the largest"
    assert off.max() <= WORST, f"{name}, seed {SEED}: token {off.argmax()} is off by {off.max():.2e} of the largest"
    gaps = np.sort(want, -1)
    clear = gaps[:, -1] - gaps[:, -2] > 2 * WORST * np.abs(want).max()
    assert clear.mean() > 0.9 and (got.argmax(-1) == want.argmax(-1))[clear].all(), f"{name}, seed {SEED}: greedy"
    assert engine(path, ids, 37)[-1].tobytes() == got[-1].tobytes(), f"{name}: chunks change the bits"
    assert engine(path, ids, TOKENS)[-1].tobytes() == got[-1].tobytes(), f"{name}: chunks change the bits"


def test_the_reference_can_disagree(tmp_path):
    """A wrong window, rotation or bias is far outside the tolerance."""
    ids = np.random.default_rng(SEED).integers(0, 259, 200)
    for right, wrong in ((dict(window=50), dict(window=51)), (dict(), dict(linear=1.01)),
                         (dict(arch="qwen2"), dict(arch="qwen3"))):
        shape = tiny_llm.Shape(**right, seed=SEED)
        values = tiny_llm.weights(shape) | tiny_llm.weights(tiny_llm.Shape(**wrong, seed=SEED))
        path = tmp_path / "model.gguf"
        tiny_llm.write(path, shape, tiny_llm.weights(shape))
        want = tiny_llm.logits(tiny_llm.Shape(**wrong, seed=SEED), values, ids)
        got = engine(path, ids, 1)
        assert np.abs(got - want).max() / np.abs(want).max() > 10 * WORST, f"{wrong}"


REFUSED = [
    ({"general.architecture": "qwen3moe"}, "the architecture 'qwen3moe' is not supported; llama, qwen2 and qwen3"),
    ({"llama.expert_count": 8}, "'llama.expert_count': mixtures of experts are not supported"),
    ({"llama.attention.sliding_window_pattern": 6}, "windows on some of the layers are not supported"),
    ({"llama.rope.scaling.type": "yarn"}, "'llama.rope.scaling.type' is 'yarn'; none, linear"),
    ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 0.5}, "a linear RoPE scale of 0.5"),
    ({"general.type": "adapter"}, "LoRA adapter"),
    ({"general.type": "mmproj", "general.architecture": "clip"}, "'mmproj'"),
    ({"llama.logit_scale": 0.25}, "'llama.logit_scale'"),
]


@pytest.mark.parametrize("more, words", REFUSED)
def test_what_is_not_supported_is_named(tmp_path, more, words):
    shape = tiny_llm.Shape()
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, tiny_llm.weights(shape), more)
    done = subprocess.run([BUILD / "test-logits", path, "1"], input=b"", capture_output=True, timeout=60)
    assert done.returncode == 1 and words in done.stderr.decode(), done.stderr


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "blk.1.ffn_gate_exps.weight", "blk.0.attn_q.weight.lora_a"])
def test_a_tensor_without_a_place_is_named(tmp_path, name):
    shape = tiny_llm.Shape()
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, tiny_llm.weights(shape) | {name: np.zeros(64, np.float32)})
    done = subprocess.run([BUILD / "test-logits", path, "1"], input=b"", capture_output=True, timeout=60)
    assert done.returncode == 1 and f"'{name}'" in done.stderr.decode(), done.stderr
