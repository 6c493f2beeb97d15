/* What a GGUF file of architecture "bert" must hold, checked before anything is computed; and the memory to compute in. */
#include "services/inference/embed/bert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int need_u32(tg_bert *e, const char *key, uint32_t most, tg_error *err, uint32_t *ret)
{
    int rc = tg_gguf_u32(e->gguf, key, err, ret);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key '%s' is missing", key);
    if (rc == 0 && (*ret == 0 || *ret > most))
        return tg_error_set(err, -EINVAL, "key '%s' is %u; 1 to %u are supported", key, *ret, most);
    return rc;
}

static int read_shape(tg_bert *e, tg_error *err)
{
    int rc = need_u32(e, "bert.embedding_length", TG_EMBED_WIDTH_MAX, err, &e->width);
    if (rc == 0)
        rc = need_u32(e, "bert.feed_forward_length", TG_EMBED_WIDTH_MAX, err, &e->ffn);
    if (rc == 0)
        rc = need_u32(e, "bert.block_count", TG_EMBED_LAYERS_MAX, err, &e->layers_len);
    if (rc == 0)
        rc = need_u32(e, "bert.attention.head_count", TG_EMBED_WIDTH_MAX, err, &e->heads);
    if (rc == 0)
        rc = need_u32(e, "bert.context_length", TG_EMBED_CONTEXT_MAX, err, &e->context);
    if (rc == 0) {
        e->eps = 1e-12f;
        rc = tg_gguf_f32(e->gguf, "bert.attention.layer_norm_epsilon", err, &e->eps);
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc < 0)
        return rc;
    if (!(e->eps >= 0 && e->eps < 1))
        return tg_error_set(err, -EINVAL, "the layer norm's epsilon is out of range");
    e->head_dim = e->width / e->heads;
    if (e->width % e->heads || e->head_dim % TG_BERT_LANES || e->ffn % TG_QUANT_BLOCK ||
        e->width % TG_QUANT_BLOCK)
        return tg_error_set(err, -EINVAL, "width %u in %u heads with a feed-forward width of %u is not "
                            "supported", e->width, e->heads, e->ffn);
    return 0;
}

/* `out` 0: any length, for tables. */
static int find(tg_bert *e, const char *name, uint64_t in, uint64_t out, tg_error *err,
                const tg_gguf_tensor **ret)
{
    const tg_gguf_tensor *t = tg_gguf_tensor_find(e->gguf, name);
    if (!t)
        return tg_error_set(err, -EINVAL, "tensor '%s' is missing", name);
    if (t->dims[0] != in || (out && t->dims[1] != out) || t->dims[2] != 1 || t->dims[3] != 1)
        return tg_error_set(err, -EINVAL, "tensor '%s' is %llu × %llu; %llu × %llu is needed", name,
                            (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                            (unsigned long long)in, (unsigned long long)out);
    *ret = t;
    return 0;
}

static int find_vector(tg_bert *e, const char *stem, const char *ending, uint64_t len, tg_error *err,
                       const float **ret)
{
    char name[96];
    const tg_gguf_tensor *tensor;
    snprintf(name, sizeof(name), "%s.%s", stem, ending);
    int rc = find(e, name, len, 1, err, &tensor);
    if (rc == 0 && tensor->type != TG_DTYPE_F32)
        return tg_error_set(err, -EINVAL, "tensor '%s' is not F32", name);
    if (rc == 0)
        rc = tg_gguf_tensor_keep(e->gguf, tensor);
    if (rc == 0)
        *ret = (const float *)(const void *)tensor->data;
    return rc;
}

/* A table whose rows are read when texts are embedded: no longer in the file. */
static int find_table(tg_bert *e, const char *name, uint64_t rows, tg_error *err, const tg_gguf_tensor **ret)
{
    int rc = find(e, name, e->width, rows, err, ret);
    return rc < 0 ? rc : tg_gguf_tensor_keep(e->gguf, *ret);
}

static int load_norm(tg_bert *e, const char *stem, tg_error *err, tg_bert_norm *ret)
{
    int rc = find_vector(e, stem, "weight", e->width, err, &ret->weight);
    return rc < 0 ? rc : find_vector(e, stem, "bias", e->width, err, &ret->bias);
}

/* Counts a matrix's packed bytes, or packs it when there is memory. */
static int load_linear(tg_bert *e, const char *stem, uint64_t in, uint64_t out, size_t *used,
                       tg_error *err, tg_bert_linear *ret)
{
    char name[96];
    const tg_gguf_tensor *tensor;
    snprintf(name, sizeof(name), "%s.weight", stem);
    int rc = find(e, name, in, out, err, &tensor);
    if (rc < 0)
        return rc;
    size_t bytes = tg_pack_bytes(tensor, &ret->weights);
    if (e->packed) {
        uint8_t *to = e->packed + *used;
        for (uint32_t panel = 0; panel < ret->weights.panels; panel++)
            tg_pack_panel(tensor, &ret->weights, panel, to + panel * ret->weights.panel_bytes);
        ret->weights.data = to;
        tg_gguf_tensor_drop(e->gguf, tensor);
    }
    *used += bytes;
    snprintf(name, sizeof(name), "%s.bias", stem);
    return tg_gguf_tensor_find(e->gguf, name) ? find_vector(e, stem, "bias", out, err, &ret->bias) : 0;
}

static int load_layer(tg_bert *e, uint32_t index, size_t *used, tg_error *err)
{
    tg_bert_layer *l = &e->layers[index];
    const struct {
        const char *name;
        uint32_t in, out;
        tg_bert_linear *linear;
    } all[] = {{"attn_q", e->width, e->width, &l->q},        {"attn_k", e->width, e->width, &l->k},
               {"attn_v", e->width, e->width, &l->v},        {"attn_output", e->width, e->width, &l->attn_out},
               {"ffn_up", e->width, e->ffn, &l->up},         {"ffn_down", e->ffn, e->width, &l->down}};
    char stem[64];
    int rc = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++) {
        snprintf(stem, sizeof(stem), "blk.%u.%s", index, all[i].name);
        rc = load_linear(e, stem, all[i].in, all[i].out, used, err, all[i].linear);
    }
    if (rc == 0) {
        snprintf(stem, sizeof(stem), "blk.%u.attn_output_norm", index);
        rc = load_norm(e, stem, err, &l->attn_norm);
    }
    if (rc == 0) {
        snprintf(stem, sizeof(stem), "blk.%u.layer_output_norm", index);
        rc = load_norm(e, stem, err, &l->out_norm);
    }
    return rc;
}

int tg_bert_load(tg_bert *e, tg_error *err)
{
    int rc = read_shape(e, err);
    if (rc == 0)
        rc = find_table(e, "token_embd.weight", 0, err, &e->token_embd);
    if (rc == 0)
        rc = find_table(e, "position_embd.weight", e->context, err, &e->position_embd);
    if (rc == 0)
        rc = find_table(e, "token_types.weight", 0, err, &e->token_types);
    if (rc == 0)
        rc = load_norm(e, "token_embd_norm", err, &e->embd_norm);
    if (rc < 0)
        return rc;
    if (e->token_embd->dims[1] > TG_TOKENIZER_VOCAB_MAX || e->token_types->dims[1] == 0)
        return tg_error_set(err, -EINVAL, "the embedding tables have a wrong number of rows");
    e->vocab = (uint32_t)e->token_embd->dims[1];
    e->layers = calloc(e->layers_len, sizeof(*e->layers));
    if (!e->layers)
        return -ENOMEM;
    for (int pass = 0; pass < 2 && rc == 0; pass++) { /* measure, then pack */
        size_t used = 0;
        for (uint32_t i = 0; i < e->layers_len && rc == 0; i++)
            rc = load_layer(e, i, &used, err);
        if (rc == 0 && pass == 0 && !(e->packed = aligned_alloc(64, used)))
            rc = -ENOMEM;
    }
    return rc < 0 ? rc : tg_gguf_check(e->gguf, err);
}

static bool has_upper(const tg_str *tokens, size_t len)
{
    for (size_t i = 0; i < len; i++)
        for (size_t k = 0; k < tokens[i].len && tokens[i].data[0] != '['; k++)
            if (tokens[i].data[k] >= 'A' && tokens[i].data[k] <= 'Z')
                return true;
    return false;
}

/* The id under either key, else the token of that name. */
static int find_id(const tg_gguf *gguf, const char *key, const char *older, const char *name,
                   const tg_tokenizer_conf *conf, tg_error *err, uint32_t *ret)
{
    int rc = tg_gguf_u32(gguf, key, err, ret);
    if (rc == -ENOENT && older)
        rc = tg_gguf_u32(gguf, older, err, ret);
    if (rc != -ENOENT)
        return rc;
    *ret = TG_TOKEN_NONE;
    for (uint32_t i = 0; i < conf->tokens_len && *ret == TG_TOKEN_NONE; i++)
        if (tg_str_is(conf->tokens[i], name))
            *ret = i;
    return 0;
}

int tg_bert_load_vocab(tg_bert *e, tg_error *err)
{
    tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_WORDPIECE, .add_bos = true, .add_eos = true};
    tg_str model = {NULL, 0}, *tokens = NULL;
    int rc = tg_gguf_str(e->gguf, "tokenizer.ggml.model", err, &model);
    if (rc == -ENOENT || (rc == 0 && !tg_str_is(model, "bert")))
        return tg_error_set(err, -EINVAL, "an encoder's tokenizer must be bert (WordPiece)");
    if (rc == 0)
        rc = tg_gguf_str_array(e->gguf, "tokenizer.ggml.tokens", err, &tokens, &conf.tokens_len);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key 'tokenizer.ggml.tokens' is missing");
    if (rc < 0)
        return rc;
    conf.tokens = tokens;
    if (conf.tokens_len != e->vocab)
        rc = tg_error_set(err, -EINVAL, "the vocabulary has %zu tokens, but the embedding has %u rows",
                          conf.tokens_len, e->vocab);
    /* Files don't say whether case matters; a vocabulary without a capital letter does. */
    conf.cased = has_upper(tokens, conf.tokens_len);
    if (rc == 0)
        rc = find_id(e->gguf, "tokenizer.ggml.cls_token_id", "tokenizer.ggml.bos_token_id", "[CLS]",
                     &conf, err, &conf.bos);
    if (rc == 0) /* the key is spelled so */
        rc = find_id(e->gguf, "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.eos_token_id",
                     "[SEP]", &conf, err, &conf.eos);
    if (rc == 0)
        rc = find_id(e->gguf, "tokenizer.ggml.unknown_token_id", NULL, "[UNK]", &conf, err, &conf.unk);
    if (rc == 0)
        rc = tg_tokenizer_new(&conf, err, &e->tokenizer);
    if (rc == 0 && (conf.bos == TG_TOKEN_NONE || conf.eos == TG_TOKEN_NONE))
        rc = tg_error_set(err, -EINVAL, "the vocabulary lacks [CLS] or [SEP]");
    free(tokens);
    return rc;
}

static float *floats(size_t count)
{
    size_t bytes = (count * sizeof(float) + 63) & ~(size_t)63;
    return aligned_alloc(64, bytes ? bytes : 64);
}

static int make_room(tg_bert *e)
{
    const size_t t = e->context, widest = e->ffn > e->width ? e->ffn : e->width;
    const size_t padded = (t + TG_BERT_LANES - 1) / TG_BERT_LANES * TG_BERT_LANES;
    const size_t blocks = tg_rows_room(t) * (widest / TG_QUANT_BLOCK + 1);
    e->x = floats(t * e->width);
    e->q = floats(t * e->width);
    e->k = floats(t * e->width);
    e->v = floats(t * e->width);
    e->mixed = floats(t * e->width);
    e->wide = floats(t * e->ffn);
    e->keys = floats(padded * e->width);
    e->scores = floats(tg_pool_threads(e->pool) * padded);
    e->rows.q = (int8_t *)floats(blocks * TG_QUANT_BLOCK / 4);
    e->pairs = (int16_t *)floats(blocks * TG_QUANT_BLOCK / 2);
    e->rows.scale = floats(blocks);
    e->rows.scaled_sum = floats(blocks);
    e->rows.sum = (int32_t *)floats(blocks);
    e->rows.pair_sum = (int32_t *)floats(blocks);
    e->scratch_each = tg_product_scratch((uint32_t)widest);
    e->scratch = (int32_t *)floats(tg_pool_threads(e->pool) * e->scratch_each);
    if (!e->x || !e->q || !e->k || !e->v || !e->mixed || !e->wide || !e->keys || !e->scores ||
        !e->rows.q || !e->pairs || !e->rows.scale || !e->rows.scaled_sum || !e->rows.sum ||
        !e->rows.pair_sum || !e->scratch)
        return -ENOMEM;
    return 0;
}

int tg_bert_new(tg_gguf *gguf, uint32_t threads, tg_error *err, tg_bert **ret)
{
    tg_bert *e = calloc(1, sizeof(*e));
    if (!e) {
        tg_gguf_free(gguf);
        return -ENOMEM;
    }
    e->gguf = gguf;
    int rc = tg_kernels_choose(getenv("TOLLGATE_CPU"), err, &e->kernels);
    if (rc == 0)
        rc = tg_bert_load(e, err);
    if (rc == 0)
        rc = tg_bert_load_vocab(e, err);
    if (rc == 0)
        rc = tg_pool_new(threads, &e->pool);
    if (rc == 0)
        rc = make_room(e);
    if (rc < 0) {
        tg_bert_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

tg_bert *tg_bert_free(tg_bert *e)
{
    if (!e)
        return NULL;
    tg_pool_free(e->pool);
    tg_tokenizer_free(e->tokenizer);
    tg_gguf_free(e->gguf);
    void *const owned[] = {e->layers, e->packed, e->x, e->q, e->k, e->v, e->mixed, e->wide, e->keys,
                           e->scores, e->rows.q, e->pairs, e->rows.scale, e->rows.scaled_sum,
                           e->rows.sum, e->rows.pair_sum, e->scratch};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(e);
    return NULL;
}
