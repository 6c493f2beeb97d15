#include "services/inference/answer/call.h"

#include <errno.h>
#include <string.h>

enum {
    BEFORE,
    FIRST_KEY,
    KEY,
    IN_KEY,
    COLON,
    VALUE,
    IN_NAME,
    IN_TEXT,
    IN_BOX,
    IN_SCALAR,
    AFTER_VALUE,
    ARGUMENTS_ONLY
};
enum { NAME, ARGUMENTS, TYPE, OTHER };

void tg_call_init(tg_call_reader *r)
{
    memset(r, 0, sizeof *r);
    tg_buf_init(&r->name, TG_CALL_NAME_MAX);
    tg_buf_init(&r->key, 16);
    tg_buf_init(&r->arguments, TG_CALL_HELD_MAX);
}

int tg_call_make_room(tg_call_reader *r)
{
    int rc = tg_buf_reserve(&r->name, TG_CALL_NAME_MAX);
    if (rc == 0)
        rc = tg_buf_reserve(&r->key, r->key.limit);
    return rc < 0 ? rc : tg_buf_reserve(&r->arguments, TG_CALL_NAME_MAX);
}

void tg_call_free(tg_call_reader *r)
{
    tg_buf_free(&r->name);
    tg_buf_free(&r->key);
    tg_buf_free(&r->arguments);
}

void tg_call_begin(tg_call_reader *r, bool only_known)
{
    r->state = BEFORE;
    r->only_known = only_known;
    r->named = r->begun = r->string = r->escape = false;
    r->depth = r->hex_left = 0;
    r->high = 0;
    tg_buf_clear(&r->name);
    tg_buf_clear(&r->arguments);
}

int tg_call_begin_arguments(tg_call_reader *r, tg_str name)
{
    tg_call_begin(r, false);
    r->state = ARGUMENTS_ONLY;
    r->member = ARGUMENTS;
    r->named = true;
    return tg_buf_add_str(&r->name, name);
}

bool tg_call_ready(const tg_call_reader *r) { return r->named && r->begun; }

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static int add_point(tg_buf *to, uint32_t u)
{
    char s[4];
    size_t n = u < 0x80 ? 1 : u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; u >>= 6)
        s[i] = (char)(0x80 | (u & 63));
    s[0] = (char)(n == 1 ? u : first[n] | u);
    return tg_buf_add(to, s, n);
}

/* A whole \uXXXX. Surrogates that are no pair become U+FFFD, and so does NUL, which ends texts
 * elsewhere. */
static int add_unit(tg_call_reader *r, tg_buf *to)
{
    const uint32_t u = r->unit, high = r->high;
    int rc = 0;
    r->high = 0;
    if (high && u >= 0xDC00 && u < 0xE000)
        return add_point(to, 0x10000 + ((high - 0xD800) << 10) + (u - 0xDC00));
    if (high)
        rc = add_point(to, 0xFFFD);
    if (u >= 0xD800 && u < 0xDC00) {
        r->high = (uint16_t)u;
        return rc;
    }
    return rc < 0 ? rc : add_point(to, u == 0 || (u >= 0xDC00 && u < 0xE000) ? 0xFFFD : u);
}

static int lone_high(tg_call_reader *r, tg_buf *to)
{
    const bool lone = r->high != 0;
    r->high = 0;
    return lone ? add_point(to, 0xFFFD) : 0;
}

static int escaped(tg_call_reader *r, char c, tg_buf *to)
{
    static const char from[] = "\"\\/bfnrt", is[] = "\"\\/\b\f\n\r\t";
    r->escape = false;
    if (c == 'u') {
        r->hex_left = 4;
        r->unit = 0;
        return 0;
    }
    const char *known = c ? strchr(from, c) : NULL;
    int rc = lone_high(r, to);
    return rc < 0 ? rc : known ? tg_buf_add_char(to, is[known - from]) : -EINVAL;
}

static int hex(tg_call_reader *r, char c, tg_buf *to)
{
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0)
        return -EINVAL;
    r->unit = (uint16_t)(r->unit << 4 | digit);
    return --r->hex_left > 0 ? 0 : add_unit(r, to);
}

/* A byte inside a string, whose text goes to `to`. 1 at its end, 0 within, negative for what no
 * string holds. */
static int text_byte(tg_call_reader *r, char c, tg_buf *to)
{
    if (r->hex_left > 0)
        return hex(r, c, to);
    if (r->escape)
        return escaped(r, c, to);
    if (c == '\\') {
        r->escape = true;
        return 0;
    }
    int rc = lone_high(r, to);
    if (c == '"')
        return rc < 0 ? rc : 1;
    return rc < 0 ? rc : tg_buf_add_char(to, c);
}

static tg_call_step end_key(tg_call_reader *r)
{
    const tg_str key = tg_buf_str(&r->key);
    r->member = tg_str_is(key, "name") ? NAME
                : tg_str_is(key, "arguments") || tg_str_is(key, "parameters") ? ARGUMENTS
                : tg_str_is(key, "type") ? TYPE : OTHER;
    const bool again = (r->member == NAME && r->named) || (r->member == ARGUMENTS && r->begun);
    r->state = COLON;
    return again || (r->only_known && r->member == OTHER) ? TG_CALL_BROKEN : TG_CALL_MORE;
}

/* The raw bytes of a value: those of arguments are told. */
static tg_call_step raw(tg_call_reader *r, char c)
{
    return r->member == ARGUMENTS && tg_buf_add_char(&r->arguments, c) < 0 ? TG_CALL_BROKEN
                                                                           : TG_CALL_MORE;
}

static tg_call_step end_value(tg_call_reader *r)
{
    r->named |= r->member == NAME;
    r->state = AFTER_VALUE;
    return TG_CALL_MORE;
}

static bool is_scalar(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '+' || c == '.';
}

static tg_call_step open_box(tg_call_reader *r, char c)
{
    if (r->depth == TG_CALL_NEST_MAX)
        return TG_CALL_BROKEN;
    const uint64_t bit = (uint64_t)1 << r->depth++;
    r->arrays = c == '[' ? r->arrays | bit : r->arrays & ~bit;
    return raw(r, c);
}

static tg_call_step box_byte(tg_call_reader *r, char c)
{
    if (r->string) {
        if (r->escape)
            r->escape = false;
        else if (c == '\\')
            r->escape = true;
        else if (c == '"')
            r->string = false;
        return raw(r, c);
    }
    if (c == '{' || c == '[')
        return open_box(r, c);
    if (c == '}' || c == ']') {
        if ((r->arrays >> (r->depth - 1) & 1) != (c == ']'))
            return TG_CALL_BROKEN;
        r->depth--;
        const tg_call_step step = raw(r, c);
        return step != TG_CALL_MORE || r->depth > 0 ? step : end_value(r);
    }
    if (c == '"')
        r->string = true;
    else if (!is_scalar(c) && !is_space(c) && c != ',' && c != ':')
        return TG_CALL_BROKEN;
    return raw(r, c);
}

static tg_call_step value(tg_call_reader *r, char c)
{
    if (is_space(c))
        return TG_CALL_MORE;
    r->begun |= r->member == ARGUMENTS;
    if (r->member == NAME && c != '"')
        return TG_CALL_BROKEN;
    if (c == '"') {
        r->state = r->member == NAME ? IN_NAME : IN_TEXT;
        return TG_CALL_MORE;
    }
    if (c == '{' || c == '[') {
        r->state = IN_BOX;
        return open_box(r, c);
    }
    r->state = IN_SCALAR;
    return is_scalar(c) ? raw(r, c) : TG_CALL_BROKEN;
}

static tg_call_step after_value(tg_call_reader *r, char c)
{
    if (is_space(c))
        return TG_CALL_MORE;
    if (c == ',') {
        r->state = KEY;
        return TG_CALL_MORE;
    }
    if (c != '}' || !r->named || (r->only_known && !r->begun))
        return TG_CALL_BROKEN;
    if (!r->begun && tg_buf_add_text(&r->arguments, "{}") < 0) /* a tool without arguments */
        return TG_CALL_BROKEN;
    r->begun = true;
    return TG_CALL_DONE;
}

static tg_call_step in_text(tg_call_reader *r, char c)
{
    const bool skipped = r->state == IN_TEXT && r->member != ARGUMENTS;
    tg_buf *to = r->state == IN_NAME               ? &r->name
                 : r->state == IN_TEXT && !skipped ? &r->arguments
                                                   : &r->key;
    if (skipped)
        tg_buf_clear(&r->key);
    int rc = text_byte(r, c, to);
    if (rc == -ENOSPC && to == &r->key) /* a key that is longer than those we know */
        rc = 0;
    if (rc < 0)
        return TG_CALL_BROKEN;
    if (rc == 0)
        return TG_CALL_MORE;
    return r->state == IN_KEY ? end_key(r) : end_value(r);
}

static tg_call_step in_scalar(tg_call_reader *r, char c)
{
    if (is_scalar(c))
        return raw(r, c);
    const tg_call_step step = end_value(r);
    return step == TG_CALL_MORE ? after_value(r, c) : step;
}

static tg_call_step key(tg_call_reader *r, char c)
{
    if (is_space(c))
        return TG_CALL_MORE;
    if (c != '"')
        return TG_CALL_BROKEN;
    tg_buf_clear(&r->key);
    r->state = IN_KEY;
    return TG_CALL_MORE;
}

tg_call_step tg_call_push(tg_call_reader *r, char c)
{
    switch (r->state) {
    case BEFORE:
        r->state = c == '{' ? FIRST_KEY : r->state;
        return c == '{' || is_space(c) ? TG_CALL_MORE : TG_CALL_BROKEN;
    case FIRST_KEY:
    case KEY: return key(r, c);
    case COLON:
        r->state = c == ':' ? VALUE : r->state;
        return c == ':' || is_space(c) ? TG_CALL_MORE : TG_CALL_BROKEN;
    case VALUE: return value(r, c);
    case IN_KEY:
    case IN_NAME:
    case IN_TEXT: return in_text(r, c);
    case IN_BOX: return box_byte(r, c);
    case IN_SCALAR: return in_scalar(r, c);
    case ARGUMENTS_ONLY:
        if (r->depth == 0) {
            r->begun = true;
            return is_space(c) ? TG_CALL_MORE : c == '{' ? open_box(r, c) : TG_CALL_BROKEN;
        }
        if (box_byte(r, c) == TG_CALL_BROKEN)
            return TG_CALL_BROKEN;
        return r->depth == 0 ? TG_CALL_DONE : TG_CALL_MORE;
    default: return after_value(r, c);
    }
}
