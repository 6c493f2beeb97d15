/* The arithmetic of the CPU backend, one table of functions per instruction set.
 *
 * The scalar table is the reference: plain C that says what each function computes. The others give
 * the same bits (numerics.h says how that is possible) and are tested against it by memcmp.
 */
#ifndef TG_CPU_KERNELS_H
#define TG_CPU_KERNELS_H

#include "services/inference/backend/cpu/kv_format.h"
#include "services/inference/backend/cpu/pack.h"

/* Kernels are written as functions of constants (tokens, panels, type of weights) that become a
 * body of their own for each, with loops over registers unrolled. Under sanitizers, which check
 * every access, that would take a compiler minutes: there, and where TG_KERNELS_PLAIN is given,
 * the constants are ordinary arguments. */
#if defined(TG_KERNELS_PLAIN)
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TG_KERNELS_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TG_KERNELS_PLAIN 1
#endif
#endif

#if TG_KERNELS_PLAIN
#define TG_UNROLL
#define TG_KEEP_LOOP
#define TG_BODY static
#else
#define TG_BODY static inline __attribute__((always_inline))
#if defined(__clang__)
#define TG_UNROLL _Pragma("clang loop unroll(full)")
#define TG_KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define TG_UNROLL _Pragma("GCC unroll 16")
#define TG_KEEP_LOOP _Pragma("GCC unroll 1")
#endif
#endif

#ifndef TG_FREE_ORDER
/* 1: sums need not have the order of numerics.h, to measure what that order costs */
#define TG_FREE_ORDER 0
#endif

/* Rows of activations, one per token, as the matrix products take them. The quantised form has int8
 * values with one scale per block of 32 inputs, and is laid out for kernels that take four rows at
 * a time: tiles of TG_ROWS_TILE rows, [tile][block][row of the tile], so that one pointer walks
 * through all of a tile. */
#define TG_ROWS_TILE 4
#define TG_ROWS_Q16 16

typedef struct tg_rows {
    uint32_t len;      /* tokens; memory is for whole tiles */
    uint32_t in;       /* inputs per row */
    const float *x;    /* [len][in]: for F32, F16 and BF16 weights */
    /* An element for each tg_rows_at: */
    int8_t *q;         /* 32 values */
    int16_t *pairs; /* 32 values, of each four 0, 2, 1, 3: what AVX2 multiplies Q8_0 weights by;
                     * NULL where no such product follows */
    int8_t *q16; /* the values again in tiles of TG_ROWS_Q16 rows, whole ones: what AMX multiplies;
                  * an element for each tg_rows_q16_at; NULL where no such product follows */
    float *scale;
    float *scaled_sum; /* scale × sum of q */
    int32_t *sum;
    int32_t *start; /* −4 × sum as two int16: AVX2's dots of nibbles, of two halves each, start
                     * there and end up less by 8 for each input */
} tg_rows;

static inline size_t tg_rows_at(const tg_rows *rows, size_t row, size_t block)
{
    return (row / TG_ROWS_TILE * (rows->in / TG_QUANT_BLOCK) + block) * TG_ROWS_TILE +
           row % TG_ROWS_TILE;
}

static inline size_t tg_rows_q16_at(const tg_rows *rows, size_t row, size_t block)
{
    return (row / TG_ROWS_Q16 * (rows->in / TG_QUANT_BLOCK) + block) * TG_ROWS_Q16 +
           row % TG_ROWS_Q16;
}

/* Rows of whole tiles that hold so many. */
static inline size_t tg_rows_room(size_t rows)
{
    return (rows + TG_ROWS_TILE - 1) / TG_ROWS_TILE * TG_ROWS_TILE;
}

typedef struct tg_product { /* out[t][o] (+)= Σ_k weights[o][k] · rows[t][k] */
    const tg_packed *weights;
    const tg_rows *rows;
    float *out;       /* [rows][stride] */
    size_t stride;    /* floats from one token's row to the next; ≥ weights->out */
    bool accumulate;  /* add to what `out` holds, after the sum is complete */
} tg_product;

/* Room for as many panels' numbers as bytes as are worked on together, in int32. */
#define TG_SPREAD_PANELS 3
static inline size_t tg_product_scratch(uint32_t in)
{
    return (size_t)TG_SPREAD_PANELS * TG_PANEL * TG_QUANT_BLOCK / sizeof(int32_t) *
           ((in + TG_QUANT_BLOCK - 1) / TG_QUANT_BLOCK);
}

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
    const uint8_t *kv;      /* this layer, this head, block 0; as kv_format.h says */
    bool q8;                /* its format; else F16 */
    size_t block_stride;    /* bytes from one block of this head to the next */
    const uint32_t *blocks; /* the sequence's table */
    float scale;            /* of q·k: 1 / √head_dim */
    float *scores;          /* scratch: [TG_ATTEND_ROWS][TG_ATTENTION_SPAN] */
    float *sums;            /* scratch: [2][TG_ATTEND_ROWS][head_dim] */
    uint16_t *expanded;     /* scratch for Q8: a span's blocks as F16, and TG_KV_EXPANDED_SPARE */
} tg_attend;

typedef struct tg_cpu_kernels {
    const char *name;
    bool wants_pairs; /* the products with Q8_0 weights read rows->pairs */
    bool wants_q16;   /* products with quantised weights may read rows->q16 */
    /* Panels [first, last) of a product, for all its rows. scratch: room for tg_product_scratch(in)
     * values. */
    void (*product)(const tg_product *product, uint32_t first, uint32_t last, int32_t *scratch);
    /* Row `row` of the quantised form, from `in` floats, a multiple of 32. */
    void (*quantise)(const float *x, const tg_rows *rows, uint32_t row);
    /* ret may be x. */
    void (*norm)(const float *x, const float *weight, uint32_t len, float eps, float *ret);
    void (*silu_mul)(const float *gate, const float *up, uint32_t len, float *ret);
    void (*to_f16)(const float *x, uint32_t len, uint16_t *ret);
    /* Groups of 32, the last one may be shorter: scale = F16(largest magnitude / 127), q = x /
     * scale rounded to nearest even and held within ±127; zeros where the scale is 0. Off by 0.57 ×
     * scale + 4e-6 at most. */
    void (*to_q8)(const float *x, uint32_t len, int8_t *ret, uint16_t *ret_scales);
    void (*attend)(const tg_attend *attend);
} tg_cpu_kernels;

extern const tg_cpu_kernels tg_kernels_scalar;
#if defined(__x86_64__)
#define TG_HAVE_X86 1
extern const tg_cpu_kernels tg_kernels_avx2;   /* needs AVX2, FMA and F16C */
extern const tg_cpu_kernels tg_kernels_avx512; /* besides: AVX-512 F, BW, VL and VNNI */
/* besides: AMX-TILE and AMX-INT8, and the kernel's permission */
extern const tg_cpu_kernels tg_kernels_amx;
#endif

/* The best table this processor can run, or the one TOLLGATE_CPU names (scalar, avx2, avx512, amx).
 * 0; -EINVAL for an unknown name, -ENOTSUP for one this processor lacks, with a message. */
int tg_kernels_choose(const char *wanted, tg_error *err, const tg_cpu_kernels **ret);

#endif
