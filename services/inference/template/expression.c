#include "services/inference/template/parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static tg_node *parse_unary(tg_parser *p, bool filters);

void tg_parse_fail(tg_parser *p, int rc, const char *what, tg_str text)
{
    if (p->rc == 0)
        p->rc = rc == -ENOMEM
                    ? rc
                    : tg_error_set(p->err, rc, "chat template, line %d: %s '%.*s'", p->line, what,
                                   (int)(text.len < 60 ? text.len : 60), text.data);
    p->kind = TG_TOKEN_KIND_END;
}

tg_node *tg_parse_node(tg_parser *p, tg_node_kind kind)
{
    tg_node *n = tg_arena_zalloc(p->arena, 1, sizeof(*n));
    if (!n) {
        tg_parse_fail(p, -ENOMEM, "", TG_STR(""));
        p->none = (tg_node){0};
        return &p->none;
    }
    n->kind = kind;
    n->line = p->line;
    return n;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static char peek(const tg_parser *p, size_t ahead)
{
    return p->at + ahead < p->src.len ? p->src.data[p->at + ahead] : '\0';
}

static void skip_spaces(tg_parser *p)
{
    for (; p->at < p->src.len && tg_parse_is_space(peek(p, 0)); p->at++)
        p->line += peek(p, 0) == '\n';
}

static int hex(char c)
{
    return digit(c)               ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80)
        return to[0] = (char)c, 1;
    if (c < 0x800)
        return to[0] = (char)(0xC0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
    return to[0] = (char)(0xE0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)),
           to[2] = (char)(0x80 | (c & 63)), 3;
}

/* The literal from the quote at `at` on; its value never is longer than its source. */
static void lex_string(tg_parser *p)
{
    char quote = peek(p, 0);
    size_t end = p->at + 1;
    while (end < p->src.len && p->src.data[end] != quote)
        end += p->src.data[end] == '\\' ? 2 : 1;
    char *to = tg_arena_alloc(p->arena, end - p->at + 1);
    if (!to || end >= p->src.len) {
        tg_parse_fail(p, to ? -EINVAL : -ENOMEM, "a string without its end", TG_STR(""));
        return;
    }
    size_t len = 0;
    for (p->at++; p->at < end; p->at++) {
        char c = peek(p, 0);
        p->line += c == '\n';
        if (c != '\\') {
            to[len++] = c;
            continue;
        }
        static const char from[] = "ntrbfav0\\'\"", into[] = "\n\t\r\b\f\a\v\0\\'\"";
        c = peek(p, 1);
        const char *known = c ? strchr(from, c) : NULL;
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 0;
        int32_t value = 0;
        for (size_t i = 0; i < digits && value >= 0; i++)
            value = p->at + 2 + i < end && hex(peek(p, 2 + i)) >= 0
                        ? value * 16 + hex(peek(p, 2 + i))
                        : -1;
        if (value < 0 || (value >= 0xD800 && value <= 0xDFFF)) {
            tg_parse_fail(p, value < 0 ? -EINVAL : -ENOTSUP,
                          value < 0 ? "an escape without its digits:" : "half a character:",
                          (tg_str){p->src.data + p->at, end - p->at});
            return;
        }
        if (known)
            to[len++] = into[known - from];
        else if (digits > 0)
            len += put_utf8(to + len, (uint32_t)value);
        else
            to[len++] = '\\', to[len++] = c;
        p->at += 1 + digits;
    }
    p->at = end + 1;
    p->kind = TG_TOKEN_KIND_STR;
    p->text = (tg_str){to, len};
}

static void lex_number(tg_parser *p)
{
    size_t start = p->at;
    p->kind = TG_TOKEN_KIND_INT;
    while (digit(peek(p, 0)))
        p->at++;
    if (peek(p, 0) == '.' && digit(peek(p, 1))) {
        p->kind = TG_TOKEN_KIND_FLOAT;
        for (p->at++; digit(peek(p, 0));)
            p->at++;
    }
    p->text = (tg_str){p->src.data + start, p->at - start};
    if (p->text.len > 18)
        tg_parse_fail(p, -ENOTSUP, "a number of this length is not supported:", p->text);
}

/* The next token of a tag; TG_TOKEN_KIND_END at the tag's end, which stays unread. */
void tg_parse_next(tg_parser *p)
{
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
    if (p->rc < 0)
        return;
    skip_spaces(p);
    char c = peek(p, 0), d = peek(p, 1);
    size_t sign = c == '-' || c == '+';
    if (p->braces == 0 && peek(p, sign) == (p->print ? '}' : '%') && peek(p, sign + 1) == '}') {
        p->kind = TG_TOKEN_KIND_END;
        p->text = TG_STR("end of tag");
        return;
    }
    if (p->at >= p->src.len) {
        tg_parse_fail(p, -EINVAL, "a tag without its end", TG_STR(""));
    } else if (c == '\'' || c == '"') {
        lex_string(p);
    } else if (digit(c)) {
        lex_number(p);
    } else if (letter(c)) {
        size_t start = p->at;
        while (letter(peek(p, 0)) || digit(peek(p, 0)))
            p->at++;
        p->kind = TG_TOKEN_KIND_NAME;
        p->text = (tg_str){p->src.data + start, p->at - start};
    } else {
        p->kind = TG_TOKEN_KIND_OP;
        p->text = (tg_str){p->src.data + p->at, 1};
        for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
            if (c == pairs[i][0] && d == pairs[i][1])
                p->text.len = 2;
        if (!strchr("+-*/%~=!<>()[]{},:.|", c) || (c == '!' && d != '='))
            tg_parse_fail(p, -EINVAL, "an unknown character", p->text);
        p->braces += c == '(' || c == '[' || c == '{';
        p->braces -= c == ')' || c == ']' || c == '}';
        p->at += p->text.len;
    }
}

static bool is_op(const tg_parser *p, const char *op)
{
    return p->kind == TG_TOKEN_KIND_OP && tg_str_is(p->text, op);
}

bool tg_parse_at_name(const tg_parser *p, const char *name)
{
    return p->kind == TG_TOKEN_KIND_NAME && tg_str_is(p->text, name);
}


bool tg_parse_accept(tg_parser *p, const char *text)
{
    if (!is_op(p, text) && !tg_parse_at_name(p, text))
        return false;
    tg_parse_next(p);
    return true;
}

void tg_parse_expect(tg_parser *p, const char *text)
{
    if (!tg_parse_accept(p, text) && p->rc == 0)
        p->rc =
            tg_error_set(p->err, -EINVAL, "chat template, line %d: '%s' is missing before '%.*s'",
                         p->line, text, (int)(p->text.len < 40 ? p->text.len : 40), p->text.data);
}

tg_str tg_parse_name(tg_parser *p)
{
    tg_str name = p->text;
    if (p->kind != TG_TOKEN_KIND_NAME)
        tg_parse_fail(p, -EINVAL, "a name is missing before", p->text);
    tg_parse_next(p);
    return name;
}

/* a, b=c, … up to `close`, which is taken. */
tg_node *tg_parse_args(tg_parser *p, const char *close, bool defaults)
{
    tg_node *first = NULL, **last = &first;
    while (p->rc == 0 && !tg_parse_accept(p, close)) {
        tg_node *arg = tg_parse_node(p, TG_NODE_GROUP);
        size_t at = p->at;
        while (at < p->src.len && tg_parse_is_space(p->src.data[at]))
            at++;
        bool named = p->kind == TG_TOKEN_KIND_NAME && at + 1 < p->src.len &&
                     p->src.data[at] == '=' && p->src.data[at + 1] != '=';
        if (defaults || named) {
            arg->text = tg_parse_name(p);
            if (tg_parse_accept(p, "="))
                arg->a = tg_parse_expr(p);
        } else {
            arg->a = tg_parse_expr(p);
        }
        *last = arg;
        last = &arg->next;
        if (!is_op(p, close))
            tg_parse_expect(p, ",");
    }
    return first;
}

/* Elements up to `close`; the first one may be read already. */
static tg_node *parse_list(tg_parser *p, tg_node *element, const char *close)
{
    tg_node *list = tg_parse_node(p, TG_NODE_LIST), **last = &list->args;
    while (p->rc == 0) {
        if (!element) {
            if (tg_parse_accept(p, close))
                break;
            element = tg_parse_expr(p);
        }
        tg_node *item = tg_parse_node(p, TG_NODE_GROUP);
        item->a = element;
        element = NULL;
        *last = item;
        last = &item->next;
        if (!is_op(p, close))
            tg_parse_expect(p, ",");
    }
    return list;
}

static tg_node *parse_dict(tg_parser *p)
{
    tg_node *dict = tg_parse_node(p, TG_NODE_DICT), **last = &dict->args;
    while (p->rc == 0 && !tg_parse_accept(p, "}")) {
        tg_node *pair = tg_parse_node(p, TG_NODE_GROUP);
        pair->a = tg_parse_expr(p);
        tg_parse_expect(p, ":");
        pair->b = tg_parse_expr(p);
        *last = pair;
        last = &pair->next;
        if (!is_op(p, "}"))
            tg_parse_expect(p, ",");
    }
    return dict;
}

static tg_node *parse_name(tg_parser *p)
{
    static const char *const words[] = {"true", "True", "false", "False", "none", "None"};
    for (size_t i = 0; i < 6; i++) {
        if (tg_str_is(p->text, words[i])) {
            tg_node *n = tg_parse_node(p, i < 4 ? TG_NODE_BOOL : TG_NODE_NONE);
            n->integer = i < 2;
            tg_parse_next(p);
            return n;
        }
    }
    tg_node *n = tg_parse_node(p, TG_NODE_NAME);
    n->text = p->text;
    tg_parse_next(p);
    return n;
}

static tg_node *parse_primary(tg_parser *p)
{
    tg_node *n;
    if (p->kind == TG_TOKEN_KIND_NAME)
        return parse_name(p);
    if (p->kind == TG_TOKEN_KIND_STR) {
        n = tg_parse_node(p, TG_NODE_STR);
        n->text = p->text;
        for (tg_parse_next(p); p->kind == TG_TOKEN_KIND_STR && p->rc == 0; tg_parse_next(p)) {
            char *both = tg_arena_alloc(p->arena, n->text.len + p->text.len + 1);
            if (!both) {
                tg_parse_fail(p, -ENOMEM, "", p->text);
                break;
            }
            memcpy(both, n->text.data, n->text.len);
            memcpy(both + n->text.len, p->text.data, p->text.len);
            n->text = (tg_str){both, n->text.len + p->text.len};
        }
        return n;
    }
    if (p->kind == TG_TOKEN_KIND_INT || p->kind == TG_TOKEN_KIND_FLOAT) {
        char text[24];
        tg_str_copy(text, sizeof(text), p->text);
        n = tg_parse_node(p, p->kind == TG_TOKEN_KIND_INT ? TG_NODE_INT : TG_NODE_FLOAT);
        n->integer = strtoll(text, NULL, 10);
        n->real = strtod(text, NULL);
        tg_parse_next(p);
        return n;
    }
    if (tg_parse_accept(p, "(")) {
        if (tg_parse_accept(p, ")"))
            return tg_parse_node(p, TG_NODE_LIST);
        n = tg_parse_expr(p);
        if (is_op(p, ","))
            return parse_list(p, n, ")");
        tg_parse_expect(p, ")");
        return n;
    }
    if (tg_parse_accept(p, "["))
        return parse_list(p, NULL, "]");
    if (tg_parse_accept(p, "{"))
        return parse_dict(p);
    tg_parse_fail(p, -EINVAL, "an expression is missing before", p->text);
    return tg_parse_node(p, TG_NODE_NONE);
}

static tg_node *parse_subscript(tg_parser *p, tg_node *of)
{
    tg_node *n = tg_parse_node(p, TG_NODE_ITEM);
    n->a = of;
    if (!is_op(p, ":"))
        n->b = tg_parse_expr(p);
    if (tg_parse_accept(p, ":")) {
        n->kind = TG_NODE_SLICE;
        if (!is_op(p, "]") && !is_op(p, ":"))
            n->c = tg_parse_expr(p);
        if (tg_parse_accept(p, ":") && !is_op(p, "]"))
            n->d = tg_parse_expr(p);
    }
    tg_parse_expect(p, "]");
    return n;
}

tg_node *tg_parse_postfix(tg_parser *p, tg_node *n)
{
    for (int links = 0; p->rc == 0; links++) {
        if (links > TG_TEMPLATE_DEPTH_MAX) {
            tg_parse_fail(p, -EMSGSIZE, "more than 64 accesses in a row at", p->text);
        } else if (tg_parse_accept(p, ".")) {
            tg_node *attr = tg_parse_node(p, TG_NODE_ATTR);
            attr->a = n;
            attr->text = tg_parse_name(p);
            if (is_op(p, "(") && !tg_method_known(attr->text))
                tg_parse_fail(p, -ENOTSUP, "a method that is not supported:", attr->text);
            n = attr;
        } else if (tg_parse_accept(p, "[")) {
            n = parse_subscript(p, n);
        } else if (tg_parse_accept(p, "(")) {
            tg_node *call = tg_parse_node(p, TG_NODE_CALL);
            call->a = n;
            call->args = tg_parse_args(p, ")", false);
            n = call;
        } else {
            break;
        }
    }
    return n;
}

/* Whether a test's one operand without parentheses stands here. */
static bool at_operand(const tg_parser *p)
{
    static const char *const others[] = {"else", "or", "and", "is", "if", "in", "not", NULL};
    if (p->kind == TG_TOKEN_KIND_NAME)
        return !tg_name_among(p->text, others);
    return p->kind == TG_TOKEN_KIND_STR || p->kind == TG_TOKEN_KIND_INT ||
           p->kind == TG_TOKEN_KIND_FLOAT || is_op(p, "[") || is_op(p, "{");
}

static tg_node *parse_test(tg_parser *p, tg_node *of)
{
    bool negated = tg_parse_accept(p, "not");
    tg_node *n = tg_parse_node(p, TG_NODE_TEST);
    n->a = of;
    n->text = tg_parse_name(p);
    if (!tg_test_known(n->text))
        tg_parse_fail(p, -ENOTSUP, "a test that is not supported:", n->text);
    if (tg_parse_accept(p, "(")) {
        n->args = tg_parse_args(p, ")", false);
    } else if (at_operand(p)) {
        n->args = tg_parse_node(p, TG_NODE_GROUP);
        n->args->a = tg_parse_postfix(p, parse_primary(p));
    }
    if (negated) {
        tg_node *not = tg_parse_node(p, TG_NODE_NOT);
        not->a = n;
        return not;
    }
    return n;
}

static tg_node *parse_filters(tg_parser *p, tg_node *n)
{
    for (int links = 0; p->rc == 0; links++) {
        if (links > TG_TEMPLATE_DEPTH_MAX) {
            tg_parse_fail(p, -EMSGSIZE, "more than 64 filters in a row at", p->text);
        } else if (tg_parse_accept(p, "|")) {
            tg_node *filter = tg_parse_node(p, TG_NODE_FILTER);
            filter->a = n;
            filter->text = tg_parse_name(p);
            if (!tg_filter_known(filter->text))
                tg_parse_fail(p, -ENOTSUP, "a filter that is not supported:", filter->text);
            if (tg_parse_accept(p, "("))
                filter->args = tg_parse_args(p, ")", false);
            n = filter;
        } else if (tg_parse_accept(p, "is")) {
            n = parse_test(p, n);
        } else {
            break;
        }
    }
    return n;
}

static tg_node *binary(tg_parser *p, tg_node_kind kind, tg_op op, tg_node *a)
{
    tg_node *n = tg_parse_node(p, kind);
    n->op = op;
    n->a = a;
    return n;
}

static tg_node *parse_unary(tg_parser *p, bool filters)
{
    tg_node *n;
    if (++p->depth > TG_TEMPLATE_DEPTH_MAX * 4)
        tg_parse_fail(p, -EMSGSIZE, "nested too deep at", p->text);
    if (tg_parse_accept(p, "-")) {
        n = tg_parse_node(p, TG_NODE_NEG);
        n->a = parse_unary(p, false);
    } else if (tg_parse_accept(p, "+")) {
        n = parse_unary(p, false);
    } else {
        n = parse_primary(p);
    }
    n = tg_parse_postfix(p, n);
    p->depth--;
    return filters ? parse_filters(p, n) : n;
}

typedef struct level {
    const char *text;
    tg_op op;
} level;

/* Left-associative operators, loosest first: + -, ~, * / // %, **. */
static tg_node *parse_math(tg_parser *p, int tight)
{
    static const level levels[4][5] = {
        {{"+", TG_OP_ADD}, {"-", TG_OP_SUB}},
        {{"~", TG_OP_CONCAT}},
        {{"*", TG_OP_MUL}, {"/", TG_OP_DIV}, {"//", TG_OP_FLOORDIV}, {"%", TG_OP_MOD}},
        {{"**", TG_OP_POW}}};
    if (tight == 4)
        return parse_unary(p, true);
    tg_node *n = parse_math(p, tight + 1);
    for (int links = 0; p->rc == 0 && p->kind == TG_TOKEN_KIND_OP; links++) {
        const level *l = levels[tight];
        while (l->text && !tg_str_is(p->text, l->text))
            l++;
        if (!l->text)
            break;
        if (links > TG_TEMPLATE_DEPTH_MAX)
            tg_parse_fail(p, -EMSGSIZE, "more than 64 operators in a row at", p->text);
        tg_parse_next(p);
        n = binary(p, TG_NODE_BINARY, l->op, n);
        n->b = parse_math(p, tight + 1);
    }
    return n;
}

static tg_node *parse_compare(tg_parser *p)
{
    static const level ops[] = {{"==", TG_OP_EQ}, {"!=", TG_OP_NE}, {"<", TG_OP_LT},
                                {"<=", TG_OP_LE}, {">", TG_OP_GT},  {">=", TG_OP_GE},
                                {"in", TG_OP_IN}};
    if (tg_parse_accept(p, "not")) {
        tg_node *not = tg_parse_node(p, TG_NODE_NOT);
        if (++p->depth > TG_TEMPLATE_DEPTH_MAX * 4)
            tg_parse_fail(p, -EMSGSIZE, "nested too deep at", p->text);
        not->a = parse_compare(p);
        p->depth--;
        return not;
    }
    tg_node *n = parse_math(p, 0), *before = NULL;
    for (int links = 0; p->rc == 0; links++) {
        size_t i = 0;
        bool negated = tg_parse_at_name(p, "not");
        if (negated)
            tg_parse_next(p);
        while (i < 7 && !is_op(p, ops[i].text) && !tg_parse_at_name(p, ops[i].text))
            i++;
        if (i == 7 || links > TG_TEMPLATE_DEPTH_MAX) {
            if (negated || i < 7)
                tg_parse_fail(p, -EINVAL, "'in' is missing, or too many comparisons, at", p->text);
            break;
        }
        tg_parse_next(p);
        tg_node *compare =
            binary(p, TG_NODE_COMPARE, negated ? TG_OP_NOT_IN : ops[i].op, before ? before->b : n);
        compare->b = parse_math(p, 0);
        if (before) {
            tg_node *and = binary(p, TG_NODE_AND, TG_OP_EQ, n);
            and->b = compare;
            n = and;
        } else {
            n = compare;
        }
        before = compare;
    }
    return n;
}

static tg_node *parse_logic(tg_parser *p, bool or)
{
    tg_node *n = or ? parse_logic(p, false) : parse_compare(p);
    for (int links = 0; p->rc == 0 && tg_parse_accept(p, or ? "or" : "and"); links++) {
        if (links > TG_TEMPLATE_DEPTH_MAX)
            tg_parse_fail(p, -EMSGSIZE, "more than 64 operators in a row at", p->text);
        n = binary(p, or ? TG_NODE_OR : TG_NODE_AND, TG_OP_EQ, n);
        n->b = or ? parse_logic(p, false) : parse_compare(p);
    }
    return n;
}

tg_node *tg_parse_expr(tg_parser *p)
{
    if (++p->depth > TG_TEMPLATE_DEPTH_MAX * 4)
        tg_parse_fail(p, -EMSGSIZE, "nested too deep at", p->text);
    tg_node *n = p->rc == 0 ? parse_logic(p, true) : tg_parse_node(p, TG_NODE_NONE);
    if (p->rc == 0 && tg_parse_accept(p, "if")) {
        tg_node *cond = tg_parse_node(p, TG_NODE_COND);
        cond->a = n;
        cond->b = parse_logic(p, true);
        if (tg_parse_accept(p, "else"))
            cond->c = tg_parse_expr(p);
        n = cond;
    }
    p->depth--;
    return n;
}

/* An expression, or several with commas between them: a list. */
tg_node *tg_parse_tuple(tg_parser *p)
{
    tg_node *n = tg_parse_expr(p);
    if (!is_op(p, ","))
        return n;
    tg_node *list = tg_parse_node(p, TG_NODE_LIST), **last = &list->args;
    do {
        tg_node *item = tg_parse_node(p, TG_NODE_GROUP);
        item->a = n;
        *last = item;
        last = &item->next;
        if (!tg_parse_accept(p, ",") || p->kind == TG_TOKEN_KIND_END)
            break;
        n = tg_parse_expr(p);
    } while (p->rc == 0);
    return list;
}

/* Past the tag's end, with what trim_blocks or a sign there takes away. */
void tg_parse_end_tag(tg_parser *p, bool trims)
{
    if (p->kind != TG_TOKEN_KIND_END && p->rc == 0)
        tg_parse_fail(p, -EINVAL, "the end of the tag is missing before", p->text);
    char sign = peek(p, 0);
    p->at += sign == '-' || sign == '+' ? 3 : 2;
    if (sign == '-') {
        skip_spaces(p);
    } else if (trims && sign != '+' && peek(p, 0) == '\n') {
        p->at++;
        p->line++;
    }
}
