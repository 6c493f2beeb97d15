/* How the sums of one token and panel reach their place. Included after a vec_*.h. */
#ifndef TG_CPU_STORE_H
#define TG_CPU_STORE_H

#include "services/inference/backend/cpu/kernels.h"

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
