/* Everything but the matrix products, written once over vectors of sixteen floats. Included by one
 * .c file per instruction set, after its vec_*.h, which defines v16, TG_ISA,
 * TG_OPS and TG_ATTEND_STEP. */
#ifndef TG_CPU_OPS_H
#define TG_CPU_OPS_H

#include "services/inference/backend/cpu/kernels.h"
#include "services/inference/backend/numerics.h"

/* e^x. x = n·ln 2 + r, |r| ≤ ln 2 / 2, a polynomial of degree 6 for e^r (Cephes' coefficients).
 * Error about 1 ulp; exactly 0 below −87, and x is held at 88. */
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
    float scale = 1.0f / sqrtf(v16_fold(squares) / (float)len + eps);
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

TG_ISA static void TG_OPS(tg_to_q8)(const float *x, uint32_t len, int8_t *ret, uint16_t *ret_scales)
{
    const v16 most = v16_set(127.0f), least = v16_set(-127.0f);
    for (uint32_t first = 0; first < len; first += TG_KV_GROUP) {
        const uint32_t left = len - first < TG_KV_GROUP ? len - first : TG_KV_GROUP;
        const v16 a = left >= 16 ? v16_load(x + first) : load_tail(x + first, left);
        const v16 c = left == 32 ? v16_load(x + first + 16)
                                 : load_tail(x + first + 16, left > 16 ? left - 16 : 0);
        float f[16], top;
        uint16_t halves[16];
        int8_t q[TG_KV_GROUP];
        v16_store(f, v16_max(v16_abs(a), v16_abs(c)));
        top = f[0];
        for (int i = 1; i < 16; i++)
            top = top > f[i] ? top : f[i];
        v16_store_f16(halves, v16_set(top / 127.0f));
        const v16 scale = v16_load_f16(halves);
        v16_store(f, scale);
        v16_store_i8(q, v16_min(v16_max(v16_round(v16_div(a, scale)), least), most));
        v16_store_i8(q + 16, v16_min(v16_max(v16_round(v16_div(c, scale)), least), most));
        if (f[0] == 0)
            memset(q, 0, sizeof(q));
        memcpy(ret + first, q, left);
        ret_scales[first / TG_KV_GROUP] = halves[0];
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
    for (size_t b = 0; b < rows->in / TG_QUANT_BLOCK; b++) {
        const float *from = x + b * TG_QUANT_BLOCK;
        const size_t at = tg_rows_at(rows, row, b);
        int8_t *q = rows->q + at * TG_QUANT_BLOCK;
        const v16 a = v16_load(from), c = v16_load(from + 16);
        const float top = v16_top(v16_max(v16_abs(a), v16_abs(c)));
        const v16 inverse = v16_set(top > 0 ? 127.0f / top : 0.0f), most = v16_set(127.0f),
                  least = v16_set(-127.0f);
        const v16 y = v16_min(v16_max(v16_round(v16_mul(a, inverse)), least), most);
        const v16 z = v16_min(v16_max(v16_round(v16_mul(c, inverse)), least), most);
        v16_store_i8(q, y);
        v16_store_i8(q + 16, z);
        /* Whole numbers: the sum is exact in any order. */
        const float sum = v16_fold(v16_add(y, z)), scale = top / 127.0f;
        rows->scale[at] = scale;
        rows->sum[at] = (int32_t)sum;
        rows->scaled_sum[at] = scale * sum;
        rows->start[at] = (int32_t)((uint16_t)(-4 * (int32_t)sum) * 0x10001u);
        if (rows->q16) { /* from registers: what was just stored in halves cannot be loaded whole at
                            once */
            int8_t *also = rows->q16 + tg_rows_q16_at(rows, row, b) * TG_QUANT_BLOCK;
            v16_store_i8(also, y);
            v16_store_i8(also + 16, z);
        }
        if (rows->pairs)
            pair_up(q, rows->pairs + at * TG_QUANT_BLOCK);
    }
}

/* ---- attention ---- */

/* Rows are taken n at a time, at most TG_ATTEND_STEP, and so many vectors m of keys or values with
 * them that enough sums are under way: n·m is at most TG_ATTEND_STEP. n and m are constants
 * wherever these are called. */
#define TG_ATTEND_WAYS(n, m) ((n) * (m) <= TG_ATTEND_STEP)
#define TG_ATTEND_AHEAD 8 /* blocks, at least the largest m */

typedef struct attend_keys { /* of one span */
    uint32_t base; /* the first one's position */
    uint32_t len;
    /* Of each block; after the span's come those that will be next. */
    const uint16_t *keys[TG_ATTENTION_SPAN / 16 + TG_ATTEND_AHEAD], *values[TG_ATTENTION_SPAN / 16];
} attend_keys;

/* Scores of n query rows against m blocks of 16 keys; lanes are keys. Blocks lie apart, so the
 * processor cannot guess what to fetch meanwhile: their values, and the keys of those to come. */
TG_BODY TG_ISA void score_tile(const tg_attend *a, uint32_t row, const attend_keys *span,
                               uint32_t block, int n, int m, float *scores)
{
    const uint16_t *const *keys = span->keys + block, *const *values = span->values + block;
    v16 sums[TG_ATTEND_STEP][TG_ATTEND_STEP], k[TG_ATTEND_STEP];
    TG_UNROLL
    for (int r = 0; r < n; r++) {
        TG_UNROLL
        for (int i = 0; i < m; i++)
            sums[r][i] = v16_set(0);
    }
    for (uint32_t d = 0; d < a->head_dim; d++) {
        TG_UNROLL
        for (int i = 0; i < m; i++) {
            k[i] = v16_load_f16(keys[i] + d * 16);
            if (d % 2 == 0) {
                __builtin_prefetch(values[i] + d * 16, 0, 2);
                __builtin_prefetch(keys[i + (m > 2 ? m : 2)] + d * 16, 0, 2);
            }
        }
        TG_UNROLL
        for (int r = 0; r < n; r++) {
            const v16 q = v16_set(a->q[row + (uint32_t)r][d]);
            TG_UNROLL
            for (int i = 0; i < m; i++)
                sums[r][i] = v16_fma(q, k[i], sums[r][i]);
        }
    }
    TG_UNROLL
    for (int r = 0; r < n; r++) {
        TG_UNROLL
        for (int i = 0; i < m; i++)
            v16_store(scores + r * TG_ATTENTION_SPAN + i * 16,
                      v16_mul(sums[r][i], v16_set(a->scale)));
    }
}

TG_BODY TG_ISA void score_rows(const tg_attend *a, const attend_keys *keys, uint32_t row, int n,
                               float *scores)
{
    const uint32_t blocks = (keys->len + 15) / 16;
    uint32_t b = 0;
    for (; TG_ATTEND_WAYS(n, 8) && b + 8 <= blocks; b += 8)
        score_tile(a, row, keys, b, n, 8, scores + b * 16);
    for (; TG_ATTEND_WAYS(n, 4) && b + 4 <= blocks; b += 4)
        score_tile(a, row, keys, b, n, 4, scores + b * 16);
    for (; TG_ATTEND_WAYS(n, 2) && b + 2 <= blocks; b += 2)
        score_tile(a, row, keys, b, n, 2, scores + b * 16);
    for (; b < blocks; b++)
        score_tile(a, row, keys, b, n, 1, scores + b * 16);
}

/* Turns one row's scores into weights e^(s − max), zero before `from` and past `valid`; returns max
 * and sum. */
TG_ISA static inline void soften(float *scores, uint32_t from, uint32_t valid, uint32_t padded,
                                 float *ret_max, float *ret_sum)
{
    for (uint32_t i = 0; i < from; i++)
        scores[i] = -INFINITY;
    for (uint32_t i = valid; i < padded; i++)
        scores[i] = -INFINITY;
    v16 most = v16_set(-INFINITY);
    for (uint32_t i = 0; i < padded; i += 16)
        most = v16_max(v16_load(scores + i), most);
    const float top = v16_top(most);
    v16 sums = v16_set(0);
    for (uint32_t i = 0; i < padded; i += 16) {
        v16 a = v16_exp(v16_sub(v16_load(scores + i), v16_set(top)));
        v16_store(scores + i, a);
        sums = v16_add(sums, a);
    }
    *ret_max = top;
    *ret_sum = v16_fold(sums);
}

/* sums[r][d..d + 16·m) = Σ over keys of weights[r][key] · V[key][d..d + 16·m); lanes are
 * dimensions. */
TG_BODY TG_ISA void weigh_tile(const tg_attend *a, const attend_keys *keys, const float *weights,
                               int n, int m, uint32_t d, float *sums)
{
    v16 acc[TG_ATTEND_STEP][TG_ATTEND_STEP], v[TG_ATTEND_STEP];
    TG_UNROLL
    for (int r = 0; r < n; r++) {
        TG_UNROLL
        for (int i = 0; i < m; i++)
            acc[r][i] = v16_set(0);
    }
    for (uint32_t key = 0; key < keys->len; key++) {
        const uint16_t *values = keys->values[key / 16] + (size_t)(key % 16) * a->head_dim + d;
        TG_UNROLL
        for (int i = 0; i < m; i++)
            v[i] = v16_load_f16(values + i * 16);
        TG_UNROLL
        for (int r = 0; r < n; r++) {
            const v16 w = v16_set(weights[(uint32_t)r * TG_ATTENTION_SPAN + key]);
            TG_UNROLL
            for (int i = 0; i < m; i++)
                acc[r][i] = v16_fma(w, v[i], acc[r][i]);
        }
    }
    TG_UNROLL
    for (int r = 0; r < n; r++) {
        TG_UNROLL
        for (int i = 0; i < m; i++)
            v16_store(sums + (uint32_t)r * a->head_dim + d + i * 16, acc[r][i]);
    }
}

/* The same for the last head_dim mod 16 dimensions, one by one. */
TG_ISA static inline void weigh_rest(const tg_attend *a, const attend_keys *keys,
                                     const float *weights, uint32_t rows, uint32_t d, float *sums)
{
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = d; k < a->head_dim; k++) {
            float acc = 0;
            for (uint32_t key = 0; key < keys->len; key++)
                acc = fmaf(
                    weights[r * TG_ATTENTION_SPAN + key],
                    tg_f16_to_f32(keys->values[key / 16][(size_t)(key % 16) * a->head_dim + k]),
                    acc);
            sums[r * a->head_dim + k] = acc;
        }
    }
}

TG_BODY TG_ISA void weigh_rows(const tg_attend *a, const attend_keys *keys, const float *weights,
                               int n, float *sums)
{
    uint32_t d = 0;
    for (; TG_ATTEND_WAYS(n, 8) && d + 128 <= a->head_dim; d += 128)
        weigh_tile(a, keys, weights, n, 8, d, sums);
    for (; TG_ATTEND_WAYS(n, 4) && d + 64 <= a->head_dim; d += 64)
        weigh_tile(a, keys, weights, n, 4, d, sums);
    for (; TG_ATTEND_WAYS(n, 2) && d + 32 <= a->head_dim; d += 32)
        weigh_tile(a, keys, weights, n, 2, d, sums);
    for (; d + 16 <= a->head_dim; d += 16)
        weigh_tile(a, keys, weights, n, 1, d, sums);
    weigh_rest(a, keys, weights, (uint32_t)n, d, sums);
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

/* Rows row..row + n of a span. */
TG_BODY TG_ISA void attend_rows(const tg_attend *a, const attend_keys *keys, uint32_t row, int n,
                                float *max, float *sum, float *span)
{
    float *scores = a->scores + row * TG_ATTENTION_SPAN;
    const uint32_t base = keys->base, padded = (keys->len + 15) / 16 * 16;
    score_rows(a, keys, row, n, scores);
    for (uint32_t r = row; r < row + (uint32_t)n; r++) {
        uint32_t past = a->position[r] + 1 > base ? a->position[r] + 1 - base : 0;
        uint32_t from = first_key(a, r) > base ? first_key(a, r) - base : 0;
        float *its = a->scores + r * TG_ATTENTION_SPAN;
        /* this row ends before the span, or its window begins after */
        if (past == 0 || from >= keys->len) {
            memset(its, 0, keys->len * sizeof(float));
            sum[r] = 0;
            continue;
        }
        soften(its, from, past < keys->len ? past : keys->len, padded, &max[r], &sum[r]);
    }
    weigh_rows(a, keys, scores, n, span + row * a->head_dim);
}

/* A block of Q8 as F16; TG_KV_EXPANDED_SPARE numbers past it may be written. */
TG_ISA static inline void expand_block(const uint8_t *block, uint32_t dim, uint16_t *to)
{
    const uint32_t groups = tg_kv_groups(dim);
    const uint8_t *q = block;
    const uint16_t *scales = (const uint16_t *)(const void *)(block + (size_t)2 * 16 * dim);
    float value_scales[TG_KV_GROUPS_MAX][16];
    for (uint32_t g = 0; g < groups; g++) {
        const v16 scale = v16_load_f16(scales + g * 16);
        const uint32_t end = (g + 1) * TG_KV_GROUP < dim ? (g + 1) * TG_KV_GROUP : dim;
        for (uint32_t d = g * TG_KV_GROUP; d < end; d++)
            v16_store_f16(to + d * 16, v16_mul(v16_load_i8(q + d * 16), scale));
        v16_store(value_scales[g], v16_load_f16(scales + (groups + g) * 16));
    }
    q += (size_t)16 * dim;
    to += (size_t)16 * dim;
    /* what is written past a row, the next one overwrites */
    for (uint32_t key = 0; key < 16; key++, q += dim, to += dim)
        for (uint32_t d = 0; d < dim; d += 16)
            v16_store_f16(to + d,
                          v16_mul(v16_load_i8(q + d), v16_set(value_scales[d / TG_KV_GROUP][key])));
}

TG_ISA static void attend_span(const tg_attend *a, uint32_t base, float *max, float *sum,
                               float *span)
{
    const uint32_t end = a->position[a->rows - 1] + 1;
    attend_keys keys = {.base = base,
                        .len = end - base < TG_ATTENTION_SPAN ? end - base : TG_ATTENTION_SPAN};
    const uint32_t blocks = (keys.len + 15) / 16, last = (end - 1) / 16;
    for (uint32_t b = 0; b < blocks + TG_ATTEND_AHEAD; b++) {
        const uint32_t at = base / 16 + b;
        const uint8_t *block = a->kv + a->blocks[at < last ? at : last] * a->block_stride;
        keys.keys[b] = (const uint16_t *)(const void *)block;
        if (a->q8) {
            uint16_t *expanded =
                a->expanded + (b < blocks ? b : blocks - 1) * tg_kv_head_halves(a->head_dim);
            if (b < blocks)
                expand_block(block, a->head_dim, expanded);
            keys.keys[b] = expanded;
        }
        if (b < blocks)
            keys.values[b] = keys.keys[b] + (size_t)16 * a->head_dim;
    }
    for (uint32_t row = 0, n; row < a->rows; row += n) {
        n = a->rows - row < TG_ATTEND_STEP ? a->rows - row : TG_ATTEND_STEP;
        switch (n) {
        case 1: attend_rows(a, &keys, row, 1, max, sum, span); break;
        case 2: attend_rows(a, &keys, row, 2, max, sum, span); break;
        case 3: attend_rows(a, &keys, row, 3, max, sum, span); break;
        case 4: attend_rows(a, &keys, row, 4, max, sum, span); break;
#if TG_ATTEND_STEP > 4
        case 5: attend_rows(a, &keys, row, 5, max, sum, span); break;
        case 6: attend_rows(a, &keys, row, 6, max, sum, span); break;
        case 7: attend_rows(a, &keys, row, 7, max, sum, span); break;
        case 8: attend_rows(a, &keys, row, 8, max, sum, span); break;
#endif
        }
    }
}

TG_ISA static void TG_OPS(tg_attend)(const tg_attend *a)
{
    float max[TG_ATTEND_ROWS], sum[TG_ATTEND_ROWS], span_max[TG_ATTEND_ROWS],
        span_sum[TG_ATTEND_ROWS];
    float *run = a->sums, *span = a->sums + (size_t)TG_ATTEND_ROWS * a->head_dim;
    const uint32_t first = first_key(a, 0) / TG_ATTENTION_SPAN * TG_ATTENTION_SPAN;
    attend_span(a, first, max, sum, run);
    for (uint32_t base = first + TG_ATTENTION_SPAN; base <= a->position[a->rows - 1];
         base += TG_ATTENTION_SPAN) {
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
    .to_f16 = TG_OPS(tg_to_f16), .to_q8 = TG_OPS(tg_to_q8), .attend = TG_OPS(tg_attend)

#endif
