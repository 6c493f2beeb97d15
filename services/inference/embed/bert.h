/* The encoder behind embed.h; not for others. */
#ifndef TG_INFERENCE_BERT_H
#define TG_INFERENCE_BERT_H

#include "libs/tokenizer/tokenizer.h"
#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/backend/cpu/pool.h"
#include "services/inference/embed/embed.h"
#include "services/inference/model/gguf.h"

#include <pthread.h>

#define TG_BERT_LANES 16 /* head dimensions are multiples of it; keys are padded to it */

typedef enum tg_bert_pooling { TG_BERT_MEAN = 1, TG_BERT_FIRST = 2 } tg_bert_pooling; /* GGUF's */

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

struct tg_embed {
    tg_gguf *gguf;
    tg_tokenizer *tokenizer;
    const tg_cpu_kernels *kernels;
    tg_pool *pool;
    pthread_mutex_t lock;
    uint32_t vocab, width, heads, head_dim, ffn, context;
    float eps;
    tg_bert_pooling pooling;
    const tg_gguf_tensor *token_embd, *position_embd, *token_types;
    tg_bert_norm embd_norm;
    tg_bert_layer *layers;
    uint32_t layers_len;
    uint8_t *packed; /* every matrix's panels */
    /* The text at hand: [context][width] unless said otherwise. */
    float *x, *q, *k, *v, *mixed;
    float *wide;   /* [context][ffn] */
    float *keys;   /* [heads][head_dim][padded context]: keys, transposed */
    float *scores; /* [threads][padded context] */
    tg_rows rows;
    int16_t *pairs;
    int32_t *scratch; /* of products: [threads][scratch_each] */
    size_t scratch_each;
};

int tg_bert_load(tg_embed *embed, tg_error *err);       /* shape and weights, from embed->gguf */
int tg_bert_load_vocab(tg_embed *embed, tg_error *err); /* the tokenizer */
void tg_bert_run(tg_embed *embed, const uint32_t *ids, uint32_t len, float *ret_vector);

#endif
