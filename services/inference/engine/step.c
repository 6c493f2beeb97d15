/* The engine thread: admit, plan, run, sample, emit; again. */
#include "libs/base/clock.h"
#include "services/inference/engine/engine_state.h"

#include <errno.h>
#include <stdlib.h>

/* A step's time is divided by tokens, and by the keys each of them looks at: about so many keys cost
 * as much as a token's way through the weights. */
#define KEYS_PER_TOKEN 1024

/* ---- batches of events ---- */

int tg_batch_init(tg_batch *batch)
{
    *batch = (tg_batch){0};
    tg_buf_init(&batch->text, 0);
    batch->events = malloc(TG_ENGINE_EVENTS_MAX * sizeof(*batch->events));
    return batch->events ? 0 : -ENOMEM;
}

void tg_batch_free(tg_batch *batch)
{
    free(batch->events);
    tg_buf_free(&batch->text);
}

void tg_batch_clear(tg_batch *batch)
{
    batch->len = 0;
    tg_buf_clear(&batch->text);
}

/* A turn ends at most every sequence there is, and each of the running ones may bring a token. */
static bool has_room(const tg_engine *e)
{
    return e->ready.len + e->sched.waiting_len + 2 * TG_ENGINE_SEQS_MAX <= TG_ENGINE_EVENTS_MAX;
}

/* Appends an event whose text is what was added to the batch since `text_at`. There is room. */
static void emit(tg_engine *e, const tg_seq *seq, uint32_t token, tg_finish finish, size_t text_at)
{
    tg_batch_event *to = &e->ready.events[e->ready.len++];
    e->told = false;
    *to = (tg_batch_event){.event = {.seq_id = seq->id, .user = seq->user, .token = token,
                                     .finish = finish, .usage = seq->usage},
                           .text_at = text_at};
    to->event.text.len = e->ready.text.len - text_at;
}

/* ---- ends ---- */

/* Emits the end event and frees the sequence. `token`: the last one, or TG_TOKEN_NONE. */
static void finish_seq(tg_engine *e, tg_seq *seq, uint32_t token, tg_finish finish, size_t text_at)
{
    const uint64_t now = tg_clock_mono_ns();
    if (seq->admitted_ns == 0)
        seq->usage.queue_ns = now - seq->submitted_ns;
    else if (seq->first_token_ns == 0)
        seq->usage.prefill_ns = now - seq->admitted_ns;
    else
        seq->usage.decode_ns = now - seq->first_token_ns;
    tg_sched_remove(&e->sched, seq);
    emit(e, seq, token, finish, text_at);
    tg_seq_free(seq);
}

static void finish_cancelled(tg_engine *e)
{
    for (uint32_t i = e->sched.running_len; i > 0; i--)
        if (e->sched.running[i - 1]->cancelled)
            finish_seq(e, e->sched.running[i - 1], TG_TOKEN_NONE, TG_FINISH_CANCELLED,
                       e->ready.text.len);
    for (uint32_t p = 0; p < TG_PRIORITIES; p++) {
        for (tg_seq *seq = e->sched.first[p], *next; seq; seq = next) {
            next = seq->next;
            if (seq->cancelled)
                finish_seq(e, seq, TG_TOKEN_NONE, TG_FINISH_CANCELLED, e->ready.text.len);
        }
    }
    e->cancels = false;
}

/* ---- a step ---- */

/* Under the lock: who takes part, as the backend wants it. */
static uint32_t prepare(tg_engine *e, uint64_t now_ns)
{
    tg_sched_admit(&e->sched, now_ns);
    for (uint32_t i = 0; i < e->sched.running_len; i++) {
        tg_seq *seq = e->sched.running[i];
        if (seq->counted)
            continue;
        seq->counted = true;
        e->totals.prompt_tokens_total += seq->given_len;
        e->totals.cached_tokens_total += seq->usage.cached_tokens;
    }
    uint32_t len = 0;
    tg_sched_plan(&e->sched);
    for (uint32_t i = 0; i < e->sched.running_len; i++) {
        tg_seq *seq = e->sched.running[i];
        if (seq->planned == 0)
            continue;
        e->step_owners[len] = seq;
        e->step_seqs[len] = (tg_step_seq){seq->tokens + seq->computed, seq->planned, seq->computed,
                                          seq->blocks, seq->computed + seq->planned == seq->len};
        e->weights[len] = (uint64_t)seq->planned * (KEYS_PER_TOKEN + seq->computed + seq->planned / 2);
        len++;
    }
    return len;
}

/* Without the lock: the forward pass and the draws. Returns the first error. */
static int run(tg_engine *e, uint32_t len)
{
    const tg_forward_step step = {e->step_seqs, len};
    const uint32_t vocab = e->model->shape.vocab;
    const float *logits = NULL;
    int rc = e->backend->ops->run(e->backend, &step, &logits);
    for (uint32_t i = 0; i < len && rc == 0; i++) {
        const tg_seq *seq = e->step_owners[i];
        e->sampled[i] = TG_TOKEN_NONE;
        if (!e->step_seqs[i].wants_logits)
            continue;
        const tg_adjust adjust = {&seq->adjustments, seq->tokens, seq->prompt_len, seq->len, seq->ends, seq->ends_len, vocab};
        const float *from = logits;
        if (tg_adjust_wanted(&adjust)) {
            tg_adjust_apply(&adjust, logits, e->seen, e->adjusted);
            from = e->adjusted;
        }
        if (tg_sample(&seq->sampling, seq->len, from, vocab, e->scratch, &e->sampled[i]) < 0)
            e->sampled[i] = TG_TOKEN_NONE; /* not numbers: this sequence ends, the others go on */
        logits += vocab;
    }
    return rc;
}

/* Under the lock: one sequence takes its token in. */
static void settle_one(tg_engine *e, tg_seq *seq, uint32_t token, bool wanted, uint64_t now_ns)
{
    tg_finish finish = TG_FINISH_NONE;
    const size_t text_at = e->ready.text.len;
    if (!wanted)
        return;
    if (token == TG_TOKEN_NONE) {
        finish_seq(e, seq, token, TG_FINISH_ERROR, text_at);
        return;
    }
    if (seq->first_token_ns == 0) {
        seq->first_token_ns = now_ns;
        seq->usage.prefill_ns = now_ns - seq->admitted_ns;
    }
    seq->tokens[seq->len++] = token;
    seq->usage.output_tokens++;
    e->totals.output_tokens_total++;
    if (tg_seq_accept(seq, e->model, token, &e->ready.text, &finish) < 0)
        finish = TG_FINISH_ERROR;
    else if (finish == TG_FINISH_NONE && seq->len == seq->limit)
        finish = TG_FINISH_LENGTH;
    if (finish == TG_FINISH_NONE) {
        emit(e, seq, token, finish, text_at);
        return;
    }
    tg_seq_flush(seq, &e->ready.text);
    finish_seq(e, seq, token, finish, text_at);
}

static void settle(tg_engine *e, uint32_t len, int rc)
{
    const uint64_t now = tg_clock_mono_ns(), spent = now - e->mark_ns;
    e->mark_ns = now;
    e->totals.steps_total++;
    e->totals.shared_ns += spent;
    tg_share(spent, e->weights, len, e->shares);
    for (uint32_t i = 0; i < len; i++) {
        tg_seq *seq = e->step_owners[i];
        seq->usage.engine_ns += e->shares[i];
        if (rc < 0) {
            finish_seq(e, seq, TG_TOKEN_NONE, TG_FINISH_ERROR, e->ready.text.len);
            continue;
        }
        tg_sched_advance(&e->sched, seq);
        settle_one(e, seq, e->sampled[i], e->step_seqs[i].wants_logits, now);
    }
}

/* ---- the thread ---- */

static bool has_work(const tg_engine *e)
{
    return e->cancels || e->sched.running_len > 0 || e->sched.waiting_len > 0;
}

/* Under the lock, waits until there is something to do and room to tell of it. False: stop. */
static bool await(tg_engine *e)
{
    while (!e->stop && !has_work(e)) {
        e->idle = true;
        pthread_cond_wait(&e->work, &e->lock);
    }
    while (!e->stop && !has_room(e)) {
        e->idle = true;
        pthread_cond_wait(&e->drained, &e->lock);
    }
    if (e->idle) {
        const uint64_t now = tg_clock_mono_ns();
        e->totals.idle_ns += now - e->mark_ns;
        e->mark_ns = now;
        e->idle = false;
    }
    return !e->stop;
}

void *tg_engine_main(void *engine)
{
    tg_engine *e = engine;
    pthread_mutex_lock(&e->lock);
    while (await(e)) {
        if (e->cancels)
            finish_cancelled(e);
        uint32_t len = prepare(e, tg_clock_mono_ns());
        if (len > 0) {
            pthread_mutex_unlock(&e->lock);
            int rc = run(e, len);
            pthread_mutex_lock(&e->lock);
            settle(e, len, rc);
        } else {
            const uint64_t now = tg_clock_mono_ns();
            e->totals.overhead_ns += now - e->mark_ns;
            e->mark_ns = now;
        }
        if (!e->told && e->conf.notify) {
            e->told = true;
            pthread_mutex_unlock(&e->lock);
            e->conf.notify(e->conf.notify_user);
            pthread_mutex_lock(&e->lock);
        }
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}
