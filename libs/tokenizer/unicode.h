/* What a tokenizer needs to know of Unicode: letters, numbers, white space, and walking UTF-8. */
#ifndef TG_TOKENIZER_UNICODE_H
#define TG_TOKENIZER_UNICODE_H

#include <stddef.h>
#include <stdint.h>

typedef enum tg_unicode_class {
    TG_UNICODE_OTHER,
    TG_UNICODE_LETTER, /* \p{L} */
    TG_UNICODE_NUMBER, /* \p{N} */
    TG_UNICODE_SPACE,  /* \s: the White_Space property */
} tg_unicode_class;

typedef struct tg_unicode_range {
    uint32_t first, last; /* inclusive */
    tg_unicode_class kind;
} tg_unicode_range;

extern const tg_unicode_range tg_unicode_ranges[]; /* letters and numbers, ascending */
extern const size_t tg_unicode_range_count;

tg_unicode_class tg_unicode_classify(uint32_t point);

#define TG_UNICODE_INVALID 0xfffdu

/* Reads one character of at most `left` ≥ 1 bytes and returns its length. A byte that begins no valid
 * character is one character by itself, TG_UNICODE_INVALID. */
size_t tg_unicode_next(const char *text, size_t left, uint32_t *ret_point);

/* Writes 1 to 4 bytes and returns how many. */
size_t tg_unicode_write(uint32_t point, char *to);

#endif
