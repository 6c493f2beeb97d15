/* The architectures, and what a file's metadata says about the shape of a model of one of them. */
#include "services/inference/model/model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#define SUPPORTED "llama, qwen2 and qwen3"
#define KEY_BYTES 96

static const tg_model_arch architectures[] = {
    {.name = "llama"},
    {.name = "qwen2", .rope_halves = true, .biases = true},
    {.name = "qwen3", .rope_halves = true, .head_norms = true},
};

/* "NAME.suffix" in a buffer of KEY_BYTES. */
static const char *key_of(const tg_model *model, const char *suffix, char *to)
{
    snprintf(to, KEY_BYTES, "%s.%s", model->arch->name, suffix);
    return to;
}

static int maybe_u32(const tg_model *model, const char *suffix, uint32_t most, tg_error *err,
                     uint32_t *io)
{
    char key[KEY_BYTES];
    uint32_t value = *io;
    int rc = tg_gguf_u32(model->gguf, key_of(model, suffix, key), err, &value);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && (value < 1 || value > most))
        return tg_error_set(err, -EINVAL, "key '%s' is %u; 1 to %u are allowed", key, value, most);
    *io = value;
    return rc;
}

static int need_u32(const tg_model *model, const char *suffix, uint32_t most, tg_error *err,
                    uint32_t *ret)
{
    char key[KEY_BYTES];
    *ret = 0;
    int rc = maybe_u32(model, suffix, most, err, ret);
    if (rc == 0 && *ret == 0)
        return tg_error_set(err, -EINVAL, "key '%s' is missing", key_of(model, suffix, key));
    return rc;
}

static int maybe_f32(const tg_model *model, const char *suffix, tg_error *err, float *io)
{
    char key[KEY_BYTES];
    int rc = tg_gguf_f32(model->gguf, key_of(model, suffix, key), err, io);
    return rc == -ENOENT ? 0 : rc;
}

/* What no tensor's name gives away. */
static int refuse_other_kinds(const tg_gguf *gguf, tg_error *err)
{
    tg_str kind = TG_STR("model");
    int rc = tg_gguf_str(gguf, "general.type", err, &kind);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (tg_str_is(kind, "adapter"))
        return tg_error_set(err, -EINVAL,
                            "the file is a LoRA adapter, which is not supported; merge it into its "
                            "model first");
    if (!tg_str_is(kind, "model"))
        return tg_error_set(err, -EINVAL,
                            "the file's general.type is '%.*s'; model is supported, projectors for "
                            "images and the like are not",
                            (int)(kind.len < 64 ? kind.len : 64), kind.data);
    return 0;
}

static int read_arch(tg_model *model, tg_error *err)
{
    tg_str name = {NULL, 0};
    int rc = refuse_other_kinds(model->gguf, err);
    if (rc == 0)
        rc = tg_gguf_str(model->gguf, "general.architecture", err, &name);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key 'general.architecture' is missing");
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof(architectures) / sizeof(architectures[0]); i++)
        if (tg_str_is(name, architectures[i].name))
            model->arch = &architectures[i];
    if (!model->arch)
        return tg_error_set(err, -EINVAL,
                            "the architecture '%.*s' is not supported; " SUPPORTED " are",
                            (int)(name.len < 64 ? name.len : 64), name.data);
    return 0;
}

/* Keys that change the arithmetic in ways there is no code for. */
static int refuse_extras(const tg_model *model, tg_error *err)
{
    static const struct {
        const char *suffix, *what;
    } extras[] = {
        {"expert_count", "mixtures of experts"},
        {"attention.sliding_window_pattern", "windows on some of the layers"},
        {"attn_logit_softcapping", "soft caps of attention"},
        {"final_logit_softcapping", "soft caps of logits"},
        {"attention.max_alibi_bias", "ALiBi"},
        {"attention.clamp_kqv", "clamped queries, keys and values"},
        {"logit_scale", "scaled logits"},
        {"embedding_scale", "scaled embeddings"},
        {"residual_scale", "scaled residuals"},
        {"attention.scale", "another scale of attention"},
    };
    char key[KEY_BYTES];
    for (size_t i = 0; i < sizeof(extras) / sizeof(extras[0]); i++) {
        uint32_t count = 0;
        int rc = tg_gguf_u32(model->gguf, key_of(model, extras[i].suffix, key), NULL, &count);
        if (rc == 0 && count == 0)
            continue;
        if (rc != -ENOENT)
            return tg_error_set(err, -EINVAL,
                                "key '%s': %s are not supported; dense models of " SUPPORTED
                                " without are",
                                key, extras[i].what);
    }
    bool causal = true;
    int rc = tg_gguf_bool(model->gguf, key_of(model, "attention.causal", key), err, &causal);
    if (rc == 0 && !causal)
        return tg_error_set(err, -EINVAL,
                            "key '%s' is false: tokens that see later ones are not supported", key);
    return rc == -ENOENT ? 0 : rc;
}

static int read_rope(tg_model *model, tg_error *err)
{
    tg_model_shape *s = &model->shape;
    tg_str kind = TG_STR("none");
    char key[KEY_BYTES];
    float linear = 1.0f;
    s->rope_theta = 10000.0f;
    s->rope_scale = 1.0f;
    int rc = maybe_f32(model, "rope.freq_base", err, &s->rope_theta);
    if (rc == 0)
        rc = maybe_f32(model, "rope.scale_linear", err,
                       &linear); /* the older name of a linear factor */
    if (rc == 0)
        rc = tg_gguf_str(model->gguf, key_of(model, "rope.scaling.type", key), err, &kind);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (tg_str_is(kind, "linear"))
        rc = maybe_f32(model, "rope.scaling.factor", err, &linear);
    else if (!tg_str_is(kind, "none"))
        return tg_error_set(
            err, -EINVAL, "key '%s' is '%.*s'; none, linear and a tensor rope_freqs are supported",
            key, (int)(kind.len < 64 ? kind.len : 64), kind.data);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (!(linear >= 1.0f && linear <= 1024.0f))
        return tg_error_set(err, -EINVAL, "a linear RoPE scale of %g; 1 to 1024 are allowed",
                            (double)linear);
    if (!(s->rope_theta >= 1 && isfinite(s->rope_theta)))
        return tg_error_set(err, -EINVAL, "a RoPE base of %g is out of range",
                            (double)s->rope_theta);
    s->rope_scale = linear;
    return 0;
}

static int read_heads(tg_model *model, tg_error *err)
{
    tg_model_shape *s = &model->shape;
    int rc = need_u32(model, "attention.head_count", 1024, err, &s->heads);
    if (rc < 0)
        return rc;
    s->kv_heads = s->heads;
    rc = maybe_u32(model, "attention.head_count_kv", s->heads, err, &s->kv_heads);
    if (rc == 0 && s->heads % s->kv_heads != 0)
        return tg_error_set(err, -EINVAL, "%u query heads can't share %u key heads", s->heads,
                            s->kv_heads);
    s->head_dim = s->width / s->heads;
    if (rc == 0)
        rc = maybe_u32(model, "attention.key_length", TG_MODEL_HEAD_DIM_MAX, err, &s->head_dim);
    uint32_t value_dim = s->head_dim;
    if (rc == 0)
        rc = maybe_u32(model, "attention.value_length", TG_MODEL_HEAD_DIM_MAX, err, &value_dim);
    s->rope_dim = s->head_dim;
    if (rc == 0)
        rc = maybe_u32(model, "rope.dimension_count", TG_MODEL_HEAD_DIM_MAX, err, &s->rope_dim);
    if (rc == 0)
        rc = maybe_u32(model, "attention.sliding_window", UINT32_MAX, err, &s->window);
    if (rc < 0)
        return rc;
    if (s->head_dim == 0 || s->head_dim % 2 || s->head_dim > TG_MODEL_HEAD_DIM_MAX ||
        value_dim != s->head_dim || s->rope_dim % 2 || s->rope_dim > s->head_dim)
        return tg_error_set(
            err, -EINVAL,
            "heads of %u (keys), %u (values) and %u (rotated) are not supported; even "
            "and equal ones up to %d are",
            s->head_dim, value_dim, s->rope_dim, TG_MODEL_HEAD_DIM_MAX);
    if (s->window >= s->context)
        s->window = 0;
    return 0;
}

int tg_model_read_shape(tg_model *model, tg_error *err)
{
    tg_model_shape *s = &model->shape;
    int rc = read_arch(model, err);
    if (rc == 0)
        rc = refuse_extras(model, err);
    if (rc == 0)
        rc = need_u32(model, "block_count", TG_MODEL_LAYERS_MAX, err, &s->layers);
    if (rc == 0)
        rc = need_u32(model, "embedding_length", 65536, err, &s->width);
    if (rc == 0)
        rc = need_u32(model, "feed_forward_length", 1 << 20, err, &s->ffn_width);
    if (rc == 0)
        rc = need_u32(model, "context_length", 1 << 24, err, &s->context);
    if (rc == 0)
        rc = read_heads(model, err);
    if (rc == 0)
        rc = read_rope(model, err);
    s->norm_eps = 1e-5f;
    if (rc == 0)
        rc = maybe_f32(model, "attention.layer_norm_rms_epsilon", err, &s->norm_eps);
    if (rc == 0 && !(s->norm_eps >= 0 && s->norm_eps < 1))
        return tg_error_set(err, -EINVAL, "a norm's epsilon of %g is out of range",
                            (double)s->norm_eps);
    return rc;
}
