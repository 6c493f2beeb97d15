/* OpenAI chat completions, plain and streamed, and the list of models. */
#include "tests/providers/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CREATED = 1700000000 };

static bool authorized(const request *in, reply *out)
{
    const char *given = header(in, "authorization");
    if (given && strncmp(given, "Bearer ", 7) == 0 && (!opt.openai_key || strcmp(given + 7, opt.openai_key) == 0))
        return true;
    dialect_error(OPENAI, out, 401, "invalid_api_key", "Incorrect API key provided.");
    return false;
}

static json_t *usage_of(const chat *c)
{
    return json_pack("{s:I, s:I, s:I, s:{s:i}, s:{s:i}}", "prompt_tokens", (json_int_t)c->answer.input_tokens,
                     "completion_tokens", (json_int_t)c->answer.reported_output, "total_tokens",
                     (json_int_t)(c->answer.input_tokens + c->answer.reported_output),
                     "prompt_tokens_details", "cached_tokens", 0, "completion_tokens_details",
                     "reasoning_tokens", 0);
}

static const char *finish_of(const chat *c) { return c->answer.cut_by_length ? "length" : "stop"; }

static void plain(const chat *c, reply *out)
{
    text all = {0};
    char id[64];
    for (unsigned i = 0; i < c->answer.count; i++)
        text_add(&all, c->answer.tokens[i], strlen(c->answer.tokens[i]));
    snprintf(id, sizeof id, "chatcmpl-%s", c->id);
    json_t *body = json_pack("{s:s, s:s, s:i, s:s, s:[{s:i, s:{s:s, s:s, s:n}, s:n, s:s}], s:s}", "id", id,
                             "object", "chat.completion", "created", CREATED, "model", chat_model(c), "choices",
                             "index", 0, "message", "role", "assistant", "content", all.data ? all.data : "",
                             "refusal", "logprobs", "finish_reason", finish_of(c), "system_fingerprint",
                             "fp_standin");
    if (!c->fault.no_usage)
        json_object_set_new(body, "usage", usage_of(c));
    char *dump = json_dumps(body, JSON_COMPACT);
    stream_piece(out, c, dump, strlen(dump), c->answer.count);
    free(dump);
    json_decref(body);
    text_free(&all);
}

static void chunk(const chat *c, reply *out, json_t *choices, json_t *usage, unsigned tokens)
{
    char id[64];
    text line = {0};
    snprintf(id, sizeof id, "chatcmpl-%s", c->id);
    json_t *body = json_pack("{s:s, s:s, s:i, s:s, s:s, s:o}", "id", id, "object", "chat.completion.chunk",
                             "created", CREATED, "model", chat_model(c), "system_fingerprint", "fp_standin",
                             "choices", choices);
    if (usage)
        json_object_set_new(body, "usage", usage);
    char *dump = json_dumps(body, JSON_COMPACT);
    text_printf(&line, "data: %s\n\n", dump);
    stream_piece(out, c, line.data, line.len, tokens);
    text_free(&line);
    free(dump);
    json_decref(body);
}

static void streamed(const chat *c, reply *out)
{
    bool include =
        json_is_true(json_object_get(json_object_get(c->root, "stream_options"), "include_usage"));
    chunk(c, out, json_pack("[{s:i, s:{s:s, s:s}, s:n, s:n}]", "index", 0, "delta", "role", "assistant",
                            "content", "", "logprobs", "finish_reason"), NULL, 0);
    for (unsigned i = 0; i < c->answer.count; i++)
        chunk(c, out, json_pack("[{s:i, s:{s:s}, s:n, s:n}]", "index", 0, "delta", "content",
                                c->answer.tokens[i], "logprobs", "finish_reason"), NULL, i + 1);
    chunk(c, out, json_pack("[{s:i, s:{}, s:n, s:s}]", "index", 0, "delta", "logprobs", "finish_reason",
                            finish_of(c)), NULL, c->answer.count);
    if (include && !c->fault.no_usage)
        chunk(c, out, json_array(), usage_of(c), c->answer.count);
    stream_piece(out, c, "data: [DONE]\n\n", 14, c->answer.count);
}

static void models(reply *out)
{
    static const char body[] = "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini-2024-07-18\",\"object\":"
                               "\"model\",\"created\":1700000000,\"owned_by\":\"standin\"}]}";
    out->status = 200;
    out->content_type = "application/json";
    reply_piece(out, body, sizeof body - 1, 0, 0);
}

void openai_handler(const request *in, reply *out)
{
    chat c;
    size_t i;
    json_t *message;
    if (strcmp(in->method, "GET") == 0) {
        if (authorized(in, out))
            models(out);
        return;
    }
    if (!chat_begin(OPENAI, in, out, &c))
        return;
    json_t *messages = json_object_get(c.root, "messages");
    json_array_foreach(messages, i, message)
        chat_collect(&c, json_object_get(message, "content"));
    json_t *max = json_object_get(c.root, "max_completion_tokens");
    if (!json_is_integer(max))
        max = json_object_get(c.root, "max_tokens");
    if (json_is_integer(max))
        c.max_tokens = json_integer_value(max);
    chat_answer(OPENAI, in, out, &c);
    if (!authorized(in, out) || fault_status(OPENAI, &c, out)) {
    } else if (!c.model || json_array_size(messages) == 0) {
        dialect_error(OPENAI, out, 400, "invalid_request_error", "model and messages are required");
    } else {
        out->status = 200;
        rate_headers(OPENAI, &c, out, false);
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
