/* Weights as the kernels read them: panels of 16 outputs, so that a vector's lanes are outputs and
 * every output's sum stays in its own lane.
 *
 * A panel, for the 16 outputs r it holds and k over the inputs:
 *   F32, F16   [k][16] values
 *   Q8_0       [block][k/4 in block: 8][16][4] int8, then [block][16] f16 scales
 *   Q4_0       [block][k/4 in block: 4][16][4] bytes, then [block][16] f16 scales;
 *              a byte holds k in its low half and k + 16 in its high half, as in the file
 *   Q4_1       the same, then [block][16] f16 minima
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
    return packed->type != TG_DTYPE_F32 && packed->type != TG_DTYPE_F16;
}

#endif
