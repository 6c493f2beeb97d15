"""Every format of weights against the `gguf` package's own reading of it, and models in them against their definition."""
import os
import pathlib
import subprocess

import gguf
import numpy as np
import pytest

import gguf_file
import tiny_llm

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
SEED = int(os.environ.get("TG_TEST_SEED", "1"))
INPUTS, ROWS = 512, 40
# Where the F16 numbers of a block are, in bytes.
HALVES = {"F16": [0], "BF16": [], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def run(kind, mode, data):
    done = subprocess.run([BUILD / "test-dtype", str(int(kind)), str(INPUTS), mode], input=data, capture_output=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def random_rows(name, rng):
    """Blocks of any bytes, but with finite scales."""
    length, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (ROWS * INPUTS // length, size), np.uint8)
    for at in HALVES[name]:
        halves = rng.normal(0, 1, len(blocks)) * 2.0 ** rng.integers(-20, 4, len(blocks))
        blocks[:, at:at + 2] = halves.astype("<f2").view(np.uint8).reshape(-1, 2)
    if name == "BF16":
        blocks[:, 1] &= 0xbf  # no infinities nor NaNs
    return blocks.reshape(ROWS, -1)


@pytest.mark.parametrize("mode", ["to", "packed"])
@pytest.mark.parametrize("name", HALVES)
def test_weights_are_read_to_the_bit(name, mode):
    kind = gguf.GGMLQuantizationType[name]
    rows = random_rows(name, np.random.default_rng(SEED))
    data = rows.view(np.float16) if name == "F16" else rows
    want = gguf.quants.dequantize(data, kind).astype(np.float32)
    got = np.frombuffer(run(kind, mode, rows.tobytes()), "<f4").reshape(ROWS, INPUTS)
    differ = np.argwhere(got.view(np.uint32) != want.view(np.uint32))
    assert len(differ) == 0, f"{name}, seed {SEED}: {len(differ)} weights differ, the first at {differ[0]}: " \
                             f"{got[tuple(differ[0])]!r}, not {want[tuple(differ[0])]!r}"


@pytest.mark.parametrize("name", HALVES)
def test_a_model_computes_what_its_weights_say(tmp_path, name):
    """Activations are rounded to int8 with quantised weights, which is what the bound leaves room for."""
    kind = gguf.GGMLQuantizationType[name]
    shape = tiny_llm.Shape(width=INPUTS, heads=8, head_dim=64, ffn=INPUTS, tied=True, seed=SEED)
    values, tensors = tiny_llm.weights(shape), []
    for at, value in values.items():
        data, stored = value.tobytes(), 0
        if value.ndim == 2:
            data, stored = run(kind, "from", data), int(kind)
            rows = np.frombuffer(data, np.uint8).reshape(len(value), -1)
            values[at] = gguf.quants.dequantize(rows.view(np.float16) if name == "F16" else rows, kind).astype(np.float32)
        tensors.append((at, stored, tuple(reversed(value.shape)), data))
    path = tmp_path / "model.gguf"
    gguf_file.write(path, tiny_llm.metadata(shape), tensors)
    ids = np.random.default_rng(SEED).integers(0, shape.vocab, 40)
    want = tiny_llm.logits(shape, values, ids)
    outputs = []
    for cpu in ("scalar", None):
        env = os.environ | ({"TOLLGATE_CPU": cpu} if cpu else {})
        done = subprocess.run([BUILD / "test-logits", path, "1"], input=np.asarray(ids, "<u4").tobytes(), env=env,
                              capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1], f"{name}, seed {SEED}: this processor's path differs from the scalar one"
    got = np.frombuffer(outputs[0], "<f4").reshape(len(ids), -1)
    off = np.linalg.norm(got - want) / np.linalg.norm(want)
    print(f"{name}: off by {off:.2e}")
    assert off <= (1e-3 if name in ("F16", "BF16") else 0.03), f"{name}, seed {SEED}: off by {off:.2e}"
