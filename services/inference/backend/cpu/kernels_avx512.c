/* AVX-512 with VNNI: a panel of 16 outputs is one register, and vpdpbusd multiplies and sums four
 * inputs of each at once. It wants one side unsigned: nibbles are, and int8 weights are moved up by
 * 128, which adds 128 times the sum of the activations to the dot; that is taken off again, exactly.
 * Everything but the products is AVX2's.
 */
#include "services/inference/backend/cpu/kernels.h"

#if TG_HAVE_X86

#include <immintrin.h>

#define ISA __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE static inline ISA __attribute__((always_inline))
#define TILE 8 /* tokens */

typedef struct tile {
    const int8_t *q[TILE];
    const float *scale[TILE], *scaled_sum[TILE], *x[TILE];
    const int32_t *sum[TILE];
} tile;

INLINE __m512i broadcast4(const int8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof(v));
    return _mm512_set1_epi32(v);
}

INLINE __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

INLINE void dots_q8(const uint8_t *quants, const tile *in, size_t b, int n, __m512i *dots)
{
    const __m512i up = _mm512_set1_epi8((char)-128);
    TG_UNROLL
    for (int t = 0; t < n; t++)
        dots[t] = _mm512_set1_epi32(-128 * in->sum[t][b]);
    TG_UNROLL
    for (size_t g = 0; g < 8; g++) {
        __m512i w = _mm512_xor_si512(_mm512_loadu_si512(quants + g * 64), up);
        TG_UNROLL
        for (int t = 0; t < n; t++)
            dots[t] = _mm512_dpbusd_epi32(dots[t], w, broadcast4(in->q[t] + b * TG_QUANT_BLOCK + g * 4));
    }
}

INLINE void dots_q4(const uint8_t *quants, const tile *in, size_t b, int n, tg_dtype type, __m512i *dots)
{
    const __m512i mask = _mm512_set1_epi8(15);
    TG_UNROLL
    for (int t = 0; t < n; t++)
        dots[t] = _mm512_set1_epi32(type == TG_DTYPE_Q4_0 ? -8 * in->sum[t][b] : 0);
    TG_UNROLL
    for (size_t g = 0; g < 4; g++) {
        __m512i w = _mm512_loadu_si512(quants + g * 64);
        __m512i low = _mm512_and_si512(w, mask), high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const int8_t *q = in->q[t] + b * TG_QUANT_BLOCK + g * 4;
            dots[t] = _mm512_dpbusd_epi32(dots[t], low, broadcast4(q));
            dots[t] = _mm512_dpbusd_epi32(dots[t], high, broadcast4(q + 16));
        }
    }
}

INLINE void tile_quant(const tg_packed *w, const uint8_t *panel, const tile *in, int n, tg_dtype type,
                       __m512 *acc)
{
    const size_t blocks = w->in / TG_QUANT_BLOCK;
    const size_t quant_bytes = type == TG_DTYPE_Q8_0 ? TG_PANEL * 32 : TG_PANEL * 16;
    const uint16_t *scales = (const uint16_t *)(const void *)(panel + blocks * quant_bytes);
    const uint16_t *mins = scales + blocks * TG_PANEL;
    for (size_t b = 0; b < blocks; b++, panel += quant_bytes) {
        __m512i dots[TILE];
        if (type == TG_DTYPE_Q8_0)
            dots_q8(panel, in, b, n, dots);
        else
            dots_q4(panel, in, b, n, type, dots);
        __m512 scale = load_f16(scales + b * TG_PANEL), low = scale;
        if (type == TG_DTYPE_Q4_1)
            low = load_f16(mins + b * TG_PANEL);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t]),
                                     _mm512_mul_ps(scale, _mm512_set1_ps(in->scale[t][b])), acc[t]);
            if (type == TG_DTYPE_Q4_1)
                acc[t] = _mm512_fmadd_ps(low, _mm512_set1_ps(in->scaled_sum[t][b]), acc[t]);
        }
    }
}

INLINE void tile_float(const tg_packed *w, const uint8_t *panel, const tile *in, int n, tg_dtype type,
                       __m512 *acc)
{
    const float *wide = (const float *)(const void *)panel;
    const uint16_t *half = (const uint16_t *)(const void *)panel;
    for (size_t k = 0; k < w->in; k++) {
        __m512 value = type == TG_DTYPE_F32 ? _mm512_loadu_ps(wide + k * TG_PANEL)
                                            : load_f16(half + k * TG_PANEL);
        TG_UNROLL
        for (int t = 0; t < n; t++)
            acc[t] = _mm512_fmadd_ps(value, _mm512_set1_ps(in->x[t][k]), acc[t]);
    }
}

INLINE void run_tile(const tg_product *p, const uint8_t *panel, uint32_t index, uint32_t row, int n,
                     tg_dtype type)
{
    const tg_rows *rows = p->rows;
    const size_t in = rows->in, blocks = in / TG_QUANT_BLOCK;
    const bool quantised = type != TG_DTYPE_F32 && type != TG_DTYPE_F16;
    tile where;
    __m512 acc[TILE];
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        size_t r = row + (size_t)t;
        acc[t] = _mm512_setzero_ps();
        if (quantised) {
            where.q[t] = rows->q + r * in;
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
    const uint32_t out = index * TG_PANEL, width = p->weights->out - out;
    const __mmask16 lanes = (__mmask16)(width < TG_PANEL ? (1u << width) - 1u : 0xffffu);
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        float *to = p->out + (row + (uint32_t)t) * p->stride + out;
        if (p->accumulate)
            acc[t] = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, to), acc[t]);
        _mm512_mask_storeu_ps(to, lanes, acc[t]);
    }
}

INLINE void run_panels(const tg_product *p, uint32_t first, uint32_t last, tg_dtype type)
{
    const uint32_t len = p->rows->len;
    for (uint32_t panel = first; panel < last; panel++) {
        const uint8_t *data = p->weights->data + panel * p->weights->panel_bytes;
        uint32_t row = 0;
        for (; row + TILE <= len; row += TILE)
            run_tile(p, data, panel, row, TILE, type);
        if (len - row >= 4) {
            run_tile(p, data, panel, row, 4, type);
            row += 4;
        }
        switch (len - row) {
        case 3: run_tile(p, data, panel, row, 3, type); break;
        case 2: run_tile(p, data, panel, row, 2, type); break;
        case 1: run_tile(p, data, panel, row, 1, type); break;
        default: break;
        }
    }
}

ISA static void product_f32(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_F32);
}
ISA static void product_f16(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_F16);
}
ISA static void product_q8_0(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_Q8_0);
}
ISA static void product_q4_0(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_Q4_0);
}
ISA static void product_q4_1(const tg_product *p, uint32_t first, uint32_t last)
{
    run_panels(p, first, last, TG_DTYPE_Q4_1);
}

static void product_avx512(const tg_product *p, uint32_t first, uint32_t last)
{
    switch (p->weights->type) {
    case TG_DTYPE_F32: product_f32(p, first, last); break;
    case TG_DTYPE_F16: product_f16(p, first, last); break;
    case TG_DTYPE_Q8_0: product_q8_0(p, first, last); break;
    case TG_DTYPE_Q4_0: product_q4_0(p, first, last); break;
    case TG_DTYPE_Q4_1: product_q4_1(p, first, last); break;
    }
}

static void quantise_avx2(const float *x, const tg_rows *rows, uint32_t row)
{
    tg_kernels_avx2.quantise(x, rows, row);
}
static void norm_avx2(const float *x, const float *weight, uint32_t len, float eps, float *ret)
{
    tg_kernels_avx2.norm(x, weight, len, eps, ret);
}
static void silu_mul_avx2(const float *gate, const float *up, uint32_t len, float *ret)
{
    tg_kernels_avx2.silu_mul(gate, up, len, ret);
}
static void to_f16_avx2(const float *x, uint32_t len, uint16_t *ret)
{
    tg_kernels_avx2.to_f16(x, len, ret);
}
static void attend_avx2(const tg_attend *attend) { tg_kernels_avx2.attend(attend); }

const tg_cpu_kernels tg_kernels_avx512 = {.name = "avx512",
                                          .product = product_avx512,
                                          .quantise = quantise_avx2,
                                          .norm = norm_avx2,
                                          .silu_mul = silu_mul_avx2,
                                          .to_f16 = to_f16_avx2,
                                          .attend = attend_avx2};

#endif
