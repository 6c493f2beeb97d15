/* A growing byte buffer with a limit, and a read position for queues of bytes.
 *
 * Every append checks the limit: -ENOSPC says the bound was reached (the caller named it), -ENOMEM
 * that memory ran out. A failed append leaves the buffer as it was.
 *
 * Ownership: the struct is the caller's; tg_buf_free releases the bytes. Threads: one at a time.
 */
#ifndef TG_BASE_BUF_H
#define TG_BASE_BUF_H

#include "libs/base/str.h"

#include <stdarg.h>
#include <stddef.h>

typedef struct tg_buf {
    char *data;   /* bytes [0, len); always NUL-terminated once anything was appended */
    size_t len;   /* bytes held */
    size_t cap;   /* bytes allocated */
    size_t limit; /* most bytes ever held; 0 means TG_BUF_LIMIT_DEFAULT */
} tg_buf;

#define TG_BUF_LIMIT_DEFAULT ((size_t)64 << 20)

void tg_buf_init(tg_buf *buf, size_t limit);
void tg_buf_free(tg_buf *buf); /* leaves an empty, usable buffer with the same limit */

int tg_buf_reserve(tg_buf *buf, size_t more); /* room for `more` bytes after len */
int tg_buf_add(tg_buf *buf, const void *data, size_t len);
int tg_buf_add_str(tg_buf *buf, tg_str text);
int tg_buf_add_text(tg_buf *buf, const char *text);
int tg_buf_add_char(tg_buf *buf, char c);
int tg_buf_printf(tg_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int tg_buf_vprintf(tg_buf *buf, const char *format, va_list args);

void tg_buf_consume(tg_buf *buf, size_t len); /* drops bytes from the front */
void tg_buf_clear(tg_buf *buf);               /* len = 0, memory kept */
tg_str tg_buf_str(const tg_buf *buf);         /* valid until the next change */

#endif
