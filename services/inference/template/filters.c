#include "services/inference/template/internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const filters[] = {
    "trim",   "tojson",     "join",    "length",   "count",      "default", "d",      "upper",
    "lower",  "replace",    "first",   "last",     "list",       "map",     "select", "selectattr",
    "reject", "rejectattr", "items",   "dictsort", "string",     "int",     "float",  "indent",
    "unique", "sort",       "reverse", "safe",     "capitalize", "title",   "abs",    "round",
    "sum",    "min",        "max",     "attr",     NULL};

bool tg_filter_known(tg_str name) { return tg_name_among(name, filters); }

static tg_value attribute(tg_render *r, const tg_value *v, tg_str path)
{
    tg_value at = *v;
    while (path.len > 0 && tg_render_step(r, 1 + path.len / TG_STEP_BYTES)) {
        const char *dot = memchr(path.data, '.', path.len);
        tg_str name = {path.data, dot ? (size_t)(dot - path.data) : path.len};
        if (at.kind == TG_VALUE_LIST && name.len > 0 && name.data[0] >= '0' &&
            name.data[0] <= '9') {
            uint64_t i = 0;
            at = tg_str_u64(name, &i) == 0 && i < at.list->len ? at.list->items[i]
                                                               : (tg_value){.name = name};
        } else {
            at = tg_value_attr(r, &at, name);
        }
        path = dot ? (tg_str){dot + 1, path.len - name.len - 1} : (tg_str){NULL, 0};
    }
    return at;
}

static tg_value lowered(tg_render *r, tg_value v)
{
    return v.kind == TG_VALUE_STR ? tg_method_call(r, &v, TG_STR("lower"), &(tg_args){0}) : v;
}

/* Merge sort: stable, as the reference's. `keys` and `v` move together. */
static void sort(tg_render *r, tg_value *keys, tg_value *v, tg_value *spare, size_t len,
                 bool reverse)
{
    if (len < 2 || !tg_render_step(r, len))
        return;
    size_t half = len / 2, a = 0, b = half, n = 0;
    sort(r, keys, v, spare, half, reverse);
    sort(r, keys + half, v + half, spare, len - half, reverse);
    for (; n < len && r->rc == 0; n++) {
        int order = a < half && b < len ? tg_value_order(r, &keys[a], &keys[b]) : a < half ? 0 : 1;
        bool second = a < half && b < len && reverse ? order < 0 : order > 0;
        size_t from = second ? b++ : a++;
        spare[2 * n] = keys[from];
        spare[2 * n + 1] = v[from];
    }
    for (size_t i = 0; i < n; i++) {
        keys[i] = spare[2 * i];
        v[i] = spare[2 * i + 1];
    }
}

void tg_sort_values(tg_render *r, tg_value *v, size_t len, bool reverse, tg_str path, bool nocase)
{
    tg_value *keys = tg_arena_zalloc(&r->arena, len + 1, 3 * sizeof(*keys));
    if (!keys)
        tg_render_fail(r, -E2BIG, "more than %zu bytes of values", TG_TEMPLATE_MEMORY_MAX);
    for (size_t i = 0; i < len && r->rc == 0; i++) {
        keys[i] = attribute(r, &v[i], path);
        keys[i] = nocase ? lowered(r, keys[i]) : keys[i];
    }
    if (r->rc == 0)
        sort(r, keys, v, keys + len, len, reverse);
}

static tg_value copy_list(tg_render *r, const tg_value *v)
{
    const tg_list_value *from = tg_value_items(r, v);
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    for (size_t i = 0; i < from->len && r->rc == 0; i++)
        tg_list_add(r, list.list, from->items[i]);
    return list;
}

static bool flag(const tg_args *a, size_t at, const char *name)
{
    const tg_value *v = tg_args_get(a, at, name);
    return v && tg_value_true(v);
}

static tg_args rest(const tg_args *a, size_t from)
{
    from = from < a->len ? from : a->len;
    return (tg_args){a->v + from, a->names + from, a->len - from};
}

/* select, selectattr, reject, rejectattr: [attribute,] [test, its arguments]. */
static tg_value choose(tg_render *r, tg_str name, const tg_value *v, const tg_args *a)
{
    const tg_list_value *from = tg_value_items(r, v);
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    bool attr = name.len > 6, wanted = name.data[0] == 's';
    tg_str path = attr ? tg_value_text(tg_args_get(a, 0, NULL)) : TG_STR("");
    tg_args test = rest(a, attr), operands = rest(&test, 1);
    tg_str how = tg_value_text(test.len ? &test.v[0] : NULL);
    if (test.len > 0 && !tg_test_known(how))
        tg_render_fail(r, -EINVAL, "no test is named '%.*s'", (int)(how.len < 40 ? how.len : 40),
                       how.data);
    for (size_t i = 0; i < from->len && tg_render_step(r, 1); i++) {
        tg_value item = attribute(r, &from->items[i], path);
        bool holds = test.len > 0 ? tg_test_apply(r, how, &item, &operands) : tg_value_true(&item);
        if (holds == wanted)
            tg_list_add(r, list.list, from->items[i]);
    }
    return list;
}

static tg_value map(tg_render *r, const tg_value *v, const tg_args *a)
{
    const tg_list_value *from = tg_value_items(r, v);
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    const tg_value *path = tg_args_get(a, SIZE_MAX, "attribute"),
                   *other = tg_args_get(a, SIZE_MAX, "default");
    tg_args operands = rest(a, 1);
    tg_str name = tg_value_text(tg_args_get(a, 0, NULL));
    if (!path && !tg_filter_known(name))
        tg_render_fail(r, -EINVAL, "no filter is named '%.*s'",
                       (int)(name.len < 40 ? name.len : 40), name.data);
    for (size_t i = 0; i < from->len && r->rc == 0; i++) {
        tg_value item = path ? attribute(r, &from->items[i], tg_value_text(path))
                             : tg_filter_apply(r, name, &from->items[i], &operands);
        tg_list_add(r, list.list, item.kind == TG_VALUE_UNDEFINED && other ? *other : item);
    }
    return list;
}

static tg_value join(tg_render *r, const tg_value *v, const tg_args *a)
{
    const tg_list_value *from = tg_value_items(r, v);
    const tg_value *by = tg_args_get(a, 0, "d"), *path = tg_args_get(a, 1, "attribute");
    tg_out o = {0};
    for (size_t i = 0; i < from->len && r->rc == 0; i++) {
        tg_value item = attribute(r, &from->items[i], tg_value_text(path));
        if (i > 0 && by)
            tg_out_value(r, &o, by);
        tg_out_value(r, &o, &item);
    }
    return tg_out_take(r, &o);
}

static tg_value json(tg_render *r, const tg_value *v, const tg_args *a)
{
    const tg_value *indent = tg_args_get(a, 1, "indent"),
                   *separators = tg_args_get(a, 2, "separators");
    int n = indent && indent->kind == TG_VALUE_INT && indent->i >= 0 && indent->i < 64
                ? (int)indent->i
                : -1;
    tg_str comma = n >= 0 ? TG_STR(",") : TG_STR(", "), colon = TG_STR(": ");
    if (separators && separators->kind == TG_VALUE_LIST && separators->list->len == 2) {
        comma = tg_value_text(&separators->list->items[0]);
        colon = tg_value_text(&separators->list->items[1]);
    }
    tg_out o = {0};
    tg_out_json(r, &o, v, n, 0, comma, colon, flag(a, 3, "sort_keys"), flag(a, 0, "ensure_ascii"));
    return tg_out_take(r, &o);
}

static tg_value indent(tg_render *r, const tg_value *v, const tg_args *a)
{
    const tg_value *width = tg_args_get(a, 0, "width");
    int64_t n = width && width->kind == TG_VALUE_INT ? width->i : 4;
    bool first = flag(a, 1, "first"), blanks = flag(a, 2, "blank");
    tg_text s = tg_value_string(r, v).s;
    tg_out o = {0};
    for (size_t at = 0, line = 0; r->rc == 0 && at <= s.len; line++) {
        const char *end = at < s.len ? memchr(s.s + at, '\n', s.len - at) : NULL;
        size_t len = end ? (size_t)(end - s.s) - at : s.len - at;
        if ((line > 0 || first) && (len > 0 || blanks)) {
            for (int64_t i = 0; i < (width && width->kind == TG_VALUE_STR ? 1 : n) && r->rc == 0;
                 i++) {
                if (width && width->kind == TG_VALUE_STR)
                    tg_out_text(r, &o, width->s);
                else
                    tg_out_add(r, &o, " ", NULL, 1, true);
            }
        }
        tg_out_text(r, &o, (tg_text){s.s + at, s.trusted + at, len + (end != NULL)});
        at += len + 1;
    }
    return tg_out_take(r, &o);
}

static tg_value dictsort(tg_render *r, const tg_value *v, const tg_args *a)
{
    if (v->kind != TG_VALUE_DICT) {
        tg_render_fail(r, -EINVAL, "dictsort of %s", tg_value_kind_name(v));
        return (tg_value){0};
    }
    tg_value list = tg_method_call(r, v, TG_STR("items"), &(tg_args){0});
    bool by_value = tg_str_is(tg_value_text(tg_args_get(a, 1, "by")), "value");
    if (r->rc == 0)
        tg_sort_values(r, list.list->items, list.list->len, flag(a, 2, "reverse"),
                       by_value ? TG_STR("1") : TG_STR("0"), !flag(a, 0, "case_sensitive"));
    return list;
}

static tg_value unique(tg_render *r, const tg_value *v, const tg_args *a)
{
    const tg_list_value *from = tg_value_items(r, v);
    tg_value list = tg_value_list(r, TG_VALUE_LIST), seen = tg_value_list(r, TG_VALUE_LIST);
    tg_str path = tg_value_text(tg_args_get(a, 1, "attribute"));
    for (size_t i = 0; i < from->len && r->rc == 0; i++) {
        tg_value key = attribute(r, &from->items[i], path);
        key = flag(a, 0, "case_sensitive") ? key : lowered(r, key);
        if (r->rc == 0 && !tg_value_in(r, &key, &seen)) {
            tg_list_add(r, seen.list, key);
            tg_list_add(r, list.list, from->items[i]);
        }
    }
    return list;
}

static tg_value convert(tg_render *r, const tg_value *v, const tg_args *a, bool real)
{
    tg_render_step(r, tg_value_text(v).len / TG_STEP_BYTES);
    const tg_value *other = tg_args_get(a, 0, "default");
    char text[64], *end = text;
    double f = v->kind == TG_VALUE_FLOAT ? v->f
               : v->kind == TG_VALUE_INT ? (double)v->i
                                         : v->kind == TG_VALUE_BOOL && v->b;
    if (v->kind == TG_VALUE_INT && !real)
        return *v;
    if (v->kind == TG_VALUE_STR && tg_str_copy(text, sizeof(text), tg_str_trim(tg_value_text(v)))) {
        long long whole = strtoll(text, &end, 10);
        if (!real && *text && !*end)
            return tg_value_int(whole);
        f = strtod(text, &end);
    }
    bool number = v->kind == TG_VALUE_INT || v->kind == TG_VALUE_FLOAT ||
                  v->kind == TG_VALUE_BOOL || (v->kind == TG_VALUE_STR && end != text && !*end);
    if (!number || !(real || fabs(f) < 9e18))
        return other ? *other : real ? (tg_value){.kind = TG_VALUE_FLOAT} : tg_value_int(0);
    return real ? (tg_value){.kind = TG_VALUE_FLOAT, .f = f} : tg_value_int((int64_t)f);
}

static tg_value length(tg_render *r, const tg_value *v)
{
    if (v->kind == TG_VALUE_LIST || v->kind == TG_VALUE_DICT)
        return tg_value_int((int64_t)v->list->len);
    return tg_value_int((int64_t)tg_value_items(r, v)->len);
}

static tg_value arithmetic(tg_render *r, tg_str name, const tg_value *v, const tg_args *a)
{
    if (tg_str_is(name, "abs") && v->kind == TG_VALUE_INT && v->i != INT64_MIN)
        return tg_value_int(v->i < 0 ? -v->i : v->i);
    if (tg_str_is(name, "abs") && v->kind == TG_VALUE_FLOAT)
        return (tg_value){.kind = TG_VALUE_FLOAT, .f = fabs(v->f)};
    if (tg_str_is(name, "round") && (v->kind == TG_VALUE_INT || v->kind == TG_VALUE_FLOAT) &&
        a->len == 0)
        return (tg_value){.kind = TG_VALUE_FLOAT,
                          .f = v->kind == TG_VALUE_INT ? (double)v->i : nearbyint(v->f)};
    const tg_list_value *items = tg_value_items(r, v);
    tg_value best = {0};
    int64_t sum = 0;
    for (size_t i = 0; i < items->len && tg_render_step(r, 1); i++) {
        const tg_value *item = &items->items[i];
        if (tg_str_is(name, "sum")) {
            if (item->kind != TG_VALUE_INT || __builtin_add_overflow(sum, item->i, &sum))
                tg_render_fail(r, -EINVAL, "a sum of other things than integers of 64 bits");
        } else if (i == 0 || tg_value_order(r, item, &best) == (name.data[1] == 'a' ? 1 : -1)) {
            best = *item;
        }
    }
    if (tg_str_is(name, "abs") || tg_str_is(name, "round"))
        tg_render_fail(r, -EINVAL, "%.*s of %s", TG_STR_ARG(name), tg_value_kind_name(v));
    return tg_str_is(name, "sum") ? tg_value_int(sum) : best;
}

static tg_value of_list(tg_render *r, tg_str name, const tg_value *v, const tg_args *a)
{
    tg_value list = copy_list(r, v);
    if (r->rc < 0)
        return list;
    size_t len = list.list->len;
    tg_value *items = list.list->items;
    if (tg_str_is(name, "first") || tg_str_is(name, "last"))
        return len ? items[name.data[0] == 'f' ? 0 : len - 1] : (tg_value){.name = name};
    if (tg_str_is(name, "sort"))
        tg_sort_values(r, items, len, flag(a, 0, "reverse"),
                       tg_value_text(tg_args_get(a, 2, "attribute")),
                       !flag(a, 1, "case_sensitive"));
    if (tg_str_is(name, "reverse")) {
        for (size_t i = 0; i < len / 2; i++) {
            tg_value t = items[i];
            items[i] = items[len - 1 - i];
            items[len - 1 - i] = t;
        }
        if (v->kind == TG_VALUE_STR)
            return join(r, &list, &(tg_args){0});
    }
    return list;
}

static tg_value of_string(tg_render *r, tg_str name, const tg_value *v, const tg_args *a)
{
    tg_value s = tg_value_string(r, v);
    if (r->rc < 0 || tg_str_is(name, "string") || tg_str_is(name, "safe"))
        return s;
    return tg_method_call(r, &s, tg_str_is(name, "trim") ? TG_STR("strip") : name, a);
}

tg_value tg_filter_apply(tg_render *r, tg_str name, const tg_value *v, const tg_args *a)
{
    if (!tg_render_step(r, 1))
        return (tg_value){0};
    if (tg_str_is(name, "tojson"))
        return json(r, v, a);
    if (tg_str_is(name, "default") || tg_str_is(name, "d")) {
        const tg_value *other = tg_args_get(a, 0, "default_value");
        bool given = v->kind != TG_VALUE_UNDEFINED && (!flag(a, 1, "boolean") || tg_value_true(v));
        return given ? *v : other ? *other : tg_value_bytes(r, "", 0, true);
    }
    if (tg_str_is(name, "length") || tg_str_is(name, "count"))
        return length(r, v);
    if (tg_str_is(name, "join"))
        return join(r, v, a);
    if (tg_str_is(name, "map"))
        return map(r, v, a);
    if (tg_str_is(name, "indent"))
        return indent(r, v, a);
    if (tg_str_is(name, "unique"))
        return unique(r, v, a);
    if (tg_str_is(name, "dictsort"))
        return dictsort(r, v, a);
    if (tg_str_is(name, "int") || tg_str_is(name, "float"))
        return convert(r, v, a, name.data[0] == 'f');
    if (tg_str_is(name, "attr"))
        return attribute(r, v, tg_value_text(tg_args_get(a, 0, "name")));
    if (tg_str_is(name, "items") && v->kind == TG_VALUE_UNDEFINED)
        return tg_value_list(r, TG_VALUE_LIST);
    if (tg_str_is(name, "items"))
        return tg_method_call(r, v, name, a);
    if (name.len >= 6 &&
        (memcmp(name.data, "select", 6) == 0 || memcmp(name.data, "reject", 6) == 0))
        return choose(r, name, v, a);
    if (tg_str_is(name, "first") || tg_str_is(name, "last") || tg_str_is(name, "list") ||
        tg_str_is(name, "sort") || tg_str_is(name, "reverse"))
        return of_list(r, name, v, a);
    if (tg_str_is(name, "abs") || tg_str_is(name, "round") || tg_str_is(name, "sum") ||
        tg_str_is(name, "min") || tg_str_is(name, "max"))
        return arithmetic(r, name, v, a);
    return of_string(r, name, v, a);
}
