/* Server-sent events: an incremental parser of text/event-stream (WHATWG HTML, section 9.2.6).
 *
 * Bytes may be cut anywhere. An event whose data is one line that arrived whole is handed out where
 * it lies, without a copy. Comments, `id` and `retry` are skipped; an event without data is none.
 * Bound: `event_max` bytes of data an event, and of a line. Threads: one at a time. No I/O.
 */
#ifndef TG_HTTP_SSE_H
#define TG_HTTP_SSE_H

#include "libs/base/buf.h"

#include <stdbool.h>

typedef struct tg_sse_parser {
    tg_buf line; /* the start of a line whose end has not come */
    tg_buf name; /* of the event under way */
    tg_buf text; /* its data, where it had to be copied */
    tg_str data; /* its data so far: in `text`, or in the bytes being fed */
    bool has_data;
    bool skip_lf; /* the line before ended in CR: an LF here belongs to it */
    bool begun;   /* the first line, where a byte order mark may stand, is over */
    size_t event_max;
} tg_sse_parser;

/* Slices are valid during the callback; `name` is empty where the event has none. A negative result
 * ends the feed with it. */
typedef int tg_sse_on_event(void *user, tg_str name, tg_str data);

void tg_sse_parser_init(tg_sse_parser *parser, size_t event_max);
void tg_sse_parser_free(tg_sse_parser *parser);

/* 0; -ENOSPC past event_max; -ENOMEM; what the callback gave. After an error the parser is spent.
 */
int tg_sse_parser_feed(tg_sse_parser *parser, tg_str bytes, tg_sse_on_event *on_event, void *user);

#endif
