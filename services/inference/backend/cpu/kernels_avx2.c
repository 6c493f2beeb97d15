/* AVX2 + FMA + F16C. A panel of 16 outputs is two registers of 8 lanes; a tile is up to 4 tokens, so
 * that a weight is unpacked once for 4 uses.
 *
 *   Q8_0: bytes of one output's four inputs sit in one 32-bit lane. Shifts sign-extend inputs 0 and 2
 *         into one vector of int16 and 1 and 3 into another; vpmaddwd multiplies and adds pairs into
 *         int32. Exact for every int8.
 *   Q4:   nibbles are unsigned, so vpmaddubsw takes them as they are; a pair is at most 15·127·2 =
 *         3,810 and a whole block's eight of them 30,480, which int16 holds. One widening per block.
 */
#include "services/inference/backend/cpu/kernels.h"

#if TG_HAVE_X86

#include "services/inference/backend/cpu/vec_avx2.h"

#include "services/inference/backend/cpu/ops.h"

#define TILE 4 /* tokens */

/* Pins a running sum to its register: without it the compiler regroups a block's additions, holds all
 * their terms at once, and spills. */
#define PIN(sum) __asm__("" : "+x"(sum))
#define INLINE static inline TG_ISA __attribute__((always_inline))

INLINE __m256i broadcast4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof(v));
    return _mm256_set1_epi32(v);
}

INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* Where a tile's rows are. */
typedef struct tile {
    const int8_t *q[TILE];
    const int16_t *pairs[TILE];
    const float *scale[TILE], *scaled_sum[TILE], *x[TILE];
    const int32_t *sum[TILE];
} tile;

/* One block's dots: [half of the panel][token]. */
INLINE void dots_q8(const uint8_t *quants, const tile *in, size_t b, int n, __m256i (*dots)[TILE])
{
    TG_KEEP_LOOP
    for (size_t g = 0; g < 8; g++) {
        TG_UNROLL
        for (size_t half = 0; half < 2; half++) {
            __m256i w = load32(quants + g * 64 + half * 32);
            __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), odd = _mm256_srai_epi16(w, 8);
            TG_UNROLL
            for (int t = 0; t < n; t++) {
                const int16_t *pairs = in->pairs[t] + b * TG_QUANT_BLOCK + g * 4;
                __m256i x = _mm256_madd_epi16(even, broadcast4(pairs));
                __m256i y = _mm256_madd_epi16(odd, broadcast4(pairs + 2));
                dots[half][t] = _mm256_add_epi32(dots[half][t], _mm256_add_epi32(x, y));
                PIN(dots[half][t]);
            }
        }
    }
}

INLINE void dots_q4(const uint8_t *quants, const tile *in, size_t b, int n, __m256i (*dots)[TILE])
{
    const __m256i mask = _mm256_set1_epi8(15);
    TG_KEEP_LOOP
    for (size_t g = 0; g < 4; g++) {
        __m256i a = load32(quants + g * 64), c = load32(quants + g * 64 + 32);
        __m256i a_low = _mm256_and_si256(a, mask), c_low = _mm256_and_si256(c, mask);
        __m256i a_high = _mm256_and_si256(_mm256_srli_epi16(a, 4), mask);
        __m256i c_high = _mm256_and_si256(_mm256_srli_epi16(c, 4), mask);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const int8_t *q = in->q[t] + b * TG_QUANT_BLOCK + g * 4;
            __m256i low = broadcast4(q), high = broadcast4(q + 16);
            dots[0][t] = _mm256_add_epi16(dots[0][t], _mm256_maddubs_epi16(a_low, low));
            PIN(dots[0][t]);
            dots[1][t] = _mm256_add_epi16(dots[1][t], _mm256_maddubs_epi16(c_low, low));
            PIN(dots[1][t]);
            dots[0][t] = _mm256_add_epi16(dots[0][t], _mm256_maddubs_epi16(a_high, high));
            PIN(dots[0][t]);
            dots[1][t] = _mm256_add_epi16(dots[1][t], _mm256_maddubs_epi16(c_high, high));
            PIN(dots[1][t]);
        }
    }
}

INLINE void tile_quant(const tg_packed *w, const uint8_t *panel, const tile *in, int n, tg_dtype type,
                       __m256 (*acc)[TILE])
{
    const size_t blocks = w->in / TG_QUANT_BLOCK;
    const size_t quant_bytes = type == TG_DTYPE_Q8_0 ? TG_PANEL * 32 : TG_PANEL * 16;
    const uint16_t *scales = (const uint16_t *)(const void *)(panel + blocks * quant_bytes);
    const uint16_t *mins = scales + blocks * TG_PANEL;
    for (size_t b = 0; b < blocks; b++, panel += quant_bytes) {
        __m256i dots[2][TILE];
        TG_UNROLL
        for (int t = 0; t < n; t++)
            dots[0][t] = dots[1][t] = _mm256_setzero_si256();
        if (type == TG_DTYPE_Q8_0)
            dots_q8(panel, in, b, n, dots);
        else
            dots_q4(panel, in, b, n, dots);
        TG_UNROLL
        for (size_t half = 0; half < 2; half++) {
            __m256 scale = v8_load_f16(scales + b * TG_PANEL + half * 8), low = scale;
            if (type == TG_DTYPE_Q4_1)
                low = v8_load_f16(mins + b * TG_PANEL + half * 8);
            TG_UNROLL
            for (int t = 0; t < n; t++) {
                __m256i dot = dots[half][t];
                if (type != TG_DTYPE_Q8_0)
                    dot = _mm256_madd_epi16(dot, _mm256_set1_epi16(1));
                if (type == TG_DTYPE_Q4_0)
                    dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(8 * in->sum[t][b]));
                acc[half][t] = v8_fma(_mm256_cvtepi32_ps(dot), v8_mul(scale, v8_set(in->scale[t][b])),
                                      acc[half][t]);
                if (type == TG_DTYPE_Q4_1)
                    acc[half][t] = v8_fma(low, v8_set(in->scaled_sum[t][b]), acc[half][t]);
            }
        }
    }
}

INLINE void tile_float(const tg_packed *w, const uint8_t *panel, const tile *in, int n, tg_dtype type,
                       __m256 (*acc)[TILE])
{
    const float *wide = (const float *)(const void *)panel;
    const uint16_t *half = (const uint16_t *)(const void *)panel;
    for (size_t k = 0; k < w->in; k++) {
        __m256 low = type == TG_DTYPE_F32 ? v8_load(wide + k * TG_PANEL) : v8_load_f16(half + k * TG_PANEL);
        __m256 high = type == TG_DTYPE_F32 ? v8_load(wide + k * TG_PANEL + 8)
                                           : v8_load_f16(half + k * TG_PANEL + 8);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            __m256 x = v8_set(in->x[t][k]);
            acc[0][t] = v8_fma(low, x, acc[0][t]);
            acc[1][t] = v8_fma(high, x, acc[1][t]);
        }
    }
}

INLINE void store_tile(const tg_product *p, uint32_t panel, uint32_t row, int n, __m256 (*acc)[TILE])
{
    const uint32_t out = panel * TG_PANEL;
    const uint32_t width = p->weights->out - out < TG_PANEL ? p->weights->out - out : TG_PANEL;
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        float *to = p->out + (row + (uint32_t)t) * p->stride + out;
        if (width == TG_PANEL) {
            __m256 low = acc[0][t], high = acc[1][t];
            if (p->accumulate) {
                low = v8_add(v8_load(to), low);
                high = v8_add(v8_load(to + 8), high);
            }
            v8_store(to, low);
            v8_store(to + 8, high);
            continue;
        }
        float f[TG_PANEL];
        v8_store(f, acc[0][t]);
        v8_store(f + 8, acc[1][t]);
        for (uint32_t i = 0; i < width; i++)
            to[i] = p->accumulate ? to[i] + f[i] : f[i];
    }
}

INLINE void run_tile(const tg_product *p, const uint8_t *panel, uint32_t index, uint32_t row, int n,
                     tg_dtype type)
{
    const tg_rows *rows = p->rows;
    const size_t in = rows->in, blocks = in / TG_QUANT_BLOCK;
    const bool quantised = type != TG_DTYPE_F32 && type != TG_DTYPE_F16;
    tile where;
    __m256 acc[2][TILE];
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        size_t r = row + (size_t)t;
        acc[0][t] = acc[1][t] = _mm256_setzero_ps();
        if (quantised) {
            where.q[t] = rows->q + r * in;
            where.pairs[t] = type == TG_DTYPE_Q8_0 ? rows->pairs + r * in : NULL;
            where.scale[t] = rows->scale + r * blocks;
            where.scaled_sum[t] = rows->scaled_sum + r * blocks;
            where.sum[t] = rows->sum + r * blocks;
        } else {
            where.x[t] = rows->x + r * in;
        }
    }
    if (quantised)
        tile_quant(p->weights, panel, &where, n, type, acc);
    else
        tile_float(p->weights, panel, &where, n, type, acc);
    store_tile(p, index, row, n, acc);
}

INLINE void run_panels(const tg_product *p, uint32_t first, uint32_t last, tg_dtype type)
{
    const uint32_t len = p->rows->len;
    for (uint32_t panel = first; panel < last; panel++) {
        const uint8_t *data = p->weights->data + panel * p->weights->panel_bytes;
        uint32_t row = 0;
        for (; row + TILE <= len; row += TILE)
            run_tile(p, data, panel, row, TILE, type);
        switch (len - row) {
        case 3: run_tile(p, data, panel, row, 3, type); break;
        case 2: run_tile(p, data, panel, row, 2, type); break;
        case 1: run_tile(p, data, panel, row, 1, type); break;
        default: break;
        }
    }
}

TG_ISA static void product_f32(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_F32);
}
TG_ISA static void product_f16(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_F16);
}
TG_ISA static void product_q8_0(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_Q8_0);
}
TG_ISA static void product_q4_0(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_Q4_0);
}
TG_ISA static void product_q4_1(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_Q4_1);
}

static void product_avx2(const tg_product *p, uint32_t first, uint32_t last)
{
    switch (p->weights->type) {
    case TG_DTYPE_F32: product_f32(p, first, last); break;
    case TG_DTYPE_F16: product_f16(p, first, last); break;
    case TG_DTYPE_Q8_0: product_q8_0(p, first, last); break;
    case TG_DTYPE_Q4_0: product_q4_0(p, first, last); break;
    case TG_DTYPE_Q4_1: product_q4_1(p, first, last); break;
    }
}

const tg_cpu_kernels tg_kernels_avx2 = {
    .name = "avx2", .wants_pairs = true, .product = product_avx2, TG_OPS_TABLE};

#endif
