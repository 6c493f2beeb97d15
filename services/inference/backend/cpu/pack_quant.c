#include "services/inference/backend/cpu/pack.h"

enum { UPPER_AT = TG_PANEL * 16 }; /* of the bytes of a block's fifth and sixth bits */

static float half_at(const uint8_t *p) { return tg_f16_to_f32(tg_load_u16(p)); }

/* Q8_0, Q4_0 and Q4_1 go over as they are, four bytes at a time. */
static void pack_plain(const uint8_t *row, tg_dtype type, size_t blocks, size_t r, uint8_t *to)
{
    const size_t sets = type == TG_DTYPE_Q4_1 ? 2 : 1, quants = tg_packed_quants(type);
    const size_t source_bytes = tg_dtype_get(type)->block_bytes;
    uint8_t *scales = to + blocks * quants;
    for (size_t b = 0; b < blocks; b++, row += source_bytes) {
        for (size_t set = 0; set < sets; set++)
            memcpy(scales + (set * blocks + b) * TG_PANEL_HALVES + r * 2, row + set * 2, 2);
        for (size_t g = 0; g < quants / (TG_PANEL * 4); g++)
            memcpy(to + b * quants + (g * TG_PANEL + r) * 4, row + sets * 2 + g * 4, 4);
    }
}

static uint32_t four_at(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof(four));
    return four;
}

static void put_four(uint32_t four, uint8_t *to) { memcpy(to, &four, sizeof(four)); }

/* 32 numbers of four to six bits to their places in a block, four at a time. */
static void put_numbers(const uint8_t q[TG_QUANT_BLOCK], tg_dtype type, size_t r, uint8_t *to)
{
    uint32_t fifth = 0;
    for (size_t g = 0; g < 4; g++)
        put_four((four_at(q + g * 4) & 0x0f0f0f0fu) | (four_at(q + 16 + g * 4) & 0x0f0f0f0fu) << 4,
                 to + (g * TG_PANEL + r) * 4);
    for (size_t g = 0; tg_packed_is_five(type) && g < 8; g++)
        fifth |= (four_at(q + g * 4) >> 4 & 0x01010101u) << g;
    if (tg_packed_is_five(type))
        put_four(fifth, to + UPPER_AT + r * 4);
    for (size_t half = 0; type == TG_DTYPE_Q6_K && half < 2; half++) {
        uint32_t upper = 0;
        for (size_t g = 0; g < 4; g++)
            upper |= (four_at(q + half * 16 + g * 4) >> 4 & 0x03030303u) << 2 * g;
        put_four(upper, to + UPPER_AT + (half * TG_PANEL + r) * 4);
    }
}

/* Q5_0 and Q5_1. */
static void pack_five(const uint8_t *row, tg_dtype type, size_t blocks, size_t r, uint8_t *to)
{
    const size_t sets = type == TG_DTYPE_Q5_1 ? 2 : 1, quants = tg_packed_quants(type);
    const size_t source_bytes = tg_dtype_get(type)->block_bytes;
    uint8_t *scales = to + blocks * quants;
    for (size_t b = 0; b < blocks; b++, row += source_bytes) {
        const uint8_t *bits = row + sets * 2, *nibbles = bits + 4;
        uint8_t q[TG_QUANT_BLOCK];
        uint32_t high;
        memcpy(&high, bits, sizeof(high));
        for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
            q[i] = (uint8_t)((nibbles[i % 16] >> (i / 16 * 4) & 15) | (high >> i & 1) << 4);
        for (size_t set = 0; set < sets; set++)
            memcpy(scales + (set * blocks + b) * TG_PANEL_HALVES + r * 2, row + set * 2, 2);
        put_numbers(q, type, r, to + b * quants);
    }
}

static void pack_k(const uint8_t *row, tg_dtype type, size_t blocks, size_t r, uint8_t *to)
{
    const size_t quants = tg_packed_quants(type), source_bytes = tg_dtype_get(type)->block_bytes;
    uint8_t *scales = to + blocks * quants;
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *block = row + b / TG_PANEL_K_BLOCKS * source_bytes;
        const size_t group = b % TG_PANEL_K_BLOCKS;
        uint8_t q[TG_QUANT_BLOCK], *bytes = scales + tg_packed_scale_at(b) + r;
        tg_dtype_k_quants(type, block, group, q);
        put_numbers(q, type, r, to + b * quants);
        if (type == TG_DTYPE_Q6_K) {
            bytes[0] = block[192 + group * 2];
            bytes[TG_PANEL] = block[192 + group * 2 + 1];
            memcpy(scales + tg_packed_d_at(blocks, b) + r * 2, block + 208, 2);
            continue;
        }
        const uint16_t less = tg_load_u16(block + 2) ^ 0x8000u; /* −dmin */
        tg_dtype_k_scales(block, group, &bytes[0], &bytes[TG_PANEL]);
        memcpy(scales + tg_packed_d_at(blocks, b) + r * 2, block, 2);
        memcpy(scales + tg_packed_min_at(type, blocks, b) + r * 2, &less, 2);
    }
}

void tg_pack_quant(const uint8_t *from, tg_dtype type, size_t blocks, size_t row, uint8_t *to)
{
    if (tg_packed_is_k(type))
        pack_k(from, type, blocks, row, to);
    else if (tg_packed_is_five(type))
        pack_five(from, type, blocks, row, to);
    else
        pack_plain(from, type, blocks, row, to);
}

static int number_at(const uint8_t *quants, tg_dtype type, size_t r, size_t k)
{
    int upper = 0;
    if (type == TG_DTYPE_Q8_0)
        return (int8_t)quants[(k / 4 * TG_PANEL + r) * 4 + k % 4];
    if (type == TG_DTYPE_Q6_K)
        upper = quants[UPPER_AT + (k / 16 * TG_PANEL + r) * 4 + k % 4] >> k % 16 / 4 * 2 & 3;
    else if (tg_packed_is_five(type))
        upper = quants[UPPER_AT + r * 4 + k % 4] >> k / 4 & 1;
    return (quants[(k % 16 / 4 * TG_PANEL + r) * 4 + k % 4] >> k / 16 * 4 & 15) | upper << 4;
}

void tg_unpack_block(const tg_packed *packed, const uint8_t *panel, size_t block, size_t row,
                     tg_packed_block *ret)
{
    const tg_dtype type = packed->type;
    const size_t blocks = packed->in / TG_QUANT_BLOCK, quants = tg_packed_quants(type);
    const uint8_t *scales = panel + blocks * quants, *own = scales + tg_packed_scale_at(block);
    for (size_t k = 0; k < TG_QUANT_BLOCK; k++)
        ret->q[k] =
            (int8_t)(number_at(panel + block * quants, type, row, k) - tg_packed_middle(type));
    ret->min = tg_packed_has_min(type)
                   ? half_at(scales + tg_packed_min_at(type, blocks, block) + row * 2)
                   : -0.0f;
    if (!tg_packed_is_k(type)) {
        ret->scale[0] = ret->scale[1] = half_at(own + row * 2);
        return;
    }
    const float d = half_at(scales + tg_packed_d_at(blocks, block) + row * 2);
    const int8_t first = (int8_t)own[row], second = (int8_t)own[TG_PANEL + row];
    ret->scale[0] = ret->scale[1] = d * (float)first;
    if (type == TG_DTYPE_Q6_K)
        ret->scale[1] = d * (float)second;
    else
        ret->min *= (float)second;
}
