/* Products of many tokens under AVX2. What turns packed numbers into operands would be done again
 * for every tile of tokens: here it is done once for a stretch of a panel, whose operands then stay
 * in the nearest cache while all tokens pass by. Sums wait in memory from one stretch to the next;
 * each remains one chain over ascending blocks.
 *
 *   Q8_0              inputs 0 and 2, and 1 and 3, of each four as int16, [four: 8][half of the
 *                     panel][2][8 outputs][2]
 *   four, five bits   bytes, [four: 4][half][first four, the one 16 inputs later][8 outputs][4]
 *
 * Scales and minima are fp32. */
#ifndef TG_CPU_UNPACKED_AVX2_H
#define TG_CPU_UNPACKED_AVX2_H

enum {
    STRETCH = 16,    /* blocks */
    PASS_TILES = 16, /* of tokens that meet a stretch: their activations stay in the second cache */
    UNPACKED_MIN = TG_ROWS_TILE + 1, /* tokens; with fewer there is nothing to share */
};

typedef struct unpacked {
    __m256i q[STRETCH][32];
    v16 scale[STRETCH], min[STRETCH];
} unpacked;

TG_INLINE void unpack_numbers(const uint8_t *from, tg_dtype type, __m256i *to)
{
    const __m256i mask = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    if (type == TG_DTYPE_Q8_0) {
        for (size_t i = 0; i < 16; i++) {
            const __m256i w = load32(from + i * 32);
            to[2 * i] = even_of(w);
            to[2 * i + 1] = odd_of(w);
        }
        return;
    }
    for (size_t i = 0; i < 8; i++) {
        const __m256i w = load32(from + i * 32);
        to[2 * i] = _mm256_and_si256(w, mask);
        to[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
        if (tg_packed_is_five(type)) {
            const int g = (int)(i / 2);
            const __m256i bits = load32(from + (8 + i % 2) * 32);
            const __m256i to_low = _mm256_sll_epi16(bits, _mm_cvtsi32_si128(4 - g));
            const __m256i to_high = _mm256_srl_epi16(bits, _mm_cvtsi32_si128(g));
            to[2 * i] = _mm256_or_si256(to[2 * i], _mm256_and_si256(to_low, fifth));
            to[2 * i + 1] = _mm256_or_si256(to[2 * i + 1], _mm256_and_si256(to_high, fifth));
        }
    }
}

TG_INLINE void unpack(const uint8_t *panel, size_t blocks, size_t first, size_t len, tg_dtype type,
                      unpacked *ret)
{
    const size_t quants = tg_packed_quants(type);
    const uint8_t *scales = panel + blocks * quants;
    for (size_t b = 0; b < len; b++) {
        unpack_numbers(panel + (first + b) * quants, type, ret->q[b]);
        ret->scale[b] = scale_of(scales, blocks, first + b, 0, type);
        if (tg_packed_has_min(type))
            ret->min[b] = min_of(scales, blocks, first + b, type);
    }
}

/* The first product of a dot that begins with nothing is not added but put there. */
TG_INLINE void dots_unpacked(const tile *in, const __m256i *w, size_t b, int n, tg_dtype type,
                             d16 (*dots)[TILE])
{
    const size_t groups = type == TG_DTYPE_Q8_0 ? 8 : 4;
    begin_low(in, b, 1, n, type, dots);
    TG_UNROLL
    for (size_t g = 0; g < groups; g++) {
        const bool put = g == 0 && type != TG_DTYPE_Q4_0;
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const size_t k = (b * TILE + (size_t)t) * TG_QUANT_BLOCK + g * 4;
            const __m256i x =
                type == TG_DTYPE_Q8_0 ? broadcast4(in->pairs + k) : broadcast4(in->q + k);
            const __m256i y =
                type == TG_DTYPE_Q8_0 ? broadcast4(in->pairs + k + 2) : broadcast4(in->q + k + 16);
            TG_UNROLL
            for (size_t half = 0; half < 2; half++) {
                __m256i *dot = &dots[0][t].half[half];
                const __m256i v = w[g * 4 + half * 2], u = w[g * 4 + half * 2 + 1];
                if (type == TG_DTYPE_Q8_0) {
                    add_or_put_32(put, dot, _mm256_madd_epi16(v, x));
                    add_32(dot, _mm256_madd_epi16(u, y));
                } else if (tg_packed_is_five(type)) {
                    add_or_put_32(put, dot, two_groups(v, x, u, y));
                } else {
                    add_or_put_16(put, dot, _mm256_maddubs_epi16(v, x));
                    add_16(dot, _mm256_maddubs_epi16(u, y));
                }
            }
        }
    }
}

TG_INLINE void tile_unpacked(const tile *in, const unpacked *w, size_t first, size_t len, int n,
                             tg_dtype type, v16 *sums)
{
    v16 acc[TILE];
    TG_UNROLL
    for (int t = 0; t < n; t++)
        acc[t] = sums[t];
    TG_KEEP_LOOP
    for (size_t b = 0; b < len; b++) {
        const size_t at = (first + b) * TILE;
        d16 dots[1][TILE];
        fetch_ahead(in, first + b);
        dots_unpacked(in, w->q[b], first + b, n, type, dots);
        if (type != TG_DTYPE_Q8_0)
            finish_low(in, first + b, 1, n, type, dots);
        TG_UNROLL
        for (int t = 0; t < n; t++) {
            const v16 both = v16_mul(w->scale[b], v16_set(in->scale[at + (size_t)t]));
            acc[t] = v16_fma(v16_of_d16(dots[0][t]), both, acc[t]);
            if (tg_packed_has_min(type))
                acc[t] = v16_fma(w->min[b], v16_set(in->scaled_sum[at + (size_t)t]), acc[t]);
        }
    }
    TG_UNROLL
    for (int t = 0; t < n; t++)
        sums[t] = acc[t];
}

TG_INLINE void point_at_tile(const tg_rows *rows, uint32_t row, tg_dtype type, tile *in)
{
    const size_t at = tg_rows_at(rows, row, 0);
    in->q = rows->q + at * TG_QUANT_BLOCK;
    in->pairs = type == TG_DTYPE_Q8_0 ? rows->pairs + at * TG_QUANT_BLOCK : NULL;
    in->scale = rows->scale + at;
    in->scaled_sum = rows->scaled_sum + at;
    in->sum = rows->sum + at;
    in->start = rows->start + at;
}

/* Blocks [first, first + len) against tokens [row, row + count). */
TG_INLINE void meet(tile in, const tg_rows *rows, const unpacked *w, uint32_t row, uint32_t count,
                    size_t first, size_t len, tg_dtype type, v16 *sums)
{
    for (uint32_t done = 0; done < count; done += TILE, sums += TILE) {
        const uint32_t left = count - done;
        point_at_tile(rows, row + done, type, &in);
        switch (left) {
        case 1: tile_unpacked(&in, w, first, len, 1, type, sums); break;
        case 2: tile_unpacked(&in, w, first, len, 2, type, sums); break;
        case 3: tile_unpacked(&in, w, first, len, 3, type, sums); break;
        default: tile_unpacked(&in, w, first, len, 4, type, sums); break;
        }
        in.ahead += in.ahead_bytes * in.blocks;
    }
}

TG_INLINE void run_unpacked(const tg_product *product, uint32_t first, uint32_t last, tg_dtype type)
{
    enum { PASS = PASS_TILES * TILE };
    const tg_packed *w = product->weights;
    const uint32_t len = product->rows->len;
    tile in = {.panel_bytes = w->panel_bytes, .blocks = w->in / TG_QUANT_BLOCK};
    for (uint32_t row = 0; row < len; row += PASS) {
        const uint32_t count = len - row < PASS ? len - row : PASS;
        const size_t pieces = (count + TILE - 1) / TILE * in.blocks;
        for (uint32_t panel = first; panel < last; panel++) {
            v16 sums[PASS];
            unpacked stretch;
            for (uint32_t t = 0; t < count; t++)
                sums[t] = v16_set(0);
            in.weights = w->data + panel * w->panel_bytes;
            in.ahead = in.weights + in.panel_bytes;
            in.ahead_bytes = panel + 1 < last
                                 ? (in.panel_bytes + pieces * LINE - 1) / (pieces * LINE) * LINE
                                 : 0;
            for (size_t b = 0; b < in.blocks; b += STRETCH) {
                const size_t left = in.blocks - b, some = left < STRETCH ? left : STRETCH;
                unpack(in.weights, in.blocks, b, some, type, &stretch);
                meet(in, product->rows, &stretch, row, count, b, some, type, sums);
            }
            for (uint32_t t = 0; t < count; t++)
                store_tile(product, panel, row + t, sums[t]);
        }
    }
}

#define UNPACKED_OF(name, type)                                                                    \
    TG_ISA static void name(const tg_product *product, uint32_t first, uint32_t last)              \
    {                                                                                              \
        run_unpacked(product, first, last, type);                                                  \
    }
UNPACKED_OF(unpacked_q8_0, TG_DTYPE_Q8_0)
UNPACKED_OF(unpacked_q4_0, TG_DTYPE_Q4_0)
UNPACKED_OF(unpacked_q4_1, TG_DTYPE_Q4_1)
UNPACKED_OF(unpacked_q5_0, TG_DTYPE_Q5_0)
UNPACKED_OF(unpacked_q5_1, TG_DTYPE_Q5_1)
UNPACKED_OF(unpacked_q4_k, TG_DTYPE_Q4_K)
UNPACKED_OF(unpacked_q5_k, TG_DTYPE_Q5_K)

static void product_avx2(const tg_product *product, uint32_t first, uint32_t last, int32_t *scratch)
{
    switch (product->rows->len >= UNPACKED_MIN ? product->weights->type : TG_DTYPE_F32) {
    case TG_DTYPE_Q8_0: unpacked_q8_0(product, first, last); break;
    case TG_DTYPE_Q4_0: unpacked_q4_0(product, first, last); break;
    case TG_DTYPE_Q4_1: unpacked_q4_1(product, first, last); break;
    case TG_DTYPE_Q5_0: unpacked_q5_0(product, first, last); break;
    case TG_DTYPE_Q5_1: unpacked_q5_1(product, first, last); break;
    case TG_DTYPE_Q4_K: unpacked_q4_k(product, first, last); break;
    case TG_DTYPE_Q5_K: unpacked_q5_k(product, first, last); break;
    default: tg_product_avx2(product, first, last, scratch); break;
    }
}

#endif
