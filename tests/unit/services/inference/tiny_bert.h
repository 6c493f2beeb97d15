/* Small random encoders of architecture "bert", written as GGUF files by the tests themselves,
 * whole or with a flaw. */
#ifndef TG_TESTS_TINY_BERT_H
#define TG_TESTS_TINY_BERT_H

#include "tests/unit/services/inference/tiny_model.h"

enum {
    BERT_WIDTH = 256,
    BERT_FFN = 512,
    BERT_LAYERS = 2,
    BERT_CONTEXT = 40,
    BERT_TOKENS = 5 + 26 * 2
};

typedef struct bert_conf {
    tg_dtype type;    /* of matrices and tables */
    bool as_f32;      /* rounded to that type, but stored as F32 */
    const char *drop; /* a key or tensor that is left out */
    const char *bend; /* a tensor that has 256 inputs too many */
    const char *half; /* a tensor that is F16 */
    const char *more; /* a vector besides */
    const char *key;  /* a number that is another one */
    uint32_t value;
    const char *text_key, *text; /* the same of a text */
} bert_conf;

typedef struct bert_writer {
    const bert_conf *conf;
    tg_buf keys, heads, data;
    uint64_t keys_len, tensors_len, random;
} bert_writer;

static inline bool bert_is(const char *name, const char *other)
{
    return other && strcmp(name, other) == 0;
}

static inline void bert_key(bert_writer *w, const char *key, uint32_t value)
{
    if (bert_is(key, w->conf->drop))
        return;
    tiny_key_u32(&w->keys, key, bert_is(key, w->conf->key) ? w->conf->value : value);
    w->keys_len++;
}

static inline void bert_text(bert_writer *w, const char *key, const char *text)
{
    if (bert_is(key, w->conf->drop))
        return;
    tiny_key_str(&w->keys, key, bert_is(key, w->conf->text_key) ? w->conf->text : text);
    w->keys_len++;
}

/* out 0: a vector. */
static inline void bert_tensor(bert_writer *w, const char *name, uint32_t in, uint32_t out)
{
    const bert_conf *c = w->conf;
    const tg_dtype rounded = bert_is(name, c->half) ? TG_DTYPE_F16 : out ? c->type : TG_DTYPE_F32;
    const tg_dtype stored = c->as_f32 ? TG_DTYPE_F32 : rounded;
    if (bert_is(name, c->drop))
        return;
    in += bert_is(name, c->bend) ? 256 : 0;
    float *row = malloc(in * sizeof(*row));
    uint8_t *packed = malloc(in * sizeof(*row));
    static const char zeros[32];
    tiny_str(&w->heads, name);
    tiny_u32(&w->heads, out ? 2 : 1);
    tiny_u64(&w->heads, in);
    if (out)
        tiny_u64(&w->heads, out);
    tiny_u32(&w->heads, stored);
    tiny_u64(&w->heads, w->data.len);
    for (uint32_t r = 0; r < (out ? out : 1); r++) {
        for (uint32_t i = 0; i < in; i++)
            row[i] = (out ? 0 : 0.5f) + tiny_uniform(&w->random) * (out ? 0.2f : 0.3f);
        tg_dtype_from_f32(rounded, row, in, packed);
        tg_dtype_to_f32(rounded, packed, in, row);
        if (stored == TG_DTYPE_F32)
            memcpy(packed, row, in * sizeof(*row));
        const tg_dtype_info *info = tg_dtype_get(stored);
        tg_buf_add(&w->data, packed, in / info->block_len * info->block_bytes);
    }
    tg_buf_add(&w->data, zeros, (32 - w->data.len % 32) % 32);
    w->tensors_len++;
    free(row);
    free(packed);
}

static const struct {
    const char *name; /* of a layer's */
    uint32_t in, out;
} bert_parts[] = {{"attn_q.weight", BERT_WIDTH, BERT_WIDTH},
                  {"attn_k.weight", BERT_WIDTH, BERT_WIDTH},
                  {"attn_v.weight", BERT_WIDTH, BERT_WIDTH},
                  {"attn_output.weight", BERT_WIDTH, BERT_WIDTH},
                  {"ffn_up.weight", BERT_WIDTH, BERT_FFN},
                  {"ffn_down.weight", BERT_FFN, BERT_WIDTH},
                  {"attn_output_norm.weight", BERT_WIDTH, 0},
                  {"attn_output_norm.bias", BERT_WIDTH, 0},
                  {"layer_output_norm.weight", BERT_WIDTH, 0},
                  {"layer_output_norm.bias", BERT_WIDTH, 0},
                  {"attn_q.bias", BERT_WIDTH, 0},
                  {"ffn_up.bias", BERT_FFN, 0}};

enum {
    BERT_PARTS = sizeof(bert_parts) / sizeof(bert_parts[0]),
    BERT_OPTIONAL = 2 /* of them, the last */
};

/* [PAD] [UNK] [CLS] [SEP] [MASK], then letters that begin a word, and letters that go on. */
static inline void bert_vocab(bert_writer *w)
{
    static const char *const marks[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    const uint32_t more = bert_is("tokens", w->conf->key) ? w->conf->value : 0;
    tiny_key_array(&w->keys, "tokenizer.ggml.tokens", 8, BERT_TOKENS + more);
    for (size_t i = 0; i < 5; i++)
        tiny_str(&w->keys, marks[i]);
    for (uint32_t i = 0; i < 26 * 2 + more; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%s%c", i < 26 ? "\xe2\x96\x81" : "", (char)('a' + i % 26));
        tiny_str(&w->keys, text);
    }
    w->keys_len++;
}

/* The bytes of a whole file; the caller frees the buffer. */
static inline void tiny_bert(const bert_conf *conf, tg_buf *ret)
{
    bert_writer w = {.conf = conf, .random = 5};
    tg_buf_init(&w.keys, 0);
    tg_buf_init(&w.heads, 0);
    tg_buf_init(&w.data, (size_t)1 << 30);
    tg_buf_init(ret, (size_t)1 << 30);
    bert_text(&w, "general.architecture", "bert");
    bert_key(&w, "bert.embedding_length", BERT_WIDTH);
    bert_key(&w, "bert.feed_forward_length", BERT_FFN);
    bert_key(&w, "bert.block_count", BERT_LAYERS);
    bert_key(&w, "bert.attention.head_count", 4);
    bert_key(&w, "bert.context_length", BERT_CONTEXT);
    bert_key(&w, "bert.pooling_type", 1);
    bert_text(&w, "tokenizer.ggml.model", "bert");
    bert_vocab(&w);
    bert_tensor(&w, "token_embd.weight", BERT_WIDTH, BERT_TOKENS);
    bert_tensor(&w, "position_embd.weight", BERT_WIDTH, BERT_CONTEXT);
    bert_tensor(&w, "token_types.weight", BERT_WIDTH, 2);
    bert_tensor(&w, "token_embd_norm.weight", BERT_WIDTH, 0);
    bert_tensor(&w, "token_embd_norm.bias", BERT_WIDTH, 0);
    for (uint32_t i = 0; i < BERT_LAYERS * BERT_PARTS; i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.%s", i / BERT_PARTS, bert_parts[i % BERT_PARTS].name);
        bert_tensor(&w, name, bert_parts[i % BERT_PARTS].in, bert_parts[i % BERT_PARTS].out);
    }
    if (conf->more)
        bert_tensor(&w, conf->more, BERT_WIDTH, 0);
    static const char zeros[32];
    tg_buf_add_text(ret, "GGUF");
    tiny_u32(ret, 3);
    tiny_u64(ret, w.tensors_len);
    tiny_u64(ret, w.keys_len);
    tg_buf_add_str(ret, tg_buf_str(&w.keys));
    tg_buf_add_str(ret, tg_buf_str(&w.heads));
    tg_buf_add(ret, zeros, (32 - ret->len % 32) % 32);
    tg_buf_add_str(ret, tg_buf_str(&w.data));
    tg_buf_free(&w.keys);
    tg_buf_free(&w.heads);
    tg_buf_free(&w.data);
}

#endif
