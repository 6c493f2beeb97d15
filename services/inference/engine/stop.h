/* Stop strings across token boundaries, never leaked.
 *
 * Text that could be the beginning of a stop string is held back until the next text decides. When
 * a stop string is complete, everything from its first byte on is dropped; of several in the
 * same text, the one that begins first counts.
 *
 * Ownership: the strings are copied. Threads: one at a time.
 */
#ifndef TG_ENGINE_STOP_H
#define TG_ENGINE_STOP_H

#include "libs/base/buf.h"
#include "libs/base/error.h"

#define TG_STOP_STRINGS_MAX 16 /* stop strings of one request */
#define TG_STOP_BYTES_MAX 256 /* of one string */

typedef struct tg_stop {
    tg_buf strings; /* one after the other */
    uint16_t lengths[TG_STOP_STRINGS_MAX];
    size_t len;
    tg_buf held;
} tg_stop;

/* 0; -EINVAL (too many, empty, too long) with a message; -ENOMEM. */
int tg_stop_init(tg_stop *stop, const tg_str *strings, size_t strings_len, tg_error *err);
void tg_stop_free(tg_stop *stop);

/* Appends to *out what may be shown. *ret_hit: a stop string is complete; nothing more will
 * come. */
int tg_stop_push(tg_stop *stop, tg_str text, tg_buf *out, bool *ret_hit);
/* The same in two steps, without a copy: text is appended where the first says, which is *out where
 * there are no stop strings, and then looked through. */
tg_buf *tg_stop_place(tg_stop *stop, tg_buf *out);
int tg_stop_look(tg_stop *stop, tg_buf *out, bool *ret_hit);
/* the text is over: what was held is shown after all */
int tg_stop_end(tg_stop *stop, tg_buf *out);

#endif
