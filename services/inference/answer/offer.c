#include "services/inference/answer/offer.h"

#include "services/inference/constrain/schema.h"

#include <errno.h>

/* The answer, or each call in it, is to be JSON of the tools' schema between two texts. 0; -ENOSPC: the schemas are too long; -ENOMEM. */
static int constrain(const tg_tools *tools, tg_tool_format format, tg_str before, tg_str behind, tg_arena *arena, tg_gen_request *out)
{
    tg_buf schema;
    tg_str *texts = tg_arena_zalloc(arena, 3, sizeof *texts);
    tg_buf_init(&schema, TG_SCHEMA_BYTES_MAX);
    int rc = texts ? tg_tools_schema(tools, format, &schema) : -ENOMEM;
    if (rc == 0) {
        texts[0] = (tg_str){tg_arena_strdup(arena, tg_buf_str(&schema)), schema.len};
        texts[1] = before;
        texts[2] = behind;
        out->constraint = (tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, texts, 3};
        rc = texts[0].data ? 0 : -ENOMEM;
    }
    tg_buf_free(&schema);
    return rc;
}

/* The answer must be a call: it is held to the form of one, behind the mark that opens it. */
static int require_call(const tg_tools *tools, tg_arena *arena, tg_gen_request *out, tg_answer_conf *ret, tg_error *err)
{
    const bool list = ret->tools == TG_TOOLS_MISTRAL;
    if (out->constraint.kind != TG_CONSTRAINT_NONE)
        return tg_error_set(err, -EINVAL, "tool_choice requires a call of a tool, and constraint something else");
    out->calls = ret->calling = true;
    int rc = constrain(tools, ret->tools, tg_str_of(list ? "[" : ""), tg_str_of(list ? "]" : ""), arena, out);
    if (rc == -ENOSPC)
        rc = tg_error_set(err, -EMSGSIZE, "the tools' parameters are longer than %u bytes together", TG_SCHEMA_BYTES_MAX);
    return rc;
}

/* What the model calls of its own accord is held to the form of a call from the mark that opens it on: to the end of the mark that
 * closes it, unless that is a control token, or of the object. Not where no mark opens a call, nor where the schemas are too long. */
static int hold_calls(const tg_model *model, const tg_tools *tools, tg_arena *arena, tg_gen_request *out, tg_answer_conf *ret)
{
    const tg_str close = tg_tools_close(ret->tools);
    const bool control = close.len > 0 && tg_tokenizer_find_control(model->tokenizer, close) != TG_TOKEN_NONE;
    if (out->constraint.kind != TG_CONSTRAINT_NONE || ret->tools == TG_TOOLS_LLAMA3)
        return 0;
    const int rc = constrain(tools, ret->tools, TG_STR(""), control ? TG_STR("") : close, arena, out);
    out->constrains_calls = rc == 0;
    if (rc == 0)
        out->answer = ret;
    return rc == -ENOSPC ? 0 : rc;
}

int tg_tools_offer(const tg_model *model, const tg_tools *tools, tg_str json, tg_arena *arena, tg_gen_request *out, tg_answer_conf *ret,
                   tg_error *err)
{
    if (tools->off)
        return 0;
    if (model->answer.tools == TG_TOOLS_NONE)
        return tg_error_set(err, -EINVAL, "tools: how this model writes calls is not known; tool_format can say it");
    out->tools = json;
    ret->tools = model->answer.tools;
    ret->names = tools->names;
    ret->names_len = tools->len;
    if (ret->one_call)
        out->answer = ret;
    return tools->required ? require_call(tools, arena, out, ret, err) : hold_calls(model, tools, arena, out, ret);
}
