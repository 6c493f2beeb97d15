/* An engine with a small random model, and what its requests brought. */
#ifndef TG_TESTS_ENGINE_WORLD_H
#define TG_TESTS_ENGINE_WORLD_H

#include "services/inference/engine/engine.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#define SEQS 64

typedef struct result {
    uint64_t id;
    tg_token_list tokens, prompt_tokens;
    tg_buf text, prompt, logprobs; /* logprobs: all that came, tg_logprob */
    tg_finish finish;
    tg_gen_usage usage;
    int ends;
} result;

static inline void result_init(result *r)
{
    tg_buf_init(&r->text, 0);
    tg_buf_init(&r->prompt, 0);
    tg_buf_init(&r->logprobs, 0);
}

static inline void result_free(result *r)
{
    tg_buf_free(&r->text);
    tg_buf_free(&r->prompt);
    tg_buf_free(&r->logprobs);
    tg_token_list_free(&r->tokens);
    tg_token_list_free(&r->prompt_tokens);
}

static inline void result_clear(result *r)
{
    tg_buf_clear(&r->text);
    tg_buf_clear(&r->prompt);
    tg_buf_clear(&r->logprobs);
    r->tokens.len = r->prompt_tokens.len = 0;
    r->finish = TG_FINISH_NONE;
    r->ends = 0;
    r->id = 0;
}

typedef struct world {
    char path[64];
    tg_engine *engine;
    sem_t ready;
    bool no_speculation;
    tg_kv_type kv_type;
    bool calls; /* tiny_model.h */
    const tg_str *public_prompt; /* one, or NULL */
    result results[SEQS];
    size_t open;
} world;

static inline void on_ready(void *user) { sem_post(&((world *)user)->ready); }

static inline void on_event(void *user, const tg_engine_event *event)
{
    world *w = user;
    /* a request's choices have results side by side */
    result *r = (result *)event->user + event->choice;
    CU_ASSERT(r->id == 0 || r->id == event->seq_id);
    CU_ASSERT(tg_utf8_valid(event->text.data, event->text.len));
    tg_buf_add_str(event->prompt ? &r->prompt : &r->text, event->text);
    if (event->token != TG_TOKEN_NONE)
        tg_token_list_add(event->prompt ? &r->prompt_tokens : &r->tokens, event->token);
    tg_buf_add(&r->logprobs, event->logprobs, event->logprobs_len * sizeof(*event->logprobs));
    if (event->finish == TG_FINISH_NONE)
        return;
    r->finish = event->finish;
    r->usage = event->usage;
    r->ends++;
    w->open--;
}

static inline void world_make_file(world *w, const char *path, uint32_t max_seqs,
                                   uint32_t max_queue, uint32_t kv_tokens)
{
    tg_error err = {""};
    sem_init(&w->ready, 0, 0);
    for (size_t i = 0; i < SEQS; i++)
        result_init(&w->results[i]);
    const tg_engine_conf conf = {.model_path = path,
                                 .threads = 2,
                                 .max_seqs = max_seqs,
                                 .max_queue = max_queue,
                                 .kv_tokens = kv_tokens,
                                 .step_token_budget = 48,
                                 .no_speculation = w->no_speculation,
                                 .kv_type = w->kv_type,
                                 .public_prompts = w->public_prompt,
                                 .public_prompts_len = w->public_prompt != NULL,
                                 .notify = on_ready,
                                 .notify_user = w};
    if (tg_engine_new(&conf, &err, &w->engine) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->engine);
}

/* With the settings of `as`. */
static inline void world_make_like(world *w, world as, uint32_t max_seqs, uint32_t max_queue,
                                   uint32_t kv_tokens)
{
    *w = as;
    CU_ASSERT_EQUAL_FATAL(
        tiny_model_file(
            (tiny_conf){.seed = 21, .type = TG_DTYPE_Q8_0, .bpe = true, .calls = as.calls},
            w->path),
        0);
    world_make_file(w, w->path, max_seqs, max_queue, kv_tokens);
}

static inline void world_make_as(world *w, bool no_speculation, uint32_t max_seqs,
                                 uint32_t max_queue, uint32_t kv_tokens)
{
    world_make_like(w, (world){.no_speculation = no_speculation}, max_seqs, max_queue, kv_tokens);
}

static inline void world_make(world *w, uint32_t max_seqs, uint32_t max_queue, uint32_t kv_tokens)
{
    world_make_as(w, false, max_seqs, max_queue, kv_tokens);
}

static inline void world_free(world *w)
{
    w->engine = tg_engine_free(w->engine);
    for (size_t i = 0; i < SEQS; i++) {
        result_free(&w->results[i]);
    }
    if (w->path[0])
        unlink(w->path);
    sem_destroy(&w->ready);
}

static inline int submit(world *w, size_t index, tg_gen_request request, tg_error *err)
{
    tg_gen_ticket ticket;
    const uint32_t n = request.n ? request.n : 1;
    for (uint32_t i = 0; i < n && index + i < SEQS; i++)
        result_clear(&w->results[index + i]);
    request.user = &w->results[index];
    int rc = tg_engine_submit(w->engine, &request, err, &ticket);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        w->results[index + i].id = ticket.seq_id + i;
    w->open += rc == 0 ? n : 0;
    return rc;
}

static inline void drain_all(world *w)
{
    while (w->open > 0) {
        while (sem_wait(&w->ready) < 0 && errno == EINTR)
            ;
        tg_engine_drain(w->engine, on_event, w);
    }
}

static inline tg_gen_request text_request(const tg_str *text, uint32_t max_tokens, uint64_t seed)
{
    return (tg_gen_request){.text = text, .max_tokens = max_tokens, .ignore_end = true,
                            .sampling = {.temperature = 1, .seed = seed}};
}

/* Of a model with `calls`: it likes to call, and each call is held to a form: f with n, 10 to 99,
 * and s, at most 4 characters. */
static inline tg_gen_request holding_calls(tg_gen_request r)
{
    static const tg_str texts[] = {
        TG_STR(""), TG_STR("</tool_call>"), TG_STR("arguments"), TG_STR("f"),
        TG_STR("{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":10,"
               "\"maximum\":99},"
               "\"s\":{\"type\":\"string\",\"maxLength\":4}},\"required\":[\"n\",\"s\"]}")};
    static const tg_answer_conf conf = {.tools = TG_TOOLS_HERMES};
    static const tg_logit_bias likes[] = {{0, 2}};
    r.constraint = (tg_constraint_spec){TG_CONSTRAINT_CALL, texts, 5};
    r.constrains_calls = r.marks = true;
    r.answer = &conf;
    r.adjustments.bias = likes;
    r.adjustments.bias_len = 1;
    return r;
}

static inline bool same_tokens(const tg_token_list *a, const tg_token_list *b)
{
    return a->len == b->len && memcmp(a->ids, b->ids, a->len * sizeof(*a->ids)) == 0;
}

#endif
