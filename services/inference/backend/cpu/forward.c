/* One step: all tokens of all sequences through all layers. Each stage is a loop over independent
 * tasks for the pool; stages over tokens that are too small to share run on the calling thread. */
#include "services/inference/backend/cpu/cpu.h"
#include "services/inference/backend/numerics.h"

#include <errno.h>
#include <string.h>

/* a stage over tokens with fewer values than this is not worth sharing */
#define SERIAL_VALUES 8192
#define TASKS_PER_THREAD 4  /* finer than the threads, so that a slow one holds nobody up */
#define TASK_PANELS 3       /* a task has a multiple of it: kernels take as many panels at a time */

typedef struct token_job {
    tg_cpu *cpu;
    tg_pool_fn fn;
    uint32_t count;
} token_job;

/* Tokens of one tile of rows: what is written of them lies side by side, and one thread writes
 * it. */
static void tokens_task(void *context, uint32_t index, uint32_t thread)
{
    const token_job *job = context;
    const uint32_t first = index * TG_ROWS_TILE, left = job->count - first;
    for (uint32_t i = first; i < first + (left < TG_ROWS_TILE ? left : TG_ROWS_TILE); i++)
        job->fn(job->cpu, i, thread);
}

static void over_tokens(tg_cpu *cpu, tg_pool_fn fn, uint32_t count, uint32_t values)
{
    token_job job = {cpu, fn, count};
    const uint32_t tasks = (count + TG_ROWS_TILE - 1) / TG_ROWS_TILE;
    if ((uint64_t)count * values >= SERIAL_VALUES) {
        tg_pool_run(cpu->pool, tokens_task, &job, tasks);
        return;
    }
    for (uint32_t i = 0; i < tasks; i++)
        tokens_task(&job, i, 0);
}

/* ---- products ---- */

#define PRODUCTS_MAX 3 /* that share their input: q, k, v */

typedef struct product_job {
    tg_cpu *cpu;
    tg_product products[PRODUCTS_MAX];
    uint32_t first_task[PRODUCTS_MAX + 1];
    uint32_t chunk; /* panels per task */
    uint32_t len;
} product_job;

static void product_task(void *context, uint32_t index, uint32_t thread)
{
    const product_job *job = context;
    uint32_t which = 0;
    while (index >= job->first_task[which + 1])
        which++;
    const tg_product *product = &job->products[which];
    uint32_t first = (index - job->first_task[which]) * job->chunk, last = first + job->chunk;
    if (last > product->weights->panels)
        last = product->weights->panels;
    job->cpu->kernels->product(product, first, last, job->cpu->product_scratch[thread]);
}

static void run_products(tg_cpu *cpu, product_job *job)
{
    uint32_t panels = 0, tasks = cpu->base.threads * TASKS_PER_THREAD;
    for (uint32_t i = 0; i < job->len; i++)
        panels += job->products[i].weights->panels;
    job->cpu = cpu;
    job->chunk = (panels + tasks - 1) / tasks;
    job->chunk = (job->chunk + TASK_PANELS - 1) / TASK_PANELS * TASK_PANELS;
    job->first_task[0] = 0;
    for (uint32_t i = 0; i < job->len; i++)
        job->first_task[i + 1] =
            job->first_task[i] + (job->products[i].weights->panels + job->chunk - 1) / job->chunk;
    tg_pool_run(cpu->pool, product_task, job, job->first_task[job->len]);
}

static void add_product(product_job *job, const tg_packed *weights, const tg_rows *rows, float *out,
                        bool accumulate)
{
    job->products[job->len++] = (tg_product){weights, rows, out, weights->out, accumulate};
}

/* The rows of `x` as the next products, with up to three matrices, take them. The stage before the
 * products fills the quantised form. Matrices that share an input may differ in type. */
static tg_rows *rows_of(tg_cpu *cpu, const float *x, uint32_t len, const tg_packed *a,
                        const tg_packed *b, const tg_packed *c)
{
    const tg_packed *const all[] = {a, b, c};
    cpu->rows.len = len;
    cpu->rows.in = a->in;
    cpu->rows.x = x;
    cpu->rows.pairs = NULL;
    cpu->rows.q16 = cpu->kernels->wants_q16 ? cpu->q16 : NULL;
    cpu->rows_quantised = false;
    for (size_t i = 0; i < 3; i++) {
        cpu->rows_quantised |= tg_packed_is_quantised(all[i]);
        if (all[i]->type == TG_DTYPE_Q8_0 && cpu->kernels->wants_pairs)
            cpu->rows.pairs = cpu->pairs;
    }
    return &cpu->rows;
}

static void quantise_row(tg_cpu *cpu, uint32_t row)
{
    if (cpu->rows_quantised)
        cpu->kernels->quantise(cpu->rows.x + row * (size_t)cpu->rows.in, &cpu->rows, row);
}

/* ---- stages over tokens ---- */

static void embed_task(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    tg_cpu *cpu = context;
    const tg_model_shape *s = &cpu->model->shape;
    const tg_cpu_token *token = &cpu->tokens[index];
    float *x = cpu->x + index * (size_t)s->width;
    if (cpu->embd) {
        const tg_dtype type = cpu->model->token_embd->type;
        const tg_dtype_info *info = tg_dtype_get(type);
        tg_dtype_to_f32(
            type, cpu->embd + token->id * (size_t)(s->width / info->block_len * info->block_bytes),
            s->width, x);
    } else {
        tg_unpack_row(&cpu->output, token->id, x);
    }
    for (uint32_t i = 0; i < s->rope_dim / 2; i++) {
        double sine, cosine;
        tg_sincos((double)token->position * cpu->rope_freqs[i], &sine, &cosine);
        cpu->sin[index * (size_t)(s->rope_dim / 2) + i] = (float)sine;
        cpu->cos[index * (size_t)(s->rope_dim / 2) + i] = (float)cosine;
    }
}

static void norm_for_attention(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    tg_cpu *cpu = context;
    const tg_model_shape *s = &cpu->model->shape;
    const tg_cpu_layer *l = &cpu->layers[cpu->layer];
    const size_t at = index * (size_t)s->width;
    cpu->kernels->norm(cpu->x + at, l->attn_norm, s->width, s->norm_eps, cpu->normed + at);
    quantise_row(cpu, index);
}

static void norm_for_ffn(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    tg_cpu *cpu = context;
    const tg_model_shape *s = &cpu->model->shape;
    const tg_cpu_layer *l = &cpu->layers[cpu->layer];
    const size_t at = index * (size_t)s->width;
    cpu->kernels->norm(cpu->x + at, l->ffn_norm, s->width, s->norm_eps, cpu->normed + at);
    quantise_row(cpu, index);
}

/* Rotates pairs (2i, 2i + 1) of a head, or (i, i + pairs). */
static void rotate(float *head, const float *cosine, const float *sine, uint32_t pairs, bool halves)
{
    const uint32_t step = halves ? 1 : 2, apart = halves ? pairs : 1;
    for (uint32_t i = 0; i < pairs; i++) {
        float a = head[step * i], b = head[step * i + apart];
        head[step * i] = a * cosine[i] - b * sine[i];
        head[step * i + apart] = a * sine[i] + b * cosine[i];
    }
}

static void add_bias(float *x, const float *bias, uint32_t len)
{
    for (uint32_t i = 0; bias && i < len; i++)
        x[i] += bias[i];
}

static uint8_t *kv_block(const tg_cpu *cpu, uint32_t block)
{
    const tg_model_shape *s = &cpu->model->shape;
    return cpu->kv +
           ((size_t)cpu->layer * cpu->conf.kv_blocks + block) * s->kv_heads * cpu->kv_head_bytes;
}

static void store_f16(const tg_cpu *cpu, const float *k, const float *v, uint32_t dim,
                      uint32_t slot, uint8_t *block)
{
    uint16_t *to = (uint16_t *)(void *)block, keys[TG_MODEL_HEAD_DIM_MAX];
    cpu->kernels->to_f16(k, dim, keys);
    for (uint32_t d = 0; d < dim; d++)
        to[d * TG_KV_BLOCK_TOKENS + slot] = keys[d];
    cpu->kernels->to_f16(v, dim, to + (TG_KV_BLOCK_TOKENS + slot) * (size_t)dim);
}

static void store_q8(const tg_cpu *cpu, const float *k, const float *v, uint32_t dim, uint32_t slot,
                     uint8_t *block)
{
    int8_t *to = (int8_t *)block, keys[TG_MODEL_HEAD_DIM_MAX];
    uint16_t *scales = tg_kv_scales(block, dim), each[2][TG_KV_GROUPS_MAX];
    const uint32_t groups = tg_kv_groups(dim);
    cpu->kernels->to_q8(k, dim, keys, each[0]);
    for (uint32_t d = 0; d < dim; d++)
        to[d * TG_KV_BLOCK_TOKENS + slot] = keys[d];
    cpu->kernels->to_q8(v, dim, to + (TG_KV_BLOCK_TOKENS + slot) * (size_t)dim, each[1]);
    for (uint32_t g = 0; g < groups; g++) {
        scales[g * TG_KV_BLOCK_TOKENS + slot] = each[0][g];
        scales[(groups + g) * TG_KV_BLOCK_TOKENS + slot] = each[1][g];
    }
}

/* Position into queries and keys; keys and values into their block, in its format. */
static void place_task(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    tg_cpu *cpu = context;
    const tg_model_shape *s = &cpu->model->shape;
    const tg_cpu_token *token = &cpu->tokens[index];
    const float *cosine = cpu->cos + index * (size_t)(s->rope_dim / 2);
    const float *sine = cpu->sin + index * (size_t)(s->rope_dim / 2);
    const uint32_t dim = s->head_dim, slot = token->position % TG_KV_BLOCK_TOKENS;
    float *q = cpu->q + index * (size_t)s->heads * dim;
    float *k = cpu->k + index * (size_t)s->kv_heads * dim;
    float *v = cpu->v + index * (size_t)s->kv_heads * dim;
    const tg_cpu_layer *l = &cpu->layers[cpu->layer];
    const bool halves = cpu->model->arch->rope_halves;
    add_bias(q, l->q_bias, s->heads * dim);
    add_bias(k, l->k_bias, s->kv_heads * dim);
    add_bias(v, l->v_bias, s->kv_heads * dim);
    for (uint32_t h = 0; h < s->heads; h++) {
        if (l->q_norm)
            cpu->kernels->norm(q + h * dim, l->q_norm, dim, s->norm_eps, q + h * dim);
        rotate(q + h * dim, cosine, sine, s->rope_dim / 2, halves);
    }
    uint8_t *to =
        kv_block(cpu, cpu->step->seqs[token->seq].blocks[token->position / TG_KV_BLOCK_TOKENS]);
    for (uint32_t h = 0; h < s->kv_heads; h++, to += cpu->kv_head_bytes) {
        if (l->k_norm)
            cpu->kernels->norm(k + h * dim, l->k_norm, dim, s->norm_eps, k + h * dim);
        rotate(k + h * dim, cosine, sine, s->rope_dim / 2, halves);
        (cpu->conf.kv_type == TG_KV_Q8 ? store_q8 : store_f16)(cpu, k + h * dim, v + h * dim, dim,
                                                               slot, to);
    }
}

static void quantise_mixed(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    quantise_row(context, index);
}

static void activate_task(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    tg_cpu *cpu = context;
    const uint32_t width = cpu->model->shape.ffn_width;
    const size_t at = index * (size_t)width;
    cpu->kernels->silu_mul(cpu->gate + at, cpu->up + at, width, cpu->gate + at);
    quantise_row(cpu, index);
}

/* ---- attention ---- */

static void attend_task(void *context, uint32_t index, uint32_t thread)
{
    tg_cpu *cpu = context;
    const tg_model_shape *s = &cpu->model->shape;
    const uint32_t head = index % s->kv_heads, group = s->heads / s->kv_heads, dim = s->head_dim;
    const tg_cpu_tile *tile = &cpu->tiles[index / s->kv_heads];
    const tg_step_seq *seq = &cpu->step->seqs[tile->seq];
    tg_attend a = {.rows = tile->rows, .head_dim = dim, .window = s->window, .blocks = seq->blocks};
    for (uint32_t r = 0; r < tile->rows; r++) {
        const uint32_t token = (tile->first_row + r) / group;
        const uint32_t query = head * group + (tile->first_row + r) % group;
        const size_t at =
            ((size_t)(cpu->token_offsets[tile->seq] + token) * s->heads + query) * dim;
        a.q[r] = cpu->q + at;
        a.out[r] = cpu->mixed + at;
        a.position[r] = seq->first_position + token;
    }
    a.q8 = cpu->conf.kv_type == TG_KV_Q8;
    a.block_stride = s->kv_heads * cpu->kv_head_bytes;
    a.kv = kv_block(cpu, 0) + head * cpu->kv_head_bytes;
    a.scale = 1.0f / sqrtf((float)dim);
    a.scores = cpu->attend_scratch[thread];
    a.sums = a.scores + (size_t)TG_ATTEND_ROWS * TG_ATTENTION_SPAN;
    /* room for it where it is Q8 */
    a.expanded = (uint16_t *)(void *)(a.sums + (size_t)2 * TG_ATTEND_ROWS * dim);
    cpu->kernels->attend(&a);
}

/* ---- the step ---- */

static int lay_out(tg_cpu *cpu, const tg_forward_step *step)
{
    const tg_model_shape *s = &cpu->model->shape;
    const uint32_t group = s->heads / s->kv_heads;
    uint32_t wanted = 0;
    cpu->step = step;
    cpu->tokens_len = cpu->tiles_len = 0;
    for (uint32_t i = 0; i < step->seqs_len; i++) {
        const tg_step_seq *seq = &step->seqs[i];
        if (seq->tokens_len == 0 || seq->tokens_len > cpu->conf.step_tokens_max - cpu->tokens_len ||
            seq->logits > seq->tokens_len)
            return -EINVAL;
        cpu->token_offsets[i] = cpu->tokens_len;
        wanted += seq->logits;
        for (uint32_t t = 0; t < seq->tokens_len; t++) {
            if (seq->tokens[t] >= s->vocab)
                return -EINVAL;
            cpu->tokens[cpu->tokens_len++] =
                (tg_cpu_token){i, seq->tokens[t], seq->first_position + t};
        }
        for (uint32_t row = 0; row < seq->tokens_len * group; row += TG_ATTEND_ROWS) {
            uint32_t left = seq->tokens_len * group - row;
            cpu->tiles[cpu->tiles_len++] =
                (tg_cpu_tile){i, row, left < TG_ATTEND_ROWS ? left : TG_ATTEND_ROWS};
        }
    }
    return wanted > cpu->conf.step_logits_max ? -EINVAL : 0;
}

static void run_layer(tg_cpu *cpu)
{
    const tg_model_shape *s = &cpu->model->shape;
    const tg_cpu_layer *l = &cpu->layers[cpu->layer];
    const uint32_t tokens = cpu->tokens_len;
    product_job qkv = {0}, attn_out = {0}, gate_up = {0}, down = {0};

    tg_rows *rows = rows_of(cpu, cpu->normed, tokens, &l->q, &l->k, &l->v);
    over_tokens(cpu, norm_for_attention, tokens, s->width);
    add_product(&qkv, &l->q, rows, cpu->q, false);
    add_product(&qkv, &l->k, rows, cpu->k, false);
    add_product(&qkv, &l->v, rows, cpu->v, false);
    run_products(cpu, &qkv);

    over_tokens(cpu, place_task, tokens, s->width);
    tg_pool_run(cpu->pool, attend_task, cpu, cpu->tiles_len * s->kv_heads);
    rows = rows_of(cpu, cpu->mixed, tokens, &l->attn_out, &l->attn_out, &l->attn_out);
    over_tokens(cpu, quantise_mixed, tokens, s->width);
    add_product(&attn_out, &l->attn_out, rows, cpu->x, true);
    run_products(cpu, &attn_out);

    rows = rows_of(cpu, cpu->normed, tokens, &l->gate, &l->up, &l->up);
    over_tokens(cpu, norm_for_ffn, tokens, s->width);
    add_product(&gate_up, &l->gate, rows, cpu->gate, false);
    add_product(&gate_up, &l->up, rows, cpu->up, false);
    run_products(cpu, &gate_up);

    rows = rows_of(cpu, cpu->gate, tokens, &l->down, &l->down, &l->down);
    over_tokens(cpu, activate_task, tokens, s->ffn_width);
    add_product(&down, &l->down, rows, cpu->x, true);
    run_products(cpu, &down);
}

/* Only the rows that will be sampled go through the output matrix. */
static void run_output(tg_cpu *cpu)
{
    const tg_model_shape *s = &cpu->model->shape;
    uint32_t wanted = 0;
    product_job job = {0};
    rows_of(cpu, cpu->normed, 0, &cpu->output, &cpu->output, &cpu->output);
    for (uint32_t i = 0; i < cpu->step->seqs_len; i++) {
        const tg_step_seq *seq = &cpu->step->seqs[i];
        for (uint32_t left = seq->logits; left > 0; left--) {
            const size_t from = cpu->token_offsets[i] + seq->tokens_len - left;
            cpu->kernels->norm(cpu->x + from * s->width, cpu->output_norm, s->width, s->norm_eps,
                               cpu->normed + wanted * (size_t)s->width);
            quantise_row(cpu, wanted);
            wanted++;
        }
    }
    if (wanted == 0)
        return;
    cpu->rows.len = wanted;
    add_product(&job, &cpu->output, &cpu->rows, cpu->logits, false);
    run_products(cpu, &job);
}

static void state_task(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    const tg_cpu *cpu = context;
    const tg_model_shape *s = &cpu->model->shape;
    const size_t at = index * (size_t)s->width;
    cpu->kernels->norm(cpu->x + at, cpu->output_norm, s->width, s->norm_eps,
                       cpu->step->states + at);
}

static void copy_blocks(tg_cpu *cpu)
{
    const tg_model_shape *s = &cpu->model->shape;
    const size_t bytes = s->kv_heads * cpu->kv_head_bytes;
    for (uint32_t i = 0; i < cpu->step->copies_len; i++)
        for (cpu->layer = 0; cpu->layer < s->layers; cpu->layer++)
            memcpy(kv_block(cpu, cpu->step->copies[i].to), kv_block(cpu, cpu->step->copies[i].from),
                   bytes);
}

int tg_cpu_run(tg_backend *backend, const tg_forward_step *step, const float **ret_logits)
{
    tg_cpu *cpu = (tg_cpu *)backend;
    tg_numerics_enter();
    int rc = lay_out(cpu, step);
    if (rc < 0)
        return rc;
    copy_blocks(cpu);
    over_tokens(cpu, embed_task, cpu->tokens_len, cpu->model->shape.width);
    for (cpu->layer = 0; cpu->layer < cpu->model->shape.layers; cpu->layer++)
        run_layer(cpu);
    if (step->states)
        over_tokens(cpu, state_task, cpu->tokens_len, cpu->model->shape.width);
    run_output(cpu);
    *ret_logits = cpu->logits;
    return 0;
}
