/* Everything but the matrix products, written once over vectors of eight floats. Included by one .c
 * file per instruction set, after its vec_*.h, which defines v8, TG_ISA and TG_OPS. */
#ifndef TG_CPU_OPS_H
#define TG_CPU_OPS_H

#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/backend/numerics.h"

/* e^x. x = n·ln 2 + r, |r| ≤ ln 2 / 2, a polynomial of degree 6 for e^r (Cephes' coefficients). Error
 * about 1 ulp; exactly 0 below −87, and x is held at 88. */
TG_ISA static inline v8 v8_exp(v8 x)
{
    v8 held = v8_min(v8_max(x, v8_set(-87.0f)), v8_set(88.0f));
    v8 n = v8_round(v8_mul(held, v8_set(1.44269504f)));
    v8 r = v8_fma(n, v8_set(-0.693359375f), held);
    r = v8_fma(n, v8_set(2.12194440e-4f), r);
    v8 p = v8_set(1.9875691500e-4f);
    p = v8_fma(p, r, v8_set(1.3981999507e-3f));
    p = v8_fma(p, r, v8_set(8.3334519073e-3f));
    p = v8_fma(p, r, v8_set(4.1665795894e-2f));
    p = v8_fma(p, r, v8_set(1.6666665459e-1f));
    p = v8_fma(p, r, v8_set(5.0000001201e-1f));
    p = v8_fma(v8_mul(r, r), p, v8_add(r, v8_set(1.0f)));
    return v8_zero_below(x, v8_set(-87.0f), v8_mul(p, v8_exp2i(n)));
}

/* 16 lanes folded 8, 4, 2, 1. */
TG_ISA static inline float fold16(v8 low, v8 high)
{
    float f[8];
    v8_store(f, v8_add(low, high));
    for (int half = 4; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            f[i] = f[i] + f[i + half];
    return f[0];
}

TG_ISA static inline v8 load_tail(const float *x, uint32_t len) /* zeros past len < 8 */
{
    float f[8] = {0};
    memcpy(f, x, len * sizeof(float));
    return v8_load(f);
}

TG_ISA static void TG_OPS(tg_norm)(const float *x, const float *weight, uint32_t len, float eps,
                                   float *ret)
{
    v8 low = v8_set(0), high = v8_set(0);
    uint32_t i = 0;
    for (; i + 16 <= len; i += 16) {
        v8 a = v8_load(x + i), b = v8_load(x + i + 8);
        low = v8_fma(a, a, low);
        high = v8_fma(b, b, high);
    }
    if (i < len) {
        uint32_t left = len - i;
        v8 a = load_tail(x + i, left < 8 ? left : 8), b = v8_set(0);
        if (left > 8)
            b = load_tail(x + i + 8, left - 8);
        low = v8_fma(a, a, low);
        high = v8_fma(b, b, high);
    }
    float scale = 1.0f / sqrtf(fold16(low, high) / (float)len + eps);
    for (i = 0; i + 8 <= len; i += 8)
        v8_store(ret + i, v8_mul(v8_mul(v8_load(x + i), v8_set(scale)), v8_load(weight + i)));
    for (; i < len; i++)
        ret[i] = x[i] * scale * weight[i];
}

TG_ISA static void TG_OPS(tg_silu_mul)(const float *gate, const float *up, uint32_t len, float *ret)
{
    for (uint32_t i = 0; i < len; i += 8) {
        uint32_t left = len - i < 8 ? len - i : 8;
        v8 g = left == 8 ? v8_load(gate + i) : load_tail(gate + i, left);
        v8 u = left == 8 ? v8_load(up + i) : load_tail(up + i, left);
        v8 e = v8_exp(v8_sub(v8_set(0), g));
        v8 y = v8_mul(v8_div(g, v8_add(v8_set(1.0f), e)), u);
        float f[8];
        v8_store(f, y);
        memcpy(ret + i, f, left * sizeof(float));
    }
}

TG_ISA static void TG_OPS(tg_to_f16)(const float *x, uint32_t len, uint16_t *ret)
{
    uint32_t i = 0;
    for (; i + 8 <= len; i += 8)
        v8_store_f16(ret + i, v8_load(x + i));
    if (i < len) {
        uint16_t f[8];
        v8_store_f16(f, load_tail(x + i, len - i));
        memcpy(ret + i, f, (len - i) * sizeof(f[0]));
    }
}

static inline void pair_up(const int8_t *q, int16_t *pairs)
{
    for (size_t i = 0; i < TG_QUANT_BLOCK; i += 4) {
        pairs[i] = q[i];
        pairs[i + 1] = q[i + 2];
        pairs[i + 2] = q[i + 1];
        pairs[i + 3] = q[i + 3];
    }
}

TG_ISA static void TG_OPS(tg_quantise)(const float *x, const tg_rows *rows, uint32_t row)
{
    const size_t in = rows->in, blocks = in / TG_QUANT_BLOCK;
    for (size_t b = 0; b < blocks; b++) {
        const float *from = x + b * TG_QUANT_BLOCK;
        int8_t *q = rows->q + row * in + b * TG_QUANT_BLOCK;
        v8 most = v8_abs(v8_load(from)), sums = v8_set(0);
        for (size_t i = 8; i < TG_QUANT_BLOCK; i += 8)
            most = v8_max(most, v8_abs(v8_load(from + i)));
        float f[8], top;
        v8_store(f, most);
        top = f[0];
        for (int i = 1; i < 8; i++)
            top = top > f[i] ? top : f[i];
        v8 inverse = v8_set(top > 0 ? 127.0f / top : 0.0f);
        for (size_t i = 0; i < TG_QUANT_BLOCK; i += 8) {
            v8 y = v8_round(v8_mul(v8_load(from + i), inverse));
            y = v8_min(v8_max(y, v8_set(-127.0f)), v8_set(127.0f));
            v8_store_i8(q + i, y);
            sums = v8_add(sums, y); /* whole numbers: exact in any order */
        }
        const float sum = fold16(sums, v8_set(0)), scale = top / 127.0f;
        rows->scale[row * blocks + b] = scale;
        rows->sum[row * blocks + b] = (int32_t)sum;
        rows->scaled_sum[row * blocks + b] = scale * sum;
        if (rows->pairs)
            pair_up(q, rows->pairs + row * in + b * TG_QUANT_BLOCK);
    }
}

/* ---- attention ---- */

/* Scores of `rows` ≤ 4 query rows against one block of 16 keys; lanes are keys. */
TG_ISA static inline void score_block(const tg_attend *a, uint32_t row, uint32_t rows,
                                      const uint16_t *keys, float *scores)
{
    v8 low[4], high[4];
    TG_UNROLL
    for (uint32_t r = 0; r < 4; r++)
        low[r] = high[r] = v8_set(0);
    for (uint32_t d = 0; d < a->head_dim; d++) {
        v8 k0 = v8_load_f16(keys + d * 16), k1 = v8_load_f16(keys + d * 16 + 8);
        TG_UNROLL
        for (uint32_t r = 0; r < 4; r++) {
            v8 q = v8_set(a->q[row + (r < rows ? r : 0)][d]);
            low[r] = v8_fma(q, k0, low[r]);
            high[r] = v8_fma(q, k1, high[r]);
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        v8_store(scores + r * TG_ATTENTION_SPAN, v8_mul(low[r], v8_set(a->scale)));
        v8_store(scores + r * TG_ATTENTION_SPAN + 8, v8_mul(high[r], v8_set(a->scale)));
    }
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
    v8 low = v8_set(0), high = v8_set(0);
    for (uint32_t i = 0; i < padded; i += 16) {
        v8 a = v8_exp(v8_sub(v8_load(scores + i), v8_set(top)));
        v8 b = v8_exp(v8_sub(v8_load(scores + i + 8), v8_set(top)));
        v8_store(scores + i, a);
        v8_store(scores + i + 8, b);
        low = v8_add(low, a);
        high = v8_add(high, b);
    }
    *ret_max = top;
    *ret_sum = fold16(low, high);
}

/* sums[r][d..d+16) = Σ over keys of weights[r][key] · V[key][d..d+16); `rows` ≤ 4, lanes are dimensions. */
TG_ISA static inline void weigh_16(const tg_attend *a, const uint16_t *const *values, uint32_t keys,
                                   const float *weights, uint32_t rows, uint32_t d, float *sums)
{
    v8 low[4], high[4];
    const float *w[4];
    TG_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        low[r] = high[r] = v8_set(0);
        w[r] = weights + (r < rows ? r : 0) * TG_ATTENTION_SPAN;
    }
    for (uint32_t key = 0; key < keys; key++) {
        const uint16_t *from = values[key / 16] + (size_t)(key % 16) * a->head_dim + d;
        v8 v0 = v8_load_f16(from), v1 = v8_load_f16(from + 8);
        TG_UNROLL
        for (uint32_t r = 0; r < 4; r++) {
            v8 weight = v8_set(w[r][key]);
            low[r] = v8_fma(weight, v0, low[r]);
            high[r] = v8_fma(weight, v1, high[r]);
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        v8_store(sums + r * a->head_dim + d, low[r]);
        v8_store(sums + r * a->head_dim + d + 8, high[r]);
    }
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
    float top = *max > span_max ? *max : span_max, f[8];
    v8_store(f, v8_exp(v8_set(*max - top)));
    float keep = f[0];
    v8_store(f, v8_exp(v8_set(span_max - top)));
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
        for (uint32_t r = 0; r < a->rows; r += 4)
            score_block(a, r, a->rows - r < 4 ? a->rows - r : 4, block,
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
    for (uint32_t r = 0; r < a->rows; r += 4) {
        const uint32_t rows = a->rows - r < 4 ? a->rows - r : 4;
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
    .quantise = TG_OPS(tg_quantise), .norm = TG_OPS(tg_norm), .silu_mul = TG_OPS(tg_silu_mul),     \
    .to_f16 = TG_OPS(tg_to_f16), .attend = TG_OPS(tg_attend)

#endif
