/* Walks the top-level members of an object as text. It trusts the structure that tg_json_parse has
 * checked, but stays inside the text whatever it holds. */
#include "libs/json/json.h"

#include <string.h>

static size_t skip_space(tg_str text, size_t at)
{
    while (at < text.len && (text.data[at] == ' ' || text.data[at] == '\t' ||
                             text.data[at] == '\n' || text.data[at] == '\r'))
        at++;
    return at;
}

/* From the opening quote to after the closing one. */
static size_t skip_string(tg_str text, size_t at)
{
    for (at++; at < text.len;) {
        const char *quote = memchr(text.data + at, '"', text.len - at);
        if (!quote)
            return text.len;
        size_t end = (size_t)(quote - text.data), backslashes = 0;
        while (end - backslashes > at && text.data[end - backslashes - 1] == '\\')
            backslashes++;
        at = end + 1;
        if (backslashes % 2 == 0)
            return at;
    }
    return text.len;
}

static size_t skip_container(tg_str text, size_t at)
{
    size_t depth = 0;
    while (at < text.len) {
        char c = text.data[at];
        if (c == '"') {
            at = skip_string(text, at);
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            break;
    }
    return at;
}

static size_t skip_value(tg_str text, size_t at)
{
    if (at < text.len && text.data[at] == '"')
        return skip_string(text, at);
    if (at < text.len && (text.data[at] == '{' || text.data[at] == '['))
        return skip_container(text, at);
    while (at < text.len && !memchr(",}] \t\r\n", text.data[at], 7))
        at++;
    return at;
}

bool tg_json_raw_next(tg_str text, size_t *at, tg_json_member *ret)
{
    size_t i = skip_space(text, *at);
    if (i < text.len && (text.data[i] == '{' || text.data[i] == ','))
        i = skip_space(text, i + 1);
    if (i >= text.len || text.data[i] != '"')
        return false;
    size_t key = i, key_end = skip_string(text, i);
    i = skip_space(text, key_end);
    if (i >= text.len || text.data[i] != ':')
        return false;
    size_t value = skip_space(text, i + 1), value_end = skip_value(text, value);
    if (value_end == value)
        return false;
    ret->key_raw = (tg_str){text.data + key, key_end - key};
    ret->value_raw = (tg_str){text.data + value, value_end - value};
    *at = value_end;
    return true;
}

/* The next byte of a key's content; escapes of ASCII characters are undone, others give 0xFF, which
 * no key that code asks for contains. */
static unsigned char key_byte(const char *data, size_t len, size_t *at)
{
    unsigned char c = (unsigned char)data[(*at)++];
    if (c != '\\' || *at >= len)
        return c;
    c = (unsigned char)data[(*at)++];
    static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter)
        return (unsigned char)bytes[letter - letters];
    if (c != 'u')
        return c;
    unsigned unit = 0;
    for (int i = 0; i < 4 && *at < len; i++) {
        unsigned digit = (unsigned char)data[(*at)++];
        unit = unit * 16 + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    return unit < 0x80 ? (unsigned char)unit : 0xFF;
}

bool tg_json_raw_key_is(tg_str key_raw, const char *key)
{
    size_t len = strlen(key), matched = 0;
    if (key_raw.len < 2)
        return false;
    const char *data = key_raw.data + 1;
    if (!memchr(data, '\\', key_raw.len - 2))
        return key_raw.len - 2 == len && memcmp(data, key, len) == 0;
    for (size_t at = 0; at < key_raw.len - 2; matched++)
        if (matched >= len || key_byte(data, key_raw.len - 2, &at) != (unsigned char)key[matched])
            return false;
    return matched == len;
}
