#include "services/inference/model/model.h"

#include "services/inference/model/chat.h"
#include "services/inference/template/template.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* One tensor by name, with the shape the architecture gives it. out = 0: a vector of F32. */
static int need_tensor(tg_model *model, const char *name, uint64_t in, uint64_t out,
                       size_t *io_used, tg_error *err, const tg_gguf_tensor **ret)
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

/* A layer's tensors: which architectures have them, the shape (out 0: a vector of F32), and where
 * they go. */
typedef struct layer_part {
    const char *name;
    size_t to; /* offset in tg_model_layer */
    uint64_t in, out;
} layer_part;

#define LAYER_PARTS_MAX 16 /* tensors of one layer */
#define PART(member) offsetof(tg_model_layer, member)

static size_t layer_parts(const tg_model *model, layer_part *ret)
{
    const tg_model_shape *s = &model->shape;
    const uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    const layer_part common[] = {
        {"attn_norm.weight", PART(attn_norm), s->width, 0},
        {"attn_q.weight", PART(q), s->width, q},
        {"attn_k.weight", PART(k), s->width, kv},
        {"attn_v.weight", PART(v), s->width, kv},
        {"attn_output.weight", PART(attn_out), q, s->width},
        {"ffn_norm.weight", PART(ffn_norm), s->width, 0},
        {"ffn_gate.weight", PART(gate), s->width, s->ffn_width},
        {"ffn_up.weight", PART(up), s->width, s->ffn_width},
        {"ffn_down.weight", PART(down), s->ffn_width, s->width},
    };
    const layer_part biases[] = {{"attn_q.bias", PART(q_bias), q, 0},
                                 {"attn_k.bias", PART(k_bias), kv, 0},
                                 {"attn_v.bias", PART(v_bias), kv, 0}};
    const layer_part head_norms[] = {{"attn_q_norm.weight", PART(q_norm), s->head_dim, 0},
                                     {"attn_k_norm.weight", PART(k_norm), s->head_dim, 0}};
    size_t len = sizeof(common) / sizeof(common[0]);
    memcpy(ret, common, sizeof(common));
    if (model->arch->biases) {
        memcpy(ret + len, biases, sizeof(biases));
        len += sizeof(biases) / sizeof(biases[0]);
    }
    if (model->arch->head_norms) {
        memcpy(ret + len, head_norms, sizeof(head_norms));
        len += sizeof(head_norms) / sizeof(head_norms[0]);
    }
    return len;
}

static int load_layer(tg_model *model, uint32_t index, size_t *io_used, tg_error *err)
{
    layer_part parts[LAYER_PARTS_MAX];
    const size_t len = layer_parts(model, parts);
    for (size_t i = 0; i < len; i++) {
        char name[64];
        const tg_gguf_tensor *tensor = NULL;
        snprintf(name, sizeof(name), "blk.%u.%s", index, parts[i].name);
        int rc = need_tensor(model, name, parts[i].in, parts[i].out, io_used, err, &tensor);
        if (rc < 0)
            return rc;
        memcpy((char *)&model->layers[index] + parts[i].to, &tensor, sizeof(tensor));
    }
    return 0;
}

static int load_ends(tg_model *model, size_t *io_used, tg_error *err)
{
    tg_model_shape *s = &model->shape;
    const tg_gguf_tensor *embd = tg_gguf_tensor_find(model->gguf, "token_embd.weight");
    if (embd && embd->dims[1] <= TG_TOKENIZER_VOCAB_MAX)
        s->vocab = (uint32_t)embd->dims[1];
    int rc = need_tensor(model, "token_embd.weight", s->width, s->vocab ? s->vocab : 1, io_used,
                         err, &model->token_embd);
    if (rc == 0)
        rc = need_tensor(model, "output_norm.weight", s->width, 0, io_used, err,
                         &model->output_norm);
    model->output = model->token_embd;
    if (rc == 0 && tg_gguf_tensor_find(model->gguf, "output.weight"))
        rc = need_tensor(model, "output.weight", s->width, s->vocab, io_used, err, &model->output);
    if (rc == 0 && tg_gguf_tensor_find(model->gguf, "rope_freqs.weight"))
        rc = need_tensor(model, "rope_freqs.weight", s->rope_dim / 2, 0, io_used, err,
                         &model->rope_freqs);
    return rc;
}

static bool has_place(const tg_model *model, tg_str name)
{
    static const char *const ends[] = {"token_embd.weight", "output_norm.weight", "output.weight",
                                       "rope_freqs.weight"};
    layer_part parts[LAYER_PARTS_MAX];
    char text[300], part[64];
    unsigned layer = 0;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (tg_str_is(name, ends[i]))
            return true;
    tg_str_copy(text, sizeof(text), name);
    if (sscanf(text, "blk.%u.%63s", &layer, part) != 2 || layer >= model->shape.layers)
        return false;
    for (size_t i = 0, len = layer_parts(model, parts); i < len; i++) {
        snprintf(text, sizeof(text), "blk.%u.%s", layer, parts[i].name);
        if (tg_str_is(name, text))
            return true;
    }
    return false;
}

/* Whatever has no place in the architecture would silently be left out of the arithmetic. */
static int refuse_strangers(const tg_model *model, tg_error *err)
{
    for (size_t i = 0; i < tg_gguf_tensor_count(model->gguf); i++) {
        tg_str name = tg_gguf_tensor_at(model->gguf, i)->name;
        if (!has_place(model, name))
            return tg_error_set(err, -EINVAL,
                                "tensor '" TG_STR_FMT "' is not part of the %s architecture as "
                                "supported",
                                TG_STR_ARG(name), model->arch->name);
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
    int rc = tg_model_read_shape(model, err);
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
    tg_template_free(model->template);
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

static bool is_mark(const tg_model *model, uint32_t id)
{
    for (size_t i = 0; i < model->marks_len; i++)
        if (model->marks[i] == id)
            return true;
    return false;
}

tg_str tg_model_piece(const tg_model *model, uint32_t id)
{
    const bool told = !tg_tokenizer_is_control(model->tokenizer, id) || is_mark(model, id);
    return told ? tg_tokenizer_piece(model->tokenizer, id) : (tg_str){"", 0};
}

int tg_model_show(const tg_model *model, tg_detokenizer *detokenizer, uint32_t id, bool marks,
                  tg_buf *text)
{
    if (!marks || !is_mark(model, id))
        return tg_detokenizer_push(detokenizer, model->tokenizer, id, text);
    int rc = tg_detokenizer_end(detokenizer, text);
    return rc < 0 ? rc : tg_buf_add_str(text, tg_tokenizer_piece(model->tokenizer, id));
}
