#include "services/inference/constrain/regex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POINT_MAX 0x10ffffu

/* ---- builders ---- */

static tg_regex *new_regex(tg_arena *arena, tg_regex_kind kind)
{
    tg_regex *regex = tg_arena_zalloc(arena, 1, sizeof(*regex));
    if (regex)
        regex->kind = kind;
    return regex;
}

const tg_regex *tg_regex_text(tg_arena *arena, tg_str bytes)
{
    tg_regex *regex = new_regex(arena, TG_REGEX_TEXT);
    char *copy = regex ? tg_arena_strdup(arena, bytes) : NULL;
    if (!copy)
        return NULL;
    regex->text = (tg_str){copy, bytes.len};
    return regex;
}

static int compare_points(const void *a, const void *b)
{
    const tg_points *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

const tg_regex *tg_regex_set(tg_arena *arena, const tg_points *points, size_t len)
{
    tg_regex *regex = new_regex(arena, TG_REGEX_SET);
    tg_points *own = regex ? tg_arena_alloc(arena, (len + 1) * sizeof(*own)) : NULL;
    size_t kept = 0;
    if (!own)
        return NULL;
    if (len > 0)
        memcpy(own, points, len * sizeof(*own));
    qsort(own, len, sizeof(*own), compare_points);
    for (size_t i = 0; i < len; i++) {
        if (kept > 0 && own[i].first <= own[kept - 1].last + 1)
            own[kept - 1].last =
                own[i].last > own[kept - 1].last ? own[i].last : own[kept - 1].last;
        else
            own[kept++] = own[i];
    }
    regex->points = own;
    regex->points_len = kept;
    return regex;
}

static const tg_regex *pair(tg_arena *arena, tg_regex_kind kind, const tg_regex *a,
                            const tg_regex *b)
{
    tg_regex *regex = a && b ? new_regex(arena, kind) : NULL;
    if (regex) {
        regex->a = a;
        regex->b = b;
    }
    return regex;
}

const tg_regex *tg_regex_cat(tg_arena *arena, const tg_regex *a, const tg_regex *b)
{
    return pair(arena, TG_REGEX_CAT, a, b);
}
const tg_regex *tg_regex_alt(tg_arena *arena, const tg_regex *a, const tg_regex *b)
{
    return pair(arena, TG_REGEX_ALT, a, b);
}

const tg_regex *tg_regex_repeat(tg_arena *arena, const tg_regex *a, uint32_t least, uint32_t most)
{
    tg_regex *regex = a ? new_regex(arena, TG_REGEX_REPEAT) : NULL;
    if (regex) {
        regex->a = a;
        regex->least = least;
        regex->most = most;
    }
    return regex;
}

/* All code points that are not in an ascending list. */
static const tg_regex *opposite(tg_arena *arena, const tg_regex *set)
{
    tg_points *points = set ? tg_arena_alloc(arena, (set->points_len + 1) * sizeof(*points)) : NULL;
    uint32_t next = 0;
    size_t len = 0;
    if (!points)
        return NULL;
    for (size_t i = 0; i < set->points_len; i++) {
        if (set->points[i].first > next)
            points[len++] = (tg_points){next, set->points[i].first - 1};
        next = set->points[i].last + 1;
    }
    if (next <= POINT_MAX)
        points[len++] = (tg_points){next, POINT_MAX};
    return tg_regex_set(arena, points, len);
}

/* ---- parsing ---- */

typedef struct parser {
    tg_str text;
    size_t at;
    tg_arena *arena;
    tg_error *err;
    uint32_t depth;
} parser;

static int bad(const parser *p, int rc, const char *what)
{
    return tg_error_set(p->err, rc, "in the regular expression, at byte %zu: %s", p->at, what);
}

static int peek(const parser *p)
{
    return p->at < p->text.len ? (unsigned char)p->text.data[p->at] : -1;
}
static bool accept(parser *p, char c)
{
    const bool is = peek(p) == (unsigned char)c;
    p->at += is;
    return is;
}

static uint32_t next_point(parser *p)
{
    const unsigned char *s = (const unsigned char *)p->text.data + p->at;
    const size_t len = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t point = len == 1 ? s[0] : s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        point = point << 6 | (s[i] & 0x3f);
    p->at += len;
    return point;
}

static int hex(parser *p, size_t least, size_t most, uint32_t *ret)
{
    size_t digits = 0;
    *ret = 0;
    for (; digits < most; digits++, p->at++) {
        const int c = peek(p);
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            break;
        *ret = *ret << 4 | (uint32_t)digit;
    }
    return digits >= least && *ret <= POINT_MAX
               ? 0
               : bad(p, -EINVAL, "hexadecimal digits of a code point are expected");
}

static const tg_points digit_points[] = {{'0', '9'}};
static const tg_points word_points[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const tg_points space_points[] = {
    {'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const tg_points line_points[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

/* Behind a backslash: a set, or one code point. */
static int parse_escape(parser *p, const tg_regex **ret)
{
    static const char names[] = "ntrfv0", values[] = "\n\t\r\f\v\0";
    const int c = peek(p);
    uint32_t point = (uint32_t)c;
    int rc = 0;
    *ret = NULL;
    if (c <= 0)
        return bad(p, -EINVAL, "a backslash at the end");
    if (strchr("dDwWsS", c)) {
        const int low = c | 0x20;
        const tg_regex *set = low == 'd' ? tg_regex_set(p->arena, digit_points, 1)
                              : low == 'w'
                                  ? tg_regex_set(p->arena, word_points, 4)
                                  : tg_regex_set(p->arena, space_points,
                                                 sizeof(space_points) / sizeof(*space_points));
        p->at++;
        *ret = c == low ? set : opposite(p->arena, set);
        return *ret ? 0 : -ENOMEM;
    }
    if (strchr("bBpPkc", c) || (c >= '1' && c <= '9'))
        return bad(p, -ENOTSUP,
                   "this escape is not supported (word boundaries, backreferences and Unicode "
                   "properties are not)");
    const char *known = strchr(names, c);
    if (known) {
        point = (unsigned char)values[known - names];
        p->at++;
    } else if (c == 'x' || c == 'u') {
        p->at++;
        const bool braces = c == 'u' && accept(p, '{');
        rc = braces ? hex(p, 1, 6, &point) : c == 'u' ? hex(p, 4, 4, &point) : hex(p, 2, 2, &point);
        if (rc == 0 && braces && !accept(p, '}'))
            rc = bad(p, -EINVAL, "'}' is expected");
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        return bad(p, -EINVAL, "no such escape");
    } else {
        point = next_point(p);
    }
    if (rc < 0)
        return rc;
    *ret = tg_regex_set(p->arena, &(tg_points){point, point}, 1);
    return *ret ? 0 : -ENOMEM;
}

static int parse_class_item(parser *p, const tg_regex **ret)
{
    if (accept(p, '\\')) {
        if (accept(p, 'b')) { /* in a class it is a backspace */
            *ret = tg_regex_set(p->arena, &(tg_points){8, 8}, 1);
            return *ret ? 0 : -ENOMEM;
        }
        if (accept(p, '-')) {
            *ret = tg_regex_set(p->arena, &(tg_points){'-', '-'}, 1);
            return *ret ? 0 : -ENOMEM;
        }
        return parse_escape(p, ret);
    }
    const uint32_t point = next_point(p);
    *ret = tg_regex_set(p->arena, &(tg_points){point, point}, 1);
    return *ret ? 0 : -ENOMEM;
}

static bool is_one(const tg_regex *set)
{
    return set->points_len == 1 && set->points[0].first == set->points[0].last;
}

/* Behind '['. */
static int parse_class(parser *p, const tg_regex **ret)
{
    tg_points points[512];
    size_t len = 0;
    const bool negated = accept(p, '^');
    while (!accept(p, ']')) {
        const tg_regex *item, *last;
        if (peek(p) < 0)
            return bad(p, -EINVAL, "this class does not end");
        int rc = parse_class_item(p, &item);
        if (rc < 0)
            return rc;
        if (len + item->points_len > sizeof(points) / sizeof(*points))
            return bad(p, -ENOTSUP, "this class has more ranges than are supported");
        if (is_one(item) && peek(p) == '-' && p->at + 1 < p->text.len &&
            p->text.data[p->at + 1] != ']') {
            p->at++;
            rc = parse_class_item(p, &last);
            if (rc < 0)
                return rc;
            if (!is_one(last) || last->points[0].first < item->points[0].first)
                return bad(p, -EINVAL, "this range runs backwards");
            points[len++] = (tg_points){item->points[0].first, last->points[0].first};
            continue;
        }
        memcpy(points + len, item->points, item->points_len * sizeof(*points));
        len += item->points_len;
    }
    *ret = tg_regex_set(p->arena, points, len);
    if (negated)
        *ret = opposite(p->arena, *ret);
    return *ret ? 0 : -ENOMEM;
}

static int parse_alternatives(parser *p, bool top, bool whole, const tg_regex **ret);

/* Behind '('. */
static int parse_group(parser *p, const tg_regex **ret)
{
    if (accept(p, '?') && !accept(p, ':')) {
        const bool named = peek(p) == '<' && p->at + 1 < p->text.len &&
                           p->text.data[p->at + 1] != '=' && p->text.data[p->at + 1] != '!';
        if (!named)
            return bad(p, -ENOTSUP, "look-around and flags are not supported");
        while (peek(p) >= 0 && peek(p) != '>')
            p->at++;
        p->at++;
    }
    if (++p->depth > TG_REGEX_DEPTH_MAX)
        return bad(p, -ENOTSUP, "groups are nested deeper than is supported");
    int rc = parse_alternatives(p, false, true, ret);
    p->depth--;
    if (rc == 0 && !accept(p, ')'))
        rc = bad(p, -EINVAL, "')' is expected");
    return rc;
}

static int parse_atom(parser *p, const tg_regex **ret)
{
    const int c = peek(p);
    if (c == '(' || c == '[' || c == '\\') {
        p->at++;
        return c == '('   ? parse_group(p, ret)
               : c == '[' ? parse_class(p, ret)
                          : parse_escape(p, ret);
    }
    if (strchr("*+?{}|)]", c))
        return bad(p, -EINVAL,
                   c == '{' || c == '}' || c == ']' ? "this character must be escaped"
                                                    : "nothing stands before this quantifier");
    if (c == '^' || c == '$')
        return bad(p, -ENOTSUP,
                   "'^' and '$' are supported at the two ends of the whole expression only");
    if (c == '.') {
        p->at++;
        *ret = opposite(p->arena, tg_regex_set(p->arena, line_points, 3));
    } else {
        const uint32_t point = next_point(p);
        *ret = tg_regex_set(p->arena, &(tg_points){point, point}, 1);
    }
    return *ret ? 0 : -ENOMEM;
}

static int parse_count(parser *p, uint32_t *ret)
{
    const size_t first = p->at;
    *ret = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        *ret = *ret * 10 + (uint32_t)(peek(p) - '0');
        if (*ret > TG_REGEX_REPEAT_MAX)
            return bad(p, -ENOTSUP, "a count above 4096 is not supported");
    }
    return p->at > first ? 0 : bad(p, -EINVAL, "a count is expected");
}

static int parse_repeat(parser *p, const tg_regex **atom)
{
    uint32_t least = 0, most = UINT32_MAX;
    int rc = 0;
    switch (peek(p)) {
    case '*': break;
    case '+': least = 1; break;
    case '?': most = 1; break;
    case '{':
        p->at++;
        rc = parse_count(p, &least);
        most = least;
        if (rc == 0 && accept(p, ',')) {
            most = UINT32_MAX;
            if (peek(p) != '}')
                rc = parse_count(p, &most);
        }
        if (rc == 0 && (peek(p) != '}' || most < least))
            rc = bad(p, -EINVAL, "{n}, {n,} or {n,m} with n ≤ m is expected");
        break;
    default: return 0;
    }
    if (rc < 0)
        return rc;
    p->at++;
    accept(p, '?'); /* lazy: the same texts */
    *atom = tg_regex_repeat(p->arena, *atom, least, most);
    if (!*atom)
        return -ENOMEM;
    return strchr("*+?{", peek(p) < 0 ? 'x' : peek(p))
               ? bad(p, -EINVAL, "nothing stands before this quantifier")
               : 0;
}

/* One alternative. At the top `whole` says whether any text may stand around it. */
static int parse_sequence(parser *p, bool top, bool whole, const tg_regex **ret)
{
    const tg_regex *any =
        top && !whole
            ? tg_regex_repeat(p->arena, tg_regex_set(p->arena, &(tg_points){0, POINT_MAX}, 1), 0,
                              UINT32_MAX)
            : tg_regex_text(p->arena, (tg_str){"", 0});
    const tg_regex *all = tg_regex_text(p->arena, (tg_str){"", 0});
    if (!any || !all)
        return -ENOMEM;
    if (!top || !accept(p, '^'))
        all = any;
    while (peek(p) >= 0 && peek(p) != '|' && peek(p) != ')') {
        const tg_regex *atom;
        if (top && peek(p) == '$' && (p->at + 1 == p->text.len || p->text.data[p->at + 1] == '|')) {
            p->at++;
            *ret = all;
            return 0;
        }
        int rc = parse_atom(p, &atom);
        if (rc == 0)
            rc = parse_repeat(p, &atom);
        if (rc < 0)
            return rc;
        all = tg_regex_cat(p->arena, all, atom);
        if (!all)
            return -ENOMEM;
    }
    *ret = tg_regex_cat(p->arena, all, any);
    return *ret ? 0 : -ENOMEM;
}

static int parse_alternatives(parser *p, bool top, bool whole, const tg_regex **ret)
{
    int rc = parse_sequence(p, top, whole, ret);
    while (rc == 0 && accept(p, '|')) {
        const tg_regex *other = NULL;
        rc = parse_sequence(p, top, whole, &other);
        if (rc == 0)
            *ret = tg_regex_alt(p->arena, *ret, other);
        if (rc == 0 && !*ret)
            rc = -ENOMEM;
    }
    return rc;
}

int tg_regex_parse(tg_str pattern, bool whole, tg_arena *arena, tg_error *err, const tg_regex **ret)
{
    parser p = {.text = pattern, .arena = arena, .err = err};
    if (pattern.len > TG_REGEX_BYTES_MAX)
        return tg_error_set(err, -EINVAL,
                            "a regular expression of %zu bytes; at most %d are allowed",
                            pattern.len, TG_REGEX_BYTES_MAX);
    if (!tg_utf8_valid(pattern.data, pattern.len))
        return tg_error_set(err, -EINVAL, "the regular expression is not valid UTF-8");
    int rc = parse_alternatives(&p, true, whole, ret);
    if (rc == 0 && p.at < pattern.len)
        rc = bad(&p, -EINVAL, "')' without '('");
    return rc;
}

/* ---- inside a JSON string ---- */

static size_t escape_of(uint32_t point, char to[8])
{
    static const char from[] = "\"\\\b\f\n\r\t", into[] = "\"\\bfnrt";
    const char *known = point > 0 && point < 0x80 ? strchr(from, (int)point) : NULL;
    static const char digits[] = "0123456789abcdef";
    if (known) {
        to[0] = '\\';
        to[1] = into[known - from];
        return 2;
    }
    memcpy(to, "\\u00", 4);
    to[4] = digits[point >> 4 & 15];
    to[5] = digits[point & 15];
    return 6;
}

static bool must_escape(uint32_t point) { return point < 0x20 || point == '"' || point == '\\'; }

static const tg_regex *set_in_json(tg_arena *arena, const tg_regex *set)
{
    tg_points *plain = tg_arena_alloc(arena, (set->points_len + 3) * sizeof(*plain));
    const tg_regex *escaped = NULL;
    size_t len = 0;
    if (!plain)
        return NULL;
    for (size_t i = 0; i < set->points_len; i++) {
        uint32_t first = set->points[i].first;
        const uint32_t last = set->points[i].last;
        for (uint32_t point = first; point <= last && point <= '\\'; point++) {
            char text[8];
            if (!must_escape(point))
                continue;
            const tg_regex *one = tg_regex_text(arena, (tg_str){text, escape_of(point, text)});
            escaped = escaped ? tg_regex_alt(arena, escaped, one) : one;
            if (!escaped)
                return NULL;
            if (point > first)
                plain[len++] = (tg_points){first, point - 1};
            first = point + 1;
        }
        if (first <= last)
            plain[len++] = (tg_points){first, last};
    }
    const tg_regex *rest = tg_regex_set(arena, plain, len);
    return !escaped ? rest : len == 0 ? escaped : tg_regex_alt(arena, rest, escaped);
}

const tg_regex *tg_regex_in_json(tg_arena *arena, const tg_regex *regex)
{
    if (!regex)
        return NULL;
    switch (regex->kind) {
    case TG_REGEX_SET: return set_in_json(arena, regex);
    case TG_REGEX_CAT:
    case TG_REGEX_ALT:
        return pair(arena, regex->kind, tg_regex_in_json(arena, regex->a),
                    tg_regex_in_json(arena, regex->b));
    case TG_REGEX_REPEAT:
        return tg_regex_repeat(arena, tg_regex_in_json(arena, regex->a), regex->least, regex->most);
    default: return regex; /* the only text a parsed expression has is the empty one */
    }
}
