/* Small random models, written as GGUF files by the tests themselves. */
#ifndef TG_TESTS_TINY_MODEL_H
#define TG_TESTS_TINY_MODEL_H

#include "libs/base/buf.h"
#include "services/inference/model/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct tiny_conf {
    uint64_t seed;
    tg_dtype type; /* of the matrices; 0 (F32) by default */
    uint32_t layers, width, heads, kv_heads, ffn, context; /* 0: a small default */
    bool tied;     /* no output.weight */
    bool bpe;      /* byte-level BPE with ChatML; else SentencePiece with bytes only */
    uint32_t more; /* bpe: so many more tokens, of three capital letters, at most 26³ */
    bool calls; /* bpe: id 0 is the control token <tool_call>, of which the template tells; the last
                   id is "></" */
    const char *architecture; /* NULL: llama */
    uint32_t window;          /* 0: none */
} tiny_conf;

#define TINY_BPE_TOKENS (256 + 3 + 4)
#define TINY_SPM_TOKENS (3 + 256 + 5)

static inline uint64_t tiny_random(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline float tiny_uniform(uint64_t *state) /* −1 to 1 */
{
    return (float)((double)(tiny_random(state) >> 11) * 0x1p-52 - 1.0);
}

static inline void tiny_u32(tg_buf *b, uint32_t v) { tg_buf_add(b, &v, 4); }
static inline void tiny_u64(tg_buf *b, uint64_t v) { tg_buf_add(b, &v, 8); }
static inline void tiny_str(tg_buf *b, const char *text)
{
    tiny_u64(b, strlen(text));
    tg_buf_add_text(b, text);
}
static inline void tiny_key_u32(tg_buf *b, const char *key, uint32_t v)
{
    tiny_str(b, key);
    tiny_u32(b, 4);
    tiny_u32(b, v);
}
static inline void tiny_key_str(tg_buf *b, const char *key, const char *v)
{
    tiny_str(b, key);
    tiny_u32(b, 8);
    tiny_str(b, v);
}
static inline void tiny_key_array(tg_buf *b, const char *key, uint32_t type, uint64_t count)
{
    tiny_str(b, key);
    tiny_u32(b, 9);
    tiny_u32(b, type);
    tiny_u64(b, count);
}

/* GPT-2's spelling of a byte. */
static inline void tiny_byte_text(unsigned byte, char *to)
{
    unsigned point = byte, next = 256;
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        point = printable ? b : next++;
    }
    if (point < 128) {
        to[0] = (char)point;
        to[1] = '\0';
    } else {
        to[0] = (char)(0xc0 | point >> 6);
        to[1] = (char)(0x80 | (point & 63));
        to[2] = '\0';
    }
}

static const char tiny_template[] =
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief<|im_end|>\n' }}{% "
    "endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + "
    "'\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static const char tiny_hint[] = "{# <tool_call>{\"name\": , \"arguments\": }</tool_call> #}";

/* ids 0..2: <|endoftext|> or <tool_call>, <|im_start|> <|im_end|>; then the bytes; then "he", "ll",
 * "llo", "hello" or "></"; then "AAA", "BAA", ... */
static inline void tiny_vocab_bpe(tg_buf *b, bool calls, uint32_t more)
{
    const char *const words[] = {"he", "ll", "llo", calls ? "></" : "hello"};
    const uint32_t merges_len = calls ? 3 : 4;
    static const char *const merges[] = {"h e", "l l", "ll o", "he llo"};
    char text[4], whole[sizeof(tiny_template) + sizeof(tiny_hint)];
    snprintf(whole, sizeof(whole), "%s%s", tiny_template, calls ? tiny_hint : "");
    tiny_key_str(b, "tokenizer.ggml.model", "gpt2");
    tiny_key_str(b, "tokenizer.ggml.pre", "smollm");
    tiny_key_array(b, "tokenizer.ggml.tokens", 8, TINY_BPE_TOKENS + more);
    tiny_str(b, calls ? "<tool_call>" : "<|endoftext|>");
    tiny_str(b, "<|im_start|>");
    tiny_str(b, "<|im_end|>");
    for (unsigned i = 0; i < 256; i++) {
        tiny_byte_text(i, text);
        tiny_str(b, text);
    }
    for (size_t i = 0; i < 4; i++)
        tiny_str(b, words[i]);
    for (uint32_t i = 0; i < more; i++) {
        const char capitals[] = {(char)('A' + i % 26), (char)('A' + i / 26 % 26),
                                 (char)('A' + i / 676), '\0'};
        tiny_str(b, capitals);
    }
    tiny_key_array(b, "tokenizer.ggml.token_type", 5, TINY_BPE_TOKENS + more);
    for (uint32_t i = 0; i < TINY_BPE_TOKENS + more; i++)
        tiny_u32(b, i < 3 ? 3 : 1);
    tiny_key_array(b, "tokenizer.ggml.merges", 8, merges_len);
    for (size_t i = 0; i < merges_len; i++)
        tiny_str(b, merges[i]);
    tiny_key_u32(b, "tokenizer.ggml.bos_token_id", 1);
    tiny_key_u32(b, "tokenizer.ggml.eos_token_id", 2);
    tiny_key_str(b, "tokenizer.chat_template", whole);
}

/* ids 0..2: <unk> <s> </s>; then the bytes; then "▁", "a", "b", "ab", "▁ab". */
static inline void tiny_vocab_spm(tg_buf *b)
{
    static const char *const words[] = {"\xe2\x96\x81", "a", "b", "ab", ("\xe2\x96\x81" "ab")};
    static const float scores[] = {-5, -3, -4, -1, -2};
    char text[16];
    tiny_key_str(b, "tokenizer.ggml.model", "llama");
    tiny_key_array(b, "tokenizer.ggml.tokens", 8, TINY_SPM_TOKENS);
    tiny_str(b, "<unk>");
    tiny_str(b, "<s>");
    tiny_str(b, "</s>");
    for (unsigned i = 0; i < 256; i++) {
        snprintf(text, sizeof(text), "<0x%02X>", i);
        tiny_str(b, text);
    }
    for (size_t i = 0; i < 5; i++)
        tiny_str(b, words[i]);
    tiny_key_array(b, "tokenizer.ggml.scores", 6, TINY_SPM_TOKENS);
    for (uint32_t i = 0; i < TINY_SPM_TOKENS; i++) {
        float score = i >= 259 ? scores[i - 259] : 0;
        tg_buf_add(b, &score, 4);
    }
    tiny_key_array(b, "tokenizer.ggml.token_type", 5, TINY_SPM_TOKENS);
    for (uint32_t i = 0; i < TINY_SPM_TOKENS; i++)
        tiny_u32(b, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    tiny_key_u32(b, "tokenizer.ggml.bos_token_id", 1);
    tiny_key_u32(b, "tokenizer.ggml.eos_token_id", 2);
    tiny_key_u32(b, "tokenizer.ggml.unknown_token_id", 0);
}

typedef struct tiny_writer {
    tg_buf heads, data; /* the tensor directory and the tensors */
    uint64_t count, random;
} tiny_writer;

static inline void tiny_tensor(tiny_writer *w, const char *name, uint32_t in, uint32_t out,
                               tg_dtype type)
{
    const tg_dtype_info *info = tg_dtype_get(type);
    const uint32_t rows = out ? out : 1;
    float *row = malloc(in * sizeof(*row));
    uint8_t *packed = malloc(in / info->block_len * info->block_bytes);
    static const char zeros[32];
    tiny_str(&w->heads, name);
    tiny_u32(&w->heads, out ? 2 : 1);
    tiny_u64(&w->heads, in);
    if (out)
        tiny_u64(&w->heads, out);
    tiny_u32(&w->heads, type);
    tiny_u64(&w->heads, w->data.len);
    for (uint32_t r = 0; row && packed && r < rows; r++) {
        for (uint32_t i = 0; i < in; i++)
            row[i] = out ? tiny_uniform(&w->random) * 0.3f : 1.0f + 0.2f * tiny_uniform(&w->random);
        tg_dtype_from_f32(type, row, in, packed);
        tg_buf_add(&w->data, packed, in / info->block_len * info->block_bytes);
    }
    tg_buf_add(&w->data, zeros, (32 - w->data.len % 32) % 32);
    w->count++;
    free(row);
    free(packed);
}

static inline bool tiny_is(const tiny_conf *c, const char *architecture)
{
    return c->architecture && strcmp(c->architecture, architecture) == 0;
}

static inline void tiny_layer(tiny_writer *w, const tiny_conf *c, uint32_t layer)
{
    const uint32_t kv = c->width / c->heads * c->kv_heads;
    const struct {
        const char *name;
        uint32_t in, out;
    } parts[] = {{"attn_norm", c->width, 0},      {"attn_q", c->width, c->width},
                 {"attn_k", c->width, kv},        {"attn_v", c->width, kv},
                 {"attn_output", c->width, c->width}, {"ffn_norm", c->width, 0},
                 {"ffn_gate", c->width, c->ffn},  {"ffn_up", c->width, c->ffn},
                 {"ffn_down", c->ffn, c->width}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, parts[i].name);
        tiny_tensor(w, name, parts[i].in, parts[i].out, parts[i].out ? c->type : TG_DTYPE_F32);
    }
    static const char *const extra_names[2][3] = {
        {"attn_q.bias", "attn_k.bias", "attn_v.bias"},
        {"attn_q_norm.weight", "attn_k_norm.weight", NULL}};
    const uint32_t head = c->width / c->heads,
                   extra_lens[2][3] = {{c->width, kv, kv}, {head, head, 0}};
    const bool has[2] = {tiny_is(c, "qwen2"), tiny_is(c, "qwen3")};
    for (size_t which = 0; which < 2; which++) {
        for (size_t i = 0; has[which] && i < 3 && extra_names[which][i]; i++) {
            char name[64];
            snprintf(name, sizeof(name), "blk.%u.%s", layer, extra_names[which][i]);
            tiny_tensor(w, name, extra_lens[which][i], 0, TG_DTYPE_F32);
        }
    }
}

static inline void tiny_shape_u32(tg_buf *keys, const tiny_conf *c, const char *suffix,
                                  uint32_t value)
{
    char key[96];
    snprintf(key, sizeof(key), "%s.%s", c->architecture ? c->architecture : "llama", suffix);
    tiny_key_u32(keys, key, value);
}

static inline tiny_conf tiny_defaults(tiny_conf c)
{
    c.layers = c.layers ? c.layers : 2;
    c.width = c.width ? c.width : 64;
    c.heads = c.heads ? c.heads : 4;
    c.kv_heads = c.kv_heads ? c.kv_heads : 2;
    c.ffn = c.ffn ? c.ffn : 96;
    c.context = c.context ? c.context : 1024;
    return c;
}

/* The bytes of a whole file; the caller frees the buffer. */
static inline void tiny_model(tiny_conf conf, tg_buf *ret)
{
    const tiny_conf c = tiny_defaults(conf);
    tiny_writer w = {.random = c.seed};
    tg_buf keys;
    tg_buf_init(&keys, 0);
    tg_buf_init(&w.heads, 0);
    tg_buf_init(&w.data, (size_t)1 << 30);
    tg_buf_init(ret, (size_t)2 << 30);
    const char *architecture = c.architecture ? c.architecture : "llama";
    tiny_key_str(&keys, "general.architecture", architecture);
    tiny_key_str(&keys, "general.name", "tiny");
    tiny_shape_u32(&keys, &c, "block_count", c.layers);
    tiny_shape_u32(&keys, &c, "embedding_length", c.width);
    tiny_shape_u32(&keys, &c, "feed_forward_length", c.ffn);
    tiny_shape_u32(&keys, &c, "context_length", c.context);
    tiny_shape_u32(&keys, &c, "attention.head_count", c.heads);
    tiny_shape_u32(&keys, &c, "attention.head_count_kv", c.kv_heads);
    if (c.window)
        tiny_shape_u32(&keys, &c, "attention.sliding_window", c.window);
    const uint32_t vocab = c.bpe ? TINY_BPE_TOKENS + c.more : TINY_SPM_TOKENS;
    if (c.bpe)
        tiny_vocab_bpe(&keys, c.calls, c.more);
    else
        tiny_vocab_spm(&keys);
    /* those above and the vocabulary's */
    const uint64_t keys_len = 8u + (c.bpe ? 8 : 7) + (c.window ? 1 : 0);
    tiny_tensor(&w, "token_embd.weight", c.width, vocab, c.type);
    tiny_tensor(&w, "output_norm.weight", c.width, 0, TG_DTYPE_F32);
    if (!c.tied)
        tiny_tensor(&w, "output.weight", c.width, vocab, c.type);
    for (uint32_t i = 0; i < c.layers; i++)
        tiny_layer(&w, &c, i);
    tg_buf_add_text(ret, "GGUF");
    tiny_u32(ret, 3);
    tiny_u64(ret, w.count);
    tiny_u64(ret, keys_len);
    tg_buf_add_str(ret, tg_buf_str(&keys));
    tg_buf_add_str(ret, tg_buf_str(&w.heads));
    static const char zeros[32];
    tg_buf_add(ret, zeros, (32 - ret->len % 32) % 32);
    tg_buf_add_str(ret, tg_buf_str(&w.data));
    tg_buf_free(&keys);
    tg_buf_free(&w.heads);
    tg_buf_free(&w.data);
}

/* Writes the file to a fresh temporary path of at least 64 bytes; the caller unlinks it. */
static inline int tiny_model_file(tiny_conf conf, char *path)
{
    tg_buf file;
    snprintf(path, 64, "/tmp/tollgate-tiny-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    tiny_model(conf, &file);
    ssize_t wrote = write(fd, file.data, file.len);
    int rc = wrote == (ssize_t)file.len ? 0 : -1;
    close(fd);
    tg_buf_free(&file);
    return rc;
}

#endif
