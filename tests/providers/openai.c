/* OpenAI's chat completions. */
#include "tests/providers/dialect.h"
#include "tests/providers/keys.h"

#include <stdio.h>
#include <string.h>

static const char *bearer(const struct request *request)
{
    const char *value = request_header(request, "authorization");
    return value && strncmp(value, "Bearer ", 7) == 0 && value[7] ? value + 7 : NULL;
}

static void key(const struct request *request, char *ret, size_t size)
{
    keys_fingerprint(bearer(request), ret, size);
}

static int admit(const struct request *request, struct problem *why)
{
    const char *given = bearer(request);
    if (!given)
        return refuse(why, 401, "",
                      "You didn't provide an API key. You need to provide your API "
                      "key in an Authorization header using Bearer auth.");
    if (!keys_accept(
            OPENAI,
            given)) /* the real one echoes part of the key; so must whoever logs it be tested */
        return refuse(why, 401, NULL,
                      "Incorrect API key provided: %.8s***. You can find your API "
                      "key in your account settings.",
                      given);
    return 0;
}

static void content(struct chat *chat, json_t *value)
{
    size_t i;
    json_t *part;
    chat_text(chat, value);
    json_array_foreach(value, i, part) chat_text(chat, json_object_get(part, "text"));
}

static int parse(const struct request *request, json_t *body, struct chat *ret, struct problem *why)
{
    size_t i;
    json_t *message, *messages = json_object_get(body, "messages");
    (void)request;
    if (chat_model(ret, json_object_get(body, "model"), why) < 0)
        return -1;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return refuse(why, 400, NULL, "'messages': an array with at least one message is required");
    json_array_foreach(messages, i, message)
    {
        if (!json_is_string(json_object_get(message, "role")))
            return refuse(why, 400, NULL, "messages[%zu]: 'role' is required", i);
        content(ret, json_object_get(message, "content"));
    }
    json_t *n = json_object_get(body, "n");
    if (n && !json_is_null(n) && json_integer_value(n) != 1)
        return refuse(why, 400, NULL, "'n': this stand-in gives one choice");
    json_t *tier = json_object_get(body, "service_tier");
    const char *asked = json_is_string(tier) ? json_string_value(tier) : "default";
    snprintf(ret->tier, sizeof ret->tier, "%s", strcmp(asked, "auto") == 0 ? "default" : asked);
    ret->stream = json_is_true(json_object_get(body, "stream"));
    ret->include_usage =
        json_is_true(json_object_get(json_object_get(body, "stream_options"), "include_usage"));
    if (chat_max_tokens(ret, json_object_get(body, "max_tokens"), "max_tokens", why) < 0)
        return -1;
    return chat_max_tokens(ret, json_object_get(body, "max_completion_tokens"),
                           "max_completion_tokens", why);
}

/* Cached tokens are part of prompt_tokens here, reasoning tokens part of completion_tokens. */
static void usage(const struct usage *u, struct buf *out)
{
    int64_t prompt = u->input + u->cache_read + u->cache_write_5m + u->cache_write_1h;
    buf_printf(out,
               "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%lld,\"audio_tokens\":0},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":%lld,\"audio_tokens\":0,"
               "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
               (long long)prompt, (long long)u->output, (long long)(prompt + u->output),
               (long long)u->cache_read, (long long)u->reasoning);
}

/* The fields before "choices". */
static void head(const struct telling *t, const char *object, struct buf *out)
{
    buf_printf(out, "{\"id\":\"chatcmpl-%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", t->id,
               object, (long long)t->created_s);
    buf_json_text(out, t->model);
    buf_text(out, ",\"service_tier\":");
    buf_json_text(out, t->tier);
    buf_text(out, ",\"system_fingerprint\":\"fp_5ad5f1a9d1\",\"choices\":[");
}

static const char *finish(const struct telling *t) { return t->answer->cut ? "length" : "stop"; }

static void plain(const struct telling *t, struct reply *reply)
{
    struct buf *out = &reply->event;
    reply->content_type = "application/json";
    head(t, "chat.completion", out);
    buf_text(out, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    answer_text(t->answer, out);
    buf_printf(out,
               ",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"%s\"}]",
               finish(t));
    if (t->usage) {
        buf_text(out, ",\"usage\":");
        usage(t->usage, out);
    }
    buf_text(out, "}");
    reply_event(reply, t->answer->count);
}

static void error_object(const struct problem *why, struct buf *out)
{
    static const struct {
        int status;
        const char *type, *code;
    } usual[] = {{401, "invalid_request_error", "invalid_api_key"},
                 {404, "invalid_request_error", "model_not_found"},
                 {429, "requests", "rate_limit_exceeded"},
                 {500, "server_error", ""},
                 {503, "server_error", ""},
                 {529, "server_error", ""}};
    const char *type = why->status >= 500 ? "server_error" : "invalid_request_error", *code = "";
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        if (usual[i].status == why->status) {
            type = usual[i].type;
            code = usual[i].code;
        }
    }
    if (why->code)
        code = why->code;
    if (strcmp(code, "insufficient_quota") == 0)
        type = code;
    buf_text(out, "{\"error\":{\"message\":");
    buf_json_text(out, why->message);
    buf_printf(out, ",\"type\":\"%s\",\"param\":null,\"code\":", type);
    if (*code)
        buf_json_text(out, code);
    else
        buf_text(out, "null");
    buf_text(out, "}}");
}

static void stream(const struct telling *t, struct reply *reply)
{
    struct buf *out = &reply->event, start = {0};
    /* With include_usage every chunk but the last says that its usage is null. */
    const char *end = t->include_usage ? "],\"usage\":null}\n\n" : "]}\n\n";
    reply->content_type = "text/event-stream; charset=utf-8";
    buf_text(&start, "data: ");
    head(t, "chat.completion.chunk", &start);
    buf_printf(
        out,
        "%s{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
        "\"logprobs\":null,\"finish_reason\":null}%s",
        start.data, end);
    reply_event(reply, 0);
    for (uint32_t i = 0; i <= t->answer->count; i++) {
        if (t->error_after == (int64_t)i) {
            buf_text(out, "data: ");
            error_object(t->error, out);
            buf_text(out, "\n\n");
            reply_event(reply, i);
            reply->broken = true;
            goto out;
        }
        if (i == t->answer->count)
            break;
        buf_add(out, start.data, start.len);
        buf_text(out, "{\"index\":0,\"delta\":{\"content\":\"");
        answer_word(t->answer, i, out);
        buf_text(out, "\"},\"logprobs\":null,\"finish_reason\":null}");
        buf_text(out, end);
        reply_event(reply, i + 1);
    }
    buf_printf(out, "%s{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}%s",
               start.data, finish(t), end);
    reply_event(reply, t->answer->count);
    if (t->include_usage && t->usage) {
        buf_printf(out, "%s],\"usage\":", start.data);
        usage(t->usage, out);
        buf_text(out, "}\n\n");
        reply_event(reply, t->answer->count);
    }
    buf_text(out, "data: [DONE]\n\n");
    reply_event(reply, t->answer->count);
out:
    buf_free(&start);
}

static void error(const struct problem *why, const char *request_id, struct buf *headers,
                  struct reply *reply)
{
    (void)request_id;
    (void)headers;
    reply->content_type = "application/json";
    error_object(why, &reply->event);
    reply_event(reply, 0);
}

/* As their servers print it: 12ms, 1.5s, 6m0s, 1h0m0s. */
static void duration(double seconds, char *ret, size_t size)
{
    long long ms = (long long)(seconds * 1000 + 0.5);
    char part[32] = "";
    if (ms > 0 && ms < 1000) {
        snprintf(ret, size, "%lldms", ms);
        return;
    }
    if (ms >= 3600000)
        snprintf(part, sizeof part, "%lldh%lldm", ms / 3600000, ms / 60000 % 60);
    else if (ms >= 60000)
        snprintf(part, sizeof part, "%lldm", ms / 60000);
    if (ms % 1000)
        snprintf(ret, size, "%s%.3gs", part, (double)(ms % 60000) / 1000);
    else
        snprintf(ret, size, "%s%llds", part, ms % 60000 / 1000);
}

static void limits(const struct limits_view *view, struct buf *headers)
{
    char requests[48], tokens[48];
    duration(view->requests.reset_s, requests, sizeof requests);
    duration(view->tokens.reset_s, tokens, sizeof tokens);
    buf_printf(headers,
               "x-ratelimit-limit-requests: %lld\r\nx-ratelimit-limit-tokens: %lld\r\n"
               "x-ratelimit-remaining-requests: %lld\r\nx-ratelimit-remaining-tokens: %lld\r\n"
               "x-ratelimit-reset-requests: %s\r\nx-ratelimit-reset-tokens: %s\r\n",
               (long long)view->requests.limit, (long long)view->tokens.limit,
               (long long)view->requests.left, (long long)view->tokens.left, requests, tokens);
}

const struct dialect_face openai_face = {"openai", "x-request-id", admit, key,   parse,
                                         plain,    stream,         error, limits};
