"""The encoder against a plain double-precision computation with the same weights, on 200 texts."""
import os
import pathlib
import random
import struct
import subprocess

import numpy as np
import pytest

import minilm

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
CONTEXT = 512
LEAST = {"F32": 0.9999, "F16": 0.9999, "Q8_0": 0.995}


@pytest.fixture(scope="module")
def model():
    weights, tokenizer = minilm.load()
    texts = [within_context(text, tokenizer) for text in sentences()]
    exact = minilm.exact(weights)
    return weights, tokenizer, texts, [minilm.reference(exact, tokenizer.encode(t).ids) for t in texts]


def within_context(text, tokenizer):
    """The text, without its last words where the model would refuse it: words come from documents that change."""
    while len(tokenizer.encode(text).ids) > CONTEXT:
        text = text.rpartition(" ")[0]
    return text


def sentences():
    rng = random.Random(5)
    words = sorted({w for p in sorted(ROOT.glob("docs/*.md")) for w in p.read_text().split()})
    lengths = [1, 2, 3, 15, 16, 17, 150] + [rng.randint(1, 40) for _ in range(190)]
    return ["", "Caf\u00e9 na\u00efve \u65e5\u672c\u8a9e \U0001f600", "a" * 200] + [
        " ".join(rng.choice(words) for _ in range(n)) for n in lengths]


def embed(path, texts, threads=2, batch=16, env=None):
    given = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    done = subprocess.run([BUILD / "test-embed", path, str(threads), str(batch)], input=given,
                          capture_output=True, timeout=300, env=dict(os.environ) | (env or {}))
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, "<f4").reshape(len(texts), -1)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_vectors_agree_with_the_reference(model, tmp_path, kind):
    weights, tokenizer, texts, wanted = model
    path = tmp_path / "minilm.gguf"
    minilm.write_gguf(path, weights, tokenizer, kind)
    assert len(texts) == 200
    texts = texts if kind == "F32" else texts[:40]
    got = embed(path, texts)
    for text, vector, want in zip(texts, got, wanted):
        assert abs(np.linalg.norm(vector) - 1) < 1e-5
        assert vector @ want >= LEAST[kind], f"{kind}: cosine {vector @ want:.6f} for {text[:80]!r}"
    some = texts[:40]
    assert embed(path, some, threads=1, batch=1).tobytes() == got[:40].tobytes()
    assert embed(path, some, threads=3, batch=40).tobytes() == got[:40].tobytes()
