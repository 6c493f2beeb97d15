/* Tools as Anthropic's clients have them, and the blocks of content that speak of calls. */
#include "services/router/dialect/request.h"

#include <errno.h>
#include <string.h>

static int need_str(tg_request_reader *reader, tg_json object, const char *key, const char *where,
                    size_t index, tg_str *ret)
{
    tg_str text;
    if (tg_json_str(tg_json_get(object, key), &text) < 0 || text.len == 0)
        return tg_error_set(reader->err, -EINVAL, "`%s[%zu].%s` must be a non-empty string", where,
                            index, key);
    return tg_request_copy(reader, text, ret);
}

static int read_tool(tg_request_reader *reader, tg_json value, const char *name, size_t index,
                     tg_chat_tool *tool)
{
    tg_str text;
    if (tg_json_str(tg_json_get(value, "type"), &text) == 0 && !tg_str_is(text, "custom"))
        return tg_error_set(reader->err, -EINVAL,
                            "`%s[%zu]` of type %.*s is not supported by this gateway version: only "
                            "tools of the client's own are",
                            name, index, text.len < 40 ? (int)text.len : 40, text.data);
    int rc = need_str(reader, value, "name", name, index, &tool->name);
    if (rc == 0 && tg_json_str(tg_json_get(value, "description"), &text) == 0)
        rc = tg_request_copy(reader, text, &tool->description);
    return rc < 0 ? rc
                  : tg_request_parameters(reader, tg_json_get(value, "input_schema"), name, index,
                                          "input_schema", &tool->parameters);
}

int tg_request_anthropic_tools(tg_request_reader *reader, tg_json value, const char *name)
{
    return tg_request_tool_list(reader, value, name, read_tool);
}

int tg_request_anthropic_tool_choice(tg_request_reader *reader, tg_json value, const char *name)
{
    static const char *const types[] = {"auto", "none", "any", "tool"};
    tg_chat_request *out = reader->out;
    tg_str type;
    int which = 0;
    if (tg_json_str(tg_json_get(value, "type"), &type) < 0)
        return tg_error_set(reader->err, -EINVAL, "`%s` must be an object with a `type`", name);
    while (which < 4 && !tg_str_is(type, types[which]))
        which++;
    if (which == 4)
        return tg_error_set(reader->err, -EINVAL, "`%s.type` must be auto, any, tool or none",
                            name);
    out->tool_use = (tg_tool_use)which;
    tg_json_bool(tg_json_get(value, "disable_parallel_tool_use"), &out->one_call);
    if (out->tool_use != TG_TOOL_USE_NAMED)
        return 0;
    if (tg_json_str(tg_json_get(value, "name"), &type) < 0 || type.len == 0)
        return tg_error_set(reader->err, -EINVAL, "`%s.name` must be a non-empty string", name);
    return tg_request_copy(reader, type, &out->tool_named);
}

/* ---- blocks ---- */

typedef struct blocks {
    tg_request_reader *reader;
    tg_role role;
    tg_buf text; /* of text blocks, a line end between */
    bool has_text, has_results;
    tg_str reasoning;
    tg_chat_call *calls;
    size_t call_count;
} blocks;

static int read_use(blocks *b, tg_json block, size_t index)
{
    tg_request_reader *reader = b->reader;
    tg_chat_call *call = &b->calls[b->call_count];
    if (b->role != TG_ROLE_ASSISTANT || b->call_count == TG_CHAT_TOOLS_MAX)
        return tg_error_set(
            reader->err, -EINVAL,
            "`content[%zu]` of type tool_use: only in an assistant's message, %d at most", index,
            TG_CHAT_TOOLS_MAX);
    int rc = need_str(reader, block, "id", "content", index, &call->id);
    if (rc == 0)
        rc = need_str(reader, block, "name", "content", index, &call->name);
    if (rc == 0)
        rc = tg_request_parameters(reader, tg_json_get(block, "input"), "content", index, "input",
                                   &call->object);
    if (rc < 0)
        return rc;
    if (call->object.len == 0)
        call->object = TG_STR("{}");
    call->arguments = call->object;
    tg_chat_count_text(reader->out, call->name);
    tg_chat_count_text(reader->out, call->arguments);
    b->call_count++;
    return 0;
}

static int read_result(blocks *b, tg_json block, size_t index)
{
    tg_request_reader *reader = b->reader;
    tg_json content = tg_json_get(block, "content");
    tg_str id, text = {"", 0};
    if (b->role != TG_ROLE_USER)
        return tg_error_set(reader->err, -EINVAL,
                            "`content[%zu]` of type tool_result: only in a user's message", index);
    int rc = need_str(reader, block, "tool_use_id", "content", index, &id);
    if (rc == 0 && tg_json_type_of(content) > TG_JSON_NULL)
        rc = tg_request_text(reader, content, "content", &text);
    if (rc == 0)
        rc = tg_request_add_message(reader, TG_ROLE_TOOL, text);
    if (rc == 0)
        reader->messages[reader->out->message_count - 1].call_id = id;
    b->has_results = true;
    return rc;
}

static int read_thought(blocks *b, tg_json block)
{
    tg_str text, signature = {"", 0};
    tg_json_str(tg_json_get(block, "signature"), &signature);
    b->reader->out->unsigned_thoughts |= signature.len == 0;
    return tg_json_str(tg_json_get(block, "thinking"), &text) < 0
               ? 0
               : tg_request_copy(b->reader, text, &b->reasoning);
}

static int read_block(blocks *b, tg_json block, size_t index)
{
    tg_str type, text;
    if (tg_json_str(tg_json_get(block, "type"), &type) == 0) {
        if (tg_str_is(type, "tool_use"))
            return read_use(b, block, index);
        if (tg_str_is(type, "tool_result"))
            return read_result(b, block, index);
        if (b->role == TG_ROLE_ASSISTANT && tg_str_is(type, "redacted_thinking"))
            return 0;
        if (b->role == TG_ROLE_ASSISTANT && tg_str_is(type, "thinking"))
            return read_thought(b, block);
    }
    int rc = tg_request_part_text(b->reader, block, "content", index, &text);
    if (rc == 0 && b->has_text)
        rc = tg_buf_add_char(&b->text, '\n');
    b->has_text = true;
    return rc < 0 ? rc : tg_buf_add_str(&b->text, text);
}

static int add_rest(blocks *b)
{
    tg_request_reader *reader = b->reader;
    tg_str text = {"", 0};
    if (b->has_results && !b->has_text)
        return 0;
    int rc = tg_request_copy(reader, tg_buf_str(&b->text), &text);
    if (rc == 0)
        rc = tg_request_add_message(reader, b->role, text);
    if (rc < 0)
        return rc;
    tg_chat_message *message = &reader->messages[reader->out->message_count - 1];
    message->calls = b->calls;
    message->call_count = b->call_count;
    message->reasoning = b->reasoning;
    tg_chat_count_text(reader->out, b->reasoning);
    return 0;
}

int tg_request_anthropic_blocks(tg_request_reader *reader, tg_json list, tg_role role)
{
    const size_t count = tg_json_count(list);
    blocks b = {.reader = reader, .role = role};
    size_t index = 0;
    int rc = 0;
    tg_buf_init(&b.text, TG_CODEC_BODY_MAX);
    b.calls =
        tg_arena_zalloc(reader->arena, (count < TG_CHAT_TOOLS_MAX ? count : TG_CHAT_TOOLS_MAX) + 1,
                        sizeof *b.calls);
    if (!b.calls)
        rc = tg_error_set(reader->err, -ENOMEM, "out of memory");
    for (tg_json_iter it = tg_json_iterate(list); rc == 0 && tg_json_next(&it); index++)
        rc = read_block(&b, it.value, index);
    if (rc == 0)
        rc = add_rest(&b);
    tg_buf_free(&b.text);
    return rc;
}
