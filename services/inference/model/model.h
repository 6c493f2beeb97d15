/* A model as loaded from a GGUF file: shape, weights where they lie in the mapping, vocabulary.
 *
 * Architectures, all with RMSNorm, RoPE, grouped-query attention, SwiGLU and a tied or separate
 * output:
 *   llama   RoPE turns neighbours (2i, 2i + 1), with rope_freqs where the file has them (Llama 2
 *           and 3, Mistral, SmolLM2)
 *   qwen2   RoPE turns halves (i, i + rope_dim / 2); q, k and v have biases
 *   qwen3   RoPE turns halves; the heads of q and k are normalised before it
 * Each may have a sliding window, the same on all layers, and linear RoPE scaling. Every tensor of
 * the file must have a place in its architecture; a file with anything else (mixtures of experts,
 * LoRA, images, other scalings, windows on some layers) is refused by name rather than run wrongly.
 *
 * Ownership: tg_model_free releases the mapping and all else. Threads: read-only once loaded.
 */
#ifndef TG_INFERENCE_MODEL_H
#define TG_INFERENCE_MODEL_H

#include "libs/tokenizer/tokenizer.h"
#include "services/inference/answer/format.h"
#include "services/inference/model/gguf.h"

#define TG_MODEL_LAYERS_MAX 512 /* layers; a file with more does not load */
/* width of an attention head; a file with wider ones does not load */
#define TG_MODEL_HEAD_DIM_MAX 256
#define TG_MODEL_MARKS_MAX 8 /* control tokens that mark the parts of an answer */
#define TG_MODEL_STOP_IDS_MAX 8 /* tokens of the model itself that end an answer */

typedef struct tg_model_arch {
    const char *name;
    bool rope_halves; /* RoPE pairs i with i + rope_dim / 2; else 2i with 2i + 1 */
    bool biases;      /* added to q, k and v */
    bool head_norms;  /* RMSNorm over each head of q and k, before RoPE */
} tg_model_arch;

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
    float rope_scale; /* ≥ 1: divides the angles (linear scaling) */
    uint32_t window;  /* latest keys a token attends to, its own included; 0: all */
} tg_model_shape;

typedef struct tg_model_layer { /* weights are [in] × out, dims[0] × dims[1] */
    const tg_gguf_tensor *attn_norm, *q, *k, *v, *attn_out;
    const tg_gguf_tensor *ffn_norm, *gate, *up, *down;
    const tg_gguf_tensor *q_bias, *k_bias, *v_bias; /* NULL where the architecture has none */
    const tg_gguf_tensor *q_norm, *k_norm;          /* the same; head_dim */
} tg_model_layer;

typedef enum tg_chat_kind {
    TG_CHAT_NONE,        /* the file has no template: contents are joined by line ends */
    TG_CHAT_TEMPLATE,    /* the file's, or the one given in its stead */
    TG_CHAT_UNSUPPORTED, /* the file's template has something that is not understood: messages are
                            refused */
} tg_chat_kind;

typedef struct tg_model {
    tg_gguf *gguf;
    const tg_model_arch *arch;
    tg_model_shape shape;
    tg_model_layer *layers;
    const tg_gguf_tensor *token_embd, *output_norm;
    const tg_gguf_tensor *output;     /* token_embd when tied */
    const tg_gguf_tensor *rope_freqs; /* F32, rope_dim / 2 divisors; or NULL */
    tg_tokenizer *tokenizer;
    uint32_t stop_ids[TG_MODEL_STOP_IDS_MAX]; /* ids that end a generation */
    size_t stop_ids_len;
    tg_chat_kind chat;
    struct tg_template *template; /* or NULL */
    char template_problem[256];   /* of an unsupported one: what and where */
    tg_answer_format answer;      /* how it calls tools and thinks */
    uint32_t marks[TG_MODEL_MARKS_MAX]; /* control tokens that are marks of that */
    size_t marks_len;
    char name[128];
    const char *quantisation; /* the type that holds most of the weights, "Q4_1" */
    uint64_t weight_bytes;
} tg_model;

/* Called while a backend loads weights, on the thread that opens it: how many of their bytes are
 * done. */
typedef void (*tg_load_progress_fn)(void *progress_user, uint64_t done_bytes, uint64_t total_bytes);

int tg_model_open(const char *path, tg_error *err, tg_model **ret); /* -errno with a message */

/* The same from a file in memory; takes the gguf over, on failure too. */
int tg_model_new(tg_gguf *gguf, tg_error *err, tg_model **ret);
tg_model *tg_model_free(tg_model *model);

bool tg_model_is_stop(const tg_model *model, uint32_t id);

/* A token's bytes in an answer that is taken apart: of control tokens those alone have any which
 * mark its parts. */
tg_str tg_model_piece(const tg_model *model, uint32_t id);

/* A token's text, tokenizer.h; with `marks` that of control tokens which mark parts of an answer as
 * well. */
int tg_model_show(const tg_model *model, tg_detokenizer *detokenizer, uint32_t id, bool marks,
                  tg_buf *text);

/* shape.c: the architecture and the shape. */
int tg_model_read_shape(tg_model *model, tg_error *err);

/* vocab.c: the vocabulary under tokenizer.ggml, and the ids that end a generation. */
int tg_model_load_vocab(tg_model *model, tg_error *err);

#endif
