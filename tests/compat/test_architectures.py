"""Every architecture against a plain double-precision computation from its definition, on random weights."""
import os
import pathlib
import subprocess

import numpy as np
import pytest

import gguf_file
import tiny_llm

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
TOKENS = 600  # more than two spans of attention
MOST = 1e-4   # of the largest logit, for 19 tokens of 20
# The engine's K and V are sums in single precision: now and then one falls on the other side of a boundary between
# two F16 numbers than the exact one, a step of 2^-10 of that value. No token may be further off than such a step.
WORST = 2.0 ** -10
SEED = int(os.environ.get("TG_TEST_SEED", "1"))


def engine(path, ids, chunk, env=None, kv=()):
    done = subprocess.run([BUILD / "test-logits", path, str(chunk), *kv], input=np.asarray(ids, "<u4").tobytes(),
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


# A key or value on the other side of a boundary is now a step of 2^-7 of its group's largest away.
MOST_Q8, WORST_Q8 = 2e-3, 2e-2


@pytest.mark.parametrize("name, changes", [("llama", dict(head_dim=48)), ("qwen3", dict(arch="qwen3", head_dim=32, eps=1e-6))])
def test_keys_and_values_in_q8(tmp_path, name, changes):
    shape = tiny_llm.Shape(**changes, kv_q8=True, seed=SEED)
    values = tiny_llm.weights(shape)
    path = tmp_path / "model.gguf"
    tiny_llm.write(path, shape, values)
    ids = np.random.default_rng(SEED).integers(0, shape.vocab, 300)
    want, got = tiny_llm.logits(shape, values, ids), engine(path, ids, 1, kv=("q8",))
    off, apart = (np.abs(got - other).max(-1) / np.abs(want).max() for other in (want, engine(path, ids, 1)))
    assert np.quantile(off, 0.95) <= MOST_Q8 and off.max() <= WORST_Q8, \
        f"{name}, seed {SEED}: off by {np.quantile(off, 0.95):.2e}, at most {off.max():.2e} of the largest"
    assert np.median(apart) > 3 * np.median(off), f"{name}, seed {SEED}: it makes no difference: {np.median(apart):.2e}"
    assert engine(path, ids, 37, kv=("q8",))[-1].tobytes() == got[-1].tobytes(), f"{name}: chunks change the bits"


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


def split(tmp_path, shape, values, count):
    """The model in parts as others write them; returns the paths."""
    names = list(values)
    paths = [tmp_path / f"model-{i + 1:05}-of-{count:05}.gguf" for i in range(count)]
    for i, path in enumerate(paths):
        keys = {"split.no": i, "split.count": count, "split.tensors.count": len(names)}
        part = tiny_llm.tensors({name: values[name] for name in names[i::count]})
        gguf_file.write(path, keys | (tiny_llm.metadata(shape) if i == 0 else {}), part)
    return paths


def refusal(path):
    done = subprocess.run([BUILD / "test-logits", path, "1"], input=b"", capture_output=True, timeout=60)
    assert done.returncode == 1, done.stdout
    return done.stderr.decode()


def test_a_split_model_is_the_same_model(tmp_path):
    shape = tiny_llm.Shape(arch="qwen3")
    values = tiny_llm.weights(shape)
    ids = np.random.default_rng(SEED).integers(0, shape.vocab, 50)
    tiny_llm.write(tmp_path / "whole.gguf", shape, values)
    want = engine(tmp_path / "whole.gguf", ids, 50)
    for count in (1, 2, 5):
        first = split(tmp_path, shape, values, count)[0]
        assert engine(first, ids, 50).tobytes() == want.tobytes(), count


def test_a_part_that_is_wrong_is_named(tmp_path):
    shape = tiny_llm.Shape()
    values = tiny_llm.weights(shape)
    paths = split(tmp_path, shape, values, 3)
    said = refusal(paths[1])
    assert "part 2 of 3" in said and "give the first" in said, said
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(paths[0].read_bytes())
    assert "does not end in '-00001-of-00003.gguf'" in refusal(renamed)
    kept = paths[1].read_bytes()
    paths[1].write_bytes(paths[2].read_bytes())
    said = refusal(paths[0])
    assert "part 2 of 3" in said and "says that it is part 3 of 3" in said, said
    paths[1].write_bytes(kept[:100])
    said = refusal(paths[0])
    assert "part 2 of 3" in said and paths[1].name in said and "truncated" in said, said
    paths[1].unlink()
    said = refusal(paths[0])
    assert "part 2 of 3" in said and paths[1].name in said and "No such file" in said, said
