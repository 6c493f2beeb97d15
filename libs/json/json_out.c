#include "libs/json/json.h"
#include "libs/json/json_check.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(tg_json_out *out, const void *data, size_t len)
{
    int rc = out->status < 0 ? 0 : tg_buf_add(out->buf, data, len);
    if (rc < 0)
        out->status = rc;
}

/* Every value and key starts with the comma that is due. */
static void begin(tg_json_out *out)
{
    if (out->comma)
        put(out, ",", 1);
    out->comma = true;
}

tg_json_out tg_json_out_to(tg_buf *buf) { return (tg_json_out){.buf = buf}; }

static void open_container(tg_json_out *out, const char *bracket)
{
    begin(out);
    put(out, bracket, 1);
    out->comma = false;
}

static void close_container(tg_json_out *out, const char *bracket)
{
    put(out, bracket, 1);
    out->comma = true;
}

void tg_json_out_begin_object(tg_json_out *out) { open_container(out, "{"); }
void tg_json_out_end_object(tg_json_out *out) { close_container(out, "}"); }
void tg_json_out_begin_array(tg_json_out *out) { open_container(out, "["); }
void tg_json_out_end_array(tg_json_out *out) { close_container(out, "]"); }

static void quoted(tg_json_out *out, tg_str value)
{
    int rc = out->status < 0 ? 0 : tg_json_quote(out->buf, value);
    if (rc < 0)
        out->status = rc;
}

static void key_str(tg_json_out *out, tg_str key)
{
    begin(out);
    quoted(out, key);
    put(out, ":", 1);
    out->comma = false;
}

void tg_json_out_key(tg_json_out *out, const char *key) { key_str(out, tg_str_of(key)); }

void tg_json_out_str(tg_json_out *out, tg_str value)
{
    begin(out);
    quoted(out, value);
}

void tg_json_out_text(tg_json_out *out, const char *value)
{
    tg_json_out_str(out, tg_str_of(value));
}

void tg_json_out_u64(tg_json_out *out, uint64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%" PRIu64, value);
    begin(out);
    put(out, text, (size_t)len);
}

void tg_json_out_i64(tg_json_out *out, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%" PRId64, value);
    begin(out);
    put(out, text, (size_t)len);
}

void tg_json_out_f64(tg_json_out *out, double value)
{
    if (!isfinite(value)) { /* JSON has no such number */
        if (out->status == 0)
            out->status = -EINVAL;
        return;
    }
    char text[40];
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    begin(out);
    put(out, text, (size_t)len);
    /* "-0" and long runs of digits would be read back as integers, and perhaps refused as such. */
    if (!strpbrk(text, ".e") && (len > 18 || strcmp(text, "-0") == 0))
        put(out, ".0", 2);
}

void tg_json_out_bool(tg_json_out *out, bool value)
{
    begin(out);
    put(out, value ? "true" : "false", value ? 4 : 5);
}

void tg_json_out_null(tg_json_out *out)
{
    begin(out);
    put(out, "null", 4);
}

void tg_json_out_raw(tg_json_out *out, tg_str json)
{
    begin(out);
    put(out, json.data, json.len);
}

static void out_number(tg_json_out *out, tg_json value)
{
    uint64_t positive;
    int64_t number;
    double real;
    if (!tg_json_is_integer(value) && tg_json_f64(value, &real) == 0)
        tg_json_out_f64(out, real);
    else if (tg_json_u64(value, &positive) == 0)
        tg_json_out_u64(out, positive);
    else if (tg_json_i64(value, &number) == 0)
        tg_json_out_i64(out, number);
}

static void out_container(tg_json_out *out, tg_json value, bool object)
{
    open_container(out, object ? "{" : "[");
    for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it);) {
        if (object)
            key_str(out, it.key);
        tg_json_out_value(out, it.value); /* recursion is bounded by TG_JSON_DEPTH_MAX */
    }
    close_container(out, object ? "}" : "]");
}

void tg_json_out_value(tg_json_out *out, tg_json value)
{
    tg_str text;
    bool flag;
    switch (tg_json_type_of(value)) {
    case TG_JSON_NONE:
    case TG_JSON_NULL:
        tg_json_out_null(out);
        break;
    case TG_JSON_BOOL:
        if (tg_json_bool(value, &flag) == 0)
            tg_json_out_bool(out, flag);
        break;
    case TG_JSON_NUMBER:
        out_number(out, value);
        break;
    case TG_JSON_STRING:
        if (tg_json_str(value, &text) == 0)
            tg_json_out_str(out, text);
        break;
    case TG_JSON_ARRAY:
    case TG_JSON_OBJECT:
        out_container(out, value, tg_json_type_of(value) == TG_JSON_OBJECT);
        break;
    }
}

static size_t escape(unsigned char byte, char to[8])
{
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = byte ? strchr(names, byte) : NULL;
    to[0] = '\\';
    if (found) {
        to[1] = letters[found - names];
        return 2;
    }
    snprintf(to, 8, "\\u%04x", byte);
    return 6;
}

/* Bytes of the valid UTF-8 character at `data`, or 0. */
static size_t utf8_character(const char *data, size_t left)
{
    unsigned char byte = (unsigned char)*data;
    size_t len = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return left >= len && tg_utf8_valid(data, len) ? len : 0;
}

int tg_json_quote(tg_buf *buf, tg_str value)
{
    size_t before = buf->len, plain = 0, at = 0;
    int rc = tg_buf_reserve(buf, value.len + 2);
    if (rc < 0)
        return rc;
    rc = tg_buf_add_char(buf, '"');
    while (rc == 0 && at < value.len) {
        unsigned char byte = (unsigned char)value.data[at];
        if (byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\') {
            at++;
            continue;
        }
        size_t len = byte < 0x80 ? 0 : utf8_character(value.data + at, value.len - at);
        if (len > 0) {
            at += len;
            continue;
        }
        char text[8] = "\xEF\xBF\xBD";
        size_t text_len = byte < 0x80 ? escape(byte, text) : 3;
        rc = at > plain ? tg_buf_add(buf, value.data + plain, at - plain) : 0;
        if (rc == 0)
            rc = tg_buf_add(buf, text, text_len);
        plain = ++at;
    }
    if (rc == 0 && at > plain)
        rc = tg_buf_add(buf, value.data + plain, at - plain);
    if (rc == 0)
        rc = tg_buf_add_char(buf, '"');
    if (rc < 0) { /* as if nothing had been appended */
        buf->len = before;
        buf->data[before] = '\0';
    }
    return rc;
}
