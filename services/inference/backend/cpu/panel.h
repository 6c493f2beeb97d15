/* What kernels of different kinds of tiles share: a panel's scales as vectors, and how sums reach
 * their place. Included after a vec_*.h. */
#ifndef TG_CPU_PANEL_H
#define TG_CPU_PANEL_H

#include "services/inference/backend/cpu/kernels.h"

/* Of block b (and its half `set`, where halves have scales of their own). `scales`: behind a
 * panel's numbers. */
TG_BODY TG_ISA v16 scale_of(const uint8_t *scales, size_t blocks, size_t b, size_t set,
                            tg_dtype type)
{
    const uint8_t *own = scales + tg_packed_scale_at(b);
    if (!tg_packed_is_k(type))
        return v16_load_f16((const uint16_t *)(const void *)own);
    const v16 d =
        v16_load_f16((const uint16_t *)(const void *)(scales + tg_packed_d_at(blocks, b)));
    return v16_mul(d, v16_load_i8(own + set * TG_PANEL));
}

TG_BODY TG_ISA v16 min_of(const uint8_t *scales, size_t blocks, size_t b, tg_dtype type)
{
    const v16 min =
        v16_load_f16((const uint16_t *)(const void *)(scales + tg_packed_min_at(type, blocks, b)));
    return tg_packed_is_k(type)
               ? v16_mul(min, v16_load_i8(scales + tg_packed_scale_at(b) + TG_PANEL))
               : min;
}

TG_BODY TG_ISA void store_tile(const tg_product *product, uint32_t panel, uint32_t row, v16 acc)
{
    const uint32_t out = panel * TG_PANEL, width = product->weights->out - out;
    float *to = product->out + row * product->stride + out;
    if (width >= TG_PANEL) {
        v16_store(to, product->accumulate ? v16_add(v16_load(to), acc) : acc);
        return;
    }
    float f[TG_PANEL];
    v16_store(f, acc);
    for (uint32_t i = 0; i < width; i++)
        to[i] = product->accumulate ? to[i] + f[i] : f[i];
}

#endif
