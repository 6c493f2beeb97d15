#include "services/router/dialect/upstream.h"

static void pair(tg_json_out *out, const char *key, tg_str value)
{
    tg_json_out_key(out, key);
    tg_json_out_str(out, value);
}

static void write_parameters(tg_json_out *out, const char *key, const tg_chat_tool *tool)
{
    tg_json_out_key(out, key);
    tg_json_out_raw(out, tool->parameters.len > 0
                             ? tool->parameters
                             : TG_STR("{\"type\":\"object\",\"properties\":{}}"));
}

/* name, description and parameters, whatever the latter is called. */
static void write_function(tg_json_out *out, const tg_chat_tool *tool)
{
    pair(out, "name", tool->name);
    if (tool->description.len > 0)
        pair(out, "description", tool->description);
}

/* ---- OpenAI ---- */

void tg_upstream_tool_list_openai(tg_json_out *out, const tg_chat_request *request)
{
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < request->tool_count; i++) {
        tg_json_out_begin_object(out);
        pair(out, "type", TG_STR("function"));
        tg_json_out_key(out, "function");
        tg_json_out_begin_object(out);
        write_function(out, &request->tools[i]);
        write_parameters(out, "parameters", &request->tools[i]);
        tg_json_out_end_object(out);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
}

void tg_upstream_tools_openai(tg_json_out *out, const tg_chat_request *request)
{
    static const char *const words[] = {"auto", "none", "required"};
    if (request->tool_count == 0)
        return;
    tg_json_out_key(out, "tools");
    tg_upstream_tool_list_openai(out, request);
    tg_json_out_key(out, "tool_choice");
    if (request->tool_use == TG_TOOL_USE_NAMED) {
        tg_json_out_begin_object(out);
        pair(out, "type", TG_STR("function"));
        tg_json_out_key(out, "function");
        tg_json_out_begin_object(out);
        pair(out, "name", request->tool_named);
        tg_json_out_end_object(out);
        tg_json_out_end_object(out);
    } else {
        tg_json_out_text(out, words[request->tool_use]);
    }
    if (request->one_call) {
        tg_json_out_key(out, "parallel_tool_calls");
        tg_json_out_bool(out, false);
    }
}

void tg_upstream_calls_openai(tg_json_out *out, const tg_chat_message *message)
{
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < message->call_count; i++) {
        const tg_chat_call *call = &message->calls[i];
        tg_json_out_begin_object(out);
        pair(out, "id", call->id);
        pair(out, "type", TG_STR("function"));
        tg_json_out_key(out, "function");
        tg_json_out_begin_object(out);
        pair(out, "name", call->name);
        pair(out, "arguments", call->arguments);
        tg_json_out_end_object(out);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
}

void tg_upstream_message_openai(tg_json_out *out, const tg_chat_message *message)
{
    if (message->call_count > 0) {
        tg_json_out_key(out, "tool_calls");
        tg_upstream_calls_openai(out, message);
    }
    if (message->role == TG_ROLE_TOOL)
        pair(out, "tool_call_id", message->call_id);
}

/* ---- Anthropic ---- */

void tg_upstream_tools_anthropic(tg_json_out *out, const tg_chat_request *request)
{
    static const char *const types[] = {"auto", "none", "any", "tool"};
    if (request->tool_count == 0)
        return;
    tg_json_out_key(out, "tools");
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < request->tool_count; i++) {
        tg_json_out_begin_object(out);
        write_function(out, &request->tools[i]);
        write_parameters(out, "input_schema", &request->tools[i]);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
    tg_json_out_key(out, "tool_choice");
    tg_json_out_begin_object(out);
    pair(out, "type", tg_str_of(types[request->tool_use]));
    if (request->tool_use == TG_TOOL_USE_NAMED)
        pair(out, "name", request->tool_named);
    if (request->one_call && request->tool_use != TG_TOOL_USE_NONE) {
        tg_json_out_key(out, "disable_parallel_tool_use");
        tg_json_out_bool(out, true);
    }
    tg_json_out_end_object(out);
}

/* ---- Bedrock Converse ---- */

static bool has_calls(const tg_chat_request *request)
{
    for (size_t i = 0; i < request->message_count; i++)
        if (request->messages[i].call_count > 0)
            return true;
    return false;
}

static void write_tool_choice_bedrock(tg_json_out *out, const tg_chat_request *request)
{
    static const char *const kinds[] = {"auto", "auto", "any", "tool"};
    tg_json_out_key(out, "toolChoice");
    tg_json_out_begin_object(out);
    tg_json_out_key(out, kinds[request->tool_use]);
    tg_json_out_begin_object(out);
    if (request->tool_use == TG_TOOL_USE_NAMED)
        pair(out, "name", request->tool_named);
    tg_json_out_end_object(out);
    tg_json_out_end_object(out);
}

/* It has no word for "none" and none for one call at most. Without tools it refuses conversations
 * that have calls, so those keep them. */
void tg_upstream_tools_bedrock(tg_json_out *out, const tg_chat_request *request)
{
    if (request->tool_count == 0 || (request->tool_use == TG_TOOL_USE_NONE && !has_calls(request)))
        return;
    tg_json_out_key(out, "toolConfig");
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "tools");
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < request->tool_count; i++) {
        tg_json_out_begin_object(out);
        tg_json_out_key(out, "toolSpec");
        tg_json_out_begin_object(out);
        write_function(out, &request->tools[i]);
        tg_json_out_key(out, "inputSchema");
        tg_json_out_begin_object(out);
        write_parameters(out, "json", &request->tools[i]);
        tg_json_out_end_object(out);
        tg_json_out_end_object(out);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
    write_tool_choice_bedrock(out, request);
    tg_json_out_end_object(out);
}

/* ---- blocks, of both ---- */

/* Anthropic: {"type":"text","text":…}; Bedrock: {"text":…}. */
static void write_text(tg_json_out *out, bool bedrock, tg_str text)
{
    tg_json_out_begin_object(out);
    if (!bedrock)
        pair(out, "type", TG_STR("text"));
    pair(out, "text", text);
    tg_json_out_end_object(out);
}

static void write_call(tg_json_out *out, bool bedrock, const tg_chat_call *call)
{
    tg_json_out_begin_object(out);
    if (bedrock) {
        tg_json_out_key(out, "toolUse");
        tg_json_out_begin_object(out);
    } else {
        pair(out, "type", TG_STR("tool_use"));
    }
    pair(out, bedrock ? "toolUseId" : "id", call->id);
    pair(out, "name", call->name);
    tg_json_out_key(out, "input");
    tg_json_out_raw(out, call->object);
    if (bedrock)
        tg_json_out_end_object(out);
    tg_json_out_end_object(out);
}

static void write_result(tg_json_out *out, bool bedrock, const tg_chat_message *message)
{
    tg_json_out_begin_object(out);
    if (bedrock) {
        tg_json_out_key(out, "toolResult");
        tg_json_out_begin_object(out);
        pair(out, "toolUseId", message->call_id);
        tg_json_out_key(out, "content");
        tg_json_out_begin_array(out);
        write_text(out, true, message->text);
        tg_json_out_end_array(out);
        tg_json_out_end_object(out);
    } else {
        pair(out, "type", TG_STR("tool_result"));
        pair(out, "tool_use_id", message->call_id);
        pair(out, "content", message->text);
    }
    tg_json_out_end_object(out);
}

void tg_upstream_blocks(tg_json_out *out, bool bedrock, const tg_chat_message *message)
{
    if (message->role == TG_ROLE_TOOL)
        write_result(out, bedrock, message);
    else if (message->text.len > 0)
        write_text(out, bedrock, message->text);
    for (size_t i = 0; i < message->call_count; i++)
        write_call(out, bedrock, &message->calls[i]);
}
