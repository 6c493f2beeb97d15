#include "services/inference/engine/engine.h"

#include "libs/base/clock.h"
#include "services/inference/backend/numerics.h"
#include "services/inference/engine/engine_state.h"
#include "services/inference/engine/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int check_conf(tg_engine *e, tg_error *err)
{
    tg_engine_conf *c = &e->conf;
    const uint32_t context = e->model->shape.context;
    c->max_seqs = c->max_seqs ? c->max_seqs : 8;
    c->max_queue = c->max_queue ? c->max_queue : 64;
    c->step_token_budget = c->step_token_budget ? c->step_token_budget : 256;
    if (c->kv_tokens == 0)
        c->kv_tokens = context > c->max_seqs * 2048u ? context : c->max_seqs * 2048u;
    if (c->max_seqs > TG_ENGINE_SEQS_MAX || c->max_queue > TG_ENGINE_QUEUE_MAX)
        return tg_error_set(err, -EINVAL,
                            "%u sequences and a queue of %u; at most %d and %d are allowed",
                            c->max_seqs, c->max_queue, TG_ENGINE_SEQS_MAX, TG_ENGINE_QUEUE_MAX);
    if (c->step_token_budget < c->max_seqs || c->step_token_budget > TG_ENGINE_STEP_TOKENS_MAX)
        return tg_error_set(err, -EINVAL,
                            "a budget of %u tokens a step; %u (one per sequence) to %d are allowed",
                            c->step_token_budget, c->max_seqs, TG_ENGINE_STEP_TOKENS_MAX);
    if (c->kv_tokens < 2 * TG_KV_BLOCK_TOKENS || c->kv_tokens > 1u << 30)
        return tg_error_set(err, -EINVAL, "KV memory for %u tokens; 32 to 2^30 are allowed",
                            c->kv_tokens);
    e->context_limit = context < c->kv_tokens ? context : c->kv_tokens;
    return 0;
}

/* Weights, scratch and code paged in before anybody waits for them. Block 0 is nobody's yet. */
static int warm_up(tg_engine *e, tg_error *err)
{
    const uint32_t token = 0, block = 0;
    const tg_step_seq seq = {&token, 1, 0, &block, 1};
    const tg_forward_step step = {.seqs = &seq, .seqs_len = 1};
    const float *logits = NULL;
    int rc = e->backend->ops->run(e->backend, &step, &logits);
    return rc < 0 ? tg_error_set(err, rc, "the first step failed") : 0;
}

/* Fewer KV tokens than the default where that makes the model fit; who asked for a number gets it
 * or a refusal. */
static int plan_memory(tg_engine *e, bool by_default, tg_backend_conf *conf, tg_error *err)
{
    tg_backend_needs needs;
    tg_memory_room room;
    int rc = tg_backend_plan_cpu(e->model, conf, err, &needs);
    if (rc < 0)
        return rc;
    tg_memory_room_find("", e->conf.memory_limit_bytes, &room);
    if (by_default) {
        const uint32_t tokens = tg_memory_kv_tokens(&needs, e->conf.kv_tokens, &room);
        needs.kv_bytes = needs.kv_bytes / conf->kv_blocks * (tokens / TG_KV_BLOCK_TOKENS);
        conf->kv_blocks = tokens / TG_KV_BLOCK_TOKENS;
        e->conf.kv_tokens = tokens;
        e->context_limit = e->context_limit < tokens ? e->context_limit : tokens;
    }
    return tg_memory_check(&needs, e->conf.kv_tokens, &room, err);
}

static int start(tg_engine *e, tg_error *err)
{
    uint8_t key[16];
    const bool kv_by_default = e->conf.kv_tokens == 0;
    int rc = tg_model_open(e->conf.model_path, err, &e->model);
    if (rc == 0)
        rc = tg_chat_configure(e->model, e->conf.chat_template_file, e->conf.tool_format, err);
    if (rc == 0)
        rc = check_conf(e, err);
    if (rc < 0)
        return rc;
    if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
        return tg_error_set(err, -EIO, "no random key for the prefix cache");
    const uint32_t spare = e->conf.step_token_budget < TG_ENGINE_SPARE_ROWS_MAX
                               ? e->conf.step_token_budget
                               : TG_ENGINE_SPARE_ROWS_MAX;
    e->rows_max = e->conf.max_seqs + spare;
    tg_backend_conf backend = {.threads = e->conf.threads,
                               .kv_blocks = e->conf.kv_tokens / TG_KV_BLOCK_TOKENS,
                               .kv_type = e->conf.kv_type,
                               .step_tokens_max = e->conf.step_token_budget,
                               .step_logits_max = e->rows_max,
                               .progress = e->conf.progress,
                               .progress_user = e->conf.progress_user};
    rc = plan_memory(e, kv_by_default, &backend, err);
    if (rc < 0)
        return rc;
    e->scratch = malloc((size_t)2 * e->model->shape.vocab * sizeof(*e->scratch));
    e->adjusted = malloc(e->model->shape.vocab * sizeof(*e->adjusted));
    e->seen = calloc(e->model->shape.vocab, sizeof(*e->seen));
    e->rows = malloc(e->rows_max * sizeof(*e->rows));
    if (!e->scratch || !e->adjusted || !e->seen || !e->rows)
        return -ENOMEM;
    rc = tg_constraint_cache_new(e->model->tokenizer, TG_CONSTRAINT_CACHE_BYTES_MAX,
                                 &e->constraints);
    if (rc < 0)
        return rc;
    rc = tg_public_prompts_new(e->model, e->conf.public_prompts, e->conf.public_prompts_len, err,
                               &e->public_prompts);
    if (rc == 0)
        rc = tg_kv_new(backend.kv_blocks, key, &e->kv);
    if (rc == 0)
        rc = (e->conf.open_backend ? e->conf.open_backend : tg_backend_open_cpu)(e->model, &backend,
                                                                                 err, &e->backend);
    if (rc == 0)
        rc = warm_up(e, err);
    if (rc < 0)
        return rc;
    e->sched = (tg_sched){.kv = e->kv, .max_seqs = e->conf.max_seqs, .max_queue = e->conf.max_queue,
                          .budget = e->conf.step_token_budget, .spare_rows = spare};
    if (!e->conf.no_speculation)
        e->sched.drafter.guess = tg_lookup_guess;
    rc = tg_sched_init(&e->sched);
    if (rc < 0)
        return rc;
    e->told = true;
    rc = tg_account_init(&e->account, &e->model->shape, tg_clock_mono_ns());
    if (rc < 0)
        return rc;
    tg_recent_init(&e->recent, e->account.born_ns);
    rc = -pthread_create(&e->thread, NULL, tg_engine_main, e);
    e->started = rc == 0;
    return rc;
}

int tg_engine_new(const tg_engine_conf *conf, tg_error *err, tg_engine **ret)
{
    tg_engine *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->conf = *conf;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->drained, NULL);
    int rc = tg_batch_init(&e->ready);
    if (rc == 0)
        rc = tg_batch_init(&e->draining);
    if (rc == 0)
        rc = start(e, err);
    if (rc < 0) {
        tg_engine_free(e);
        return tg_error_set(err, rc, "the engine can't start: %s", strerror(-rc));
    }
    *ret = e;
    return 0;
}

tg_engine *tg_engine_free(tg_engine *e)
{
    if (!e)
        return NULL;
    if (e->started) {
        pthread_mutex_lock(&e->lock);
        e->stop = true;
        pthread_cond_broadcast(&e->work);
        pthread_cond_broadcast(&e->drained);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    for (uint32_t p = 0; p < TG_PRIORITIES; p++) {
        while (e->sched.first[p]) {
            tg_seq *seq = e->sched.first[p];
            tg_sched_remove(&e->sched, seq);
            tg_seq_free(seq);
        }
    }
    while (e->sched.running_len > 0) {
        tg_seq *seq = e->sched.running[0];
        tg_sched_remove(&e->sched, seq);
        tg_seq_free(seq);
    }
    tg_sched_free(&e->sched);
    tg_account_free(&e->account);
    tg_batch_free(&e->ready);
    tg_batch_free(&e->draining);
    pthread_cond_destroy(&e->drained);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    tg_backend_close(e->backend);
    tg_kv_free(e->kv);
    free(e->scratch);
    free(e->adjusted);
    free(e->seen);
    free(e->rows);
    tg_constraint_cache_free(e->constraints);
    tg_public_prompts_free(e->public_prompts);
    tg_model_free(e->model);
    free(e);
    return NULL;
}

const tg_model *tg_engine_model(const tg_engine *e) { return e->model; }

bool tg_engine_has_path(const char *path) { return tg_backend_has_cpu_path(path); }

/* Of a prompt a few times too long the tokens are counted, for who has to cut it; a longer one is
 * not worth the time. */
static tg_token_list list_of_prompt(const tg_engine *e)
{
    return (tg_token_list){.most = (size_t)4 * e->context_limit};
}

static int encode(const tg_engine *e, const tg_prompt *prompt, const tg_str *text, tg_error *err,
                  tg_token_list *tokens, bool *ret_thinking)
{
    int rc;
    if (prompt) {
        rc = tg_chat_encode(e->model, prompt, err, tokens, ret_thinking);
    } else {
        tg_token_span span = {*text, false};
        rc = tg_tokenizer_encode(e->model->tokenizer, &span, 1, true, tokens);
    }
    if (rc == -EMSGSIZE)
        tg_error_set(err, rc,
                     "the prompt has more than %zu bytes or %zu tokens; with room for an answer at "
                     "most %u tokens fit",
                     TG_TOKENIZER_TEXT_BYTES_MAX, tokens->most, e->context_limit - 1);
    return rc;
}

static int encode_request(const tg_engine *e, const tg_gen_request *r, tg_error *err,
                          tg_token_list *tokens, bool *ret_thinking)
{
    const tg_prompt prompt = {r->messages, r->messages_len,  r->continue_final,
                              r->tools,    r->template_args, r->calls};
    if ((r->messages != NULL) + (r->text != NULL) + (r->tokens != NULL) != 1)
        return tg_error_set(err, -EINVAL, "exactly one of messages, text and tokens is needed");
    if (!r->tokens)
        return encode(e, r->messages ? &prompt : NULL, r->text, err, tokens, ret_thinking);
    if (r->tokens_len >= e->context_limit)
        return tg_error_set(err, -EMSGSIZE,
                            "the prompt has %zu tokens; with room for an answer at most %u fit",
                            r->tokens_len, e->context_limit - 1);
    int rc = 0;
    for (size_t i = 0; i < r->tokens_len && rc == 0; i++)
        rc = tg_token_list_add(tokens, r->tokens[i]);
    return rc;
}

/* At the door, before the work of encoding: what can't be taken now, and what can't be taken
 * ever. */
static int check_door(tg_engine *e, const tg_gen_request *r, uint32_t n, tg_error *err)
{
    if (n > TG_ENGINE_CHOICES_MAX || n > e->conf.max_queue)
        return tg_error_set(err, -EINVAL, "n is %u; at most %u answers are allowed", n,
                            e->conf.max_queue < TG_ENGINE_CHOICES_MAX ? e->conf.max_queue
                                                                      : TG_ENGINE_CHOICES_MAX);
    const uint64_t now = tg_clock_mono_ns();
    if (r->deadline_ns != 0 && r->deadline_ns <= now)
        return tg_error_set(err, -ETIME, "the deadline was %llu ms ago",
                            (unsigned long long)(now - r->deadline_ns) / 1000000u);
    pthread_mutex_lock(&e->lock);
    const bool full = e->sched.waiting_len + n > e->conf.max_queue;
    pthread_mutex_unlock(&e->lock);
    return full ? tg_error_set(err, -EAGAIN, "the queue is full: %u requests wait",
                               e->conf.max_queue)
                : 0;
}

/* What keeps step with the answer's tokens, and has to take those that were generated elsewhere. */
static int begin_answer(const tg_engine *e, tg_seq *seq, const tg_gen_request *r,
                        tg_constraint *constraint, bool thinking, tg_error *err)
{
    bool over = false;
    int rc = 0;
    if (constraint)
        rc = tg_constraint_start(constraint, r->constrains_calls ? &seq->call : &seq->constraint);
    if (rc == 0 && r->answer) {
        tg_answer_conf conf = *r->answer;
        conf.thinking = thinking;
        rc = tg_answer_new(&conf, &seq->answer);
    }
    for (size_t i = 0; i < r->generated_len && rc == 0; i++) {
        rc = tg_seq_follow(seq, e->model, r->generated[i], &over);
        if (rc == -EINVAL)
            tg_error_set(err, rc, "generated token %zu does not satisfy the constraint", i);
    }
    return rc == 0 && over
               ? tg_error_set(err, -EINVAL,
                              "the tokens generated are a whole answer already: nothing can follow")
               : rc;
}

tg_constraint *tg_engine_kept_constraint(tg_engine *e, const tg_constraint_spec *spec)
{
    return tg_constraint_cache_find(e->constraints, spec);
}

int tg_engine_compile(tg_engine *e, const tg_constraint_spec *spec, tg_error *err,
                      tg_constraint **ret)
{
    return tg_constraint_cache_get(e->constraints, spec, err, ret);
}

/* A call that is required is held, or refused. */
static int check_required(const tg_gen_request *r, const tg_constraint *constraint, tg_error *err)
{
    const char *why;
    return r->calls && constraint && tg_constraint_loose(constraint, &why) > 0
               ? tg_error_set(err, -ENOTSUP, "%s", why)
               : 0;
}

static int make_choices(const tg_engine *e, const tg_gen_request *request, uint32_t n,
                        tg_error *err, tg_seq **ret_seqs, bool *ret_thinking)
{
    tg_token_list tokens = list_of_prompt(e);
    tg_gen_request r = *request;
    tg_constraint *constraint = request->compiled ? tg_constraint_retain(request->compiled) : NULL;
    int rc = constraint || request->constraint.kind == TG_CONSTRAINT_NONE
                 ? 0
                 : tg_constraint_cache_get(e->constraints, &request->constraint, err, &constraint);
    if (rc == 0)
        rc = check_required(request, constraint, err);
    if (rc == 0)
        rc = encode_request(e, request, err, &tokens, ret_thinking);
    const uint64_t now = tg_clock_mono_ns();
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        r.sampling.choice = request->sampling.choice + i;
        rc = tg_seq_new(&r, e->model, e->kv, e->context_limit,
                        e->conf.kv_tokens / TG_KV_BLOCK_TOKENS, &tokens, err, &ret_seqs[i]);
        if (rc == 0)
            ret_seqs[i]->submitted_ns = now;
        if (rc == 0)
            ret_seqs[i]->public_blocks = tg_public_prompts_match(
                e->public_prompts, ret_seqs[i]->tokens, ret_seqs[i]->given_len);
        if (rc == 0)
            rc = begin_answer(e, ret_seqs[i], request, constraint, *ret_thinking, err);
        if (rc == 0 && i > 0 && !ret_seqs[i]->scores_prompt)
            tg_sched_follow(ret_seqs[i], ret_seqs[0]);
    }
    tg_token_list_free(&tokens);
    tg_constraint_release(constraint);
    return rc;
}

/* Under the lock. All or none. */
static int enqueue(tg_engine *e, tg_seq **seqs, uint32_t n, tg_str tenant)
{
    int rc = e->sched.waiting_len + n > e->conf.max_queue ? -EAGAIN : 0;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        seqs[i]->id = e->last_id + 1 + i;
        rc = tg_sched_enqueue(&e->sched, seqs[i]);
        for (uint32_t k = 0; k < i && rc < 0; k++)
            tg_sched_remove(&e->sched, seqs[k]);
    }
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < n; i++)
        seqs[i]->account = tg_account_join(&e->account, tenant);
    e->last_id += n;
    e->deadlines += seqs[0]->deadline_ns != UINT64_MAX ? n : 0;
    pthread_cond_signal(&e->work);
    return 0;
}

int tg_engine_submit(tg_engine *e, const tg_gen_request *request, tg_error *err, tg_gen_ticket *ret)
{
    const uint32_t n = request->n ? request->n : 1;
    tg_seq *seqs[TG_ENGINE_CHOICES_MAX] = {NULL};
    bool thinking = false;
    int rc = check_door(e, request, n, err);
    if (rc < 0)
        return rc;
    rc = make_choices(e, request, n, err, seqs, &thinking);
    if (rc == 0) {
        const uint32_t prompt_len = seqs[0]->prompt_len;
        pthread_mutex_lock(&e->lock); /* the sequences are the engine thread's once it is let go */
        rc = enqueue(e, seqs, n, request->tenant);
        if (rc == 0)
            *ret = (tg_gen_ticket){e->last_id - n + 1, prompt_len, thinking};
        pthread_mutex_unlock(&e->lock);
        if (rc == 0)
            return 0;
        tg_error_set(err, rc,
                     rc == -EAGAIN ? "the queue is full: %u requests wait" : "out of memory",
                     e->conf.max_queue);
    }
    for (uint32_t i = 0; i < n; i++)
        tg_seq_free(seqs[i]);
    return rc;
}

int tg_engine_cancel(tg_engine *e, uint64_t seq_id)
{
    pthread_mutex_lock(&e->lock);
    tg_seq *seq = tg_sched_find(&e->sched, seq_id);
    if (seq) {
        seq->cancelled = true;
        e->cancels = true;
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    return seq ? 0 : -ENOENT;
}

size_t tg_engine_drain(tg_engine *e, tg_engine_event_fn fn, void *user)
{
    pthread_mutex_lock(&e->lock);
    tg_batch batch = e->ready;
    e->ready = e->draining;
    e->draining = batch;
    pthread_cond_signal(&e->drained);
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < batch.len; i++) {
        tg_engine_event event = batch.events[i].event;
        event.text = (tg_str){batch.text.data + batch.events[i].text_at, event.text.len};
        event.logprobs =
            (const tg_logprob *)(const void *)(batch.logprobs.data + batch.events[i].logprobs_at);
        fn(user, &event);
    }
    tg_batch_clear(&e->draining);
    return batch.len;
}

void tg_engine_get_status(tg_engine *e, tg_engine_status *ret)
{
    pthread_mutex_lock(&e->lock);
    const tg_kv_counts kv = tg_kv_count(e->kv);
    const uint64_t now = tg_clock_mono_ns();
    tg_account_upto(&e->account, now);
    *ret = e->totals;
    tg_recent_read(&e->recent, now, &ret->recent);
    ret->age_ns = e->account.mark_ns - e->account.born_ns;
    ret->shared_ns = e->account.shared_ns;
    ret->overhead_ns = e->account.overhead_ns;
    ret->idle_ns = e->account.idle_ns;
    ret->queue_depth = e->sched.waiting_len;
    ret->running = e->sched.running_len;
    ret->preempted_total = e->sched.preempted;
    pthread_mutex_unlock(&e->lock);
    ret->model = e->model->name;
    ret->quantisation = e->model->quantisation;
    ret->path = e->backend->path;
    ret->numerics = e->conf.kv_type == TG_KV_Q8 ? TG_NUMERICS_VERSION_KVQ8 : TG_NUMERICS_VERSION;
    ret->threads = e->backend->threads;
    ret->context_limit = e->context_limit;
    ret->queue_limit = e->conf.max_queue;
    ret->running_limit = e->conf.max_seqs;
    ret->kv_blocks_total = kv.total;
    ret->kv_blocks_free = kv.free;
    ret->kv_blocks_used = kv.used;
    ret->kv_blocks_cached = kv.cached;
    ret->memory_bytes = e->backend->memory_bytes;
}

int tg_engine_block_events(tg_engine *e, uint64_t *from, tg_kv_event *ret, uint32_t most)
{
    pthread_mutex_lock(&e->lock);
    const int len = tg_kv_events(e->kv, from, ret, most);
    pthread_mutex_unlock(&e->lock);
    return len;
}

void tg_engine_take_interval(tg_engine *e, tg_engine_interval *ret)
{
    pthread_mutex_lock(&e->lock);
    tg_account_take(&e->account, tg_clock_mono_ns(), ret);
    pthread_mutex_unlock(&e->lock);
}

int tg_engine_count_tokens(tg_engine *e, const tg_prompt *prompt, const tg_str *text, tg_error *err,
                           uint32_t *ret)
{
    tg_token_list tokens = list_of_prompt(e);
    bool thinking = false;
    if ((prompt != NULL) == (text != NULL))
        return tg_error_set(err, -EINVAL, "exactly one of messages and text is needed");
    int rc = encode(e, prompt, text, err, &tokens, &thinking);
    if (rc == 0)
        *ret = (uint32_t)tokens.len;
    tg_token_list_free(&tokens);
    return rc;
}
