#include "services/inference/template/parser.h"

#include <errno.h>
#include <string.h>

static tg_node *parse_body(tg_parser *p, const char *const *ends);

static bool blank(char c) { return c == ' ' || c == '\t'; }

/* The text from p->at to `end`, where a tag (or the source's end) is, less what the tag takes from
 * it. */
static tg_node *text_before(tg_parser *p, size_t end)
{
    const char *s = p->src.data;
    size_t start = p->at, stop = end;
    char sign = end + 2 < p->src.len ? s[end + 2] : '\0';
    if (end < p->src.len && sign == '-') {
        while (stop > start && tg_parse_is_space(s[stop - 1]))
            stop--;
    } else if (end < p->src.len && sign != '+' && s[end + 1] != '{') {
        size_t line = end;
        while (line > start && blank(s[line - 1]))
            line--;
        if (line == 0 || s[line - 1] == '\n')
            stop = line;
    }
    tg_node *n = stop > start ? tg_parse_node(p, TG_NODE_TEXT) : NULL;
    if (n)
        n->text = (tg_str){s + start, stop - start};
    for (; p->at < end; p->at++)
        p->line += s[p->at] == '\n';
    return n;
}

static void skip_comment(tg_parser *p)
{
    const char *end = memmem(p->src.data + p->at, p->src.len - p->at, "#}", 2);
    if (!end) {
        tg_parse_fail(p, -EINVAL, "a comment without its end", TG_STR(""));
        return;
    }
    size_t stop = (size_t)(end - p->src.data);
    for (; p->at < stop; p->at++)
        p->line += p->src.data[p->at] == '\n';
    if (end[-1] == '-' || end[-1] == '+')
        p->at--;
    p->kind = TG_TOKEN_KIND_END;
    tg_parse_end_tag(p, true);
}

/* A body with its closing tag, read to its end. */
static tg_node *parse_closed(tg_parser *p, const char *close)
{
    const char *const ends[] = {close, NULL};
    tg_parse_end_tag(p, true);
    tg_node *body = parse_body(p, ends);
    tg_parse_end_tag(p, true);
    return body;
}

/* Behind the body of a block that may have an `else`: its body, or NULL; and the closing tag. */
static tg_node *parse_else(tg_parser *p, const char *close)
{
    if (p->rc == 0 && tg_str_is(p->tag, "else"))
        return parse_closed(p, close);
    tg_parse_end_tag(p, true);
    return NULL;
}

static tg_node *parse_if(tg_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    tg_node *first = NULL, **last = &first;
    do {
        tg_node *n = tg_parse_node(p, TG_NODE_IF);
        n->a = tg_parse_expr(p);
        tg_parse_end_tag(p, true);
        n->body = parse_body(p, ends);
        *last = n;
        last = &n->other;
    } while (p->rc == 0 && tg_str_is(p->tag, "elif"));
    *last = parse_else(p, "endif");
    return first;
}

static tg_node *parse_names(tg_parser *p)
{
    tg_node *first = NULL, **last = &first;
    bool paren = tg_parse_accept(p, "(");
    do {
        tg_node *n = tg_parse_node(p, TG_NODE_NAME);
        n->text = tg_parse_name(p);
        *last = n;
        last = &n->next;
    } while (p->rc == 0 && tg_parse_accept(p, ","));
    if (paren)
        tg_parse_expect(p, ")");
    return first;
}

static tg_node *parse_for(tg_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    tg_node *n = tg_parse_node(p, TG_NODE_FOR);
    n->a = parse_names(p);
    tg_parse_expect(p, "in");
    n->b = tg_parse_tuple(p);
    /* `x if y` without else: the loop's own condition */
    if (n->b->kind == TG_NODE_COND && !n->b->c) {
        n->c = n->b->b;
        n->b = n->b->a;
    }
    if (tg_parse_at_name(p, "recursive"))
        tg_parse_fail(p, -ENOTSUP, "a loop that is not supported:", p->text);
    tg_parse_end_tag(p, true);
    n->body = parse_body(p, ends);
    n->other = parse_else(p, "endfor");
    return n;
}

static tg_node *parse_set(tg_parser *p)
{
    tg_node *n = tg_parse_node(p, TG_NODE_SET);
    n->a = parse_names(p);
    if (tg_parse_accept(p, ".")) {
        tg_node *attr = tg_parse_node(p, TG_NODE_ATTR);
        attr->a = n->a;
        attr->text = tg_parse_name(p);
        n->a = attr;
    }
    if (tg_parse_accept(p, "=")) {
        n->b = tg_parse_tuple(p);
        tg_parse_end_tag(p, true);
        return n;
    }
    if (p->kind != TG_TOKEN_KIND_END)
        tg_parse_fail(p, -ENOTSUP, "a kind of set that is not supported, at", p->text);
    n->kind = TG_NODE_SET_BLOCK;
    n->body = parse_closed(p, "endset");
    return n;
}

static tg_node *parse_macro(tg_parser *p)
{
    tg_node *n = tg_parse_node(p, TG_NODE_MACRO);
    n->text = tg_parse_name(p);
    tg_parse_expect(p, "(");
    n->args = tg_parse_args(p, ")", true);
    n->body = parse_closed(p, "endmacro");
    return n;
}

static tg_node *parse_call(tg_parser *p)
{
    tg_node *n = tg_parse_node(p, TG_NODE_CALL_BLOCK);
    if (tg_parse_accept(p, "("))
        n->args = tg_parse_args(p, ")", true);
    n->a = tg_parse_expr(p);
    if (n->a->kind != TG_NODE_CALL)
        tg_parse_fail(p, -EINVAL, "a call block without a call", p->text);
    n->body = parse_closed(p, "endcall");
    return n;
}

static tg_node *parse_statement(tg_parser *p, tg_str name)
{
    tg_node *n = NULL;
    if (tg_str_is(name, "if"))
        return parse_if(p);
    if (tg_str_is(name, "for"))
        return parse_for(p);
    if (tg_str_is(name, "set"))
        return parse_set(p);
    if (tg_str_is(name, "macro"))
        return parse_macro(p);
    if (tg_str_is(name, "call"))
        return parse_call(p);
    if (tg_str_is(name, "generation")) {
        n = tg_parse_node(p, TG_NODE_GROUP);
        n->body = parse_closed(p, "endgeneration");
    } else if (tg_str_is(name, "break") || tg_str_is(name, "continue")) {
        n = tg_parse_node(p, tg_str_is(name, "break") ? TG_NODE_BREAK : TG_NODE_CONTINUE);
        tg_parse_end_tag(p, true);
    } else {
        tg_parse_fail(p, -ENOTSUP, "a block that is not supported:", name);
    }
    return n;
}

/* Statements up to a tag whose name is in `ends` (NULL: the source's end). The name is taken and
 * stands in p->tag; the rest of that tag is for the caller. */
static tg_node *parse_body(tg_parser *p, const char *const *ends)
{
    tg_node *first = NULL, **last = &first;
    if (++p->depth > TG_TEMPLATE_DEPTH_MAX)
        tg_parse_fail(p, -EMSGSIZE, "blocks nested too deep in", p->tag);
    while (p->rc == 0) {
        size_t at = p->at;
        while (at < p->src.len && !(p->src.data[at] == '{' && at + 1 < p->src.len &&
                                    memchr("{%#", p->src.data[at + 1], 3)))
            at++;
        tg_node *n = text_before(p, at);
        if (n) {
            *last = n;
            last = &n->next;
        }
        if (at == p->src.len) {
            if (ends)
                tg_parse_fail(p, -EINVAL, "a block without its", tg_str_of(ends[0]));
            break;
        }
        char kind = p->src.data[at + 1];
        p->at += 2;
        if (kind == '#') {
            skip_comment(p);
            continue;
        }
        p->at += p->at < p->src.len && (p->src.data[p->at] == '-' || p->src.data[p->at] == '+');
        p->print = kind == '{';
        p->braces = 0;
        tg_parse_next(p);
        if (kind == '{') {
            n = tg_parse_node(p, TG_NODE_PRINT);
            n->a = tg_parse_tuple(p);
            tg_parse_end_tag(p, false);
        } else {
            p->tag = tg_parse_name(p);
            if (ends && tg_name_among(p->tag, ends))
                break;
            n = parse_statement(p, p->tag);
        }
        if (!n)
            break;
        *last = n;
        last = &n->next;
    }
    p->depth--;
    return first;
}

/* Line ends become \n, and one at the end goes: as the reference reads a template. */
static tg_str normalise(tg_arena *arena, tg_str source)
{
    char *to = tg_arena_alloc(arena, source.len + 1);
    size_t len = 0;
    for (size_t i = 0; to && i < source.len; i++) {
        char c = source.data[i];
        if (c == '\r' && i + 1 < source.len && source.data[i + 1] == '\n')
            continue;
        to[len++] = c == '\r' ? '\n' : c;
    }
    if (len > 0 && to[len - 1] == '\n')
        len--;
    return (tg_str){to, len};
}

int tg_template_parse(tg_arena *arena, tg_str source, tg_error *err, tg_node **ret)
{
    if (source.len > TG_TEMPLATE_SOURCE_MAX)
        return tg_error_set(err, -EMSGSIZE, "chat template: %zu bytes; at most %zu are allowed",
                            source.len, TG_TEMPLATE_SOURCE_MAX);
    if (!tg_utf8_valid(source.data, source.len))
        return tg_error_set(err, -EINVAL, "chat template: not valid UTF-8");
    tg_parser p = {.arena = arena, .line = 1, .err = err, .src = normalise(arena, source)};
    if (!p.src.data)
        return -ENOMEM;
    *ret = parse_body(&p, NULL);
    return p.rc;
}
