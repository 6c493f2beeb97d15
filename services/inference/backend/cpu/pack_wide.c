#include "services/inference/backend/cpu/pack.h"

typedef struct wide_block { /* 32 weights: scale·(q − middle) + min */
    uint8_t q[TG_QUANT_BLOCK];
    float scale[2], min;
} wide_block;

static float half_at(const uint8_t *p) { return tg_f16_to_f32(tg_load_u16(p)); }

/* Q5_0 and Q5_1. */
static void read_five(const uint8_t *from, bool with_min, wide_block *ret)
{
    const uint8_t *bits = from + (with_min ? 4 : 2), *nibbles = bits + 4;
    uint32_t high;
    memcpy(&high, bits, sizeof(high));
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
        ret->q[i] = (uint8_t)((nibbles[i % 16] >> (i / 16 * 4) & 15) | (high >> i & 1) << 4);
    ret->scale[0] = half_at(from);
    ret->min = with_min ? half_at(from + 2) : 0;
}

/* The `group`th 32 weights of a block of a K type. */
static void read_k(const uint8_t *from, tg_dtype type, size_t group, wide_block *ret)
{
    tg_dtype_k_quants(type, from, group, ret->q);
    if (type == TG_DTYPE_Q6_K) {
        for (size_t i = 0; i < 2; i++)
            ret->scale[i] = half_at(from + 208) * (float)(int8_t)from[192 + group * 2 + i];
        return;
    }
    uint8_t scale, min;
    tg_dtype_k_scales(from, group, &scale, &min);
    ret->scale[0] = half_at(from) * (float)scale;
    ret->min = -(half_at(from + 2) * (float)min);
}

void tg_pack_wide(const uint8_t *from, tg_dtype type, size_t blocks, size_t row, uint8_t *to)
{
    const tg_dtype_info *info = tg_dtype_get(type);
    const size_t groups = info->block_len / TG_QUANT_BLOCK, sets = tg_wide_scales(type);
    uint8_t *scales = to + blocks * TG_QUANT_BLOCK * TG_PANEL;
    uint8_t *mins = scales + blocks * sets * TG_PANEL * sizeof(float);
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *block = from + b / groups * info->block_bytes;
        wide_block wide;
        if (groups == 1)
            read_five(block, type == TG_DTYPE_Q5_1, &wide);
        else
            read_k(block, type, b % groups, &wide);
        for (size_t g = 0; g < 8; g++)
            memcpy(to + ((b * 8 + g) * TG_PANEL + row) * 4, wide.q + g * 4, 4);
        for (size_t i = 0; i < sets; i++)
            memcpy(scales + ((b * sets + i) * TG_PANEL + row) * sizeof(float), &wide.scale[i], sizeof(float));
        if (tg_wide_has_min(type))
            memcpy(mins + (b * TG_PANEL + row) * sizeof(float), &wide.min, sizeof(float));
    }
}

void tg_unpack_wide(const uint8_t *panel, tg_dtype type, size_t blocks, size_t row, float *ret)
{
    const size_t sets = tg_wide_scales(type);
    const uint8_t *scales = panel + blocks * TG_QUANT_BLOCK * TG_PANEL;
    const uint8_t *mins = scales + blocks * sets * TG_PANEL * sizeof(float);
    for (size_t k = 0; k < blocks * TG_QUANT_BLOCK; k++) {
        const size_t b = k / TG_QUANT_BLOCK, set = b * sets + k % TG_QUANT_BLOCK * sets / TG_QUANT_BLOCK;
        const int q = panel[(k / 4 * TG_PANEL + row) * 4 + k % 4];
        float scale, min = -0.0f; /* adding that changes nothing */
        memcpy(&scale, scales + (set * TG_PANEL + row) * sizeof(float), sizeof(scale));
        if (tg_wide_has_min(type))
            memcpy(&min, mins + (b * TG_PANEL + row) * sizeof(float), sizeof(min));
        ret[k] = scale * (float)(q - tg_wide_middle(type)) + min;
    }
}
