/* An answer, complete before its first byte leaves: payload cut into events, framed for the wire.
 *
 * A plain answer is one event. A stream has one per SSE event or eventstream message; with
 * chunked transfer each event is one chunk, and the end mark belongs to the last.
 *
 * Use: write an event's payload into reply->event, call reply_event; after the last, reply_end.
 */
#ifndef PROVIDERS_REPLY_H
#define PROVIDERS_REPLY_H

#include "tests/providers/buf.h"

#include <stdbool.h>

struct event {
    size_t framed_end;    /* where it ends in reply->framed, and the next begins */
    size_t payload_start; /* in reply->framed */
    size_t payload_len;
    uint32_t tokens; /* output tokens told once this event is out */
};

struct reply {
    const char *content_type;
    bool chunked;
    struct buf event; /* the payload being written */
    struct buf framed;
    struct event *events;
    size_t count, cap;
    size_t payload_bytes; /* of all events */
    bool broken;          /* an error inside the stream ends it */
};

void reply_event(struct reply *reply, uint32_t tokens);
void reply_end(struct reply *reply);
void reply_free(struct reply *reply);

#endif
