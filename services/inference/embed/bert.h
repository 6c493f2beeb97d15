/* The encoder of the BERT family behind embed.h; not for others. Matrices and tables may be of any
 * type that dtype.h describes; norms and biases are F32. One text at a time: calls take turns by
 * the caller's care. */
#ifndef TG_INFERENCE_BERT_H
#define TG_INFERENCE_BERT_H

#include "libs/tokenizer/tokenizer.h"
#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/backend/cpu/pool.h"
#include "services/inference/embed/embed.h"
#include "services/inference/model/gguf.h"

#define TG_BERT_LANES 16 /* head dimensions are multiples of it; keys are padded to it */

typedef struct tg_bert_linear {
    tg_packed weights;
    const float *bias; /* or NULL */
} tg_bert_linear;

typedef struct tg_bert_norm {
    const float *weight, *bias;
} tg_bert_norm;

typedef struct tg_bert_layer {
    tg_bert_linear q, k, v, attn_out, up, down;
    tg_bert_norm attn_norm, out_norm;
} tg_bert_layer;

typedef struct tg_bert {
    tg_gguf *gguf;
    tg_tokenizer *tokenizer;
    const tg_cpu_kernels *kernels;
    tg_pool *pool;
    uint32_t threads, vocab, width, heads, head_dim, ffn, context;
    float eps;
    const tg_gguf_tensor *token_embd, *position_embd, *token_types;
    tg_bert_norm embd_norm;
    tg_bert_layer *layers;
    uint32_t layers_len;
    uint8_t *packed; /* every matrix's panels */
    size_t kept_bytes; /* of tensors that are copied as they are */
    /* The text at hand: [context][width] unless said otherwise. */
    float *x, *q, *k, *v, *mixed;
    float *wide;   /* [context][ffn] */
    float *keys;   /* [heads][head_dim][padded context]: keys, transposed */
    float *scores; /* [threads][padded context] */
    tg_rows rows;
    int16_t *pairs;
    int32_t *scratch; /* of products: [threads][scratch_each] */
    size_t scratch_each;
} tg_bert;

/* Takes the gguf over, on failure too. 0; -EINVAL, with a message that names the key or tensor, one
 * without a place included; -EIO; -ENOMEM, with the sum when weights and room do not fit, before
 * any is loaded. */
int tg_bert_new(tg_gguf *gguf, const tg_embed_conf *conf, tg_error *err, tg_bert **ret);
tg_bert *tg_bert_free(tg_bert *bert); /* NULL is a no-op; returns NULL */

/* The last hidden states of a text of 1 to `context` tokens: [len][width], valid until the next
 * call. */
const float *tg_bert_run(tg_bert *bert, const uint32_t *ids, uint32_t len);

/* bert_load.c, of tg_bert_new. */
/* shape and weights, from bert->gguf */
int tg_bert_load(tg_bert *bert, uint64_t limit_bytes, tg_error *err);
uint64_t tg_bert_room_bytes(const tg_bert *bert);     /* what it takes to compute */
int tg_bert_load_vocab(tg_bert *bert, tg_error *err); /* the tokenizer */

#endif
