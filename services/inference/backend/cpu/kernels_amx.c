/* AMX int8, for products of many tokens with all quantised weights but Q6_K; the rest is AVX-512's.
 *
 * A block's 32 inputs of 16 outputs are a tile of weights as they lie in a panel (8 rows of 16 × 4 bytes), and
 * those of 16 tokens a tile of activations (16 rows of 32 bytes): one tdpbssd gives all 256 dots. Tiles hold 64 inputs,
 * but a block of 32 has a scale of its own, so half of the multipliers rest. The dots go through memory to registers of
 * 16 lanes, where the chain of numerics.h takes them block by block; two blocks are under way, so that the one's tile
 * work hides behind the other's floats. Numbers of four and five
 * bits are spread to signed bytes once for all tokens.
 *
 * Below ROWS_MIN tokens a tile would be mostly empty. That bound follows from the instructions' throughputs as
 * published (16 cycles a tdpbssd, half a cycle a vpdpbusd); it has not been measured.
 */
#include "services/inference/backend/cpu/kernels.h"

#if TG_HAVE_X86

#include "services/inference/backend/cpu/amx.h"
#include "services/inference/backend/cpu/vec_avx512.h"

#include "services/inference/backend/cpu/panel.h"

enum {
    ROWS_MIN = 8,
    WEIGHTS_BYTES = TG_QUANT_BLOCK * TG_PANEL,     /* of a tile */
    TOKENS_BYTES = TG_QUANT_BLOCK * TG_ROWS_Q16,
    FOURS = TG_ROWS_Q16 / TG_ROWS_TILE,
};

static const tg_tile_conf CONF = { /* dots in 0 and 1, tokens in 2 and 3, weights in 4 and 5 */
    .palette = 1,
    .rows = {TG_ROWS_Q16, TG_ROWS_Q16, TG_ROWS_Q16, TG_ROWS_Q16, TG_QUANT_BLOCK / 4, TG_QUANT_BLOCK / 4},
    .row_bytes = {TG_PANEL * 4, TG_PANEL * 4, TG_QUANT_BLOCK, TG_QUANT_BLOCK, TG_PANEL * 4, TG_PANEL * 4},
};

typedef struct amx_panel {
    const uint8_t *weights; /* signed bytes: [block][8][16][4] */
    const uint8_t *scales;
    const uint8_t *ahead; /* what to fetch meanwhile, ahead_bytes for each block */
    size_t blocks, ahead_bytes;
} amx_panel;

typedef struct amx_tokens { /* 16 of them; the last of all stands in for those that are missing */
    const int8_t *q;        /* [block][16][32] */
    const float *scale[FOURS], *scaled_sum[FOURS]; /* of each four: [block][4] */
} amx_tokens;

typedef int32_t amx_dots[TG_ROWS_Q16][TG_PANEL];

TG_BODY TG_ISA void add_block(const amx_panel *panel, const amx_tokens *tokens, size_t b, tg_dtype type,
                              const amx_dots *dots, v16 *acc)
{
    const v16 scale = scale_of(panel->scales, panel->blocks, b, 0, type);
    const v16 min = tg_packed_has_min(type) ? min_of(panel->scales, panel->blocks, b, type) : v16_set(0);
    TG_UNROLL
    for (size_t t = 0; t < TG_ROWS_Q16; t++) {
        const size_t at = b * TG_ROWS_TILE + t % TG_ROWS_TILE;
        const v16 both = v16_mul(scale, v16_set(tokens->scale[t / TG_ROWS_TILE][at]));
        acc[t] = v16_fma(_mm512_cvtepi32_ps(_mm512_load_si512((*dots)[t])), both, acc[t]);
        if (tg_packed_has_min(type))
            acc[t] = v16_fma(min, v16_set(tokens->scaled_sum[t / TG_ROWS_TILE][at]), acc[t]);
    }
}

TG_BODY TG_ISA void run_tile(const amx_panel *panel, const amx_tokens *tokens, tg_dtype type, v16 *acc)
{
    _Alignas(64) amx_dots dots[2];
    TG_UNROLL
    for (size_t t = 0; t < TG_ROWS_Q16; t++)
        acc[t] = v16_set(0);
    for (size_t b = 0; b < panel->blocks; b += 2) {
        const bool two = b + 1 < panel->blocks;
        TG_TILE_ZERO(0);
        TG_TILE_LOAD(2, tokens->q + b * TOKENS_BYTES, TG_QUANT_BLOCK);
        TG_TILE_LOAD(4, panel->weights + b * WEIGHTS_BYTES, TG_PANEL * 4);
        TG_TILE_DOT(0, 2, 4);
        if (two) {
            TG_TILE_ZERO(1);
            TG_TILE_LOAD(3, tokens->q + (b + 1) * TOKENS_BYTES, TG_QUANT_BLOCK);
            TG_TILE_LOAD(5, panel->weights + (b + 1) * WEIGHTS_BYTES, TG_PANEL * 4);
            TG_TILE_DOT(1, 3, 5);
        }
        TG_TILE_STORE(0, dots[0], sizeof(dots[0][0]));
        if (two)
            TG_TILE_STORE(1, dots[1], sizeof(dots[1][0]));
        for (size_t i = 0; i < 2 * panel->ahead_bytes; i += 64)
            __builtin_prefetch(panel->ahead + b * panel->ahead_bytes + i, 0, 2);
        add_block(panel, tokens, b, type, &dots[0], acc);
        if (two)
            add_block(panel, tokens, b + 1, type, &dots[1], acc);
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
            __m512i low = _mm512_and_si512(w, mask), high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
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

static void point_at(const tg_rows *rows, uint32_t row, amx_tokens *ret)
{
    ret->q = rows->q16 + tg_rows_q16_at(rows, row, 0) * TG_QUANT_BLOCK;
    for (uint32_t four = 0; four < FOURS; four++) {
        const uint32_t first = row + four * TG_ROWS_TILE, last = (rows->len - 1) / TG_ROWS_TILE * TG_ROWS_TILE;
        const size_t at = tg_rows_at(rows, first < last ? first : last, 0);
        ret->scale[four] = rows->scale + at;
        ret->scaled_sum[four] = rows->scaled_sum + at;
    }
}

TG_BODY TG_ISA void run_panel(const tg_product *product, amx_panel *panel, uint32_t index, tg_dtype type)
{
    const uint32_t len = product->rows->len;
    for (uint32_t row = 0; row < len; row += TG_ROWS_Q16) {
        amx_tokens tokens;
        v16 acc[TG_ROWS_Q16];
        point_at(product->rows, row, &tokens);
        run_tile(panel, &tokens, type, acc);
        for (uint32_t t = 0; t < TG_ROWS_Q16 && row + t < len; t++)
            store_tile(product, index, row + t, acc[t]);
        panel->ahead += panel->ahead_bytes * panel->blocks;
    }
}

TG_BODY TG_ISA void run_panels(const tg_product *product, uint32_t first, uint32_t last, uint8_t *scratch,
                               tg_dtype type)
{
    const tg_packed *w = product->weights;
    const size_t blocks = w->in / TG_QUANT_BLOCK, tiles = (product->rows->len + TG_ROWS_Q16 - 1) / TG_ROWS_Q16;
    const size_t lines = (w->panel_bytes + 63) / 64;
    TG_TILES_BEGIN(&CONF);
    for (uint32_t index = first; index < last; index++) {
        const uint8_t *data = w->data + index * w->panel_bytes;
        amx_panel panel = {.weights = data, .blocks = blocks, .scales = data + blocks * tg_packed_quants(type)};
        panel.ahead = data + w->panel_bytes;
        panel.ahead_bytes = index + 1 < last ? (lines + tiles * blocks - 1) / (tiles * blocks) * 64 : 0;
        if (type != TG_DTYPE_Q8_0) {
            spread(data, blocks, type, scratch);
            panel.weights = scratch;
        }
        run_panel(product, &panel, index, type);
    }
    TG_TILES_END();
}

#define AMX_PRODUCT_OF(name, type)                                                                                  \
    TG_ISA static void name(const tg_product *product, uint32_t first, uint32_t last, int32_t *scratch)             \
    {                                                                                                               \
        run_panels(product, first, last, (uint8_t *)scratch, type);                                                 \
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
    const bool many = product->rows->q16 && product->rows->len >= ROWS_MIN;
    switch (many ? product->weights->type : TG_DTYPE_F32) {
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

static void quantise_amx(const float *x, const tg_rows *rows, uint32_t row) { tg_kernels_avx512.quantise(x, rows, row); }

static void norm_amx(const float *x, const float *weight, uint32_t len, float eps, float *ret)
{
    tg_kernels_avx512.norm(x, weight, len, eps, ret);
}

static void silu_mul_amx(const float *gate, const float *up, uint32_t len, float *ret)
{
    tg_kernels_avx512.silu_mul(gate, up, len, ret);
}

static void to_f16_amx(const float *x, uint32_t len, uint16_t *ret) { tg_kernels_avx512.to_f16(x, len, ret); }

static void to_q8_amx(const float *x, uint32_t len, int8_t *ret, uint16_t *ret_scales)
{
    tg_kernels_avx512.to_q8(x, len, ret, ret_scales);
}

static void attend_amx(const tg_attend *attend) { tg_kernels_avx512.attend(attend); }

const tg_cpu_kernels tg_kernels_amx = {.name = "amx", .wants_q16 = true, .product = product_amx,
                                       .quantise = quantise_amx, .norm = norm_amx, .silu_mul = silu_mul_amx,
                                       .to_f16 = to_f16_amx, .to_q8 = to_q8_amx, .attend = attend_amx};

#endif
