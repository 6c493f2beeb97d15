#include "services/router/dispatch/dispatch.h"

#include "services/router/dispatch/ask.h"
#include "services/router/dispatch/outcome.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tg_dispatch {
    tg_dispatch_env *env;
    tg_dispatch_request request;
    tg_list node; /* in env->active */
    size_t step;  /* the attempt under way, an index into the plan */

    /* The attempt under way. */
    tg_attempt attempt;
    tg_upstream *upstream;
    tg_answer_decoder *decoder;
    uint64_t slot;
    tg_buf error_body;
    bool running;   /* opened and not yet closed */
    bool committed; /* a streaming client has seen text */
    bool paused;
    bool done;
    tg_usage_event event;
    tg_ask ask;
};

static void start_attempt(tg_dispatch *d);

void tg_dispatch_env_init(tg_dispatch_env *env) { tg_list_init(&env->active); }

static const tg_target *target_of(const tg_dispatch *d)
{
    return tg_targets_at(d->request.snapshot->targets,
                         (size_t)d->request.plan->steps[d->step].target);
}

static const tg_endpoint *endpoint_of(const tg_dispatch *d)
{
    return &target_of(d)->endpoints[d->request.plan->steps[d->step].endpoint];
}

/* ---- the end ---- */

static void finish(tg_dispatch *d, const tg_dispatch_result *result)
{
    if (d->done)
        return;
    d->done = true;
    tg_list_remove(&d->node);
    d->env->active_count--;
    d->request.on_done(d->request.user, result); /* may free d */
}

static void release_upstream(tg_dispatch *d)
{
    if (d->upstream) {
        const tg_transport *transport =
            target_of(d)->provider == TG_PROVIDER_PRIVATE ? d->env->rpc : d->env->http;
        transport->cancel(d->upstream);
        d->upstream = NULL;
    }
    d->decoder = tg_answer_decoder_free(d->decoder);
}

/* Closes the attempt's event: tokens, cost, outcome; then the record and the observation. */
static void close_attempt(tg_dispatch *d, tg_outcome outcome)
{
    const tg_step *step = &d->request.plan->steps[d->step];
    if (!d->running)
        return;
    d->running = false;
    d->attempt.closed_mono_ns = d->env->mono_ns();
    tg_attempt_close(&d->attempt, outcome, d->env->wall_ns(), d->request.chat, d->env->estimates,
                     &d->event);
    tg_attempt_price(&d->event, d->request.snapshot, d->request.plan, step->target);
    if (d->slot != TG_NO_SLOT)
        d->env->closed(d->env->user, d->slot, &d->event);
    tg_observation observation;
    tg_attempt_observe(&d->attempt, step, &d->event, &observation);
    /* A client that left says nothing about the endpoint, unless tokens came. */
    if (outcome != TG_OUTCOME_CLIENT_GONE || d->event.first_token_ns > 0)
        d->env->observe(d->env->user, &observation);
    if (step->probe)
        d->env->probe(d->env->user, d->event.target, d->event.endpoint, false);
}

/* The attempt failed: try the next step, or give up. */
static void fail_attempt(tg_dispatch *d, tg_outcome outcome)
{
    tg_dispatch_result result;
    release_upstream(d);
    if (d->attempt.output_bytes > 0 && outcome == TG_OUTCOME_FAILED)
        outcome = TG_OUTCOME_INTERRUPTED;
    close_attempt(d, outcome);
    tg_attempt_result(&d->attempt, target_of(d), d->committed, &result);
    result.event = &d->event;
    bool again = !d->committed && d->attempt.retryable && d->step + 1 < d->request.plan->step_count;
    if (!again) {
        finish(d, &result);
        return;
    }
    d->step++;
    start_attempt(d);
}

/* ---- the answer ---- */

static void on_chat_event(void *user, const tg_chat_event *event)
{
    tg_dispatch *d = user;
    if (d->done || !d->running)
        return;
    if (event->type == TG_CHAT_ERROR) {
        tg_attempt_note_error(&d->attempt, event);
        return;
    }
    tg_attempt_note(&d->attempt, event, d->env->mono_ns(), &d->event);
    d->request.on_event(d->request.user, event); /* may not free d: see dispatch.h */
    if (tg_chat_is_output(event) && d->request.chat->stream)
        d->committed = true;
}

static void feed(tg_dispatch *d, tg_str bytes)
{
    tg_error err = {""};
    if (!d->decoder) {
        size_t room = TG_DISPATCH_ERROR_BODY_MAX - d->error_body.len;
        tg_buf_add(&d->error_body, bytes.data, bytes.len < room ? bytes.len : room);
        return;
    }
    int rc = tg_answer_decoder_feed(d->decoder, bytes, on_chat_event, d, &err);
    if (rc < 0)
        tg_attempt_note_bad_answer(&d->attempt, &err);
    if (d->attempt.failed)
        fail_attempt(d, TG_OUTCOME_FAILED);
}

static void on_head(tg_dispatch *d, const tg_upstream_event *event)
{
    const tg_target *target = target_of(d);
    d->attempt.status = event->status;
    d->event.upstream_status = event->status;
    for (size_t i = 0; i < event->header_count; i++)
        tg_dialect_rate_header(target->provider, event->headers[i].name, event->headers[i].value,
                               d->env->wall_ns(), &d->attempt.rate_limit);
    if (event->status != 200)
        return;
    bool stream = d->request.chat->stream || target->provider == TG_PROVIDER_PRIVATE;
    d->decoder = tg_answer_decoder_new(target->provider, stream, d->env->doc);
    if (!d->decoder) {
        tg_attempt_note_local(&d->attempt, "out of memory");
        fail_attempt(d, TG_OUTCOME_FAILED);
    }
}

static void on_end(tg_dispatch *d, const tg_upstream_event *event)
{
    tg_error err = {""};
    d->upstream = NULL; /* the transport has let go of it */
    if (d->decoder && event->failure == TG_UPSTREAM_OK) {
        int rc = tg_answer_decoder_end(d->decoder, on_chat_event, d, &err);
        if (rc == 0 && !d->attempt.failed) {
            release_upstream(d);
            close_attempt(d, TG_OUTCOME_OK);
            finish(d, &(tg_dispatch_result){.end = TG_DISPATCH_OK, .event = &d->event});
            return;
        }
        if (rc < 0)
            tg_attempt_note_bad_answer(&d->attempt, &err);
    } else {
        if (event->status >= 1000)
            d->event.upstream_status = d->attempt.status = event->status;
        tg_attempt_note_end(&d->attempt, target_of(d)->provider, event, tg_buf_str(&d->error_body),
                            d->env->doc);
    }
    fail_attempt(d, d->attempt.timed_out ? TG_OUTCOME_TIMEOUT : TG_OUTCOME_FAILED);
}

static void on_upstream(void *user, const tg_upstream_event *event)
{
    tg_dispatch *d = user;
    d->attempt.heard_mono_ns = d->env->mono_ns();
    switch (event->type) {
    case TG_UPSTREAM_HEAD: on_head(d, event); break;
    case TG_UPSTREAM_DATA: feed(d, event->data); break;
    case TG_UPSTREAM_END: on_end(d, event); break;
    }
}

/* ---- an attempt begins ---- */

static void describe(tg_dispatch *d)
{
    const tg_dispatch_request *r = &d->request;
    const tg_target *target = target_of(d);
    tg_usage_event *e = &d->event;
    uint32_t attempt = e->attempt + 1;
    memset(e, 0, sizeof *e);
    e->attempt = attempt;
    memcpy(e->request_id, r->request_id, sizeof e->request_id);
    tg_str_copy(e->instance_id, sizeof e->instance_id, tg_str_of(d->env->instance_id));
    tg_str_copy(e->tenant, sizeof e->tenant, tg_str_of(r->tenant));
    tg_str_copy(e->key_id, sizeof e->key_id, tg_str_of(r->key_id));
    tg_str_copy(e->client_request_id, sizeof e->client_request_id, tg_str_of(r->client_request_id));
    tg_str_copy(e->task_type, sizeof e->task_type, tg_str_of(r->plan->task_type));
    tg_str_copy(e->rule, sizeof e->rule, tg_str_of(r->plan->rule));
    tg_str_copy(e->policy_version, sizeof e->policy_version, tg_str_of(r->policy_version));
    tg_str_copy(e->target, sizeof e->target, tg_str_of(target->id));
    tg_str_copy(e->endpoint, sizeof e->endpoint, tg_str_of(endpoint_of(d)->id));
    tg_str_copy(e->provider, sizeof e->provider, tg_str_of(tg_provider_name(target->provider)));
    tg_str_copy(e->model_requested, sizeof e->model_requested, r->chat->model);
    tg_str_copy(e->model_sent, sizeof e->model_sent, tg_str_of(target->model));
    tg_str_copy(e->traceparent, sizeof e->traceparent, tg_str_of(r->traceparent));
    e->stream = r->chat->stream;
    e->opened_unix_ns = d->env->wall_ns();
    /* What recovery would bill if this process died now: the prompt, estimated. */
    e->tokens.input = d->attempt.counted_tokens > 0
                          ? d->attempt.counted_tokens
                          : tg_token_estimate(tg_estimates_of(d->env->estimates, target->id),
                                              tg_chat_input_units(r->chat));
    e->input_source = e->output_source = TG_COUNT_ESTIMATED;
    tg_attempt_price(e, r->snapshot, r->plan, r->plan->steps[d->step].target);
}

/* Sends the attempt on its way; a local failure is noted in d->attempt. */
static int send_attempt(tg_dispatch *d)
{
    const tg_step *step = &d->request.plan->steps[d->step];
    const tg_target *target = target_of(d);
    tg_error err = {""};
    int rc = tg_ask_build(&d->ask, target, endpoint_of(d),
                          &d->request.credentials[step->target][step->endpoint], d->request.chat,
                          step->max_tokens, &d->event, d->event.opened_unix_ns / 1000000000u,
                          &err);
    if (rc < 0) {
        tg_attempt_note_local(&d->attempt, err.text);
        return rc;
    }
    tg_transport *transport = target->provider == TG_PROVIDER_PRIVATE ? d->env->rpc : d->env->http;
    rc = transport->start(transport, &d->ask.request, on_upstream, d, &d->upstream);
    if (rc < 0) {
        d->upstream = NULL;
        tg_attempt_note_local(&d->attempt, rc == -EAGAIN ? "too many requests are in flight already"
                                                         : strerror(-rc));
    } else if (d->paused) {
        transport->pause(d->upstream, true);
    }
    return rc;
}

static void start_attempt(tg_dispatch *d)
{
    const tg_step *step = &d->request.plan->steps[d->step];
    tg_attempt_init(&d->attempt, d->env->mono_ns());
    d->attempt.counted_tokens = step->counted_tokens;
    tg_buf_clear(&d->error_body);
    describe(d);
    int rc = d->env->opened(d->env->user, &d->event, &d->slot);
    if (rc < 0) {
        finish(d, &(tg_dispatch_result){
                      .end = TG_DISPATCH_FAILED,
                      .status = 503,
                      .error_type = "overloaded_error",
                      .message = "usage records cannot be written at the moment; nothing was sent",
                      .retry_after_ms = 1000});
        return;
    }
    d->running = true;
    if (step->probe)
        d->env->probe(d->env->user, d->event.target, d->event.endpoint, true);
    d->request.on_attempt(d->request.user, &d->event);
    if (send_attempt(d) < 0)
        fail_attempt(d, TG_OUTCOME_FAILED);
}

/* ---- the face ---- */

int tg_dispatch_new(tg_dispatch_env *env, const tg_dispatch_request *request, tg_dispatch **ret)
{
    tg_dispatch *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->env = env;
    d->request = *request;
    tg_buf_init(&d->error_body, TG_DISPATCH_ERROR_BODY_MAX);
    tg_ask_init(&d->ask);
    tg_list_add_tail(&env->active, &d->node);
    env->active_count++;
    *ret = d;
    return 0;
}

void tg_dispatch_run(tg_dispatch *dispatch) { start_attempt(dispatch); }

void tg_dispatch_pause(tg_dispatch *d, bool paused)
{
    d->paused = paused;
    if (d->upstream) {
        tg_transport *transport =
            target_of(d)->provider == TG_PROVIDER_PRIVATE ? d->env->rpc : d->env->http;
        transport->pause(d->upstream, paused);
        d->attempt.heard_mono_ns = d->env->mono_ns(); /* our pause is not its silence */
    }
}

tg_dispatch *tg_dispatch_free(tg_dispatch *d)
{
    if (!d)
        return NULL;
    if (!d->done) {
        d->done = true;
        tg_list_remove(&d->node);
        d->env->active_count--;
    }
    release_upstream(d);
    close_attempt(d, TG_OUTCOME_CLIENT_GONE);
    tg_ask_free(&d->ask);
    tg_buf_free(&d->error_body);
    free(d);
    return NULL;
}

static void tick_one(tg_dispatch *d, uint64_t now_ns)
{
    const tg_target *target = target_of(d);
    const tg_attempt *a = &d->attempt;
    uint64_t total_ms = (now_ns - a->opened_mono_ns) / 1000000u;
    uint64_t silent_ms = (now_ns - a->heard_mono_ns) / 1000000u;
    const char *what = NULL;
    if (!d->running || d->paused)
        return;
    if (total_ms > target->total_timeout_ms)
        what = "the answer took longer than total_timeout_ms";
    else if (a->first_token_mono_ns == 0 && d->request.chat->stream &&
             total_ms > target->first_token_timeout_ms)
        what = "no first token within first_token_timeout_ms";
    else if (a->first_token_mono_ns > 0 && silent_ms > target->idle_timeout_ms)
        what = "no further token within idle_timeout_ms";
    if (!what)
        return;
    tg_attempt_note_timeout(&d->attempt, what);
    fail_attempt(d, TG_OUTCOME_TIMEOUT);
}

void tg_dispatch_tick(tg_dispatch_env *env)
{
    uint64_t now_ns = env->mono_ns();
    /* A timed-out dispatch may start a new attempt or free itself, never one of its neighbours. */
    for (tg_list *node = env->active.next, *next; node != &env->active; node = next) {
        next = node->next;
        tick_one(TG_CONTAINER_OF(node, tg_dispatch, node), now_ns);
    }
}
