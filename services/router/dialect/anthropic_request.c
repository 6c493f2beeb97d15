/* Anthropic's POST /v1/messages (anthropic-version 2023-06-01), as published in its API reference.
 */
#include "services/router/dialect/request.h"

#include <errno.h>

static int read_message(tg_request_reader *reader, tg_json message)
{
    tg_str role, text;
    const tg_json content = tg_json_get(message, "content");
    if (tg_json_type_of(message) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "each message must be an object");
    if (tg_json_str(tg_json_get(message, "role"), &role) < 0 ||
        (!tg_str_is(role, "user") && !tg_str_is(role, "assistant")))
        return tg_error_set(reader->err, -EINVAL,
                            "`role` must be user or assistant; instructions go into `system`");
    const tg_role from = tg_str_is(role, "user") ? TG_ROLE_USER : TG_ROLE_ASSISTANT;
    if (tg_json_type_of(content) == TG_JSON_ARRAY)
        return tg_request_anthropic_blocks(reader, content, from);
    int rc = tg_request_text(reader, content, "content", &text);
    return rc < 0 ? rc : tg_request_add_message(reader, from, text);
}

static int read_messages(tg_request_reader *reader, tg_json value)
{
    size_t index = 0;
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it); index++) {
        int rc = read_message(reader, it.value);
        if (rc < 0) {
            tg_error_prefix(reader->err, "messages[%zu]", index);
            return rc;
        }
    }
    return 0;
}

static int read_temperature(tg_request_reader *reader, tg_json value, const char *name)
{
    reader->out->has_temperature = true;
    return tg_request_number(reader, value, name, 1, &reader->out->temperature);
}

static int read_top_p(tg_request_reader *reader, tg_json value, const char *name)
{
    reader->out->has_top_p = true;
    return tg_request_number(reader, value, name, 1, &reader->out->top_p);
}

static int read_top_k(tg_request_reader *reader, tg_json value, const char *name)
{
    if (tg_json_u64(value, &reader->out->top_k) < 0 || reader->out->top_k > UINT32_MAX)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be a non-negative integer", name);
    return 0;
}

static int read_thinking(tg_request_reader *reader, tg_json value, const char *name)
{
    static const char *const types[] = {"enabled", "adaptive", "between_tools"};
    tg_str type = {"", 0}, display = {"", 0};
    tg_json_str(tg_json_get(value, "type"), &type);
    tg_json_str(tg_json_get(value, "display"), &display);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (tg_str_is(type, types[i])) {
            reader->out->wants_thoughts = !tg_str_is(display, "omitted");
            return 0;
        }
    }
    return tg_str_is(type, "disabled")
               ? 0
               : tg_error_set(reader->err, -EINVAL,
                              "`%s` must be of type enabled, adaptive, between_tools or disabled",
                              name);
}

static int read_output_config(tg_request_reader *reader, tg_json value, const char *name)
{
    static const char *const path[] = {"output_config", "format", "schema"};
    tg_json format = tg_json_get(value, "format");
    tg_str type;
    if (tg_json_type_of(value) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an object", name);
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it);)
        if (!tg_str_is(it.key, "format") && tg_json_type_of(it.value) > TG_JSON_NULL)
            return tg_error_set(reader->err, -EINVAL,
                                "`%s` is supported with `format` only by this gateway version",
                                name);
    if (tg_json_type_of(format) <= TG_JSON_NULL)
        return 0;
    if (tg_json_str(tg_json_get(format, "type"), &type) < 0 || !tg_str_is(type, "json_schema"))
        return tg_error_set(reader->err, -EINVAL, "`%s.format` must be of type json_schema", name);
    return tg_request_schema(reader, path, 3);
}

static const tg_request_field fields[] = {
    {"model", tg_request_model},
    {"stream", tg_request_stream},
    {"max_tokens", tg_request_max_tokens},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"top_k", read_top_k},
    {"stop_sequences", tg_request_stops},
    {"thinking", read_thinking},
    {"tools", tg_request_anthropic_tools},
    {"tool_choice", tg_request_anthropic_tool_choice},
    {"mcp_servers", tg_request_refuse},
    {"container", tg_request_refuse},
    {"output_format", tg_request_refuse},
    {"output_config", read_output_config},
};

int tg_request_anthropic(tg_request_reader *reader, tg_json root)
{
    tg_json system = tg_json_get(root, "system");
    tg_str text;
    int rc = tg_request_read_fields(reader, root, fields, sizeof fields / sizeof *fields);
    if (rc == 0 && reader->out->max_tokens == 0)
        rc = tg_error_set(reader->err, -EINVAL, "`max_tokens` is required");
    if (rc == 0 && tg_json_type_of(system) > TG_JSON_NULL) {
        rc = tg_request_text(reader, system, "system", &text);
        if (rc == 0)
            rc = tg_request_add_message(reader, TG_ROLE_SYSTEM, text);
    }
    if (rc == 0)
        rc = read_messages(reader, tg_json_get(root, "messages"));
    return rc < 0 ? rc : tg_request_check_tools(reader);
}
