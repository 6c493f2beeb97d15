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
    else
        bytes = in / TG_QUANT_BLOCK * (quant_bytes(tensor->type) + scale_sets(tensor->type) * TG_PANEL * 2);
    ret->panel_bytes = (bytes + 63) & ~(size_t)63;
    return ret->panel_bytes * ret->panels;
}

static void pack_float(const uint8_t *row, size_t in, size_t width, size_t r, uint8_t *to)
{
    for (size_t k = 0; k < in; k++)
        memcpy(to + (k * TG_PANEL + r) * width, row + k * width, width);
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
    memset(to, 0, packed->panel_bytes);
    for (size_t r = 0; r < TG_PANEL; r++) {
        size_t out = (size_t)index * TG_PANEL + r;
        if (out >= packed->out)
            break;
        const uint8_t *row = tensor->data + out * row_bytes;
        if (tg_packed_is_quantised(packed))
            pack_quant(row, tensor->type, in / TG_QUANT_BLOCK, r, to);
        else
            pack_float(row, in, info->block_bytes, r, to);
    }
}
