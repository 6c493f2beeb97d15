#include "services/inference/model/dtype.h"

#include <math.h>

/* Indexed by GGUF's type number. Names without a block length are there for error messages. */
static const tg_dtype_info infos[] = {
    [0] = {"F32", 1, 4},       [1] = {"F16", 1, 2},      [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},    [6] = {"Q5_0", 0, 0},     [7] = {"Q5_1", 0, 0},
    [8] = {"Q8_0", 32, 34},    [9] = {"Q8_1", 0, 0},     [10] = {"Q2_K", 0, 0},
    [11] = {"Q3_K", 0, 0},     [12] = {"Q4_K", 0, 0},    [13] = {"Q5_K", 0, 0},
    [14] = {"Q6_K", 0, 0},     [15] = {"Q8_K", 0, 0},    [16] = {"IQ2_XXS", 0, 0},
    [17] = {"IQ2_XS", 0, 0},   [18] = {"IQ3_XXS", 0, 0}, [19] = {"IQ1_S", 0, 0},
    [20] = {"IQ4_NL", 0, 0},   [21] = {"IQ3_S", 0, 0},   [22] = {"IQ2_S", 0, 0},
    [23] = {"IQ4_XS", 0, 0},   [24] = {"I8", 0, 0},      [25] = {"I16", 0, 0},
    [26] = {"I32", 0, 0},      [27] = {"I64", 0, 0},     [28] = {"F64", 0, 0},
    [29] = {"IQ1_M", 0, 0},    [30] = {"BF16", 0, 0},    [34] = {"TQ1_0", 0, 0},
    [35] = {"TQ2_0", 0, 0},    [39] = {"MXFP4", 0, 0},
};

const tg_dtype_info *tg_dtype_get(uint32_t type)
{
    if (type >= sizeof(infos) / sizeof(infos[0]) || !infos[type].name)
        return NULL;
    return &infos[type];
}

float tg_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff, bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000 | fraction << 13;
        if (fraction)
            bits |= 0x400000; /* quiet, as the hardware does */
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else if (fraction == 0) {
        bits = sign;
    } else {
        uint32_t shift = (uint32_t)__builtin_clz(fraction) - 21;
        bits = sign | (113 - shift) << 23 | ((fraction << shift) & 0x3ff) << 13;
    }
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

uint16_t tg_f32_to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
    if (magnitude >= 0x477ff000) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude <= 0x33000000) /* at most half of the least subnormal, which ties to zero */
        return (uint16_t)sign;
    uint32_t drop = 13, base = 0;
    if (magnitude < 0x38800000) { /* subnormal result */
        drop = 126 - (magnitude >> 23);
        magnitude = (magnitude & 0x7fffff) | 0x800000;
    } else {
        base = 112u << 10;
    }
    uint32_t kept = magnitude >> drop, rest = magnitude & ((1u << drop) - 1), half = 1u << (drop - 1);
    if (rest > half || (rest == half && (kept & 1)))
        kept++;
    return (uint16_t)(sign | (kept - base));
}

static void from_q8_0(const uint8_t *block, float *to)
{
    float d = tg_f16_to_f32(tg_load_u16(block));
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
        to[i] = d * (float)(int8_t)block[2 + i];
}

static void from_q4(const uint8_t *nibbles, float d, float add, float *to)
{
    for (size_t i = 0; i < 16; i++) {
        to[i] = d * (float)(nibbles[i] & 15) + add;
        to[i + 16] = d * (float)(nibbles[i] >> 4) + add;
    }
}

void tg_dtype_to_f32(tg_dtype type, const uint8_t *row, size_t count, float *ret)
{
    size_t blocks = count / TG_QUANT_BLOCK;
    switch (type) {
    case TG_DTYPE_F32:
        memcpy(ret, row, count * sizeof(float));
        break;
    case TG_DTYPE_F16:
        for (size_t i = 0; i < count; i++)
            ret[i] = tg_f16_to_f32(tg_load_u16(row + 2 * i));
        break;
    case TG_DTYPE_Q8_0:
        for (size_t b = 0; b < blocks; b++)
            from_q8_0(row + b * 34, ret + b * TG_QUANT_BLOCK);
        break;
    case TG_DTYPE_Q4_0:
        for (size_t b = 0; b < blocks; b++) {
            float d = tg_f16_to_f32(tg_load_u16(row + b * 18));
            from_q4(row + b * 18 + 2, d, -8.0f * d, ret + b * TG_QUANT_BLOCK);
        }
        break;
    case TG_DTYPE_Q4_1:
        for (size_t b = 0; b < blocks; b++)
            from_q4(row + b * 20 + 4, tg_f16_to_f32(tg_load_u16(row + b * 20)),
                    tg_f16_to_f32(tg_load_u16(row + b * 20 + 2)), ret + b * TG_QUANT_BLOCK);
        break;
    }
}

static void store_f16(uint8_t *to, float value)
{
    uint16_t half = tg_f32_to_f16(value);
    memcpy(to, &half, sizeof(half));
}

static unsigned clamp_round(float value, float low, float high)
{
    float rounded = rintf(value);
    return (unsigned)(int)(rounded < low ? low : rounded > high ? high : rounded);
}

static void to_q8_0(const float *x, uint8_t *block)
{
    float most = 0;
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
        most = fmaxf(most, fabsf(x[i]));
    float d = most / 127.0f;
    store_f16(block, d);
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
        block[2 + i] = (uint8_t)clamp_round(d > 0 ? x[i] / d : 0, -127, 127);
}

/* w = d·q + low with q in 0..15; Q4_0 fixes low = −8d. */
static void to_q4_nibbles(const float *x, float d, float low, uint8_t *to)
{
    for (size_t i = 0; i < 16; i++) {
        unsigned lo = clamp_round(d != 0 ? (x[i] - low) / d : 0, 0, 15);
        unsigned hi = clamp_round(d != 0 ? (x[i + 16] - low) / d : 0, 0, 15);
        to[i] = (uint8_t)(lo | hi << 4);
    }
}

static void to_q4(const float *x, int with_min, uint8_t *block)
{
    float low = x[0], high = x[0], far = 0;
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        if (fabsf(x[i]) > fabsf(far))
            far = x[i];
    }
    if (with_min) {
        float d = (high - low) / 15.0f;
        store_f16(block, d);
        store_f16(block + 2, low);
        to_q4_nibbles(x, d, low, block + 4);
    } else {
        float d = far / -8.0f;
        store_f16(block, d);
        to_q4_nibbles(x, d, -8.0f * d, block + 2);
    }
}

void tg_dtype_from_f32(tg_dtype type, const float *from, size_t count, uint8_t *ret_row)
{
    const tg_dtype_info *info = tg_dtype_get(type);
    for (size_t i = 0; i < count; i += info->block_len, ret_row += info->block_bytes) {
        switch (type) {
        case TG_DTYPE_F32:
            memcpy(ret_row, from + i, sizeof(float));
            break;
        case TG_DTYPE_F16:
            store_f16(ret_row, from[i]);
            break;
        case TG_DTYPE_Q8_0:
            to_q8_0(from + i, ret_row);
            break;
        case TG_DTYPE_Q4_0:
            to_q4(from + i, 0, ret_row);
            break;
        case TG_DTYPE_Q4_1:
            to_q4(from + i, 1, ret_row);
            break;
        }
    }
}
