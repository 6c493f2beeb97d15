/* Anthropic messages, plain and streamed. */
#include "tests/providers/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool authorized(const request *in, reply *out)
{
    /* The key comes as x-api-key, or as a bearer token from current SDKs. */
    const char *key = header(in, "x-api-key"), *bearer = header(in, "authorization");
    if (!key && bearer && strncmp(bearer, "Bearer ", 7) == 0)
        key = bearer + 7;
    if (!key || (opt.anthropic_key && strcmp(key, opt.anthropic_key) != 0)) {
        dialect_error(ANTHROPIC, out, 401, "authentication_error", "invalid x-api-key");
        return false;
    }
    if (!header(in, "anthropic-version")) {
        dialect_error(ANTHROPIC, out, 400, "invalid_request_error", "anthropic-version: header is required");
        return false;
    }
    return true;
}

static const char *stop_of(const chat *c) { return c->answer.cut_by_length ? "max_tokens" : "end_turn"; }

static json_t *usage_of(const chat *c, uint64_t output)
{
    return json_pack("{s:I, s:i, s:i, s:I}", "input_tokens", (json_int_t)c->answer.input_tokens,
                     "cache_creation_input_tokens", 0, "cache_read_input_tokens", 0, "output_tokens",
                     (json_int_t)output);
}

static json_t *message(const chat *c, json_t *content, const char *stop, uint64_t output)
{
    char id[64];
    snprintf(id, sizeof id, "msg_%s", c->id);
    json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s?, s:n}", "id", id, "type", "message", "role",
                             "assistant", "model", chat_model(c), "content", content, "stop_reason", stop,
                             "stop_sequence");
    if (!c->fault.no_usage)
        json_object_set_new(body, "usage", usage_of(c, output));
    return body;
}

static void plain(const chat *c, reply *out)
{
    text all = {0};
    for (unsigned i = 0; i < c->answer.count; i++)
        text_add(&all, c->answer.tokens[i], strlen(c->answer.tokens[i]));
    json_t *body = message(c, json_pack("[{s:s, s:s}]", "type", "text", "text", all.data ? all.data : ""),
                           stop_of(c), c->answer.reported_output);
    char *dump = json_dumps(body, JSON_COMPACT);
    stream_piece(out, c, dump, strlen(dump), c->answer.count);
    free(dump);
    json_decref(body);
    text_free(&all);
}

static void event(const chat *c, reply *out, const char *name, json_t *body, unsigned tokens)
{
    text line = {0};
    char *dump = json_dumps(body, JSON_COMPACT);
    text_printf(&line, "event: %s\ndata: %s\n\n", name, dump);
    stream_piece(out, c, line.data, line.len, tokens);
    text_free(&line);
    free(dump);
    json_decref(body);
}

static void streamed(const chat *c, reply *out)
{
    event(c, out, "message_start",
          json_pack("{s:s, s:o}", "type", "message_start", "message", message(c, json_array(), NULL, 1)), 0);
    event(c, out, "content_block_start",
          json_pack("{s:s, s:i, s:{s:s, s:s}}", "type", "content_block_start", "index", 0, "content_block",
                    "type", "text", "text", ""), 0);
    event(c, out, "ping", json_pack("{s:s}", "type", "ping"), 0);
    for (unsigned i = 0; i < c->answer.count; i++)
        event(c, out, "content_block_delta",
              json_pack("{s:s, s:i, s:{s:s, s:s}}", "type", "content_block_delta", "index", 0, "delta", "type",
                        "text_delta", "text", c->answer.tokens[i]), i + 1);
    event(c, out, "content_block_stop", json_pack("{s:s, s:i}", "type", "content_block_stop", "index", 0),
          c->answer.count);
    json_t *delta = json_pack("{s:s, s:{s:s, s:n}}", "type", "message_delta", "delta", "stop_reason",
                              stop_of(c), "stop_sequence");
    if (!c->fault.no_usage)
        json_object_set_new(delta, "usage",
                            json_pack("{s:I}", "output_tokens", (json_int_t)c->answer.reported_output));
    event(c, out, "message_delta", delta, c->answer.count);
    event(c, out, "message_stop", json_pack("{s:s}", "type", "message_stop"), c->answer.count);
}

void anthropic_handler(const request *in, reply *out)
{
    chat c;
    size_t i;
    json_t *m;
    if (!chat_begin(ANTHROPIC, in, out, &c))
        return;
    json_t *messages = json_object_get(c.root, "messages");
    chat_collect(&c, json_object_get(c.root, "system"));
    json_array_foreach(messages, i, m)
        chat_collect(&c, json_object_get(m, "content"));
    json_t *max = json_object_get(c.root, "max_tokens");
    if (json_is_integer(max))
        c.max_tokens = json_integer_value(max);
    chat_answer(ANTHROPIC, in, out, &c);
    if (!authorized(in, out) || fault_status(ANTHROPIC, &c, out)) {
    } else if (!c.model || c.max_tokens < 1 || json_array_size(messages) == 0) {
        dialect_error(ANTHROPIC, out, 400, "invalid_request_error", "model, max_tokens and messages are required");
    } else {
        out->status = 200;
        rate_headers(ANTHROPIC, &c, out, false);
        out->content_type = c.stream ? "text/event-stream; charset=utf-8" : "application/json";
        out->chunked = c.stream;
        if (c.stream)
            streamed(&c, out);
        else
            plain(&c, out);
        stream_finish(out, &c);
    }
    chat_end(&c);
}
