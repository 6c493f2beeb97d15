/* The engine thread: admit, plan, run, sample, emit; again. It allocates nothing, but that the room
 * for events grows with the most that ever waited, and that a constraint's walks are made once and
 * what its states hold grows to the most of it. */
#include "libs/base/clock.h"
#include "services/inference/backend/numerics.h"
#include "services/inference/engine/engine_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- batches of events ---- */

int tg_batch_init(tg_batch *batch)
{
    *batch = (tg_batch){0};
    tg_buf_init(&batch->text, 0);
    tg_buf_init(&batch->logprobs, 0);
    batch->events = malloc(TG_ENGINE_EVENTS_MAX * sizeof(*batch->events));
    return batch->events ? 0 : -ENOMEM;
}

void tg_batch_free(tg_batch *batch)
{
    free(batch->events);
    tg_buf_free(&batch->text);
    tg_buf_free(&batch->logprobs);
}

void tg_batch_clear(tg_batch *batch)
{
    batch->len = 0;
    tg_buf_clear(&batch->text);
    tg_buf_clear(&batch->logprobs);
}

/* A turn ends at most every sequence there is, begins the echo of each that runs, and brings a
 * token for each row of logits. */
static bool has_room(const tg_engine *e)
{
    return e->ready.len + e->sched.waiting_len + 2 * TG_ENGINE_SEQS_MAX + e->rows_max <=
           TG_ENGINE_EVENTS_MAX;
}

typedef struct told { /* of a token, for its event */
    uint32_t token; /* or TG_TOKEN_NONE */
    bool prompt;
    const tg_row_result *row; /* of the logits it came from, or NULL */
    size_t text_at; /* its text is what has been added to the batch since */
} told;

static told nothing(const tg_engine *e)
{
    return (told){.token = TG_TOKEN_NONE, .text_at = e->ready.text.len};
}

/* Appends an event. There is room, but for the log-probabilities: without memory for them they are
 * missing. */
static void emit(tg_engine *e, const tg_seq *seq, const told *what, tg_finish finish)
{
    tg_batch_event *to = &e->ready.events[e->ready.len++];
    const size_t logprobs_at = e->ready.logprobs.len;
    e->told = false;
    *to = (tg_batch_event){.event = {.seq_id = seq->id,
                                     .user = seq->user,
                                     .choice = seq->sampling.choice,
                                     .token = what->token,
                                     .prompt = what->prompt,
                                     .finish = finish,
                                     .usage = seq->usage},
                           .text_at = what->text_at,
                           .logprobs_at = logprobs_at};
    to->event.text.len = e->ready.text.len - what->text_at;
    if (seq->logprobs && what->row && what->row->logprobs_len > 0 &&
        tg_buf_add(&e->ready.logprobs, what->row->logprobs,
                   what->row->logprobs_len * sizeof(*what->row->logprobs)) == 0)
        to->event.logprobs_len = what->row->logprobs_len;
}

/* ---- ends ---- */

/* Emits the end event, with the last token where there is one, and frees the sequence. */
static void finish_seq(tg_engine *e, tg_seq *seq, const told *last, tg_finish finish)
{
    const uint64_t now = tg_clock_mono_ns();
    if (seq->admitted_ns == 0)
        seq->usage.queue_ns = now - seq->submitted_ns;
    else if (seq->first_token_ns == 0)
        seq->usage.prefill_ns = now - seq->admitted_ns;
    else
        seq->usage.decode_ns = now - seq->first_token_ns;
    e->deadlines -= seq->deadline_ns != UINT64_MAX;
    tg_sched_remove(&e->sched, seq);
    tg_account_leave(&e->account, seq->account);
    emit(e, seq, last, finish);
    tg_seq_free(seq);
}

static tg_finish why_it_ends(const tg_seq *seq, uint64_t now_ns)
{
    return seq->cancelled               ? TG_FINISH_CANCELLED
           : seq->deadline_ns <= now_ns ? TG_FINISH_DEADLINE
                                        : TG_FINISH_NONE;
}

static void end_if_due(tg_engine *e, tg_seq *seq, uint64_t now_ns)
{
    const tg_finish why = why_it_ends(seq, now_ns);
    const told last = nothing(e);
    if (why != TG_FINISH_NONE)
        finish_seq(e, seq, &last, why);
}

/* Sequences that were cancelled, and those whose deadline is past. */
static void finish_due(tg_engine *e, uint64_t now_ns)
{
    for (uint32_t i = e->sched.running_len; i > 0; i--)
        end_if_due(e, e->sched.running[i - 1], now_ns);
    for (uint32_t p = 0; p < TG_PRIORITIES; p++) {
        for (tg_seq *seq = e->sched.first[p], *next; seq; seq = next) {
            next = seq->next;
            end_if_due(e, seq, now_ns);
        }
    }
    e->cancels = false;
}

/* ---- a step ---- */

/* The prompt's tokens, once a request; those of them that came from the cache whenever they did. */
static void count_prompt(tg_engine *e, tg_seq *seq, uint64_t now_ns)
{
    const uint32_t cached = seq->usage.cached_tokens - seq->counted_cached;
    const bool first = !seq->counted;
    seq->counted = true;
    seq->counted_cached = seq->usage.cached_tokens;
    if (seq->sampling.choice != 0) /* the others share its prompt */
        return;
    e->totals.cached_tokens_total += cached;
    seq->account->time.cached_tokens += cached;
    if (first) {
        e->totals.prompt_tokens_total += seq->given_len;
        seq->account->time.prompt_tokens += seq->given_len;
        tg_recent_admitted(&e->recent, seq->given_len, now_ns);
    }
}

/* Under the lock: who takes part, as the backend wants it. */
static uint32_t prepare(tg_engine *e, uint64_t now_ns)
{
    tg_sched_admit(&e->sched, now_ns);
    e->copies_len = e->sitting_len = 0;
    /* in order of admission, which is the order of the copies */
    for (uint32_t i = 0; i < e->sched.running_len; i++) {
        tg_seq *seq = e->sched.running[i];
        if (seq->copy.from != seq->copy.to)
            e->copies[e->copies_len++] = seq->copy;
        seq->copy = (tg_block_copy){0};
    }
    uint32_t len = 0, rows = 0;
    tg_sched_plan(&e->sched);
    for (uint32_t i = 0; i < e->sched.running_len; i++) {
        tg_seq *seq = e->sched.running[i];
        count_prompt(e, seq, now_ns);
        if (seq->planned > 0 && seq->masking) {
            e->sitting[e->sitting_len++] = seq;
            e->totals.masks_put_off_total++;
            seq->planned = 0;
        }
        if (seq->planned == 0)
            continue;
        e->step_owners[len] = seq;
        e->first_row[len] = rows;
        rows += seq->rows;
        e->step_seqs[len] = (tg_step_seq){seq->tokens + seq->computed, seq->planned, seq->computed,
                                          seq->blocks, seq->rows};
        e->parts[len] = (tg_account_part){seq->account,  &seq->usage.engine_ns,
                                          seq->computed, seq->planned,
                                          seq->rows,     tg_sched_again(seq, seq->planned)};
        len++;
    }
    return len;
}

/* Leaves of `logits`, which may be e->adjusted, what the sequence's mask allows, there; end tokens
 * where the answer may be over. */
static void apply_mask(tg_engine *e, const tg_seq *seq, const float *logits)
{
    const uint32_t vocab = e->model->shape.vocab;
    float ends[TG_MODEL_STOP_IDS_MAX + TG_ENGINE_STOP_IDS_MAX];
    for (size_t i = 0; i < seq->ends_len; i++)
        ends[i] = logits[seq->ends[i]];
    for (uint32_t id = 0; id < vocab;) {
        const uint64_t bits = e->allowed[id / 64];
        for (const uint32_t end = vocab - id < 64 ? vocab : id + 64; id < end; id++)
            e->adjusted[id] = bits >> (id % 64) & 1 ? logits[id] : -INFINITY;
    }
    for (size_t i = 0; i < seq->ends_len && tg_constraint_may_end(seq->constraint); i++)
        e->adjusted[seq->ends[i]] = ends[i];
}

/* The token that comes after seq->tokens[0..len), of those in e->allowed where the sequence has a
 * constraint. */
static uint32_t draw(tg_engine *e, const tg_seq *seq, uint32_t len, const float *logits)
{
    const uint32_t vocab = e->model->shape.vocab;
    const tg_adjust adjust = {&seq->adjustments, seq->tokens, seq->prompt_len, len, seq->ends,
                              seq->ends_len,     vocab};
    uint32_t token;
    if (tg_adjust_wanted(&adjust)) {
        tg_adjust_apply(&adjust, logits, e->seen, e->adjusted);
        logits = e->adjusted;
    }
    if (seq->constraint) {
        apply_mask(e, seq, logits);
        logits = e->adjusted;
    }
    return tg_sample(&seq->sampling, len, logits, vocab, e->scratch, &token) < 0 ? TG_TOKEN_NONE
                                                                                 : token;
}

/* How much of a step's work on masks a sequence may do, of those with a constraint that are
 * left. */
typedef struct mask_work {
    int64_t left;
    uint32_t seqs;
} mask_work;

static int64_t share_of(const mask_work *w)
{
    return w->left > (int64_t)w->seqs ? w->left / w->seqs : 1;
}

static void take_share(mask_work *w, int64_t share, int64_t rest)
{
    w->left -= share - rest;
    w->seqs--;
}

static bool is_end(const tg_seq *seq, uint32_t token)
{
    for (size_t i = 0; i < seq->ends_len; i++)
        if (seq->ends[i] == token)
            return true;
    return false;
}

/* Without the lock: what the rows of one sequence say. A guess that is not what was sampled makes
 * the rest void, and so does a mask that is not finished within `work`: what the sequence is to be
 * is not known yet then, and it sits out until it is. */
static void read_rows(tg_engine *e, tg_seq *seq, const tg_step_seq *step, tg_row_result *row,
                      const float *logits, int64_t *work)
{
    const uint32_t vocab = e->model->shape.vocab;
    bool goes_on = true;
    for (uint32_t i = 0; i < step->logits; i++)
        row[i].drawn = false;
    for (uint32_t i = 0; i < step->logits && goes_on; i++, row++, logits += vocab) {
        const uint32_t next = step->first_position + step->tokens_len - step->logits + i + 1;
        const bool given = next < seq->len;
        const int rc =
            given || !seq->constraint ? 0 : tg_constraint_mask(seq->constraint, work, &e->allowed);
        seq->masking = rc == -EAGAIN;
        if (seq->masking)
            return;
        row->drawn = true;
        row->token = given    ? seq->tokens[next]
                     : rc < 0 ? TG_TOKEN_NONE
                              : draw(e, seq, next, logits);
        row->logprobs_len =
            seq->logprobs && row->token != TG_TOKEN_NONE
                ? tg_logprobs(logits, vocab, row->token, seq->top_logprobs, row->logprobs)
                : 0;
        row->complete = false;
        if (!given && row->token != TG_TOKEN_NONE && !is_end(seq, row->token) &&
            tg_seq_follow(seq, e->model, row->token, &row->complete) < 0)
            row->token = TG_TOKEN_NONE;
        goes_on = given || (row->token != TG_TOKEN_NONE && next < seq->len + seq->guesses &&
                            row->token == seq->tokens[next]);
    }
}

/* Without the lock: masks that were not finished are gone on with. Only this thread changes who
 * runs. */
static void finish_masks(tg_engine *e, mask_work *work)
{
    for (uint32_t i = 0; i < e->sitting_len; i++) {
        const int64_t share = share_of(work);
        int64_t rest = share;
        e->sitting[i]->masking =
            tg_constraint_mask(e->sitting[i]->constraint, &rest, &e->allowed) == -EAGAIN;
        take_share(work, share, rest);
    }
}

/* Without the lock: the forward pass and the draws. Returns the first error. */
static int run(tg_engine *e, uint32_t len)
{
    const tg_forward_step step = {
        .seqs = e->step_seqs, .seqs_len = len, .copies = e->copies, .copies_len = e->copies_len};
    const float *logits = NULL;
    mask_work work = {TG_ENGINE_MASK_WORK_MAX, e->sitting_len};
    int rc = len > 0 ? e->backend->ops->run(e->backend, &step, &logits) : 0;
    for (uint32_t i = 0; i < len; i++)
        work.seqs += e->step_owners[i]->constraint != NULL;
    for (uint32_t i = 0; i < len && rc == 0; i++) {
        tg_seq *seq = e->step_owners[i];
        const bool held = seq->constraint != NULL; /* it may come and go with the step's tokens */
        const int64_t share = held ? share_of(&work) : 0;
        int64_t rest = share;
        read_rows(e, seq, &e->step_seqs[i], &e->rows[e->first_row[i]], logits, &rest);
        if (held)
            take_share(&work, share, rest);
        logits += (size_t)e->step_seqs[i].logits * e->model->shape.vocab;
    }
    if (rc == 0)
        finish_masks(e, &work);
    return rc;
}

/* Under the lock: one sequence takes its next token in. Whether it goes on. */
static bool take_token(tg_engine *e, tg_seq *seq, const tg_row_result *row, uint64_t now_ns)
{
    tg_finish finish = TG_FINISH_NONE;
    told what = nothing(e);
    if (row->token == TG_TOKEN_NONE) {
        finish_seq(e, seq, &what, TG_FINISH_ERROR);
        return false;
    }
    what.token = row->token;
    what.row = row;
    if (seq->first_token_ns == 0) {
        seq->first_token_ns = now_ns;
        seq->usage.prefill_ns = now_ns - seq->admitted_ns;
        tg_recent_first_token(&e->recent, now_ns - seq->submitted_ns, now_ns);
    } else {
        tg_recent_next_token(&e->recent, now_ns - seq->last_token_ns, now_ns);
    }
    seq->last_token_ns = now_ns;
    seq->tokens[seq->len++] = row->token;
    seq->usage.output_tokens++;
    e->totals.output_tokens_total++;
    seq->account->time.output_tokens++;
    if (tg_seq_accept(seq, e->model, row->token, &e->ready.text, &finish) < 0)
        finish = TG_FINISH_ERROR;
    else if (finish == TG_FINISH_NONE && row->complete)
        finish = TG_FINISH_STOP;
    else if (finish == TG_FINISH_NONE && seq->len == seq->limit)
        finish = TG_FINISH_LENGTH;
    if (finish == TG_FINISH_NONE) {
        emit(e, seq, &what, finish);
        return true;
    }
    if (tg_seq_flush(seq, &e->ready.text) < 0)
        finish = TG_FINISH_ERROR;
    finish_seq(e, seq, &what, finish);
    return false;
}

/* Shows the prompt: at once, or each token when its log-probabilities are known. 0 or -ENOMEM. */
static int echo(tg_engine *e, tg_seq *seq, const tg_row_result *row, uint32_t rows, uint32_t first)
{
    const uint32_t upto = seq->scores_prompt ? first + rows : seq->prompt_len;
    told what = {.token = TG_TOKEN_NONE, .prompt = true, .text_at = e->ready.text.len};
    for (; seq->told < upto && seq->told < seq->prompt_len; seq->told++) {
        if (tg_seq_show(seq, e->model, seq->tokens[seq->told], &e->ready.text) < 0)
            return -ENOMEM;
        if (!seq->scores_prompt)
            continue;
        what.token = seq->tokens[seq->told];
        what.row = seq->told >= first ? row + (seq->told - first) : NULL;
        emit(e, seq, &what, TG_FINISH_NONE);
        what.text_at = e->ready.text.len;
    }
    if (!seq->scores_prompt && e->ready.text.len > what.text_at)
        emit(e, seq, &what, TG_FINISH_NONE);
    return 0;
}

/* Under the lock: what the step brought to one sequence. */
static void settle_one(tg_engine *e, tg_seq *seq, const tg_step_seq *step, const tg_row_result *row,
                       uint64_t now_ns)
{
    /* what the first row predicts */
    const uint32_t first = step->first_position + step->tokens_len - step->logits + 1;
    uint32_t sampled[1 + TG_GUESSES_MAX], right = 0;
    if (seq->echo && seq->told < seq->prompt_len && echo(e, seq, row, step->logits, first) < 0) {
        const told last = nothing(e);
        finish_seq(e, seq, &last, TG_FINISH_ERROR);
        return;
    }
    /* of a prompt that is not computed to its end */
    if (step->first_position + step->tokens_len < seq->len) {
        tg_sched_advance(&e->sched, seq, 0);
        return;
    }
    row += step->logits - 1 - seq->guesses; /* of what comes after the last token */
    if (!row->drawn) { /* the last token will be computed again, for the same logits, when its mask
                          is finished */
        seq->planned--;
        tg_sched_advance(&e->sched, seq, 0);
        return;
    }
    while (right < seq->guesses && row[right + 1].drawn &&
           row[right].token == seq->tokens[seq->len + right])
        right++;
    tg_sched_advance(&e->sched, seq, right);
    for (uint32_t i = 0; i <= right; i++)
        sampled[i] = row[i].token;
    tg_speculation_learn(&seq->speculation, sampled, right + 1);
    seq->usage.guessed_tokens += seq->guesses;
    seq->usage.right_tokens += right;
    e->totals.guessed_tokens_total += seq->guesses;
    e->totals.right_tokens_total += right;
    for (uint32_t i = 0; i <= right && take_token(e, seq, &row[i], now_ns); i++)
        ;
}

/* What guesses may cost is seen from steps of one row a token, which those with prompts are not. */
static void learn_cost(tg_engine *e, uint32_t len, uint64_t took_ns)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (e->step_seqs[i].tokens_len != 1 + e->step_owners[i]->guesses)
            return;
        rows += e->step_seqs[i].tokens_len;
    }
    tg_step_cost_learn(&e->sched.cost, rows, took_ns);
}

static void settle(tg_engine *e, uint32_t len, int rc, uint64_t began_ns)
{
    const uint64_t now = tg_clock_mono_ns();
    e->totals.steps_total++;
    if (rc == 0)
        learn_cost(e, len, now - began_ns);
    tg_account_enter(&e->account, TG_ACCOUNT_OVERHEAD, now);
    for (uint32_t i = 0; i < len; i++) {
        tg_seq *seq = e->step_owners[i];
        const told last = nothing(e);
        if (rc < 0)
            finish_seq(e, seq, &last, TG_FINISH_ERROR);
        else
            settle_one(e, seq, &e->step_seqs[i], &e->rows[e->first_row[i]], now);
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
    while (!e->stop && (!has_work(e) || !has_room(e))) {
        tg_account_enter(&e->account, TG_ACCOUNT_IDLE, tg_clock_mono_ns());
        pthread_cond_wait(has_work(e) ? &e->drained : &e->work, &e->lock);
    }
    if (e->account.state == TG_ACCOUNT_IDLE)
        tg_account_enter(&e->account, TG_ACCOUNT_OVERHEAD, tg_clock_mono_ns());
    return !e->stop;
}

void *tg_engine_main(void *engine)
{
    tg_engine *e = engine;
    tg_numerics_enter();
    pthread_mutex_lock(&e->lock);
    while (await(e)) {
        const uint64_t now_ns = tg_clock_mono_ns();
        if (e->cancels || e->deadlines > 0)
            finish_due(e, now_ns);
        uint32_t len = prepare(e, now_ns);
        if (len + e->sitting_len > 0) {
            const uint64_t began_ns = tg_clock_mono_ns();
            if (len > 0)
                tg_account_begin_step(&e->account, e->parts, len, began_ns);
            pthread_mutex_unlock(&e->lock);
            int rc = run(e, len);
            pthread_mutex_lock(&e->lock);
            if (len > 0)
                settle(e, len, rc, began_ns);
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
