#include "libs/base/str.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

tg_str tg_str_of(const char *text) { return (tg_str){text, text ? strlen(text) : 0}; }

bool tg_str_eq(tg_str a, tg_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool tg_str_is(tg_str a, const char *text) { return tg_str_eq(a, tg_str_of(text)); }

bool tg_str_is_nocase(tg_str a, const char *text)
{
    size_t len = strlen(text);
    return a.len == len && (len == 0 || strncasecmp(a.data, text, len) == 0);
}

bool tg_str_starts(tg_str a, const char *prefix)
{
    size_t len = strlen(prefix);
    return a.len >= len && (len == 0 || memcmp(a.data, prefix, len) == 0);
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

tg_str tg_str_trim(tg_str a)
{
    while (a.len > 0 && is_space(a.data[0])) {
        a.data++;
        a.len--;
    }
    while (a.len > 0 && is_space(a.data[a.len - 1]))
        a.len--;
    return a;
}

int tg_str_u64(tg_str a, uint64_t *ret)
{
    uint64_t value = 0;
    if (a.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < a.len; i++) {
        if (a.data[i] < '0' || a.data[i] > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(a.data[i] - '0'), &value))
            return -ERANGE;
    }
    *ret = value;
    return 0;
}

bool tg_str_copy(char *to, size_t size, tg_str from)
{
    size_t len = from.len < size ? from.len : size - 1;
    if (len > 0)
        memcpy(to, from.data, len);
    to[len] = '\0';
    return len == from.len;
}

/* Length of the character at p (1..4), 0 when it is invalid, or -1 when it is a valid start cut
 * off. */
static int utf8_char(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    int len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    unsigned char low = 0x80, high = 0xbf;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= left)
            return -1;
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return len;
}

bool tg_utf8_valid(const char *data, size_t len)
{
    const unsigned char *p = (const unsigned char *)data;
    for (size_t i = 0; i < len;) {
        int step = utf8_char(p + i, len - i);
        if (step <= 0)
            return false;
        i += (size_t)step;
    }
    return true;
}

size_t tg_utf8_whole(const char *data, size_t len)
{
    const unsigned char *p = (const unsigned char *)data;
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        size_t at = len - back;
        if ((p[at] & 0xc0) == 0x80)
            continue;
        return utf8_char(p + at, back) == -1 ? at : len;
    }
    return len;
}

unsigned tg_str_distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b);
    unsigned row[MAX];
    if (n >= MAX || m >= MAX)
        return MAX;
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            unsigned edit = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < edit ? change : edit;
        }
    }
    return row[m];
}

const char *tg_str_nearest(const char *name, const char *const *names, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = (unsigned)strlen(name) / 3 + 1;
    for (size_t i = 0; i < count; i++) {
        unsigned distance = tg_str_distance(name, names[i]);
        if (distance <= best_distance && (!best || distance < best_distance)) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}

bool tg_equal_constant_time(const void *a, const void *b, size_t len)
{
    const volatile unsigned char *x = a, *y = b;
    unsigned char difference = 0;
    for (size_t i = 0; i < len; i++)
        difference = (unsigned char)(difference | (x[i] ^ y[i]));
    return difference == 0;
}
