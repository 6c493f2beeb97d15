#include "services/inference/model/model.h"

#include "services/inference/model/chat.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int need_u32(const tg_gguf *gguf, const char *key, uint32_t least, uint32_t most, tg_error *err,
                    uint32_t *ret)
{
    int rc = tg_gguf_u32(gguf, key, err, ret);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key '%s' is missing", key);
    if (rc == 0 && (*ret < least || *ret > most))
        return tg_error_set(err, -EINVAL, "key '%s' is %u; %u to %u are allowed", key, *ret, least, most);
    return rc;
}

static int maybe_u32(const tg_gguf *gguf, const char *key, uint32_t most, tg_error *err, uint32_t *io)
{
    uint32_t value = *io;
    int rc = tg_gguf_u32(gguf, key, err, &value);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && (value < 1 || value > most))
        return tg_error_set(err, -EINVAL, "key '%s' is %u; 1 to %u are allowed", key, value, most);
    *io = value;
    return rc;
}

static int check_architecture(const tg_gguf *gguf, tg_error *err)
{
    tg_str name = {NULL, 0};
    int rc = tg_gguf_str(gguf, "general.architecture", err, &name);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key 'general.architecture' is missing");
    if (rc == 0 && !tg_str_is(name, "llama"))
        return tg_error_set(err, -EINVAL, "the architecture '%.*s' is not supported; llama is",
                            (int)(name.len < 64 ? name.len : 64), name.data);
    if (rc == 0 && tg_gguf_str(gguf, "llama.rope.scaling.type", NULL, &name) == 0 &&
        !tg_str_is(name, "none"))
        return tg_error_set(err, -EINVAL, "RoPE scaling '%.*s' is not supported; rope_freqs is",
                            (int)(name.len < 64 ? name.len : 64), name.data);
    return rc;
}

static int read_shape(const tg_gguf *gguf, tg_model_shape *s, tg_error *err)
{
    int rc = check_architecture(gguf, err);
    if (rc == 0)
        rc = need_u32(gguf, "llama.block_count", 1, TG_MODEL_LAYERS_MAX, err, &s->layers);
    if (rc == 0)
        rc = need_u32(gguf, "llama.embedding_length", 1, 65536, err, &s->width);
    if (rc == 0)
        rc = need_u32(gguf, "llama.feed_forward_length", 1, 1 << 20, err, &s->ffn_width);
    if (rc == 0)
        rc = need_u32(gguf, "llama.context_length", 1, 1 << 24, err, &s->context);
    if (rc == 0)
        rc = need_u32(gguf, "llama.attention.head_count", 1, 1024, err, &s->heads);
    if (rc < 0)
        return rc;
    s->kv_heads = s->heads;
    rc = maybe_u32(gguf, "llama.attention.head_count_kv", s->heads, err, &s->kv_heads);
    if (rc == 0 && s->heads % s->kv_heads != 0)
        return tg_error_set(err, -EINVAL, "%u query heads can't share %u key heads", s->heads,
                            s->kv_heads);
    s->head_dim = s->width / s->heads;
    if (rc == 0)
        rc = maybe_u32(gguf, "llama.attention.key_length", TG_MODEL_HEAD_DIM_MAX, err, &s->head_dim);
    uint32_t value_dim = s->head_dim;
    if (rc == 0)
        rc = maybe_u32(gguf, "llama.attention.value_length", TG_MODEL_HEAD_DIM_MAX, err, &value_dim);
    s->rope_dim = s->head_dim;
    if (rc == 0)
        rc = maybe_u32(gguf, "llama.rope.dimension_count", TG_MODEL_HEAD_DIM_MAX, err, &s->rope_dim);
    if (rc < 0)
        return rc;
    if (s->head_dim == 0 || s->head_dim % 2 || s->head_dim > TG_MODEL_HEAD_DIM_MAX ||
        value_dim != s->head_dim || s->rope_dim % 2 || s->rope_dim > s->head_dim)
        return tg_error_set(err, -EINVAL, "heads of %u (keys), %u (values) and %u (rotated) are not "
                            "supported; even and equal ones up to %d are",
                            s->head_dim, value_dim, s->rope_dim, TG_MODEL_HEAD_DIM_MAX);
    s->norm_eps = 1e-5f;
    s->rope_theta = 10000.0f;
    rc = tg_gguf_f32(gguf, "llama.attention.layer_norm_rms_epsilon", err, &s->norm_eps);
    if (rc == 0 || rc == -ENOENT)
        rc = tg_gguf_f32(gguf, "llama.rope.freq_base", err, &s->rope_theta);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (!(s->norm_eps >= 0 && s->norm_eps < 1) || !(s->rope_theta >= 1 && isfinite(s->rope_theta)))
        return tg_error_set(err, -EINVAL, "norm epsilon %g or RoPE base %g is out of range",
                            (double)s->norm_eps, (double)s->rope_theta);
    return 0;
}

/* One tensor by name, with the shape the architecture gives it. out = 0: a vector of F32. */
static int need_tensor(tg_model *model, const char *name, uint64_t in, uint64_t out, size_t *io_used,
                       tg_error *err, const tg_gguf_tensor **ret)
{
    const tg_gguf_tensor *t = tg_gguf_tensor_find(model->gguf, name);
    if (!t)
        return tg_error_set(err, -EINVAL, "tensor '%s' is missing", name);
    uint64_t rows = out ? out : 1;
    if (t->dims[0] != in || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return tg_error_set(err, -EINVAL, "tensor '%s' is %llu × %llu; the model's shape needs "
                            "%llu × %llu", name, (unsigned long long)t->dims[0],
                            (unsigned long long)t->dims[1], (unsigned long long)in,
                            (unsigned long long)rows);
    if (out == 0 && t->type != TG_DTYPE_F32)
        return tg_error_set(err, -EINVAL, "tensor '%s' is %s; F32 is expected", name,
                            tg_dtype_get(t->type)->name);
    model->weight_bytes += t->size_bytes;
    ++*io_used;
    *ret = t;
    return 0;
}

static int load_layer(tg_model *model, uint32_t index, size_t *io_used, tg_error *err)
{
    const tg_model_shape *s = &model->shape;
    tg_model_layer *l = &model->layers[index];
    const uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        uint64_t in, out;
        const tg_gguf_tensor **to;
    } wanted[] = {
        {"attn_norm", s->width, 0, &l->attn_norm}, {"attn_q", s->width, q, &l->q},
        {"attn_k", s->width, kv, &l->k},           {"attn_v", s->width, kv, &l->v},
        {"attn_output", q, s->width, &l->attn_out}, {"ffn_norm", s->width, 0, &l->ffn_norm},
        {"ffn_gate", s->width, s->ffn_width, &l->gate}, {"ffn_up", s->width, s->ffn_width, &l->up},
        {"ffn_down", s->ffn_width, s->width, &l->down},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.%s.weight", index, wanted[i].name);
        int rc = need_tensor(model, name, wanted[i].in, wanted[i].out, io_used, err, wanted[i].to);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int load_ends(tg_model *model, size_t *io_used, tg_error *err)
{
    tg_model_shape *s = &model->shape;
    const tg_gguf_tensor *embd = tg_gguf_tensor_find(model->gguf, "token_embd.weight");
    if (embd && embd->dims[1] <= TG_TOKENIZER_VOCAB_MAX)
        s->vocab = (uint32_t)embd->dims[1];
    int rc = need_tensor(model, "token_embd.weight", s->width, s->vocab ? s->vocab : 1, io_used, err,
                         &model->token_embd);
    if (rc == 0)
        rc = need_tensor(model, "output_norm.weight", s->width, 0, io_used, err, &model->output_norm);
    model->output = model->token_embd;
    if (rc == 0 && tg_gguf_tensor_find(model->gguf, "output.weight"))
        rc = need_tensor(model, "output.weight", s->width, s->vocab, io_used, err, &model->output);
    if (rc == 0 && tg_gguf_tensor_find(model->gguf, "rope_freqs.weight"))
        rc = need_tensor(model, "rope_freqs.weight", s->rope_dim / 2, 0, io_used, err,
                         &model->rope_freqs);
    return rc;
}

/* Whatever has no place in the architecture would silently be left out of the arithmetic. */
static int refuse_strangers(const tg_model *model, tg_error *err)
{
    static const char *const known[] = {"attn_norm", "attn_q",   "attn_k", "attn_v",  "attn_output",
                                        "ffn_norm",  "ffn_gate", "ffn_up", "ffn_down"};
    for (size_t i = 0; i < tg_gguf_tensor_count(model->gguf); i++) {
        tg_str name = tg_gguf_tensor_at(model->gguf, i)->name;
        bool found = tg_str_is(name, "token_embd.weight") || tg_str_is(name, "output_norm.weight") ||
                     tg_str_is(name, "output.weight") || tg_str_is(name, "rope_freqs.weight");
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && !found; k++) {
            char text[300], part[64];
            unsigned layer = 0;
            tg_str_copy(text, sizeof(text), name);
            if (sscanf(text, "blk.%u.%63s", &layer, part) == 2 && layer < model->shape.layers) {
                snprintf(text, sizeof(text), "blk.%u.%s.weight", layer, known[k]);
                found = tg_str_is(name, text);
            }
        }
        if (!found)
            return tg_error_set(err, -EINVAL, "tensor '" TG_STR_FMT "' is not part of the llama "
                                "architecture as supported", TG_STR_ARG(name));
    }
    return 0;
}

static const char *main_type(const tg_model *model)
{
    uint64_t bytes[64] = {0};
    uint32_t best = TG_DTYPE_F32;
    for (size_t i = 0; i < tg_gguf_tensor_count(model->gguf); i++) {
        const tg_gguf_tensor *t = tg_gguf_tensor_at(model->gguf, i);
        if (t == model->token_embd || t == model->output)
            continue;
        bytes[t->type] += t->size_bytes;
        if (bytes[t->type] > bytes[best])
            best = t->type;
    }
    return tg_dtype_get(best)->name;
}

static int load(tg_model *model, tg_error *err)
{
    size_t used = 0;
    int rc = read_shape(model->gguf, &model->shape, err);
    if (rc < 0)
        return rc;
    model->layers = calloc(model->shape.layers, sizeof(*model->layers));
    if (!model->layers)
        return -ENOMEM;
    rc = load_ends(model, &used, err);
    for (uint32_t i = 0; i < model->shape.layers && rc == 0; i++)
        rc = load_layer(model, i, &used, err);
    if (rc == 0 && used != tg_gguf_tensor_count(model->gguf))
        rc = refuse_strangers(model, err);
    if (rc < 0)
        return rc;
    tg_str name = TG_STR("unnamed");
    tg_gguf_str(model->gguf, "general.name", NULL, &name);
    tg_str_copy(model->name, sizeof(model->name), name);
    model->quantisation = main_type(model);
    rc = tg_model_load_vocab(model, err);
    return rc < 0 ? rc : tg_chat_detect(model);
}

int tg_model_new(tg_gguf *gguf, tg_error *err, tg_model **ret)
{
    tg_model *model = calloc(1, sizeof(*model));
    if (!model) {
        tg_gguf_free(gguf);
        return -ENOMEM;
    }
    model->gguf = gguf;
    int rc = load(model, err);
    if (rc < 0) {
        tg_model_free(model);
        return rc;
    }
    *ret = model;
    return 0;
}

int tg_model_open(const char *path, tg_error *err, tg_model **ret)
{
    tg_gguf *gguf = NULL;
    int rc = tg_gguf_open(path, err, &gguf);
    if (rc < 0)
        return rc;
    rc = tg_model_new(gguf, err, ret);
    if (rc < 0)
        tg_error_prefix(err, "model file '%s'", path);
    return rc;
}

tg_model *tg_model_free(tg_model *model)
{
    if (!model)
        return NULL;
    tg_tokenizer_free(model->tokenizer);
    free(model->chat_system);
    free(model->layers);
    tg_gguf_free(model->gguf);
    free(model);
    return NULL;
}

bool tg_model_is_stop(const tg_model *model, uint32_t id)
{
    for (size_t i = 0; i < model->stop_ids_len; i++)
        if (model->stop_ids[i] == id)
            return true;
    return false;
}
