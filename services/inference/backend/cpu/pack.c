#include "services/inference/backend/cpu/pack.h"

static size_t quant_bytes(tg_dtype type) /* of one block of one panel */
{
    return type == TG_DTYPE_Q8_0 ? TG_PANEL * 32 : TG_PANEL * 16;
}

static size_t scale_sets(tg_dtype type) { return type == TG_DTYPE_Q4_1 ? 2 : 1; }

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
    else if (tg_packed_is_wide(tensor->type))
        bytes = in / TG_QUANT_BLOCK * TG_PANEL *
                (32 + (tg_wide_scales(tensor->type) + tg_wide_has_min(tensor->type)) * sizeof(float));
    else
        bytes = in / TG_QUANT_BLOCK * (quant_bytes(tensor->type) + scale_sets(tensor->type) * TG_PANEL * 2);
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
static void pack_float(const uint8_t *from, size_t row_bytes, size_t in, size_t width, size_t rows, uint8_t *to)
{
    enum { STEP = 32 }; /* inputs: what is written stays in the nearest cache until its lines are full */
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

static void pack_quant(const uint8_t *row, tg_dtype type, size_t blocks, size_t r, uint8_t *to)
{
    const size_t sets = scale_sets(type), quants = quant_bytes(type);
    const size_t source_bytes = tg_dtype_get(type)->block_bytes;
    uint8_t *scales = to + blocks * quants;
    for (size_t b = 0; b < blocks; b++, row += source_bytes) {
        for (size_t set = 0; set < sets; set++)
            memcpy(scales + ((set * blocks + b) * TG_PANEL + r) * 2, row + set * 2, 2);
        for (size_t g = 0; g < quants / (TG_PANEL * 4); g++)
            memcpy(to + b * quants + (g * TG_PANEL + r) * 4, row + sets * 2 + g * 4, 4);
    }
}

void tg_pack_panel(const tg_gguf_tensor *tensor, const tg_packed *packed, uint32_t index, uint8_t *to)
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
    for (size_t r = 0; r < rows; r++) {
        if (tg_packed_is_wide(tensor->type))
            tg_pack_wide(from + r * row_bytes, tensor->type, in / TG_QUANT_BLOCK, r, to);
        else
            pack_quant(from + r * row_bytes, tensor->type, in / TG_QUANT_BLOCK, r, to);
    }
}

void tg_unpack_row(const tg_packed *packed, uint32_t row, float *ret)
{
    const tg_dtype_info *info = tg_dtype_get(packed->type);
    const uint8_t *panel = packed->data + row / TG_PANEL * packed->panel_bytes;
    const size_t r = row % TG_PANEL;
    if (!tg_packed_is_quantised(packed)) {
        for (size_t k = 0; k < packed->in; k++)
            tg_dtype_to_f32(packed->type, panel + (k * TG_PANEL + r) * info->block_bytes, 1, ret + k);
        return;
    }
    const size_t blocks = packed->in / TG_QUANT_BLOCK, sets = scale_sets(packed->type);
    if (tg_packed_is_wide(packed->type)) {
        tg_unpack_wide(panel, packed->type, blocks, r, ret);
        return;
    }
    const size_t quants = quant_bytes(packed->type);
    const uint8_t *scales = panel + blocks * quants;
    for (size_t b = 0; b < blocks; b++) {
        uint8_t block[TG_QUANT_BLOCK * 2]; /* as it was in the file */
        for (size_t set = 0; set < sets; set++)
            memcpy(block + set * 2, scales + ((set * blocks + b) * TG_PANEL + r) * 2, 2);
        for (size_t g = 0; g < quants / (TG_PANEL * 4); g++)
            memcpy(block + sets * 2 + g * 4, panel + b * quants + (g * TG_PANEL + r) * 4, 4);
        tg_dtype_to_f32(packed->type, block, TG_QUANT_BLOCK, ret + b * TG_QUANT_BLOCK);
    }
}
