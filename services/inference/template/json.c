/* JSON text as a template's values, all of them data. */
#include "services/inference/template/internal.h"
#include "services/inference/text/json_tree.h"

#include <errno.h>

static tg_value value_of(tg_render *r, const tg_json_node *node);

static tg_value box_of(tg_render *r, const tg_json_node *node)
{
    const bool dict = node->kind == TG_JSON_OBJECT;
    tg_value box = tg_value_list(r, dict ? TG_VALUE_DICT : TG_VALUE_LIST);
    for (const tg_json_node *child = node->first; child && r->rc == 0; child = child->next) {
        const tg_value v = value_of(r, child);
        if (dict)
            tg_dict_set(r, box.list, tg_value_bytes(r, child->key.data, child->key.len, false), v);
        else
            tg_list_add(r, box.list, v);
    }
    return box;
}

static tg_value value_of(tg_render *r, const tg_json_node *node)
{
    if (!tg_render_step(r, 1))
        return (tg_value){0};
    switch (node->kind) {
    case TG_JSON_STRING: return tg_value_bytes(r, node->text.data, node->text.len, false);
    case TG_JSON_NUMBER:
        return node->is_int ? tg_value_int(node->integer)
                            : (tg_value){.kind = TG_VALUE_FLOAT, .f = node->number};
    case TG_JSON_BOOL: return tg_value_bool(node->boolean);
    case TG_JSON_NULL: return (tg_value){.kind = TG_VALUE_NONE};
    default: return box_of(r, node);
    }
}

tg_value tg_json_value(tg_render *r, tg_str json, const char *what)
{
    const tg_json_node *root = NULL;
    tg_error err = {""};
    if (tg_json_tree_parse(json, &r->arena, &err, &root) < 0) {
        tg_render_fail(r, -EINVAL, "%s: %s", what, err.text[0] ? err.text : "more than is allowed");
        return (tg_value){0};
    }
    return value_of(r, root);
}

bool tg_json_object_in(tg_render *r, tg_str text, tg_value *ret)
{
    const tg_json_node *root = NULL;
    if (tg_json_tree_parse(text, &r->arena, NULL, &root) < 0 || root->kind != TG_JSON_OBJECT)
        return false;
    *ret = value_of(r, root);
    return true;
}
