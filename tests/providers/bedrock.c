/* Bedrock's Converse and ConverseStream.
 *
 * A stream is application/vnd.amazon.eventstream: messages of {u32 total length, u32 headers
 * length, u32 CRC-32 of those 8 bytes, headers, payload, u32 CRC-32 of all before}, big-endian; a
 * header is {u8 name length, name, u8 type (7: string), u16 length, value}.
 */
#include "tests/providers/dialect.h"
#include "tests/providers/keys.h"
#include "tests/providers/sigv4.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { PRELUDE_BYTES = 12, STRING_HEADER = 7 };

static void key(const struct request *request, char *ret, size_t size)
{
    char access[128];
    keys_fingerprint(sigv4_access_key(request, access, sizeof access) ? access : NULL, ret, size);
}

static int admit(const struct request *request, struct problem *why)
{
    return sigv4_verify(request, time(NULL), why);
}

static void content(struct chat *chat, json_t *blocks)
{
    size_t i;
    json_t *block;
    json_array_foreach(blocks, i, block)
    {
        chat_text(chat, json_object_get(block, "text"));
        if (json_is_object(json_object_get(block, "cachePoint")))
            chat_mark(chat, false);
    }
}

/* "/model/<id, percent-encoded>/converse" or "/converse-stream". */
static int parse_path(const char *url, struct chat *ret, struct problem *why)
{
    const char *query = strchr(url, '?'), *id = url + strlen("/model/");
    size_t len = query ? (size_t)(query - url) : strlen(url);
    const char *end = memrchr(url, '/', len);
    size_t verb_len = (size_t)(url + len - end) - 1;
    ret->stream = verb_len == 15 && memcmp(end + 1, "converse-stream", 15) == 0;
    if (end <= id || (!ret->stream && (verb_len != 8 || memcmp(end + 1, "converse", 8) != 0)))
        return refuse(why, 404, "UnknownOperationException", "there is no such operation");
    if (!percent_decode(id, (size_t)(end - id), ret->model, sizeof ret->model))
        return refuse(why, 400, NULL, "The provided model identifier is invalid.");
    return 0;
}

static int parse(const struct request *request, json_t *body, struct chat *ret, struct problem *why)
{
    size_t i;
    json_t *message, *messages = json_object_get(body, "messages");
    if (parse_path(request_url(request), ret, why) < 0)
        return -1;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return refuse(why, 400, NULL, "A conversation must start with a user message.");
    content(ret, json_object_get(body, "system"));
    json_array_foreach(messages, i, message)
    {
        if (!json_is_array(json_object_get(message, "content")))
            return refuse(why, 400, NULL, "messages.%zu.content: a list of blocks is required", i);
        content(ret, json_object_get(message, "content"));
    }
    json_t *conf = json_object_get(body, "inferenceConfig");
    return chat_max_tokens(ret, json_object_get(conf, "maxTokens"), "maxTokens", why);
}

/* Cache reads and writes come on top of inputTokens here. */
static void usage(const struct usage *u, struct buf *out)
{
    int64_t written = u->cache_write_5m + u->cache_write_1h;
    buf_printf(out,
               "{\"cacheReadInputTokens\":%lld,\"cacheWriteInputTokens\":%lld,\"inputTokens\":%lld,"
               "\"outputTokens\":%lld,\"totalTokens\":%lld}",
               (long long)u->cache_read, (long long)written, (long long)u->input,
               (long long)u->output, (long long)(u->input + u->cache_read + written + u->output));
}

static const char *stop(const struct telling *t)
{
    return t->answer->cut ? "max_tokens" : "end_turn";
}

static uint32_t latency_ms(const struct telling *t) { return 20 + 5 * t->answer->count; }

static void plain(const struct telling *t, struct reply *reply)
{
    struct buf *out = &reply->event;
    reply->content_type = "application/json";
    buf_printf(out,
               "{\"metrics\":{\"latencyMs\":%u},\"output\":{\"message\":{\"content\":[{\"text\":",
               latency_ms(t));
    answer_text(t->answer, out);
    buf_printf(out, "}],\"role\":\"assistant\"}},\"stopReason\":\"%s\"", stop(t));
    if (t->usage) {
        buf_text(out, ",\"usage\":");
        usage(t->usage, out);
    }
    buf_text(out, "}");
    reply_event(reply, t->answer->count);
}

static void put_u32(char *at, size_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(unsigned char)(value >> (24 - 8 * i));
}

static void add_header(struct buf *out, const char *name, const char *value)
{
    size_t len = strlen(value);
    char kind[3] = {STRING_HEADER, (char)(unsigned char)(len >> 8), (char)(unsigned char)len};
    char name_len = (char)(unsigned char)strlen(name);
    buf_add(out, &name_len, 1);
    buf_text(out, name);
    buf_add(out, kind, 3);
    buf_add(out, value, len);
}

/* One message of the stream: `type` is an event's, or with `exception` an exception's. */
static void message(struct reply *reply, const char *type, bool exception,
                    const struct buf *payload, uint32_t tokens)
{
    struct buf *out = &reply->event;
    char zero[PRELUDE_BYTES] = {0};
    buf_add(out, zero, PRELUDE_BYTES);
    add_header(out, exception ? ":exception-type" : ":event-type", type);
    add_header(out, ":content-type", "application/json");
    add_header(out, ":message-type", exception ? "exception" : "event");
    size_t headers_len = out->len - PRELUDE_BYTES;
    buf_add(out, payload->data, payload->len);
    buf_add(out, zero, 4);
    put_u32(out->data, out->len);
    put_u32(out->data + 4, headers_len);
    put_u32(out->data + 8, crc32(0, (const Bytef *)out->data, 8));
    put_u32(out->data + out->len - 4, crc32(0, (const Bytef *)out->data, (uInt)out->len - 4));
    reply_event(reply, tokens);
}

/* The filler that hides token lengths from who watches packet sizes: "p", up to 26 letters. */
static void filler(struct buf *out, uint32_t at)
{
    buf_printf(out, ",\"p\":\"%.*s\"}", (int)(1 + at * 7 % 26), "abcdefghijklmnopqrstuvwxyz");
}

static void stream(const struct telling *t, struct reply *reply)
{
    struct buf payload = {0};
    uint32_t count = t->answer->count;
    reply->content_type = "application/vnd.amazon.eventstream";
    buf_text(&payload, "{\"role\":\"assistant\"");
    filler(&payload, 0);
    message(reply, "messageStart", false, &payload, 0);
    for (uint32_t i = 0; i <= count; i++) {
        buf_clear(&payload);
        if (t->error_after == (int64_t)i) {
            buf_text(&payload, "{\"message\":");
            buf_json_text(&payload, t->error->message);
            buf_text(&payload, "}");
            message(reply, t->error->code ? t->error->code : "modelStreamErrorException", true,
                    &payload, i);
            reply->broken = true;
            goto out;
        }
        if (i == count)
            break;
        buf_text(&payload, "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"");
        answer_word(t->answer, i, &payload);
        buf_text(&payload, "\"}");
        filler(&payload, i + 1);
        message(reply, "contentBlockDelta", false, &payload, i + 1);
    }
    buf_text(&payload, "{\"contentBlockIndex\":0");
    filler(&payload, 2);
    message(reply, "contentBlockStop", false, &payload, count);
    buf_clear(&payload);
    buf_printf(&payload, "{\"stopReason\":\"%s\"", stop(t));
    filler(&payload, 3);
    message(reply, "messageStop", false, &payload, count);
    buf_clear(&payload);
    buf_printf(&payload, "{\"metrics\":{\"latencyMs\":%u}", latency_ms(t));
    if (t->usage) {
        buf_text(&payload, ",\"usage\":");
        usage(t->usage, &payload);
    }
    filler(&payload, 4);
    message(reply, "metadata", false, &payload, count);
out:
    buf_free(&payload);
}

static void error(const struct problem *why, const char *request_id, struct buf *headers,
                  struct reply *reply)
{
    static const struct {
        int status;
        const char *type;
    } usual[] = {{400, "ValidationException"},         {401, "UnrecognizedClientException"},
                 {403, "AccessDeniedException"},       {404, "ResourceNotFoundException"},
                 {408, "ModelTimeoutException"},       {424, "ModelErrorException"},
                 {429, "ThrottlingException"},         {500, "InternalServerException"},
                 {503, "ServiceUnavailableException"}, {529, "ServiceUnavailableException"}};
    const char *type = why->code ? why->code : "ValidationException";
    (void)request_id;
    for (size_t i = 0; !why->code && i < sizeof usual / sizeof *usual; i++)
        if (usual[i].status == why->status)
            type = usual[i].type;
    buf_printf(headers,
               "x-amzn-errortype: %s:http://internal.amazon.com/coral/com.amazon.bedrock/\r\n",
               type);
    reply->content_type = "application/json";
    buf_text(&reply->event, "{\"message\":");
    buf_json_text(&reply->event, why->message);
    buf_text(&reply->event, "}");
    reply_event(reply, 0);
}

static void limits(const struct limits_view *view, struct buf *headers)
{
    (void)view; /* Bedrock sends none */
    (void)headers;
}

const struct dialect_face bedrock_face = {
    "bedrock", "x-amzn-requestid", admit, key, parse, plain, stream, error, limits};
