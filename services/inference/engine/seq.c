#include "services/inference/engine/seq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int check_ids(const uint32_t *ids, size_t len, uint32_t vocab, const char *what,
                     tg_error *err)
{
    for (size_t i = 0; i < len; i++)
        if (ids[i] >= vocab)
            return tg_error_set(err, -EINVAL, "%s %zu is %u; the vocabulary has %u", what, i,
                                ids[i], vocab);
    return 0;
}

static int check_request(const tg_gen_request *r, const tg_model *model,
                         const tg_token_list *tokens, uint32_t context_limit, tg_error *err)
{
    int rc = tg_sampling_check(&r->sampling, err);
    if (rc == 0)
        rc = tg_adjustments_check(&r->adjustments, model->shape.vocab, err);
    if (rc == 0 && r->stop_ids_len > TG_ENGINE_STOP_IDS_MAX)
        rc = tg_error_set(err, -EINVAL, "%zu stop token ids; at most %d are allowed",
                          r->stop_ids_len, TG_ENGINE_STOP_IDS_MAX);
    if (rc == 0 && r->priority > 1)
        rc = tg_error_set(err, -EINVAL, "priority is %u; 0 and 1 are allowed", r->priority);
    if (rc == 0)
        rc = check_ids(r->stop_ids, r->stop_ids_len, model->shape.vocab, "stop token id", err);
    if (rc == 0)
        rc = check_ids(r->generated, r->generated_len, model->shape.vocab, "generated token", err);
    if (rc == 0)
        rc = check_ids(tokens->ids, tokens->len, model->shape.vocab, "prompt token", err);
    if (rc == 0 && tokens->len == 0)
        rc = tg_error_set(err, -EINVAL, "the prompt is empty");
    if (rc == 0 && tokens->len + r->generated_len >= context_limit)
        rc = tg_error_set(err, -EMSGSIZE,
                          "the prompt has %zu tokens; with room for an answer at most %u fit",
                          tokens->len + r->generated_len, context_limit - 1);
    if (rc == 0 && r->max_tokens > 0 && r->generated_len >= r->max_tokens)
        rc = tg_error_set(err, -EINVAL, "%zu tokens are generated already; max_tokens is %u",
                          r->generated_len, r->max_tokens);
    if (rc == 0 && r->top_logprobs > TG_LOGPROBS_TOP_MAX)
        rc = tg_error_set(err, -EINVAL, "top_logprobs is %u; at most %d are allowed",
                          r->top_logprobs, TG_LOGPROBS_TOP_MAX);
    if (rc == 0 && r->top_logprobs > 0 && !r->logprobs)
        rc = tg_error_set(err, -EINVAL, "top_logprobs is %u, but logprobs is not set",
                          r->top_logprobs);
    if (rc == 0 && r->echo && r->generated_len > 0)
        rc = tg_error_set(
            err, -EINVAL,
            "echo together with generated tokens: where they were generated the prompt was shown");
    if (rc == 0 && r->max_tokens > 0 && r->adjustments.min_tokens > r->max_tokens)
        rc = tg_error_set(err, -EINVAL, "min_tokens is %u; max_tokens, %u, is the most it can be",
                          r->adjustments.min_tokens, r->max_tokens);
    return rc;
}

int tg_seq_show(tg_seq *seq, const tg_model *model, uint32_t token, tg_buf *text)
{
    return tg_detokenizer_push(&seq->detokenizer, model->tokenizer, token, text);
}

/* The text of what was generated elsewhere has been shown there; only its unfinished end
 * matters. */
static int replay(tg_seq *seq, const tg_model *model, const uint32_t *generated, size_t len)
{
    tg_buf shown;
    tg_finish ignored;
    int rc = 0;
    tg_buf_init(&shown, 0);
    for (size_t i = 0; i < len && rc == 0; i++) {
        rc = tg_seq_accept(seq, model, generated[i], &shown, &ignored);
        tg_buf_clear(&shown);
    }
    tg_buf_free(&shown);
    return rc;
}

static void note_ends(tg_seq *seq, const tg_model *model, const tg_gen_request *r)
{
    if (!seq->ignore_end)
        for (size_t i = 0; i < model->stop_ids_len; i++)
            seq->ends[seq->ends_len++] = model->stop_ids[i];
    for (size_t i = 0; i < r->stop_ids_len; i++)
        seq->ends[seq->ends_len++] = r->stop_ids[i];
}

static int copy_adjustments(tg_seq *seq, const tg_adjustments *from)
{
    tg_logit_bias *bias = NULL;
    if (from->bias_len > 0) {
        bias = malloc(from->bias_len * sizeof(*bias));
        if (!bias)
            return -ENOMEM;
        memcpy(bias, from->bias, from->bias_len * sizeof(*bias));
    }
    seq->adjustments = *from;
    seq->adjustments.bias = bias;
    return 0;
}

int tg_seq_new(const tg_gen_request *r, const tg_model *model, const tg_kv *kv,
               uint32_t context_limit, uint32_t kv_blocks, const tg_token_list *tokens,
               tg_error *err, tg_seq **ret)
{
    int rc = check_request(r, model, tokens, context_limit, err);
    if (rc < 0)
        return rc;
    tg_seq *seq = calloc(1, sizeof(*seq));
    if (!seq)
        return -ENOMEM;
    seq->user = r->user;
    seq->priority = r->priority;
    seq->sampling = r->sampling;
    seq->ignore_end = r->ignore_end;
    note_ends(seq, model, r);
    seq->prompt_len = (uint32_t)tokens->len;
    seq->given_len = seq->prompt_len + (uint32_t)r->generated_len;
    seq->echo = r->echo;
    seq->marks = r->marks;
    seq->logprobs = r->logprobs;
    seq->top_logprobs = r->top_logprobs;
    seq->scores_prompt = r->echo && r->logprobs;
    seq->deadline_ns = r->deadline_ns ? r->deadline_ns : UINT64_MAX;
    seq->limit = context_limit;
    if (r->max_tokens > 0 && r->max_tokens < context_limit - seq->prompt_len)
        seq->limit = seq->prompt_len + r->max_tokens;
    /* The last token is never fed back, so it needs no slot. */
    seq->blocks_needed = (seq->limit - 1 + TG_KV_BLOCK_TOKENS - 1) / TG_KV_BLOCK_TOKENS;
    seq->salt = seq->hash = tg_kv_salt(kv, r->tenant);
    /* Text given is a beginning; an answer after it is not, so its first space stays. */
    seq->detokenizer.at_start = r->echo || (r->text && tokens->len <= 1);
    seq->tokens = malloc(seq->limit * sizeof(*seq->tokens));
    seq->blocks = malloc(seq->blocks_needed * sizeof(*seq->blocks));
    rc = copy_adjustments(seq, &r->adjustments);
    if (rc == 0)
        rc = tg_stop_init(&seq->stop, r->stop, r->stop_len, err);
    if (rc == 0 && (!seq->tokens || !seq->blocks))
        rc = -ENOMEM;
    if (rc == 0 && seq->blocks_needed > kv_blocks)
        rc = tg_error_set(err, -EMSGSIZE,
                          "prompt and answer may take %u tokens; the KV memory holds %u",
                          seq->limit, kv_blocks * TG_KV_BLOCK_TOKENS);
    if (rc == 0)
        rc = replay(seq, model, r->generated, r->generated_len);
    if (rc < 0) {
        tg_seq_free(seq);
        return rc;
    }
    memcpy(seq->tokens, tokens->ids, tokens->len * sizeof(*seq->tokens));
    if (r->generated_len > 0)
        memcpy(seq->tokens + tokens->len, r->generated, r->generated_len * sizeof(*seq->tokens));
    seq->len = seq->given_len;
    seq->usage.prompt_tokens = seq->prompt_len;
    *ret = seq;
    return 0;
}

tg_seq *tg_seq_free(tg_seq *seq)
{
    if (!seq)
        return NULL;
    tg_stop_free(&seq->stop);
    if (seq->constraint != seq->call)
        tg_constraint_state_free(seq->constraint);
    tg_constraint_state_free(seq->call);
    tg_answer_free(seq->answer);
    free((void *)(uintptr_t)seq->adjustments.bias);
    free(seq->tokens);
    free(seq->blocks);
    free(seq);
    return NULL;
}

int tg_seq_accept(tg_seq *seq, const tg_model *model, uint32_t token, tg_buf *text, tg_finish *ret)
{
    bool hit = false;
    *ret = TG_FINISH_NONE;
    for (size_t i = 0; i < seq->ends_len; i++)
        if (seq->ends[i] == token)
            *ret = TG_FINISH_STOP;
    if (*ret == TG_FINISH_STOP)
        return 0;
    int rc =
        tg_model_show(model, &seq->detokenizer, token, seq->marks, tg_stop_place(&seq->stop, text));
    if (rc == 0)
        rc = tg_stop_look(&seq->stop, text, &hit);
    if (hit)
        *ret = TG_FINISH_STOP;
    return rc;
}

/* A call begins, or its arguments do, with the rest of the token that opened it. If none can begin
 * like that, it is not held to the form of one. */
static void hold_call(tg_seq *seq, size_t tool, tg_str rest)
{
    tg_constraint_restart(seq->call, tool);
    if (tg_constraint_advance_text(seq->call, rest))
        seq->constraint = seq->call;
}

static int look(tg_seq *seq, tg_str text)
{
    size_t tool;
    int rc = 0;
    while (text.len > 0 && rc == 0) {
        rc = tg_answer_push(seq->answer, (tg_str){text.data, 1}, NULL, NULL);
        text = (tg_str){text.data + 1, text.len - 1};
        if (rc == 0 && seq->call && !seq->constraint && tg_answer_awaits_call(seq->answer, &tool))
            hold_call(seq, tool, text);
    }
    return rc;
}

int tg_seq_follow(tg_seq *seq, const tg_model *model, uint32_t token, bool *ret_over)
{
    if (seq->constraint && !tg_constraint_advance(seq->constraint, token))
        return -EINVAL;
    const int rc = seq->answer ? look(seq, tg_model_piece(model, token)) : 0;
    const bool complete = seq->constraint && tg_constraint_must_end(seq->constraint);
    *ret_over = (complete && !seq->call) || (seq->answer && tg_answer_over(seq->answer));
    if (complete && seq->call) /* the call is, and what follows is free */
        seq->constraint = NULL;
    return rc;
}

int tg_seq_flush(tg_seq *seq, tg_buf *text)
{
    bool hit = false;
    int rc = tg_detokenizer_end(&seq->detokenizer, tg_stop_place(&seq->stop, text));
    if (rc == 0)
        rc = tg_stop_look(&seq->stop, text, &hit);
    return rc < 0 || hit ? rc : tg_stop_end(&seq->stop, text);
}
