"""Every tokenizer family against the reference implementation on random Unicode text.

SmolLM2's vocabulary is the real one where its file is at hand. The others are learnt here by the reference
from a seeded corpus, with the family's own pattern and normaliser, which asks the same of the algorithm.
"""
import json
import os
import pathlib
import random
import struct
import subprocess
import unicodedata

import pytest
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        trainers)

import gguf_file

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BIN", ROOT / "build" / "bin"))
SMOLLM = ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
COUNT = int(os.environ.get("TG_TEST_STRINGS", "20000"))
NONE = 0xffffffff
SENTENCEPIECE, BPE, WORDPIECE = 0, 1, 2
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
RANGES = [(0x20, 0x7e)] * 6 + [(0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x4ff), (0x590, 0x6ff),
          (0x900, 0x97f), (0xe00, 0xe7f), (0x1e00, 0x1fff), (0x2000, 0x206f), (0x2100, 0x22ff), (0x3040, 0x30ff),
          (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0x1100, 0x11ff), (0x1f300, 0x1faff), (0xf900, 0xfaff),
          (0xff00, 0xffef), (0, 0x1f), (0x80, 0x9f), (0x1d400, 0x1d7ff), (0x20000, 0x2a6df), (0xa0, 0x2fff)]
WORDS = ["'s", "'T", "'re", "'VE", "'ll", "I'm", "don't", "\u017f", "'\u017f", "hello", "World", "the", " ", "  ", "\n",
         "\r\n", "\t", "\u3000", "\u00a0", "\u0085", "123", "4567890", "\u0663", "\u00bd", "caf\u00e9", "cafe\u0301",
         "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u65e5\u672c\u8a9e", "\ufeff", "<|im_end|>",
         "[SEP]", "</s>", "<0x0A>", "##ing", "\u2581", "\u1e9e", "\u0130", "\u212b", "\ufb01", "\ud55c\uad6d\uc5b4", "a" * 101]


def agreed(point):
    return unicodedata.category(chr(point)) != "Cn"


NEWER_MAX = {"14.0.0": 500}  # our tables' version


def newer_than_reference():
    """What is a mark or punctuation in only one of Python's and the reference's, older, tables."""
    strip, split = normalizers.BertNormalizer(strip_accents=True, lowercase=False), pre_tokenizers.BertPreTokenizer()
    found = set()
    for char in map(chr, [*range(0x80, 0xd800), *range(0xe000, 0x30000)]):
        category = unicodedata.category(char)
        if unicodedata.normalize("NFD", char) != char or category in ("Cc", "Cf", "Co", "Cn"):
            continue
        if (category == "Mn") != (char not in strip.normalize_str("a" + char)) and not char.isspace():
            found.add(char)
        elif (category[0] == "P") != (len(split.pre_tokenize_str("a" + char)) == 2):
            found.add(char)
    return found


def draw_text(rng):
    parts = []
    for _ in range(rng.randint(0, 12)):
        choice = rng.random()
        if choice < 0.4:
            parts.append(rng.choice(WORDS))
        elif choice < 0.5:
            parts.append(rng.choice(" \n\t") * rng.randint(1, 40))
        elif choice < 0.6:
            parts.append("".join(rng.choice("0123456789") for _ in range(rng.randint(1, 12))))
        else:
            low, high = rng.choice(RANGES)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
    return "".join(c for c in "".join(parts) if agreed(ord(c)))


def corpus():
    rng = random.Random(7)
    source = [p.read_text() for p in sorted(ROOT.glob("docs/*.md"))]
    return source + [draw_text(rng) for _ in range(4000)]


def string(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<I", len(data)) + data


def encode(texts, kind, tokens, scores=None, types=None, merges=(), pre="", flags=0, bos=NONE, eos=NONE, unk=NONE):
    """The ids and the detokenised text of each text."""
    given = [struct.pack("<5I", kind, flags, bos, eos, unk), string(pre), struct.pack("<I", len(tokens))]
    for i, token in enumerate(tokens):
        given.append(string(token) + struct.pack("<fi", scores[i] if scores else 0, types[i] if types else 1))
    given.append(struct.pack("<I", len(merges)) + b"".join(map(string, merges)))
    given += map(string, texts)
    done = subprocess.run([BUILD / "test-encode"], input=b"".join(given), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    found, at, out = [], 0, done.stdout
    for _ in texts:
        count, = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{count}I", out, at + 4))
        at += 4 + 4 * count
        size, = struct.unpack_from("<I", out, at)
        found.append((ids, out[at + 4:at + 4 + size]))
        at += 4 + size
    return found


def check(name, reference, texts, got, tokens):
    wrong = []
    for text, want, (ids, _) in zip(texts, reference.encode_batch(texts, add_special_tokens=False), got):
        if want.ids != ids:
            wrong.append((text, [tokens[i] for i in want.ids], [tokens[i] for i in ids]))
    wrong.sort(key=lambda w: len(w[0]))
    assert not wrong, f"{name}: {len(wrong)} of {len(texts)} differ; first: {wrong[:3]!r}"


def broken_bytes(rng):
    data = bytearray(draw_text(rng).encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        data[at:at] = bytes([rng.choice([0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xf5, 0xff])])
    return bytes(data)


def smollm_split():
    return [pre_tokenizers.Digits(individual_digits=True)]


def bpe_family(name):
    """The reference with this family's settings, not yet learnt."""
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name in ("gpt-2", "smollm"))
    before = []
    if name == "smollm":
        before = smollm_split()
    elif name == "llama-bpe":
        before = [pre_tokenizers.Split(Regex(LLAMA3), "isolated")]
        tokenizer.model = models.BPE(ignore_merges=True)
    elif name == "qwen2":
        before = [pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated")]
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(before + [level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def real_smollm():
    metadata = gguf_file.read_metadata(SMOLLM)
    tokens = [t.decode() for t in metadata["tokenizer.ggml.tokens"]]
    merges = [m.decode() for m in metadata["tokenizer.ggml.merges"]]
    tokenizer = bpe_family("smollm")
    tokenizer.model = models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges])
    return tokenizer, tokens, merges, metadata["tokenizer.ggml.token_type"]


def learnt_bpe(name):
    tokenizer = bpe_family(name)
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=6000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokenizer, tokens, [" ".join(m) for m in model["merges"]], None


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "smollm-real", "llama-bpe", "qwen2"])
def test_bpe_agrees_with_the_reference(name):
    if name == "smollm-real" and not SMOLLM.exists():
        pytest.skip(f"{SMOLLM.name} is not in build/models")
    reference, tokens, merges, types = real_smollm() if name == "smollm-real" else learnt_bpe(name)
    rng = random.Random(11)
    texts = [draw_text(rng) for _ in range(COUNT)]
    pre = name.removesuffix("-real")
    got = encode(texts, BPE, tokens, types=types, merges=merges, pre=pre)
    check(name, reference, texts, got, tokens)
    bytes_of = {c: b for b, c in byte_alphabet().items()}
    for text, (ids, back) in zip(texts, got):
        if name == "smollm-real" and bytes(bytes_of[c] for i in ids for c in tokens[i]) != text.encode():
            continue  # this vocabulary lacks a few bytes, and the reference drops them, too
        assert back.decode() == (unicodedata.normalize("NFC", text) if pre == "qwen2" else text)
    broken = [broken_bytes(rng) for _ in range(2000)]
    for data, (ids, _) in zip(broken, encode(broken, BPE, tokens, types=types, merges=merges, pre=pre)):
        # NFC may rewrite what surrounds the broken bytes; the real vocabulary lacks some bytes.
        if name not in ("qwen2", "smollm-real"):
            assert bytes(bytes_of[c] for i in ids for c in tokens[i]) == data


def byte_alphabet():
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def test_sentencepiece_agrees_with_the_reference():
    """As the reference converts a Llama 2 vocabulary: the merges are all splits of each piece, by score."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    learner.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=5000, limit_alphabet=600, show_progress=False))
    pieces = [t for t in sorted(learner.get_vocab(), key=learner.get_vocab().get)]
    alone = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens = alone + [p for p in pieces if p not in alone]
    scores = [0.0] * len(alone) + [-float(i) for i in range(len(tokens) - len(alone))]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - len(alone))
    vocab = {t: i for i, t in enumerate(tokens)}
    merges = []
    for token in tokens[len(alone):]:
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        splits = [(a, b) for a, b in splits if vocab.get(a, 0) >= len(alone) and vocab.get(b, 0) >= len(alone)]
        merges += sorted(splits, key=lambda s: (vocab[s[0]], vocab[s[1]]))
    reference = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    reference.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    rng = random.Random(12)
    texts = [draw_text(rng) for _ in range(COUNT)]
    settings = dict(scores=scores, types=types, flags=1, unk=0)
    got = encode(texts, SENTENCEPIECE, tokens, **settings)
    check("sentencepiece", reference, texts, got, tokens)
    for text, (_, back) in zip(texts, got):
        assert back.decode() == text.replace("\u2581", " ")


@pytest.mark.parametrize("spelling", ["hashes", "spaces"])
@pytest.mark.parametrize("cased", [False, True])
def test_wordpiece_agrees_with_the_reference(cased, spelling):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    reference = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    reference.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=8000, limit_alphabet=2000, special_tokens=special, show_progress=False))
    vocab = reference.get_vocab()
    tokens = sorted(vocab, key=vocab.get)
    plain = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    plain.normalizer, plain.pre_tokenizer = reference.normalizer, reference.pre_tokenizer
    spelled = tokens
    if spelling == "spaces":
        spelled = [t if t in special else t[2:] if t.startswith("##") and len(t) > 2 else "\u2581" + t for t in tokens]
    rng = random.Random(13)
    newer = newer_than_reference()
    assert len(newer) < NEWER_MAX.get(unicodedata.unidata_version, 560)  # a later Python knows more characters
    drop = str.maketrans("", "", "".join(newer))
    texts = [draw_text(rng).translate(drop) for _ in range(COUNT)]
    if spelling == "spaces":  # there U+2581 can't be told from the mark of a first piece
        texts = [text.replace("\u2581", "") for text in texts]
    settings = dict(flags=2 if cased else 0, unk=1)
    check("wordpiece", plain, texts, encode(texts, WORDPIECE, spelled, **settings), tokens)
    broken = [broken_bytes(rng).replace(b"\xe2\x96\x81", b"") for _ in range(2000)]
    broken = [b for b in broken if not newer & set(b.decode(errors="replace"))]
    check("wordpiece", plain, [b.decode(errors="replace") for b in broken],
          encode(broken, WORDPIECE, spelled, **settings), tokens)
    ids = encode(["hello"], WORDPIECE, spelled, bos=2, eos=3, **settings | {"flags": settings["flags"] | 12})[0][0]
    assert (ids[0], ids[-1]) == (2, 3)
