/* Inference.Generate: a request into the engine's queue, its tokens out as a stream. */
#include "services/inference/serve/inference.h"

#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "libs/base/log.h"
#include "services/inference/serve/answers.h"
#include "services/inference/serve/request_log.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct generation {
    tg_list node;
    tg_inference *inference;
    tg_rpc_call *call;
    uint64_t seq_id; /* of choice 0; the others follow */
    uint32_t choices, open; /* of them, not ended */
    tg_answers *answers;    /* NULL: what the model says is told as it is */
    bool gone; /* the client left; the engine has been told */
    bool logprobs;
    bool late; /* a choice ended by its deadline */
    bool failed;
    tg_gen_usage usage; /* of the choices that ended: the prompt's tokens once, all else summed */
    tg_request_record record;
} generation;

static void cancel_all(const generation *g)
{
    for (uint32_t i = 0; i < g->choices; i++)
        tg_engine_cancel(g->inference->engine, g->seq_id + i);
}

static void count(tg_metric_family *family, const char *label)
{
    const char *const labels[] = {label};
    tg_counter_add(tg_counter_of(family, labels), 1);
}

/* ---- out ---- */

static void send_start(generation *g, uint32_t prompt_tokens, uint64_t seed, const char *loose_why)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    Tollgate__V1__GenerateStart start = TOLLGATE__V1__GENERATE_START__INIT;
    start.model = (char *)g->inference->model;
    start.prompt_tokens = prompt_tokens;
    start.seed = seed;
    start.loose_tools = g->record.loose_tools;
    start.loose_why = (char *)loose_why;
    event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_START;
    event.start = &start;
    tg_rpc_send(g->call, &event.base);
}

typedef struct logprobs_message {
    Tollgate__V1__TokenLogprobs token, *pointer;
    Tollgate__V1__TokenLogprob top[TG_LOGPROBS_TOP_MAX], *pointers[TG_LOGPROBS_TOP_MAX];
} logprobs_message;

static ProtobufCBinaryData piece_of(const generation *g, uint32_t id)
{
    const tg_str piece = tg_tokenizer_piece(tg_engine_model(g->inference->engine)->tokenizer, id);
    return (ProtobufCBinaryData){piece.len, (uint8_t *)(uintptr_t)piece.data};
}

static void fill_logprobs(const generation *g, const tg_engine_event *e, logprobs_message *to)
{
    tollgate__v1__token_logprobs__init(&to->token);
    to->token.token_id = e->token;
    to->token.token = piece_of(g, e->token);
    to->token.unknown = e->logprobs_len == 0;
    to->token.logprob = e->logprobs_len > 0 ? e->logprobs[0].logprob : 0;
    to->token.n_top = e->logprobs_len > 0 ? e->logprobs_len - 1 : 0;
    to->token.top = to->pointers;
    for (size_t i = 0; i < to->token.n_top; i++) {
        tollgate__v1__token_logprob__init(&to->top[i]);
        to->top[i].token_id = e->logprobs[1 + i].id;
        to->top[i].token = piece_of(g, e->logprobs[1 + i].id);
        to->top[i].logprob = e->logprobs[1 + i].logprob;
        to->pointers[i] = &to->top[i];
    }
    to->pointer = &to->token;
}

static int send_delta(generation *g, const tg_engine_event *e)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    Tollgate__V1__GenerateDelta delta = TOLLGATE__V1__GENERATE_DELTA__INIT;
    logprobs_message logprobs;
    char text[512];
    uint32_t id = e->token;
    const bool apart = g->answers && !e->prompt;
    if (e->token == TG_TOKEN_NONE && e->text.len == 0 && !apart)
        return 0;
    delta.token_ids = &id;
    delta.n_token_ids = e->token != TG_TOKEN_NONE;
    delta.choice = e->choice;
    delta.prompt = e->prompt;
    if (g->logprobs && e->token != TG_TOKEN_NONE) {
        fill_logprobs(g, e, &logprobs);
        delta.logprobs = &logprobs.pointer;
        delta.n_logprobs = 1;
    }
    if (apart)
        return tg_answers_send(g->answers, g->call, e, &delta);
    delta.text = tg_answers_text(g->call, e->text, text, sizeof text);
    if (!delta.text)
        return -ENOMEM;
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
    case TG_FINISH_DEADLINE: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_DEADLINE;
    default: return TOLLGATE__V1__FINISH_REASON__FINISH_REASON_UNKNOWN;
    }
}

static void send_end(generation *g, const tg_engine_event *e, const char *numerics)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    Tollgate__V1__GenerateEnd end = TOLLGATE__V1__GENERATE_END__INIT;
    const bool called =
        e->finish == TG_FINISH_STOP && g->answers && tg_answers_called(g->answers, e->choice);
    end.finish =
        called ? TOLLGATE__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS : finish_of(e->finish);
    end.prompt_tokens = e->usage.prompt_tokens;
    end.cached_tokens = e->usage.cached_tokens;
    end.output_tokens = e->usage.output_tokens;
    end.reasoning_tokens = g->answers ? tg_answers_reasoning_tokens(g->answers, e->choice) : 0;
    end.queue_ns = e->usage.queue_ns;
    end.prefill_ns = e->usage.prefill_ns;
    end.decode_ns = e->usage.decode_ns;
    end.engine_ns = e->usage.engine_ns;
    end.numerics = (char *)numerics;
    end.choice = e->choice;
    end.guessed_tokens = e->usage.guessed_tokens;
    end.right_tokens = e->usage.right_tokens;
    end.prompt_block = e->usage.prompt_block;
    event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_END;
    event.end = &end;
    tg_rpc_send(g->call, &event.base);
}

static void note(tg_inference *inference, const tg_gen_usage *usage, const char *finish)
{
    count(inference->metrics.requests, finish);
    tg_histogram_observe(inference->metrics.queue_ns, usage->queue_ns);
    if (usage->output_tokens > 0) {
        tg_histogram_observe(inference->metrics.first_token_ns,
                             usage->queue_ns + usage->prefill_ns);
        tg_histogram_observe(inference->metrics.decode_ns,
                             usage->decode_ns /
                                 (usage->output_tokens > 1 ? usage->output_tokens - 1 : 1));
    }
}

/* How long places take to become free, for who is told to come back later. */
static void note_gap(tg_inference *inference)
{
    const uint64_t now = tg_clock_mono_ns(), gap = now - inference->last_end_ns;
    if (inference->last_end_ns != 0)
        inference->end_gap_ns = inference->end_gap_ns
                                    ? inference->end_gap_ns - inference->end_gap_ns / 8 + gap / 8
                                    : gap;
    inference->last_end_ns = now;
}

static void add_usage(tg_gen_usage *sum, const tg_gen_usage *usage)
{
    /* the first to end tells of the prompt, and how long all waited */
    if (sum->prompt_tokens == 0) {
        *sum = *usage;
        return;
    }
    sum->cached_tokens =
        usage->cached_tokens < sum->cached_tokens ? usage->cached_tokens : sum->cached_tokens;
    sum->output_tokens += usage->output_tokens;
    sum->engine_ns += usage->engine_ns;
    sum->decode_ns = usage->decode_ns > sum->decode_ns ? usage->decode_ns : sum->decode_ns;
}

/* All choices have ended. */
static void end(generation *g, const char *finish)
{
    tg_inference *inference = g->inference;
    tg_rpc_call_set_user(g->call, NULL);
    if (g->gone)
        tg_rpc_finish(g->call, TG_RPC_CANCELLED, "cancelled by the client");
    else if (g->failed)
        tg_rpc_finish(g->call, TG_RPC_INTERNAL,
                      "the model's output was not a number, or memory ran out");
    else if (g->late)
        tg_rpc_finish(g->call, TG_RPC_DEADLINE_EXCEEDED, "deadline_unix_ms came before the end");
    else
        tg_rpc_finish(g->call, TG_RPC_OK, "");
    note(inference, &g->usage, finish);
    note_gap(inference);
    tg_list_remove(&g->node);
    tg_answers_free(g->answers);
    free(g);
}

static void on_end(generation *g, const tg_engine_event *e)
{
    static const char *const names[] = {"none", "stop", "length", "cancelled", "error", "deadline"};
    tg_inference *inference = g->inference;
    tg_engine_status status;
    tg_engine_get_status(inference->engine, &status);
    add_usage(&g->usage, &e->usage);
    g->late |= e->finish == TG_FINISH_DEADLINE;
    g->failed |= e->finish == TG_FINISH_ERROR;
    g->open--;
    if (g->open == 0) /* the log is the engine's own account: on disk before the client is told */
        tg_request_log_write(inference->log_fd, &g->record, &g->usage, names[e->finish],
                             tg_clock_wall_ns());
    if (!g->gone && e->finish != TG_FINISH_ERROR)
        send_end(g, e, status.numerics);
    if (g->open == 0)
        end(g, names[e->finish]);
}

static void on_engine_event(void *user, const tg_engine_event *e)
{
    generation *g = e->user;
    (void)user;
    if (!g->gone && send_delta(g, e) < 0) {
        g->gone = true; /* it does not read what it asked for: TG_RPC_SEND_QUEUE_MAX tokens wait */
        cancel_all(g);
    }
    if (e->finish != TG_FINISH_NONE)
        on_end(g, e);
}

void tg_inference_drain_engine(tg_inference *inference)
{
    tg_engine_drain(inference->engine, on_engine_event, inference);
}

void tg_inference_end_generations(tg_inference *inference)
{
    TG_LIST_EACH(node, &inference->generations)
    {
        generation *g = TG_CONTAINER_OF(node, generation, node);
        g->gone = true;
        cancel_all(g);
    }
    /* the engine knows what they took, for the request log */
    while (!tg_list_empty(&inference->generations))
        uv_run(tg_service_uv(inference->service), UV_RUN_ONCE);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    generation *g = user;
    (void)call;
    if (!g)
        return;
    g->gone = true;
    cancel_all(g); /* the last end event releases the rest */
}

/* ---- in ---- */

/* What is more than the engine takes is not copied: the engine refuses it by the count alone. */
static size_t at_most(size_t count, size_t most) { return count < most ? count : most; }

const tg_prompt_message *tg_inference_messages(tg_rpc_call *call, const void *chat_messages,
                                             size_t *ret_count, tg_error *err)
{
    const Tollgate__V1__ChatMessages *in = chat_messages;
    const size_t len = at_most(in->n_messages, TG_PROMPT_MESSAGES_MAX);
    tg_prompt_message *out = tg_arena_zalloc(tg_rpc_call_arena(call), len + 1, sizeof *out);
    if (!out) {
        tg_error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < len; i++) {
        const Tollgate__V1__ChatMessage *m = in->messages[i];
        out[i] = (tg_prompt_message){tg_str_of(m->role), tg_str_of(m->content), tg_str_of(m->name),
                                     tg_str_of(m->tool_call_id), tg_str_of(m->tool_calls_json),
                                     tg_str_of(m->reasoning)};
    }
    *ret_count = in->n_messages;
    return out;
}

static int decode_adjustments(tg_rpc_call *call, const Tollgate__V1__Sampling *s,
                              tg_adjustments *ret, tg_error *err)
{
    const size_t bias_len = at_most(s->n_logit_bias, TG_LOGIT_BIAS_MAX);
    tg_logit_bias *bias = tg_arena_zalloc(tg_rpc_call_arena(call), bias_len + 1, sizeof *bias);
    if (!bias)
        return tg_error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < bias_len; i++)
        bias[i] = (tg_logit_bias){s->logit_bias[i]->token_id, s->logit_bias[i]->bias};
    ret->repetition_penalty = s->repetition_penalty;
    ret->presence_penalty = s->presence_penalty;
    ret->frequency_penalty = s->frequency_penalty;
    ret->bias = bias;
    ret->bias_len = s->n_logit_bias;
    return 0;
}

/* On the monotonic clock; what is past stays past. */
static uint64_t deadline_of(uint64_t unix_ms)
{
    const uint64_t now_ms = tg_clock_wall_ns() / 1000000u, mono_ns = tg_clock_mono_ns();
    if (unix_ms == 0)
        return 0;
    if (unix_ms <= now_ms)
        return mono_ns > (now_ms - unix_ms) * 1000000u ? mono_ns - (now_ms - unix_ms) * 1000000u
                                                       : 1;
    return unix_ms - now_ms < UINT64_MAX / 2000000u ? mono_ns + (unix_ms - now_ms) * 1000000u
                                                    : UINT64_MAX - 1;
}

static bool is_set(const char *text) { return text && *text; }

static int decode_constraint(tg_rpc_call *call, const Tollgate__V1__Constraint *in,
                             tg_constraint_spec *ret, tg_error *err)
{
    const size_t choices =
        in->choice ? at_most(in->choice->n_values, TG_CONSTRAINT_CHOICES_MAX) : 0;
    tg_str *texts = tg_arena_zalloc(tg_rpc_call_arena(call), choices + 1, sizeof *texts);
    if (!texts)
        return tg_error_set(err, -ENOMEM, "out of memory");
    if (in->json_object + is_set(in->json_schema) + is_set(in->regex) + (in->choice != NULL) != 1)
        return tg_error_set(
            err, -EINVAL,
            "constraint: exactly one of json_object, json_schema, regex and choice must be given");
    ret->texts = texts;
    if (in->json_object) {
        ret->kind = TG_CONSTRAINT_JSON_OBJECT;
    } else if (in->choice) {
        ret->kind = TG_CONSTRAINT_CHOICE;
        ret->texts_len = in->choice->n_values;
        for (size_t i = 0; i < choices; i++)
            texts[i] = tg_str_of(in->choice->values[i]);
    } else {
        ret->kind = is_set(in->regex) ? TG_CONSTRAINT_REGEX : TG_CONSTRAINT_JSON_SCHEMA;
        ret->texts_len = 1;
        texts[0] = tg_str_of(is_set(in->regex) ? in->regex : in->json_schema);
    }
    return 0;
}

static int decode(tg_inference *inference, tg_rpc_call *call,
                  const Tollgate__V1__GenerateRequest *in, tg_str *text, tg_gen_request *out,
                  tg_answer_conf *ret_answers, tg_error *err)
{
    const Tollgate__V1__Sampling *s = in->sampling;
    bool has_text = is_set(in->text);
    if ((in->messages != NULL) + has_text + (in->tokens != NULL) != 1)
        return tg_error_set(err, -EINVAL, "exactly one of messages, text and tokens must be given");
    if (in->continue_final_message && !in->messages)
        return tg_error_set(err, -EINVAL, "continue_final_message goes with messages only");
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
    const size_t stop_len = at_most(in->n_stop, TG_STOP_STRINGS_MAX);
    tg_str *stops = tg_arena_zalloc(tg_rpc_call_arena(call), stop_len + 1, sizeof *stops);
    if (!stops)
        return tg_error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < stop_len; i++)
        stops[i] = tg_str_of(in->stop[i]);
    out->stop = stops;
    out->stop_len = in->n_stop;
    out->stop_ids = in->stop_token_ids;
    out->stop_ids_len = in->n_stop_token_ids;
    out->max_tokens = in->max_tokens ? in->max_tokens : inference->settings->default_max_tokens;
    out->continue_final = in->continue_final_message;
    out->n = in->n;
    out->echo = in->echo;
    out->logprobs = in->logprobs;
    out->top_logprobs = in->top_logprobs;
    out->deadline_ns = deadline_of(in->deadline_unix_ms);
    out->tenant = tg_str_of(in->tenant);
    out->priority = in->priority;
    if (s)
        out->sampling = (tg_sampling){.temperature = s->temperature,
                                      .top_p = s->top_p,
                                      .min_p = s->min_p,
                                      .top_k = s->top_k,
                                      .seed = s->seed};
    out->adjustments.min_tokens = in->min_tokens;
    int rc = in->constraint ? decode_constraint(call, in->constraint, &out->constraint, err) : 0;
    if (rc == 0)
        rc = tg_answers_decode(call, in, tg_engine_model(inference->engine), out, ret_answers, err);
    if (!s || !s->has_seed)
        out->sampling.seed = tg_random_next(&inference->rng);
    if (rc == 0 && s)
        rc = decode_adjustments(call, s, &out->adjustments, err);
    return rc;
}

/* About when a place in the queue will be free: places have become free so fast lately. */
static uint64_t retry_after_ms(const tg_inference *inference)
{
    const uint64_t ms = inference->end_gap_ns / 1000000u;
    return ms < TG_INFERENCE_RETRY_MIN_MS ? TG_INFERENCE_RETRY_MIN_MS
           : ms > TG_INFERENCE_RETRY_MAX_MS ? TG_INFERENCE_RETRY_MAX_MS : ms;
}

static void refuse(tg_inference *inference, tg_rpc_call *call, int rc, const tg_error *err)
{
    tg_rpc_code code = TG_RPC_INTERNAL;
    const char *reason = "internal";
    if (rc == -EAGAIN) {
        code = TG_RPC_RESOURCE_EXHAUSTED;
        reason = "queue_full";
        char hint[24];
        snprintf(hint, sizeof hint, "%llu", (unsigned long long)retry_after_ms(inference));
        tg_rpc_call_add_trailing(call, "retry-after-ms", tg_str_of(hint));
    } else if (rc == -EMSGSIZE) {
        code = TG_RPC_INVALID_ARGUMENT;
        reason = "too_long";
    } else if (rc == -ETIME) {
        code = TG_RPC_DEADLINE_EXCEEDED;
        reason = "deadline";
    } else if (rc == -ENOSYS) {
        code = TG_RPC_UNIMPLEMENTED;
        reason = "unsupported";
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

static bool takes_apart(const tg_answer_conf *conf)
{
    return conf->tools != TG_TOOLS_NONE || conf->reasoning != TG_REASONING_NONE;
}

/* A request that is not the engine's yet. What is in it lives in the call's arena, or in `request`,
 * as long as the call. */
typedef struct admission {
    tg_inference *inference;
    tg_rpc_call *call;
    const Tollgate__V1__GenerateRequest *in;
    tg_str text;
    tg_gen_request gen;
    tg_answer_conf answers;
    tg_compile compile; /* where its constraint is not kept from an earlier one */
} admission;

static void started(generation *g, const admission *a, const tg_gen_ticket *ticket)
{
    const tg_model *model = tg_engine_model(g->inference->engine);
    const char *loose_why = "";
    g->seq_id = ticket->seq_id;
    g->choices = g->open = a->gen.n ? a->gen.n : 1;
    g->logprobs = a->gen.logprobs;
    tg_request_record_init(&g->record, a->in->request_id, a->in->attempt, a->in->tenant,
                           g->inference->model);
    tg_list_add_tail(&g->inference->generations, &g->node);
    tg_rpc_call_set_user(g->call, g);
    tg_rpc_call_on_cancel(g->call, on_cancel);
    if (a->gen.compiled)
        g->record.loose_tools = tg_constraint_loose(a->gen.compiled, &loose_why);
    send_start(g, ticket->prompt_tokens, a->gen.sampling.seed, loose_why);
    if (takes_apart(&a->answers) &&
        tg_answers_new(&a->answers, &a->gen, ticket, model, &g->answers) < 0) {
        g->failed = true;
        cancel_all(g);
    }
}

static int admit(admission *a, tg_error *err)
{
    tg_gen_ticket ticket;
    generation *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    g->inference = a->inference;
    g->call = a->call;
    a->gen.user = g;
    int rc = tg_engine_submit(a->inference->engine, &a->gen, err, &ticket);
    if (rc == 0)
        started(g, a, &ticket);
    else
        free(g);
    return rc;
}

static void end_admission(admission *a, int rc, const tg_error *err)
{
    if (rc < 0)
        refuse(a->inference, a->call, rc, err);
    tg_constraint_release(a->gen.compiled);
    free(a);
}

static bool is_wanted(const tg_compile *compile)
{
    return !tg_rpc_call_cancelled(TG_CONTAINER_OF(compile, admission, compile)->call);
}

static void on_compiled(tg_compile *compile)
{
    admission *a = TG_CONTAINER_OF(compile, admission, compile);
    int rc = compile->rc;
    a->gen.compiled = compile->constraint;
    if (tg_rpc_call_cancelled(a->call)) {
        tg_rpc_finish(a->call, TG_RPC_CANCELLED, "cancelled by the client");
        rc = 0;
    } else if (rc == 0) {
        rc = admit(a, &compile->err);
    }
    end_admission(a, rc, &compile->err);
}

void tg_inference_generate(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    tg_inference *inference = service;
    tg_error err = {""};
    admission *a = calloc(1, sizeof *a);
    if (!a) {
        refuse(inference, call, -ENOMEM, &err);
        return;
    }
    a->inference = inference;
    a->call = call;
    a->in = (const Tollgate__V1__GenerateRequest *)request;
    int rc = decode(inference, call, a->in, &a->text, &a->gen, &a->answers, &err);
    if (rc == 0 && a->gen.constraint.kind != TG_CONSTRAINT_NONE) {
        a->gen.compiled = tg_engine_kept_constraint(inference->engine, &a->gen.constraint);
        if (!a->gen.compiled) {
            a->compile = (tg_compile){.tenant = a->gen.tenant,
                                      .spec = &a->gen.constraint,
                                      .wanted = is_wanted,
                                      .done = on_compiled};
            rc = tg_compiler_add(&inference->compiler, &a->compile, &err);
            if (rc == 0)
                return;
        }
    }
    if (rc == 0)
        rc = admit(a, &err);
    end_admission(a, rc, &err);
}
