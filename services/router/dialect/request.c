#include "services/router/dialect/request.h"

#include "libs/tokenizer/estimate.h"

#include <errno.h>
#include <string.h>

enum {
    /* at most: role marks and turn ends of the chat templates we know */
    MESSAGE_OVERHEAD_TOKENS = 16,
    MESSAGE_UNITS = 400 /* usually: four tokens */
};

uint64_t tg_chat_input_bound(const tg_chat_request *request)
{
    /* No tokenizer in use gives more than one token a byte. */
    uint64_t bytes =
        request->body.len > request->text_bytes ? request->body.len : request->text_bytes;
    return bytes + (request->message_count + 1) * MESSAGE_OVERHEAD_TOKENS;
}

uint64_t tg_chat_input_units(const tg_chat_request *request)
{
    return request->text_units + (request->message_count + 1) * MESSAGE_UNITS;
}

void tg_chat_count_text(tg_chat_request *request, tg_str text)
{
    request->text_bytes += text.len;
    request->text_units += tg_token_units(text);
}

static int read_member(tg_request_reader *reader, const tg_json_iter *it,
                       const tg_request_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tg_str_is(it->key, fields[i].name))
            return fields[i].read(reader, it->value, fields[i].name);
    return 0;
}

int tg_request_read_fields(tg_request_reader *reader, tg_json root, const tg_request_field *fields,
                           size_t count)
{
    for (tg_json_iter it = tg_json_iterate(root); tg_json_next(&it);) {
        if (tg_json_type_of(it.value) == TG_JSON_NULL)
            continue;
        int rc = read_member(reader, &it, fields, count);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int tg_request_copy(tg_request_reader *reader, tg_str text, tg_str *ret)
{
    char *copy = tg_arena_strdup(reader->arena, text);
    if (!copy)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    *ret = (tg_str){copy, text.len};
    return 0;
}

int tg_request_model(tg_request_reader *reader, tg_json value, const char *name)
{
    tg_str text;
    if (tg_json_str(value, &text) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be a string", name);
    return tg_request_copy(reader, text, &reader->out->model);
}

int tg_request_stream(tg_request_reader *reader, tg_json value, const char *name)
{
    if (tg_json_bool(value, &reader->out->stream) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be true or false", name);
    return 0;
}

int tg_request_max_tokens(tg_request_reader *reader, tg_json value, const char *name)
{
    uint64_t tokens;
    if (tg_json_u64(value, &tokens) < 0 || tokens == 0 || tokens > UINT32_MAX)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an integer from 1 to %u", name,
                            UINT32_MAX);
    reader->out->max_tokens = tokens;
    return 0;
}

int tg_request_number(tg_request_reader *reader, tg_json value, const char *name, double most,
                      double *ret)
{
    double number;
    if (tg_json_f64(value, &number) < 0 || !(number >= 0 && number <= most))
        return tg_error_set(reader->err, -EINVAL, "`%s` must be a number from 0 to %g", name, most);
    *ret = number;
    return 0;
}

int tg_request_refuse(tg_request_reader *reader, tg_json value, const char *name)
{
    if (tg_json_type_of(value) == TG_JSON_ARRAY && tg_json_count(value) == 0)
        return 0; /* asks for nothing */
    return tg_error_set(reader->err, -EINVAL, "`%s` is not supported by this gateway version",
                        name);
}

static int add_stop(tg_request_reader *reader, tg_json value, const char *name, tg_str *stops)
{
    tg_str text;
    if (tg_json_str(value, &text) < 0 || text.len == 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must hold non-empty strings", name);
    return tg_request_copy(reader, text, &stops[reader->out->stop_count++]);
}

int tg_request_stops(tg_request_reader *reader, tg_json value, const char *name)
{
    size_t count = tg_json_type_of(value) == TG_JSON_STRING ? 1 : tg_json_count(value);
    if (tg_json_type_of(value) != TG_JSON_STRING && tg_json_type_of(value) != TG_JSON_ARRAY)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be a string or an array of strings",
                            name);
    if (count > TG_CHAT_STOPS_MAX)
        return tg_error_set(reader->err, -EINVAL, "`%s` holds %zu strings; at most %d are allowed",
                            name, count, TG_CHAT_STOPS_MAX);
    if (count == 0)
        return 0;
    tg_str *stops = tg_arena_zalloc(reader->arena, count, sizeof *stops);
    if (!stops)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    reader->out->stops = stops;
    if (tg_json_type_of(value) == TG_JSON_STRING)
        return add_stop(reader, value, name, stops);
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it);) {
        int rc = add_stop(reader, it.value, name, stops);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int tg_request_schema(tg_request_reader *reader, const char *const *path, size_t path_len)
{
    tg_str value = reader->out->body;
    for (size_t i = 0; i < path_len; i++) {
        tg_json_member member;
        size_t at = 0;
        bool found = false;
        while (!found && (i == 0 || (value.len > 0 && value.data[0] == '{')) &&
               tg_json_raw_next(value, &at, &member))
            found = tg_json_raw_key_is(member.key_raw, path[i]);
        value = found ? member.value_raw : (tg_str){"", 0};
    }
    if (value.len == 0 || value.data[0] != '{')
        return tg_error_set(reader->err, -EINVAL, "`%s` must hold a `%s`, an object", path[0],
                            path[path_len - 1]);
    reader->out->form = TG_FORM_JSON_SCHEMA;
    reader->out->schema = value;
    tg_chat_count_text(reader->out, value);
    return 0;
}

int tg_request_part_text(tg_request_reader *reader, tg_json part, const char *name, size_t index,
                         tg_str *ret)
{
    tg_str type;
    if (tg_json_type_of(part) != TG_JSON_OBJECT ||
        tg_json_str(tg_json_get(part, "type"), &type) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu]` must be an object with a `type`", name,
                            index);
    if (!tg_str_is(type, "text"))
        return tg_error_set(reader->err, -EINVAL,
                            "`%s[%zu]` of type %.*s is not supported by this gateway version: "
                            "only text is",
                            name, index, type.len < 40 ? (int)type.len : 40, type.data);
    if (tg_json_str(tg_json_get(part, "text"), ret) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu].text` must be a string", name, index);
    return 0;
}

static int parts_text(tg_request_reader *reader, tg_json parts, const char *name, tg_str *ret)
{
    size_t index = 0, len = 0;
    tg_str text = {"", 0};
    for (tg_json_iter it = tg_json_iterate(parts); tg_json_next(&it); index++) {
        int rc = tg_request_part_text(reader, it.value, name, index, &text);
        if (rc < 0)
            return rc;
        len += text.len + 1;
    }
    if (index <= 1)
        return tg_request_copy(reader, text, ret);
    char *joined = tg_arena_alloc(reader->arena, len);
    if (!joined)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    char *to = joined;
    for (tg_json_iter it = tg_json_iterate(parts); tg_json_next(&it);) {
        tg_request_part_text(reader, it.value, name, 0, &text); /* succeeded just above */
        memcpy(to, text.data, text.len);
        to += text.len;
        *to++ = '\n';
    }
    joined[len - 1] = '\0';
    *ret = (tg_str){joined, len - 1};
    return 0;
}

int tg_request_text(tg_request_reader *reader, tg_json content, const char *name, tg_str *ret)
{
    tg_str text;
    if (tg_json_str(content, &text) == 0)
        return tg_request_copy(reader, text, ret);
    if (tg_json_type_of(content) == TG_JSON_ARRAY)
        return parts_text(reader, content, name, ret);
    return tg_error_set(reader->err, -EINVAL, "`%s` must be a string or an array of text parts",
                        name);
}

int tg_request_add_message(tg_request_reader *reader, tg_role role, tg_str text)
{
    tg_chat_request *out = reader->out;
    if (out->message_count == reader->message_room)
        return tg_error_set(reader->err, -EINVAL, "`messages` holds too many messages");
    reader->messages[out->message_count++] = (tg_chat_message){.role = role, .text = text};
    tg_chat_count_text(out, text);
    return 0;
}

static size_t count_blocks(tg_json messages)
{
    size_t count = 0;
    for (tg_json_iter it = tg_json_iterate(messages); tg_json_next(&it);)
        count += tg_json_count(tg_json_get(it.value, "content"));
    return count < TG_CHAT_MESSAGES_MAX ? count : TG_CHAT_MESSAGES_MAX;
}

static int read_body(tg_dialect dialect, tg_json root, tg_request_reader *reader)
{
    tg_json messages = tg_json_get(root, "messages");
    if (tg_json_type_of(root) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "the body must be a JSON object");
    if (tg_json_type_of(messages) != TG_JSON_ARRAY || tg_json_count(messages) == 0)
        return tg_error_set(reader->err, -EINVAL,
                            "`messages` must be an array of at least one message");
    if (tg_json_count(messages) > TG_CHAT_MESSAGES_MAX)
        return tg_error_set(reader->err, -EINVAL,
                            "`messages` holds %zu messages; at most %d are allowed",
                            tg_json_count(messages), TG_CHAT_MESSAGES_MAX);
    reader->message_room = tg_json_count(messages) + 1; /* Anthropic's `system` is one more */
    if (dialect == TG_DIALECT_ANTHROPIC) /* and results of calls are messages of their own */
        reader->message_room += count_blocks(messages);
    reader->messages =
        tg_arena_zalloc(reader->arena, reader->message_room, sizeof *reader->messages);
    if (!reader->messages)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    reader->out->messages = reader->messages;
    switch (dialect) {
    case TG_DIALECT_OPENAI:
        return tg_request_openai(reader, root);
    case TG_DIALECT_ANTHROPIC:
        return tg_request_anthropic(reader, root);
    case TG_DIALECT_BEDROCK:
    case TG_DIALECT_TOLLGATE:
        break;
    }
    return tg_error_set(reader->err, -EINVAL, "no client speaks this dialect");
}

int tg_dialect_decode_request(tg_dialect dialect, tg_json_doc *doc, tg_str body, tg_arena *arena,
                              tg_error *err, tg_chat_request *ret)
{
    tg_chat_request request = {.dialect = dialect, .body = body};
    tg_request_reader reader = {.arena = arena, .err = err, .out = &request};
    tg_json root;
    int rc = tg_json_parse(doc, body, TG_CODEC_BODY_MAX, err, &root);
    if (rc < 0) {
        tg_error_prefix(err, "the body is not valid JSON");
        return rc == -ENOMEM ? rc : -EINVAL;
    }
    rc = read_body(dialect, root, &reader);
    if (rc < 0)
        return rc;
    *ret = request;
    return 0;
}
