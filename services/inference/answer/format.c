#include "services/inference/answer/format.h"

#include <errno.h>
#include <string.h>

static bool has(tg_str text, const char *part)
{
    return text.len > 0 && memmem(text.data, text.len, part, strlen(part));
}

/* Some families have another language between the same marks: <function=…>, <arg_key>…. */
static bool holds_json(tg_str t)
{
    return (has(t, "\"name\": ") || has(t, "\\\"name\\\": ")) && has(t, "arguments") &&
           !has(t, "<function=") && !has(t, "<arg_key>");
}

tg_answer_format tg_answer_format_of(tg_str t)
{
    tg_answer_format format = {.takes_tools = has(t, "tools")};
    if (has(t, "[TOOL_CALLS]"))
        format.tools = TG_TOOLS_MISTRAL;
    else if (has(t, "<tool_call>") && holds_json(t))
        format.tools = TG_TOOLS_HERMES;
    else if (has(t, "<|start_header_id|>") && has(t, "\"parameters\": "))
        format.tools = TG_TOOLS_LLAMA3;
    if (has(t, "</think>"))
        format.reasoning = TG_REASONING_THINK;
    else if (has(t, "[/THINK]"))
        format.reasoning = TG_REASONING_MISTRAL;
    return format;
}

const char *tg_tool_format_name(tg_tool_format format)
{
    static const char *const names[] = {"none", "hermes", "llama3", "mistral"};
    return names[format];
}

const char *tg_reasoning_format_name(tg_reasoning_format format)
{
    return format == TG_REASONING_NONE ? "none" : tg_reasoning_open(format).data;
}

int tg_tool_format_parse(tg_str name, tg_error *err, tg_tool_format *ret)
{
    for (int i = TG_TOOLS_NONE; i <= TG_TOOLS_MISTRAL; i++) {
        if (!tg_str_is(name, tg_tool_format_name((tg_tool_format)i)))
            continue;
        *ret = (tg_tool_format)i;
        return 0;
    }
    return tg_error_set(err, -EINVAL,
                        "'%.*s' is no format of tool calls; none, hermes, llama3 and mistral are",
                        (int)(name.len < 32 ? name.len : 32), name.data ? name.data : "");
}

tg_str tg_reasoning_open(tg_reasoning_format format)
{
    return tg_str_of(format == TG_REASONING_THINK     ? "<think>"
                     : format == TG_REASONING_MISTRAL ? "[THINK]"
                                                      : "");
}

tg_str tg_reasoning_close(tg_reasoning_format format)
{
    return tg_str_of(format == TG_REASONING_THINK     ? "</think>"
                     : format == TG_REASONING_MISTRAL ? "[/THINK]"
                                                      : "");
}

tg_str tg_tools_open(tg_tool_format format)
{
    static const char *const marks[] = {"", "<tool_call>", "<|python_tag|>", "[TOOL_CALLS]"};
    return tg_str_of(marks[format]);
}

tg_str tg_tools_close(tg_tool_format format)
{
    return tg_str_of(format == TG_TOOLS_HERMES ? "</tool_call>" : "");
}
