/* A borrowed slice of bytes; never NUL-terminated by contract, never owned. */
#ifndef TG_BASE_STR_H
#define TG_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tg_str {
    const char *data; /* may be NULL when len is 0 */
    size_t len;
} tg_str;

#define TG_STR(literal) ((tg_str){(literal), sizeof(literal) - 1})
#define TG_STR_FMT "%.*s"
#define TG_STR_ARG(s) (int)(s).len, (s).data

tg_str tg_str_of(const char *text); /* NULL gives the empty slice */
bool tg_str_eq(tg_str a, tg_str b);
bool tg_str_is(tg_str a, const char *text);
bool tg_str_is_nocase(tg_str a, const char *text); /* ASCII case */
bool tg_str_starts(tg_str a, const char *prefix);
tg_str tg_str_trim(tg_str a); /* spaces, tabs, CR and LF off both ends */

/* Unsigned decimal: all of `a` must be digits. 0, -EINVAL or -ERANGE. */
int tg_str_u64(tg_str a, uint64_t *ret);

/* Copies with truncation and always terminates; returns false when it had to cut. */
bool tg_str_copy(char *to, size_t size, tg_str from);

/* Valid UTF-8 in the sense of RFC 3629: no overlong forms, no surrogates, at most U+10FFFF. */
bool tg_utf8_valid(const char *data, size_t len);

/* Length of the longest prefix that ends on a whole UTF-8 character (at most 3 bytes are left
 * over). */
size_t tg_utf8_whole(const char *data, size_t len);

/* Edit distance for "did you mean …?"; both bounded to 63 bytes, longer counts as far away. */
unsigned tg_str_distance(const char *a, const char *b);

/* The nearest of `names` within a third of its length, or NULL. */
const char *tg_str_nearest(const char *name, const char *const *names, size_t count);

/* Equal without revealing by time where they differ. The length may be revealed. */
bool tg_equal_constant_time(const void *a, const void *b, size_t len);

#endif
