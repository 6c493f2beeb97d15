#include "services/inference/answer/offer.h"

#include "services/inference/constrain/schema.h"

#include <errno.h>

/* The answer must be a call: it is held to the form of one, behind the mark that opens it. */
static int require_call(const tg_tools *tools, tg_arena *arena, tg_gen_request *out, tg_answer_conf *ret, tg_error *err)
{
    tg_buf schema;
    tg_str *texts = tg_arena_zalloc(arena, 3, sizeof *texts);
    if (out->constraint.kind != TG_CONSTRAINT_NONE)
        return tg_error_set(err, -EINVAL, "tool_choice requires a call of a tool, and constraint something else");
    tg_buf_init(&schema, TG_SCHEMA_BYTES_MAX);
    int rc = texts ? tg_tools_schema(tools, ret->tools, &schema) : -ENOMEM;
    if (rc == -ENOSPC)
        rc = tg_error_set(err, -EMSGSIZE, "the tools' parameters are longer than %u bytes together", TG_SCHEMA_BYTES_MAX);
    if (rc == 0) {
        texts[0] = (tg_str){tg_arena_strdup(arena, tg_buf_str(&schema)), schema.len};
        texts[1] = TG_STR("[");
        texts[2] = TG_STR("]");
        out->constraint = (tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, texts, ret->tools == TG_TOOLS_MISTRAL ? 3 : 1};
        out->calls = ret->calling = true;
        rc = texts[0].data ? 0 : -ENOMEM;
    }
    tg_buf_free(&schema);
    return rc;
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
    return tools->required ? require_call(tools, arena, out, ret, err) : 0;
}
