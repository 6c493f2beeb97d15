/* What a GGUF file of architecture "bert" must hold, checked before anything is computed; and the
 * memory to compute in. */
#include "services/inference/embed/bert.h"

#include "services/inference/engine/memory.h"

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
        return tg_error_set(err, -EINVAL,
                            "width %u in %u heads with a feed-forward width of %u is not supported",
                            e->width, e->heads, e->ffn);
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

/* Counts the tensor's bytes, or copies it when there is memory. */
static int keep(tg_bert *e, const tg_gguf_tensor *tensor)
{
    if (e->packed)
        return tg_gguf_tensor_keep(e->gguf, tensor);
    e->kept_bytes += tensor->size_bytes;
    return 0;
}

static int find_vector(tg_bert *e, const char *stem, const char *ending, uint64_t len,
                       tg_error *err, const float **ret)
{
    char name[96];
    const tg_gguf_tensor *tensor;
    snprintf(name, sizeof(name), "%s.%s", stem, ending);
    int rc = find(e, name, len, 1, err, &tensor);
    if (rc == 0 && tensor->type != TG_DTYPE_F32)
        return tg_error_set(err, -EINVAL, "tensor '%s' is not F32", name);
    if (rc == 0)
        rc = keep(e, tensor);
    if (rc == 0)
        *ret = (const float *)(const void *)tensor->data;
    return rc;
}

/* A table whose rows are read when texts are embedded: no longer in the file. */
static int find_table(tg_bert *e, const char *name, uint64_t rows, tg_error *err,
                      const tg_gguf_tensor **ret)
{
    int rc = find(e, name, e->width, rows, err, ret);
    return rc < 0 ? rc : keep(e, *ret);
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
    return tg_gguf_tensor_find(e->gguf, name) ? find_vector(e, stem, "bias", out, err, &ret->bias)
                                              : 0;
}

enum { LINEARS = 6, PARTS = 8 };
static const char *const layer_parts[PARTS] = {
    "attn_q", "attn_k",   "attn_v",           "attn_output",
    "ffn_up", "ffn_down", "attn_output_norm", "layer_output_norm"}; /* the last two are norms */

static int load_layer(tg_bert *e, uint32_t index, size_t *used, tg_error *err)
{
    tg_bert_layer *l = &e->layers[index];
    const struct {
        uint32_t in, out;
        tg_bert_linear *linear;
    } linears[LINEARS] = {{e->width, e->width, &l->q}, {e->width, e->width, &l->k},
                          {e->width, e->width, &l->v}, {e->width, e->width, &l->attn_out},
                          {e->width, e->ffn, &l->up},  {e->ffn, e->width, &l->down}};
    tg_bert_norm *const norms[] = {&l->attn_norm, &l->out_norm};
    char stem[64];
    int rc = 0;
    for (size_t i = 0; i < PARTS && rc == 0; i++) {
        snprintf(stem, sizeof(stem), "blk.%u.%s", index, layer_parts[i]);
        rc = i < LINEARS
                 ? load_linear(e, stem, linears[i].in, linears[i].out, used, err, linears[i].linear)
                 : load_norm(e, stem, err, norms[i - LINEARS]);
    }
    return rc;
}

/* Whatever has no place would silently be left out of the arithmetic. */
static bool has_place(const tg_bert *e, tg_str name)
{
    static const char *const ends[] = {"token_embd.weight", "position_embd.weight",
                                       "token_types.weight", "token_embd_norm.weight",
                                       "token_embd_norm.bias"};
    char text[300], part[64], whole[128];
    unsigned layer = 0;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (tg_str_is(name, ends[i]))
            return true;
    tg_str_copy(text, sizeof(text), name);
    if (sscanf(text, "blk.%u.%63s", &layer, part) != 2 || layer >= e->layers_len)
        return false;
    for (size_t i = 0; i < 2 * PARTS; i++) {
        snprintf(whole, sizeof(whole), "blk.%u.%s.%s", layer, layer_parts[i / 2],
                 i % 2 ? "bias" : "weight");
        if (tg_str_is(name, whole))
            return true;
    }
    return false;
}

static int refuse_strangers(const tg_bert *e, tg_error *err)
{
    for (size_t i = 0; i < tg_gguf_tensor_count(e->gguf); i++) {
        tg_str name = tg_gguf_tensor_at(e->gguf, i)->name;
        if (!has_place(e, name))
            return tg_error_set(err, -EINVAL,
                                "tensor '" TG_STR_FMT
                                "' is not part of the bert architecture as supported",
                                TG_STR_ARG(name));
    }
    return 0;
}

/* Counts what all of it takes, or takes it when there is memory for the matrices. */
static int load_all(tg_bert *e, size_t *used, tg_error *err)
{
    int rc = find_table(e, "token_embd.weight", 0, err, &e->token_embd);
    if (rc == 0)
        rc = find_table(e, "position_embd.weight", e->context, err, &e->position_embd);
    if (rc == 0)
        rc = find_table(e, "token_types.weight", 0, err, &e->token_types);
    if (rc == 0)
        rc = load_norm(e, "token_embd_norm", err, &e->embd_norm);
    for (uint32_t i = 0; i < e->layers_len && rc == 0; i++)
        rc = load_layer(e, i, used, err);
    return rc;
}

static int check_memory(const tg_bert *e, size_t packed, uint64_t limit_bytes, tg_error *err)
{
    const double mb = 1e-6;
    const uint64_t weights = packed + e->kept_bytes, room_bytes = tg_bert_room_bytes(e),
                   total = weights + room_bytes;
    tg_memory_room room;
    tg_memory_room_find("", limit_bytes, &room);
    if (total <= room.bytes)
        return 0;
    return tg_error_set(err, -ENOMEM,
                        "the encoder needs %.0f MB: weights %.0f MB, room to compute in %.0f MB; "
                        "%s leaves %.0f MB. A "
                        "smaller quantisation or more memory would do",
                        (double)total * mb, (double)weights * mb, (double)room_bytes * mb,
                        room.what, (double)room.bytes * mb);
}

int tg_bert_load(tg_bert *e, uint64_t limit_bytes, tg_error *err)
{
    size_t packed = 0, used = 0;
    int rc = read_shape(e, err);
    if (rc == 0 && !(e->layers = calloc(e->layers_len, sizeof(*e->layers))))
        rc = -ENOMEM;
    if (rc == 0)
        rc = load_all(e, &packed, err);
    if (rc == 0 &&
        (e->token_embd->dims[1] > TG_TOKENIZER_VOCAB_MAX || e->token_types->dims[1] == 0))
        rc = tg_error_set(err, -EINVAL, "the embedding tables have a wrong number of rows");
    if (rc == 0)
        rc = refuse_strangers(e, err);
    if (rc == 0)
        rc = check_memory(e, packed, limit_bytes, err);
    if (rc == 0 && !(e->packed = aligned_alloc(64, packed)))
        rc = -ENOMEM;
    if (rc == 0)
        rc = load_all(e, &used, err);
    if (rc < 0)
        return rc;
    e->vocab = (uint32_t)e->token_embd->dims[1];
    return tg_gguf_check(e->gguf, err);
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
        rc = tg_error_set(err, -EINVAL,
                          "the vocabulary has %zu tokens, but the embedding has %u rows",
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
        rc = find_id(e->gguf, "tokenizer.ggml.unknown_token_id", NULL, "[UNK]", &conf, err,
                     &conf.unk);
    if (rc == 0)
        rc = tg_tokenizer_new(&conf, err, &e->tokenizer);
    if (rc == 0 && (conf.bos == TG_TOKEN_NONE || conf.eos == TG_TOKEN_NONE))
        rc = tg_error_set(err, -EINVAL, "the vocabulary lacks [CLS] or [SEP]");
    free(tokens);
    return rc;
}

/* ---- the memory to compute in ---- */

enum {
    X,
    Q,
    K,
    V,
    MIXED,
    WIDE,
    KEYS,
    SCORES,
    ROWS_Q,
    PAIRS,
    SCALE,
    SCALED_SUM,
    SUM,
    START,
    SCRATCH,
    ROOMS
};

/* Bytes of each. */
static void find_rooms(const tg_bert *e, size_t *ret)
{
    const size_t t = e->context, widest = e->ffn > e->width ? e->ffn : e->width;
    const size_t padded = (t + TG_BERT_LANES - 1) / TG_BERT_LANES * TG_BERT_LANES;
    const size_t blocks = tg_rows_room(t) * (widest / TG_QUANT_BLOCK + 1);
    for (size_t i = X; i <= MIXED; i++)
        ret[i] = t * e->width * sizeof(float);
    ret[WIDE] = t * e->ffn * sizeof(float);
    ret[KEYS] = padded * e->width * sizeof(float);
    ret[SCORES] = e->threads * padded * sizeof(float);
    ret[ROWS_Q] = blocks * TG_QUANT_BLOCK;
    ret[PAIRS] = blocks * TG_QUANT_BLOCK * sizeof(int16_t);
    for (size_t i = SCALE; i <= START; i++)
        ret[i] = blocks * sizeof(float);
    ret[SCRATCH] = e->threads * tg_product_scratch((uint32_t)widest) * sizeof(int32_t);
}

uint64_t tg_bert_room_bytes(const tg_bert *e)
{
    size_t rooms[ROOMS];
    uint64_t sum = 0;
    find_rooms(e, rooms);
    for (size_t i = 0; i < ROOMS; i++)
        sum += rooms[i];
    return sum;
}

static void *take(size_t bytes)
{
    return aligned_alloc(64, ((bytes ? bytes : 1) + 63) & ~(size_t)63);
}

static int make_room(tg_bert *e)
{
    size_t rooms[ROOMS];
    find_rooms(e, rooms);
    e->x = take(rooms[X]);
    e->q = take(rooms[Q]);
    e->k = take(rooms[K]);
    e->v = take(rooms[V]);
    e->mixed = take(rooms[MIXED]);
    e->wide = take(rooms[WIDE]);
    e->keys = take(rooms[KEYS]);
    e->scores = take(rooms[SCORES]);
    e->rows.q = take(rooms[ROWS_Q]);
    e->pairs = take(rooms[PAIRS]);
    e->rows.scale = take(rooms[SCALE]);
    e->rows.scaled_sum = take(rooms[SCALED_SUM]);
    e->rows.sum = take(rooms[SUM]);
    e->rows.start = take(rooms[START]);
    e->scratch_each = tg_product_scratch(e->ffn > e->width ? e->ffn : e->width);
    e->scratch = take(rooms[SCRATCH]);
    if (!e->x || !e->q || !e->k || !e->v || !e->mixed || !e->wide || !e->keys || !e->scores ||
        !e->rows.q || !e->pairs || !e->rows.scale || !e->rows.scaled_sum || !e->rows.sum ||
        !e->rows.start || !e->scratch)
        return -ENOMEM;
    return 0;
}

int tg_bert_new(tg_gguf *gguf, const tg_embed_conf *conf, tg_error *err, tg_bert **ret)
{
    tg_bert *e = calloc(1, sizeof(*e));
    if (!e) {
        tg_gguf_free(gguf);
        return -ENOMEM;
    }
    e->gguf = gguf;
    e->threads = conf->threads;
    int rc = tg_kernels_choose(getenv("TOLLGATE_CPU"), err, &e->kernels);
    if (rc == 0)
        rc = tg_bert_load(e, conf->memory_limit_bytes, err);
    if (rc == 0)
        rc = tg_bert_load_vocab(e, err);
    if (rc == 0)
        rc = tg_pool_new(e->threads, &e->pool);
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
                           e->rows.sum, e->rows.start, e->scratch};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(e);
    return NULL;
}
