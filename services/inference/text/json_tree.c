#include "services/inference/text/json_tree.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    tg_str text;
    size_t at;
    size_t nodes;
    unsigned depth;
    tg_arena *arena;
    tg_error *err;
} reader;

static int refuse_at(const reader *r, size_t at, int status, const char *why)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < at && i < r->text.len; i++) {
        if (r->text.data[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    return tg_error_set(r->err, status, "%zu:%zu: %s", line, at - start + 1, why);
}

static int refuse(const reader *r, const char *why)
{
    return refuse_at(r, r->at, -EINVAL, why);
}

static int refuse_more(const reader *r, const char *than, unsigned allowed)
{
    char why[64];
    snprintf(why, sizeof why, "%s than the %u allowed", than, allowed);
    return refuse_at(r, r->at, -EMSGSIZE, why);
}

static int peek(const reader *r) /* -1 at the end */
{
    return r->at < r->text.len ? (unsigned char)r->text.data[r->at] : -1;
}

static void skip_space(reader *r)
{
    for (int c = peek(r); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(r))
        r->at++;
}

static int hex4(reader *r, uint32_t *ret)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int c = peek(r);
        if (c >= '0' && c <= '9')
            value = value * 16 + (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            value = value * 16 + (uint32_t)((c | 32) - 'a' + 10);
        else
            return refuse(r, "\\u wants four hexadecimal digits");
    }
    *ret = value;
    return 0;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)(lead[len] | c);
    return len;
}

/* After "\u": the character, of one or two escapes. */
static int escaped_character(reader *r, uint32_t *ret)
{
    size_t start = r->at - 2;
    uint32_t high, low;
    int rc = hex4(r, &high);
    if (rc)
        return rc;
    *ret = high;
    if (high < 0xD800 || high > 0xDFFF)
        return 0;
    if (high < 0xDC00 && r->text.len - r->at >= 6 && memcmp(r->text.data + r->at, "\\u", 2) == 0) {
        r->at += 2;
        rc = hex4(r, &low);
        if (rc)
            return rc;
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *ret = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
            return 0;
        }
    }
    return refuse_at(r, start, -EINVAL, "a surrogate without its other half is no character");
}

static int read_escape(reader *r, char *to, size_t *len)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    const char *name = c > 0 ? strchr(names, c) : NULL;
    if (name) {
        to[(*len)++] = values[name - names];
        r->at++;
        return 0;
    }
    if (c != 'u')
        return refuse(r, "no such escape; allowed: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
    r->at++;
    uint32_t character;
    int rc = escaped_character(r, &character);
    if (rc == 0)
        *len += put_utf8(to + *len, character);
    return rc;
}

static int read_string(reader *r, tg_str *ret)
{
    size_t start = ++r->at, end = start;
    while (end < r->text.len && r->text.data[end] != '"')
        end += r->text.data[end] == '\\' ? 2 : 1;
    if (end >= r->text.len)
        return refuse_at(r, start - 1, -EINVAL, "a string without its end");
    char *to = tg_arena_alloc(r->arena, end - start + 1); /* decoded is never longer than written */
    if (!to)
        return -ENOMEM;
    size_t len = 0;
    while (r->at < end) {
        int c = peek(r);
        if (c < 0x20)
            return refuse(r, "a control character in a string; write it as \\uXXXX");
        r->at++;
        int rc = 0;
        if (c == '\\')
            rc = read_escape(r, to, &len);
        else
            to[len++] = (char)c;
        if (rc)
            return rc;
    }
    r->at = end + 1;
    to[len] = '\0';
    *ret = (tg_str){to, len};
    return 0;
}

static size_t digits(reader *r)
{
    size_t start = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at - start;
}

static int read_number(reader *r, tg_json_node *node)
{
    size_t start = r->at;
    bool whole = true;
    if (peek(r) == '-')
        r->at++;
    bool zero = peek(r) == '0';
    size_t len = digits(r);
    if (len == 0 || (zero && len > 1))
        return refuse_at(r, start, -EINVAL, "not a JSON value");
    if (peek(r) == '.') {
        whole = false;
        r->at++;
        if (digits(r) == 0)
            return refuse(r, "a digit must follow the point");
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        whole = false;
        r->at++;
        if (peek(r) == '+' || peek(r) == '-')
            r->at++;
        if (digits(r) == 0)
            return refuse(r, "a digit must follow the exponent's sign");
    }
    node->text = (tg_str){tg_arena_strdup(r->arena, (tg_str){r->text.data + start, r->at - start}),
                          r->at - start};
    if (!node->text.data)
        return -ENOMEM;
    node->kind = TG_JSON_NUMBER;
    node->number = strtod(node->text.data, NULL);
    if (!isfinite(node->number))
        return refuse_at(r, start, -EINVAL, "a number beyond all doubles");
    errno = 0;
    node->integer = whole ? strtoll(node->text.data, NULL, 10) : 0;
    node->is_int = whole && errno == 0;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const tg_json_node *x = *(const tg_json_node *const *)a, *y = *(const tg_json_node *const *)b;
    int order = memcmp(x->key.data, y->key.data, x->key.len < y->key.len ? x->key.len : y->key.len);
    if (order == 0)
        order = (x->key.len > y->key.len) - (x->key.len < y->key.len);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int refuse_repeated_keys(const reader *r, const tg_json_node *object)
{
    if (object->len < 2)
        return 0;
    const tg_json_node **sorted = malloc(object->len * sizeof *sorted);
    if (!sorted)
        return -ENOMEM;
    size_t len = 0;
    for (const tg_json_node *member = object->first; member; member = member->next)
        sorted[len++] = member;
    qsort(sorted, len, sizeof *sorted, compare_keys);
    int rc = 0;
    for (size_t i = 1; i < len && rc == 0; i++) {
        if (sorted[i]->key.len == sorted[i - 1]->key.len &&
            memcmp(sorted[i]->key.data, sorted[i - 1]->key.data, sorted[i]->key.len) == 0)
            rc = refuse_at(r, sorted[i]->at, -EINVAL, "a key that the object has already");
    }
    free(sorted);
    return rc;
}

static int read_value(reader *r, tg_json_node **ret);

static int read_member(reader *r, bool object, tg_json_node **ret)
{
    tg_str key = {NULL, 0};
    uint32_t at = (uint32_t)r->at;
    if (object) {
        if (peek(r) != '"')
            return refuse(r, "a key in quotes must stand here");
        int rc = read_string(r, &key);
        if (rc)
            return rc;
        skip_space(r);
        if (peek(r) != ':')
            return refuse(r, "':' must follow a key");
        r->at++;
    }
    int rc = read_value(r, ret);
    if (rc == 0 && object) {
        (*ret)->key = key;
        (*ret)->at = at;
    }
    return rc;
}

static int read_children(reader *r, tg_json_node *node)
{
    bool object = node->kind == TG_JSON_OBJECT;
    int close = object ? '}' : ']';
    const tg_json_node **tail = &node->first;
    r->at++;
    skip_space(r);
    if (peek(r) == close) {
        r->at++;
        return 0;
    }
    for (;;) {
        tg_json_node *child;
        int rc = read_member(r, object, &child);
        if (rc)
            return rc;
        *tail = child;
        tail = &child->next;
        node->len++;
        skip_space(r);
        int c = peek(r);
        if (c != ',' && c != close)
            return refuse(r, object ? "',' or '}' must stand here" : "',' or ']' must stand here");
        r->at++;
        if (c == close)
            return object ? refuse_repeated_keys(r, node) : 0;
        skip_space(r);
    }
}

static bool word(reader *r, const char *text)
{
    size_t len = strlen(text);
    if (r->text.len - r->at < len || memcmp(r->text.data + r->at, text, len) != 0)
        return false;
    r->at += len;
    return true;
}

static int read_value(reader *r, tg_json_node **ret)
{
    skip_space(r);
    if (r->nodes == TG_JSON_TREE_NODES_MAX)
        return refuse_more(r, "more values", TG_JSON_TREE_NODES_MAX);
    r->nodes++;
    tg_json_node *node = tg_arena_zalloc(r->arena, 1, sizeof *node);
    if (!node)
        return -ENOMEM;
    node->at = node->from = (uint32_t)r->at;
    int c = peek(r), rc = 0;
    if (c == '{' || c == '[') {
        if (r->depth == TG_JSON_TREE_DEPTH_MAX)
            return refuse_more(r, "deeper", TG_JSON_TREE_DEPTH_MAX);
        node->kind = c == '{' ? TG_JSON_OBJECT : TG_JSON_ARRAY;
        r->depth++;
        rc = read_children(r, node);
        r->depth--;
    } else if (c == '"') {
        node->kind = TG_JSON_STRING;
        rc = read_string(r, &node->text);
    } else if (word(r, "true")) {
        node->kind = TG_JSON_BOOL;
        node->boolean = true;
    } else if (word(r, "false")) {
        node->kind = TG_JSON_BOOL;
    } else if (!word(r, "null")) {
        rc = read_number(r, node);
    }
    node->upto = (uint32_t)r->at;
    if (rc == 0)
        *ret = node;
    return rc;
}

int tg_json_tree_parse(tg_str text, tg_arena *arena, tg_error *err, const tg_json_node **ret)
{
    reader r = {.text = text, .arena = arena, .err = err};
    if (text.len > TG_JSON_TREE_BYTES_MAX)
        return tg_error_set(err, -EMSGSIZE, "a JSON text of %zu bytes; allowed: %zu", text.len,
                            TG_JSON_TREE_BYTES_MAX);
    if (!tg_utf8_valid(text.data, text.len)) {
        /* the prefix of `good` bytes is valid, that of `bad` is not */
        size_t good = 0, bad = text.len;
        while (bad - good > 4) {
            size_t middle = good + (bad - good) / 2, whole = tg_utf8_whole(text.data, middle);
            if (whole > good && tg_utf8_valid(text.data, whole))
                good = whole;
            else
                bad = middle;
        }
        return refuse_at(&r, good, -EINVAL,
                         "bytes that are no UTF-8 begin here or within four bytes");
    }
    tg_json_node *root;
    int rc = read_value(&r, &root);
    if (rc)
        return rc;
    skip_space(&r);
    if (r.at != text.len)
        return refuse(&r, "nothing may follow the value");
    *ret = root;
    return 0;
}

const tg_json_node *tg_json_tree_get(const tg_json_node *object, const char *key)
{
    if (!object || object->kind != TG_JSON_OBJECT)
        return NULL;
    for (const tg_json_node *member = object->first; member; member = member->next) {
        if (tg_str_is(member->key, key))
            return member;
    }
    return NULL;
}

const char *tg_json_kind_name(tg_json_kind kind)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    return names[kind];
}
