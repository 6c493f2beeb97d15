"""The router's guesses of token counts beside what tokenizers make of the same texts. The errors are printed (pytest -s)."""
import random
import struct
import subprocess

import pytest

from test_tokenizers import BUILD, ROOT, SMOLLM, learnt_bpe, real_smollm

COUNT = 600
SEED = 7
LENGTHS = (100, 300, 1000, 3000)  # characters
FIRST = 20  # guesses before a scale is found
GERMAN = "Der Vorstand hat beschlossen, die Verträge mit den Lieferanten bis zum Ende des Geschäftsjahres zu verlängern. "
CHINESE = "我们需要在本季度末之前完成所有供应商合同的审核,并将结果提交给财务部门。请说明其中的风险。"


def kinds(rng):
    return {"prose": (ROOT / "tests" / "bench" / "engine" / "passage.txt").read_text(),
            "code": (ROOT / "services" / "router" / "policy" / "decide.c").read_text(),
            "JSON": (ROOT / "CMakePresets.json").read_text(),
            "numbers": "\n".join(",".join(str(rng.randrange(10 ** 6)) for _ in range(8)) for _ in range(300)),
            "German": GERMAN * 30, "Chinese": CHINESE * 70}


def draw(rng, kind):
    length = rng.choice(LENGTHS)
    at = rng.randrange(max(1, len(kind) - length))
    return kind[at:at + length]


def errors(texts, counts):
    """How far our guesses, and a token for every four bytes, are off: shares of all tokens."""
    data = b"".join(struct.pack("<II", n, len(t.encode())) + t.encode() for t, n in zip(texts, counts))
    out = subprocess.run([BUILD / "test-estimate"], input=data, capture_output=True, check=True, timeout=60).stdout
    guesses = [int(line) for line in out.split()]
    assert len(guesses) == len(texts)
    later = list(zip(texts, counts, guesses))[FIRST:]
    total = sum(n for _, n, _ in later)
    return (sum(abs(g - n) for _, n, g in later) / total,
            sum(abs(len(t.encode()) / 4 - n) for t, n, _ in later) / total)


@pytest.mark.parametrize("name", ["smollm-real", "llama-bpe"])
def test_guesses_are_near(name):
    if name == "smollm-real" and not SMOLLM.exists():
        pytest.skip(f"{SMOLLM.name} is not in build/models")
    reference = real_smollm()[0] if name == "smollm-real" else learnt_bpe(name)[0]
    rng = random.Random(SEED)
    named = kinds(rng)
    for what, chosen in [(kind, [kind]) for kind in named] + [("all of them", list(named))]:
        texts = [draw(rng, named[rng.choice(chosen)]) for _ in range(COUNT if len(chosen) > 1 else COUNT // 10)]
        counts = [len(e.ids) for e in reference.encode_batch(texts, add_special_tokens=False)]
        ours, naive = errors(texts, counts)
        print(f"{name}, {what}: off by {100 * ours:.1f}% of all tokens; a token for every four bytes by {100 * naive:.1f}%")
        assert len(chosen) > 1 or ours < 0.2, what
        assert ours < 0.7 * naive or len(chosen) == 1, what
