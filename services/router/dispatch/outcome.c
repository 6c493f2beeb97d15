#include "services/router/dispatch/outcome.h"

#include <stdio.h>
#include <string.h>

void tg_attempt_init(tg_attempt *attempt, uint64_t mono_ns)
{
    *attempt = (tg_attempt){.opened_mono_ns = mono_ns, .heard_mono_ns = mono_ns};
}

void tg_attempt_note(tg_attempt *a, const tg_chat_event *event, uint64_t mono_ns,
                     tg_usage_event *usage)
{
    switch (event->type) {
    case TG_CHAT_START:
        if (event->model.len > 0)
            tg_str_copy(usage->model_answered, sizeof usage->model_answered, event->model);
        break;
    case TG_CHAT_TEXT:
    case TG_CHAT_REASONING:
    case TG_CHAT_CALL:
    case TG_CHAT_ARGUMENTS:
        if (tg_chat_is_output(event) && a->first_token_mono_ns == 0)
            a->first_token_mono_ns = mono_ns;
        a->output_bytes += event->text.len + event->call_name.len;
        a->output_units += tg_token_units(event->text) + tg_token_units(event->call_name);
        break;
    case TG_CHAT_STOP: a->stopped = true; break;
    case TG_CHAT_USAGE:
        if (event->has_input) {
            uint64_t output = a->tokens.output, reasoning = a->tokens.reasoning;
            a->tokens = event->tokens;
            a->tokens.output = output;
            a->tokens.reasoning = reasoning;
            a->has_input = true;
        }
        if (event->has_output) {
            a->tokens.output = event->tokens.output;
            a->tokens.reasoning = event->tokens.reasoning;
            a->has_output = true;
        }
        a->queue_ns = event->queue_ns ? event->queue_ns : a->queue_ns;
        a->gpu_ns = event->gpu_ns ? event->gpu_ns : a->gpu_ns;
        if (event->numerics.len > 0)
            tg_str_copy(usage->numerics, sizeof usage->numerics, event->numerics);
        break;
    case TG_CHAT_ERROR:
    case TG_CHAT_OTHER: break;
    }
}

static void fail(tg_attempt *a, bool retryable, const char *type, const char *message)
{
    if (a->failed)
        return;
    a->failed = true;
    a->retryable = retryable;
    snprintf(a->error.type, sizeof a->error.type, "%s", type);
    snprintf(a->error.message, sizeof a->error.message, "%s", message);
}

/* An error event inside a stream that began with 200: Anthropic's overloaded_error, a gateway's. */
void tg_attempt_note_error(tg_attempt *a, const tg_chat_event *event)
{
    char type[64], message[256];
    tg_str_copy(type, sizeof type, event->error_type);
    tg_str_copy(message, sizeof message, event->error_message);
    fail(a, true, type, message);
    a->error.capacity = strstr(type, "overloaded") != NULL;
    a->error.quota = strstr(type, "rate_limit") != NULL;
}

void tg_attempt_note_bad_answer(tg_attempt *a, const tg_error *err)
{
    fail(a, true, "api_error", err->text);
}

void tg_attempt_note_local(tg_attempt *a, const char *message)
{
    fail(a, true, "api_error", message);
}

void tg_attempt_note_timeout(tg_attempt *a, const char *message)
{
    fail(a, true, "timeout_error", message);
    a->timed_out = true;
}

static void note_grpc_status(tg_attempt *a, unsigned code, const char *reason)
{
    static const struct {
        unsigned code, http;
        bool retryable, capacity;
    } map[] = {{3, 400, false, false}, {5, 404, false, false},  {7, 403, true, false},
               {8, 503, true, true},   {9, 400, false, false},  {11, 400, false, false},
               {12, 501, true, false}, {14, 503, true, false},  {16, 401, true, false}};
    bool retryable = true, capacity = false;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        if (map[i].code == code) {
            retryable = map[i].retryable;
            capacity = map[i].capacity;
        }
    }
    fail(a, retryable, retryable ? "api_error" : "invalid_request_error",
         reason ? reason : "the inference service refused the request");
    a->error.capacity = capacity;
}

void tg_attempt_note_end(tg_attempt *a, tg_provider provider, const tg_upstream_event *event,
                         tg_str body, tg_json_doc *doc)
{
    const char *reason = event->reason ? event->reason : "";
    char text[256];
    switch (event->failure) {
    case TG_UPSTREAM_OK: /* an HTTP answer other than 200 */
        tg_dialect_decode_error(provider, a->status, body, doc, &a->error);
        a->failed = true;
        a->retryable = a->error.retryable;
        break;
    case TG_UPSTREAM_CONNECT:
        snprintf(text, sizeof text, "no connection: %s", reason);
        fail(a, true, "api_error", text);
        break;
    case TG_UPSTREAM_RESET:
        snprintf(text, sizeof text, "the connection broke off: %s", reason);
        fail(a, true, "api_error", text);
        break;
    case TG_UPSTREAM_TIMEOUT:
        snprintf(text, sizeof text, "timed out: %s", reason);
        fail(a, true, "timeout_error", text);
        a->timed_out = true;
        break;
    case TG_UPSTREAM_REFUSED:
        note_grpc_status(a, event->status >= 1000 ? event->status - 1000 : 2, event->reason);
        break;
    }
}

void tg_attempt_close(const tg_attempt *a, tg_outcome outcome, uint64_t wall_ns,
                      const tg_chat_request *chat, tg_estimates *estimates, tg_usage_event *usage)
{
    const tg_token_scale *scale = tg_estimates_of(estimates, usage->target);
    const uint64_t input_units = tg_chat_input_units(chat);
    /* A target that answered with an error, or never took the request, charges nothing. */
    bool accepted = a->status == 200 && (outcome != TG_OUTCOME_FAILED || a->output_bytes > 0);
    usage->outcome = outcome;
    usage->closed_unix_ns = wall_ns;
    usage->total_ns = a->closed_mono_ns - a->opened_mono_ns;
    usage->first_token_ns = a->first_token_mono_ns ? a->first_token_mono_ns - a->opened_mono_ns : 0;
    usage->queue_ns = a->queue_ns;
    usage->gpu_ns = a->gpu_ns;
    usage->tokens = a->tokens;
    usage->input_source = TG_COUNT_REPORTED;
    usage->output_source = TG_COUNT_REPORTED;
    if (!a->has_input) {
        usage->input_source = TG_COUNT_ESTIMATED;
        usage->tokens.input = !accepted                ? 0
                              : a->counted_tokens > 0 ? a->counted_tokens
                                                      : tg_token_estimate(scale, input_units);
    } else if (outcome == TG_OUTCOME_OK) {
        tg_estimates_learn(estimates, usage->target, input_units,
                           a->tokens.input + a->tokens.cache_read + a->tokens.cache_write_5m +
                               a->tokens.cache_write_1h);
    }
    /* Anthropic reports output as it goes; only a final report, after the stop, is the whole. */
    if (!a->has_output || (!a->stopped && outcome != TG_OUTCOME_OK)) {
        uint64_t guess = tg_token_estimate(scale, a->output_units);
        usage->output_source = TG_COUNT_ESTIMATED;
        if (!a->has_output || guess > usage->tokens.output)
            usage->tokens.output = guess;
    }
}

void tg_attempt_price(tg_usage_event *usage, const tg_snapshot *snapshot, const tg_plan *plan,
                      int target)
{
    const tg_price_book *book = snapshot->prices;
    const char *id = tg_targets_at(snapshot->targets, (size_t)target)->id;
    const tg_price *price = tg_price_book_find(book, id, usage->opened_unix_ns);
    tg_picousd cost;
    snprintf(usage->price_book, sizeof usage->price_book, "%s", tg_price_book_version(book));
    usage->cost_picousd = 0;
    if (tg_price_of(book, id, usage->opened_unix_ns, &usage->tokens, &cost) == 0)
        usage->cost_picousd = cost;
    usage->price_assumed = price && price->assumed;
    usage->counterfactual_count = 0;
    for (size_t i = 0; i < plan->alternative_count; i++) {
        const char *other = tg_targets_at(snapshot->targets, (size_t)plan->alternatives[i])->id;
        if (usage->counterfactual_count == TG_USAGE_COUNTERFACTUALS)
            break;
        if (plan->alternatives[i] == target ||
            tg_price_of(book, other, usage->opened_unix_ns, &usage->tokens, &cost) != 0)
            continue;
        uint32_t n = usage->counterfactual_count++;
        snprintf(usage->counterfactuals[n].target, sizeof usage->counterfactuals[n].target, "%s",
                 other);
        usage->counterfactuals[n].cost_picousd = cost;
    }
}

void tg_attempt_observe(const tg_attempt *a, const tg_step *step, const tg_usage_event *usage,
                        tg_observation *ret)
{
    *ret = (tg_observation){
        .target = usage->target,
        .endpoint = usage->endpoint,
        .at_unix_ns = usage->closed_unix_ns,
        .status = a->status,
        /* A refused request (400) is an answer: the endpoint works. */
        .success = usage->outcome == TG_OUTCOME_OK || usage->outcome == TG_OUTCOME_CLIENT_GONE ||
                   (a->failed && !a->retryable && a->status >= 400 && a->status < 500),
        .capacity = a->error.capacity,
        .quota = a->error.quota,
        .timeout = a->timed_out,
        .probe = step->probe,
        .first_token_ns = usage->first_token_ns,
        .total_ns = usage->total_ns,
        .output_tokens = usage->tokens.output,
        .rate_limit = a->rate_limit,
    };
}

void tg_attempt_result(const tg_attempt *a, const tg_target *target, bool committed,
                       tg_dispatch_result *ret)
{
    (void)target;
    *ret = (tg_dispatch_result){
        .end = committed ? TG_DISPATCH_BROKEN : TG_DISPATCH_FAILED,
        .status = 502,
        .error_type = "api_error",
        .message = a->error.message,
        .retry_after_ms = a->rate_limit.retry_after_ms,
    };
    if (a->error.quota) {
        ret->status = 429;
        ret->error_type = "rate_limit_error";
    } else if (a->error.capacity) {
        ret->status = 503;
        ret->error_type = "overloaded_error";
    } else if (a->timed_out) {
        ret->status = 504;
        ret->error_type = "timeout_error";
    } else if (!a->retryable && a->status >= 400 && a->status < 500) {
        ret->status = a->status;
        ret->error_type = "invalid_request_error";
    } else if (!a->retryable && a->status >= 1000) {
        ret->status = 400;
        ret->error_type = "invalid_request_error";
    }
}
