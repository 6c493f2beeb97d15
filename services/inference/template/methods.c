/* What can be called on values and what can be asked of them: methods, attributes, functions,
 * tests. */
#include "services/inference/template/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const methods[] = {"strip",      "lstrip",  "rstrip", "split",  "startswith",
                                      "endswith",   "replace", "upper",  "lower",  "title",
                                      "capitalize", "items",   "keys",   "values", "get",
                                      "find",       "count",   "join",   "cycle",  NULL};
static const char *const tests[] = {
    "defined", "undefined",   "none",    "string", "mapping", "iterable", "sequence", "number",
    "integer", "float",       "boolean", "true",   "false",   "sameas",   "equalto",  "eq",
    "ne",      "lt",          "gt",      "le",     "ge",      "in",       "callable", "odd",
    "even",    "divisibleby", "lower",   "upper",  NULL};

bool tg_name_among(tg_str name, const char *const *names)
{
    for (; *names; names++)
        if (tg_str_is(name, *names))
            return true;
    return false;
}

bool tg_method_known(tg_str name) { return tg_name_among(name, methods); }
bool tg_test_known(tg_str name) { return tg_name_among(name, tests); }

const tg_value *tg_args_get(const tg_args *a, size_t at, const char *name)
{
    for (size_t i = 0; i < a->len; i++)
        if (a->names[i].data ? name && tg_str_is(a->names[i], name) : i == at)
            return &a->v[i];
    return NULL;
}

static tg_text part(tg_text s, size_t from, size_t to)
{
    return (tg_text){s.s + from, s.trusted + from, to > from ? to - from : 0};
}

static bool is_blank(char c)
{
    return c != '\0' && strchr(" \t\n\r\f\v\x1c\x1d\x1e\x1f", c) != NULL;
}

/* Whether a strip takes the character away: white space, or one of a set. */
static bool strips(tg_render *r, tg_text character, tg_str set)
{
    const tg_text all = {set.data, NULL, set.len};
    if (!set.data)
        return character.len == 1 && is_blank(character.s[0]);
    for (size_t at = 0, seen = 1, n; at < set.len && tg_render_step(r, seen % TG_STEP_BYTES == 0);
         at += n, seen++) {
        n = tg_utf8_step(all, at);
        if (n == character.len && memcmp(set.data + at, character.s, n) == 0)
            return true;
    }
    return false;
}

static tg_value strip(tg_render *r, tg_text s, const tg_value *chars, bool left, bool right)
{
    size_t from = 0, to = s.len, n;
    tg_str set = tg_value_text(chars);
    while (left && from < to && strips(r, part(s, from, from + (n = tg_utf8_step(s, from))), set))
        from += n;
    while (right && to > from) {
        for (n = 1; n < to - from && ((unsigned char)s.s[to - n] & 0xC0) == 0x80;)
            n++;
        if (!strips(r, part(s, to - n, to), set))
            break;
        to -= n;
    }
    return tg_value_str(part(s, from, to));
}

/* Where `what` is next, or the text's end. */
static size_t next_of(tg_text s, size_t at, tg_str what)
{
    const char *found = at < s.len ? memmem(s.s + at, s.len - at, what.data, what.len) : NULL;
    return found ? (size_t)(found - s.s) : s.len;
}

static tg_value split(tg_render *r, tg_text s, tg_str by, int64_t most)
{
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    size_t at = 0;
    if (by.data && by.len == 0)
        tg_render_fail(r, -EINVAL, "split at an empty string");
    while (r->rc == 0) {
        while (!by.data && at < s.len && is_blank(s.s[at]))
            at++;
        if (!by.data && at == s.len)
            break;
        size_t end = by.data ? next_of(s, at, by) : at;
        while (!by.data && end < s.len && !is_blank(s.s[end]))
            end++;
        if (most-- == 0)
            end = s.len;
        tg_list_add(r, list.list, tg_value_str(part(s, at, end)));
        if (end == s.len)
            break;
        at = end + by.len;
    }
    return list;
}

/* Every `from` becomes `to`, which brings its own marks along; an empty one is before every
 * character and behind the last. */
static tg_value replace(tg_render *r, tg_text s, tg_str from, tg_text to, int64_t most)
{
    tg_out o = {0};
    size_t at = 0;
    for (; most != 0 && tg_render_step(r, 1); most--) {
        const size_t found = from.len > 0 ? next_of(s, at, from) : at;
        if (from.len > 0 && found == s.len)
            break;
        tg_out_text(r, &o, part(s, at, found));
        tg_out_text(r, &o, to);
        at = found + from.len;
        if (from.len == 0) {
            const size_t step = at < s.len ? tg_utf8_step(s, at) : 0;
            tg_out_text(r, &o, part(s, at, at + step));
            at += step;
            if (step == 0)
                break;
        }
    }
    tg_out_text(r, &o, part(s, at, s.len));
    return tg_out_take(r, &o);
}

static char cased(char c, bool up)
{
    return (char)(up && c >= 'a' && c <= 'z' ? c - 32 : !up && c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* 'u', 'l', 't' (words) or 'c' (the first letter); ASCII letters only. */
static tg_value change_case(tg_render *r, tg_text s, char how)
{
    char *to = tg_arena_alloc(&r->arena, s.len + 1);
    if (!to || !tg_render_step(r, s.len / TG_STEP_BYTES))
        return tg_render_fail(r, -E2BIG, "more than %zu bytes of values", TG_TEMPLATE_MEMORY_MAX),
               (tg_value){0};
    bool start = true;
    for (size_t i = 0; i < s.len; i++) {
        to[i] = cased(s.s[i], how == 'u' || (how != 'l' && start));
        bool letter = cased(s.s[i], true) != cased(s.s[i], false) || (s.s[i] & 0x80);
        start = how == 't' && !letter;
    }
    return tg_value_str((tg_text){to, s.trusted, s.len});
}

static tg_value affix(tg_render *r, tg_text s, const tg_value *with, bool end)
{
    const tg_value *one = with;
    size_t len = with->kind == TG_VALUE_LIST ? with->list->len : 1;
    if (with->kind == TG_VALUE_LIST)
        one = with->list->items;
    for (size_t i = 0; i < len && tg_render_step(r, 1 + tg_value_text(&one[i]).len / TG_STEP_BYTES);
         i++) {
        if (one[i].kind != TG_VALUE_STR)
            tg_render_fail(r, -EINVAL, "startswith or endswith asked with %s",
                           tg_value_kind_name(&one[i]));
        else if (one[i].s.len <= s.len &&
                 memcmp(s.s + (end ? s.len - one[i].s.len : 0), one[i].s.s, one[i].s.len) == 0)
            return tg_value_bool(true);
    }
    return tg_value_bool(false);
}

static int64_t characters(tg_text s, size_t from, size_t to)
{
    int64_t len = 0;
    for (size_t at = from; at < to; at++)
        len += ((unsigned char)s.s[at] & 0xC0) != 0x80;
    return len;
}

static int64_t find(tg_text s, tg_str what)
{
    const size_t at = next_of(s, 0, what);
    return at < s.len || what.len == 0 ? characters(s, 0, what.len ? at : 0) : -1;
}

static int64_t count(tg_text s, tg_str what)
{
    int64_t found = 0;
    if (what.len == 0)
        return characters(s, 0, s.len) + 1;
    for (size_t at = 0; (at = next_of(s, at, what)) < s.len; at += what.len)
        found++;
    return found;
}

static tg_value string_method(tg_render *r, const tg_value *v, tg_str name, const tg_args *a)
{
    const tg_value *first = tg_args_get(a, 0, NULL), *second = tg_args_get(a, 1, "maxsplit");
    int64_t most = second && second->kind == TG_VALUE_INT ? second->i : -1;
    if (!tg_render_step(r, v->s.len / TG_STEP_BYTES))
        return (tg_value){0};
    if (tg_str_is(name, "strip") || tg_str_is(name, "lstrip") || tg_str_is(name, "rstrip"))
        return strip(r, v->s, first, name.data[0] != 'r', name.data[0] != 'l');
    if (tg_str_is(name, "upper") || tg_str_is(name, "lower") || tg_str_is(name, "title") ||
        tg_str_is(name, "capitalize"))
        return change_case(r, v->s, name.data[0]);
    if (tg_str_is(name, "split"))
        return split(r, v->s, tg_value_text(first), most);
    if (first && (tg_str_is(name, "startswith") || tg_str_is(name, "endswith")))
        return affix(r, v->s, first, name.data[0] == 'e');
    if (first && first->kind == TG_VALUE_STR && tg_str_is(name, "find"))
        return tg_value_int(find(v->s, tg_value_text(first)));
    if (first && first->kind == TG_VALUE_STR && tg_str_is(name, "count"))
        return tg_value_int(count(v->s, tg_value_text(first)));
    if (first && tg_str_is(name, "join"))
        return tg_filter_apply(r, TG_STR("join"), first,
                               &(tg_args){(tg_value[]){*v}, (tg_str[]){{0}}, 1});
    if (tg_str_is(name, "replace") && first && second && first->kind == TG_VALUE_STR &&
        second->kind == TG_VALUE_STR) {
        const tg_value *limit = tg_args_get(a, 2, "count");
        most = limit && limit->kind == TG_VALUE_INT ? limit->i : -1;
        return replace(r, v->s, tg_value_text(first), second->s, most);
    }
    tg_render_fail(r, -EINVAL, "a string's method '%.*s' with such arguments", TG_STR_ARG(name));
    return (tg_value){0};
}

static tg_value dict_method(tg_render *r, const tg_value *v, tg_str name, const tg_args *a)
{
    if (tg_str_is(name, "get")) {
        const tg_value *key = tg_args_get(a, 0, NULL), *other = tg_args_get(a, 1, "default");
        const tg_value *found = key ? tg_dict_get(r, v->list, key) : NULL;
        return found ? *found : other ? *other : (tg_value){.kind = TG_VALUE_NONE};
    }
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    for (size_t i = 0; i < v->list->len && r->rc == 0; i++) {
        tg_value pair = v->list->items[2 * i + (name.data[0] == 'v')];
        if (name.data[0] == 'i') {
            pair = tg_value_list(r, TG_VALUE_LIST);
            tg_list_add(r, pair.list, v->list->items[2 * i]);
            tg_list_add(r, pair.list, v->list->items[2 * i + 1]);
        }
        tg_list_add(r, list.list, pair);
    }
    return list;
}

tg_value tg_method_call(tg_render *r, const tg_value *v, tg_str name, const tg_args *a)
{
    static const char *const of_dicts[] = {"get", "items", "keys", "values", NULL};
    if (v->kind == TG_VALUE_STR)
        return string_method(r, v, name, a);
    if (v->kind == TG_VALUE_DICT && tg_name_among(name, of_dicts))
        return dict_method(r, v, name, a);
    if (v->kind == TG_VALUE_LOOP && tg_str_is(name, "cycle") && a->len > 0)
        return a->v[v->loop->at % a->len];
    if (v->kind == TG_VALUE_LIST && tg_str_is(name, "count") && a->len == 1) {
        int64_t n = 0;
        for (size_t i = 0; i < v->list->len && tg_render_step(r, 1); i++)
            n += tg_value_equal(r, &v->list->items[i], &a->v[0]);
        return tg_value_int(n);
    }
    tg_render_fail(r, -EINVAL, "%s has no method '%.*s'", tg_value_kind_name(v), TG_STR_ARG(name));
    return (tg_value){0};
}

static tg_value loop_attr(const tg_loop *l, tg_str name)
{
    int64_t at = (int64_t)l->at, len = (int64_t)l->items->len;
    if (tg_str_is(name, "index"))
        return tg_value_int(at + 1);
    if (tg_str_is(name, "index0"))
        return tg_value_int(at);
    if (tg_str_is(name, "revindex"))
        return tg_value_int(len - at);
    if (tg_str_is(name, "revindex0"))
        return tg_value_int(len - at - 1);
    if (tg_str_is(name, "first"))
        return tg_value_bool(at == 0);
    if (tg_str_is(name, "last"))
        return tg_value_bool(at + 1 == len);
    if (tg_str_is(name, "length"))
        return tg_value_int(len);
    if (tg_str_is(name, "depth"))
        return tg_value_int(l->depth);
    if (tg_str_is(name, "depth0"))
        return tg_value_int(l->depth - 1);
    if (tg_str_is(name, "previtem") && at > 0)
        return l->items->items[at - 1];
    if (tg_str_is(name, "nextitem") && at + 1 < len)
        return l->items->items[at + 1];
    return (tg_value){.name = name};
}

tg_value tg_value_attr(tg_render *r, const tg_value *v, tg_str name)
{
    if (v->kind == TG_VALUE_DICT || v->kind == TG_VALUE_NAMESPACE) {
        const tg_value *found = tg_dict_find(r, v->list, name);
        return found ? *found : (tg_value){.name = name};
    }
    if (v->kind == TG_VALUE_LOOP)
        return loop_attr(v->loop, name);
    if (v->kind == TG_VALUE_UNDEFINED)
        tg_render_fail(r, -EINVAL, "'%.*s' of '%.*s', which is undefined", TG_STR_ARG(name),
                       TG_STR_ARG(v->name));
    return (tg_value){.name = name};
}

bool tg_test_apply(tg_render *r, tg_str name, const tg_value *v, const tg_args *a)
{
    tg_value_kind k = v->kind;
    const tg_value *other = tg_args_get(a, 0, NULL);
    bool number = k == TG_VALUE_INT || k == TG_VALUE_FLOAT || k == TG_VALUE_BOOL;
    if (tg_str_is(name, "defined") || tg_str_is(name, "undefined"))
        return (k != TG_VALUE_UNDEFINED) == (name.data[0] == 'd');
    if (tg_str_is(name, "none"))
        return k == TG_VALUE_NONE;
    if (tg_str_is(name, "string"))
        return k == TG_VALUE_STR;
    if (tg_str_is(name, "mapping"))
        return k == TG_VALUE_DICT;
    if (tg_str_is(name, "iterable") || tg_str_is(name, "sequence"))
        return k == TG_VALUE_LIST || k == TG_VALUE_DICT || k == TG_VALUE_STR ||
               k == TG_VALUE_UNDEFINED;
    if (tg_str_is(name, "number"))
        return number;
    if (tg_str_is(name, "integer"))
        return k == TG_VALUE_INT;
    if (tg_str_is(name, "float"))
        return k == TG_VALUE_FLOAT;
    if (tg_str_is(name, "boolean"))
        return k == TG_VALUE_BOOL;
    if (tg_str_is(name, "true") || tg_str_is(name, "false"))
        return k == TG_VALUE_BOOL && v->b == (name.data[0] == 't');
    if (tg_str_is(name, "callable"))
        return k == TG_VALUE_MACRO || k == TG_VALUE_FUNCTION;
    if (k == TG_VALUE_INT && (tg_str_is(name, "odd") || tg_str_is(name, "even")))
        return (v->i % 2 != 0) == (name.data[0] == 'o');
    if (k == TG_VALUE_STR && (tg_str_is(name, "lower") || tg_str_is(name, "upper"))) {
        bool letters = false, all = true;
        for (size_t i = 0; i < v->s.len && tg_render_step(r, i % 256 == 255); i++) {
            char c = v->s.s[i];
            letters = letters || cased(c, true) != cased(c, false);
            all = all && cased(c, name.data[0] == 'u') == c;
        }
        return letters && all;
    }
    if (!other)
        return tg_render_fail(r, -EINVAL, "the test '%.*s' of %s", TG_STR_ARG(name),
                              tg_value_kind_name(v)),
               false;
    if (tg_str_is(name, "sameas"))
        return k == other->kind &&
               (k == TG_VALUE_LIST || k == TG_VALUE_DICT ? v->list == other->list
                                                         : tg_value_equal(r, v, other));
    if (tg_str_is(name, "equalto") || tg_str_is(name, "eq") || tg_str_is(name, "ne"))
        return tg_value_equal(r, v, other) == (name.data[0] == 'e');
    if (tg_str_is(name, "in"))
        return tg_value_in(r, v, other);
    if (tg_str_is(name, "divisibleby"))
        return k == TG_VALUE_INT && other->kind == TG_VALUE_INT && other->i > 0 &&
               v->i % other->i == 0;
    int order = tg_value_order(r, v, other);
    return (order == 0 && name.data[1] == 'e') ||
           (order != 0 && (order < 0) == (name.data[0] == 'l'));
}

/* The proleptic Gregorian date of a day since 1970-01-01, from the count of days in eras of 400
 * years. */
static void civil(int64_t days, int64_t *year, int *month, int *day, int *yearday)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
    bool leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;
    *yearday = before[*month - 1] + *day + (leap && *month > 2);
}

static tg_value format_time(tg_render *r, tg_str format)
{
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    static const char *const days[] = {"Thursday", "Friday",  "Saturday", "Sunday",
                                       "Monday",   "Tuesday", "Wednesday"};
    int64_t now = r->now_s < 0 ? 0 : r->now_s, year;
    int month, day, yearday, second = (int)(now % 86400);
    civil(now / 86400, &year, &month, &day, &yearday);
    tg_out o = {0};
    for (size_t i = 0; i < format.len && r->rc == 0; i++) {
        char text[32] = {format.data[i], '\0'};
        const char *weekday = days[now / 86400 % 7];
        if (format.data[i] == '%' && i + 1 < format.len) {
            switch (format.data[++i]) {
            case 'd': snprintf(text, sizeof(text), "%02d", day); break;
            case 'm': snprintf(text, sizeof(text), "%02d", month); break;
            case 'y': snprintf(text, sizeof(text), "%02d", (int)(year % 100)); break;
            case 'Y': snprintf(text, sizeof(text), "%lld", (long long)year); break;
            case 'j': snprintf(text, sizeof(text), "%03d", yearday); break;
            case 'H': snprintf(text, sizeof(text), "%02d", second / 3600); break;
            case 'M': snprintf(text, sizeof(text), "%02d", second / 60 % 60); break;
            case 'S': snprintf(text, sizeof(text), "%02d", second % 60); break;
            case 'B': snprintf(text, sizeof(text), "%s", months[month - 1]); break;
            case 'b': snprintf(text, sizeof(text), "%.3s", months[month - 1]); break;
            case 'A': snprintf(text, sizeof(text), "%s", weekday); break;
            case 'a': snprintf(text, sizeof(text), "%.3s", weekday); break;
            case '%': break;
            default:
                tg_render_fail(r, -EINVAL, "strftime_now does not know '%%%c'", format.data[i]);
            }
        }
        tg_out_add(r, &o, text, NULL, strlen(text), true);
    }
    return tg_out_take(r, &o);
}

tg_value tg_function_call(tg_render *r, tg_str name, const tg_args *a)
{
    if (tg_str_is(name, "raise_exception")) {
        tg_str text = tg_value_text(a->len ? &a->v[0] : NULL);
        tg_render_fail(r, -EINVAL, "the template refuses: %.*s",
                       (int)(text.len < 200 ? text.len : 200), text.data);
    } else if (tg_str_is(name, "strftime_now")) {
        return format_time(r, tg_value_text(a->len ? &a->v[0] : NULL));
    } else if (tg_str_is(name, "range") && a->len > 0 && a->len < 4) {
        int64_t n[3] = {0, 0, 1};
        for (size_t i = 0; i < a->len; i++)
            n[a->len == 1 ? 1 : i] = a->v[i].kind == TG_VALUE_INT ? a->v[i].i : INT64_MAX;
        if (n[2] == 0 || n[0] < -(1LL << 40) || n[0] > 1LL << 40 || n[1] < -(1LL << 40) ||
            n[1] > 1LL << 40 || n[2] < -(1LL << 40) || n[2] > 1LL << 40)
            tg_render_fail(r, -EINVAL, "range() with such arguments");
        tg_value list = tg_value_list(r, TG_VALUE_LIST);
        for (int64_t i = n[0]; r->rc == 0 && (n[2] > 0 ? i < n[1] : i > n[1]); i += n[2])
            tg_list_add(r, list.list, tg_value_int(i));
        return list;
    } else { /* namespace and dict */
        tg_value v = tg_value_list(r, name.data[0] == 'n' ? TG_VALUE_NAMESPACE : TG_VALUE_DICT);
        for (size_t i = 0; i < a->len && r->rc == 0; i++) {
            const tg_list_value *from =
                a->names[i].data || a->v[i].kind != TG_VALUE_DICT ? NULL : a->v[i].list;
            for (size_t k = 0; from && k < from->len; k++)
                tg_dict_set(r, v.list, from->items[2 * k], from->items[2 * k + 1]);
            if (a->names[i].data)
                tg_dict_set(r, v.list, tg_value_bytes(r, a->names[i].data, a->names[i].len, true),
                            a->v[i]);
        }
        return v;
    }
    return (tg_value){0};
}
