#include "services/inference/embed/bert.h"

#include <errno.h>
#include <stdlib.h>

static float *floats(size_t count)
{
    size_t bytes = (count * sizeof(float) + 63) & ~(size_t)63;
    return aligned_alloc(64, bytes ? bytes : 64);
}

static int make_room(tg_embed *e)
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

int tg_embed_open(const char *path, const tg_embed_conf *conf, tg_error *err, tg_embed **ret)
{
    tg_embed *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    int rc = -pthread_mutex_init(&e->lock, NULL);
    if (rc < 0) {
        free(e);
        return rc;
    }
    rc = conf->threads ? 0 : tg_error_set(err, -EINVAL, "0 threads; at least 1 is needed");
    if (rc == 0)
        rc = tg_kernels_choose(conf->cpu, err, &e->kernels);
    if (rc == 0)
        rc = tg_gguf_open(path, err, &e->gguf);
    if (rc == 0)
        rc = tg_bert_load(e, err);
    if (rc == 0)
        rc = tg_bert_load_vocab(e, err);
    if (rc == 0)
        rc = tg_pool_new(conf->threads, &e->pool);
    if (rc == 0)
        rc = make_room(e);
    if (rc < 0) {
        tg_embed_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

tg_embed *tg_embed_free(tg_embed *e)
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
    pthread_mutex_destroy(&e->lock);
    free(e);
    return NULL;
}

uint32_t tg_embed_dims(const tg_embed *embed) { return embed->width; }
uint32_t tg_embed_context(const tg_embed *embed) { return embed->context; }

int tg_embed_run(tg_embed *embed, const tg_str *texts, size_t count, tg_error *err,
                 float *ret_vectors, uint32_t *ret_tokens)
{
    tg_token_list ids = {0};
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        tg_token_span span = {texts[i], false};
        ids.len = 0;
        rc = tg_tokenizer_encode(embed->tokenizer, &span, 1, true, &ids);
        if (rc == 0 && ids.len > embed->context)
            rc = tg_error_set(err, -EMSGSIZE, "a text of %zu tokens; the model takes %u", ids.len,
                              embed->context);
        if (rc < 0)
            break;
        pthread_mutex_lock(&embed->lock);
        tg_bert_run(embed, ids.ids, (uint32_t)ids.len, ret_vectors + i * embed->width);
        pthread_mutex_unlock(&embed->lock);
        if (ret_tokens)
            ret_tokens[i] = (uint32_t)ids.len;
    }
    tg_token_list_free(&ids);
    return rc;
}
