#include "libs/base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tg_buf_init(tg_buf *buf, size_t limit) { *buf = (tg_buf){.limit = limit}; }

void tg_buf_free(tg_buf *buf)
{
    free(buf->data);
    *buf = (tg_buf){.limit = buf->limit};
}

int tg_buf_reserve(tg_buf *buf, size_t more)
{
    size_t limit = buf->limit ? buf->limit : TG_BUF_LIMIT_DEFAULT;
    if (more > limit - buf->len || buf->len > limit)
        return -ENOSPC;
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return 0;
    size_t cap = buf->cap ? buf->cap * 2 : 64;
    if (cap < need)
        cap = need;
    if (cap > limit + 1)
        cap = limit + 1;
    char *data = realloc(buf->data, cap);
    if (!data)
        return -ENOMEM;
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int tg_buf_add(tg_buf *buf, const void *data, size_t len)
{
    int rc = tg_buf_reserve(buf, len);
    if (rc < 0)
        return rc;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int tg_buf_add_str(tg_buf *buf, tg_str text) { return tg_buf_add(buf, text.data, text.len); }

int tg_buf_add_text(tg_buf *buf, const char *text) { return tg_buf_add(buf, text, strlen(text)); }

int tg_buf_add_char(tg_buf *buf, char c) { return tg_buf_add(buf, &c, 1); }

int tg_buf_vprintf(tg_buf *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = buf->cap > buf->len ? buf->cap - buf->len : 0;
    int need = vsnprintf(room ? buf->data + buf->len : NULL, room, format, args);
    int rc = need < 0 ? -EINVAL : 0;
    if (rc == 0 && (size_t)need >= room) {
        rc = tg_buf_reserve(buf, (size_t)need);
        if (rc == 0)
            vsnprintf(buf->data + buf->len, (size_t)need + 1, format, again);
        else if (room)
            buf->data[buf->len] = '\0';
    }
    va_end(again);
    if (rc == 0)
        buf->len += (size_t)need;
    return rc;
}

int tg_buf_printf(tg_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = tg_buf_vprintf(buf, format, args);
    va_end(args);
    return rc;
}

void tg_buf_consume(tg_buf *buf, size_t len)
{
    if (len >= buf->len) {
        tg_buf_clear(buf);
        return;
    }
    memmove(buf->data, buf->data + len, buf->len - len + 1);
    buf->len -= len;
}

void tg_buf_clear(tg_buf *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

tg_str tg_buf_str(const tg_buf *buf) { return (tg_str){buf->data, buf->len}; }
