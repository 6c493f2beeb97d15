#include "services/inference/template/internal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tg_render_fail(tg_render *r, int rc, const char *format, ...)
{
    char text[256];
    va_list args;
    if (r->rc < 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    text[tg_utf8_whole(text, strlen(text))] = '\0';
    r->rc =
        rc == -ENOMEM ? rc : tg_error_set(r->err, rc, "chat template, line %d: %s", r->line, text);
}

bool tg_render_step(tg_render *r, uint64_t steps)
{
    r->steps += steps;
    if (r->steps > TG_TEMPLATE_STEPS_MAX)
        tg_render_fail(r, -E2BIG, "more than %d steps", TG_TEMPLATE_STEPS_MAX);
    return r->rc == 0;
}

static void *take(tg_render *r, size_t size)
{
    void *p = tg_arena_alloc(&r->arena, size ? size : 1);
    if (!p)
        tg_render_fail(r, -E2BIG, "more than %zu bytes of values", TG_TEMPLATE_MEMORY_MAX);
    return p;
}

tg_value tg_value_str(tg_text s) { return (tg_value){.kind = TG_VALUE_STR, .s = s}; }
tg_value tg_value_int(int64_t i) { return (tg_value){.kind = TG_VALUE_INT, .i = i}; }
tg_value tg_value_bool(bool b) { return (tg_value){.kind = TG_VALUE_BOOL, .b = b}; }

tg_value tg_value_bytes(tg_render *r, const char *s, size_t len, bool trusted)
{
    uint8_t *marks = take(r, len);
    tg_render_step(r, len / TG_STEP_BYTES);
    if (!marks)
        return (tg_value){0};
    memset(marks, trusted, len);
    /* what is empty may have come without bytes */
    return tg_value_str((tg_text){len > 0 ? s : "", marks, len});
}

tg_value tg_value_list(tg_render *r, tg_value_kind kind)
{
    tg_list_value *list = take(r, sizeof(*list));
    if (!list)
        return (tg_value){0};
    *list = (tg_list_value){0};
    return (tg_value){.kind = kind, .list = list};
}

static bool grow(tg_render *r, tg_list_value *list, size_t values)
{
    if (values <= list->size)
        return true;
    size_t size = list->size ? list->size * 2 : 8;
    tg_value *items = take(r, size * sizeof(*items));
    if (!items)
        return false;
    if (list->items)
        memcpy(items, list->items, list->size * sizeof(*items));
    list->items = items;
    list->size = size;
    return true;
}

void tg_list_add(tg_render *r, tg_list_value *list, tg_value v)
{
    if (list && tg_render_step(r, 1) && grow(r, list, list->len + 1))
        list->items[list->len++] = v;
}

const tg_value *tg_dict_get(tg_render *r, const tg_list_value *dict, const tg_value *key)
{
    size_t i = 0;
    while (i < dict->len && !tg_value_equal(r, &dict->items[2 * i], key))
        i++;
    tg_render_step(r, i / TG_STEP_ENTRIES);
    return i < dict->len ? &dict->items[2 * i + 1] : NULL;
}

const tg_value *tg_dict_find(tg_render *r, const tg_list_value *dict, tg_str key)
{
    tg_value v = tg_value_str((tg_text){key.data, NULL, key.len});
    return tg_dict_get(r, dict, &v);
}

void tg_dict_set(tg_render *r, tg_list_value *dict, tg_value key, tg_value v)
{
    if (!dict || !tg_render_step(r, 1 + dict->len / 4))
        return;
    for (size_t i = 0; i < dict->len; i++) {
        if (tg_value_equal(r, &dict->items[2 * i], &key)) {
            dict->items[2 * i + 1] = v;
            return;
        }
    }
    if (grow(r, dict, 2 * dict->len + 2)) {
        dict->items[2 * dict->len] = key;
        dict->items[2 * dict->len++ + 1] = v;
    }
}

tg_str tg_value_text(const tg_value *v)
{
    return v && v->kind == TG_VALUE_STR ? (tg_str){v->s.s, v->s.len} : (tg_str){NULL, 0};
}

bool tg_value_true(const tg_value *v)
{
    switch (v->kind) {
    case TG_VALUE_UNDEFINED:
    case TG_VALUE_NONE: return false;
    case TG_VALUE_BOOL: return v->b;
    case TG_VALUE_INT: return v->i != 0;
    case TG_VALUE_FLOAT: return v->f != 0;
    case TG_VALUE_STR: return v->s.len > 0;
    case TG_VALUE_LIST:
    case TG_VALUE_DICT: return v->list->len > 0;
    default: return true;
    }
}

static bool numeric(const tg_value *v)
{
    return v->kind == TG_VALUE_BOOL || v->kind == TG_VALUE_INT || v->kind == TG_VALUE_FLOAT;
}

static double number(const tg_value *v)
{
    return v->kind == TG_VALUE_FLOAT  ? v->f
           : v->kind == TG_VALUE_BOOL ? (double)v->b
                                      : (double)v->i;
}

/* Lists in lists are compared one within the other. A value may hold another many times, so that
 * writing it took few steps and comparing it would take very many: each counts. */
static bool boxes_equal(tg_render *r, const tg_value *a, const tg_value *b)
{
    bool equal = a->list->len == b->list->len;
    if (r->depth >= TG_TEMPLATE_DEPTH_MAX * 4)
        tg_render_fail(r, -E2BIG, "values nested too deep to be compared");
    r->depth++;
    for (size_t i = 0; i < a->list->len && equal && tg_render_step(r, 1); i++) {
        const bool list = a->kind == TG_VALUE_LIST;
        const tg_value *other =
            list ? &b->list->items[i] : tg_dict_get(r, b->list, &a->list->items[2 * i]);
        equal = other && tg_value_equal(r, &a->list->items[list ? i : 2 * i + 1], other);
    }
    r->depth--;
    return equal && r->rc == 0;
}

bool tg_value_equal(tg_render *r, const tg_value *a, const tg_value *b)
{
    if (numeric(a) && numeric(b))
        return a->kind == TG_VALUE_INT && b->kind == TG_VALUE_INT ? a->i == b->i
                                                                  : number(a) == number(b);
    if (a->kind != b->kind)
        return false;
    if (a->kind == TG_VALUE_STR)
        return a->s.len == b->s.len && tg_render_step(r, a->s.len / TG_STEP_BYTES) &&
               tg_str_eq(tg_value_text(a), tg_value_text(b));
    if (a->kind == TG_VALUE_NONE || a->kind == TG_VALUE_UNDEFINED)
        return true;
    if (a->kind != TG_VALUE_LIST && a->kind != TG_VALUE_DICT)
        return a->list == b->list;
    return boxes_equal(r, a, b);
}

static int lists_order(tg_render *r, const tg_value *a, const tg_value *b)
{
    const size_t len = a->list->len < b->list->len ? a->list->len : b->list->len;
    int order = (a->list->len > b->list->len) - (a->list->len < b->list->len);
    if (r->depth >= TG_TEMPLATE_DEPTH_MAX * 4)
        tg_render_fail(r, -E2BIG, "values nested too deep to be compared");
    r->depth++;
    for (size_t i = 0; i < len && tg_render_step(r, 1); i++) {
        if (tg_value_equal(r, &a->list->items[i], &b->list->items[i]))
            continue;
        order = tg_value_order(r, &a->list->items[i], &b->list->items[i]);
        break;
    }
    r->depth--;
    return order;
}

int tg_value_order(tg_render *r, const tg_value *a, const tg_value *b)
{
    if (a->kind == TG_VALUE_INT && b->kind == TG_VALUE_INT)
        return (a->i > b->i) - (a->i < b->i);
    if (numeric(a) && numeric(b))
        return (number(a) > number(b)) - (number(a) < number(b));
    if (a->kind == TG_VALUE_STR && b->kind == TG_VALUE_STR) {
        const size_t len = a->s.len < b->s.len ? a->s.len : b->s.len;
        int order = tg_render_step(r, len / TG_STEP_BYTES) ? memcmp(a->s.s, b->s.s, len) : 0;
        return order ? (order > 0) - (order < 0) : (a->s.len > b->s.len) - (a->s.len < b->s.len);
    }
    if (a->kind == TG_VALUE_LIST && b->kind == TG_VALUE_LIST)
        return r->rc == 0 ? lists_order(r, a, b) : 0;
    tg_render_fail(r, -EINVAL, "%s and %s have no order", tg_value_kind_name(a),
                   tg_value_kind_name(b));
    return 0;
}

bool tg_value_in(tg_render *r, const tg_value *item, const tg_value *box)
{
    if (box->kind == TG_VALUE_STR && item->kind == TG_VALUE_STR) {
        tg_render_step(r, box->s.len / TG_STEP_BYTES);
        return item->s.len == 0 || memmem(box->s.s, box->s.len, item->s.s, item->s.len);
    }
    if (box->kind == TG_VALUE_DICT || box->kind == TG_VALUE_LIST)
        tg_render_step(r, box->list->len / 4);
    if (box->kind == TG_VALUE_DICT)
        return tg_dict_get(r, box->list, item) != NULL;
    for (size_t i = 0; box->kind == TG_VALUE_LIST && i < box->list->len; i++)
        if (tg_value_equal(r, &box->list->items[i], item))
            return true;
    if (box->kind != TG_VALUE_LIST && box->kind != TG_VALUE_UNDEFINED)
        tg_render_fail(r, -EINVAL, "nothing is in %s", tg_value_kind_name(box));
    return false;
}

size_t tg_utf8_step(tg_text s, size_t at)
{
    size_t n = 1;
    while (at + n < s.len && ((unsigned char)s.s[at + n] & 0xC0) == 0x80)
        n++;
    return n;
}

const tg_list_value *tg_value_items(tg_render *r, const tg_value *v)
{
    static const tg_list_value empty;
    tg_value list;
    if (v->kind == TG_VALUE_LIST)
        return v->list;
    if (v->kind != TG_VALUE_DICT && v->kind != TG_VALUE_STR) {
        if (v->kind != TG_VALUE_UNDEFINED)
            tg_render_fail(r, -EINVAL, "%s cannot be walked over", tg_value_kind_name(v));
        return &empty;
    }
    list = tg_value_list(r, TG_VALUE_LIST);
    for (size_t i = 0; v->kind == TG_VALUE_DICT && i < v->list->len && r->rc == 0; i++)
        tg_list_add(r, list.list, v->list->items[2 * i]);
    for (size_t i = 0, n; v->kind == TG_VALUE_STR && i < v->s.len && r->rc == 0; i += n) {
        n = tg_utf8_step(v->s, i);
        tg_list_add(r, list.list, tg_value_str((tg_text){v->s.s + i, v->s.trusted + i, n}));
    }
    return r->rc == 0 ? list.list : &empty;
}

const char *tg_value_kind_name(const tg_value *v)
{
    static const char *const names[] = {"an undefined value",
                                        "none",
                                        "a boolean",
                                        "an integer",
                                        "a float",
                                        "a string",
                                        "a list",
                                        "a mapping",
                                        "a namespace",
                                        "a loop",
                                        "a macro",
                                        "a function"};
    return names[v->kind];
}

void tg_out_add(tg_render *r, tg_out *o, const char *s, const uint8_t *trusted, size_t len,
                bool trust)
{
    /* So many small pieces count as much as a large one. */
    if (r->rc < 0 || len == 0 ||
        !tg_render_step(r, (o->len + len) / TG_STEP_BYTES - o->len / TG_STEP_BYTES))
        return;
    if (len > TG_TEMPLATE_OUTPUT_MAX - o->len) {
        tg_render_fail(r, -E2BIG, "more than %zu bytes of text", TG_TEMPLATE_OUTPUT_MAX);
        return;
    }
    if (o->len + len > o->size) {
        size_t size = (o->len + len) * 2 + 256;
        r->writing += 2 * (size - o->size);
        if (r->writing > TG_TEMPLATE_MEMORY_MAX) {
            tg_render_fail(r, -E2BIG, "more than %zu bytes of unfinished texts",
                           TG_TEMPLATE_MEMORY_MAX);
            return;
        }
        char *text = realloc(o->s, size);
        o->s = text ? text : o->s;
        uint8_t *marks = realloc(o->trusted, size);
        o->trusted = marks ? marks : o->trusted;
        if (!text || !marks) {
            tg_render_fail(r, -ENOMEM, "memory");
            return;
        }
        o->size = size;
    }
    memcpy(o->s + o->len, s, len);
    if (trusted)
        memcpy(o->trusted + o->len, trusted, len);
    else
        memset(o->trusted + o->len, trust, len);
    o->len += len;
}

void tg_out_text(tg_render *r, tg_out *o, tg_text s)
{
    tg_out_add(r, o, s.s, s.trusted, s.len, false);
}

static void add(tg_render *r, tg_out *o, const char *s)
{
    tg_out_add(r, o, s, NULL, strlen(s), false);
}

tg_value tg_out_take(tg_render *r, tg_out *o)
{
    tg_value v = {.kind = TG_VALUE_STR};
    char *text = take(r, o->len);
    uint8_t *marks = take(r, o->len);
    if (text && marks && o->len > 0) {
        memcpy(text, o->s, o->len);
        memcpy(marks, o->trusted, o->len);
        v.s = (tg_text){text, marks, o->len};
    } else {
        v.s = (tg_text){"", (const uint8_t *)"", 0};
    }
    free(o->s);
    free(o->trusted);
    r->writing -= 2 * o->size;
    *o = (tg_out){0};
    return v;
}

/* The shortest digits that read back as the same double, in Python's manner. */
static void add_float(tg_render *r, tg_out *o, double f, bool json)
{
    char text[48], digits[32];
    int precision = 0;
    tg_render_step(r, TG_STEP_ENTRIES); /* so many tries at most */
    if (!isfinite(f)) {
        add(r, o, !isnan(f) && f < 0 ? "-" : "");
        add(r, o, isnan(f) ? (json ? "NaN" : "nan") : json ? "Infinity" : "inf");
        return;
    }
    do
        snprintf(digits, sizeof(digits), "%.*e", precision, f);
    while (strtod(digits, NULL) != f && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16)
        snprintf(text, sizeof(text), "%.*f", precision > exponent ? precision - exponent : 1, f);
    else
        snprintf(text, sizeof(text), "%s", digits);
    add(r, o, text);
}

static void add_quoted(tg_render *r, tg_out *o, tg_text s)
{
    bool twice = memchr(s.s, '\'', s.len) && !memchr(s.s, '"', s.len);
    add(r, o, twice ? "\"" : "'");
    for (size_t i = 0; i < s.len && r->rc == 0; i++) {
        char c = s.s[i], text[8];
        if (c == '\n' || c == '\r' || c == '\t' || c == '\\' || (c == '\'' && !twice))
            snprintf(text, sizeof(text), "\\%c",
                     c == '\n'   ? 'n'
                     : c == '\r' ? 'r'
                     : c == '\t' ? 't'
                                 : c);
        else if ((unsigned char)c < 32 || c == 127)
            snprintf(text, sizeof(text), "\\x%02x", (unsigned)c);
        else
            text[0] = c, text[1] = '\0';
        tg_out_add(r, o, text, NULL, c == '\0' ? 4 : strlen(text), false);
    }
    add(r, o, twice ? "\"" : "'");
}

static void add_repr(tg_render *r, tg_out *o, const tg_value *v, int depth)
{
    if (depth > TG_TEMPLATE_DEPTH_MAX)
        tg_render_fail(r, -E2BIG, "values nested deeper than %d", TG_TEMPLATE_DEPTH_MAX);
    if (!tg_render_step(r, 1))
        return;
    if (v->kind == TG_VALUE_STR) {
        if (depth > 0)
            add_quoted(r, o, v->s);
        else
            tg_out_text(r, o, v->s);
    } else if (v->kind == TG_VALUE_LIST || v->kind == TG_VALUE_DICT) {
        bool dict = v->kind == TG_VALUE_DICT;
        add(r, o, dict ? "{" : "[");
        for (size_t i = 0; i < v->list->len && r->rc == 0; i++) {
            if (i > 0)
                add(r, o, ", ");
            add_repr(r, o, &v->list->items[dict ? 2 * i : i], depth + 1);
            if (dict) {
                add(r, o, ": ");
                add_repr(r, o, &v->list->items[2 * i + 1], depth + 1);
            }
        }
        add(r, o, dict ? "}" : "]");
    } else if (v->kind == TG_VALUE_INT) {
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)v->i);
        add(r, o, text);
    } else if (v->kind == TG_VALUE_FLOAT) {
        add_float(r, o, v->f, false);
    } else if (v->kind == TG_VALUE_BOOL) {
        add(r, o, v->b ? "True" : "False");
    } else if (v->kind == TG_VALUE_NONE) {
        add(r, o, "None");
    } else if (v->kind != TG_VALUE_UNDEFINED) {
        tg_render_fail(r, -EINVAL, "%s cannot be printed", tg_value_kind_name(v));
    }
}

void tg_out_value(tg_render *r, tg_out *o, const tg_value *v) { add_repr(r, o, v, 0); }

tg_value tg_value_string(tg_render *r, const tg_value *v)
{
    tg_out o = {0};
    if (v->kind == TG_VALUE_STR)
        return *v;
    tg_out_value(r, &o, v);
    return tg_out_take(r, &o);
}

static void add_json_string(tg_render *r, tg_out *o, tg_text s, bool ascii)
{
    add(r, o, "\"");
    for (size_t i = 0, n; i < s.len && r->rc == 0; i += n) {
        unsigned char c = (unsigned char)s.s[i];
        const char *known = c ? strchr("\"\"\\\\\nn\rr\tt\bb\ff", c) : NULL;
        char text[16];
        n = tg_utf8_step(s, i);
        if (known && (c == '"' || c == '\\' || c < 32)) {
            text[0] = '\\', text[1] = known[1], text[2] = '\0';
        } else if (c < 32) {
            snprintf(text, sizeof(text), "\\u%04x", c);
        } else if (c >= 0x80 && ascii) {
            uint32_t u = n == 2 ? c & 31 : n == 3 ? c & 15 : c & 7;
            for (size_t k = 1; k < n; k++)
                u = u << 6 | ((unsigned char)s.s[i + k] & 63);
            if (u < 0x10000)
                snprintf(text, sizeof(text), "\\u%04x", (unsigned)u & 0xFFFF);
            else
                snprintf(text, sizeof(text), "\\u%04x\\u%04x",
                         (unsigned)(0xD800 + ((u - 0x10000) >> 10)) & 0xFFFF,
                         (unsigned)(0xDC00 + (u & 0x3FF)) & 0xFFFF);
        } else {
            tg_out_add(r, o, s.s + i, NULL, n, false);
            continue;
        }
        add(r, o, text);
    }
    add(r, o, "\"");
}

static void add_line(tg_render *r, tg_out *o, int indent, int level)
{
    if (indent < 0)
        return;
    add(r, o, "\n");
    for (int i = 0; i < indent * level && r->rc == 0; i++)
        add(r, o, " ");
}

void tg_out_json(tg_render *r, tg_out *o, const tg_value *v, int indent, int level, tg_str comma,
                 tg_str colon, bool sort, bool ascii)
{
    if (level > TG_TEMPLATE_DEPTH_MAX)
        tg_render_fail(r, -E2BIG, "values nested deeper than %d", TG_TEMPLATE_DEPTH_MAX);
    if (!tg_render_step(r, 1))
        return;
    if (v->kind == TG_VALUE_STR) {
        add_json_string(r, o, v->s, ascii);
    } else if (v->kind == TG_VALUE_FLOAT) {
        add_float(r, o, v->f, true);
    } else if (v->kind == TG_VALUE_LIST || v->kind == TG_VALUE_DICT) {
        bool dict = v->kind == TG_VALUE_DICT;
        const tg_list_value *keys = tg_value_items(r, v);
        if (dict && sort && keys->len > 0)
            tg_sort_values(r, keys->items, keys->len, false, TG_STR(""), false);
        add(r, o, dict ? "{" : "[");
        for (size_t i = 0; i < keys->len && r->rc == 0; i++) {
            if (i > 0)
                tg_out_add(r, o, comma.data, NULL, comma.len, false);
            add_line(r, o, indent, level + 1);
            if (dict) {
                tg_value key = tg_value_string(r, &keys->items[i]);
                add_json_string(r, o, key.s, ascii);
                tg_out_add(r, o, colon.data, NULL, colon.len, false);
            }
            const tg_value *item = !dict  ? &keys->items[i]
                                   : sort ? tg_dict_get(r, v->list, &keys->items[i])
                                          : &v->list->items[2 * i + 1];
            tg_out_json(r, o, item, indent, level + 1, comma, colon, sort, ascii);
        }
        if (keys->len > 0)
            add_line(r, o, indent, level);
        add(r, o, dict ? "}" : "]");
    } else if (v->kind == TG_VALUE_NONE) {
        add(r, o, "null");
    } else if (v->kind == TG_VALUE_BOOL) {
        add(r, o, v->b ? "true" : "false");
    } else if (v->kind == TG_VALUE_INT) {
        tg_out_value(r, o, v);
    } else {
        tg_render_fail(r, -EINVAL, "%s is not JSON", tg_value_kind_name(v));
    }
}
