"""Small random decoder models: written as GGUF files, and computed in double precision from their definition.

The one rounding kept from the engine's documented rules is that of keys and values to F16 or Q8; all else is exact to
double precision.
"""
import array
import dataclasses

import numpy as np

import gguf_file


@dataclasses.dataclass
class Shape:
    arch: str = "llama"
    layers: int = 2
    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    ffn: int = 96
    context: int = 2048
    theta: float = 10000.0
    eps: float = 1e-5
    window: int = 0
    linear: float = 1.0
    rope_freqs: bool = False
    tied: bool = False
    kv_q8: bool = False
    seed: int = 1

    @property
    def vocab(self):
        return 3 + 256


def weights(shape):
    """{name: float32 array, rows are outputs}."""
    rng = np.random.default_rng(shape.seed)
    s, q, kv = shape, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    ret = {}

    def matrix(name, out, inputs):
        ret[name] = (rng.standard_normal((out, inputs)) / np.sqrt(inputs)).astype(np.float32)

    def vector(name, length, middle):
        ret[name] = (middle + 0.3 * rng.standard_normal(length)).astype(np.float32)

    matrix("token_embd.weight", s.vocab, s.width)
    vector("output_norm.weight", s.width, 1)
    if not s.tied:
        matrix("output.weight", s.vocab, s.width)
    if s.rope_freqs:
        ret["rope_freqs.weight"] = np.linspace(1, 8, s.head_dim // 2).astype(np.float32)
    for i in range(s.layers):
        at = f"blk.{i}."
        for name, out, inputs in (("attn_q", q, s.width), ("attn_k", kv, s.width), ("attn_v", kv, s.width),
                                  ("attn_output", s.width, q), ("ffn_gate", s.ffn, s.width),
                                  ("ffn_up", s.ffn, s.width), ("ffn_down", s.width, s.ffn)):
            matrix(f"{at}{name}.weight", out, inputs)
        vector(at + "attn_norm.weight", s.width, 1)
        vector(at + "ffn_norm.weight", s.width, 1)
        if s.arch == "qwen2":
            for name, length in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
                vector(f"{at}{name}.bias", length, 0)
        if s.arch == "qwen3":
            vector(at + "attn_q_norm.weight", s.head_dim, 1)
            vector(at + "attn_k_norm.weight", s.head_dim, 1)
    return ret


def metadata(shape):
    s, at = shape, shape.arch + "."
    ret = {
        "general.architecture": s.arch, "general.name": f"tiny {s.arch}",
        at + "block_count": s.layers, at + "embedding_length": s.width, at + "feed_forward_length": s.ffn,
        at + "context_length": s.context, at + "attention.head_count": s.heads,
        at + "attention.head_count_kv": s.kv_heads, at + "attention.key_length": s.head_dim,
        at + "attention.value_length": s.head_dim, at + "rope.freq_base": s.theta,
        at + "attention.layer_norm_rms_epsilon": s.eps,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)],
        "tokenizer.ggml.scores": [0.0] * s.vocab,
        "tokenizer.ggml.token_type": array.array("i", [2, 3, 3] + [6] * 256),
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
    }
    if s.window:
        ret[at + "attention.sliding_window"] = s.window
    if s.linear != 1:
        ret[at + "rope.scaling.type"] = "linear"
        ret[at + "rope.scaling.factor"] = float(s.linear)
    return ret


def tensors(values):
    return [(name, 0, tuple(reversed(v.shape)), v.tobytes()) for name, v in values.items()]


def write(path, shape, values, more=None):
    gguf_file.write(path, metadata(shape) | (more or {}), tensors(values))


def rms(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotated(x, shape, freqs):
    """x: tokens × heads × head_dim."""
    half = shape.head_dim // 2
    angles = np.arange(len(x))[:, None] * freqs[None, :]
    cosine, sine = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    ret = np.empty_like(x)
    first, second = (slice(0, None, 2), slice(1, None, 2)) if shape.arch == "llama" else (slice(0, half),
                                                                                         slice(half, None))
    ret[..., first] = x[..., first] * cosine - x[..., second] * sine
    ret[..., second] = x[..., first] * sine + x[..., second] * cosine
    return ret


def in_q8(x):
    """Groups of 32 dimensions, each scale · int8."""
    ret = np.empty_like(x)
    for at in range(0, x.shape[-1], 32):
        part = x[..., at:at + 32]
        scale = (np.abs(part).max(-1, keepdims=True) / 127).astype(np.float16).astype(np.float64)
        ret[..., at:at + 32] = np.clip(np.rint(part / scale), -127, 127) * scale
    return ret


def attention(x, layer, shape, freqs):
    s, n, group = shape, len(x), shape.heads // shape.kv_heads
    q, k, v = (x @ layer[f"attn_{c}.weight"].T + layer.get(f"attn_{c}.bias", 0) for c in "qkv")
    q, k, v = q.reshape(n, s.heads, -1), k.reshape(n, s.kv_heads, -1), v.reshape(n, s.kv_heads, -1)
    if s.arch == "qwen3":
        q, k = rms(q, layer["attn_q_norm.weight"], s.eps), rms(k, layer["attn_k_norm.weight"], s.eps)
    q, k = rotated(q, s, freqs), rotated(k, s, freqs)
    k, v = ((in_q8(a) if s.kv_q8 else a).astype(np.float16).astype(np.float64) for a in (k, v))
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    seen = (distance >= 0) & (distance < (s.window or n))
    out = np.empty_like(q)
    for h in range(s.heads):
        scores = np.where(seen, q[:, h] @ k[:, h // group].T / np.sqrt(s.head_dim), -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, h] = p @ v[:, h // group] / p.sum(-1, keepdims=True)
    return out.reshape(n, -1) @ layer["attn_output.weight"].T


def states(shape, values, ids):
    """Every token's last hidden state, after the final norm."""
    s = shape
    w = {name: v.astype(np.float64) for name, v in values.items()}
    freqs = 1 / s.theta ** (np.arange(0, s.head_dim, 2) / s.head_dim) / s.linear
    if s.rope_freqs:
        freqs = freqs / w["rope_freqs.weight"]
    x = w["token_embd.weight"][ids]
    for i in range(s.layers):
        at = f"blk.{i}."
        layer = {name[len(at):]: v for name, v in w.items() if name.startswith(at)}
        x = x + attention(rms(x, layer["attn_norm.weight"], s.eps), layer, s, freqs)
        y = rms(x, layer["ffn_norm.weight"], s.eps)
        gate = y @ layer["ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ layer["ffn_up.weight"].T)) @ layer["ffn_down.weight"].T
    return rms(x, w["output_norm.weight"], s.eps)


def logits(shape, values, ids):
    """The logits after every token."""
    output = values.get("output.weight", values["token_embd.weight"]).astype(np.float64)
    return states(shape, values, ids) @ output.T
