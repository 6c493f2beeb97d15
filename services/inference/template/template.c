#include "services/inference/template/internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct binding binding;
struct binding {
    tg_str name;
    tg_value value;
    binding *next;
};

struct tg_scope {
    binding *first;
    tg_scope *outer;
};

typedef enum flow { GOES_ON, BREAKS, CONTINUES } flow;

static tg_value eval(tg_render *r, tg_scope *s, const tg_node *n);
static flow run(tg_render *r, tg_scope *s, const tg_node *n, tg_out *o);

static binding *find(tg_render *r, const tg_scope *s, tg_str name)
{
    size_t walked = 0;
    binding *b = s->first;
    for (; b && !tg_str_eq(b->name, name); b = b->next)
        walked++;
    tg_render_step(r, walked / TG_STEP_ENTRIES);
    return b;
}

static tg_value *lookup(tg_render *r, const tg_scope *s, tg_str name)
{
    binding *b = NULL;
    for (; s && !b; s = s->outer)
        b = find(r, s, name);
    return b ? &b->value : NULL;
}

static void *make(tg_render *r, size_t size)
{
    void *p = tg_arena_zalloc(&r->arena, 1, size);
    if (!p)
        tg_render_fail(r, -E2BIG, "more than %zu bytes of values", TG_TEMPLATE_MEMORY_MAX);
    return p;
}

static void bind(tg_render *r, tg_scope *s, tg_str name, tg_value v)
{
    binding *b = find(r, s, name);
    if (b) {
        b->value = v;
    } else if ((b = make(r, sizeof(*b)))) {
        *b = (binding){name, v, s->first};
        s->first = b;
    }
}

/* One name takes the value; several take its items. */
static void assign(tg_render *r, tg_scope *s, const tg_node *names, tg_value v)
{
    if (names->kind == TG_NODE_ATTR) {
        tg_value *target = lookup(r, s, names->a->text);
        if (target && target->kind == TG_VALUE_NAMESPACE)
            tg_dict_set(r, target->list, tg_value_bytes(r, names->text.data, names->text.len, true),
                        v);
        else
            tg_render_fail(r, -EINVAL, "'%.*s' is no namespace", TG_STR_ARG(names->a->text));
        return;
    }
    if (!names->next) {
        bind(r, s, names->text, v);
        return;
    }
    const tg_list_value *items = tg_value_items(r, &v);
    size_t i = 0;
    for (; names && i < items->len && r->rc == 0; names = names->next)
        bind(r, s, names->text, items->items[i++]);
    if (names || i < items->len)
        tg_render_fail(r, -EINVAL, "%zu values for another number of names", items->len);
}

static bool enter(tg_render *r, const tg_node *n)
{
    r->line = n->line ? n->line : r->line;
    if (r->depth >= TG_TEMPLATE_DEPTH_MAX * 4)
        tg_render_fail(r, -E2BIG, "nested too deep");
    return tg_render_step(r, 1);
}

static tg_args eval_args(tg_render *r, tg_scope *s, const tg_node *list)
{
    tg_args a = {0};
    size_t len = 0, at = 0;
    for (const tg_node *n = list; n; n = n->next)
        len++;
    a.v = make(r, (len + 1) * sizeof(*a.v));
    a.names = make(r, (len + 1) * sizeof(*a.names));
    if (r->rc < 0)
        return a;
    for (const tg_node *n = list; n && r->rc == 0; n = n->next, at++) {
        a.names[at] = n->text;
        a.v[at] = eval(r, s, n->a);
        a.len++;
    }
    return a;
}

static tg_value call_macro(tg_render *r, const tg_macro *m, const tg_args *a)
{
    tg_scope inner = {.outer = m->scope}, *s = make(r, sizeof(*s));
    tg_out o = {0};
    size_t at = 0;
    if (!s)
        return (tg_value){0};
    *s = inner;
    for (const tg_node *p = m->node->args; p && r->rc == 0; p = p->next, at++) {
        char name[64];
        tg_str_copy(name, sizeof(name), p->text);
        const tg_value *given =
            tg_render_step(r, a->len / TG_STEP_ENTRIES) ? tg_args_get(a, at, name) : NULL;
        bind(r, s, p->text, given ? *given : p->a ? eval(r, s, p->a) : (tg_value){.name = p->text});
    }
    if (m->caller)
        bind(r, s, TG_STR("caller"), *m->caller);
    r->depth += 4;
    if (r->rc == 0 && enter(r, m->node))
        run(r, s, m->node->body, &o);
    r->depth -= 4;
    return tg_out_take(r, &o);
}

static tg_value macro(tg_render *r, tg_scope *s, const tg_node *n)
{
    tg_macro *m = make(r, sizeof(*m));
    if (!m)
        return (tg_value){0};
    *m = (tg_macro){n, s, NULL};
    return (tg_value){.kind = TG_VALUE_MACRO, .macro = m};
}

static tg_value call(tg_render *r, tg_scope *s, const tg_node *n, const tg_value *caller)
{
    if (n->a->kind == TG_NODE_ATTR) {
        tg_value of = eval(r, s, n->a->a);
        tg_args a = eval_args(r, s, n->args);
        if (r->rc == 0 && of.kind == TG_VALUE_UNDEFINED)
            tg_render_fail(r, -EINVAL, "'%.*s' of '%.*s', which is undefined",
                           TG_STR_ARG(n->a->text), TG_STR_ARG(of.name));
        return r->rc < 0 ? (tg_value){0} : tg_method_call(r, &of, n->a->text, &a);
    }
    tg_value f = eval(r, s, n->a);
    tg_args a = eval_args(r, s, n->args);
    if (r->rc < 0)
        return (tg_value){0};
    if (f.kind == TG_VALUE_FUNCTION)
        return tg_function_call(r, f.name, &a);
    if (f.kind == TG_VALUE_MACRO) {
        tg_macro with = *f.macro;
        with.caller = caller;
        return call_macro(r, &with, &a);
    }
    tg_render_fail(r, -EINVAL, "%s '%.*s' is called", tg_value_kind_name(&f),
                   TG_STR_ARG(n->a->text));
    return (tg_value){0};
}

static int64_t bound(tg_render *r, tg_scope *s, const tg_node *n, int64_t missing)
{
    tg_value v = n ? eval(r, s, n) : (tg_value){.kind = TG_VALUE_NONE};
    if (v.kind == TG_VALUE_NONE)
        return missing;
    if (v.kind != TG_VALUE_INT)
        tg_render_fail(r, -EINVAL, "a slice by %s", tg_value_kind_name(&v));
    return v.kind == TG_VALUE_INT ? v.i : 0;
}

static tg_value slice(tg_render *r, tg_scope *s, const tg_node *n)
{
    tg_value of = eval(r, s, n->a), list = tg_value_list(r, TG_VALUE_LIST);
    if (r->rc == 0 && of.kind != TG_VALUE_LIST && of.kind != TG_VALUE_STR)
        tg_render_fail(r, -EINVAL, "a slice of %s", tg_value_kind_name(&of));
    if (r->rc < 0)
        return list;
    const tg_list_value *items = tg_value_items(r, &of);
    int64_t len = (int64_t)items->len, step = bound(r, s, n->d, 1);
    if (step == 0)
        tg_render_fail(r, -EINVAL, "a slice with a step of 0");
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? len : len - 1;
    int64_t from = bound(r, s, n->b, step > 0 ? 0 : INT64_MAX);
    int64_t to = bound(r, s, n->c, step > 0 ? INT64_MAX : INT64_MIN);
    from = from < 0 ? from + len : from;
    to = to == INT64_MIN ? -1 : to < 0 ? to + len : to;
    from = from < low ? low : from > high ? high : from;
    to = to < low ? low : to > high ? high : to;
    step = step > len + 1 ? len + 1 : step < -len - 1 ? -len - 1 : step;
    for (int64_t i = from; r->rc == 0 && (step > 0 ? i < to : i > to); i += step)
        tg_list_add(r, list.list, items->items[i]);
    if (of.kind == TG_VALUE_STR && r->rc == 0)
        return tg_filter_apply(r, TG_STR("join"), &list, &(tg_args){0});
    return list;
}

static tg_value item(tg_render *r, tg_scope *s, const tg_node *n)
{
    tg_value of = eval(r, s, n->a), key = eval(r, s, n->b);
    if (r->rc < 0)
        return (tg_value){0};
    if (of.kind == TG_VALUE_LIST || of.kind == TG_VALUE_STR) {
        const tg_list_value *items = tg_value_items(r, &of);
        int64_t at = key.kind == TG_VALUE_INT ? key.i : INT64_MAX;
        at = at < 0 ? at + (int64_t)items->len : at;
        return at >= 0 && at < (int64_t)items->len ? items->items[at]
                                                   : (tg_value){.name = TG_STR("an item")};
    }
    if (of.kind == TG_VALUE_DICT) {
        const tg_value *found = tg_dict_get(r, of.list, &key);
        return found ? *found : (tg_value){.name = tg_value_text(&key)};
    }
    return tg_value_attr(r, &of, tg_value_text(&key));
}

static tg_value repeat(tg_render *r, const tg_value *v, int64_t times)
{
    tg_out o = {0};
    tg_value list = v->kind == TG_VALUE_LIST ? tg_value_list(r, TG_VALUE_LIST) : (tg_value){0};
    for (int64_t i = 0; i < times && r->rc == 0 && tg_render_step(r, 1); i++) {
        if (v->kind == TG_VALUE_STR)
            tg_out_text(r, &o, v->s);
        for (size_t k = 0; v->kind == TG_VALUE_LIST && k < v->list->len && r->rc == 0; k++)
            tg_list_add(r, list.list, v->list->items[k]);
    }
    return v->kind == TG_VALUE_LIST ? list : tg_out_take(r, &o);
}

static tg_value add_boxes(tg_render *r, const tg_value *a, const tg_value *b)
{
    tg_out o = {0};
    if (a->kind == TG_VALUE_STR) {
        tg_out_text(r, &o, a->s);
        tg_out_text(r, &o, b->s);
        return tg_out_take(r, &o);
    }
    tg_value list = tg_value_list(r, TG_VALUE_LIST);
    for (size_t i = 0; i < a->list->len && r->rc == 0; i++)
        tg_list_add(r, list.list, a->list->items[i]);
    for (size_t i = 0; i < b->list->len && r->rc == 0; i++)
        tg_list_add(r, list.list, b->list->items[i]);
    return list;
}

static bool integers(tg_render *r, tg_op op, int64_t a, int64_t b, int64_t *ret)
{
    bool over = false;
    if (op == TG_OP_ADD)
        over = __builtin_add_overflow(a, b, ret);
    else if (op == TG_OP_SUB)
        over = __builtin_sub_overflow(a, b, ret);
    else if (op == TG_OP_MUL)
        over = __builtin_mul_overflow(a, b, ret);
    else if (b == 0 || (a == INT64_MIN && b == -1))
        over = true;
    else if (op == TG_OP_FLOORDIV)
        *ret = a / b - (a % b != 0 && (a < 0) != (b < 0));
    else
        *ret = a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
    if (over)
        tg_render_fail(r, -EINVAL, "a number past 64 bits, or a division by zero");
    return !over;
}

static tg_value arithmetic(tg_render *r, tg_op op, const tg_value *a, const tg_value *b)
{
    int64_t i = 0, x = a->kind == TG_VALUE_BOOL ? a->b : a->kind == TG_VALUE_INT ? a->i : 0;
    int64_t y = b->kind == TG_VALUE_BOOL ? b->b : b->kind == TG_VALUE_INT ? b->i : 0;
    bool whole = a->kind != TG_VALUE_FLOAT && b->kind != TG_VALUE_FLOAT;
    if (whole && op == TG_OP_POW && y >= 0) {
        for (i = 1; y > 0 && tg_render_step(r, 1) && integers(r, TG_OP_MUL, i, x, &i);)
            y--;
        return tg_value_int(i);
    }
    if (whole && op != TG_OP_DIV && op != TG_OP_POW)
        return integers(r, op, x, y, &i) ? tg_value_int(i) : (tg_value){0};
    double f = a->kind == TG_VALUE_FLOAT ? a->f : (double)x,
           g = b->kind == TG_VALUE_FLOAT ? b->f : (double)y;
    if (g == 0 && (op == TG_OP_DIV || op == TG_OP_FLOORDIV || op == TG_OP_MOD))
        tg_render_fail(r, -EINVAL, "a division by zero");
    double value = op == TG_OP_ADD        ? f + g
                   : op == TG_OP_SUB      ? f - g
                   : op == TG_OP_MUL      ? f * g
                   : op == TG_OP_DIV      ? f / g
                   : op == TG_OP_FLOORDIV ? floor(f / g)
                   : op == TG_OP_POW      ? pow(f, g)
                                          : f - g * floor(f / g);
    return (tg_value){.kind = TG_VALUE_FLOAT, .f = value};
}

static bool is_number(const tg_value *v)
{
    return v->kind == TG_VALUE_BOOL || v->kind == TG_VALUE_INT || v->kind == TG_VALUE_FLOAT;
}

static tg_value binary(tg_render *r, tg_op op, const tg_value *a, const tg_value *b)
{
    if (op == TG_OP_CONCAT) {
        tg_value x = tg_value_string(r, a), y = tg_value_string(r, b);
        return r->rc == 0 ? add_boxes(r, &x, &y) : x;
    }
    if (is_number(a) && is_number(b))
        return arithmetic(r, op, a, b);
    if (op == TG_OP_ADD && a->kind == b->kind &&
        (a->kind == TG_VALUE_STR || a->kind == TG_VALUE_LIST))
        return add_boxes(r, a, b);
    if (op == TG_OP_MUL && b->kind == TG_VALUE_INT &&
        (a->kind == TG_VALUE_STR || a->kind == TG_VALUE_LIST))
        return repeat(r, a, b->i);
    tg_render_fail(r, -EINVAL, "arithmetic on %s and %s", tg_value_kind_name(a),
                   tg_value_kind_name(b));
    return (tg_value){0};
}

static bool compare(tg_render *r, tg_op op, const tg_value *a, const tg_value *b)
{
    if (op == TG_OP_EQ || op == TG_OP_NE)
        return tg_value_equal(r, a, b) == (op == TG_OP_EQ);
    if (op == TG_OP_IN || op == TG_OP_NOT_IN)
        return tg_value_in(r, a, b) == (op == TG_OP_IN);
    int order = tg_value_order(r, a, b);
    return op == TG_OP_LT   ? order < 0
           : op == TG_OP_LE ? order <= 0
           : op == TG_OP_GT ? order > 0
                            : order >= 0;
}

static tg_value name_of(tg_render *r, const tg_scope *s, tg_str name)
{
    static const char *const functions[] = {"namespace",    "range", "raise_exception",
                                            "strftime_now", "dict",  NULL};
    const tg_value *found = lookup(r, s, name);
    if (found)
        return *found;
    return (tg_value){.kind =
                          tg_name_among(name, functions) ? TG_VALUE_FUNCTION : TG_VALUE_UNDEFINED,
                      .name = name};
}

static tg_value box(tg_render *r, tg_scope *s, const tg_node *n)
{
    tg_value v = tg_value_list(r, n->kind == TG_NODE_LIST ? TG_VALUE_LIST : TG_VALUE_DICT);
    for (const tg_node *e = n->args; e && r->rc == 0; e = e->next) {
        tg_value a = eval(r, s, e->a);
        if (n->kind == TG_NODE_LIST)
            tg_list_add(r, v.list, a);
        else
            tg_dict_set(r, v.list, a, eval(r, s, e->b));
    }
    return v;
}

static tg_value negated(tg_render *r, const tg_value *v)
{
    if (v->kind == TG_VALUE_FLOAT)
        return (tg_value){.kind = TG_VALUE_FLOAT, .f = -v->f};
    tg_value zero = tg_value_int(0);
    return binary(r, TG_OP_SUB, &zero, v);
}

static tg_value operate(tg_render *r, tg_scope *s, const tg_node *n)
{
    tg_value a = eval(r, s, n->a), b;
    if (r->rc < 0)
        return a;
    switch (n->kind) {
    case TG_NODE_NOT: return tg_value_bool(!tg_value_true(&a));
    case TG_NODE_NEG: return negated(r, &a);
    case TG_NODE_AND: return tg_value_true(&a) ? eval(r, s, n->b) : a;
    case TG_NODE_OR: return tg_value_true(&a) ? a : eval(r, s, n->b);
    case TG_NODE_ATTR: return tg_value_attr(r, &a, n->text);
    case TG_NODE_FILTER:
    case TG_NODE_TEST: {
        tg_args args = eval_args(r, s, n->args);
        if (r->rc < 0)
            return a;
        return n->kind == TG_NODE_FILTER ? tg_filter_apply(r, n->text, &a, &args)
                                         : tg_value_bool(tg_test_apply(r, n->text, &a, &args));
    }
    default: break;
    }
    b = eval(r, s, n->b);
    if (r->rc < 0)
        return b;
    return n->kind == TG_NODE_BINARY ? binary(r, n->op, &a, &b)
                                     : tg_value_bool(compare(r, n->op, &a, &b));
}

static tg_value eval(tg_render *r, tg_scope *s, const tg_node *n)
{
    tg_value v = {0};
    if (!enter(r, n))
        return v;
    r->depth++;
    switch (n->kind) {
    case TG_NODE_NONE: v.kind = TG_VALUE_NONE; break;
    case TG_NODE_BOOL: v = tg_value_bool(n->integer != 0); break;
    case TG_NODE_INT: v = tg_value_int(n->integer); break;
    case TG_NODE_FLOAT: v = (tg_value){.kind = TG_VALUE_FLOAT, .f = n->real}; break;
    case TG_NODE_STR: v = tg_value_bytes(r, n->text.data, n->text.len, true); break;
    case TG_NODE_NAME: v = name_of(r, s, n->text); break;
    case TG_NODE_LIST:
    case TG_NODE_DICT: v = box(r, s, n); break;
    case TG_NODE_ITEM: v = item(r, s, n); break;
    case TG_NODE_SLICE: v = slice(r, s, n); break;
    case TG_NODE_CALL: v = call(r, s, n, NULL); break;
    case TG_NODE_COND: {
        tg_value condition = eval(r, s, n->b);
        if (tg_value_true(&condition))
            v = eval(r, s, n->a);
        else if (n->c)
            v = eval(r, s, n->c);
        break;
    }
    default: v = operate(r, s, n); break;
    }
    r->depth--;
    return r->rc == 0 ? v : (tg_value){0};
}

static void run_for(tg_render *r, tg_scope *s, const tg_node *n, tg_out *o)
{
    tg_value over = eval(r, s, n->b), kept = tg_value_list(r, TG_VALUE_LIST);
    tg_loop *loop = make(r, sizeof(*loop));
    const tg_list_value *items = r->rc == 0 ? tg_value_items(r, &over) : NULL;
    if (r->rc == 0 && n->c) {
        for (size_t i = 0; i < items->len && r->rc == 0; i++) {
            tg_scope probe = {.outer = s};
            assign(r, &probe, n->a, items->items[i]);
            tg_value condition = eval(r, &probe, n->c);
            if (tg_value_true(&condition))
                tg_list_add(r, kept.list, items->items[i]);
        }
        items = kept.list;
    }
    if (r->rc < 0)
        return;
    *loop = (tg_loop){items, 0, ++r->loops};
    for (; loop->at < items->len && r->rc == 0; loop->at++) {
        tg_scope *inner = make(r, sizeof(*inner));
        if (!inner)
            break;
        inner->outer = s;
        bind(r, inner, TG_STR("loop"), (tg_value){.kind = TG_VALUE_LOOP, .loop = loop});
        assign(r, inner, n->a, items->items[loop->at]);
        if (r->rc == 0 && run(r, inner, n->body, o) == BREAKS)
            break;
    }
    r->loops--;
    if (items->len == 0)
        run(r, s, n->other, o);
}

static flow run_one(tg_render *r, tg_scope *s, const tg_node *n, tg_out *o)
{
    tg_value v;
    tg_out text = {0};
    switch (n->kind) {
    case TG_NODE_TEXT: tg_out_add(r, o, n->text.data, NULL, n->text.len, true); break;
    case TG_NODE_PRINT:
        v = eval(r, s, n->a);
        tg_out_value(r, o, &v);
        break;
    case TG_NODE_SET: assign(r, s, n->a, eval(r, s, n->b)); break;
    case TG_NODE_SET_BLOCK:
        run(r, s, n->body, &text);
        assign(r, s, n->a, tg_out_take(r, &text));
        break;
    case TG_NODE_FOR: run_for(r, s, n, o); break;
    case TG_NODE_IF:
        v = eval(r, s, n->a);
        return r->rc == 0 ? run(r, s, tg_value_true(&v) ? n->body : n->other, o) : GOES_ON;
    case TG_NODE_MACRO: bind(r, s, n->text, macro(r, s, n)); break;
    case TG_NODE_CALL_BLOCK: {
        tg_value caller = macro(r, s, n);
        v = call(r, s, n->a, &caller);
        tg_out_value(r, o, &v);
        break;
    }
    case TG_NODE_BREAK: return BREAKS;
    case TG_NODE_CONTINUE: return CONTINUES;
    default: return run(r, s, n->body, o);
    }
    return GOES_ON;
}

static flow run(tg_render *r, tg_scope *s, const tg_node *n, tg_out *o)
{
    flow f = GOES_ON;
    r->depth++;
    for (; n && f == GOES_ON && r->rc == 0 && enter(r, n); n = n->next)
        f = run_one(r, s, n, o);
    r->depth--;
    return f;
}

int tg_template_compile(tg_str source, tg_error *err, tg_template **ret)
{
    tg_template *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    tg_arena_init(&t->arena, TG_TEMPLATE_MEMORY_MAX);
    int rc = tg_template_parse(&t->arena, source, err, &t->body);
    if (rc < 0) {
        tg_template_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

tg_template *tg_template_free(tg_template *t)
{
    if (t)
        tg_arena_free(&t->arena);
    free(t);
    return NULL;
}

static bool is_given(tg_str name)
{
    static const char *const names[] = {
        "messages", "tools", "bos_token", "eos_token", "add_generation_prompt", NULL};
    return tg_name_among(name, names);
}

static void bind_variables(tg_render *r, tg_scope *s, const tg_template_input *in)
{
    const tg_value all = tg_json_value(r, in->variables, "variables");
    if (r->rc == 0 && all.kind != TG_VALUE_DICT)
        tg_render_fail(r, -EINVAL, "variables: a JSON object is needed");
    for (size_t i = 0; r->rc == 0 && i < all.list->len; i++) {
        const tg_str name = tg_value_text(&all.list->items[2 * i]);
        if (in->messages_len > 0 && is_given(name))
            tg_render_fail(r, -EINVAL, "variables: '%.*s' cannot be set there", TG_STR_ARG(name));
        bind(r, s, name, all.list->items[2 * i + 1]);
    }
}

static void bind_input(tg_render *r, tg_scope *s, const tg_template_input *in)
{
    bind(r, s, TG_STR("bos_token"), tg_value_bytes(r, in->bos_token.data, in->bos_token.len, true));
    bind(r, s, TG_STR("eos_token"), tg_value_bytes(r, in->eos_token.data, in->eos_token.len, true));
    bind(r, s, TG_STR("add_generation_prompt"), tg_value_bool(in->add_generation_prompt));
    bind(r, s, TG_STR("messages"), tg_conversation(r, in->messages, in->messages_len));
    if (in->tools.len > 0 && r->rc == 0) {
        const tg_value tools = tg_json_value(r, in->tools, "tools");
        if (r->rc == 0 && tools.kind != TG_VALUE_LIST)
            tg_render_fail(r, -EINVAL, "tools: a JSON array is needed");
        bind(r, s, TG_STR("tools"), tools);
    }
    if (in->variables.len > 0 && r->rc == 0)
        bind_variables(r, s, in);
}

int tg_template_render(const tg_template *t, const tg_template_input *in, tg_error *err,
                       tg_template_text *ret)
{
    tg_render r = {.err = err, .now_s = in->now_s};
    tg_scope scope = {0};
    tg_out o = {0};
    tg_arena_init(&r.arena, TG_TEMPLATE_MEMORY_MAX);
    bind_input(&r, &scope, in);
    if (r.rc == 0)
        run(&r, &scope, t->body, &o);
    tg_arena_free(&r.arena);
    tg_template_text text = {o.s, o.trusted, o.len};
    if (r.rc < 0)
        tg_template_text_free(&text);
    else
        *ret = text;
    return r.rc;
}

void tg_template_text_free(tg_template_text *text)
{
    free(text->bytes);
    free(text->trusted);
    *text = (tg_template_text){0};
}
