/* The matrix products, written once over tiles of tokens and panels. Included by one .c file per
 * instruction set, after its vec_*.h and these of its own:
 *
 *   d16, v16_of_d16          sixteen int32, and the same as floats
 *   dots_q8, dots_low        one block's dots of `n` tokens and `m` panels; the latter of numbers
 *                            of four or five bits, less their middle × sum
 *   dots_q6                  the dots of one half of a block's inputs with numbers of six bits, as
 *                            they are
 *   spread_q6                one block's numbers of six bits to bytes, [k/4: 8][16][4]
 *   TG_TILE_PANELS(rows)     panels worked on together when there are so many rows; with float
 *                            weights TG_FLOAT_PANELS(rows)
 *   TG_TILE_FITS(m, n)       which tiles are wanted; a constant expression, so that no others are
 *                            compiled
 *   TG_FLOAT_ROWS            tokens of a tile with F32, F16 or BF16 weights, at most FLOAT_ROWS_MAX
 *   TG_WANTS_PAIRS           whether dots_q8 reads pairs
 *
 * An activation that was loaded meets the weights of all panels of a tile, a weight those of all
 * tokens. While a group of panels is worked on, tile by tile, the next group is fetched into the
 * cache piece by piece, so that memory is busy all the time and not only during the first tile.
 */
#ifndef TG_CPU_TILES_H
#define TG_CPU_TILES_H

#include "services/inference/backend/cpu/panel.h"

#define TILE TG_ROWS_TILE /* tokens of a tile with quantised weights */
#define FLOAT_ROWS_MAX 8
#define GROUP_MAX 4 /* panels */
#define LINE 64     /* bytes of a cache line */
#define FURTHER 2048 /* bytes */
#define FEW_TILES 2
#define SPREAD_BYTES ((size_t)TG_QUANT_BLOCK * TG_PANEL) /* of a block of a panel */
#define TG_INLINE TG_BODY TG_ISA
_Static_assert(TG_TILE_PANELS(FEW_TILES * TILE + 1) <= TG_SPREAD_PANELS, "scratch holds a group");

typedef struct tile {
    const uint8_t *weights; /* of the group's first panel */
    size_t panel_bytes, blocks;
    const int8_t *q; /* these at the tile's first block */
    const int16_t *pairs;
    const float *scale, *scaled_sum;
    const int32_t *sum, *start;
    const float *x[FLOAT_ROWS_MAX];
    const uint8_t *spread; /* of Q6_K: the numbers of all panels as bytes, or NULL */
    bool near;             /* weights to come are fetched from near by */
    /* else, what to fetch meanwhile: ahead_bytes for each block (0 with near) */
    const uint8_t *ahead;
    size_t ahead_bytes;
} tile;

TG_INLINE v16 v16_of_d16(d16 x);
TG_INLINE void dots_q8(const tile *in, size_t b, int m, int n, d16 (*dots)[TILE]);
TG_INLINE void dots_low(const tile *in, size_t b, int m, int n, tg_dtype type, d16 (*dots)[TILE]);
TG_INLINE void dots_q6(const tile *in, size_t b, size_t half, bool spread, int m, int n,
                       d16 (*dots)[TILE]);
TG_INLINE void spread_q6(const tile *in, const uint8_t *from, uint8_t *to);

/* Whether few tokens' weights are best fetched from near by. On a Xeon of Intel's (Emerald Rapids)
 * that is 1.07 to 1.3 times as fast as fetching the next panels; on AMD's Zen 4 it takes a fifth to
 * a quarter longer (docs/benchmarks.md). Of others nothing is known. */
static inline bool near_pays(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

/* Weights to come: near by, what lies a little further on in the same panel than the line that is
 * read now; else the next panels', in equal parts while these meet all tokens. */
TG_INLINE void fetch_further(const tile *in, const uint8_t *line)
{
    if (in->near)
        __builtin_prefetch(line + FURTHER, 0, 3);
}

TG_INLINE void fetch_ahead(const tile *in, size_t b)
{
    for (size_t i = 0; i < in->ahead_bytes; i += LINE)
        __builtin_prefetch(in->ahead + b * in->ahead_bytes + i, 0, 2);
}

TG_INLINE void add_quant_block(const tile *in, size_t b, int m, int n, tg_dtype type,
                               v16 (*acc)[FLOAT_ROWS_MAX])
{
    const uint8_t *scales = in->weights + in->blocks * tg_packed_quants(type);
    d16 dots[GROUP_MAX][TILE];
    fetch_ahead(in, b);
    if (type == TG_DTYPE_Q8_0)
        dots_q8(in, b, m, n, dots);
    else
        dots_low(in, b, m, n, type, dots);
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        const v16 scale = scale_of(scales + (size_t)p * in->panel_bytes, in->blocks, b, 0, type);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const v16 both = v16_mul(scale, v16_set(in->scale[b * TILE + (size_t)t]));
            acc[p][t] = v16_fma(v16_of_d16(dots[p][t]), both, acc[p][t]);
        }
        if (tg_packed_has_min(type)) {
            const v16 low = min_of(scales + (size_t)p * in->panel_bytes, in->blocks, b, type);
            TG_UNROLL
            for (int t = 0; t < n; t++)
                acc[p][t] = v16_fma(low, v16_set(in->scaled_sum[b * TILE + (size_t)t]), acc[p][t]);
        }
    }
}

/* With TG_FREE_ORDER, which only a bench is built with, sums need not have the order of numerics.h:
 * where few are under way, odd terms have sums of their own. */
TG_INLINE bool two_chains(int m, int n) { return TG_FREE_ORDER && m * n <= 4; }

TG_INLINE void add_sums(int m, int n, v16 (*odd)[FLOAT_ROWS_MAX], v16 (*acc)[FLOAT_ROWS_MAX])
{
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        TG_UNROLL
        for (int t = 0; t < n; t++)
            acc[p][t] = v16_add(acc[p][t], odd[p][t]);
    }
}

TG_INLINE void clear_sums(int m, int n, v16 (*acc)[FLOAT_ROWS_MAX])
{
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        TG_UNROLL
        for (int t = 0; t < n; t++)
            acc[p][t] = v16_set(0);
    }
}

TG_INLINE void tile_quant(const tile *in, int m, int n, tg_dtype type, v16 (*acc)[FLOAT_ROWS_MAX])
{
    size_t b = 0;
    if (two_chains(m, n)) {
        v16 odd[GROUP_MAX][FLOAT_ROWS_MAX];
        clear_sums(m, n, odd);
        for (; b + 1 < in->blocks; b += 2) {
            add_quant_block(in, b, m, n, type, acc);
            add_quant_block(in, b + 1, m, n, type, odd);
        }
        add_sums(m, n, odd, acc);
    }
    for (; b < in->blocks; b++)
        add_quant_block(in, b, m, n, type, acc);
}

/* Of the first half of a block's activations. */
TG_INLINE int32_t half_sum(const int8_t *q)
{
    int32_t sum = 0;
    for (size_t i = 0; i < TG_QUANT_BLOCK / 2; i++)
        sum += q[i];
    return sum;
}

/* Q6_K: halves of blocks have scales of their own. Dots and what is taken off for the middle are
 * whole numbers below 2^24: as floats they are as exact. */
TG_INLINE void tile_q6(const tile *in, int m, int n, bool spread, v16 (*acc)[FLOAT_ROWS_MAX])
{
    const tg_dtype type = TG_DTYPE_Q6_K;
    const uint8_t *scales = in->weights + in->blocks * tg_packed_quants(type);
    for (size_t b = 0; b < in->blocks; b++) {
        int32_t low[TILE];
        fetch_ahead(in, b);
        TG_UNROLL
        for (int t = 0; t < n; t++)
            low[t] = half_sum(in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK);
        TG_UNROLL
        for (size_t half = 0; half < 2; half++) {
            d16 dots[GROUP_MAX][TILE];
            v16 scale[GROUP_MAX];
            dots_q6(in, b, half, spread, m, n, dots);
            TG_UNROLL
            for (int p = 0; p < m; p++)
                scale[p] =
                    scale_of(scales + (size_t)p * in->panel_bytes, in->blocks, b, half, type);
            TG_UNROLL
            for (int t = 0; t < n; t++) {
                const int32_t sum = half == 0 ? low[t] : in->sum[b * TILE + (size_t)t] - low[t];
                const v16 off = v16_set((float)(tg_packed_middle(type) * sum));
                TG_UNROLL
                for (int p = 0; p < m; p++)
                    acc[p][t] = v16_fma(v16_sub(v16_of_d16(dots[p][t]), off),
                                        v16_mul(scale[p], v16_set(in->scale[b * TILE + (size_t)t])),
                                        acc[p][t]);
            }
        }
    }
}

TG_INLINE void add_float_input(const tile *in, size_t k, int m, int n, tg_dtype type,
                               v16 (*acc)[FLOAT_ROWS_MAX])
{
    const size_t width = type == TG_DTYPE_F32 ? 4 : 2;
    v16 w[GROUP_MAX];
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        const void *from = in->weights + (size_t)p * in->panel_bytes + k * TG_PANEL * width;
        w[p] = type == TG_DTYPE_F32   ? v16_load(from)
               : type == TG_DTYPE_F16 ? v16_load_f16(from)
                                      : v16_load_bf16(from);
    }
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        const v16 x = v16_set(in->x[t][k]);
        TG_UNROLL
        for (int p = 0; p < m; p++)
            acc[p][t] = v16_fma(w[p], x, acc[p][t]);
    }
}

/* A line at a time where rows are few; with more, which keep the processor busy for longer, a block
 * at once, whose test is the cheaper one. */
TG_INLINE void fetch_floats(const tile *in, size_t k, int m, int n, size_t width)
{
    const size_t inputs = n <= 4 ? LINE / (TG_PANEL * width) : TG_QUANT_BLOCK;
    if (k % TG_QUANT_BLOCK == 0)
        fetch_ahead(in, k / TG_QUANT_BLOCK);
    if (k % inputs != 0 || !in->near)
        return;
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        TG_UNROLL
        for (size_t i = 0; i < inputs * TG_PANEL * width; i += LINE)
            fetch_further(in, in->weights + (size_t)p * in->panel_bytes + k * TG_PANEL * width + i);
    }
}

TG_INLINE void tile_float(const tile *in, size_t inputs, int m, int n, tg_dtype type,
                          v16 (*acc)[FLOAT_ROWS_MAX])
{
    const size_t width = type == TG_DTYPE_F32 ? 4 : 2;
    v16 odd[GROUP_MAX][FLOAT_ROWS_MAX];
    if (two_chains(m, n))
        clear_sums(m, n, odd);
    for (size_t k = 0; k < inputs; k++) {
        fetch_floats(in, k, m, n, width);
        if (two_chains(m, n) && k + 1 < inputs)
            add_float_input(in, k++, m, n, type, odd);
        add_float_input(in, k, m, n, type, acc);
    }
    if (two_chains(m, n))
        add_sums(m, n, odd, acc);
}

TG_INLINE bool is_float(tg_dtype type)
{
    return type == TG_DTYPE_F32 || type == TG_DTYPE_F16 || type == TG_DTYPE_BF16;
}

TG_INLINE int rows_of_tile(tg_dtype type)
{
    return is_float(type) ? TG_FLOAT_ROWS : TILE;
}

TG_INLINE void run_tile(const tg_product *product, tile *in, uint32_t panel, uint32_t row, int m,
                        int n, tg_dtype type)
{
    const tg_rows *rows = product->rows;
    v16 acc[GROUP_MAX][FLOAT_ROWS_MAX];
    if (!TG_TILE_FITS(m, n) || n > rows_of_tile(type))
        return;
    clear_sums(m, n, acc);
    if (is_float(type)) {
        TG_UNROLL
        for (int t = 0; t < n; t++)
            in->x[t] = rows->x + (row + (size_t)t) * rows->in;
        tile_float(in, rows->in, m, n, type, acc);
    } else {
        const size_t at = tg_rows_at(rows, row, 0);
        in->q = rows->q + at * TG_QUANT_BLOCK;
        in->scale = rows->scale + at;
        in->scaled_sum = rows->scaled_sum + at;
        in->sum = rows->sum + at;
        in->start = rows->start + at;
        if (TG_WANTS_PAIRS && type == TG_DTYPE_Q8_0)
            in->pairs = rows->pairs + at * TG_QUANT_BLOCK;
        if (type == TG_DTYPE_Q6_K && in->spread)
            tile_q6(in, m, n, true, acc);
        else if (type == TG_DTYPE_Q6_K)
            tile_q6(in, m, n, false, acc);
        else
            tile_quant(in, m, n, type, acc);
    }
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        TG_UNROLL
        for (int t = 0; t < n; t++)
            store_tile(product, panel + (uint32_t)p, row + (uint32_t)t, acc[p][t]);
    }
}

/* All rows against `m` panels. */
TG_INLINE void run_group(const tg_product *product, tile *in, uint32_t panel, int m, tg_dtype type)
{
    const uint32_t len = product->rows->len;
    const uint32_t most = (uint32_t)rows_of_tile(type);
    for (uint32_t row = 0, n; row < len; row += n) {
        const uint32_t left = len - row;
        n = left < most ? left : most;
        if (left > most && left - most <= 2 && most > 4)
            n = 4; /* rather than a full tile and one of two rows, 4 + 4 of 6 + 2 */
        switch (n) {
        case 8: run_tile(product, in, panel, row, m, 8, type); break;
        case 7: run_tile(product, in, panel, row, m, 7, type); break;
        case 6: run_tile(product, in, panel, row, m, 6, type); break;
        case 5: run_tile(product, in, panel, row, m, 5, type); break;
        case 4: run_tile(product, in, panel, row, m, 4, type); break;
        case 3: run_tile(product, in, panel, row, m, 3, type); break;
        case 2: run_tile(product, in, panel, row, m, 2, type); break;
        default: run_tile(product, in, panel, row, m, 1, type); break;
        }
        in->ahead += in->ahead_bytes * in->blocks;
    }
}

/* Q6_K: what turns six bits into bytes is done once for all tiles of tokens. */
TG_INLINE void spread_panels(tile *in, uint32_t m, uint8_t *to)
{
    in->spread = to;
    for (uint32_t p = 0; p < m; p++)
        for (size_t b = 0; b < in->blocks; b++, to += SPREAD_BYTES)
            spread_q6(in,
                      in->weights + p * in->panel_bytes + b * tg_packed_quants(TG_DTYPE_Q6_K), to);
}

TG_INLINE void run_panels(const tg_product *product, uint32_t first, uint32_t last, tg_dtype type,
                          int32_t *scratch)
{
    const tg_packed *w = product->weights;
    const uint32_t len = product->rows->len;
    const uint32_t group = rows_of_tile(type) == TILE ? TG_TILE_PANELS(len) : TG_FLOAT_PANELS(len);
    const size_t step = (size_t)rows_of_tile(type), tiles = (len + step - 1) / step;
    tile in = {.panel_bytes = w->panel_bytes,
               .blocks = (w->in + TG_QUANT_BLOCK - 1) / TG_QUANT_BLOCK,
               .near = tiles <= FEW_TILES && near_pays()};
    for (uint32_t panel = first; panel < last;) {
        const uint32_t m = last - panel < group ? last - panel : group, left = last - panel - m;
        const size_t next = left < group ? left : group, pieces = tiles * in.blocks;
        in.weights = w->data + panel * w->panel_bytes;
        in.ahead = in.weights + m * w->panel_bytes;
        in.ahead_bytes = pieces && !in.near
                             ? (next * w->panel_bytes + pieces * LINE - 1) / (pieces * LINE) * LINE
                             : 0;
        if (type == TG_DTYPE_Q6_K && tiles > FEW_TILES)
            spread_panels(&in, m, (uint8_t *)scratch);
        switch (m) {
        case 4: run_group(product, &in, panel, 4, type); break;
        case 3: run_group(product, &in, panel, 3, type); break;
        case 2: run_group(product, &in, panel, 2, type); break;
        default: run_group(product, &in, panel, 1, type); break;
        }
        panel += m;
    }
}

#define TG_PRODUCT_OF(name, type)                                                                  \
    TG_ISA static void name(const tg_product *product, uint32_t first, uint32_t last,              \
                            int32_t *scratch)                                                      \
    {                                                                                              \
        run_panels(product, first, last, type, scratch);                                           \
    }
TG_PRODUCT_OF(product_f32, TG_DTYPE_F32)
TG_PRODUCT_OF(product_f16, TG_DTYPE_F16)
TG_PRODUCT_OF(product_bf16, TG_DTYPE_BF16)
TG_PRODUCT_OF(product_q8_0, TG_DTYPE_Q8_0)
TG_PRODUCT_OF(product_q4_0, TG_DTYPE_Q4_0)
TG_PRODUCT_OF(product_q4_1, TG_DTYPE_Q4_1)
TG_PRODUCT_OF(product_q5_0, TG_DTYPE_Q5_0)
TG_PRODUCT_OF(product_q5_1, TG_DTYPE_Q5_1)
TG_PRODUCT_OF(product_q4_k, TG_DTYPE_Q4_K)
TG_PRODUCT_OF(product_q5_k, TG_DTYPE_Q5_K)
TG_PRODUCT_OF(product_q6_k, TG_DTYPE_Q6_K)

static void TG_OPS(tg_product)(const tg_product *product, uint32_t first, uint32_t last,
                               int32_t *scratch)
{
    switch (product->weights->type) {
    case TG_DTYPE_F32: product_f32(product, first, last, scratch); break;
    case TG_DTYPE_F16: product_f16(product, first, last, scratch); break;
    case TG_DTYPE_BF16: product_bf16(product, first, last, scratch); break;
    case TG_DTYPE_Q8_0: product_q8_0(product, first, last, scratch); break;
    case TG_DTYPE_Q4_0: product_q4_0(product, first, last, scratch); break;
    case TG_DTYPE_Q4_1: product_q4_1(product, first, last, scratch); break;
    case TG_DTYPE_Q5_0: product_q5_0(product, first, last, scratch); break;
    case TG_DTYPE_Q5_1: product_q5_1(product, first, last, scratch); break;
    case TG_DTYPE_Q4_K: product_q4_k(product, first, last, scratch); break;
    case TG_DTYPE_Q5_K: product_q5_k(product, first, last, scratch); break;
    case TG_DTYPE_Q6_K: product_q6_k(product, first, last, scratch); break;
    }
}

#endif
