/* JSON text as a template's values, all of them data. */
#include "services/inference/template/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    tg_render *r;
    tg_str src;
    size_t at;
} reader;

static tg_value read_value(reader *j, int depth);

static void refuse(reader *j, const char *what)
{
    tg_render_fail(j->r, -EINVAL, "variables: %s at byte %zu of the JSON text", what, j->at);
}

static char peek(const reader *j) { return j->at < j->src.len ? j->src.data[j->at] : '\0'; }

static void spaces(reader *j)
{
    while (j->at < j->src.len && strchr(" \t\r\n", peek(j)) && peek(j))
        j->at++;
}

static bool accept(reader *j, char c)
{
    spaces(j);
    if (peek(j) != c)
        return false;
    j->at++;
    return true;
}

static uint32_t read_hex(reader *j)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        char c = peek(j);
        const char *hex = "0123456789abcdef", *digit = strchr(hex, c >= 'A' && c <= 'F' ? c + 32 : c);
        if (!c || !digit) {
            refuse(j, "a broken \\u");
            return 0xFFFD;
        }
        value = value * 16 + (uint32_t)(digit - hex);
    }
    return value;
}

static size_t read_unicode(reader *j, char *to)
{
    uint32_t c = read_hex(j);
    if (c >= 0xD800 && c < 0xDC00 && j->at + 1 < j->src.len && peek(j) == '\\' && j->src.data[j->at + 1] == 'u') {
        j->at += 2;
        uint32_t low = read_hex(j);
        c = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
    }
    if (c >= 0xD800 && c < 0xE000)
        c = 0xFFFD;
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t heads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 63));
    to[0] = (char)(heads[len] | c);
    return len;
}

static tg_value read_string(reader *j)
{
    size_t end = j->at, len = 0;
    while (end < j->src.len && j->src.data[end] != '"')
        end += j->src.data[end] == '\\' ? 2 : 1;
    char *to = end < j->src.len ? tg_arena_alloc(&j->r->arena, end - j->at + 1) : NULL;
    if (!to) {
        refuse(j, end < j->src.len ? "a string too long" : "a string without its end");
        return (tg_value){0};
    }
    while (j->r->rc == 0 && j->at < end) {
        char c = j->src.data[j->at++];
        if ((unsigned char)c < 32)
            refuse(j, "a control character");
        if (c != '\\') {
            to[len++] = c;
            continue;
        }
        static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
        c = j->src.data[j->at++];
        const char *known = c ? strchr(from, c) : NULL;
        if (c == 'u')
            len += read_unicode(j, to + len);
        else if (known)
            to[len++] = into[known - from];
        else
            refuse(j, "an unknown escape");
    }
    j->at = end + 1;
    return tg_value_bytes(j->r, to, len, false);
}

static tg_value read_number(reader *j)
{
    char text[64], *end;
    size_t len = 0;
    while (len < sizeof(text) - 1 && j->at < j->src.len && peek(j) && strchr("+-0123456789.eE", peek(j)))
        text[len++] = j->src.data[j->at++];
    text[len] = '\0';
    errno = 0;
    bool real = strpbrk(text, ".eE") != NULL;
    tg_value v = real ? (tg_value){.kind = TG_VALUE_FLOAT, .f = strtod(text, &end)}
                      : tg_value_int(strtoll(text, &end, 10));
    if (len == 0 || *end || (!real && errno == ERANGE))
        refuse(j, "a value that cannot be read");
    return v;
}

static bool word(reader *j, const char *text)
{
    size_t len = strlen(text);
    if (j->src.len - j->at < len || memcmp(j->src.data + j->at, text, len) != 0)
        return false;
    j->at += len;
    return true;
}

static tg_value read_box(reader *j, bool dict, int depth)
{
    tg_value box = tg_value_list(j->r, dict ? TG_VALUE_DICT : TG_VALUE_LIST), key = {0};
    char close = dict ? '}' : ']';
    if (accept(j, close))
        return box;
    while (j->r->rc == 0) {
        if (dict) {
            if (!accept(j, '"'))
                refuse(j, "a key is missing");
            else
                key = read_string(j);
            if (j->r->rc == 0 && !accept(j, ':'))
                refuse(j, "a ':' is missing");
            if (j->r->rc == 0 && tg_dict_get(box.list, &key))
                refuse(j, "a key for the second time");
        }
        tg_value v = read_value(j, depth + 1);
        if (dict)
            tg_dict_set(j->r, box.list, key, v);
        else
            tg_list_add(j->r, box.list, v);
        if (accept(j, close))
            break;
        if (!accept(j, ','))
            refuse(j, "a ',' is missing");
    }
    return box;
}

static tg_value read_value(reader *j, int depth)
{
    if (depth > TG_TEMPLATE_DEPTH_MAX)
        refuse(j, "nested too deep");
    if (!tg_render_step(j->r, 1))
        return (tg_value){0};
    if (accept(j, '"'))
        return read_string(j);
    if (accept(j, '{'))
        return read_box(j, true, depth);
    if (accept(j, '['))
        return read_box(j, false, depth);
    if (word(j, "true"))
        return tg_value_bool(true);
    if (word(j, "false"))
        return tg_value_bool(false);
    if (word(j, "null"))
        return (tg_value){.kind = TG_VALUE_NONE};
    return read_number(j);
}

tg_value tg_json_value(tg_render *r, tg_str json)
{
    reader j = {r, json, 0};
    if (!tg_utf8_valid(json.data, json.len))
        refuse(&j, "text that is not UTF-8");
    tg_value v = read_value(&j, 0);
    spaces(&j);
    if (j.at != json.len)
        refuse(&j, "something after the end");
    return v;
}
