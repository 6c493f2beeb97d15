/* What a tokenizer needs to know of Unicode: classes of characters, canonical forms (UAX #15),
 * lower case, and walking UTF-8. Pure, but for the buffers the caller passes. */
#ifndef TG_TOKENIZER_UNICODE_H
#define TG_TOKENIZER_UNICODE_H

#include "libs/base/buf.h"

#include <stddef.h>
#include <stdint.h>

typedef enum tg_unicode_class {
    TG_UNICODE_OTHER,
    TG_UNICODE_LETTER, /* \p{L} */
    TG_UNICODE_NUMBER, /* \p{N} */
    TG_UNICODE_SPACE,  /* \s: the White_Space property */
    TG_UNICODE_MARK,        /* \p{Mn} */
    TG_UNICODE_PUNCTUATION, /* \p{P} */
    TG_UNICODE_CONTROL,     /* \p{Cc}, \p{Cf} and \p{Co} */
} tg_unicode_class;

typedef struct tg_unicode_range {
    uint32_t first, last; /* inclusive */
    uint32_t value;
} tg_unicode_range;

typedef struct tg_unicode_decomposition {
    uint32_t point, first, second; /* second 0: one for one */
} tg_unicode_decomposition;

typedef struct tg_unicode_lower_run { /* every step-th point of [first, last] */
    uint32_t first, last, step;
    int32_t distance;
} tg_unicode_lower_run;

/* Generated, ascending. */
extern const tg_unicode_range tg_unicode_ranges[]; /* value: tg_unicode_class */
extern const size_t tg_unicode_range_count;
extern const tg_unicode_range tg_unicode_combining[]; /* value: the combining class, when not 0 */
extern const size_t tg_unicode_combining_count;
extern const tg_unicode_decomposition tg_unicode_decompositions[];
extern const size_t tg_unicode_decomposition_count;
extern const uint16_t tg_unicode_compositions[]; /* rows of the above by (first, second) */
extern const size_t tg_unicode_composition_count;
extern const tg_unicode_lower_run tg_unicode_lower_runs[];
extern const size_t tg_unicode_lower_run_count;

uint32_t tg_unicode_lookup(const tg_unicode_range *ranges, size_t count, uint32_t point); /* or 0 */
tg_unicode_class tg_unicode_classify(uint32_t point); /* letter, number, space or other */
tg_unicode_class tg_unicode_class_of(uint32_t point); /* every class above */

/* Lower case, one for one (U+0130 loses its dot). */
uint32_t tg_unicode_lower(uint32_t point);

#define TG_UNICODE_INVALID 0xfffdu

/* Reads one character of at most `left` ≥ 1 bytes and returns its length. A byte that begins no
 * valid character is one character by itself, TG_UNICODE_INVALID. */
size_t tg_unicode_next(const char *text, size_t left, uint32_t *ret_point);

/* Writes 1 to 4 bytes and returns how many. */
size_t tg_unicode_write(uint32_t point, char *to);

/* Appends the text's canonical composition (NFC). Bytes that are no UTF-8 stay as they are and
 * combine with nothing. 0, or the buffer's error, or -ENOMEM. */
int tg_unicode_nfc(tg_str text, tg_buf *out);

/* The canonical decomposition (NFD) as code points, in memory the caller frees with free(); a byte
 * that is no UTF-8 becomes TG_UNICODE_BYTE + byte. 0 or -ENOMEM. */
#define TG_UNICODE_BYTE 0x110000u
int tg_unicode_nfd(tg_str text, uint32_t **ret_points, size_t *ret_len);

#endif
