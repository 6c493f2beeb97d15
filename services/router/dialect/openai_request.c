/* OpenAI's POST /v1/chat/completions, as published in its API reference. */
#include "services/router/dialect/request.h"

#include <errno.h>

static int read_role(tg_request_reader *reader, tg_json value, tg_role *ret)
{
    static const struct {
        const char *name;
        tg_role role;
    } roles[] = {{"system", TG_ROLE_SYSTEM},
                 {"developer", TG_ROLE_SYSTEM},
                 {"user", TG_ROLE_USER},
                 {"assistant", TG_ROLE_ASSISTANT},
                 {"tool", TG_ROLE_TOOL}};
    tg_str text;
    if (tg_json_str(value, &text) < 0)
        return tg_error_set(reader->err, -EINVAL, "`role` must be a string");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (tg_str_is(text, roles[i].name)) {
            *ret = roles[i].role;
            return 0;
        }
    }
    if (tg_str_is(text, "function"))
        return tg_error_set(reader->err, -EINVAL,
                            "role %.*s is not supported by this gateway version", TG_STR_ARG(text));
    return tg_error_set(reader->err, -EINVAL,
                        "`role` must be one of system, developer, user, assistant, tool");
}

/* What only some roles have: a tool's answer names its call, an assistant's message may hold calls
 * and thoughts. */
static int read_extras(tg_request_reader *reader, tg_json message, tg_chat_message *to)
{
    tg_json calls = tg_json_get(message, "tool_calls");
    tg_str text;
    int rc = 0;
    if (to->role == TG_ROLE_TOOL) {
        if (tg_json_str(tg_json_get(message, "tool_call_id"), &text) < 0 || text.len == 0)
            return tg_error_set(reader->err, -EINVAL, "`tool_call_id` must be a non-empty string");
        rc = tg_request_copy(reader, text, &to->call_id);
    }
    if (to->role != TG_ROLE_ASSISTANT)
        return rc;
    if (tg_json_type_of(calls) > TG_JSON_NULL)
        rc = tg_request_calls(reader, calls, "tool_calls", to);
    if (rc == 0 && tg_json_str(tg_json_get(message, "reasoning_content"), &text) == 0)
        rc = tg_request_copy(reader, text, &to->reasoning);
    tg_chat_count_text(reader->out, to->reasoning);
    return rc;
}

static int read_message(tg_request_reader *reader, tg_json message)
{
    static const char *const refused[] = {"function_call", "audio"};
    tg_role role = TG_ROLE_USER;
    tg_str text = {"", 0};
    if (tg_json_type_of(message) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "each message must be an object");
    int rc = read_role(reader, tg_json_get(message, "role"), &role);
    for (size_t i = 0; rc == 0 && i < sizeof refused / sizeof *refused; i++) {
        tg_json value = tg_json_get(message, refused[i]);
        if (tg_json_type_of(value) > TG_JSON_NULL)
            rc = tg_request_refuse(reader, value, refused[i]);
    }
    const tg_json content = tg_json_get(message, "content");
    const bool calls =
        role == TG_ROLE_ASSISTANT && tg_json_count(tg_json_get(message, "tool_calls")) > 0;
    if (rc == 0 && !(calls && tg_json_type_of(content) <= TG_JSON_NULL)) /* calls may stand alone */
        rc = tg_request_text(reader, content, "content", &text);
    if (rc == 0)
        rc = tg_request_add_message(reader, role, text);
    return rc < 0 ? rc
                  : read_extras(reader, message, &reader->messages[reader->out->message_count - 1]);
}

static int read_messages(tg_request_reader *reader, tg_json value, const char *name)
{
    size_t index = 0;
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it); index++) {
        int rc = read_message(reader, it.value);
        if (rc < 0) {
            tg_error_prefix(reader->err, "%s[%zu]", name, index);
            return rc;
        }
    }
    return 0;
}

static int read_max_tokens(tg_request_reader *reader, tg_json value, const char *name)
{
    if (reader->max_tokens_seen)
        return tg_error_set(reader->err, -EINVAL,
                            "`max_tokens` and `max_completion_tokens` cannot both be given");
    reader->max_tokens_seen = true;
    return tg_request_max_tokens(reader, value, name);
}

static int read_temperature(tg_request_reader *reader, tg_json value, const char *name)
{
    reader->out->has_temperature = true;
    return tg_request_number(reader, value, name, 2, &reader->out->temperature);
}

static int read_top_p(tg_request_reader *reader, tg_json value, const char *name)
{
    reader->out->has_top_p = true;
    return tg_request_number(reader, value, name, 1, &reader->out->top_p);
}

static int read_seed(tg_request_reader *reader, tg_json value, const char *name)
{
    int64_t seed;
    if (tg_json_i64(value, &seed) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an integer", name);
    reader->out->has_seed = true;
    reader->out->seed = (uint64_t)seed;
    return 0;
}

static int read_n(tg_request_reader *reader, tg_json value, const char *name)
{
    uint64_t n;
    if (tg_json_u64(value, &n) < 0 || n == 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be a positive integer", name);
    if (n > 1)
        return tg_error_set(reader->err, -EINVAL,
                            "`n` above 1 is not supported by this gateway version");
    return 0;
}

static int read_logprobs(tg_request_reader *reader, tg_json value, const char *name)
{
    bool wanted;
    if (tg_json_bool(value, &wanted) == 0 && !wanted)
        return 0;
    return tg_request_refuse(reader, value, name);
}

static int read_response_format(tg_request_reader *reader, tg_json value, const char *name)
{
    static const char *const path[] = {"response_format", "json_schema", "schema"};
    tg_str type;
    if (tg_json_str(tg_json_get(value, "type"), &type) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an object with a `type`", name);
    if (tg_str_is(type, "text"))
        return 0;
    if (tg_str_is(type, "json_object")) {
        reader->out->form = TG_FORM_JSON_OBJECT;
        return 0;
    }
    if (!tg_str_is(type, "json_schema"))
        return tg_error_set(reader->err, -EINVAL,
                            "`%s` must be of type text, json_object or json_schema", name);
    int rc = tg_request_schema(reader, path, 3);
    if (rc == 0 && tg_json_str(tg_json_get(tg_json_get(value, "json_schema"), "name"), &type) == 0)
        rc = tg_request_copy(reader, type, &reader->out->form_name);
    return rc;
}

static int read_modalities(tg_request_reader *reader, tg_json value, const char *name)
{
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it);) {
        tg_str text;
        if (tg_json_str(it.value, &text) < 0 || !tg_str_is(text, "text"))
            return tg_error_set(reader->err, -EINVAL,
                                "`%s` other than text is not supported by this gateway version",
                                name);
    }
    return 0;
}

/* Other tiers have other prices, and a cost that does not say so would be wrong. */
static int read_service_tier(tg_request_reader *reader, tg_json value, const char *name)
{
    tg_str tier;
    if (tg_json_str(value, &tier) == 0 && (tg_str_is(tier, "auto") || tg_str_is(tier, "default")))
        return 0;
    return tg_error_set(reader->err, -EINVAL,
                        "`%s` other than auto and default is not supported by this gateway version",
                        name);
}

static int read_stream_options(tg_request_reader *reader, tg_json value, const char *name)
{
    tg_json include = tg_json_get(value, "include_usage");
    if (tg_json_type_of(value) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an object", name);
    reader->stream_options_seen = true;
    if (tg_json_type_of(include) > TG_JSON_NULL &&
        tg_json_bool(include, &reader->out->include_usage) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s.include_usage` must be true or false", name);
    return 0;
}

static const tg_request_field fields[] = {
    {"model", tg_request_model},
    {"messages", read_messages},
    {"stream", tg_request_stream},
    {"max_tokens", read_max_tokens},
    {"max_completion_tokens", read_max_tokens},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"stop", tg_request_stops},
    {"seed", read_seed},
    {"stream_options", read_stream_options},
    {"n", read_n},
    {"logprobs", read_logprobs},
    {"response_format", read_response_format},
    {"modalities", read_modalities},
    {"service_tier", read_service_tier},
    {"top_logprobs", tg_request_refuse},
    {"tools", tg_request_tools},
    {"tool_choice", tg_request_tool_choice},
    {"parallel_tool_calls", tg_request_one_call},
    {"functions", tg_request_refuse},
    {"function_call", tg_request_refuse},
    {"audio", tg_request_refuse},
    {"reasoning", tg_request_refuse},
    {"reasoning_effort", tg_request_refuse},
    {"web_search_options", tg_request_refuse},
};

int tg_request_openai(tg_request_reader *reader, tg_json root)
{
    int rc = tg_request_read_fields(reader, root, fields, sizeof fields / sizeof *fields);
    if (rc == 0 && reader->stream_options_seen && !reader->out->stream)
        rc = tg_error_set(reader->err, -EINVAL,
                          "`stream_options` is only allowed with `stream`: true");
    return rc < 0 ? rc : tg_request_check_tools(reader);
}
