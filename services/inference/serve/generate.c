/* Inference.Generate: a request into the engine's queue, its tokens out as a stream. */
#include "services/inference/serve/inference.h"

#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "libs/base/log.h"
#include "services/inference/serve/request_log.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct generation {
    tg_list node;
    tg_inference *inference;
    tg_rpc_call *call;
    uint64_t seq_id;
    bool gone; /* the client left; the engine has been told */
    tg_request_record record;
} generation;

static void count(tg_metric_family *family, const char *label)
{
    const char *const labels[] = {label};
    tg_counter_add(tg_counter_of(family, labels), 1);
}

/* ---- out ---- */

static void send_start(generation *g, uint32_t prompt_tokens, uint64_t seed)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    Tollgate__V1__GenerateStart start = TOLLGATE__V1__GENERATE_START__INIT;
    start.model = (char *)g->inference->model;
    start.prompt_tokens = prompt_tokens;
    start.seed = seed;
    event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_START;
    event.start = &start;
    tg_rpc_send(g->call, &event.base);
}

static int send_delta(generation *g, const tg_engine_event *e)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    Tollgate__V1__GenerateDelta delta = TOLLGATE__V1__GENERATE_DELTA__INIT;
    char text[512];
    uint32_t id = e->token;
    if (e->token == TG_TOKEN_NONE && e->text.len == 0)
        return 0;
    tg_str_copy(text, sizeof text, e->text);
    delta.text = text;
    if (e->text.len >= sizeof text) { /* a held-back stop string let go at once: rare and bounded */
        char *copy = tg_arena_strdup(tg_rpc_call_arena(g->call), e->text);
        if (!copy)
            return -ENOMEM;
        delta.text = copy;
    }
    delta.token_ids = &id;
    delta.n_token_ids = e->token != TG_TOKEN_NONE;
    event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_DELTA;
    event.delta = &delta;
    return tg_rpc_send(g->call, &event.base);
}

static Tollgate__V1__FinishReason finish_of(tg_finish finish)
{
    switch (finish) {
    case TG_FINISH_STOP: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_STOP;
    case TG_FINISH_LENGTH: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_LENGTH;
    case TG_FINISH_CANCELLED: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_CANCELLED;
    case TG_FINISH_ERROR: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_ERROR;
    default: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_UNKNOWN;
    }
}

static void send_end(generation *g, const tg_engine_event *e, const char *numerics)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    Tollgate__V1__GenerateEnd end = TOLLGATE__V1__GENERATE_END__INIT;
    end.finish = finish_of(e->finish);
    end.prompt_tokens = e->usage.prompt_tokens;
    end.cached_tokens = e->usage.cached_tokens;
    end.output_tokens = e->usage.output_tokens;
    end.queue_ns = e->usage.queue_ns;
    end.prefill_ns = e->usage.prefill_ns;
    end.decode_ns = e->usage.decode_ns;
    end.engine_ns = e->usage.engine_ns;
    end.numerics = (char *)numerics;
    event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_END;
    event.end = &end;
    tg_rpc_send(g->call, &event.base);
}

static void note(tg_inference *inference, const tg_gen_usage *usage, const char *finish)
{
    count(inference->metrics.requests, finish);
    tg_histogram_observe(inference->metrics.queue_ns, usage->queue_ns);
    if (usage->output_tokens > 0) {
        tg_histogram_observe(inference->metrics.first_token_ns, usage->queue_ns + usage->prefill_ns);
        tg_histogram_observe(inference->metrics.decode_ns,
                             usage->decode_ns / (usage->output_tokens > 1 ? usage->output_tokens - 1 : 1));
    }
}

static void end(generation *g, const tg_engine_event *e)
{
    static const char *const names[] = {"none", "stop", "length", "cancelled", "error"};
    tg_inference *inference = g->inference;
    tg_engine_status status;
    tg_engine_get_status(inference->engine, &status);
    /* The log is the engine's own account: on disk before the client is told. */
    tg_request_log_write(inference->log_fd, &g->record, &e->usage, names[e->finish],
                         tg_clock_wall_ns());
    note(inference, &e->usage, names[e->finish]);
    tg_rpc_call_set_user(g->call, NULL);
    if (g->gone) {
        tg_rpc_finish(g->call, TG_RPC_CANCELLED, "cancelled by the client");
    } else if (e->finish == TG_FINISH_ERROR) {
        tg_rpc_finish(g->call, TG_RPC_INTERNAL, "the model's output was not a number, or memory ran out");
    } else {
        send_end(g, e, status.numerics);
        tg_rpc_finish(g->call, TG_RPC_OK, "");
    }
    tg_list_remove(&g->node);
    free(g);
}

static void on_engine_event(void *user, const tg_engine_event *e)
{
    generation *g = e->user;
    (void)user;
    if (!g->gone && send_delta(g, e) == -ENOBUFS) {
        g->gone = true; /* it does not read what it asked for: TG_RPC_SEND_QUEUE_MAX tokens wait */
        tg_engine_cancel(g->inference->engine, g->seq_id);
    }
    if (e->finish != TG_FINISH_NONE)
        end(g, e);
}

void tg_inference_drain_engine(tg_inference *inference)
{
    tg_engine_drain(inference->engine, on_engine_event, inference);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    generation *g = user;
    (void)call;
    if (!g)
        return;
    g->gone = true;
    tg_engine_cancel(g->inference->engine, g->seq_id); /* its end event releases the rest */
}

/* ---- in ---- */

const tg_prompt_message *tg_inference_messages(tg_rpc_call *call, const void *chat_messages,
                                             size_t *ret_count, tg_error *err)
{
    const Tollgate__V1__ChatMessages *in = chat_messages;
    tg_prompt_message *out = tg_arena_zalloc(tg_rpc_call_arena(call), in->n_messages + 1, sizeof *out);
    if (!out) {
        tg_error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < in->n_messages; i++) {
        out[i].role = tg_str_of(in->messages[i]->role);
        out[i].content = tg_str_of(in->messages[i]->content);
    }
    *ret_count = in->n_messages;
    return out;
}

static int decode_adjustments(tg_rpc_call *call, const Tollgate__V1__Sampling *s, tg_adjustments *ret, tg_error *err)
{
    tg_logit_bias *bias = tg_arena_zalloc(tg_rpc_call_arena(call), s->n_logit_bias + 1, sizeof *bias);
    if (!bias)
        return tg_error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < s->n_logit_bias; i++)
        bias[i] = (tg_logit_bias){s->logit_bias[i]->token_id, s->logit_bias[i]->bias};
    ret->repetition_penalty = s->repetition_penalty;
    ret->presence_penalty = s->presence_penalty;
    ret->frequency_penalty = s->frequency_penalty;
    ret->bias = bias;
    ret->bias_len = s->n_logit_bias;
    return 0;
}

static int decode(tg_inference *inference, tg_rpc_call *call, const Tollgate__V1__GenerateRequest *in,
                  tg_str *text, tg_gen_request *out, tg_error *err)
{
    const Tollgate__V1__Sampling *s = in->sampling;
    bool has_text = in->text && *in->text;
    if ((in->messages != NULL) + has_text + (in->tokens != NULL) != 1)
        return tg_error_set(err, -EINVAL, "exactly one of messages, text and tokens must be given");
    if (in->messages) {
        out->messages = tg_inference_messages(call, in->messages, &out->messages_len, err);
        if (!out->messages)
            return -ENOMEM;
    } else if (has_text) {
        *text = tg_str_of(in->text);
        out->text = text;
    } else {
        out->tokens = in->tokens->ids;
        out->tokens_len = in->tokens->n_ids;
    }
    if (in->generated) {
        out->generated = in->generated->ids;
        out->generated_len = in->generated->n_ids;
    }
    tg_str *stops = tg_arena_zalloc(tg_rpc_call_arena(call), in->n_stop + 1, sizeof *stops);
    if (!stops)
        return tg_error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < in->n_stop; i++)
        stops[i] = tg_str_of(in->stop[i]);
    out->stop = stops;
    out->stop_len = in->n_stop;
    out->stop_ids = in->stop_token_ids;
    out->stop_ids_len = in->n_stop_token_ids;
    out->max_tokens = in->max_tokens ? in->max_tokens : inference->settings->default_max_tokens;
    out->tenant = tg_str_of(in->tenant);
    out->priority = in->priority;
    if (s)
        out->sampling = (tg_sampling){.temperature = s->temperature,
                                      .top_p = s->top_p,
                                      .min_p = s->min_p,
                                      .top_k = s->top_k,
                                      .seed = s->seed};
    out->adjustments.min_tokens = in->min_tokens;
    if (!s || !s->has_seed)
        out->sampling.seed = tg_random_next(&inference->rng);
    return s ? decode_adjustments(call, s, &out->adjustments, err) : 0;
}

static void refuse(tg_inference *inference, tg_rpc_call *call, int rc, const tg_error *err)
{
    tg_rpc_code code = TG_RPC_INTERNAL;
    const char *reason = "internal";
    if (rc == -EAGAIN) {
        code = TG_RPC_RESOURCE_EXHAUSTED;
        reason = "queue_full";
        tg_rpc_call_add_trailing(call, "retry-after-ms", TG_STR("500"));
    } else if (rc == -EMSGSIZE) {
        code = TG_RPC_INVALID_ARGUMENT;
        reason = "too_long";
    } else if (rc == -EINVAL || rc == -ENOTSUP) {
        code = TG_RPC_INVALID_ARGUMENT;
        reason = "invalid";
    } else if (rc == -ENOMEM) {
        code = TG_RPC_RESOURCE_EXHAUSTED;
        reason = "memory";
    }
    count(inference->metrics.refusals, reason);
    tg_rpc_fail(call, code, "%s", err->text[0] ? err->text : strerror(-rc));
}

void tg_inference_generate(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    tg_inference *inference = service;
    const Tollgate__V1__GenerateRequest *in = (const Tollgate__V1__GenerateRequest *)request;
    tg_gen_request gen = {0};
    tg_gen_ticket ticket;
    tg_error err = {""};
    tg_str text;
    generation *g = calloc(1, sizeof *g);
    int rc = g ? decode(inference, call, in, &text, &gen, &err) : -ENOMEM;
    if (rc == 0) {
        gen.user = g;
        rc = tg_engine_submit(inference->engine, &gen, &err, &ticket);
    }
    if (rc < 0) {
        refuse(inference, call, rc, &err);
        free(g);
        return;
    }
    g->inference = inference;
    g->call = call;
    g->seq_id = ticket.seq_id;
    tg_request_record_init(&g->record, in->request_id, in->attempt, in->tenant,
                           inference->model);
    tg_list_add_tail(&inference->generations, &g->node);
    tg_rpc_call_set_user(call, g);
    tg_rpc_call_on_cancel(call, on_cancel);
    send_start(g, ticket.prompt_tokens, gen.sampling.seed);
}
