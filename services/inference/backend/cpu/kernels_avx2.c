/* AVX2 + FMA + F16C. A panel of 16 outputs is two registers of 8 lanes; a tile is 4 tokens by a
 * panel, 2 by 2 or 1 by 4. With more than 4 tokens numbers are unpacked first: unpacked_avx2.h.
 *
 *   Q8_0: bytes of one output's four inputs sit in one 32-bit lane. Shifts sign-extend inputs 0 and
 *         2 into one vector of int16 and 1 and 3 into another; vpmaddwd multiplies and adds pairs
 *         into int32. Exact for every int8.
 *   Q4:   nibbles are unsigned, so vpmaddubsw takes them as they are; a pair is at most 15·127·2 =
 *         3,810 and a whole block's eight of them 30,480, which int16 holds. One widening per
 *         block. Less 4 × the sum of 32 activations (half of Q4_0's middle) each is within ±30,480
 *         too; on the way there it may wrap.
 *   Q5, Q6: bytes of up to 63 likewise; two pairs are at most 2·63·127·2 = 32,004, so each two are
 *     widened.
 */
#include "services/inference/backend/cpu/kernels.h"

#if TG_HAVE_X86

#include "services/inference/backend/cpu/vec_avx2.h"

#include "services/inference/backend/cpu/ops.h"

typedef struct d16 {
    __m256i half[2];
} d16;

#define TG_TILE_PANELS(rows) ((rows) == 1 ? 4u : (rows) == 2 ? 2u : 1u)
#define TG_TILE_FITS(m, n) ((m) * (n) <= 4 || ((m) == 1 && (n) <= 6))
#define TG_FLOAT_ROWS 6
#define TG_FLOAT_PANELS(rows) TG_TILE_PANELS(rows)
#define TG_WANTS_PAIRS true

#include "services/inference/backend/cpu/tiles.h"

TG_INLINE v16 v16_of_d16(d16 x)
{
    return (v16){_mm256_cvtepi32_ps(x.half[0]), _mm256_cvtepi32_ps(x.half[1])};
}

/* Add to a running sum where it is: otherwise the compiler regroups a block's additions, holds all
 * their terms at once, and spills. */
TG_INLINE void add_16(__m256i *sum, __m256i x)
{
    __asm__("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(x));
}
TG_INLINE void add_32(__m256i *sum, __m256i x)
{
    __asm__("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(x));
}

TG_INLINE void add_or_put_16(bool put, __m256i *sum, __m256i x)
{
    put ? (void)(*sum = x) : add_16(sum, x);
}
TG_INLINE void add_or_put_32(bool put, __m256i *sum, __m256i x)
{
    put ? (void)(*sum = x) : add_32(sum, x);
}

TG_INLINE __m256i broadcast4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof(v));
    return _mm256_set1_epi32(v);
}

TG_INLINE __m256i load32(const void *p) { return _mm256_loadu_si256(p); }

/* Inputs 0 and 2, and 1 and 3, of eight outputs. */
TG_INLINE __m256i even_of(__m256i w) { return _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8); }
TG_INLINE __m256i odd_of(__m256i w) { return _mm256_srai_epi16(w, 8); }

TG_INLINE void clear(int m, int n, d16 (*dots)[TILE])
{
    TG_UNROLL
    for (int p = 0; p < m; p++) {
        TG_UNROLL
        for (int t = 0; t < n; t++)
            dots[p][t].half[0] = dots[p][t].half[1] = _mm256_setzero_si256();
    }
}

/* Q4_0's dots begin with what is taken off for the middle (tg_rows.start). */
TG_INLINE void begin_low(const tile *in, size_t b, int m, int n, tg_dtype type, d16 (*dots)[TILE])
{
    if (type != TG_DTYPE_Q4_0) {
        clear(m, n, dots);
        return;
    }
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        const __m256i start = broadcast4(in->start + b * TILE + (size_t)t);
        TG_UNROLL
        for (int p = 0; p < m; p++)
            dots[p][t].half[0] = dots[p][t].half[1] = start;
    }
}

TG_INLINE void dots_q8(const tile *in, size_t b, int m, int n, d16 (*dots)[TILE])
{
    clear(m, n, dots);
    TG_KEEP_LOOP
    for (size_t g = 0; g < 8; g++) {
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            TG_UNROLL
            for (size_t half = 0; half < 2; half++) {
                const uint8_t *from =
                    in->weights + (size_t)p * in->panel_bytes + ((b * 8 + g) * 2 + half) * 32;
                const __m256i w = load32(from), even = even_of(w), odd = odd_of(w);
                if (half == 0)
                    fetch_further(in, from);
                TG_UNROLL
                for (int t = 0; t < n; t++) {
                    const int16_t *pairs =
                        in->pairs + (b * TILE + (size_t)t) * TG_QUANT_BLOCK + g * 4;
                    add_32(&dots[p][t].half[half], _mm256_madd_epi16(even, broadcast4(pairs)));
                    add_32(&dots[p][t].half[half], _mm256_madd_epi16(odd, broadcast4(pairs + 2)));
                }
            }
        }
    }
}

/* Nibbles: sums of int16, to be widened. */
TG_INLINE void add_four_bits(const tile *in, size_t b, int m, int n, d16 (*dots)[TILE])
{
    const __m256i mask = _mm256_set1_epi8(15);
    TG_KEEP_LOOP
    for (size_t g = 0; g < 4; g++) {
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            TG_UNROLL
            for (size_t half = 0; half < 2; half++) {
                const uint8_t *from =
                    in->weights + (size_t)p * in->panel_bytes + ((b * 4 + g) * 2 + half) * 32;
                const __m256i w = load32(from);
                if (half == 0)
                    fetch_further(in, from);
                const __m256i low = _mm256_and_si256(w, mask);
                const __m256i high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
                TG_UNROLL
                for (int t = 0; t < n; t++) {
                    const int8_t *q = in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK + g * 4;
                    __m256i *dot = &dots[p][t].half[half];
                    add_16(dot, _mm256_maddubs_epi16(low, broadcast4(q)));
                    add_16(dot, _mm256_maddubs_epi16(high, broadcast4(q + 16)));
                }
            }
        }
    }
}

/* Each two groups of inputs, that four or five bits leave room for in int16, are widened to
 * int32. */
TG_INLINE __m256i two_groups(__m256i v, __m256i q, __m256i w, __m256i r)
{
    const __m256i x = _mm256_maddubs_epi16(v, q), y = _mm256_maddubs_epi16(w, r);
    return _mm256_madd_epi16(_mm256_add_epi16(x, y), _mm256_set1_epi16(1));
}

TG_INLINE void add_five_bits(const tile *in, size_t b, int m, int n, d16 (*dots)[TILE])
{
    const __m256i mask = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    const uint8_t *block = in->weights + b * tg_packed_quants(TG_DTYPE_Q5_K);
    TG_KEEP_LOOP
    for (size_t g = 0; g < 4; g++) {
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            TG_UNROLL
            for (size_t half = 0; half < 2; half++) {
                const uint8_t *from = block + (size_t)p * in->panel_bytes + half * 32;
                const __m256i w = load32(from + g * 64), bits = load32(from + 4 * 64);
                if (half == 0)
                    fetch_further(in, from + g * 64);
                if (half == 0 && g == 0)
                    fetch_further(in, from + 4 * 64);
                const __m256i to_low = _mm256_sll_epi16(bits, _mm_cvtsi32_si128((int)(4 - g)));
                const __m256i to_high = _mm256_srl_epi16(bits, _mm_cvtsi32_si128((int)g));
                const __m256i low =
                    _mm256_or_si256(_mm256_and_si256(w, mask), _mm256_and_si256(to_low, fifth));
                const __m256i high =
                    _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(w, 4), mask),
                                    _mm256_and_si256(to_high, fifth));
                TG_UNROLL
                for (int t = 0; t < n; t++) {
                    const int8_t *q = in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK + g * 4;
                    __m256i *dot = &dots[p][t].half[half];
                    add_32(dot, two_groups(low, broadcast4(q), high, broadcast4(q + 16)));
                }
            }
        }
    }
}

/* Widens sums of int16; of five bits takes off what stands for the middle. */
TG_INLINE void finish_low(const tile *in, size_t b, int m, int n, tg_dtype type, d16 (*dots)[TILE])
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int32_t middle = tg_packed_is_five(type) ? tg_packed_middle(type) : 0;
    TG_UNROLL
    for (int t = 0; t < n; t++) {
        const __m256i off = _mm256_set1_epi32(middle * in->sum[b * TILE + (size_t)t]);
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            TG_UNROLL
            for (size_t half = 0; half < 2; half++) {
                __m256i *dot = &dots[p][t].half[half];
                *dot = tg_packed_is_five(type) ? *dot : _mm256_madd_epi16(*dot, ones);
                *dot = middle ? _mm256_sub_epi32(*dot, off) : *dot;
            }
        }
    }
}

TG_INLINE void dots_low(const tile *in, size_t b, int m, int n, tg_dtype type, d16 (*dots)[TILE])
{
    begin_low(in, b, m, n, type, dots);
    if (tg_packed_is_five(type))
        add_five_bits(in, b, m, n, dots);
    else
        add_four_bits(in, b, m, n, dots);
    finish_low(in, b, m, n, type, dots);
}

/* Groups g and g + 1 of half `which`'s numbers, 0..63, of eight outputs; g is even. */
TG_INLINE void six_bits(const uint8_t *from, size_t which, size_t g, __m256i *ret_v, __m256i *ret_w)
{
    const __m256i mask = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(48);
    const __m256i bits = _mm256_srl_epi16(load32(from + (4 + which) * LINE),
                                          _mm_cvtsi32_si128((int)(2 * g)));
    __m256i v = load32(from + g * LINE), w = load32(from + (g + 1) * LINE);
    if (which == 1) {
        v = _mm256_srli_epi16(v, 4);
        w = _mm256_srli_epi16(w, 4);
    }
    *ret_v = _mm256_or_si256(_mm256_and_si256(v, mask),
                             _mm256_and_si256(_mm256_slli_epi16(bits, 4), upper));
    *ret_w = _mm256_or_si256(_mm256_and_si256(w, mask),
                             _mm256_and_si256(_mm256_slli_epi16(bits, 2), upper));
}

TG_INLINE void fetch_six_bits(const tile *in, const uint8_t *from, size_t which, size_t g)
{
    if (which == 0) {
        fetch_further(in, from + g * LINE);
        fetch_further(in, from + (g + 1) * LINE);
    }
    if (g == 0)
        fetch_further(in, from + (4 + which) * LINE);
}

TG_INLINE void spread_q6(const tile *in, const uint8_t *from, uint8_t *to)
{
    TG_UNROLL
    for (size_t g = 0; g < 8; g += 2) {
        fetch_six_bits(in, from, g / 4, g % 4);
        TG_UNROLL
        for (size_t half = 0; half < 2; half++) {
            __m256i v, w;
            six_bits(from + half * 32, g / 4, g % 4, &v, &w);
            _mm256_storeu_si256((__m256i *)(void *)(to + g * LINE + half * 32), v);
            _mm256_storeu_si256((__m256i *)(void *)(to + (g + 1) * LINE + half * 32), w);
        }
    }
}

TG_INLINE void dots_q6(const tile *in, size_t b, size_t which, bool spread, int m, int n,
                       d16 (*dots)[TILE])
{
    const uint8_t *block = in->weights + b * tg_packed_quants(TG_DTYPE_Q6_K);
    clear(m, n, dots);
    TG_KEEP_LOOP
    for (size_t g = 0; g < 4; g += 2) {
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            TG_UNROLL
            for (size_t half = 0; half < 2; half++) {
                const uint8_t *from = block + (size_t)p * in->panel_bytes;
                __m256i v, w;
                if (half == 0 && !spread)
                    fetch_six_bits(in, from, which, g);
                if (spread) {
                    const uint8_t *bytes = in->spread +
                                           ((size_t)p * in->blocks + b) * SPREAD_BYTES +
                                           (which * 4 + g) * LINE + half * 32;
                    v = load32(bytes);
                    w = load32(bytes + LINE);
                } else {
                    six_bits(from + half * 32, which, g, &v, &w);
                }
                TG_UNROLL
                for (int t = 0; t < n; t++) {
                    const int8_t *q = in->q + (b * TILE + (size_t)t) * TG_QUANT_BLOCK +
                                      which * (TG_QUANT_BLOCK / 2) + g * 4;
                    __m256i *dot = &dots[p][t].half[half];
                    add_32(dot, two_groups(v, broadcast4(q), w, broadcast4(q + 4)));
                }
            }
        }
    }
}

#include "services/inference/backend/cpu/unpacked_avx2.h"

const tg_cpu_kernels tg_kernels_avx2 = {
    .name = "avx2", .wants_pairs = true, .product = product_avx2, TG_OPS_TABLE};

#endif
