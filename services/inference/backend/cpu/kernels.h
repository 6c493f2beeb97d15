/* The arithmetic of the CPU backend, one table of functions per instruction set.
 *
 * The scalar table is the reference: plain C that says what each function computes. The others give
 * the same bits (numerics.h says how that is possible) and are tested against it by memcmp.
 */
#ifndef TG_CPU_KERNELS_H
#define TG_CPU_KERNELS_H

#include "services/inference/backend/cpu/pack.h"

/* Before a loop over a constant few registers, which must become registers at -O2 too. */
#if defined(__clang__)
#define TG_UNROLL _Pragma("clang loop unroll(full)")
#define TG_KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define TG_UNROLL _Pragma("GCC unroll 16")
#define TG_KEEP_LOOP _Pragma("GCC unroll 1")
#endif

/* Rows of activations, one per token, as the matrix products take them. Quantised form: per block of
 * 32 inputs, int8 values with one scale. */
typedef struct tg_rows {
    uint32_t len;      /* tokens */
    uint32_t in;       /* inputs per row */
    const float *x;    /* [len][in]: for F32 and F16 weights */
    int8_t *q;         /* [len][in] */
    int16_t *pairs;    /* [len][in]: of each four values 0, 2, 1, 3: what AVX2 multiplies Q8_0 weights
                        * by; NULL where no such product follows */
    float *scale;      /* [len][in / 32] */
    float *scaled_sum; /* [len][in / 32]: scale × sum of q */
    int32_t *sum;      /* [len][in / 32] */
} tg_rows;

typedef struct tg_product { /* out[t][o] (+)= Σ_k weights[o][k] · rows[t][k] */
    const tg_packed *weights;
    const tg_rows *rows;
    float *out;       /* [rows][stride] */
    size_t stride;    /* floats from one token's row to the next; ≥ weights->out */
    bool accumulate;  /* add to what `out` holds, after the sum is complete */
} tg_product;

/* One tile of attention: up to TG_ATTEND_ROWS query rows that share a key head. Row r belongs to
 * position first_position + (first_row + r) / group and to query head (first_row + r) % group. */
#define TG_ATTEND_ROWS 16

typedef struct tg_attend {
    const float *q[TG_ATTEND_ROWS]; /* head_dim floats each, rotated */
    float *out[TG_ATTEND_ROWS];
    uint32_t position[TG_ATTEND_ROWS]; /* ascending */
    uint32_t rows;
    uint32_t head_dim;
    uint32_t window;        /* latest keys a row sees, its own included; 0: all */
    const uint16_t *kv;     /* this layer, this head, block 0 */
    size_t block_stride;    /* halves from one block of this head to the next */
    const uint32_t *blocks; /* the sequence's table */
    float scale;            /* of q·k: 1 / √head_dim */
    float *scores;          /* scratch: [TG_ATTEND_ROWS][TG_ATTENTION_SPAN] */
    float *sums;            /* scratch: [2][TG_ATTEND_ROWS][head_dim] */
} tg_attend;

typedef struct tg_cpu_kernels {
    const char *name;
    bool wants_pairs; /* the products with Q8_0 weights read rows->pairs */
    /* Panels [first, last) of a product, for all its rows. */
    void (*product)(const tg_product *product, uint32_t first, uint32_t last);
    /* Row `row` of the quantised form, from `in` floats, a multiple of 32. */
    void (*quantise)(const float *x, const tg_rows *rows, uint32_t row);
    /* ret may be x. */
    void (*norm)(const float *x, const float *weight, uint32_t len, float eps, float *ret);
    void (*silu_mul)(const float *gate, const float *up, uint32_t len, float *ret);
    void (*to_f16)(const float *x, uint32_t len, uint16_t *ret);
    void (*attend)(const tg_attend *attend);
} tg_cpu_kernels;

extern const tg_cpu_kernels tg_kernels_scalar;
#if defined(__x86_64__)
#define TG_HAVE_X86 1
extern const tg_cpu_kernels tg_kernels_avx2;   /* needs AVX2, FMA and F16C */
extern const tg_cpu_kernels tg_kernels_avx512; /* besides: AVX-512 F, BW, VL and VNNI */
#endif

/* The best table this processor can run, or the one TOLLGATE_CPU names (scalar, avx2, avx512).
 * 0; -EINVAL for an unknown name, -ENOTSUP for one this processor lacks, with a message. */
int tg_kernels_choose(const char *wanted, tg_error *err, const tg_cpu_kernels **ret);

/* KV layout of one block and head: keys [head_dim][16], then values [16][head_dim], F16. */
static inline size_t tg_kv_head_halves(uint32_t head_dim) { return (size_t)2 * 16 * head_dim; }

#endif
