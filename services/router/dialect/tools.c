/* Tools as OpenAI's requests have them: those offered, which one has to be called, and calls that
 * were made. */
#include "services/router/dialect/request.h"

#include <errno.h>

static int need_str(tg_request_reader *reader, tg_json object, const char *key, const char *where,
                    size_t index, tg_str *ret)
{
    tg_str text;
    if (tg_json_str(tg_json_get(object, key), &text) < 0 || text.len == 0)
        return tg_error_set(reader->err, -EINVAL,
                            "`%s[%zu].function.%s` must be a non-empty string", where, index, key);
    return tg_request_copy(reader, text, ret);
}

/* by as much a request to any provider nests deeper than what it takes from the client's */
enum { DEEPER = 8 };

int tg_request_is_object(tg_str text, bool *ret)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_json value;
    tg_buf buf;
    tg_buf_init(&buf, TG_CODEC_BODY_MAX + 2 * DEEPER);
    int rc = doc ? tg_buf_add_text(&buf, "[[[[[[[[") : -ENOMEM;
    if (rc == 0)
        rc = tg_buf_add_str(&buf, text);
    if (rc == 0)
        rc = tg_buf_add_text(&buf, "]]]]]]]]");
    *ret = rc == 0 &&
           tg_json_parse(doc, tg_buf_str(&buf), TG_CODEC_BODY_MAX + 2 * DEEPER, NULL, &value) == 0;
    for (int i = 0; i < DEEPER && *ret; i++) {
        *ret = tg_json_count(value) == 1;
        value = tg_json_at(value, 0);
    }
    *ret = *ret && tg_json_type_of(value) == TG_JSON_OBJECT;
    tg_buf_free(&buf);
    tg_json_doc_free(doc);
    return rc;
}

/* The value as JSON text of its own. */
static int json_text(tg_request_reader *reader, tg_json value, tg_str *ret)
{
    tg_buf buf;
    tg_buf_init(&buf, TG_CODEC_BODY_MAX);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_value(&out, value);
    int rc = out.status < 0 ? tg_error_set(reader->err, -ENOMEM, "out of memory")
                            : tg_request_copy(reader, tg_buf_str(&buf), ret);
    tg_buf_free(&buf);
    return rc;
}

int tg_request_parameters(tg_request_reader *reader, tg_json value, const char *name, size_t index,
                          const char *field, tg_str *ret)
{
    bool object = false;
    if (tg_json_type_of(value) <= TG_JSON_NULL)
        return 0;
    if (tg_json_type_of(value) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu].%s` must be an object", name, index,
                            field);
    int rc = json_text(reader, value, ret);
    if (rc == 0 && tg_request_is_object(*ret, &object) < 0)
        rc = tg_error_set(reader->err, -ENOMEM, "out of memory");
    if (rc == 0 && !object)
        rc = tg_error_set(reader->err, -EINVAL, "`%s[%zu].%s` nests too deep", name, index, field);
    return rc;
}

static int read_tool(tg_request_reader *reader, tg_json value, const char *name, size_t index,
                     tg_chat_tool *tool)
{
    tg_json function = tg_json_get(value, "function"),
            parameters = tg_json_get(function, "parameters");
    tg_str type;
    if (tg_json_str(tg_json_get(value, "type"), &type) < 0 || !tg_str_is(type, "function"))
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu].type` must be \"function\"", name,
                            index);
    if (tg_json_type_of(function) != TG_JSON_OBJECT)
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu].function` must be an object", name,
                            index);
    int rc = need_str(reader, function, "name", name, index, &tool->name);
    if (rc == 0 && tg_json_str(tg_json_get(function, "description"), &type) == 0)
        rc = tg_request_copy(reader, type, &tool->description);
    return rc < 0 ? rc
                  : tg_request_parameters(reader, parameters, name, index, "function.parameters",
                                          &tool->parameters);
}

int tg_request_tool_list(tg_request_reader *reader, tg_json value, const char *name,
                         tg_tool_fn read)
{
    tg_chat_request *out = reader->out;
    const size_t count = tg_json_count(value);
    if (tg_json_type_of(value) != TG_JSON_ARRAY || count > TG_CHAT_TOOLS_MAX)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an array of at most %d tools", name,
                            TG_CHAT_TOOLS_MAX);
    tg_chat_tool *tools = tg_arena_zalloc(reader->arena, count + 1, sizeof *tools);
    if (!tools)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    out->tools = tools;
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it); out->tool_count++) {
        tg_chat_tool *tool = &tools[out->tool_count];
        int rc = read(reader, it.value, name, out->tool_count, tool);
        if (rc < 0)
            return rc;
        tg_chat_count_text(out, tool->name);
        tg_chat_count_text(out, tool->description);
        tg_chat_count_text(out, tool->parameters);
    }
    return 0;
}

int tg_request_tools(tg_request_reader *reader, tg_json value, const char *name)
{
    return tg_request_tool_list(reader, value, name, read_tool);
}

static bool read_word(tg_chat_request *out, tg_str text)
{
    static const char *const words[] = {"auto", "none", "required"};
    for (int i = 0; i < 3; i++) {
        if (!tg_str_is(text, words[i]))
            continue;
        out->tool_use = (tg_tool_use)i;
        return true;
    }
    return false;
}

int tg_request_tool_choice(tg_request_reader *reader, tg_json value, const char *name)
{
    tg_chat_request *out = reader->out;
    tg_str text;
    if (tg_json_str(value, &text) == 0 && read_word(out, text))
        return 0;
    if (tg_json_str(tg_json_path(value, "function.name"), &text) < 0 || text.len == 0)
        return tg_error_set(
            reader->err, -EINVAL,
            "`%s` must be auto, none, required or {\"type\": \"function\", \"function\": "
            "{\"name\": …}}",
            name);
    out->tool_use = TG_TOOL_USE_NAMED;
    return tg_request_copy(reader, text, &out->tool_named);
}

int tg_request_one_call(tg_request_reader *reader, tg_json value, const char *name)
{
    bool parallel;
    if (tg_json_bool(value, &parallel) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be true or false", name);
    reader->out->one_call = !parallel;
    return 0;
}

/* Arguments are a string of JSON, which a model wrote; not all that models write is JSON. */
static int read_arguments(tg_request_reader *reader, tg_chat_call *call)
{
    bool object = false;
    tg_buf buf;
    if (tg_request_is_object(call->arguments, &object) < 0)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    if (object) {
        call->object = call->arguments;
        return 0;
    }
    tg_buf_init(&buf, TG_CODEC_BODY_MAX);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_begin_object(&out);
    if (call->arguments.len > 0) {
        tg_json_out_key(&out, "arguments");
        tg_json_out_str(&out, call->arguments);
    }
    tg_json_out_end_object(&out);
    int rc = out.status < 0 ? tg_error_set(reader->err, -ENOMEM, "out of memory")
                            : tg_request_copy(reader, tg_buf_str(&buf), &call->object);
    tg_buf_free(&buf);
    return rc;
}

static int read_call(tg_request_reader *reader, tg_json value, const char *name, size_t index,
                     tg_chat_call *call)
{
    tg_json function = tg_json_get(value, "function");
    tg_str text;
    if (tg_json_str(tg_json_get(value, "id"), &text) < 0 || text.len == 0)
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu].id` must be a non-empty string", name,
                            index);
    int rc = tg_request_copy(reader, text, &call->id);
    if (rc == 0)
        rc = need_str(reader, function, "name", name, index, &call->name);
    if (rc == 0 && tg_json_str(tg_json_get(function, "arguments"), &text) < 0)
        rc = tg_error_set(reader->err, -EINVAL, "`%s[%zu].function.arguments` must be a string",
                          name, index);
    if (rc == 0)
        rc = tg_request_copy(reader, text, &call->arguments);
    return rc < 0 ? rc : read_arguments(reader, call);
}

int tg_request_calls(tg_request_reader *reader, tg_json value, const char *name,
                     tg_chat_message *message)
{
    const size_t count = tg_json_count(value);
    if (tg_json_type_of(value) != TG_JSON_ARRAY || count > TG_CHAT_TOOLS_MAX)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an array of at most %d calls", name,
                            TG_CHAT_TOOLS_MAX);
    tg_chat_call *calls = tg_arena_zalloc(reader->arena, count + 1, sizeof *calls);
    if (!calls)
        return tg_error_set(reader->err, -ENOMEM, "out of memory");
    message->calls = calls;
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it); message->call_count++) {
        int rc =
            read_call(reader, it.value, name, message->call_count, &calls[message->call_count]);
        if (rc < 0)
            return rc;
        tg_chat_count_text(reader->out, calls[message->call_count].name);
        tg_chat_count_text(reader->out, calls[message->call_count].arguments);
    }
    return 0;
}

int tg_request_check_tools(tg_request_reader *reader)
{
    const tg_chat_request *out = reader->out;
    if (out->tool_use == TG_TOOL_USE_REQUIRED && out->tool_count == 0)
        return tg_error_set(reader->err, -EINVAL,
                            "`tool_choice` requires a call, but there are no `tools`");
    if (out->tool_use != TG_TOOL_USE_NAMED)
        return 0;
    for (size_t i = 0; i < out->tool_count; i++)
        if (tg_str_eq(out->tools[i].name, out->tool_named))
            return 0;
    return tg_error_set(reader->err, -EINVAL,
                        "`tool_choice` names a tool that is not among `tools`");
}

static int parse(tg_request_reader *reader, tg_json_doc *doc, tg_str text, const char *name,
                 tg_json *ret)
{
    int rc = tg_json_parse(doc, text, TG_CODEC_BODY_MAX, reader->err, ret);
    if (rc < 0)
        tg_error_prefix(reader->err, "`%s` is not valid JSON", name);
    return rc == -ENOMEM || rc == 0 ? rc : -EINVAL;
}

int tg_dialect_decode_tools(tg_json_doc *doc, tg_str tools, tg_str choice, tg_arena *arena,
                            tg_error *err, tg_chat_request *request)
{
    tg_request_reader reader = {.arena = arena, .err = err, .out = request};
    tg_json root;
    int rc = 0;
    if (tools.len > 0) {
        rc = parse(&reader, doc, tools, "tools_json", &root);
        rc = rc < 0 ? rc : tg_request_tools(&reader, root, "tools_json");
    }
    if (rc == 0 && choice.len > 0 && !read_word(request, choice)) {
        request->tool_use = TG_TOOL_USE_NAMED;
        rc = tg_request_copy(&reader, choice, &request->tool_named);
    }
    return rc < 0 ? rc : tg_request_check_tools(&reader);
}

int tg_dialect_decode_calls(tg_json_doc *doc, tg_str calls, tg_arena *arena, tg_error *err,
                            tg_chat_request *request, tg_chat_message *message)
{
    tg_request_reader reader = {.arena = arena, .err = err, .out = request};
    tg_json root;
    int rc = parse(&reader, doc, calls, "tool_calls_json", &root);
    return rc < 0 ? rc : tg_request_calls(&reader, root, "tool_calls_json", message);
}
