#include "services/inference/answer/tools.h"

#include "services/inference/answer/call.h"
#include "services/inference/text/json_tree.h"

#include <errno.h>

static int read_tool(tg_str json, const tg_json_node *tool, size_t at, tg_error *err,
                     tg_str *ret_name, tg_str *ret_parameters)
{
    const tg_json_node *type = tg_json_tree_get(tool, "type"),
                       *function = tg_json_tree_get(tool, "function");
    const tg_json_node *name = tg_json_tree_get(function, "name");
    const tg_json_node *parameters = tg_json_tree_get(function, "parameters");
    if (type && (type->kind != TG_JSON_STRING || !tg_str_is(type->text, "function")))
        return tg_error_set(err, -EINVAL, "tools[%zu].type: only \"function\" is supported", at);
    if (!function || function->kind != TG_JSON_OBJECT)
        return tg_error_set(err, -EINVAL, "tools[%zu].function: an object is needed", at);
    if (!name || name->kind != TG_JSON_STRING || name->text.len == 0 ||
        name->text.len > TG_CALL_NAME_MAX)
        return tg_error_set(err, -EINVAL,
                            "tools[%zu].function.name: a string of 1 to %d bytes is needed", at,
                            TG_CALL_NAME_MAX);
    if (parameters && parameters->kind == TG_JSON_NULL)
        parameters = NULL;
    if (parameters && parameters->kind != TG_JSON_OBJECT)
        return tg_error_set(err, -EINVAL, "tools[%zu].function.parameters: an object is needed",
                            at);
    *ret_name = name->text;
    *ret_parameters = TG_STR("{\"type\":\"object\",\"properties\":{}}");
    if (parameters)
        *ret_parameters =
            (tg_str){json.data + parameters->from, parameters->upto - parameters->from};
    return 0;
}

static int read_list(tg_str json, tg_arena *arena, tg_error *err, tg_tools *ret)
{
    const tg_json_node *root = NULL;
    int rc = tg_json_tree_parse(json, arena, err, &root);
    if (rc < 0)
        return tg_error_prefix(err, "tools"), rc;
    if (root->kind != TG_JSON_ARRAY || root->len > TG_TOOLS_MAX)
        return tg_error_set(err, -EINVAL, "tools: an array of at most %d is needed", TG_TOOLS_MAX);
    tg_str *names = tg_arena_zalloc(arena, root->len + 1, sizeof(*names));
    tg_str *parameters = tg_arena_zalloc(arena, root->len + 1, sizeof(*parameters));
    if (!names || !parameters)
        return -ENOMEM;
    ret->names = names;
    ret->parameters = parameters;
    for (const tg_json_node *tool = root->first; tool; tool = tool->next) {
        rc = read_tool(json, tool, ret->len, err, &names[ret->len], &parameters[ret->len]);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < ret->len; i++)
            if (tg_str_eq(names[i], names[ret->len]))
                return tg_error_set(err, -EINVAL, "tools[%zu] has the same name as tools[%zu]",
                                    ret->len, i);
        ret->len++;
    }
    return 0;
}

int tg_tools_read(tg_str json, tg_str choice, tg_arena *arena, tg_error *err, tg_tools *ret)
{
    *ret = (tg_tools){0};
    int rc = json.len > 0 ? read_list(json, arena, err, ret) : 0;
    if (rc < 0)
        return rc;
    ret->only = ret->len;
    ret->off = tg_str_is(choice, "none") || ret->len == 0;
    if (choice.len == 0 || tg_str_is(choice, "auto") || tg_str_is(choice, "none"))
        return 0;
    ret->required = true;
    if (ret->len == 0)
        return tg_error_set(err, -EINVAL, "tool_choice: no tools are given");
    if (tg_str_is(choice, "required"))
        return 0;
    for (ret->only = 0; ret->only < ret->len; ret->only++)
        if (tg_str_eq(ret->names[ret->only], choice))
            return 0;
    return tg_error_set(err, -EINVAL,
                        "tool_choice: '%.*s' is none of auto, none, required and the tools' names",
                        (int)(choice.len < 64 ? choice.len : 64), choice.data);
}
