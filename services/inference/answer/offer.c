#include "services/inference/answer/offer.h"

#include <errno.h>

/* The answer, or each call in it, is to be one of the only tool, or of any, between two texts. 0 or
 * -ENOMEM. */
static int constrain(const tg_tools *tools, tg_tool_format format, tg_str before, tg_str behind,
                     tg_arena *arena, tg_gen_request *out)
{
    const size_t first = tools->only < tools->len ? tools->only : 0;
    const size_t end = tools->only < tools->len ? tools->only + 1 : tools->len;
    tg_str *texts = tg_arena_zalloc(arena, 3 + 2 * (end - first), sizeof *texts), *to = texts;
    if (!texts)
        return -ENOMEM;
    *to++ = before;
    *to++ = behind;
    *to++ = tg_str_of(format == TG_TOOLS_LLAMA3 ? "parameters" : "arguments");
    for (size_t i = first; i < end; i++) {
        *to++ = tools->names[i];
        *to++ = tools->parameters[i];
    }
    out->constraint = (tg_constraint_spec){TG_CONSTRAINT_CALL, texts, (size_t)(to - texts)};
    return 0;
}

/* The answer must be a call: it is held to the form of one, behind the mark that opens it. */
static int require_call(const tg_tools *tools, tg_arena *arena, tg_gen_request *out,
                        tg_answer_conf *ret, tg_error *err)
{
    const bool list = ret->tools == TG_TOOLS_MISTRAL;
    if (out->constraint.kind != TG_CONSTRAINT_NONE)
        return tg_error_set(err, -EINVAL,
                            "tool_choice requires a call of a tool, and constraint something else");
    out->calls = ret->calling = true;
    return constrain(tools, ret->tools, tg_str_of(list ? "[" : ""), tg_str_of(list ? "]" : ""),
                     arena, out);
}

/* What the model calls of its own accord is held to the form of a call from the mark that opens it
 * on: to the end of the mark that closes it, unless that is a control token, or of the object.
 * Not where no mark opens a call. */
static int hold_calls(const tg_model *model, const tg_tools *tools, tg_arena *arena,
                      tg_gen_request *out, tg_answer_conf *ret)
{
    const tg_str close = tg_tools_close(ret->tools);
    const bool control =
        close.len > 0 && tg_tokenizer_find_control(model->tokenizer, close) != TG_TOKEN_NONE;
    if (out->constraint.kind != TG_CONSTRAINT_NONE || ret->tools == TG_TOOLS_LLAMA3)
        return 0;
    out->constrains_calls = true;
    out->answer = ret;
    return constrain(tools, ret->tools, TG_STR(""), control ? TG_STR("") : close, arena, out);
}

int tg_tools_offer(const tg_model *model, const tg_tools *tools, tg_str json, tg_arena *arena,
                   tg_gen_request *out, tg_answer_conf *ret, tg_error *err)
{
    if (tools->off)
        return 0;
    if (model->answer.tools == TG_TOOLS_NONE)
        return tg_error_set(
            err, -EINVAL,
            "tools: how this model writes calls is not known; tool_format can say it");
    out->tools = json;
    ret->tools = model->answer.tools;
    ret->names = tools->names;
    ret->names_len = tools->len;
    if (ret->one_call)
        out->answer = ret;
    return tools->required ? require_call(tools, arena, out, ret, err)
                           : hold_calls(model, tools, arena, out, ret);
}
