/* Everything but the matrix products, written once over vectors of sixteen floats. Included by one .c
 * file per instruction set, after its vec_*.h, which defines v16, TG_ISA,
 * TG_OPS and TG_ATTEND_STEP. */
#ifndef TG_CPU_OPS_H
#define TG_CPU_OPS_H

#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/backend/numerics.h"

/* e^x. x = n·ln 2 + r, |r| ≤ ln 2 / 2, a polynomial of degree 6 for e^r (Cephes' coefficients). Error
 * about 1 ulp; exactly 0 below −87, and x is held at 88. */
TG_ISA static inline v16 v16_exp(v16 x)
{
    v16 held = v16_min(v16_max(x, v16_set(-87.0f)), v16_set(88.0f));
    v16 n = v16_round(v16_mul(held, v16_set(1.44269504f)));
    v16 r = v16_fma(n, v16_set(-0.693359375f), held);
    r = v16_fma(n, v16_set(2.12194440e-4f), r);
    v16 p = v16_set(1.9875691500e-4f);
    p = v16_fma(p, r, v16_set(1.3981999507e-3f));
    p = v16_fma(p, r, v16_set(8.3334519073e-3f));
    p = v16_fma(p, r, v16_set(4.1665795894e-2f));
    p = v16_fma(p, r, v16_set(1.6666665459e-1f));
    p = v16_fma(p, r, v16_set(5.0000001201e-1f));
    p = v16_fma(v16_mul(r, r), p, v16_add(r, v16_set(1.0f)));
    return v16_zero_below(x, v16_set(-87.0f), v16_mul(p, v16_exp2i(n)));
}

/* 16 lanes folded 8, 4, 2, 1. */
TG_ISA static inline float fold16(v16 x)
{
    float f[16];
    v16_store(f, x);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            f[i] = f[i] + f[i + half];
    return f[0];
}

TG_ISA static inline v16 load_tail(const float *x, uint32_t len) /* zeros past len < 16 */
{
    float f[16] = {0};
    memcpy(f, x, len * sizeof(float));
    return v16_load(f);
}

TG_ISA static void TG_OPS(tg_norm)(const float *x, const float *weight, uint32_t len, float eps,
                                   float *ret)
{
    v16 squares = v16_set(0);
    uint32_t i = 0;
    for (; i + 16 <= len; i += 16) {
        v16 a = v16_load(x + i);
        squares = v16_fma(a, a, squares);
    }
    if (i < len) {
        v16 a = load_tail(x + i, len - i);
        squares = v16_fma(a, a, squares);
    }
    float scale = 1.0f / sqrtf(fold16(squares) / (float)len + eps);
    for (i = 0; i + 16 <= len; i += 16)
        v16_store(ret + i, v16_mul(v16_mul(v16_load(x + i), v16_set(scale)), v16_load(weight + i)));
    for (; i < len; i++)
        ret[i] = x[i] * scale * weight[i];
}

TG_ISA static void TG_OPS(tg_silu_mul)(const float *gate, const float *up, uint32_t len, float *ret)
{
    for (uint32_t i = 0; i < len; i += 16) {
        uint32_t left = len - i < 16 ? len - i : 16;
        v16 g = left == 16 ? v16_load(gate + i) : load_tail(gate + i, left);
        v16 u = left == 16 ? v16_load(up + i) : load_tail(up + i, left);
        v16 e = v16_exp(v16_sub(v16_set(0), g));
        v16 y = v16_mul(v16_div(g, v16_add(v16_set(1.0f), e)), u);
        if (left == 16) {
            v16_store(ret + i, y);
        } else {
            float f[16];
            v16_store(f, y);
            memcpy(ret + i, f, left * sizeof(float));
        }
    }
}

TG_ISA static void TG_OPS(tg_to_f16)(const float *x, uint32_t len, uint16_t *ret)
{
    uint32_t i = 0;
    for (; i + 16 <= len; i += 16)
        v16_store_f16(ret + i, v16_load(x + i));
    if (i < len) {
        uint16_t f[16];
        v16_store_f16(f, load_tail(x + i, len - i));
        memcpy(ret + i, f, (len - i) * sizeof(f[0]));
    }
}

static inline int32_t pair_up(const int8_t *q, int16_t *pairs)
{
    int32_t sum = 0;
    for (size_t i = 0; i < TG_QUANT_BLOCK; i += 4) {
        sum += q[i] * q[i + 1] + q[i + 2] * q[i + 3];
        pairs[i] = q[i];
        pairs[i + 1] = q[i + 2];
        pairs[i + 2] = q[i + 1];
        pairs[i + 3] = q[i + 3];
    }
    return sum;
}

TG_ISA static void TG_OPS(tg_quantise)(const float *x, const tg_rows *rows, uint32_t row)
{
    for (size_t b = 0; b < rows->in / TG_QUANT_BLOCK; b++) {
        const float *from = x + b * TG_QUANT_BLOCK;
        const size_t at = tg_rows_at(rows, row, b);
        int8_t *q = rows->q + at * TG_QUANT_BLOCK;
        const v16 a = v16_load(from), c = v16_load(from + 16);
        float f[16], top;
        v16_store(f, v16_max(v16_abs(a), v16_abs(c)));
        top = f[0];
        for (int i = 1; i < 16; i++)
            top = top > f[i] ? top : f[i];
        const v16 inverse = v16_set(top > 0 ? 127.0f / top : 0.0f), most = v16_set(127.0f), least = v16_set(-127.0f);
        const v16 y = v16_min(v16_max(v16_round(v16_mul(a, inverse)), least), most);
        const v16 z = v16_min(v16_max(v16_round(v16_mul(c, inverse)), least), most);
        v16_store_i8(q, y);
        v16_store_i8(q + 16, z);
        /* Whole numbers: the sum is exact in any order. */
        const float sum = fold16(v16_add(y, z)), scale = top / 127.0f;
        rows->scale[at] = scale;
        rows->sum[at] = (int32_t)sum;
        rows->scaled_sum[at] = scale * sum;
        if (rows->pairs)
            rows->pair_sum[at] = pair_up(q, rows->pairs + at * TG_QUANT_BLOCK);
    }
}

/* ---- attention ---- */

/* Scores of `rows` ≤ TG_ATTEND_STEP query rows against one block of 16 keys; lanes are keys. */
TG_ISA static inline void score_block(const tg_attend *a, uint32_t row, uint32_t rows,
                                      const uint16_t *keys, float *scores)
{
    v16 sums[TG_ATTEND_STEP];
    const float *q[TG_ATTEND_STEP];
    TG_UNROLL
    for (uint32_t r = 0; r < TG_ATTEND_STEP; r++) {
        sums[r] = v16_set(0);
        q[r] = a->q[row + (r < rows ? r : 0)];
    }
    for (uint32_t d = 0; d < a->head_dim; d++) {
        const v16 k = v16_load_f16(keys + d * 16);
        TG_UNROLL
        for (uint32_t r = 0; r < TG_ATTEND_STEP; r++)
            sums[r] = v16_fma(v16_set(q[r][d]), k, sums[r]);
    }
    for (uint32_t r = 0; r < rows; r++)
        v16_store(scores + r * TG_ATTENTION_SPAN, v16_mul(sums[r], v16_set(a->scale)));
}

/* Turns one row's scores into weights e^(s − max), zero before `from` and past `valid`; returns max and sum. */
TG_ISA static inline void soften(float *scores, uint32_t from, uint32_t valid, uint32_t padded, float *ret_max,
                                 float *ret_sum)
{
    float top = scores[from];
    for (uint32_t i = from + 1; i < valid; i++)
        top = scores[i] > top ? scores[i] : top;
    for (uint32_t i = 0; i < from; i++)
        scores[i] = -INFINITY;
    for (uint32_t i = valid; i < padded; i++)
        scores[i] = -INFINITY;
    v16 sums = v16_set(0);
    for (uint32_t i = 0; i < padded; i += 16) {
        v16 a = v16_exp(v16_sub(v16_load(scores + i), v16_set(top)));
        v16_store(scores + i, a);
        sums = v16_add(sums, a);
    }
    *ret_max = top;
    *ret_sum = fold16(sums);
}

/* sums[r][d..d+16) = Σ over keys of weights[r][key] · V[key][d..d+16); lanes are dimensions. */
TG_ISA static inline void weigh_16(const tg_attend *a, const uint16_t *const *values, uint32_t keys,
                                   const float *weights, uint32_t rows, uint32_t d, float *sums)
{
    v16 acc[TG_ATTEND_STEP];
    const float *w[TG_ATTEND_STEP];
    TG_UNROLL
    for (uint32_t r = 0; r < TG_ATTEND_STEP; r++) {
        acc[r] = v16_set(0);
        w[r] = weights + (r < rows ? r : 0) * TG_ATTENTION_SPAN;
    }
    for (uint32_t key = 0; key < keys; key++) {
        const v16 v = v16_load_f16(values[key / 16] + (size_t)(key % 16) * a->head_dim + d);
        TG_UNROLL
        for (uint32_t r = 0; r < TG_ATTEND_STEP; r++)
            acc[r] = v16_fma(v16_set(w[r][key]), v, acc[r]);
    }
    for (uint32_t r = 0; r < rows; r++)
        v16_store(sums + r * a->head_dim + d, acc[r]);
}

/* The same for the last head_dim mod 16 dimensions, one by one. */
TG_ISA static inline void weigh_rest(const tg_attend *a, const uint16_t *const *values, uint32_t keys,
                                     const float *weights, uint32_t rows, uint32_t d, float *sums)
{
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = d; k < a->head_dim; k++) {
            float acc = 0;
            for (uint32_t key = 0; key < keys; key++)
                acc = fmaf(weights[r * TG_ATTENTION_SPAN + key],
                           tg_f16_to_f32(values[key / 16][(size_t)(key % 16) * a->head_dim + k]), acc);
            sums[r * a->head_dim + k] = acc;
        }
    }
}

/* Merges a span's (max, sum, sums) into the running ones. */
TG_ISA static inline void merge_span(uint32_t head_dim, float *max, float *sum, float *run,
                                     float span_max, float span_sum, const float *span)
{
    float top = *max > span_max ? *max : span_max, f[16];
    v16_store(f, v16_exp(v16_set(*max - top)));
    float keep = f[0];
    v16_store(f, v16_exp(v16_set(span_max - top)));
    float take = f[0];
    *max = top;
    *sum = *sum * keep + span_sum * take;
    for (uint32_t d = 0; d < head_dim; d++)
        run[d] = run[d] * keep + span[d] * take;
}

/* The first key that a row sees. */
static inline uint32_t first_key(const tg_attend *a, uint32_t row)
{
    return a->window && a->position[row] >= a->window ? a->position[row] + 1 - a->window : 0;
}

TG_ISA static void attend_span(const tg_attend *a, uint32_t base, float *max, float *sum, float *span)
{
    const uint32_t end = a->position[a->rows - 1] + 1;
    const uint32_t keys = end - base < TG_ATTENTION_SPAN ? end - base : TG_ATTENTION_SPAN;
    const uint32_t blocks = (keys + 15) / 16;
    const uint16_t *values[TG_ATTENTION_SPAN / 16];
    for (uint32_t b = 0; b < blocks; b++) {
        const uint16_t *block = a->kv + a->blocks[base / 16 + b] * a->block_stride;
        for (uint32_t r = 0; r < a->rows; r += TG_ATTEND_STEP)
            score_block(a, r, a->rows - r < TG_ATTEND_STEP ? a->rows - r : TG_ATTEND_STEP, block,
                        a->scores + r * TG_ATTENTION_SPAN + b * 16);
        values[b] = block + (size_t)16 * a->head_dim;
    }
    for (uint32_t r = 0; r < a->rows; r++) {
        uint32_t past = a->position[r] + 1 > base ? a->position[r] + 1 - base : 0;
        uint32_t from = first_key(a, r) > base ? first_key(a, r) - base : 0;
        float *scores = a->scores + r * TG_ATTENTION_SPAN;
        if (past == 0 || from >= keys) { /* this row ends before the span, or its window begins after */
            memset(scores, 0, keys * sizeof(float));
            sum[r] = 0;
            continue;
        }
        soften(scores, from, past < keys ? past : keys, blocks * 16, &max[r], &sum[r]);
    }
    for (uint32_t r = 0; r < a->rows; r += TG_ATTEND_STEP) {
        const uint32_t rows = a->rows - r < TG_ATTEND_STEP ? a->rows - r : TG_ATTEND_STEP;
        const float *weights = a->scores + r * TG_ATTENTION_SPAN;
        uint32_t d = 0;
        for (; d + 16 <= a->head_dim; d += 16)
            weigh_16(a, values, keys, weights, rows, d, span + r * a->head_dim);
        weigh_rest(a, values, keys, weights, rows, d, span + r * a->head_dim);
    }
}

TG_ISA static void TG_OPS(tg_attend)(const tg_attend *a)
{
    float max[TG_ATTEND_ROWS], sum[TG_ATTEND_ROWS], span_max[TG_ATTEND_ROWS], span_sum[TG_ATTEND_ROWS];
    float *run = a->sums, *span = a->sums + (size_t)TG_ATTEND_ROWS * a->head_dim;
    const uint32_t first = first_key(a, 0) / TG_ATTENTION_SPAN * TG_ATTENTION_SPAN;
    attend_span(a, first, max, sum, run);
    for (uint32_t base = first + TG_ATTENTION_SPAN; base <= a->position[a->rows - 1]; base += TG_ATTENTION_SPAN) {
        attend_span(a, base, span_max, span_sum, span);
        for (uint32_t r = 0; r < a->rows; r++) {
            if (a->position[r] < base)
                continue;
            if (first_key(a, r) >= base) { /* the first span with a key for this row */
                max[r] = span_max[r];
                sum[r] = span_sum[r];
                memcpy(run + r * a->head_dim, span + r * a->head_dim, a->head_dim * sizeof(float));
            } else {
                merge_span(a->head_dim, &max[r], &sum[r], run + r * a->head_dim, span_max[r],
                           span_sum[r], span + r * a->head_dim);
            }
        }
    }
    for (uint32_t r = 0; r < a->rows; r++) {
        float scale = 1.0f / sum[r];
        for (uint32_t d = 0; d < a->head_dim; d++)
            a->out[r][d] = run[r * a->head_dim + d] * scale;
    }
}

#define TG_OPS_TABLE                                                                               \
    .product = TG_OPS(tg_product),                                                                 \
    .quantise = TG_OPS(tg_quantise), .norm = TG_OPS(tg_norm), .silu_mul = TG_OPS(tg_silu_mul),     \
    .to_f16 = TG_OPS(tg_to_f16), .attend = TG_OPS(tg_attend)

#endif
