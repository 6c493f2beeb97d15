/* The number formats of weights, and how a row of them becomes floats.
 *
 * Layouts are GGUF's. A quantised row is a run of blocks of 32 weights:
 *   Q8_0: f16 d, 32 × int8 q                            w = d·q
 *   Q4_0: f16 d, 16 bytes of nibbles                    w = d·(q − 8)
 *   Q4_1: f16 d, f16 m, 16 bytes of nibbles             w = d·q + m
 *   Q5_0: f16 d, 32 high bits, 16 bytes of nibbles      w = d·(q − 16)
 *   Q5_1: f16 d, f16 m, 32 high bits, nibbles           w = d·q + m
 * Byte j of the nibbles holds weight j in its low half and weight j + 16 in its high half; bit j of
 * the high bits belongs to weight j. Or of blocks of 256, with a scale (and minimum) for each group
 * of 32 or 16 in them:
 *   Q4_K: f16 d, f16 dmin, 12 bytes of scales, 128 of nibbles             w = d·sc·q − dmin·m
 *   Q5_K: the same with 32 bytes of high bits before the nibbles          w = d·sc·q − dmin·m
 *   Q6_K: 128 bytes of nibbles, 64 of high bits, 16 × int8 sc, f16 d      w = d·sc·(q − 32)
 * tg_dtype_k_scales and tg_dtype_k_quants say where in them what is.
 */
#ifndef TG_INFERENCE_DTYPE_H
#define TG_INFERENCE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TG_QUANT_BLOCK 32 /* weights per block; activations are quantised by as many, too */
#define TG_QUANT_SUPER 256 /* weights per block of the K types */

typedef enum tg_dtype { /* values are GGUF's tensor type numbers */
    TG_DTYPE_F32 = 0,
    TG_DTYPE_F16 = 1,
    TG_DTYPE_Q4_0 = 2,
    TG_DTYPE_Q4_1 = 3,
    TG_DTYPE_Q5_0 = 6,
    TG_DTYPE_Q5_1 = 7,
    TG_DTYPE_Q8_0 = 8,
    TG_DTYPE_Q4_K = 12,
    TG_DTYPE_Q5_K = 13,
    TG_DTYPE_Q6_K = 14,
    TG_DTYPE_BF16 = 30,
} tg_dtype;

typedef struct tg_dtype_info {
    const char *name;     /* "Q8_0"; for types that are known but not supported, too */
    uint32_t block_len;   /* weights per block; 0: known by name only */
    uint32_t block_bytes;
} tg_dtype_info;

const tg_dtype_info *tg_dtype_get(uint32_t type); /* NULL: a number never heard of */

/* `count` weights, a multiple of the block length, from `row`. */
void tg_dtype_to_f32(tg_dtype type, const uint8_t *row, size_t count, float *ret);

/* Of group `group` (of 32) in a block of Q4_K or Q5_K: its scale and minimum, 0..63. */
void tg_dtype_k_scales(const uint8_t *block, size_t group, uint8_t *ret_scale, uint8_t *ret_min);

/* The weights of group `group` (of 32) in a block of Q4_K, Q5_K or Q6_K, as the unsigned numbers
 * stored. */
void tg_dtype_k_quants(tg_dtype type, const uint8_t *block, size_t group,
                       uint8_t ret[TG_QUANT_BLOCK]);

/* The inverse, for tests and tools that write model files: round to nearest, scales as F16. The
 * simplest choice of scales, not the best one. */
void tg_dtype_from_f32(tg_dtype type, const float *from, size_t count, uint8_t *ret_row);

/* IEEE binary16: exact one way, round to nearest even the other. Same results as the F16C
 * instructions. */
float tg_f16_to_f32(uint16_t half);
uint16_t tg_f32_to_f16(float value);

static inline uint16_t tg_load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

#endif
