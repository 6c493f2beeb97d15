#include "tests/providers/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const dialect_names[DIALECTS] = {"openai", "anthropic", "bedrock"};

void dialect_error(dialect d, reply *out, int status, const char *type, const char *message)
{
    json_t *body;
    out->status = status;
    out->content_type = "application/json";
    out->chunked = false;
    out->log.status = status;
    out->log.input_tokens = out->log.output_tokens = 0;
    if (d == OPENAI) {
        body = json_pack("{s:{s:s, s:s, s:n, s:s}}", "error", "message", message, "type", type, "param",
                         "code", type);
    } else if (d == ANTHROPIC) {
        body = json_pack("{s:s, s:{s:s, s:s}, s:s}", "type", "error", "error", "type", type, "message", message,
                         "request_id", out->log.request_id);
    } else {
        text_printf(&out->headers, "x-amzn-errortype: %s\r\n", type);
        body = json_pack("{s:s}", "message", message);
    }
    char *dump = json_dumps(body, JSON_COMPACT);
    reply_piece(out, dump, strlen(dump), 0, 0);
    free(dump);
    json_decref(body);
}

static void copy_header(const request *in, const char *name, char *to, size_t size)
{
    const char *value = header(in, name);
    snprintf(to, size, "%s", value ? value : "");
}

bool chat_begin(dialect d, const request *in, reply *out, chat *ret)
{
    json_error_t error;
    const char *client_id_header = d == BEDROCK ? "x-amzn-requestid" : d == ANTHROPIC ? "request-id" : "x-request-id";
    memset(ret, 0, sizeof *ret);
    ret->max_tokens = -1;
    uint64_t hash = hash_bytes(in->body.data, in->body.len, opt.seed);
    snprintf(ret->id, sizeof ret->id, "%016llx", (unsigned long long)hash);
    out->log.wanted = true;
    out->log.status = 200;
    out->log.body_hash = hash;
    snprintf(out->log.dialect, sizeof out->log.dialect, "%s", dialect_names[d]);
    snprintf(out->log.path, sizeof out->log.path, "%s", in->path);
    snprintf(out->log.request_id, sizeof out->log.request_id, "req_%s", ret->id);
    copy_header(in, "x-tollgate-attempt", out->log.attempt, sizeof out->log.attempt);
    copy_header(in, "traceparent", out->log.traceparent, sizeof out->log.traceparent);
    text_printf(&out->headers, "%s: req_%s\r\n", client_id_header, ret->id);
    ret->root = json_loadb(in->body.data ? in->body.data : "", in->body.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(ret->root)) {
        dialect_error(d, out, 400, d == BEDROCK ? "ValidationException" : "invalid_request_error",
                      "the body is no JSON object");
        json_decref(ret->root);
        ret->root = NULL;
        return false;
    }
    ret->model = json_string_value(json_object_get(ret->root, "model"));
    ret->stream = json_is_true(json_object_get(ret->root, "stream"));
    return true;
}

void chat_collect(chat *c, json_t *content)
{
    size_t i;
    json_t *part;
    if (json_is_string(content))
        text_add(&c->texts, json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part)
    {
        json_t *inner = json_object_get(part, "text");
        if (json_is_string(inner))
            text_add(&c->texts, json_string_value(inner), json_string_length(inner));
    }
}

void chat_answer(dialect d, const request *in, reply *out, chat *c)
{
    c->fault = fault_for(d, c->model ? c->model : "", in);
    answer_make(in, c->texts.data, c->texts.len, c->max_tokens, &c->fault, &c->answer);
    snprintf(out->log.model, sizeof out->log.model, "%s", c->model ? c->model : "");
    out->log.stream = c->stream;
    out->log.input_tokens = c->answer.input_tokens;
    out->log.output_tokens = c->answer.reported_output;
}

void chat_end(chat *c)
{
    json_decref(c->root);
    text_free(&c->texts);
    answer_free(&c->answer);
}

const char *chat_model(const chat *c) { return c->fault.model[0] ? c->fault.model : c->model; }

bool fault_status(dialect d, const chat *c, reply *out)
{
    static const struct {
        int status;
        const char *type[DIALECTS];
    } types[] = {{401, {"invalid_api_key", "authentication_error", "UnrecognizedClientException"}},
                 {429, {"rate_limit_exceeded", "rate_limit_error", "ThrottlingException"}},
                 {500, {"server_error", "api_error", "InternalServerException"}},
                 {503, {"server_error", "api_error", "ServiceUnavailableException"}},
                 {529, {"overloaded", "overloaded_error", "ServiceUnavailableException"}}};
    const char *type = "invalid_request_error";
    if (c->fault.status == 0)
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].status == c->fault.status)
            type = types[i].type[d];
    if (c->fault.status == 429)
        rate_headers(d, c, out, true);
    dialect_error(d, out, c->fault.status, type, "asked to fail");
    out->pieces[0].delay_ms = c->fault.slow_first_ms;
    return true;
}

void rate_headers(dialect d, const chat *c, reply *out, bool exhausted)
{
    enum { REQUESTS = 500, TOKENS = 200000 };
    static unsigned used;
    char when[32];
    time_t reset = time(NULL) + (time_t)(exhausted ? c->fault.reset_s : 1);
    struct tm tm;
    unsigned left = exhausted ? 0 : REQUESTS - 1 - used++ % (REQUESTS - 1);
    if (exhausted)
        text_printf(&out->headers, "retry-after: %llu\r\n", (unsigned long long)c->fault.reset_s);
    if (d == OPENAI) {
        text_printf(&out->headers,
                    "x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %u\r\n"
                    "x-ratelimit-reset-requests: %s\r\nx-ratelimit-limit-tokens: %d\r\n"
                    "x-ratelimit-remaining-tokens: %u\r\nx-ratelimit-reset-tokens: 6ms\r\n",
                    REQUESTS, left, exhausted ? "1s" : "120ms", TOKENS, exhausted ? 0 : TOKENS - 100);
    } else if (d == ANTHROPIC) {
        gmtime_r(&reset, &tm);
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
        text_printf(&out->headers,
                    "anthropic-ratelimit-requests-limit: %d\r\nanthropic-ratelimit-requests-remaining: %u\r\n"
                    "anthropic-ratelimit-requests-reset: %s\r\nanthropic-ratelimit-tokens-limit: %d\r\n"
                    "anthropic-ratelimit-tokens-remaining: %u\r\nanthropic-ratelimit-tokens-reset: %s\r\n",
                    REQUESTS, left, when, TOKENS, exhausted ? 0 : TOKENS - 100, when);
    }
}

void stream_piece(reply *out, const chat *c, const char *data, size_t len, unsigned tokens_after)
{
    uint64_t delay = 0;
    unsigned before = out->count ? out->pieces[out->count - 1].tokens : 0;
    if (out->count == 0)
        delay = c->fault.slow_first_ms;
    else if (tokens_after > before)
        delay = c->fault.slow_token_ms;
    reply_piece(out, data, len, delay, tokens_after);
}

void stream_finish(reply *out, const chat *c)
{
    size_t at = 0;
    out->one_write = c->fault.all_in_one;
    for (size_t i = 0; c->fault.stall_after >= 0 && i < out->count; i++) {
        if (out->pieces[i].tokens < c->fault.stall_after)
            continue;
        for (size_t j = i + 1; j < out->count; j++)
            free(out->pieces[j].data);
        out->count = i + 1;
        out->stall = true;
    }
    for (size_t i = 0; c->fault.cut_at_byte >= 0 && i < out->count; i++) {
        size_t limit = (size_t)c->fault.cut_at_byte;
        if (at + out->pieces[i].len < limit) {
            at += out->pieces[i].len;
            continue;
        }
        out->pieces[i].len = limit - at;
        for (size_t j = i + 1; j < out->count; j++)
            free(out->pieces[j].data);
        out->count = i + 1;
        out->close_after = true;
    }
}
