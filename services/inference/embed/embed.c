#include "services/inference/embed/embed.h"

#include "services/inference/backend/numerics.h"
#include "services/inference/embed/bert.h"
#include "services/inference/embed/decoder.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct tg_embed {
    tg_bert *bert; /* one of the two */
    tg_decoder *decoder;
    const tg_tokenizer *tokenizer; /* of that one, as are */
    uint32_t width, context;
    pthread_mutex_t lock; /* for whoever computes */
    tg_pooler pooler;
};

/* By configuration, else by the file, else the mean. */
static int choose_pooling(const tg_gguf *gguf, tg_str arch, const tg_embed_conf *conf, bool encoder,
                          tg_error *err, tg_pooling *ret)
{
    char key[96];
    uint32_t pooling = conf->pooling;
    snprintf(key, sizeof(key), "%.*s.pooling_type", (int)(arch.len < 64 ? arch.len : 64),
             arch.data);
    int rc = pooling == TG_POOLING_AUTO ? tg_gguf_u32(gguf, key, err, &pooling) : 0;
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (pooling > TG_POOLING_LAST || (!encoder && pooling == TG_POOLING_FIRST))
        return tg_error_set(
            err, -EINVAL, "pooling type %u is not supported; 1 (mean), %s3 (last token) are",
            pooling, encoder ? "2 (first token) and " : "and for encoders 2 (first token), ");
    *ret = pooling == TG_POOLING_AUTO ? TG_POOLING_MEAN : (tg_pooling)pooling;
    return 0;
}

static int load(tg_embed *e, tg_gguf *gguf, const tg_embed_conf *conf, tg_error *err)
{
    tg_str arch = {"", 0};
    tg_pooling pooling = TG_POOLING_MEAN;
    int rc = tg_gguf_str(gguf, "general.architecture", err, &arch);
    const bool encoder = tg_str_is(arch, "bert");
    if (rc == -ENOENT)
        rc = tg_error_set(err, -EINVAL, "key 'general.architecture' is missing");
    if (rc == 0 && conf->threads == 0)
        rc = tg_error_set(err, -EINVAL, "0 threads; at least 1 is needed");
    if (rc == 0)
        rc = choose_pooling(gguf, arch, conf, encoder, err, &pooling);
    if (rc < 0) {
        tg_gguf_free(gguf);
        return rc;
    }
    rc = encoder ? tg_bert_new(gguf, conf, err, &e->bert)
                 : tg_decoder_new(gguf, conf, err, &e->decoder);
    if (rc < 0)
        return rc;
    e->tokenizer = encoder ? e->bert->tokenizer : e->decoder->model->tokenizer;
    e->width = encoder ? e->bert->width : e->decoder->model->shape.width;
    e->context = encoder ? e->bert->context : e->decoder->context;
    return tg_pooler_init(&e->pooler, pooling, e->width);
}

static int new_embed(tg_gguf *gguf, const tg_embed_conf *conf, tg_error *err, tg_embed **ret)
{
    tg_embed *e = calloc(1, sizeof(*e));
    tg_numerics_enter();
    int rc = e ? -pthread_mutex_init(&e->lock, NULL) : -ENOMEM;
    if (rc < 0) {
        free(e);
        tg_gguf_free(gguf);
        return rc;
    }
    rc = load(e, gguf, conf, err);
    if (rc < 0) {
        tg_embed_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

int tg_embed_open(const char *path, const tg_embed_conf *conf, tg_error *err, tg_embed **ret)
{
    tg_gguf *gguf = NULL;
    int rc = tg_gguf_open(path, err, &gguf);
    return rc < 0 ? rc : new_embed(gguf, conf, err, ret);
}

int tg_embed_parse(const uint8_t *data, size_t size_bytes, const tg_embed_conf *conf, tg_error *err,
                   tg_embed **ret)
{
    tg_gguf *gguf = NULL;
    int rc = tg_gguf_parse(data, size_bytes, err, &gguf);
    return rc < 0 ? rc : new_embed(gguf, conf, err, ret);
}

tg_embed *tg_embed_free(tg_embed *e)
{
    if (!e)
        return NULL;
    tg_bert_free(e->bert);
    tg_decoder_free(e->decoder);
    tg_pooler_free(&e->pooler);
    pthread_mutex_destroy(&e->lock);
    free(e);
    return NULL;
}

uint32_t tg_embed_dims(const tg_embed *embed) { return embed->width; }
uint32_t tg_embed_context(const tg_embed *embed) { return embed->context; }
tg_pooling tg_embed_pooling(const tg_embed *embed) { return embed->pooler.pooling; }

/* The longest word that WordPiece knows has 100 characters of at most 4 bytes. */
int tg_embed_check(const tg_embed *e, tg_str text, tg_error *err)
{
    const size_t most = (size_t)e->context * TG_EMBED_TOKEN_BYTES_MAX;
    if (text.len <= most)
        return 0;
    return tg_error_set(err, -EMSGSIZE,
                        "a text of %zu bytes; the model takes %u tokens, and texts of at most %zu "
                        "bytes are looked at",
                        text.len, e->context, most);
}

/* Appends one text's ids. Of one that is a few times too long the tokens are counted, for who has
 * to cut it. */
static int encode(const tg_embed *e, tg_str text, tg_error *err, tg_token_list *ids,
                  uint32_t *ret_len)
{
    const tg_token_span span = {text, false};
    const size_t before = ids->len;
    const size_t most = (size_t)4 * e->context;
    int rc = tg_embed_check(e, text, err);
    if (rc < 0)
        return rc;
    ids->most = before + most;
    rc = tg_tokenizer_encode(e->tokenizer, &span, 1, true, ids);
    if (rc == -EMSGSIZE)
        return tg_error_set(err, rc, "a text of more than %zu tokens; the model takes %u", most,
                            e->context);
    if (rc < 0)
        return rc;
    if (ids->len - before > e->context)
        return tg_error_set(err, -EMSGSIZE, "a text of %zu tokens; the model takes %u",
                            ids->len - before, e->context);
    if (ids->len == before)
        return tg_error_set(err, -EINVAL, "the text has no token; at least one is needed");
    *ret_len = (uint32_t)(ids->len - before);
    return 0;
}

/* Some texts, from the first, of all that are left; how many is in *ret_done. */
static int run_some(tg_embed *e, const uint32_t *ids, const uint32_t *lens, size_t count,
                    float *ret_vectors, size_t *ret_done)
{
    int rc = 0;
    pthread_mutex_lock(&e->lock);
    if (e->decoder) {
        *ret_done = tg_decoder_together(lens, count);
        rc = tg_decoder_run(e->decoder, ids, lens, *ret_done, &e->pooler, ret_vectors);
    } else {
        *ret_done = 1;
        tg_pooler_add(&e->pooler, tg_bert_run(e->bert, ids, lens[0]), lens[0]);
        tg_pooler_take(&e->pooler, ret_vectors);
    }
    pthread_mutex_unlock(&e->lock);
    return rc;
}

int tg_embed_run(tg_embed *e, const tg_str *texts, size_t count, tg_error *err, float *ret_vectors,
                 uint32_t *ret_tokens, size_t *ret_failed)
{
    tg_token_list ids = {0};
    uint32_t *lens = calloc(count + 1, sizeof(*lens));
    int rc = lens ? 0 : -ENOMEM;
    tg_numerics_enter();
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = encode(e, texts[i], err, &ids, &lens[i]);
        if (rc < 0 && ret_failed)
            *ret_failed = i;
    }
    const uint32_t *at = ids.ids;
    for (size_t i = 0, done = 0; i < count && rc == 0; i += done) {
        rc = run_some(e, at, lens + i, count - i, ret_vectors + i * e->width, &done);
        for (size_t k = 0; k < done; k++)
            at += lens[i + k];
    }
    if (rc == 0 && ret_tokens)
        memcpy(ret_tokens, lens, count * sizeof(*lens));
    tg_token_list_free(&ids);
    free(lens);
    return rc;
}
