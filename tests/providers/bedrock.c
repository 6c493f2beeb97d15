/* Bedrock Converse and ConverseStream. A stream is application/vnd.amazon.eventstream: messages of
 * {u32 total length, u32 headers length, u32 crc of those 8 bytes, headers, payload, u32 crc of all before},
 * big-endian. */
#include "tests/providers/common.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void add_u32(text *t, uint32_t value)
{
    value = htonl(value);
    text_add(t, &value, 4);
}

static void add_header(text *t, const char *name, const char *value)
{
    unsigned char len = (unsigned char)strlen(name);
    uint16_t size = htons((uint16_t)strlen(value));
    text_add(t, &len, 1);
    text_add(t, name, len);
    text_add(t, "\x07", 1); /* string */
    text_add(t, &size, 2);
    text_add(t, value, strlen(value));
}

static void event(const chat *c, reply *out, const char *type, json_t *payload, unsigned tokens)
{
    text headers = {0}, message = {0};
    char *dump = json_dumps(payload, JSON_COMPACT);
    size_t len = strlen(dump);
    add_header(&headers, ":event-type", type);
    add_header(&headers, ":content-type", "application/json");
    add_header(&headers, ":message-type", "event");
    add_u32(&message, (uint32_t)(12 + headers.len + len + 4));
    add_u32(&message, (uint32_t)headers.len);
    add_u32(&message, (uint32_t)crc32(0, (const Bytef *)message.data, 8));
    text_add(&message, headers.data, headers.len);
    text_add(&message, dump, len);
    add_u32(&message, (uint32_t)crc32(0, (const Bytef *)message.data, (uInt)message.len));
    stream_piece(out, c, message.data, message.len, tokens);
    text_free(&headers);
    text_free(&message);
    free(dump);
    json_decref(payload);
}

static const char *stop_of(const chat *c) { return c->answer.cut_by_length ? "max_tokens" : "end_turn"; }

static json_t *usage_of(const chat *c)
{
    return json_pack("{s:I, s:I, s:I}", "inputTokens", (json_int_t)c->answer.input_tokens, "outputTokens",
                     (json_int_t)c->answer.reported_output, "totalTokens",
                     (json_int_t)(c->answer.input_tokens + c->answer.reported_output));
}

static void streamed(const chat *c, reply *out)
{
    event(c, out, "messageStart", json_pack("{s:s}", "role", "assistant"), 0);
    for (unsigned i = 0; i < c->answer.count; i++)
        event(c, out, "contentBlockDelta",
              json_pack("{s:i, s:{s:s}}", "contentBlockIndex", 0, "delta", "text", c->answer.tokens[i]), i + 1);
    event(c, out, "contentBlockStop", json_pack("{s:i}", "contentBlockIndex", 0), c->answer.count);
    event(c, out, "messageStop", json_pack("{s:s}", "stopReason", stop_of(c)), c->answer.count);
    json_t *metadata = json_pack("{s:{s:i}}", "metrics", "latencyMs", 12);
    if (!c->fault.no_usage)
        json_object_set_new(metadata, "usage", usage_of(c));
    event(c, out, "metadata", metadata, c->answer.count);
}

static void plain(const chat *c, reply *out)
{
    text all = {0};
    for (unsigned i = 0; i < c->answer.count; i++)
        text_add(&all, c->answer.tokens[i], strlen(c->answer.tokens[i]));
    json_t *body = json_pack("{s:{s:{s:s, s:[{s:s}]}}, s:s, s:{s:i}}", "output", "message", "role", "assistant",
                             "content", "text", all.data ? all.data : "", "stopReason", stop_of(c), "metrics",
                             "latencyMs", 12);
    if (!c->fault.no_usage)
        json_object_set_new(body, "usage", usage_of(c));
    char *dump = json_dumps(body, JSON_COMPACT);
    stream_piece(out, c, dump, strlen(dump), c->answer.count);
    free(dump);
    json_decref(body);
    text_free(&all);
}

/* "/model/<id>/converse" or "/converse-stream"; the id percent-decoded. */
static bool parse_path(const char *path, char *model, size_t size, bool *stream)
{
    const char *end = strrchr(path, '/');
    size_t n = 0;
    if (strncmp(path, "/model/", 7) != 0 || !end || end <= path + 7)
        return false;
    *stream = strcmp(end, "/converse-stream") == 0;
    if (!*stream && strcmp(end, "/converse") != 0)
        return false;
    for (const char *p = path + 7; p < end && n + 1 < size; p++) {
        unsigned byte;
        if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1) {
            model[n++] = (char)byte;
            p += 2;
        } else {
            model[n++] = *p;
        }
    }
    model[n] = '\0';
    return true;
}

void bedrock_handler(const request *in, reply *out)
{
    chat c;
    size_t i;
    json_t *m;
    char model[256];
    bool stream = false;
    if (!chat_begin(BEDROCK, in, out, &c))
        return;
    bool known = parse_path(in->path, model, sizeof model, &stream);
    c.model = model;
    c.stream = stream;
    chat_collect(&c, json_object_get(c.root, "system"));
    json_t *messages = json_object_get(c.root, "messages");
    json_array_foreach(messages, i, m)
        chat_collect(&c, json_object_get(m, "content"));
    json_t *max = json_object_get(json_object_get(c.root, "inferenceConfig"), "maxTokens");
    if (json_is_integer(max))
        c.max_tokens = json_integer_value(max);
    chat_answer(BEDROCK, in, out, &c);
    const char *problem = sigv4_check(in);
    if (problem) {
        dialect_error(BEDROCK, out, 403, "InvalidSignatureException", problem);
    } else if (fault_status(BEDROCK, &c, out)) {
    } else if (!known || json_array_size(messages) == 0) {
        dialect_error(BEDROCK, out, 400, "ValidationException", "model and messages are required");
    } else {
        out->status = 200;
        out->content_type = stream ? "application/vnd.amazon.eventstream" : "application/json";
        out->chunked = stream;
        if (stream)
            streamed(&c, out);
        else
            plain(&c, out);
        stream_finish(out, &c);
    }
    chat_end(&c);
}
