/* One text through the encoder. Every sum runs in one order, whoever computes it. */
#include "services/inference/embed/bert.h"

#include "services/inference/backend/numerics.h"

#include <math.h>

#define PANELS_PER_TASK 6 /* a multiple of what kernels take at a time */

typedef struct linear_job {
    tg_bert *e;
    const tg_bert_linear *linear;
    tg_product product;
} linear_job;

static void linear_task(void *context, uint32_t index, uint32_t thread)
{
    linear_job *job = context;
    const tg_packed *w = &job->linear->weights;
    uint32_t first = index * PANELS_PER_TASK, last = first + PANELS_PER_TASK;
    last = last < w->panels ? last : w->panels;
    job->e->kernels->product(&job->product, first, last,
                             job->e->scratch + thread * job->e->scratch_each);
    uint32_t end = last * TG_PANEL < w->out ? last * TG_PANEL : w->out;
    for (uint32_t t = 0; job->linear->bias && t < job->product.rows->len; t++)
        for (uint32_t o = first * TG_PANEL; o < end; o++)
            job->product.out[t * job->product.stride + o] += job->linear->bias[o];
}

static void quantise_task(void *context, uint32_t row, uint32_t thread)
{
    tg_bert *e = context;
    (void)thread;
    e->kernels->quantise(e->rows.x + (size_t)row * e->rows.in, &e->rows, row);
}

/* out = x · weights + bias, or out += that. */
static void apply(tg_bert *e, const tg_bert_linear *linear, const float *x, uint32_t len,
                  float *out, bool accumulate)
{
    const tg_packed *w = &linear->weights;
    linear_job job = {e, linear, {w, &e->rows, out, w->out, accumulate}};
    e->rows.len = len;
    e->rows.in = w->in;
    e->rows.x = x;
    e->rows.pairs = w->type == TG_DTYPE_Q8_0 && e->kernels->wants_pairs ? e->pairs : NULL;
    if (tg_packed_is_quantised(w))
        tg_pool_run(e->pool, quantise_task, e, len);
    tg_pool_run(e->pool, linear_task, &job, (w->panels + PANELS_PER_TASK - 1) / PANELS_PER_TASK);
}

static void normalise(float *x, const tg_bert_norm *norm, uint32_t len, float eps)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < len; i++)
        sum += (double)x[i];
    const double mean = sum / len;
    for (uint32_t i = 0; i < len; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const double scale = 1.0 / sqrt(squares / len + (double)eps);
    for (uint32_t i = 0; i < len; i++)
        x[i] = (float)(((double)x[i] - mean) * scale) * norm->weight[i] + norm->bias[i];
}

typedef struct norm_job {
    tg_bert *e;
    const tg_bert_norm *norm;
} norm_job;

static void norm_task(void *context, uint32_t row, uint32_t thread)
{
    norm_job *job = context;
    (void)thread;
    normalise(job->e->x + (size_t)row * job->e->width, job->norm, job->e->width, job->e->eps);
}

/* Abramowitz and Stegun 7.1.26: absolute error below 2e-7. */
static double error_function(double x)
{
    const double t = 1.0 / (1.0 + 0.3275911 * fabs(x));
    const double sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 +
                       t * (-1.453152027 + t * 1.061405429))));
    const double y = 1.0 - sum * tg_exp(-x * x);
    return x < 0 ? -y : y;
}

static void gelu_task(void *context, uint32_t row, uint32_t thread)
{
    tg_bert *e = context;
    float *x = e->wide + (size_t)row * e->ffn;
    (void)thread;
    for (uint32_t i = 0; i < e->ffn; i++)
        x[i] = (float)(0.5 * (double)x[i] *
                       (1.0 + error_function((double)x[i] * 0.70710678118654752)));
}

typedef struct attend_job {
    tg_bert *e;
    uint32_t len, padded;
} attend_job;

static void transpose_task(void *context, uint32_t head, uint32_t thread)
{
    const attend_job *job = context;
    const tg_bert *e = job->e;
    float *to = e->keys + (size_t)head * e->head_dim * job->padded;
    (void)thread;
    for (uint32_t d = 0; d < e->head_dim; d++)
        for (uint32_t t = 0; t < job->padded; t++)
            to[(size_t)d * job->padded + t] =
                t < job->len ? e->k[(size_t)t * e->width + head * e->head_dim + d] : 0.0f;
}

static void attend_task(void *context, uint32_t index, uint32_t thread)
{
    const attend_job *job = context;
    const tg_bert *e = job->e;
    const uint32_t head = index % e->heads, row = index / e->heads, dim = e->head_dim,
                   n = job->padded;
    const size_t at = (size_t)row * e->width + head * dim;
    const float *q = e->q + at, *keys = e->keys + (size_t)head * dim * n;
    float *scores = e->scores + (size_t)thread * n, *out = e->mixed + at;
    const float scale = (float)(1.0 / sqrt((double)dim));
    float top = -INFINITY;
    for (uint32_t t = 0; t < n; t += TG_BERT_LANES) {
        float sum[TG_BERT_LANES] = {0};
        for (uint32_t d = 0; d < dim; d++)
            for (uint32_t i = 0; i < TG_BERT_LANES; i++)
                sum[i] += q[d] * keys[(size_t)d * n + t + i];
        for (uint32_t i = 0; i < TG_BERT_LANES; i++) {
            scores[t + i] = sum[i] * scale;
            if (t + i < job->len && scores[t + i] > top)
                top = scores[t + i];
        }
    }
    double total = 0;
    for (uint32_t t = 0; t < job->len; t++) {
        double weight = tg_exp((double)(scores[t] - top));
        total += weight;
        scores[t] = (float)weight;
    }
    const float share = (float)(1.0 / total);
    for (uint32_t d = 0; d < dim; d += TG_BERT_LANES) {
        float sum[TG_BERT_LANES] = {0};
        for (uint32_t t = 0; t < job->len; t++)
            for (uint32_t i = 0; i < TG_BERT_LANES; i++)
                sum[i] += scores[t] * e->v[(size_t)t * e->width + head * dim + d + i];
        for (uint32_t i = 0; i < TG_BERT_LANES; i++)
            out[d + i] = sum[i] * share;
    }
}

/* Adds a row of a table to `to`, or writes it there. */
static void take_row(const tg_gguf_tensor *table, uint32_t row, uint32_t width, float *scratch,
                     float *to, bool accumulate)
{
    size_t row_bytes = table->size_bytes / table->dims[1];
    tg_dtype_to_f32(table->type, table->data + row * row_bytes, width, scratch);
    for (uint32_t i = 0; i < width; i++)
        to[i] = accumulate ? to[i] + scratch[i] : scratch[i];
}

const float *tg_bert_run(tg_bert *e, const uint32_t *ids, uint32_t len)
{
    attend_job attend = {e, len, (len + TG_BERT_LANES - 1) / TG_BERT_LANES * TG_BERT_LANES};
    norm_job norm = {e, &e->embd_norm};
    for (uint32_t t = 0; t < len; t++) {
        float *to = e->x + (size_t)t * e->width;
        take_row(e->token_embd, ids[t], e->width, e->q, to, false);
        take_row(e->token_types, 0, e->width, e->q, to, true);
        take_row(e->position_embd, t, e->width, e->q, to, true);
    }
    tg_pool_run(e->pool, norm_task, &norm, len);
    for (uint32_t i = 0; i < e->layers_len; i++) {
        const tg_bert_layer *l = &e->layers[i];
        apply(e, &l->q, e->x, len, e->q, false);
        apply(e, &l->k, e->x, len, e->k, false);
        apply(e, &l->v, e->x, len, e->v, false);
        tg_pool_run(e->pool, transpose_task, &attend, e->heads);
        tg_pool_run(e->pool, attend_task, &attend, len * e->heads);
        apply(e, &l->attn_out, e->mixed, len, e->x, true);
        norm.norm = &l->attn_norm;
        tg_pool_run(e->pool, norm_task, &norm, len);
        apply(e, &l->up, e->x, len, e->wide, false);
        tg_pool_run(e->pool, gelu_task, e, len);
        apply(e, &l->down, e->wide, len, e->x, true);
        norm.norm = &l->out_norm;
        tg_pool_run(e->pool, norm_task, &norm, len);
    }
    return e->x;
}
