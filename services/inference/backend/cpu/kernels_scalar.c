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

static int32_t dot_q8(const uint8_t *quants, uint32_t r, const int8_t *q)
{
    int32_t dot = 0;
    for (uint32_t k = 0; k < TG_QUANT_BLOCK; k++)
        dot += (int8_t)quants[(k / 4 * TG_PANEL + r) * 4 + k % 4] * q[k];
    return dot;
}

static int32_t dot_q4(const uint8_t *quants, uint32_t r, const int8_t *q) /* of the unsigned nibbles */
{
    int32_t dot = 0;
    for (uint32_t k = 0; k < TG_QUANT_BLOCK / 2; k++) {
        uint8_t byte = quants[(k / 4 * TG_PANEL + r) * 4 + k % 4];
        dot += (byte & 15) * q[k] + (byte >> 4) * q[k + 16];
    }
    return dot;
}

static float float_at(const uint8_t *floats, size_t index)
{
    float value;
    memcpy(&value, floats + index * sizeof(value), sizeof(value));
    return value;
}

/* The types of one form that pack.h describes: a chain over the scales' groups of inputs. */
static float wide_output(const tg_packed *w, const uint8_t *panel, uint32_t r, const tg_rows *rows, uint32_t t)
{
    const size_t blocks = w->in / TG_QUANT_BLOCK, sets = tg_wide_scales(w->type), group = TG_QUANT_BLOCK / sets;
    const uint8_t *scales = panel + blocks * TG_QUANT_BLOCK * TG_PANEL;
    const uint8_t *mins = scales + blocks * sets * TG_PANEL * sizeof(float);
    float acc = 0;
    for (size_t k = 0; k < w->in; k += group) {
        const size_t b = k / TG_QUANT_BLOCK, at = tg_rows_at(rows, t, b);
        const int8_t *q = rows->q + at * TG_QUANT_BLOCK + k % TG_QUANT_BLOCK;
        int32_t dot = 0;
        for (size_t i = 0; i < group; i++)
            dot += (panel[((k + i) / 4 * TG_PANEL + r) * 4 + i % 4] - tg_wide_middle(w->type)) * q[i];
        acc = fmaf((float)dot, float_at(scales, k / group * TG_PANEL + r) * rows->scale[at], acc);
        if (tg_wide_has_min(w->type))
            acc = fmaf(float_at(mins, b * TG_PANEL + r), rows->scaled_sum[at], acc);
    }
    return acc;
}

static float quant_output(const tg_packed *w, const uint8_t *panel, uint32_t r, const tg_rows *rows,
                          uint32_t t)
{
    const size_t blocks = w->in / TG_QUANT_BLOCK;
    const size_t quant_bytes = w->type == TG_DTYPE_Q8_0 ? TG_PANEL * 32 : TG_PANEL * 16;
    const uint8_t *scales = panel + blocks * quant_bytes, *mins = scales + blocks * TG_PANEL * 2;
    float acc = 0;
    for (size_t b = 0; b < blocks; b++, panel += quant_bytes) {
        const size_t at = tg_rows_at(rows, t, b);
        const int8_t *q = rows->q + at * TG_QUANT_BLOCK;
        float scale = tg_f16_to_f32(tg_load_u16(scales + (b * TG_PANEL + r) * 2));
        int32_t dot = w->type == TG_DTYPE_Q8_0 ? dot_q8(panel, r, q) : dot_q4(panel, r, q);
        if (w->type == TG_DTYPE_Q4_0)
            dot -= 8 * rows->sum[at];
        acc = fmaf((float)dot, scale * rows->scale[at], acc);
        if (w->type == TG_DTYPE_Q4_1)
            acc = fmaf(tg_f16_to_f32(tg_load_u16(mins + (b * TG_PANEL + r) * 2)),
                       rows->scaled_sum[at], acc);
    }
    return acc;
}

static void tg_product_scalar(const tg_product *p, uint32_t first, uint32_t last, int32_t *scratch)
{
    (void)scratch;
    const tg_packed *w = p->weights;
    for (uint32_t panel = first; panel < last; panel++) {
        const uint8_t *data = w->data + panel * w->panel_bytes;
        for (uint32_t t = 0; t < p->rows->len; t++) {
            for (uint32_t r = 0; r < TG_PANEL && panel * TG_PANEL + r < w->out; r++) {
                float value = tg_packed_is_wide(w->type)      ? wide_output(w, data, r, p->rows, t)
                              : tg_packed_is_quantised(w) ? quant_output(w, data, r, p->rows, t)
                                                          : float_output(w, data, r, p->rows->x + t * (size_t)w->in);
                float *to = p->out + t * p->stride + panel * TG_PANEL + r;
                *to = p->accumulate ? *to + value : value;
            }
        }
    }
}

const tg_cpu_kernels tg_kernels_scalar = {.name = "scalar", TG_OPS_TABLE};
