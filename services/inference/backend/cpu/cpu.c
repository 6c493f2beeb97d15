#include "services/inference/backend/cpu/cpu.h"

#include "services/inference/backend/numerics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Large, long-lived, zeroed memory; huge pages where the kernel grants them. NULL when out of
 * memory. */
static void *map_memory(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

static void unmap_memory(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

uint64_t tg_backend_kv_block_bytes(const tg_model *model, tg_kv_type type)
{
    const tg_model_shape *s = &model->shape;
    return (uint64_t)s->layers * s->kv_heads * tg_kv_head_bytes(s->head_dim, type == TG_KV_Q8);
}

/* ---- weights ---- */

typedef struct pack_job {
    const tg_gguf_tensor *tensor;
    const tg_packed *packed;
    uint8_t *to;
} pack_job;

static void pack_task(void *context, uint32_t index, uint32_t thread)
{
    (void)thread;
    const pack_job *job = context;
    tg_pack_panel(job->tensor, job->packed, index, job->to + index * job->packed->panel_bytes);
}

typedef struct loader { /* with `to` NULL it only sums up */
    tg_cpu *cpu;
    uint8_t *to;
    size_t used;
} loader;

/* The tensor's pages in the file are let go as soon as they are copied, so that memory holds one
 * copy. */
static void pack(loader *l, const tg_gguf_tensor *tensor, tg_packed *packed)
{
    const size_t bytes = tg_pack_bytes(tensor, packed);
    if (l->to) {
        pack_job job = {tensor, packed, l->to + l->used};
        tg_pool_run(l->cpu->pool, pack_task, &job, packed->panels);
        packed->data = l->to + l->used;
        tg_gguf_tensor_drop(l->cpu->model->gguf, tensor);
    }
    l->used += bytes;
    const tg_backend_conf *conf = &l->cpu->conf;
    if (l->to && conf->progress)
        conf->progress(conf->progress_user, l->used, l->cpu->weights_bytes);
}

static const void *copy(loader *l, const tg_gguf_tensor *tensor) /* NULL stays NULL */
{
    if (!tensor)
        return NULL;
    uint8_t *to = l->to ? l->to + l->used : NULL;
    if (to) {
        memcpy(to, tensor->data, tensor->size_bytes);
        tg_gguf_tensor_drop(l->cpu->model->gguf, tensor);
    }
    l->used += (tensor->size_bytes + 63) & ~(size_t)63;
    return to;
}

static size_t each_tensor(tg_cpu *cpu, uint8_t *to)
{
    const tg_model *m = cpu->model;
    loader l = {cpu, to, 0};
    pack(&l, m->output, &cpu->output);
    cpu->embd = m->output == m->token_embd ? NULL : copy(&l, m->token_embd);
    cpu->output_norm = copy(&l, m->output_norm);
    for (uint32_t i = 0; i < m->shape.layers; i++) {
        const tg_model_layer *from = &m->layers[i];
        tg_cpu_layer *layer = &cpu->layers[i];
        layer->attn_norm = copy(&l, from->attn_norm);
        layer->ffn_norm = copy(&l, from->ffn_norm);
        layer->q_bias = copy(&l, from->q_bias);
        layer->k_bias = copy(&l, from->k_bias);
        layer->v_bias = copy(&l, from->v_bias);
        layer->q_norm = copy(&l, from->q_norm);
        layer->k_norm = copy(&l, from->k_norm);
        pack(&l, from->q, &layer->q);
        pack(&l, from->k, &layer->k);
        pack(&l, from->v, &layer->v);
        pack(&l, from->attn_out, &layer->attn_out);
        pack(&l, from->gate, &layer->gate);
        pack(&l, from->up, &layer->up);
        pack(&l, from->down, &layer->down);
    }
    return l.used;
}

static int load_weights(tg_cpu *cpu, tg_error *err)
{
    const tg_model *m = cpu->model;
    cpu->rope_freqs = calloc(m->shape.rope_dim / 2 + 1, sizeof(*cpu->rope_freqs));
    if (!cpu->rope_freqs)
        return -ENOMEM;
    cpu->weights = map_memory(cpu->weights_bytes);
    if (!cpu->weights)
        return tg_error_set(err, -ENOMEM, "no memory for %zu bytes of weights", cpu->weights_bytes);
    each_tensor(cpu, cpu->weights);
    for (uint32_t i = 0; i < m->shape.rope_dim / 2; i++) {
        double power = (double)(2 * i) / (double)m->shape.rope_dim;
        /* Rounded to fp32, as models are trained, which also hides libm's last bits. */
        float freq = (float)(1.0 / pow((double)m->shape.rope_theta, power));
        if (m->rope_freqs) {
            float divisor;
            memcpy(&divisor, m->rope_freqs->data + i * sizeof(divisor), sizeof(divisor));
            freq /= divisor;
        }
        freq /= m->shape.rope_scale;
        cpu->rope_freqs[i] = (double)freq;
    }
    return tg_gguf_check(m->gguf, err);
}

/* ---- scratch ---- */

typedef struct carver { /* first pass: base NULL, sums; second: hands out */
    uint8_t *base;
    size_t used;
} carver;

static void *carve(carver *from, size_t count, size_t size)
{
    void *p = from->base ? from->base + from->used : NULL;
    from->used += (count * size + 63) & ~(size_t)63;
    return p;
}

static uint32_t most_inputs(const tg_model_shape *s)
{
    uint32_t most = s->heads * s->head_dim;
    most = most > s->width ? most : s->width;
    return most > s->ffn_width ? most : s->ffn_width;
}

static void carve_scratch(tg_cpu *cpu, carver *c)
{
    const tg_model_shape *s = &cpu->model->shape;
    const size_t t = cpu->conf.step_tokens_max, widest = most_inputs(s);
    const size_t q = (size_t)s->heads * s->head_dim, kv = (size_t)s->kv_heads * s->head_dim;
    cpu->x = carve(c, t * s->width, sizeof(float));
    cpu->normed = carve(c, t * s->width, sizeof(float));
    cpu->q = carve(c, t * q, sizeof(float));
    cpu->k = carve(c, t * kv, sizeof(float));
    cpu->v = carve(c, t * kv, sizeof(float));
    cpu->mixed = carve(c, t * q, sizeof(float));
    cpu->gate = carve(c, t * s->ffn_width, sizeof(float));
    cpu->up = carve(c, t * s->ffn_width, sizeof(float));
    cpu->cos = carve(c, t * s->rope_dim / 2, sizeof(float));
    cpu->sin = carve(c, t * s->rope_dim / 2, sizeof(float));
    cpu->logits = carve(c, (size_t)cpu->conf.step_logits_max * s->vocab, sizeof(float));
    const size_t blocks = tg_rows_room(t) * (widest / TG_QUANT_BLOCK);
    cpu->rows.q = carve(c, blocks * TG_QUANT_BLOCK, sizeof(int8_t));
    cpu->pairs = carve(c, blocks * TG_QUANT_BLOCK, sizeof(int16_t));
    cpu->q16 = carve(c, (t + TG_ROWS_Q16 - 1) / TG_ROWS_Q16 * TG_ROWS_Q16 * widest, sizeof(int8_t));
    cpu->rows.scale = carve(c, blocks, sizeof(float));
    cpu->rows.scaled_sum = carve(c, blocks, sizeof(float));
    cpu->rows.sum = carve(c, blocks, sizeof(int32_t));
    cpu->rows.start = carve(c, blocks, sizeof(int32_t));
    cpu->tokens = carve(c, t, sizeof(*cpu->tokens));
    cpu->token_offsets = carve(c, t, sizeof(*cpu->token_offsets));
    cpu->tiles_max = (uint32_t)(t * (s->heads / s->kv_heads) / TG_ATTEND_ROWS + t + 1);
    cpu->tiles = carve(c, cpu->tiles_max, sizeof(*cpu->tiles));
    cpu->attend_scratch = carve(c, cpu->base.threads, sizeof(*cpu->attend_scratch));
    cpu->product_scratch = carve(c, cpu->base.threads, sizeof(*cpu->product_scratch));
    const size_t expanded =
        cpu->conf.kv_type == TG_KV_Q8
            ? TG_ATTENTION_SPAN / 16 * tg_kv_head_halves(s->head_dim) + TG_KV_EXPANDED_SPARE
            : 0;
    const size_t per_thread =
        TG_ATTEND_ROWS * (TG_ATTENTION_SPAN + 2 * (size_t)s->head_dim) + expanded / 2;
    for (uint32_t i = 0; i < cpu->base.threads; i++) {
        float *p = carve(c, per_thread, sizeof(float));
        int32_t *sums = carve(c, tg_product_scratch((uint32_t)widest), sizeof(int32_t));
        if (p) {
            cpu->attend_scratch[i] = p;
            cpu->product_scratch[i] = sums;
        }
    }
}

static int make_scratch(tg_cpu *cpu, tg_error *err)
{
    cpu->scratch = map_memory(cpu->scratch_bytes);
    if (!cpu->scratch)
        return tg_error_set(err, -ENOMEM, "no memory for %zu bytes of scratch", cpu->scratch_bytes);
    carver memory = {cpu->scratch, 0};
    carve_scratch(cpu, &memory);
    cpu->kv = map_memory(cpu->kv_bytes);
    if (!cpu->kv)
        return tg_error_set(err, -ENOMEM, "no memory for %zu bytes of KV blocks", cpu->kv_bytes);
    return 0;
}

/* The configuration, and the sizes that follow from it. */
static int measure(tg_cpu *cpu, const tg_model *model, const tg_backend_conf *conf, tg_error *err)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    carver sizes = {NULL, 0};
    if (conf->threads > TG_THREADS_MAX)
        return tg_error_set(err, -EINVAL, "%u threads; 0 (one per processor) to %d are allowed",
                            conf->threads, TG_THREADS_MAX);
    if (conf->kv_blocks == 0 || conf->step_tokens_max == 0 || conf->step_logits_max == 0)
        return tg_error_set(err, -EINVAL,
                            "KV blocks, step tokens and step logits must be at least 1");
    cpu->model = model;
    cpu->conf = *conf;
    cpu->base.threads = conf->threads ? conf->threads
                        : processors < 1 ? 1
                        : processors > TG_THREADS_MAX ? TG_THREADS_MAX : (uint32_t)processors;
    cpu->layers = calloc(model->shape.layers, sizeof(*cpu->layers));
    if (!cpu->layers)
        return -ENOMEM;
    carve_scratch(cpu, &sizes);
    cpu->scratch_bytes = sizes.used;
    cpu->kv_bytes = (size_t)tg_backend_kv_block_bytes(model, conf->kv_type) * conf->kv_blocks;
    cpu->kv_head_bytes = tg_kv_head_bytes(model->shape.head_dim, conf->kv_type == TG_KV_Q8);
    cpu->weights_bytes = each_tensor(cpu, NULL);
    return 0;
}

int tg_backend_plan_cpu(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                        tg_backend_needs *ret)
{
    tg_cpu cpu = {.model = NULL};
    int rc = measure(&cpu, model, conf, err);
    if (rc == 0)
        *ret = (tg_backend_needs){cpu.weights_bytes, cpu.kv_bytes, cpu.scratch_bytes};
    free(cpu.layers);
    return rc;
}

/* ---- the vtable ---- */

static void close_cpu(tg_backend *backend)
{
    tg_cpu *cpu = (tg_cpu *)backend;
    tg_pool_free(cpu->pool);
    unmap_memory(cpu->weights, cpu->weights_bytes);
    unmap_memory(cpu->kv, cpu->kv_bytes);
    unmap_memory(cpu->scratch, cpu->scratch_bytes);
    free(cpu->layers);
    free(cpu->rope_freqs);
    free(cpu);
}

static int open_cpu(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                    tg_backend **ret);

static const tg_backend_ops ops = {
    .kind = "cpu", .open = open_cpu, .close = close_cpu, .run = tg_cpu_run};

static int open_cpu(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                    tg_backend **ret)
{
    tg_cpu *cpu = calloc(1, sizeof(*cpu));
    if (!cpu)
        return -ENOMEM;
    cpu->base.ops = &ops;
    tg_numerics_enter();
    int rc = measure(cpu, model, conf, err);
    if (rc == 0)
        rc = tg_kernels_choose(getenv("TOLLGATE_CPU"), err, &cpu->kernels);
    if (rc == 0)
        rc = tg_pool_new(cpu->base.threads, &cpu->pool);
    if (rc == 0)
        rc = load_weights(cpu, err);
    if (rc == 0)
        rc = make_scratch(cpu, err);
    if (rc < 0) {
        close_cpu(&cpu->base);
        return tg_error_set(err, rc, "the CPU backend can't start: %s", strerror(-rc));
    }
    cpu->base.path = cpu->kernels->name;
    cpu->base.memory_bytes = cpu->weights_bytes + cpu->kv_bytes + cpu->scratch_bytes;
    *ret = &cpu->base;
    return 0;
}

int tg_backend_open_cpu(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                        tg_backend **ret)
{
    return ops.open(model, conf, err, ret);
}

bool tg_backend_has_cpu_path(const char *path)
{
    const tg_cpu_kernels *kernels;
    return tg_kernels_choose(path, NULL, &kernels) == 0;
}

tg_backend *tg_backend_close(tg_backend *backend)
{
    if (backend)
        backend->ops->close(backend);
    return NULL;
}
