/* How a family of models writes calls of tools and what it thinks before it answers, as far as this
 * engine reads it.
 *
 *   hermes    <tool_call>{"name": …, "arguments": {…}}</tool_call>, as often as there are calls
 *             (Hermes, Qwen 2.5 and 3)
 *   llama3    an answer that is {"name": …, "parameters": {…}}, several with ; between, after
 *             <|python_tag|> or without it
 *   mistral   [TOOL_CALLS][{"name": …, "arguments": {…}}, …], or [TOOL_CALLS]name[ARGS]{…} for each
 *             call
 *
 * Thinking stands between <think> and </think>, or [THINK] and [/THINK], at the answer's beginning;
 * some templates write the opening mark themselves. Which of these a model has is read off its chat
 * template, whose text names the marks.
 */
#ifndef TG_INFERENCE_ANSWER_FORMAT_H
#define TG_INFERENCE_ANSWER_FORMAT_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#define TG_ANSWER_MARK_MAX 16 /* bytes of the longest mark in an answer */

typedef enum tg_tool_format {
    TG_TOOLS_NONE, /* calls cannot be told from text */
    TG_TOOLS_HERMES,
    TG_TOOLS_LLAMA3,
    TG_TOOLS_MISTRAL,
} tg_tool_format;

typedef enum tg_reasoning_format {
    TG_REASONING_NONE,
    TG_REASONING_THINK,   /* <think> … </think> */
    TG_REASONING_MISTRAL, /* [THINK] … [/THINK] */
} tg_reasoning_format;

typedef struct tg_answer_format {
    tg_tool_format tools;
    tg_reasoning_format reasoning;
    bool takes_tools; /* the template has a place for tools */
} tg_answer_format;

tg_answer_format tg_answer_format_of(tg_str chat_template);

const char *tg_tool_format_name(tg_tool_format format); /* "none", "hermes", … */
const char *tg_reasoning_format_name(tg_reasoning_format format); /* "none", "<think>", "[THINK]" */
/* By name. 0 or -EINVAL with a message. */
int tg_tool_format_parse(tg_str name, tg_error *err, tg_tool_format *ret);

/* Marks as they stand in an answer; empty where the format has none. */
tg_str tg_reasoning_open(tg_reasoning_format format);
tg_str tg_reasoning_close(tg_reasoning_format format);
tg_str tg_tools_open(tg_tool_format format);
tg_str tg_tools_close(tg_tool_format format);

#endif
