/* One call of a tool as a model writes it, read byte by byte: a JSON object with a name and
 * arguments; internal to answer/.
 *
 * Of the object's members `name` is the tool, `arguments` or `parameters` what it is given, told in
 * the model's own bytes as they come; where they are a string, as some models have it, what the
 * string holds. Others are passed over. Arguments are scanned for their end rather than checked, so
 * they are JSON where the model wrote JSON.
 */
#ifndef TG_INFERENCE_ANSWER_CALL_H
#define TG_INFERENCE_ANSWER_CALL_H

#include "libs/base/buf.h"

#include <stdint.h>

/* bytes of a tool's name in an answer; what is longer is text */
#define TG_CALL_NAME_MAX 256
/* arrays and objects within each other in a call's arguments */
#define TG_CALL_NEST_MAX 64
/* bytes of a call that are held until its name is known */
#define TG_CALL_HELD_MAX ((size_t)256 << 10)

typedef enum tg_call_step {
    TG_CALL_MORE,
    TG_CALL_DONE,   /* this byte was the object's last */
    TG_CALL_BROKEN, /* this byte, or what is held, cannot be part of a call */
} tg_call_step;

typedef struct tg_call_reader {
    uint8_t state;      /* call.c */
    uint8_t member;     /* which of them is being read */
    bool only_known;    /* an object with further members is no call (llama3, where any JSON answer
                           looks like one) */
    bool named, begun;  /* the name is known; its arguments have begun */
    bool string, escape;
    uint8_t hex_left;
    uint16_t unit, high; /* of \uXXXX; a high surrogate that waits for the low one */
    uint8_t depth;
    uint64_t arrays;    /* per level: an array, not an object */
    tg_buf name, key;
    /* bytes to be told; who tells them clears it. Not before `named` and `begun` */
    tg_buf arguments;
} tg_call_reader;

void tg_call_init(tg_call_reader *reader);
int tg_call_make_room(tg_call_reader *reader); /* for what most calls have. 0 or -ENOMEM */
void tg_call_free(tg_call_reader *reader);
void tg_call_begin(tg_call_reader *reader, bool only_known);         /* before the object's { */
/* The name stood elsewhere: arguments alone. 0 or -ENOMEM. */
int tg_call_begin_arguments(tg_call_reader *reader, tg_str name);
tg_call_step tg_call_push(tg_call_reader *reader, char c);

/* Name and arguments can be told: both have come as far as that takes. */
bool tg_call_ready(const tg_call_reader *reader);

#endif
