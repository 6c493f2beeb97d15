/* Weights as the kernels read them: panels of 16 outputs, so that a vector's lanes are outputs and
 * every output's sum stays in its own lane.
 *
 * A panel of F32, F16 or BF16, for the 16 outputs r it holds and k over the inputs, is [k][16]
 * values. One of a quantised type has two parts, numbers q and what scales them; a weight is
 * scale·(q − middle) + minimum. Blocks are always of 32 inputs.
 *
 *   q, [block]:
 *     Q8_0                     [k/4: 8][16][4] signed bytes
 *     Q4_0, Q4_1, Q4_K         [k/4: 4][16][4] bytes; a byte holds k in its low half and k + 16 in
 *                              its high half
 *     Q5_0, Q5_1, Q5_K         the same, then [16][4] bytes: bit k/4 of byte k%4 is the fifth bit
 *                              of input k
 *     Q6_K                     the same as Q4_0, then [half][16][4] bytes: bits 2·(k/4 % 4) and
 *                              above of byte k%4 are the upper two bits of input k of that half
 *   scales:
 *     Q8_0, Q4_0, Q5_0         [block][16] f16 scales
 *     Q4_1, Q5_1               the same, then [block][16] f16 minima
 *     Q4_K, Q5_K               [block][2][16] bytes, sc and m, then for each 8 blocks [16] f16 d,
 *                              then for each 8 [16] f16 −dmin: the scale is d·sc, the minimum
 *                              −dmin·m (both exact in fp32)
 *     Q6_K                     [block][2][16] signed bytes, sc of the block's halves, then [16] f16
 *                              d likewise
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

typedef struct tg_packed_block { /* 32 weights of one output: scale·q + min */
    int8_t q[TG_QUANT_BLOCK];    /* less the middle */
    float scale[2];              /* of the first and the second 16; for most types the same */
    float min;                   /* −0 where the type has none: adding that changes nothing */
} tg_packed_block;

/* Block `block` of output `row` of a panel, of quantised weights. */
void tg_unpack_block(const tg_packed *packed, const uint8_t *panel, size_t block, size_t row,
                     tg_packed_block *ret);

/* Fills panel `index` at `to`, which has packed->panel_bytes. */
void tg_pack_panel(const tg_gguf_tensor *tensor, const tg_packed *packed, uint32_t index,
                   uint8_t *to);

static inline bool tg_packed_is_quantised(const tg_packed *packed)
{
    return tg_dtype_get(packed->type)->block_len > 1;
}

static inline bool tg_packed_is_k(tg_dtype type)
{
    return type == TG_DTYPE_Q4_K || type == TG_DTYPE_Q5_K || type == TG_DTYPE_Q6_K;
}

static inline bool tg_packed_is_five(tg_dtype type) /* bits */
{
    return type == TG_DTYPE_Q5_0 || type == TG_DTYPE_Q5_1 || type == TG_DTYPE_Q5_K;
}

static inline bool tg_packed_has_min(tg_dtype type)
{
    return type == TG_DTYPE_Q4_1 || type == TG_DTYPE_Q5_1 || type == TG_DTYPE_Q4_K ||
           type == TG_DTYPE_Q5_K;
}

static inline int32_t tg_packed_middle(tg_dtype type) /* what q stands above */
{
    return type == TG_DTYPE_Q6_K ? 32 : type == TG_DTYPE_Q5_0 ? 16 : type == TG_DTYPE_Q4_0 ? 8 : 0;
}

/* Scales of a block. */
static inline size_t tg_packed_scales(tg_dtype type) { return type == TG_DTYPE_Q6_K ? 2 : 1; }

/* Bytes of the numbers of one block of one panel. */
static inline size_t tg_packed_quants(tg_dtype type)
{
    return (size_t)TG_PANEL * (type == TG_DTYPE_Q8_0     ? 32
                               : type == TG_DTYPE_Q6_K   ? 24
                               : tg_packed_is_five(type) ? 20
                                                         : 16);
}

/* Where things lie behind a panel's numbers, in bytes: the scale of a block (for K types its byte),
 * a K type's d, and the minimum (for K types −dmin). */
#define TG_PANEL_HALVES ((size_t)TG_PANEL * 2)
#define TG_PANEL_K_BLOCKS ((size_t)TG_QUANT_SUPER / TG_QUANT_BLOCK)
static inline size_t tg_packed_scale_at(size_t block) { return block * TG_PANEL_HALVES; }
static inline size_t tg_packed_d_at(size_t blocks, size_t block)
{
    return (blocks + block / TG_PANEL_K_BLOCKS) * TG_PANEL_HALVES;
}
static inline size_t tg_packed_min_at(tg_dtype type, size_t blocks, size_t block)
{
    return tg_packed_is_k(type)
               ? tg_packed_d_at(blocks, block) + blocks / TG_PANEL_K_BLOCKS * TG_PANEL_HALVES
               : (blocks + block) * TG_PANEL_HALVES;
}

/* pack_quant.c: tg_pack_panel's part for quantised types: output `row` of a panel, from its row in
 * the file. */
void tg_pack_quant(const uint8_t *from, tg_dtype type, size_t blocks, size_t row, uint8_t *to);

#endif
