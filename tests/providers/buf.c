#include "tests/providers/buf.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void buf_room(struct buf *buf, size_t more)
{
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return;
    size_t cap = buf->cap ? buf->cap : 256;
    while (cap < need)
        cap *= 2;
    char *data = need > BUF_BYTES_MAX ? NULL : realloc(buf->data, cap);
    if (!data) {
        fprintf(stderr, "providers: no room for a buffer of %zu bytes\n", need);
        abort();
    }
    buf->data = data;
    buf->cap = cap;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
    buf_room(buf, len);
    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_text(struct buf *buf, const char *text) { buf_add(buf, text, strlen(text)); }

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        buf_room(buf, (size_t)len);
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void buf_json(struct buf *buf, const char *text, size_t len)
{
    static const char short_form[] = "\b\f\n\r\t\"\\";
    static const char letter[] = "bfnrt\"\\";
    size_t from = 0;
    buf_add(buf, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(buf, text + from, i - from);
        from = i + 1;
        const char *found = c ? strchr(short_form, c) : NULL;
        if (found) {
            char pair[2] = {'\\', letter[found - short_form]};
            buf_add(buf, pair, 2);
        } else {
            buf_printf(buf, "\\u%04x", c);
        }
    }
    buf_add(buf, text + from, len - from);
    buf_add(buf, "\"", 1);
}

void buf_json_text(struct buf *buf, const char *text) { buf_json(buf, text, strlen(text)); }

void buf_clear(struct buf *buf) { buf->len = 0; }

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void hex_encode(const unsigned char *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

void sha256(const void *data, size_t len, unsigned char out[32])
{
    unsigned int size = 32;
    if (!EVP_Digest(data, len, out, &size, EVP_sha256(), NULL))
        abort();
}

void sha256_hex(const void *data, size_t len, char *out, size_t chars)
{
    unsigned char sum[32];
    char hex[65];
    sha256(data, len, sum);
    hex_encode(sum, sizeof sum, hex);
    memcpy(out, hex, chars);
    out[chars] = '\0';
}
