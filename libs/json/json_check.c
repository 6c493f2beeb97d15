#include "libs/json/json_check.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct checker {
    const char *at, *end;
    tg_str text;
    tg_error *err;
    unsigned depth;
} checker;

/* Columns count bytes from 1, as compilers do. */
int tg_json_error(tg_error *err, tg_str text, size_t position, const char *reason)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < position && i < text.len; i++) {
        column++;
        if (text.data[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return tg_error_set(err, -EINVAL, "line %zu, column %zu: %s", line, column, reason);
}

static int fail(checker *c, const char *reason)
{
    return tg_json_error(c->err, c->text, (size_t)(c->at - c->text.data), reason);
}

static void skip_space(checker *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The code unit of the \uXXXX that starts at `at`, or -1. */
static int escape_unit(const char *at, const char *end)
{
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    int unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static int check_escape(checker *c)
{
    if (c->end - c->at < 2 || !strchr("\"\\/bfnrtu", c->at[1]) || c->at[1] == '\0')
        return fail(c, "unknown escape in a string");
    if (c->at[1] != 'u') {
        c->at += 2;
        return 0;
    }
    int unit = escape_unit(c->at, c->end);
    if (unit < 0)
        return fail(c, "\\u needs four hexadecimal digits");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return fail(c, "the second half of a surrogate pair stands alone");
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        int low = escape_unit(c->at + 6, c->end);
        if (low < 0xDC00 || low > 0xDFFF)
            return fail(c, "the first half of a surrogate pair stands alone");
        c->at += 6;
    }
    c->at += 6;
    return 0;
}

static int check_string(checker *c)
{
    const char *open = c->at++;
    while (c->at < c->end && *c->at != '"') {
        unsigned char byte = (unsigned char)*c->at;
        if (byte == '\\') {
            int rc = check_escape(c);
            if (rc < 0)
                return rc;
        } else if (byte < 0x20) {
            return fail(c, "control character in a string; write it as an escape");
        } else if (byte < 0x80) {
            c->at++;
        } else {
            size_t len = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
            if ((size_t)(c->end - c->at) < len || !tg_utf8_valid(c->at, len))
                return fail(c, "invalid UTF-8 in a string");
            c->at += len;
        }
    }
    if (c->at == c->end) {
        c->at = open;
        return fail(c, "this string has no end");
    }
    c->at++;
    return 0;
}

static size_t skip_digits(checker *c)
{
    const char *from = c->at;
    while (c->at < c->end && is_digit(*c->at))
        c->at++;
    return (size_t)(c->at - from);
}

/* Integers must fit uint64 or int64, other numbers a finite double: nothing is silently changed. */
static int check_number_range(checker *c, const char *from, bool integer)
{
    size_t len = (size_t)(c->at - from);
    char *copy = malloc(len + 1);
    if (!copy)
        return tg_error_set(c->err, -ENOMEM, "out of memory");
    memcpy(copy, from, len);
    copy[len] = '\0';
    errno = 0;
    if (integer && copy[0] == '-')
        (void)strtoll(copy, NULL, 10);
    else if (integer)
        (void)strtoull(copy, NULL, 10);
    bool bad = integer ? errno == ERANGE : isinf(strtod(copy, NULL));
    free(copy);
    if (!bad)
        return 0;
    c->at = from;
    return fail(c, "number out of range");
}

static int check_number(checker *c)
{
    const char *from = c->at;
    bool integer = true;
    if (*c->at == '-')
        c->at++;
    const char *first = c->at;
    size_t digits = skip_digits(c);
    if (digits == 0)
        return fail(c, "a digit is missing");
    if (digits > 1 && *first == '0') {
        c->at = first;
        return fail(c, "a number must not start with 0");
    }
    if (c->at < c->end && *c->at == '.') {
        integer = false;
        c->at++;
        if (skip_digits(c) == 0)
            return fail(c, "a digit is missing after the point");
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        integer = false;
        c->at++;
        if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
            c->at++;
        if (skip_digits(c) == 0)
            return fail(c, "a digit is missing in the exponent");
    }
    return check_number_range(c, from, integer);
}

static int check_word(checker *c)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(c->end - c->at) >= len && memcmp(c->at, words[i], len) == 0) {
            c->at += len;
            return 0;
        }
    }
    return fail(c, "expected a value");
}

static int check_value(checker *c);

static int check_member(checker *c)
{
    if (c->at == c->end || *c->at != '"')
        return fail(c, "expected a key in double quotes");
    int rc = check_string(c);
    if (rc < 0)
        return rc;
    skip_space(c);
    if (c->at == c->end || *c->at != ':')
        return fail(c, "expected ':' after the key");
    c->at++;
    return check_value(c);
}

static int check_container(checker *c, char close, int (*check_item)(checker *),
                           const char *expected)
{
    if (++c->depth > TG_JSON_DEPTH_MAX)
        return fail(c, "nested deeper than 64 levels");
    c->at++;
    skip_space(c);
    bool more = c->at == c->end || *c->at != close;
    while (more) {
        skip_space(c);
        int rc = check_item(c);
        if (rc < 0)
            return rc;
        skip_space(c);
        if (c->at == c->end || (*c->at != ',' && *c->at != close))
            return fail(c, expected);
        more = *c->at == ',';
        if (more)
            c->at++;
    }
    c->at++;
    c->depth--;
    return 0;
}

static int check_value(checker *c)
{
    skip_space(c);
    if (c->at == c->end)
        return fail(c, "the text ends where a value should stand");
    switch (*c->at) {
    case '{':
        return check_container(c, '}', check_member, "expected ',' or '}'");
    case '[':
        return check_container(c, ']', check_value, "expected ',' or ']'");
    case '"':
        return check_string(c);
    default:
        return *c->at == '-' || is_digit(*c->at) ? check_number(c) : check_word(c);
    }
}

int tg_json_check(tg_str text, tg_error *err)
{
    if (text.len == 0)
        return tg_error_set(err, -EINVAL, "line 1, column 1: the JSON text is empty");
    checker c = {.at = text.data, .end = text.data + text.len, .text = text, .err = err};
    int rc = check_value(&c);
    if (rc < 0)
        return rc;
    skip_space(&c);
    return c.at == c.end ? 0 : fail(&c, "something follows the value");
}

int tg_json_check_escapes(tg_str text, tg_error *err)
{
    checker c = {.at = text.data, .end = text.data + text.len, .text = text, .err = err};
    while ((c.at = memchr(c.at, '\\', (size_t)(c.end - c.at))) != NULL) {
        int rc = check_escape(&c);
        if (rc < 0)
            return rc;
    }
    return 0;
}

size_t tg_json_nth_string(tg_str text, size_t nth)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '"')
            continue;
        if (nth-- == 0)
            return i;
        for (i++; i < text.len && text.data[i] != '"'; i++)
            i += text.data[i] == '\\';
    }
    return text.len;
}
