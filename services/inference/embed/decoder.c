#include "services/inference/embed/decoder.h"

#include "services/inference/engine/memory.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t blocks_of(uint32_t tokens)
{
    return (tokens + TG_KV_BLOCK_TOKENS - 1) / TG_KV_BLOCK_TOKENS;
}

static int start(tg_decoder *d, const tg_embed_conf *conf, tg_error *err)
{
    const uint32_t most = d->model->shape.context;
    d->context = most < TG_EMBED_CONTEXT_MAX ? most : TG_EMBED_CONTEXT_MAX;
    const uint32_t longest =
        d->context > TG_DECODER_STEP_TOKENS_MAX ? d->context : TG_DECODER_STEP_TOKENS_MAX;
    const tg_backend_conf backend = {.threads = conf->threads,
                                     .kv_blocks = blocks_of(longest) + TG_DECODER_STEP_TEXTS_MAX,
                                     .step_tokens_max = TG_DECODER_STEP_TOKENS_MAX,
                                     .step_logits_max = 1};
    tg_backend_needs needs;
    tg_memory_room room;
    int rc = tg_backend_plan_cpu(d->model, &backend, err, &needs);
    if (rc < 0)
        return rc;
    tg_memory_room_find("", conf->memory_limit_bytes, &room);
    rc = tg_memory_check(&needs, backend.kv_blocks * TG_KV_BLOCK_TOKENS, &room, err);
    if (rc < 0)
        return rc;
    d->blocks = malloc(backend.kv_blocks * sizeof(*d->blocks));
    d->states =
        malloc((size_t)TG_DECODER_STEP_TOKENS_MAX * d->model->shape.width * sizeof(*d->states));
    if (!d->blocks || !d->states)
        return -ENOMEM;
    for (uint32_t i = 0; i < backend.kv_blocks; i++)
        d->blocks[i] = i;
    return tg_backend_open_cpu(d->model, &backend, err, &d->backend);
}

int tg_decoder_new(tg_gguf *gguf, const tg_embed_conf *conf, tg_error *err, tg_decoder **ret)
{
    tg_model *model = NULL;
    int rc = tg_model_new(gguf, err, &model);
    if (rc < 0)
        return rc;
    tg_decoder *d = calloc(1, sizeof(*d));
    if (!d) {
        tg_model_free(model);
        return -ENOMEM;
    }
    d->model = model;
    rc = start(d, conf, err);
    if (rc < 0) {
        tg_decoder_free(d);
        return rc;
    }
    *ret = d;
    return 0;
}

tg_decoder *tg_decoder_free(tg_decoder *d)
{
    if (!d)
        return NULL;
    tg_backend_close(d->backend);
    tg_model_free(d->model);
    free(d->blocks);
    free(d->states);
    free(d);
    return NULL;
}

size_t tg_decoder_together(const uint32_t *lens, size_t count)
{
    size_t together = 1, tokens = lens[0];
    while (together < count && together < TG_DECODER_STEP_TEXTS_MAX &&
           tokens + lens[together] <= TG_DECODER_STEP_TOKENS_MAX)
        tokens += lens[together++];
    return together;
}

int tg_decoder_run(tg_decoder *d, const uint32_t *ids, const uint32_t *lens, size_t count,
                   tg_pooler *pooler, float *ret_vectors)
{
    const uint32_t width = d->model->shape.width;
    const float *logits, *state = d->states;
    tg_step_seq seqs[TG_DECODER_STEP_TEXTS_MAX];
    const tg_forward_step step = {.seqs = seqs, .seqs_len = (uint32_t)count, .states = d->states};
    if (count == 1) { /* in pieces, as long as it may be */
        for (uint32_t at = 0; at < lens[0]; at += TG_DECODER_STEP_TOKENS_MAX) {
            const uint32_t left = lens[0] - at;
            seqs[0] = (tg_step_seq){
                ids + at, left < TG_DECODER_STEP_TOKENS_MAX ? left : TG_DECODER_STEP_TOKENS_MAX, at,
                d->blocks, 0};
            int rc = d->backend->ops->run(d->backend, &step, &logits);
            if (rc < 0)
                return rc;
            tg_pooler_add(pooler, state, seqs[0].tokens_len);
        }
        tg_pooler_take(pooler, ret_vectors);
        return 0;
    }
    const uint32_t *blocks = d->blocks;
    for (size_t i = 0; i < count; i++) {
        seqs[i] = (tg_step_seq){ids, lens[i], 0, blocks, 0};
        ids += lens[i];
        blocks += blocks_of(lens[i]);
    }
    int rc = d->backend->ops->run(d->backend, &step, &logits);
    for (size_t i = 0; i < count && rc == 0; i++) {
        tg_pooler_add(pooler, state, lens[i]);
        tg_pooler_take(pooler, ret_vectors + i * width);
        state += (size_t)lens[i] * width;
    }
    return rc;
}
