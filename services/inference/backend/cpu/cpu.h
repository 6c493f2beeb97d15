/* The CPU backend's state, shared by cpu.c (memory, loading) and forward.c (a step). */
#ifndef TG_CPU_CPU_H
#define TG_CPU_CPU_H

#include "services/inference/backend/backend.h"
#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/backend/cpu/pool.h"

typedef struct tg_cpu_layer {
    tg_packed q, k, v, attn_out, gate, up, down;
    const float *attn_norm, *ffn_norm;
    const float *q_bias, *k_bias, *v_bias, *q_norm,
        *k_norm; /* NULL where the architecture has none */
} tg_cpu_layer;

typedef struct tg_cpu_token { /* one token of the step in progress */
    uint32_t seq;             /* index in the step */
    uint32_t id, position;
} tg_cpu_token;

typedef struct tg_cpu_tile { /* one task of attention, for each key head */
    uint32_t seq;
    uint32_t first_row, rows; /* rows of the sequence: token × heads per key head */
} tg_cpu_tile;

typedef struct tg_cpu {
    tg_backend base;
    const tg_model *model;
    const tg_cpu_kernels *kernels;
    tg_pool *pool;
    tg_backend_conf conf;
    tg_cpu_layer *layers;
    tg_packed output;
    const uint8_t *embd; /* the embedding table as in the file; NULL when `output` is that table */
    const float *output_norm;
    double *rope_freqs; /* rope_dim / 2 angles per position */
    uint8_t *weights;   /* all packed panels, and copies of what isn't packed */
    size_t weights_bytes;
    uint8_t *kv; /* [layer][block][kv head], each as kv_format.h says */
    size_t kv_head_bytes;
    size_t kv_bytes;
    /* Scratch for one step: rows of floats, one per token. */
    uint8_t *scratch;
    size_t scratch_bytes;
    float *x;      /* residual stream, width */
    float *normed; /* width */
    float *q;      /* heads × head_dim */
    float *k, *v;  /* kv_heads × head_dim */
    float *mixed;  /* attention's output, heads × head_dim */
    float *gate, *up;
    float *cos, *sin; /* rope_dim / 2 */
    float *logits;    /* step_logits_max × vocab */
    tg_rows rows;     /* the activations of the products in progress */
    bool rows_quantised;
    int16_t *pairs;   /* for rows.pairs, where wanted */
    int8_t *q16;      /* for rows.q16, where wanted */
    float **attend_scratch;    /* per thread */
    int32_t **product_scratch; /* per thread */
    tg_cpu_token *tokens;
    uint32_t *token_offsets; /* of each sequence's first token */
    tg_cpu_tile *tiles;
    uint32_t tiles_max;
    uint32_t tokens_len, tiles_len;
    const tg_forward_step *step;
    uint32_t layer; /* in progress */
} tg_cpu;

int tg_cpu_run(tg_backend *backend, const tg_forward_step *step, const float **ret_logits);

#endif
