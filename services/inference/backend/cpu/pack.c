#include "services/inference/backend/cpu/pack.h"

/* Behind each block's first 32 bytes of scales. */
static size_t scale_bytes(tg_dtype type, size_t in)
{
    const size_t sets = tg_packed_has_min(type) + tg_packed_is_k(type);
    return sets * TG_PANEL_HALVES * (in / (tg_packed_is_k(type) ? TG_QUANT_SUPER : TG_QUANT_BLOCK));
}

size_t tg_pack_bytes(const tg_gguf_tensor *tensor, tg_packed *ret)
{
    size_t in = (size_t)tensor->dims[0], bytes;
    ret->type = tensor->type;
    ret->in = (uint32_t)in;
    ret->out = (uint32_t)tensor->dims[1];
    ret->panels = (ret->out + TG_PANEL - 1) / TG_PANEL;
    ret->data = NULL;
    if (!tg_packed_is_quantised(ret))
        bytes = in * TG_PANEL * (tensor->type == TG_DTYPE_F32 ? 4 : 2);
    else
        bytes = in / TG_QUANT_BLOCK * (tg_packed_quants(tensor->type) + TG_PANEL_HALVES) +
                scale_bytes(tensor->type, in);
    ret->panel_bytes = (bytes + 63) & ~(size_t)63;
    return ret->panel_bytes * ret->panels;
}

/* Eight rows of eight halves, columns becoming rows. */
typedef uint16_t halves __attribute__((vector_size(16)));

static void transpose8(const uint8_t *const rows[8], size_t at, uint8_t *to)
{
    halves v[8], w[8];
    for (size_t r = 0; r < 8; r++)
        memcpy(&v[r], rows[r] + at * 2, sizeof(v[r]));
    for (int round = 0; round < 3; round++) { /* a perfect shuffle of 64 elements, three times */
        for (size_t i = 0; i < 4; i++) {
            w[2 * i] = __builtin_shufflevector(v[i], v[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            w[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(v, w, sizeof(v));
    }
    for (size_t k = 0; k < 8; k++)
        memcpy(to + k * TG_PANEL * 2, &v[k], sizeof(v[k]));
}

/* Rows [0, rows) of F32, F16 or BF16 weights into a panel. */
static void pack_float(const uint8_t *from, size_t row_bytes, size_t in, size_t width, size_t rows,
                       uint8_t *to)
{
    /* inputs: what is written stays in the nearest cache until its lines are full */
    enum { STEP = 32 };
    for (size_t first = 0; first < in; first += STEP) {
        const size_t last = in - first < STEP ? in : first + STEP;
        size_t r = 0, whole = width == 2 ? first + (last - first) / 8 * 8 : first;
        for (; width == 2 && r + 8 <= rows; r += 8) {
            const uint8_t *eight[8];
            for (size_t i = 0; i < 8; i++)
                eight[i] = from + (r + i) * row_bytes;
            for (size_t k = first; k < whole; k += 8)
                transpose8(eight, k, to + (k * TG_PANEL + r) * 2);
            for (size_t i = 0; i < 8; i++)
                for (size_t k = whole; k < last; k++)
                    memcpy(to + (k * TG_PANEL + r + i) * 2, eight[i] + k * 2, 2);
        }
        for (; r < rows; r++)
            for (size_t k = first; k < last; k++)
                memcpy(to + (k * TG_PANEL + r) * width, from + r * row_bytes + k * width, width);
    }
}

void tg_pack_panel(const tg_gguf_tensor *tensor, const tg_packed *packed, uint32_t index,
                   uint8_t *to)
{
    const tg_dtype_info *info = tg_dtype_get(tensor->type);
    const size_t in = packed->in, row_bytes = in / info->block_len * info->block_bytes;
    const size_t first = (size_t)index * TG_PANEL, left = packed->out - first;
    const size_t rows = left < TG_PANEL ? left : TG_PANEL;
    const uint8_t *from = tensor->data + first * row_bytes;
    if (rows < TG_PANEL)
        memset(to, 0, packed->panel_bytes);
    if (!tg_packed_is_quantised(packed)) {
        pack_float(from, row_bytes, in, info->block_bytes, rows, to);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        tg_pack_quant(from + r * row_bytes, tensor->type, in / TG_QUANT_BLOCK, r, to);
}

void tg_unpack_row(const tg_packed *packed, uint32_t row, float *ret)
{
    const tg_dtype_info *info = tg_dtype_get(packed->type);
    const uint8_t *panel = packed->data + row / TG_PANEL * packed->panel_bytes;
    const size_t r = row % TG_PANEL;
    if (!tg_packed_is_quantised(packed)) {
        for (size_t k = 0; k < packed->in; k++)
            tg_dtype_to_f32(packed->type, panel + (k * TG_PANEL + r) * info->block_bytes, 1,
                            ret + k);
        return;
    }
    for (size_t b = 0; b < packed->in / TG_QUANT_BLOCK; b++) {
        tg_packed_block block;
        tg_unpack_block(packed, panel, b, r, &block);
        for (size_t i = 0; i < TG_QUANT_BLOCK; i++)
            ret[b * TG_QUANT_BLOCK + i] = block.scale[i / 16] * (float)block.q[i] + block.min;
    }
}
