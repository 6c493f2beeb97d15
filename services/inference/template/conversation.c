/* A conversation as a template's values, all of them data. */
#include "services/inference/template/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void set(tg_render *r, const tg_value *message, const char *key, tg_value v)
{
    tg_dict_set(r, message->list, tg_value_bytes(r, key, strlen(key), false), v);
}

static void set_text(tg_render *r, const tg_value *message, const char *key, tg_str text)
{
    if (text.len > 0)
        set(r, message, key, tg_value_bytes(r, text.data, text.len, false));
}

static tg_value *member(tg_render *r, const tg_value *of, const char *key)
{
    return of->kind == TG_VALUE_DICT
               ? (tg_value *)(uintptr_t)tg_dict_find(r, of->list, tg_str_of(key))
               : NULL;
}

/* Arguments that came as a string, as OpenAI writes them, become the object which that string
 * holds. */
static tg_value calls(tg_render *r, tg_str json, size_t at)
{
    char what[48];
    snprintf(what, sizeof(what), "messages[%zu].tool_calls", at);
    tg_value list = tg_json_value(r, json, what);
    if (r->rc == 0 && list.kind != TG_VALUE_LIST)
        tg_render_fail(r, -EINVAL, "%s: an array is needed", what);
    for (size_t i = 0; r->rc == 0 && i < list.list->len; i++) {
        tg_value *function = member(r, &list.list->items[i], "function");
        const tg_value *name = function ? member(r, function, "name") : NULL;
        tg_value *arguments = function ? member(r, function, "arguments") : NULL;
        if (tg_value_text(name).len == 0)
            tg_render_fail(r, -EINVAL,
                           "%s[%zu]: an object with a function that has a name is needed", what, i);
        else if (arguments && arguments->kind == TG_VALUE_STR)
            tg_json_object_in(r, tg_value_text(arguments), arguments);
    }
    return list;
}

tg_value tg_conversation(tg_render *r, const tg_template_message *messages, size_t len)
{
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    for (size_t i = 0; i < len && r->rc == 0; i++) {
        const tg_template_message *m = &messages[i];
        const tg_value message = tg_value_list(r, TG_VALUE_DICT);
        set(r, &message, "role", tg_value_bytes(r, m->role.data, m->role.len, false));
        set(r, &message, "content", tg_value_bytes(r, m->content.data, m->content.len, false));
        set_text(r, &message, "name", m->name);
        set_text(r, &message, "tool_call_id", m->tool_call_id);
        set_text(r, &message, "reasoning_content", m->reasoning);
        if (m->tool_calls.len > 0)
            set(r, &message, "tool_calls", calls(r, m->tool_calls, i));
        tg_list_add(r, list.list, message);
    }
    return list;
}
