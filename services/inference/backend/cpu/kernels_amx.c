/* AMX int8, for products of many tokens with all quantised weights but Q6_K; the rest is AVX-512's.
 *
 * A block's 32 inputs of 16 outputs are a tile of weights as they lie in a panel (8 rows of 16 × 4
 * bytes), and those of 16 tokens a tile of activations (16 rows of 32 bytes): one tdpbssd gives all
 * 256 dots. Tiles hold 64 inputs, but a block of 32 has a scale of its own, so half of the
 * multipliers rest. The dots go through memory to registers of 16 lanes, where the chain of
 * numerics.h takes them block by block.
 *
 * What holds it back is not the tdpbssd (16 cycles) but all around it: an element of the result
 * takes three floating operations a block, of which the processor does one a cycle instead of two
 * while tiles are multiplied, and storing a tile takes 16 cycles. So 2 panels by 32 tokens share
 * their loads; a tile is stored three products after it was begun; and eight products' dots are
 * kept, so that eight tokens by two panels have their sums in registers for two blocks. Numbers of
 * four and five bits are spread to signed bytes once for all tokens.
 */
#include "services/inference/backend/cpu/kernels.h"

#if TG_HAVE_X86

#include "services/inference/backend/cpu/amx.h"
#include "services/inference/backend/cpu/vec_avx512.h"

#include "services/inference/backend/cpu/panel.h"

enum {
    /* From so many tokens on it is faster than AVX-512: with weights of a byte, and with those that
       are spread. */
    ROWS_MIN = 9,
    ROWS_MIN_SPREAD = 28,
    PANELS = 2, /* of a tile of outputs, at most */
    TILES = 2,  /* of tokens, likewise */
    KEPT = 8,   /* products whose dots are kept */
    LATE = 3,   /* products from one's start to the storing of its tile */
    DOTS_TILES = LATE + 1,
    SUMS = 16, /* vectors of sums that registers hold, a group: of 8 tokens by 2 panels, or of 16 by
                  one */
    WEIGHTS_BYTES = TG_QUANT_BLOCK * TG_PANEL, /* of a tile */
    TOKENS_BYTES = TG_QUANT_BLOCK * TG_ROWS_Q16,
    FOURS = TILES * TG_ROWS_Q16 / TG_ROWS_TILE,
    NEAR_BYTES = 1 << 20, /* of tokens that all panels meet before the next tokens do: half of the
                             second cache */
};

static const tg_tile_conf CONF = { /* dots in 0 to 3, tokens in 4 and 5, weights in 6 and 7 */
    .palette = 1,
    .rows = {16, 16, 16, 16, TG_ROWS_Q16, TG_ROWS_Q16, TG_QUANT_BLOCK / 4, TG_QUANT_BLOCK / 4},
    .row_bytes = {64, 64, 64, 64, TG_QUANT_BLOCK, TG_QUANT_BLOCK, TG_PANEL * 4, TG_PANEL * 4},
};

/* A tile of outputs: m panels by n tiles of tokens, both 1 or 2 and constants where functions are
 * inlined. */
typedef struct amx_tile {
    const uint8_t *weights[PANELS]; /* signed bytes: [block][8][16][4] */
    const uint8_t *scales[PANELS];
    const int8_t *q[TILES]; /* [block][16][32] */
    /* Of each four tokens: [block][4]; the last four of all stand in for those that are missing. */
    const float *scale[FOURS], *scaled_sum[FOURS];
    uint32_t count; /* tokens */
    size_t blocks;
    const uint8_t *ahead; /* what to fetch meanwhile, ahead_bytes for each block */
    size_t ahead_bytes;
} amx_tile;

typedef int32_t amx_dots[TG_ROWS_Q16][TG_PANEL];

/* Blocks that are multiplied in turn, with all their products, while the sums take those before. */
TG_BODY int chunk_of(int n) { return KEPT / PANELS / n; }

TG_BODY void load_tokens(int tile, const int8_t *from)
{
    if (tile == 0)
        TG_TILE_LOAD(4, from, TG_QUANT_BLOCK);
    else
        TG_TILE_LOAD(5, from, TG_QUANT_BLOCK);
}

TG_BODY void load_weights(int tile, const uint8_t *from)
{
    if (tile == 0)
        TG_TILE_LOAD(6, from, TG_PANEL * 4);
    else
        TG_TILE_LOAD(7, from, TG_PANEL * 4);
}

#define DOT_OF(dots, tokens, weights)            \
    TG_TILE_ZERO(dots);                          \
    switch ((tokens) * 2 + (weights)) {          \
    case 0: TG_TILE_DOT(dots, 4, 6); break;      \
    case 1: TG_TILE_DOT(dots, 4, 7); break;      \
    case 2: TG_TILE_DOT(dots, 5, 6); break;      \
    default: TG_TILE_DOT(dots, 5, 7); break;     \
    }

TG_BODY void dot_tiles(int dots, int tokens, int weights)
{
    if (dots == 0) {
        DOT_OF(0, tokens, weights)
    } else if (dots == 1) {
        DOT_OF(1, tokens, weights)
    } else if (dots == 2) {
        DOT_OF(2, tokens, weights)
    } else {
        DOT_OF(3, tokens, weights)
    }
}

TG_BODY void store_dots(int tile, amx_dots *to)
{
    switch (tile) {
    case 0: TG_TILE_STORE(0, *to, TG_PANEL * 4); break;
    case 1: TG_TILE_STORE(1, *to, TG_PANEL * 4); break;
    case 2: TG_TILE_STORE(2, *to, TG_PANEL * 4); break;
    default: TG_TILE_STORE(3, *to, TG_PANEL * 4); break;
    }
}

/* Starts on product `step` of the chunk that begins at block `b`, and stores the one that was begun
 * LATE steps before: in a chunk's first steps that is one of the chunk before, if there is one. A
 * block's products are in order of tiles of tokens, then panels. */
TG_BODY void multiply(const amx_tile *in, size_t b, int step, int m, int n, amx_dots *before,
                      amx_dots *dots)
{
    const int each = m * n, block = step / each, tokens = step % each / m, panel = step % m;
    const int a = n == 1 ? block % 2 : tokens, w = m == 1 ? block % 2 : panel;
    const size_t last = in->blocks - 1, at = b + (size_t)block < last ? b + (size_t)block : last;
    if (step >= LATE)
        store_dots((step - LATE) % DOTS_TILES, &dots[step - LATE]);
    else if (before)
        store_dots((step + DOTS_TILES - LATE) % DOTS_TILES,
                   &before[each * chunk_of(n) + step - LATE]);
    if (panel == 0)
        load_tokens(a, in->q[tokens] + at * TOKENS_BYTES);
    if (tokens == 0)
        load_weights(w, in->weights[panel] + at * WEIGHTS_BYTES);
    dot_tiles(step % DOTS_TILES, a, w);
}

/* Adds block `j` of a chunk that begins at `b` to the sums of a group. */
TG_BODY TG_ISA void add_block(const amx_tile *in, size_t b, int j, int group, int m, int n,
                              tg_dtype type, const amx_dots *dots, v16 (*scale)[PANELS],
                              v16 (*min)[PANELS], v16 *acc)
{
    const int count = SUMS / m;
    TG_UNROLL
    for (int t = 0; t < count; t++) {
        const int token = group * count + t, four = token / TG_ROWS_TILE;
        const size_t at = (b + (size_t)j) * TG_ROWS_TILE + (size_t)(token % TG_ROWS_TILE);
        const v16 x = v16_set(in->scale[four][at]);
        TG_UNROLL
        for (int p = 0; p < m; p++) {
            const int32_t *from = dots[(j * n + token / TG_ROWS_Q16) * m + p][token % TG_ROWS_Q16];
            const v16 dot = _mm512_cvtepi32_ps(_mm512_load_si512(from));
            acc[p * count + t] = v16_fma(dot, v16_mul(scale[j][p], x), acc[p * count + t]);
        }
        if (tg_packed_has_min(type)) {
            const v16 sum = v16_set(in->scaled_sum[four][at]);
            TG_UNROLL
            for (int p = 0; p < m; p++)
                acc[p * count + t] = v16_fma(min[j][p], sum, acc[p * count + t]);
        }
    }
}

/* While the dots of one chunk are scaled and added up, the next one's are multiplied. */
TG_BODY TG_ISA void run_tile(const amx_tile *in, int m, int n, tg_dtype type, v16 *sums)
{
    const int chunk = chunk_of(n), groups = m * n;
    _Alignas(64) amx_dots dots[2][KEPT];
    TG_UNROLL
    for (int step = 0; step < groups * chunk; step++)
        multiply(in, 0, step, m, n, NULL, dots[0]);
    for (size_t b = 0, which = 0; b < in->blocks; b += (size_t)chunk, which ^= 1) {
        const size_t next = b + (size_t)chunk < in->blocks ? b + (size_t)chunk : b;
        v16 scale[KEPT / PANELS][PANELS], min[KEPT / PANELS][PANELS];
        TG_UNROLL
        for (int j = 0; j < chunk; j++) {
            TG_UNROLL
            for (int p = 0; p < m; p++) {
                const size_t at = b + (size_t)j < in->blocks ? b + (size_t)j : b;
                scale[j][p] = scale_of(in->scales[p], in->blocks, at, 0, type);
                if (tg_packed_has_min(type))
                    min[j][p] = min_of(in->scales[p], in->blocks, at, type);
            }
        }
        for (size_t i = 0; i < (size_t)chunk * in->ahead_bytes; i += 64)
            __builtin_prefetch(in->ahead + b * in->ahead_bytes + i, 0, 2);
        TG_UNROLL
        for (int group = 0; group < groups; group++) {
            const bool used = (uint32_t)(group * SUMS / m) < in->count;
            v16 acc[SUMS];
            TG_UNROLL
            for (int i = 0; i < SUMS; i++)
                acc[i] = b == 0 ? v16_set(0) : sums[group * SUMS + i];
            TG_UNROLL
            for (int j = 0; j < chunk; j++) {
                multiply(in, next, group * chunk + j, m, n, dots[which], dots[which ^ 1]);
                if (used && b + (size_t)j < in->blocks)
                    add_block(in, b, j, group, m, n, type, dots[which], scale, min, acc);
            }
            TG_UNROLL
            for (int i = 0; i < SUMS; i++)
                sums[group * SUMS + i] = acc[i];
        }
    }
}

/* Numbers as they lie in a panel, less their middle, to signed bytes in the order of Q8_0. */
TG_BODY TG_ISA void spread(const uint8_t *from, size_t blocks, tg_dtype type, uint8_t *to)
{
    const __m512i mask = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16);
    const __m512i less = _mm512_set1_epi8((char)tg_packed_middle(type));
    for (size_t b = 0; b < blocks; b++, from += tg_packed_quants(type), to += WEIGHTS_BYTES) {
        TG_UNROLL
        for (size_t g = 0; g < 4; g++) {
            const __m512i w = _mm512_loadu_si512(from + g * 64);
            __m512i low = _mm512_and_si512(w, mask),
                    high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
            if (tg_packed_is_five(type)) {
                const __m512i bits = _mm512_loadu_si512(from + 4 * 64);
                low = _mm512_or_si512(low, _mm512_and_si512(u16_left(bits, 4 - g), fifth));
                high = _mm512_or_si512(high, _mm512_and_si512(u16_right(bits, g), fifth));
            }
            _mm512_storeu_si512(to + g * 64, _mm512_sub_epi8(low, less));
            _mm512_storeu_si512(to + (g + 4) * 64, _mm512_sub_epi8(high, less));
        }
    }
}

static void point_at(const tg_rows *rows, uint32_t row, uint32_t end, amx_tile *ret)
{
    const uint32_t last = (rows->len - 1) / TG_ROWS_TILE * TG_ROWS_TILE;
    ret->count = end - row < TILES * TG_ROWS_Q16 ? end - row : TILES * TG_ROWS_Q16;
    for (uint32_t tile = 0; tile < TILES; tile++)
        ret->q[tile] =
            rows->q16 + tg_rows_q16_at(rows, row + tile * TG_ROWS_Q16, 0) * TG_QUANT_BLOCK;
    for (uint32_t four = 0; four < FOURS; four++) {
        const uint32_t first = row + four * TG_ROWS_TILE;
        const size_t at = tg_rows_at(rows, first < last ? first : last, 0);
        ret->scale[four] = rows->scale + at;
        ret->scaled_sum[four] = rows->scaled_sum + at;
    }
}

TG_BODY TG_ISA void run_rows(const tg_product *product, const amx_tile *in, uint32_t index,
                             uint32_t row, int m, int n, tg_dtype type)
{
    const uint32_t count = (uint32_t)(SUMS / m);
    v16 sums[PANELS * TILES * SUMS];
    run_tile(in, m, n, type, sums);
    for (uint32_t t = 0; t < in->count; t++)
        for (uint32_t p = 0; p < (uint32_t)m; p++)
            store_tile(product, index + p, row + t, sums[t / count * SUMS + p * count + t % count]);
}

/* Tokens [row, end) by m panels. */
TG_BODY TG_ISA void run_group(const tg_product *product, amx_tile *in, uint32_t index, uint32_t row,
                              uint32_t end, int m, tg_dtype type)
{
    for (; row < end; row += in->count) {
        point_at(product->rows, row, end, in);
        if (in->count > TG_ROWS_Q16)
            run_rows(product, in, index, row, m, 2, type);
        else
            run_rows(product, in, index, row, m, 1, type);
        in->ahead += in->ahead_bytes * in->blocks;
    }
}

/* Panels index..index + m. */
TG_BODY TG_ISA void start_group(const tg_packed *w, uint32_t index, uint32_t m, uint8_t *scratch,
                                tg_dtype type, amx_tile *ret)
{
    ret->blocks = w->in / TG_QUANT_BLOCK;
    for (uint32_t p = 0; p < m; p++) {
        const uint8_t *data = w->data + (index + p) * w->panel_bytes;
        ret->scales[p] = data + ret->blocks * tg_packed_quants(type);
        ret->weights[p] = data;
        if (type != TG_DTYPE_Q8_0) {
            uint8_t *to = scratch + p * ret->blocks * WEIGHTS_BYTES;
            spread(data, ret->blocks, type, to);
            ret->weights[p] = to;
        }
    }
    ret->ahead = w->data + (index + m) * w->panel_bytes;
}

TG_BODY TG_ISA void run_panels(const tg_product *product, uint32_t first, uint32_t last,
                               uint8_t *scratch, tg_dtype type)
{
    enum { ROWS = TILES * TG_ROWS_Q16 };
    const tg_packed *w = product->weights;
    const uint32_t len = product->rows->len, fit = NEAR_BYTES / w->in / ROWS * ROWS,
                   near = fit ? fit : ROWS;
    TG_TILES_BEGIN(&CONF);
    for (uint32_t row = 0; row < len; row += near) {
        const uint32_t end = len - row < near ? len : row + near;
        const size_t lines = (PANELS * w->panel_bytes + 63) / 64;
        const size_t pieces = (size_t)((end - row + ROWS - 1) / ROWS) * (w->in / TG_QUANT_BLOCK);
        for (uint32_t index = first; index < last; index += PANELS) {
            amx_tile in = {.ahead_bytes =
                               index + PANELS < last ? (lines + pieces - 1) / pieces * 64 : 0};
            if (last - index >= 2) {
                start_group(w, index, 2, scratch, type, &in);
                run_group(product, &in, index, row, end, 2, type);
            } else {
                start_group(w, index, 1, scratch, type, &in);
                run_group(product, &in, index, row, end, 1, type);
            }
        }
    }
    TG_TILES_END();
}

#define AMX_PRODUCT_OF(name, type)                                                                 \
    TG_ISA static void name(const tg_product *product, uint32_t first, uint32_t last,              \
                            int32_t *scratch)                                                      \
    {                                                                                              \
        run_panels(product, first, last, (uint8_t *)scratch, type);                                \
    }
AMX_PRODUCT_OF(amx_q8_0, TG_DTYPE_Q8_0)
AMX_PRODUCT_OF(amx_q4_0, TG_DTYPE_Q4_0)
AMX_PRODUCT_OF(amx_q4_1, TG_DTYPE_Q4_1)
AMX_PRODUCT_OF(amx_q5_0, TG_DTYPE_Q5_0)
AMX_PRODUCT_OF(amx_q5_1, TG_DTYPE_Q5_1)
AMX_PRODUCT_OF(amx_q4_k, TG_DTYPE_Q4_K)
AMX_PRODUCT_OF(amx_q5_k, TG_DTYPE_Q5_K)

static void product_amx(const tg_product *product, uint32_t first, uint32_t last, int32_t *scratch)
{
    const tg_dtype type = product->weights->type;
    const uint32_t least = type == TG_DTYPE_Q8_0 ? ROWS_MIN : ROWS_MIN_SPREAD;
    switch (product->rows->q16 && product->rows->len >= least ? type : TG_DTYPE_F32) {
    case TG_DTYPE_Q8_0: amx_q8_0(product, first, last, scratch); break;
    case TG_DTYPE_Q4_0: amx_q4_0(product, first, last, scratch); break;
    case TG_DTYPE_Q4_1: amx_q4_1(product, first, last, scratch); break;
    case TG_DTYPE_Q5_0: amx_q5_0(product, first, last, scratch); break;
    case TG_DTYPE_Q5_1: amx_q5_1(product, first, last, scratch); break;
    case TG_DTYPE_Q4_K: amx_q4_k(product, first, last, scratch); break;
    case TG_DTYPE_Q5_K: amx_q5_k(product, first, last, scratch); break;
    default: tg_kernels_avx512.product(product, first, last, scratch); break;
    }
}

static void quantise_amx(const float *x, const tg_rows *rows, uint32_t row)
{
    tg_kernels_avx512.quantise(x, rows, row);
}

static void norm_amx(const float *x, const float *weight, uint32_t len, float eps, float *ret)
{
    tg_kernels_avx512.norm(x, weight, len, eps, ret);
}

static void silu_mul_amx(const float *gate, const float *up, uint32_t len, float *ret)
{
    tg_kernels_avx512.silu_mul(gate, up, len, ret);
}

static void to_f16_amx(const float *x, uint32_t len, uint16_t *ret)
{
    tg_kernels_avx512.to_f16(x, len, ret);
}

static void to_q8_amx(const float *x, uint32_t len, int8_t *ret, uint16_t *ret_scales)
{
    tg_kernels_avx512.to_q8(x, len, ret, ret_scales);
}

static void attend_amx(const tg_attend *attend) { tg_kernels_avx512.attend(attend); }

const tg_cpu_kernels tg_kernels_amx = {.name = "amx",
                                       .wants_q16 = true,
                                       .product = product_amx,
                                       .quantise = quantise_amx,
                                       .norm = norm_amx,
                                       .silu_mul = silu_mul_amx,
                                       .to_f16 = to_f16_amx,
                                       .to_q8 = to_q8_amx,
                                       .attend = attend_amx};

#endif
