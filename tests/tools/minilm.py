"""all-MiniLM-L6-v2 from its Python package: as a GGUF file, and as a plain reference in numpy."""
import json
import math
import pathlib
import struct
import zipfile

import numpy as np
from tokenizers import Tokenizer

import all_minilm_l6_v2
import gguf_file

HEADS = 12
PARTS = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
         "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
TABLES = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
          "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}


def load():
    """(weights by name, the reference tokenizer without padding or truncation)"""
    with zipfile.ZipFile(pathlib.Path(all_minilm_l6_v2.__file__).parent / "model.zip") as archive:
        data = archive.read("model.safetensors")
        tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    size, = struct.unpack_from("<Q", data)
    weights = {}
    for name, about in json.loads(data[8:8 + size]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            begin, end = about["data_offsets"]
            weights[name] = np.frombuffer(data[8 + size + begin:8 + size + end], "<f4").reshape(about["shape"])
    return weights, tokenizer


def name_of(name):
    stem, ending = name.rsplit(".", 1)
    if stem in TABLES:
        return f"{TABLES[stem]}.{ending}"
    if stem.startswith("encoder.layer."):
        index, part = stem.removeprefix("encoder.layer.").split(".", 1)
        return f"blk.{index}.{PARTS[part]}.{ending}"
    return None  # the pooler, which sentence embeddings don't use


def quantised(array):
    blocks = array.reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    q = np.round(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)).astype("i1")
    return np.concatenate([scale.astype("<f2").view("u1"), q.view("u1")], 1).tobytes()


def write_gguf(path, weights, tokenizer, kind="F32"):
    number, pack = {"F32": (0, lambda a: a.tobytes()), "F16": (1, lambda a: a.astype("<f2").tobytes()),
                    "Q8_0": (8, quantised)}[kind]
    tensors = []
    for name, array in weights.items():
        if name_of(name):
            matrix = array.ndim == 2
            tensors.append((name_of(name), number if matrix else 0, array.shape[::-1],
                            pack(array) if matrix else array.tobytes()))
    vocab = tokenizer.get_vocab()
    spelled = [t if t.startswith("[") and t.endswith("]") else t[2:] if t.startswith("##") and len(t) > 2
               else "\u2581" + t for t in sorted(vocab, key=vocab.get)]
    gguf_file.write(path, {
        "general.architecture": "bert", "bert.embedding_length": 384, "bert.feed_forward_length": 1536,
        "bert.block_count": 6, "bert.attention.head_count": HEADS, "bert.context_length": 512,
        "bert.attention.layer_norm_epsilon": 1e-12, "bert.pooling_type": 1, "bert.attention.causal": False,
        "tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": spelled,
        "tokenizer.ggml.cls_token_id": 101, "tokenizer.ggml.seperator_token_id": 102,
        "tokenizer.ggml.unknown_token_id": 100}, tensors)


STEPS = 128  # of the table, per unit
TABLE = np.array([math.erf(i / STEPS) for i in range(-6 * STEPS, 6 * STEPS + 1)])


def erf(x):
    """From the nearest entry of the table by its Taylor series; the error is below 1e-15."""
    index = np.rint(np.clip(x, -6, 6) * STEPS)
    at = index / STEPS
    d = np.clip(x, -6, 6) - at
    square = at * at
    series = 1 + d * (-at + d * ((2 * square - 1) / 3 + d * (-at * (2 * square - 3) / 6
                                                             + d * (4 * square * square - 12 * square + 3) / 30)))
    return TABLE[index.astype(np.int64) + 6 * STEPS] + 2 / math.sqrt(math.pi) * np.exp(-square) * d * series


def exact(weights):
    """The weights as `reference` wants them."""
    return {name: value.astype(np.float64) for name, value in weights.items()}


def reference(weights, ids):
    """One text's vector, in double precision; weights from `exact`."""
    def get(name):
        return weights[name]

    def linear(x, name):
        return x @ get(name + ".weight").T + get(name + ".bias")

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * get(name + ".weight") + get(name + ".bias")

    def heads(x):
        return x.reshape(len(ids), HEADS, -1).transpose(1, 0, 2)

    x = (get("embeddings.word_embeddings.weight")[ids] + get("embeddings.token_type_embeddings.weight")[0]
         + get("embeddings.position_embeddings.weight")[:len(ids)])
    x = norm(x, "embeddings.LayerNorm")
    for i in range(6):
        at = f"encoder.layer.{i}."
        q, k, v = (heads(linear(x, f"{at}attention.self.{n}")) for n in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        mixed = (share @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        wide = linear(x, at + "intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide / np.sqrt(2)))
        x = norm(x + linear(wide, at + "output.dense"), at + "output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)
