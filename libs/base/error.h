/* A human-readable reason beside a status.
 *
 * Functions that can be given bad input return -errno and, where `err` is not NULL, one sentence
 * that names what, where and what is allowed. The first reason wins: a caller further up adds
 * context with tg_error_prefix instead of replacing it.
 *
 * Ownership: a plain value on the caller's stack. Threads: none shared.
 */
#ifndef TG_BASE_ERROR_H
#define TG_BASE_ERROR_H

#include <stdarg.h>

typedef struct tg_error {
    char text[512]; /* empty: no reason given; a longer one is cut after a whole UTF-8 character */
} tg_error;

/* Sets the text unless one is there already, and returns `status`, so that a line can say
 * `return tg_error_set(err, -EINVAL, "…")`. `err` may be NULL. */
int tg_error_set(tg_error *err, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text. */
void tg_error_prefix(tg_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
