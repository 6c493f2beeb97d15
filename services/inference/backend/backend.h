/* What computes a model's forward pass: one vtable, an implementation per kind of hardware.
 *
 * One step covers all running sequences: the tokens of every sequence, prompt chunks and single
 * decode tokens alike, go through the network together, and logits come out only for the tokens
 * asked for. The backend owns weights, KV memory and scratch; which KV block belongs to whom is the
 * engine's business and arrives as block tables.
 *
 * What a token's logits are depends only on the token ids before it in its sequence: not on the
 * other sequences of the step, on how a prompt was cut into steps, or on the number of threads. The
 * rules that make it so are in numerics.h, under TG_NUMERICS_VERSION.
 *
 * Threads: one thread calls; an implementation may use more inside.
 */
#ifndef TG_INFERENCE_BACKEND_H
#define TG_INFERENCE_BACKEND_H

#include "services/inference/model/model.h"

#define TG_KV_BLOCK_TOKENS 16 /* positions per KV block */

typedef struct tg_backend tg_backend;

/* what keys and values are rounded to */
typedef enum tg_kv_type { TG_KV_F16, TG_KV_Q8 } tg_kv_type;

typedef struct tg_backend_conf {
    uint32_t threads;         /* 1..TG_THREADS_MAX; 0: one per processor */
    uint32_t kv_blocks;       /* KV memory, in blocks */
    tg_kv_type kv_type;
    uint32_t step_tokens_max; /* most tokens in one step */
    uint32_t step_logits_max; /* most rows of logits in one step */
    tg_load_progress_fn progress; /* or NULL */
    void *progress_user;
} tg_backend_conf;

typedef struct tg_backend_needs { /* memory that opening takes */
    uint64_t weights_bytes; /* as packed */
    uint64_t kv_bytes, scratch_bytes;
} tg_backend_needs;

#define TG_THREADS_MAX 256 /* threads of the forward pass */

typedef struct tg_step_seq { /* the tokens of one sequence in a step; their positions are
                                consecutive */
    const uint32_t *tokens;
    uint32_t tokens_len;      /* ≥ 1 */
    uint32_t first_position;  /* of tokens[0]; keys of all earlier positions are in the blocks */
    const uint32_t *blocks;   /* block numbers; blocks[p / 16] holds position p */
    uint32_t logits;          /* rows of logits, of its last tokens: 0..tokens_len */
} tg_step_seq;

typedef struct tg_block_copy {
    uint32_t from, to; /* block numbers */
} tg_block_copy;

typedef struct tg_forward_step {
    const tg_step_seq *seqs;
    uint32_t seqs_len;
    const tg_block_copy
        *copies; /* KV blocks to copy before anything is computed, one after the other */
    uint32_t copies_len;
    float *states; /* room for every token's last hidden state after the final norm,
                      [tokens][width]; or NULL */
} tg_forward_step;

typedef struct tg_backend_ops {
    const char *kind; /* "cpu" */
    /* 0; -ENOMEM or -EINVAL with a message. The model must outlive the backend. */
    int (*open)(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                tg_backend **ret);
    void (*close)(tg_backend *backend);
    /* Runs one step. *ret_logits: the rows of vocab floats that the sequences ask for, in order;
     * valid until the next step. Nothing is allocated. 0 or -errno. */
    int (*run)(tg_backend *backend, const tg_forward_step *step, const float **ret_logits);
} tg_backend_ops;

struct tg_backend { /* the beginning of every implementation's own struct */
    const tg_backend_ops *ops;
    const char *path; /* the instructions in use: scalar, avx2, avx512, amx */
    uint32_t threads;
    uint64_t memory_bytes; /* weights copied, KV and scratch */
};

int tg_backend_open_cpu(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                        tg_backend **ret);
/* What opening with this configuration would take, without taking it. 0; -EINVAL with a message;
 * -ENOMEM. */
int tg_backend_plan_cpu(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                        tg_backend_needs *ret);
bool tg_backend_has_cpu_path(const char *path); /* scalar, avx2, avx512, amx */
tg_backend *tg_backend_close(tg_backend *backend); /* NULL is a no-op; returns NULL */

/* KV bytes that one block takes for this model. */
uint64_t tg_backend_kv_block_bytes(const tg_model *model, tg_kv_type type);

#endif
