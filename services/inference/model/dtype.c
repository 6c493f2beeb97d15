#include "services/inference/model/dtype.h"

#include <math.h>
#include <stdbool.h>

/* Indexed by GGUF's type number. Names without a block length are there for error messages. */
static const tg_dtype_info infos[] = {
    [0] = {"F32", 1, 4},       [1] = {"F16", 1, 2},      [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},    [6] = {"Q5_0", 32, 22},   [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},    [9] = {"Q8_1", 0, 0},     [10] = {"Q2_K", 0, 0},
    [11] = {"Q3_K", 0, 0},     [12] = {"Q4_K", 256, 144}, [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210}, [15] = {"Q8_K", 0, 0},    [16] = {"IQ2_XXS", 0, 0},
    [17] = {"IQ2_XS", 0, 0},   [18] = {"IQ3_XXS", 0, 0}, [19] = {"IQ1_S", 0, 0},
    [20] = {"IQ4_NL", 0, 0},   [21] = {"IQ3_S", 0, 0},   [22] = {"IQ2_S", 0, 0},
    [23] = {"IQ4_XS", 0, 0},   [24] = {"I8", 0, 0},      [25] = {"I16", 0, 0},
    [26] = {"I32", 0, 0},      [27] = {"I64", 0, 0},     [28] = {"F64", 0, 0},
    [29] = {"IQ1_M", 0, 0},    [30] = {"BF16", 1, 2},     [34] = {"TQ1_0", 0, 0},
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
    uint32_t kept = magnitude >> drop, rest = magnitude & ((1u << drop) - 1),
             half = 1u << (drop - 1);
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

/* 32 weights, d·(q − middle) + add; `high` holds their fifth bits. Adding −0 changes nothing, not
 * the sign of a zero either. */
static void from_nibbles(const uint8_t *nibbles, uint32_t high, float d, int middle, float add,
                         float *to)
{
    for (size_t i = 0; i < 16; i++) {
        to[i] = d * (float)((int)((nibbles[i] & 15u) | (high >> i & 1) << 4) - middle) + add;
        to[i + 16] =
            d * (float)((int)(nibbles[i] >> 4 | (high >> (i + 16) & 1) << 4) - middle) + add;
    }
}

static void from_q4_0(const uint8_t *block, float *to)
{
    from_nibbles(block + 2, 0, tg_f16_to_f32(tg_load_u16(block)), 8, -0.0f, to);
}

static void from_q4_1(const uint8_t *block, float *to)
{
    from_nibbles(block + 4, 0, tg_f16_to_f32(tg_load_u16(block)), 0,
                 tg_f16_to_f32(tg_load_u16(block + 2)), to);
}

static void from_q5_0(const uint8_t *block, float *to)
{
    uint32_t high;
    memcpy(&high, block + 2, sizeof(high));
    from_nibbles(block + 6, high, tg_f16_to_f32(tg_load_u16(block)), 16, -0.0f, to);
}

static void from_q5_1(const uint8_t *block, float *to)
{
    uint32_t high;
    memcpy(&high, block + 4, sizeof(high));
    from_nibbles(block + 8, high, tg_f16_to_f32(tg_load_u16(block)), 0,
                 tg_f16_to_f32(tg_load_u16(block + 2)), to);
}

/* Twelve bytes hold eight 6-bit scales and eight 6-bit minima: of groups 0 to 3 whole, in the low
 * bits of bytes 0 to 7; of the others four bits in bytes 8 to 11 and two in the top of the
 * earlier bytes. */
void tg_dtype_k_scales(const uint8_t *block, size_t group, uint8_t *ret_scale, uint8_t *ret_min)
{
    const uint8_t *packed = block + 4;
    if (group < 4) {
        *ret_scale = packed[group] & 63;
        *ret_min = packed[group + 4] & 63;
        return;
    }
    *ret_scale = (uint8_t)((packed[group + 4] & 15) | packed[group - 4] >> 6 << 4);
    *ret_min = (uint8_t)(packed[group + 4] >> 4 | packed[group] >> 6 << 4);
}

/* The fields of eight bytes that begin at bit `shift` of each. */
static uint64_t fields_of(const uint8_t *p, size_t shift, uint8_t mask)
{
    uint64_t eight;
    memcpy(&eight, p, sizeof(eight));
    return eight >> shift & mask * UINT64_C(0x0101010101010101);
}

void tg_dtype_k_quants(tg_dtype type, const uint8_t *block, size_t group,
                       uint8_t ret[TG_QUANT_BLOCK])
{
    if (type == TG_DTYPE_Q6_K) { /* halves of 128; 32 bytes hold the two bits of four groups */
        const uint8_t *low = block + group / 4 * 64 + group % 2 * 32,
                      *high = block + 128 + group / 4 * 32;
        for (size_t i = 0; i < TG_QUANT_BLOCK; i += 8) {
            const uint64_t eight = fields_of(low + i, group % 4 / 2 * 4, 15) |
                                   fields_of(high + i, group % 4 * 2, 3) << 4;
            memcpy(ret + i, &eight, sizeof(eight));
        }
        return;
    }
    const uint8_t *high = block + 16; /* 32 bytes of nibbles hold two groups */
    const uint8_t *nibbles = (type == TG_DTYPE_Q5_K ? high + 32 : high) + group / 2 * 32;
    for (size_t i = 0; i < TG_QUANT_BLOCK; i += 8) {
        uint64_t eight = fields_of(nibbles + i, group % 2 * 4, 15);
        if (type == TG_DTYPE_Q5_K)
            eight |= fields_of(high + i, group, 1) << 4;
        memcpy(ret + i, &eight, sizeof(eight));
    }
}

static void from_q6_k(const uint8_t *block, float *to)
{
    float d = tg_f16_to_f32(tg_load_u16(block + 208));
    uint8_t q[TG_QUANT_SUPER];
    for (size_t group = 0; group < TG_QUANT_SUPER / 32; group++)
        tg_dtype_k_quants(TG_DTYPE_Q6_K, block, group, q + group * 32);
    for (size_t i = 0; i < TG_QUANT_SUPER; i++)
        to[i] = d * (float)(int8_t)block[192 + i / 16] * (float)(q[i] - 32);
}

static void from_k(tg_dtype type, const uint8_t *block, float *to)
{
    if (type == TG_DTYPE_Q6_K) {
        from_q6_k(block, to);
        return;
    }
    float d = tg_f16_to_f32(tg_load_u16(block)), dmin = tg_f16_to_f32(tg_load_u16(block + 2));
    for (size_t group = 0; group < TG_QUANT_SUPER / 32; group++) {
        uint8_t scale, min, q[TG_QUANT_BLOCK];
        tg_dtype_k_scales(block, group, &scale, &min);
        tg_dtype_k_quants(type, block, group, q);
        for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
            to[group * 32 + i] = d * (float)scale * (float)q[i] - dmin * (float)min;
    }
}

static float from_bf16(uint16_t value) /* the upper half of an fp32 */
{
    uint32_t bits = (uint32_t)value << 16;
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

void tg_dtype_to_f32(tg_dtype type, const uint8_t *row, size_t count, float *ret)
{
    const tg_dtype_info *info = tg_dtype_get(type);
    for (size_t i = 0; i < count; i += info->block_len, row += info->block_bytes) {
        switch (type) {
        case TG_DTYPE_F32: memcpy(ret + i, row, sizeof(float)); break;
        case TG_DTYPE_F16: ret[i] = tg_f16_to_f32(tg_load_u16(row)); break;
        case TG_DTYPE_BF16: ret[i] = from_bf16(tg_load_u16(row)); break;
        case TG_DTYPE_Q8_0: from_q8_0(row, ret + i); break;
        case TG_DTYPE_Q4_0: from_q4_0(row, ret + i); break;
        case TG_DTYPE_Q4_1: from_q4_1(row, ret + i); break;
        case TG_DTYPE_Q5_0: from_q5_0(row, ret + i); break;
        case TG_DTYPE_Q5_1: from_q5_1(row, ret + i); break;
        case TG_DTYPE_Q4_K:
        case TG_DTYPE_Q5_K:
        case TG_DTYPE_Q6_K: from_k(type, row, ret + i); break;
        }
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

/* w = d·q + low with q of 4 or 5 bits; returns the fifth bits. */
static uint32_t to_nibbles(const float *x, float d, float low, float top, uint8_t *to)
{
    uint32_t high = 0;
    memset(to, 0, TG_QUANT_BLOCK / 2);
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++) {
        unsigned q = clamp_round(d != 0 ? (x[i] - low) / d : 0, 0, top);
        to[i % 16] = (uint8_t)(to[i % 16] | (q & 15) << (i / 16 * 4));
        high |= (uint32_t)(q >> 4) << i;
    }
    return high;
}

/* `top` is the largest quant, 15 or 31; without a minimum of its own a block's low is −(top + 1) /
 * 2 · d. */
static void to_few_bits(const float *x, bool with_min, float top, uint8_t *block)
{
    float low = x[0], high = x[0], far = 0;
    for (size_t i = 0; i < TG_QUANT_BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        if (fabsf(x[i]) > fabsf(far))
            far = x[i];
    }
    const float middle = (top + 1) / 2, d = with_min ? (high - low) / top : far / -middle;
    store_f16(block, d);
    block += 2;
    if (with_min) {
        store_f16(block, low);
        block += 2;
    }
    uint8_t *nibbles = top > 15 ? block + 4 : block;
    uint32_t fifth = to_nibbles(x, d, with_min ? low : -middle * d, top, nibbles);
    if (top > 15)
        memcpy(block, &fifth, sizeof(fifth));
}

/* Largest of so many numbers, by magnitude. */
static float farthest(const float *x, size_t len)
{
    float far = 0;
    for (size_t i = 0; i < len; i++)
        if (fabsf(x[i]) > fabsf(far))
            far = x[i];
    return far;
}

static void put_q6_k(uint8_t *block, size_t index, unsigned q)
{
    const size_t half = index / 128, group = index % 128 / 32;
    uint8_t *low = block + half * 64 + index % 64, *high = block + 128 + half * 32 + index % 32;
    *low = (uint8_t)(*low | (q & 15) << (group / 2 * 4));
    *high = (uint8_t)(*high | q >> 4 << (group * 2));
}

static void to_q6_k(const float *x, uint8_t *block)
{
    float scales[16];
    for (size_t g = 0; g < 16; g++)
        scales[g] = farthest(x + g * 16, 16) / -32.0f;
    memset(block, 0, 208);
    store_f16(block + 208, farthest(scales, 16) / -128.0f);
    const float d = tg_f16_to_f32(tg_load_u16(block + 208));
    for (size_t g = 0; g < 16; g++) {
        const int8_t scale = (int8_t)(int)clamp_round(d != 0 ? scales[g] / d : 0, -128, 127);
        const float step = d * (float)scale;
        block[192 + g] = (uint8_t)scale;
        for (size_t i = g * 16; i < g * 16 + 16; i++)
            put_q6_k(block, i, clamp_round(step != 0 ? x[i] / step + 32 : 32, 0, 63));
    }
}

static void put_k_scales(uint8_t *packed, size_t group, unsigned scale, unsigned min)
{
    if (group < 4) {
        packed[group] = (uint8_t)(packed[group] | scale);
        packed[group + 4] = (uint8_t)(packed[group + 4] | min);
        return;
    }
    packed[group + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
    packed[group - 4] = (uint8_t)(packed[group - 4] | scale >> 4 << 6);
    packed[group] = (uint8_t)(packed[group] | min >> 4 << 6);
}

/* Q4_K (top 15) and Q5_K (top 31). */
static void to_k(const float *x, float top, uint8_t *block)
{
    float scales[8], mins[8];
    for (size_t g = 0; g < 8; g++) {
        float low = 0, high = x[g * 32]; /* minima are taken off, never added */
        for (size_t i = g * 32; i < g * 32 + 32; i++) {
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        scales[g] = fmaxf(high - low, 0) / top;
        mins[g] = -low;
    }
    uint8_t *high = block + 16, *nibbles = top > 15 ? high + 32 : high;
    memset(block, 0, (size_t)(nibbles - block) + 128);
    store_f16(block, farthest(scales, 8) / 63.0f);
    store_f16(block + 2, farthest(mins, 8) / 63.0f);
    const float d = tg_f16_to_f32(tg_load_u16(block)), dmin = tg_f16_to_f32(tg_load_u16(block + 2));
    for (size_t g = 0; g < 8; g++) {
        const unsigned scale = clamp_round(d > 0 ? scales[g] / d : 0, 0, 63);
        const unsigned min = clamp_round(dmin > 0 ? mins[g] / dmin : 0, 0, 63);
        const float step = d * (float)scale, low = dmin * (float)min;
        put_k_scales(block + 4, g, scale, min);
        for (size_t i = 0; i < 32; i++) {
            const unsigned q = clamp_round(step > 0 ? (x[g * 32 + i] + low) / step : 0, 0, top);
            uint8_t *to = nibbles + g / 2 * 32 + i;
            *to = (uint8_t)(*to | (q & 15) << (g % 2 * 4));
            if (top > 15)
                high[i] = (uint8_t)(high[i] | q >> 4 << g);
        }
    }
}

static void store_bf16(uint8_t *to, float value) /* round to nearest even; not for NaNs */
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint16_t upper = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    memcpy(to, &upper, sizeof(upper));
}

void tg_dtype_from_f32(tg_dtype type, const float *from, size_t count, uint8_t *ret_row)
{
    const tg_dtype_info *info = tg_dtype_get(type);
    for (size_t i = 0; i < count; i += info->block_len, ret_row += info->block_bytes) {
        switch (type) {
        case TG_DTYPE_F32: memcpy(ret_row, from + i, sizeof(float)); break;
        case TG_DTYPE_F16: store_f16(ret_row, from[i]); break;
        case TG_DTYPE_BF16: store_bf16(ret_row, from[i]); break;
        case TG_DTYPE_Q8_0: to_q8_0(from + i, ret_row); break;
        case TG_DTYPE_Q4_0: to_few_bits(from + i, false, 15, ret_row); break;
        case TG_DTYPE_Q4_1: to_few_bits(from + i, true, 15, ret_row); break;
        case TG_DTYPE_Q5_0: to_few_bits(from + i, false, 31, ret_row); break;
        case TG_DTYPE_Q5_1: to_few_bits(from + i, true, 31, ret_row); break;
        case TG_DTYPE_Q4_K: to_k(from + i, 15, ret_row); break;
        case TG_DTYPE_Q5_K: to_k(from + i, 31, ret_row); break;
        case TG_DTYPE_Q6_K: to_q6_k(from + i, ret_row); break;
        }
    }
}
