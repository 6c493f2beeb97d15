/* AVX-512 with VNNI: a panel of 16 outputs is one register, and vpdpbusd multiplies and sums four
 * inputs of each at once. It wants one side unsigned: nibbles are, and int8 weights are moved up by
 * 128, which adds 128 times the sum of the activations to the dot; that is taken off again,
 * exactly.
 *
 * A tile is 4 tokens by 3 panels: twelve dots, twelve sums and three weights fill the registers. A
 * tile of one panel would be held up by its loads of activations. Of five instructions of a block
 * that use the multipliers four are vpdpbusd, so about 80 % of the peak is what there is to have.
 */
#include "services/inference/backend/cpu/kernels.h"

#if TG_HAVE_X86

#include "services/inference/backend/cpu/vec_avx512.h"

#include "services/inference/backend/cpu/ops.h"

typedef __m512i d16;

#define TG_TILE_PANELS(rows) 3
#define TG_TILE_FITS(m, n) ((m) <= 3 && ((n) <= 4 || (m) <= 2))
/* by one panel: an activation that meets one weight is loaded by the multiplication itself */
#define TG_FLOAT_ROWS 8
#define TG_FLOAT_PANELS(rows) ((rows) <= 2 ? 3 : 1)
#define TG_WANTS_PAIRS false

#include "services/inference/backend/cpu/tiles.h"

TG_INLINE v16 v16_of_d16(d16 x) { return _mm512_cvtepi32_ps(x); }

TG_INLINE __m512i broadcast4(const int8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof(v));
    return _mm512_set1_epi32(v);
}

/* Every dot of a token starts at `times` the sum of its activations. */
TG_INLINE void start_dots(const tile *in, size_t b, int m, int n, int32_t times, d16 (*dots)[TILE])
{
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        const __m512i start = _mm512_set1_epi32(times * in->sum[b * TILE + (size_t)t]);
        TG_UNROLL
        for (int p = 0; p < m; p++)
            dots[p][t] = start;
    }
}

TG_INLINE void dots_q8(const tile *in, size_t b, int m, int n, d16 (*dots)[TILE])
{
    const __m512i up = _mm512_set1_epi8((char)-128);
    start_dots(in, b, m, n, -128, dots);
    TG_UNROLL
    for (size_t g = 0; g < 8; g++) {
        __m512i w[GROUP_MAX];
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            const uint8_t *line = in->weights + (size_t)p * in->panel_bytes + (b * 8 + g) * LINE;
            fetch_further(in, line);
            w[p] = _mm512_xor_si512(_mm512_loadu_si512(line), up);
        }
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const __m512i x = broadcast4(in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK + g * 4);
            TG_UNROLL
            for (int p = 0; p < m; p++)
                dots[p][t] = _mm512_dpbusd_epi32(dots[p][t], w[p], x);
        }
    }
}

TG_INLINE void dots_low(const tile *in, size_t b, int m, int n, tg_dtype type, d16 (*dots)[TILE])
{
    const __m512i mask = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16);
    const uint8_t *block = in->weights + b * tg_packed_quants(type);
    start_dots(in, b, m, n, -tg_packed_middle(type), dots);
    TG_UNROLL
    for (size_t g = 0; g < 4; g++) {
        __m512i low[GROUP_MAX], high[GROUP_MAX];
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            const uint8_t *panel = block + (size_t)p * in->panel_bytes;
            const __m512i w = _mm512_loadu_si512(panel + g * LINE);
            fetch_further(in, panel + g * LINE);
            low[p] = _mm512_and_si512(w, mask);
            high[p] = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
            if (tg_packed_is_five(type)) { /* a | (b & c), which is 0xf8 */
                const __m512i bits = _mm512_loadu_si512(panel + 4 * LINE);
                if (g == 0)
                    fetch_further(in, panel + 4 * LINE);
                low[p] = _mm512_ternarylogic_epi32(low[p], u16_left(bits, 4 - g), fifth, 0xf8);
                high[p] = _mm512_ternarylogic_epi32(high[p], u16_right(bits, g), fifth, 0xf8);
            }
        }
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const int8_t *q = in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK + g * 4;
            const __m512i x = broadcast4(q), y = broadcast4(q + 16);
            TG_UNROLL
            for (int p = 0; p < m; p++)
                dots[p][t] = _mm512_dpbusd_epi32(dots[p][t], low[p], x);
            TG_UNROLL
            for (int p = 0; p < m; p++)
                dots[p][t] = _mm512_dpbusd_epi32(dots[p][t], high[p], y);
        }
    }
}

/* Group g of a half's numbers, 0..63. */
TG_INLINE __m512i six_bits(const tile *in, const uint8_t *block, size_t half, size_t g)
{
    const __m512i both = _mm512_loadu_si512(block + g * LINE);
    const __m512i bits = _mm512_loadu_si512(block + (4 + half) * LINE);
    if (half == 0)
        fetch_further(in, block + g * LINE);
    if (g == 0)
        fetch_further(in, block + (4 + half) * LINE);
    return _mm512_ternarylogic_epi32( /* a | (b & c), which is 0xf8 */
        _mm512_and_si512(half == 0 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15)),
        g < 2 ? u16_left(bits, 4 - 2 * g) : u16_right(bits, 2 * g - 4), _mm512_set1_epi8(48), 0xf8);
}

TG_INLINE void spread_q6(const tile *in, const uint8_t *from, uint8_t *to)
{
    TG_UNROLL
    for (size_t g = 0; g < 8; g++)
        _mm512_storeu_si512(to + g * LINE, six_bits(in, from, g / 4, g % 4));
}

TG_INLINE void dots_q6(const tile *in, size_t b, size_t half, bool spread, int m, int n,
                       d16 (*dots)[TILE])
{
    const uint8_t *block = in->weights + b * tg_packed_quants(TG_DTYPE_Q6_K);
    start_dots(in, b, m, n, 0, dots);
    TG_UNROLL
    for (size_t g = 0; g < 4; g++) {
        __m512i w[GROUP_MAX];
        TG_UNROLL
        for (int p = 0; p < m; p++)
            w[p] = spread
                       ? _mm512_loadu_si512(in->spread +
                                            ((size_t)p * in->blocks + b) * SPREAD_BYTES +
                                            (half * 4 + g) * LINE)
                       : six_bits(in, block + (size_t)p * in->panel_bytes, half, g);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const __m512i x = broadcast4(in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK +
                                         half * (TG_QUANT_BLOCK / 2) + g * 4);
            TG_UNROLL
            for (int p = 0; p < m; p++)
                dots[p][t] = _mm512_dpbusd_epi32(dots[p][t], w[p], x);
        }
    }
}

const tg_cpu_kernels tg_kernels_avx512 = {
    .name = "avx512", .product = TG_OPS(tg_product), TG_OPS_TABLE};

#endif
