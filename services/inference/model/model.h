/* A model as loaded from a GGUF file: shape, weights where they lie in the mapping, vocabulary.
 *
 * Architecture: Llama (RMSNorm, interleaved RoPE with optional rope_freqs, grouped-query attention,
 * SwiGLU, tied or separate output). Every tensor of the file must have a place in it; a file with
 * anything else is refused by name rather than run wrongly.
 *
 * Ownership: tg_model_free releases the mapping and all else. Threads: read-only once loaded.
 */
#ifndef TG_INFERENCE_MODEL_H
#define TG_INFERENCE_MODEL_H

#include "libs/tokenizer/tokenizer.h"
#include "services/inference/model/gguf.h"

#define TG_MODEL_LAYERS_MAX 512
#define TG_MODEL_HEAD_DIM_MAX 256
#define TG_MODEL_STOP_IDS_MAX 8

typedef struct tg_model_shape {
    uint32_t layers;
    uint32_t width;    /* of the residual stream */
    uint32_t heads;    /* query heads */
    uint32_t kv_heads; /* divides heads */
    uint32_t head_dim; /* even, at most TG_MODEL_HEAD_DIM_MAX */
    uint32_t rope_dim; /* leading part of a head that is rotated, even */
    uint32_t ffn_width;
    uint32_t vocab;
    uint32_t context; /* most positions the model was trained for */
    float norm_eps;
    float rope_theta;
} tg_model_shape;

typedef struct tg_model_layer { /* weights are [in] × out, dims[0] × dims[1] */
    const tg_gguf_tensor *attn_norm, *q, *k, *v, *attn_out;
    const tg_gguf_tensor *ffn_norm, *gate, *up, *down;
} tg_model_layer;

typedef enum tg_chat_kind {
    TG_CHAT_NONE,        /* the file has no template: contents are joined by line ends */
    TG_CHAT_CHATML,      /* <|im_start|>role\ncontent<|im_end|>\n */
    TG_CHAT_UNSUPPORTED, /* a template of another kind: messages are refused */
} tg_chat_kind;

typedef struct tg_model {
    tg_gguf *gguf;
    tg_model_shape shape;
    tg_model_layer *layers;
    const tg_gguf_tensor *token_embd, *output_norm;
    const tg_gguf_tensor *output;     /* token_embd when tied */
    const tg_gguf_tensor *rope_freqs; /* F32, rope_dim / 2 divisors; or NULL */
    tg_tokenizer *tokenizer;
    uint32_t stop_ids[TG_MODEL_STOP_IDS_MAX]; /* ids that end a generation */
    size_t stop_ids_len;
    tg_chat_kind chat;
    char *chat_system; /* ChatML: put first when the conversation has no system message; or NULL */
    char name[128];
    const char *quantisation; /* the type that holds most of the weights, "Q4_1" */
    uint64_t weight_bytes;
} tg_model;

int tg_model_open(const char *path, tg_error *err, tg_model **ret); /* -errno with a message */

/* The same from a file in memory; takes the gguf over, on failure too. */
int tg_model_new(tg_gguf *gguf, tg_error *err, tg_model **ret);
tg_model *tg_model_free(tg_model *model);

bool tg_model_is_stop(const tg_model *model, uint32_t id);

/* vocab.c: the vocabulary under tokenizer.ggml, and the ids that end a generation. */
int tg_model_load_vocab(tg_model *model, tg_error *err);

#endif
