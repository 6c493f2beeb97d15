/* Weights as the kernels read them: panels of 16 outputs, so that a vector's lanes are outputs and
 * every output's sum stays in its own lane.
 *
 * A panel, for the 16 outputs r it holds and k over the inputs:
 *   F32, F16, BF16   [k][16] values
 *   Q8_0       [block][k/4 in block: 8][16][4] int8, then [block][16] f16 scales
 *   Q4_0       [block][k/4 in block: 4][16][4] bytes, then [block][16] f16 scales;
 *              a byte holds k in its low half and k + 16 in its high half, as in the file
 *   Q4_1       the same, then [block][16] f16 minima
 *   Q5_0, Q5_1, Q4_K, Q5_K, Q6_K
 *              one form, in which a weight is scale·(q − middle) + minimum with q of 0..63 in a byte:
 *              [block][k/4 in block: 8][16][4] bytes, then [block][scales][16] f32 scales, two to a block of
 *              Q6_K, one of the others; then for Q5_1, Q4_K and Q5_K [block][16] f32 minima.
 *              A block here is always of 32 inputs. K types' scales are d·sc and minima −dmin·m, rounded to fp32.
 * Missing outputs of the last panel are zero.
 *
 * Ownership: the packed bytes belong to whoever allocated them; tg_pack_bytes says how many.
 */
#ifndef TG_CPU_PACK_H
#define TG_CPU_PACK_H

#include "services/inference/model/gguf.h"

#define TG_PANEL 16

typedef struct tg_packed {
    tg_dtype type;
    uint32_t in, out; /* inputs (k) and outputs */
    uint32_t panels;
    size_t panel_bytes; /* a multiple of 64 */
    const uint8_t *data; /* 64-byte aligned */
} tg_packed;

/* Describes the packed form of a tensor and returns its size; data stays NULL. */
size_t tg_pack_bytes(const tg_gguf_tensor *tensor, tg_packed *ret);

/* Output `row`'s weights as floats, from the panels: packed->in of them. */
void tg_unpack_row(const tg_packed *packed, uint32_t row, float *ret);

/* Fills panel `index` at `to`, which has packed->panel_bytes. */
void tg_pack_panel(const tg_gguf_tensor *tensor, const tg_packed *packed, uint32_t index, uint8_t *to);

static inline bool tg_packed_is_quantised(const tg_packed *packed)
{
    return tg_dtype_get(packed->type)->block_len > 1;
}

/* The form that Q5_0, Q5_1 and the K types share. */
static inline bool tg_packed_is_wide(tg_dtype type)
{
    return type == TG_DTYPE_Q5_0 || type == TG_DTYPE_Q5_1 || type == TG_DTYPE_Q4_K || type == TG_DTYPE_Q5_K ||
           type == TG_DTYPE_Q6_K;
}

static inline int32_t tg_wide_middle(tg_dtype type) /* what q stands above */
{
    return type == TG_DTYPE_Q6_K ? 32 : type == TG_DTYPE_Q5_0 ? 16 : 0;
}

static inline size_t tg_wide_scales(tg_dtype type) { return type == TG_DTYPE_Q6_K ? 2 : 1; } /* of a block */

static inline bool tg_wide_has_min(tg_dtype type) { return tg_packed_is_wide(type) && tg_wide_middle(type) == 0; }

/* pack_wide.c: tg_pack_panel's and tg_unpack_row's part for these types: output `row` of a panel. */
void tg_pack_wide(const uint8_t *from, tg_dtype type, size_t blocks, size_t row, uint8_t *to);
void tg_unpack_wide(const uint8_t *panel, tg_dtype type, size_t blocks, size_t row, float *ret);

#endif
