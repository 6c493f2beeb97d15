/* The reference: what every other instruction set must equal, bit for bit where weights are
 * quantised. */
#include "services/inference/backend/cpu/vec_scalar.h"

#include "services/inference/backend/cpu/ops.h"

static float float_output(const tg_packed *w, const uint8_t *panel, uint32_t r, const float *x)
{
    float acc = 0;
    for (uint32_t k = 0; k < w->in; k++) {
        float value;
        if (w->type == TG_DTYPE_F32)
            memcpy(&value, panel + (k * (size_t)TG_PANEL + r) * 4, 4);
        else
            tg_dtype_to_f32(w->type, panel + (k * (size_t)TG_PANEL + r) * 2, 1, &value);
        acc = fmaf(value, x[k], acc);
    }
    return acc;
}

enum { TOGETHER = 16 }; /* rows that share the unpacking of weights */

/* Output r of a panel for rows first..first + n. */
static void quant_outputs(const tg_packed *w, const uint8_t *panel, uint32_t r, const tg_rows *rows,
                          uint32_t first, uint32_t n, float *acc)
{
    const uint32_t group = TG_QUANT_BLOCK / (uint32_t)tg_packed_scales(w->type);
    for (uint32_t t = 0; t < n; t++)
        acc[t] = 0;
    for (size_t b = 0; b < w->in / TG_QUANT_BLOCK; b++) {
        tg_packed_block block;
        tg_unpack_block(w, panel, b, r, &block);
        for (uint32_t t = 0; t < n; t++) {
            const size_t at = tg_rows_at(rows, first + t, b);
            const int8_t *q = rows->q + at * TG_QUANT_BLOCK;
            for (uint32_t k = 0; k < TG_QUANT_BLOCK; k += group) {
                int32_t dot = 0;
                for (uint32_t i = k; i < k + group; i++)
                    dot += block.q[i] * q[i];
                acc[t] = fmaf((float)dot, block.scale[k / 16] * rows->scale[at], acc[t]);
            }
            if (tg_packed_has_min(w->type))
                acc[t] = fmaf(block.min, rows->scaled_sum[at], acc[t]);
        }
    }
}

static void tg_product_scalar(const tg_product *p, uint32_t first, uint32_t last, int32_t *scratch)
{
    (void)scratch;
    const tg_packed *w = p->weights;
    for (uint32_t out = first * TG_PANEL; out < last * TG_PANEL && out < w->out; out++) {
        const uint8_t *panel = w->data + out / TG_PANEL * w->panel_bytes;
        for (uint32_t row = 0, n; row < p->rows->len; row += n) {
            float acc[TOGETHER];
            n = p->rows->len - row < TOGETHER ? p->rows->len - row : TOGETHER;
            if (tg_packed_is_quantised(w))
                quant_outputs(w, panel, out % TG_PANEL, p->rows, row, n, acc);
            for (uint32_t t = 0; t < n; t++) {
                if (!tg_packed_is_quantised(w))
                    acc[t] = float_output(w, panel, out % TG_PANEL,
                                          p->rows->x + (row + t) * (size_t)w->in);
                float *to = p->out + (row + t) * p->stride + out;
                *to = p->accumulate ? *to + acc[t] : acc[t];
            }
        }
    }
}

const tg_cpu_kernels tg_kernels_scalar = {
    .name = "scalar", .product = TG_OPS(tg_product), TG_OPS_TABLE};
