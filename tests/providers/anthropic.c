/* Anthropic's messages. */
#include "tests/providers/dialect.h"
#include "tests/providers/keys.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* x-api-key; or a bearer token, which SDKs send when they were given one. */
static const char *given_key(const struct request *request)
{
    const char *value = request_header(request, "x-api-key");
    if (value)
        return value;
    value = request_header(request, "authorization");
    return value && strncmp(value, "Bearer ", 7) == 0 ? value + 7 : NULL;
}

static void key(const struct request *request, char *ret, size_t size)
{
    keys_fingerprint(given_key(request), ret, size);
}

static int admit(const struct request *request, struct problem *why)
{
    const char *given = given_key(request);
    if (!given || !*given)
        return refuse(why, 401, NULL, "x-api-key header is required");
    if (!keys_accept(ANTHROPIC, given))
        return refuse(why, 401, NULL, "invalid x-api-key");
    if (!request_header(request, "anthropic-version"))
        return refuse(why, 400, NULL, "anthropic-version: header is required");
    return 0;
}

static void mark(struct chat *chat, json_t *block)
{
    json_t *control = json_object_get(block, "cache_control");
    const char *ttl = json_string_value(json_object_get(control, "ttl"));
    if (json_is_object(control))
        chat_mark(chat, ttl && strcmp(ttl, "1h") == 0);
}

static void content(struct chat *chat, json_t *value)
{
    size_t i;
    json_t *block;
    chat_text(chat, value);
    json_array_foreach(value, i, block)
    {
        chat_text(chat, json_object_get(block, "text"));
        mark(chat, block);
    }
}

static int parse(const struct request *request, json_t *body, struct chat *ret, struct problem *why)
{
    size_t i;
    json_t *message, *messages = json_object_get(body, "messages");
    if (chat_model(ret, json_object_get(body, "model"), why) < 0 ||
        chat_max_tokens(ret, json_object_get(body, "max_tokens"), "max_tokens", why) < 0)
        return -1;
    if (ret->max_tokens < 0 && !strstr(request_url(request), "/count_tokens"))
        return refuse(why, 400, NULL, "max_tokens: Field required");
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return refuse(why, 400, NULL, "messages: at least one message is required");
    content(ret, json_object_get(body, "system"));
    json_array_foreach(messages, i, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
            return refuse(why, 400, NULL,
                          "messages.%zu.role: Input should be 'user' or 'assistant'", i);
        content(ret, json_object_get(message, "content"));
    }
    snprintf(ret->tier, sizeof ret->tier, "standard");
    ret->stream = json_is_true(json_object_get(body, "stream"));
    return 0;
}

/* Cache reads and writes come on top of input_tokens here. */
static void usage(const struct telling *t, int64_t output, struct buf *out)
{
    const struct usage *u = t->usage;
    buf_printf(out,
               "{\"input_tokens\":%lld,\"cache_creation_input_tokens\":%lld,"
               "\"cache_read_input_tokens\":%lld,\"cache_creation\":{"
               "\"ephemeral_5m_input_tokens\":%lld,\"ephemeral_1h_input_tokens\":%lld},"
               "\"output_tokens\":%lld,\"service_tier\":",
               (long long)u->input, (long long)(u->cache_write_5m + u->cache_write_1h),
               (long long)u->cache_read, (long long)u->cache_write_5m, (long long)u->cache_write_1h,
               (long long)output);
    buf_json_text(out, t->tier);
    buf_text(out, "}");
}

static void message_head(const struct telling *t, struct buf *out)
{
    buf_printf(
        out, "{\"id\":\"msg_01%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", t->id);
    buf_json_text(out, t->model);
    buf_text(out, ",\"content\":[");
}

static const char *stop(const struct telling *t)
{
    return t->answer->cut ? "max_tokens" : "end_turn";
}

static void plain(const struct telling *t, struct reply *reply)
{
    struct buf *out = &reply->event;
    reply->content_type = "application/json";
    message_head(t, out);
    buf_text(out, "{\"type\":\"text\",\"text\":");
    answer_text(t->answer, out);
    buf_printf(out, "}],\"stop_reason\":\"%s\",\"stop_sequence\":null", stop(t));
    if (t->usage) {
        buf_text(out, ",\"usage\":");
        usage(t, t->usage->output, out);
    }
    buf_text(out, "}");
    reply_event(reply, t->answer->count);
}

static void error_object(const struct problem *why, struct buf *out)
{
    static const struct {
        int status;
        const char *type;
    } usual[] = {{401, "authentication_error"}, {402, "billing_error"},
                 {403, "permission_error"},     {404, "not_found_error"},
                 {413, "request_too_large"},    {429, "rate_limit_error"},
                 {504, "timeout_error"},        {529, "overloaded_error"}};
    const char *type = why->status >= 500 ? "api_error" : "invalid_request_error";
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (usual[i].status == why->status)
            type = usual[i].type;
    buf_text(out, "{\"type\":\"error\",\"error\":{\"type\":");
    buf_json_text(out, why->code ? why->code : type);
    buf_text(out, ",\"message\":");
    buf_json_text(out, why->message);
    buf_text(out, "}");
}

static void message_start(const struct telling *t, struct reply *reply)
{
    struct buf *out = &reply->event;
    buf_text(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    message_head(t, out);
    buf_text(out, "],\"stop_reason\":null,\"stop_sequence\":null");
    if (t->usage) { /* output is a first estimate here; message_delta has the total */
        buf_text(out, ",\"usage\":");
        usage(t, 1, out);
    }
    buf_text(out, "}}\n\n");
    reply_event(reply, 0);
    buf_text(out, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
                  "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    reply_event(reply, 0);
    buf_text(out, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
    reply_event(reply, 0);
}

static void stream(const struct telling *t, struct reply *reply)
{
    struct buf *out = &reply->event;
    reply->content_type = "text/event-stream; charset=utf-8";
    message_start(t, reply);
    for (uint32_t i = 0; i <= t->answer->count; i++) {
        if (t->error_after == (int64_t)i) {
            buf_text(out, "event: error\ndata: ");
            error_object(t->error, out);
            buf_text(out, "}\n\n");
            reply_event(reply, i);
            reply->broken = true;
            return;
        }
        if (i == t->answer->count)
            break;
        buf_text(out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
                      "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"");
        answer_word(t->answer, i, out);
        buf_text(out, "\"}}\n\n");
        reply_event(reply, i + 1);
    }
    buf_text(out,
             "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
    reply_event(reply, t->answer->count);
    buf_printf(out,
               "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
               "\"stop_reason\":\"%s\",\"stop_sequence\":null}",
               stop(t));
    if (t->usage)
        buf_printf(out,
                   ",\"usage\":{\"input_tokens\":%lld,\"cache_creation_input_tokens\":%lld,"
                   "\"cache_read_input_tokens\":%lld,\"output_tokens\":%lld}",
                   (long long)t->usage->input,
                   (long long)(t->usage->cache_write_5m + t->usage->cache_write_1h),
                   (long long)t->usage->cache_read, (long long)t->usage->output);
    buf_text(out, "}\n\n");
    reply_event(reply, t->answer->count);
    buf_text(out, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    reply_event(reply, t->answer->count);
}

static void error(const struct problem *why, const char *request_id, struct buf *headers,
                  struct reply *reply)
{
    (void)headers;
    reply->content_type = "application/json";
    error_object(why, &reply->event);
    buf_printf(&reply->event, ",\"request_id\":\"%s\"}", request_id);
    reply_event(reply, 0);
}

static void limit(const char *name, const struct limit_view *view, struct buf *headers)
{
    char when[32];
    struct tm tm;
    time_t reset = time(NULL) + (time_t)(view->reset_s + 0.999);
    gmtime_r(&reset, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(headers,
               "anthropic-ratelimit-%s-limit: %lld\r\nanthropic-ratelimit-%s-remaining: %lld\r\n"
               "anthropic-ratelimit-%s-reset: %s\r\n",
               name, (long long)view->limit, name, (long long)view->left, name, when);
}

static void limits(const struct limits_view *view, struct buf *headers)
{
    const struct limit_view *in = &view->tokens, *out = &view->output;
    struct limit_view both = {in->limit + out->limit, in->left + out->left,
                              in->reset_s > out->reset_s ? in->reset_s : out->reset_s};
    limit("requests", &view->requests, headers);
    limit("input-tokens", in, headers);
    limit("output-tokens", out, headers);
    limit("tokens", &both, headers);
}

const struct dialect_face anthropic_face = {"anthropic", "request-id", admit, key,   parse,
                                            plain,       stream,       error, limits};
