"""Does our engine say what llama.cpp says? The same file, greedy continuations and perplexity.

100 prompts, half of them plain text and half turns of a chat, are continued greedily by both. The two must
agree up to the first token at which llama.cpp's own two best logits are closer than MARGIN: where they are,
either choice is right. Token ids of all prompts must be equal. Perplexity over a fixed text must agree
within 0.5%. Then every architecture on random F32 weights, which need no model file: the log likelihood of
random tokens; and every format of weights, likewise. Ends with status 3 where a bound is missed.
"""
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from engine import BIN, ROOT, SMOL, model_file, ours, peer

sys.path.insert(0, str(ROOT / "tests" / "tools"))
import gguf_file  # noqa: E402
import tiny_llm  # noqa: E402

MARGIN = 0.3  # logits; set before anything was measured, and llama.cpp's own two builds part beyond it
TOKENS = 48
PERPLEXITY_PERCENT = 0.5
START, END = 1, 2  # <|im_start|> and <|im_end|>

OPENINGS = (
    "Explain in simple words how {} works.", "Write a short story about {}.", "The history of {} begins",
    "List three facts about {}:\n1.", "Question: Why is {} important?\nAnswer:", "{} is best described as",
    "Dear Sir, I am writing to you about {},", "def count(items):  # counts {} in a list\n    ",
    "Translate into French: I like {}.", "Two friends argue about {}. The first says:",
)
TOPICS = ("a bicycle", "the tides", "bread", "chess", "a steam engine", "the 1969 moon landing", "honey bees",
          "prime numbers", "café life in Zürich", "volcanoes")


def prompts(driver):
    """Token ids by text, and whether it became a turn of a chat."""
    for i, opening in enumerate(OPENINGS):
        for k, topic in enumerate(TOPICS):
            text = opening.format(topic)
            ids = tokenize(driver, text)
            if (i + k) % 2:
                ids = [START, *tokenize(driver, "user\n"), *ids, END, *tokenize(driver, "\n"), START,
                       *tokenize(driver, "assistant\n")]
            yield text, ids


def tokenize(driver, text):
    return [int(word) for word in driver.ask("tokenize", text.encode().hex()).split()]


def greedy(driver, ids):
    words = driver.ask("greedy", TOKENS, *ids).split()
    pairs = [word.partition(":") for word in words]
    return [int(token) for token, _, _ in pairs], [float(gap or 0) for _, _, gap in pairs]


def continuations(driver):
    return {text: (ids, *greedy(driver, ids)) for text, ids in prompts(driver)}


def compare(mine, theirs, name):
    """One line, and the prompts whose continuations part too early."""
    equal, tokens, parted = 0, 0, []
    for text, (ids, said, _) in mine.items():
        ids_there, said_there, gaps = theirs[text]
        if ids != ids_there:
            raise SystemExit(f"the token ids of {text!r} differ: {ids} and {ids_there}")
        first = next((i for i, pair in enumerate(zip(said, said_there)) if pair[0] != pair[1]), TOKENS)
        equal, tokens = equal + (first == TOKENS), tokens + first
        if first < TOKENS:
            parted.append((gaps[first], first, text))
    wrong = [one for one in parted if one[0] >= MARGIN]
    print(f"{name:<24} {equal:>5} {len(parted):>8} {tokens:>8} {max([0, *(gap for gap, _, _ in parted)]):>9.3f} "
          f"{len(wrong):>9}", flush=True)
    for gap, at, text in wrong:
        print(f"    too early: {text!r} at token {at}, logits {gap:.3f} apart")
    return wrong


def passage(driver):
    return tokenize(driver, (ROOT / "tests" / "bench" / "engine" / "passage.txt").read_text().replace("\n", " "))


def losses(driver):
    """The negative log likelihood of every token of the passage but the first."""
    return [float(word) for word in driver.ask("nll", *passage(driver)).split()]


# llama.cpp knows no windows for these architectures; tests/compat/test_architectures.py covers them.
ARCHITECTURES = {
    "llama": {},
    "llama, rope_freqs": {"rope_freqs": True, "theta": 500000.0},
    "llama, linear RoPE": {"linear": 4.0},
    "qwen2": {"arch": "qwen2", "theta": 1e6, "eps": 1e-6},
    "qwen3": {"arch": "qwen3", "theta": 1e6, "eps": 1e-6, "head_dim": 32},
}
RANDOM_TOKENS = 400
APART = 0.005  # log likelihood, root mean square


def architectures():
    """The names of those that part."""
    wrong = []
    print(f"\n{RANDOM_TOKENS} random tokens, random F32 weights: log likelihoods differ by (root mean square, most)")
    for name, changes in ARCHITECTURES.items():
        shape = tiny_llm.Shape(layers=3, **{"head_dim": 16, **changes})
        ids = [(7919 * i * i + 31 * i) % shape.vocab for i in range(RANDOM_TOKENS)]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "random.gguf"
            tiny_llm.write(path, shape, tiny_llm.weights(shape))
            with ours(path, seqs=1) as a, peer(path, seqs=1, context=2048) as b:
                x, y = ([float(word) for word in one.ask("nll", *ids).split()] for one in (a, b))
        off = [abs(p - q) for p, q in zip(x, y, strict=True)]
        apart = math.sqrt(statistics.fmean(one * one for one in off))
        print(f"{name:<24} {apart:.6f} {max(off):.6f}  {'' if apart <= APART else 'missed'}")
        print(f'BENCH agree architecture="{name}" apart={apart:.6f} most={max(off):.6f}')
        wrong += [name] * (apart > APART)
    return wrong


# GGUF's numbers of types, and how far log likelihoods may part. Both engines round activations, not alike: llama.cpp
# by blocks of 256 where weights are of a K type.
FORMATS = {"F16": (1, 0.01), "BF16": (30, 0.03), "Q8_0": (8, 0.05), "Q4_0": (2, 0.05), "Q4_1": (3, 0.05),
           "Q5_0": (6, 0.05), "Q5_1": (7, 0.05), "Q4_K": (12, 0.05), "Q5_K": (13, 0.05), "Q6_K": (14, 0.05)}


def write_format(path, shape, kind):
    tensors = []
    for name, value in tiny_llm.weights(shape).items():
        data, stored = value.tobytes(), 0
        if value.ndim == 2:
            data = subprocess.run([BIN / "test-dtype", str(kind), str(value.shape[1]), "from"], input=data,
                                  capture_output=True, check=True).stdout
            stored = kind
        tensors.append((name, stored, tuple(reversed(value.shape)), data))
    gguf_file.write(path, tiny_llm.metadata(shape), tensors)


def formats():
    """The names of those that part."""
    wrong = []
    print(f"\n{RANDOM_TOKENS} random tokens, random weights: log likelihoods differ by (root mean square, most)")
    for name, (kind, most) in FORMATS.items():
        shape = tiny_llm.Shape(layers=3, width=512, heads=8, head_dim=64, ffn=512)
        ids = [(7919 * i * i + 31 * i) % shape.vocab for i in range(RANDOM_TOKENS)]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "random.gguf"
            write_format(path, shape, kind)
            with ours(path, seqs=1) as a, peer(path, seqs=1, context=2048) as b:
                x, y = ([float(word) for word in one.ask("nll", *ids).split()] for one in (a, b))
        off = [abs(p - q) for p, q in zip(x, y, strict=True)]
        apart = math.sqrt(statistics.fmean(one * one for one in off))
        print(f"{name:<24} {apart:.6f} {max(off):.6f}  {'' if apart <= most else 'missed'}", flush=True)
        print(f'BENCH agree format="{name}" apart={apart:.6f} most={max(off):.6f}')
        wrong += [name] * (apart > most)
    return wrong


def kv_in_q8(file, ids):
    """What keys and values in Q8 cost: along the passage, against the same engine with F16."""
    def logits(*kv):
        done = subprocess.run([BIN / "test-logits", file, "1", *kv], input=np.asarray(ids, "<u4").tobytes(),
                              capture_output=True, check=True)
        return np.frombuffer(done.stdout, "<f4").reshape(len(ids), -1).astype(np.float64)

    def perplexity(rows):
        rows = rows[:-1] - rows[:-1].max(-1, keepdims=True)
        return math.exp(np.mean(np.log(np.exp(rows).sum(-1)) - rows[np.arange(len(rows)), ids[1:]]))

    f16, q8 = logits(), logits("q8")
    same = (f16.argmax(-1) == q8.argmax(-1)).mean()
    a, b = perplexity(f16), perplexity(q8)
    print(f"\nkeys and values in Q8: perplexity of {len(ids)} tokens {b:.4f}, with F16 {a:.4f} ({100 * (b / a - 1):+.3f}%); the "
          f"likeliest token is the same at {100 * same:.1f}% of them")
    print(f"BENCH agree kv=q8 perplexity={b:.4f} perplexity_f16={a:.4f} same_top={same:.4f}")


def main():
    file = model_file(SMOL)
    with ours(file, seqs=1) as a, peer(file, seqs=1, context=8192) as b, \
            peer(file, "avx2", seqs=1, context=8192) as c:
        said = [continuations(one) for one in (a, b, c)]
        lost = [losses(one) for one in (a, b, c)]
        passage_ids = passage(a)
        print(f"{SMOL}, ours on {a.facts['path']} (numerics {a.facts['numerics']}); llama.cpp's builds: for "
              f"this processor, and for AVX2\n")
    print(f"{len(said[0])} prompts, {TOKENS} tokens   equal   parted   tokens  furthest  too early (margin {MARGIN})")
    wrong = compare(said[0], said[1], "ours, llama.cpp")
    compare(said[2], said[1], "llama.cpp's two builds")
    print("\nparted: at a token where llama.cpp's two best logits are as close as `furthest` says, or closer.\n")
    mine, theirs, other = (math.exp(statistics.fmean(one)) for one in lost)
    apart = [math.sqrt(statistics.fmean((x - y) ** 2 for x, y in zip(one, lost[1]))) for one in (lost[0], lost[2])]
    off = 100 * (mine / theirs - 1)
    print(f"perplexity of {len(lost[0])} tokens: ours {mine:.4f}, llama.cpp {theirs:.4f} and {other:.4f}; {off:+.2f}% "
          f"(at most {PERPLEXITY_PERCENT}% either way)")
    print(f"a token's log likelihood differs by {apart[0]:.4f} from llama.cpp's (root mean square), as its two "
          f"builds do by {apart[1]:.4f}")
    print(f"BENCH agree too_early={len(wrong)} perplexity={mine:.4f} peer_perplexity={theirs:.4f} "
          f"off_percent={off:.3f} apart={apart[0]:.4f} peer_apart={apart[1]:.4f}")
    kv_in_q8(file, passage_ids)
    wrong += architectures() + formats()
    return 3 if wrong or abs(off) > PERPLEXITY_PERCENT else 0


if __name__ == "__main__":
    sys.exit(main())
