/* The vocabulary a GGUF file carries, as a tokenizer. */
#include "services/inference/model/model.h"

#include <errno.h>
#include <stdlib.h>

static int token_id(const tg_gguf *gguf, const char *key, uint32_t vocab, tg_error *err,
                    uint32_t *ret)
{
    uint32_t id = TG_TOKEN_NONE;
    int rc = tg_gguf_u32(gguf, key, err, &id);
    if (rc == 0 && id != TG_TOKEN_NONE && id >= vocab)
        return tg_error_set(err, -EINVAL, "key '%s' is %u, past the vocabulary of %u", key, id,
                            vocab);
    *ret = rc == 0 ? id : TG_TOKEN_NONE;
    return rc == -ENOENT ? 0 : rc;
}

static void add_stop(tg_model *model, uint32_t id)
{
    if (id != TG_TOKEN_NONE && !tg_model_is_stop(model, id) &&
        model->stop_ids_len < TG_MODEL_STOP_IDS_MAX)
        model->stop_ids[model->stop_ids_len++] = id;
}

/* Files name one end token, but a chat may end by another of the family's. */
static void find_stops(tg_model *model, uint32_t eot)
{
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                        "<|eom_id|>", "<|end_of_text|>", "</s>"};
    add_stop(model, tg_tokenizer_eos(model->tokenizer));
    add_stop(model, eot);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        add_stop(model, tg_tokenizer_find_control(model->tokenizer, tg_str_of(names[i])));
}

static int read_flag(const tg_gguf *gguf, const char *key, bool fallback, tg_error *err, bool *ret)
{
    *ret = fallback;
    int rc = tg_gguf_bool(gguf, key, err, ret);
    return rc == -ENOENT ? 0 : rc;
}

static int read_kind(const tg_gguf *gguf, tg_error *err, tg_tokenizer_kind *ret)
{
    tg_str name = {NULL, 0};
    int rc = tg_gguf_str(gguf, "tokenizer.ggml.model", err, &name);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key 'tokenizer.ggml.model' is missing");
    if (rc < 0)
        return rc;
    if (!tg_str_is(name, "llama") && !tg_str_is(name, "gpt2"))
        return tg_error_set(err, -EINVAL, "the tokenizer '%.*s' is not supported; llama "
                            "(SentencePiece) and gpt2 (BPE) are",
                            (int)(name.len < 64 ? name.len : 64), name.data);
    *ret = tg_str_is(name, "llama") ? TG_TOKENIZER_SENTENCEPIECE : TG_TOKENIZER_BPE;
    return 0;
}

/* The arrays, each as long as the vocabulary where it must be. They are the caller's to free. */
static int read_arrays(const tg_gguf *gguf, uint32_t vocab, tg_error *err, tg_tokenizer_conf *conf)
{
    size_t tokens = 0, scores = 0, types = 0;
    int rc = tg_gguf_str_array(gguf, "tokenizer.ggml.tokens", err,
                               (tg_str **)(uintptr_t)&conf->tokens, &tokens);
    if (rc == -ENOENT)
        return tg_error_set(err, -EINVAL, "key 'tokenizer.ggml.tokens' is missing");
    if (rc == 0)
        rc = tg_gguf_f32_array(gguf, "tokenizer.ggml.scores", err,
                               (float **)(uintptr_t)&conf->scores, &scores);
    if (rc == 0 || rc == -ENOENT)
        rc = tg_gguf_i32_array(gguf, "tokenizer.ggml.token_type", err,
                               (int32_t **)(uintptr_t)&conf->types, &types);
    if (rc == 0 || rc == -ENOENT)
        rc = tg_gguf_str_array(gguf, "tokenizer.ggml.merges", err,
                               (tg_str **)(uintptr_t)&conf->merges, &conf->merges_len);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    conf->tokens_len = tokens;
    if (tokens != vocab || (conf->scores && scores != vocab) || (conf->types && types != vocab))
        return tg_error_set(err, -EINVAL,
                            "the vocabulary has %zu tokens, %zu scores and %zu types, but "
                            "the embedding has %u rows",
                            tokens, scores, types, vocab);
    return 0;
}

int tg_model_load_vocab(tg_model *model, tg_error *err)
{
    const tg_gguf *gguf = model->gguf;
    const uint32_t vocab = model->shape.vocab;
    tg_tokenizer_conf conf = {0};
    uint32_t eot = TG_TOKEN_NONE;
    tg_str pre = TG_STR("default");
    char pre_name[64];
    int rc = read_kind(gguf, err, &conf.kind);
    if (rc == 0)
        rc = read_arrays(gguf, vocab, err, &conf);
    if (rc == 0)
        rc = token_id(gguf, "tokenizer.ggml.bos_token_id", vocab, err, &conf.bos);
    if (rc == 0)
        rc = token_id(gguf, "tokenizer.ggml.eos_token_id", vocab, err, &conf.eos);
    if (rc == 0)
        rc = token_id(gguf, "tokenizer.ggml.unknown_token_id", vocab, err, &conf.unk);
    if (rc == 0)
        rc = token_id(gguf, "tokenizer.ggml.eot_token_id", vocab, err, &eot);
    if (rc == 0)
        rc = read_flag(gguf, "tokenizer.ggml.add_bos_token",
                       conf.kind == TG_TOKENIZER_SENTENCEPIECE, err, &conf.add_bos);
    if (rc == 0)
        rc = read_flag(gguf, "tokenizer.ggml.add_space_prefix",
                       conf.kind == TG_TOKENIZER_SENTENCEPIECE, err, &conf.add_space_prefix);
    if (rc == 0) {
        rc = tg_gguf_str(gguf, "tokenizer.ggml.pre", err, &pre);
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc == 0) {
        tg_str_copy(pre_name, sizeof(pre_name), pre);
        conf.pre = pre_name;
        rc = tg_tokenizer_new(&conf, err, &model->tokenizer);
    }
    if (rc == 0)
        find_stops(model, eot);
    free((void *)(uintptr_t)conf.tokens);
    free((void *)(uintptr_t)conf.scores);
    free((void *)(uintptr_t)conf.types);
    free((void *)(uintptr_t)conf.merges);
    return rc;
}
