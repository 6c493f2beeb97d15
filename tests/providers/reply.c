#include "tests/providers/reply.h"

#include <stdlib.h>

void reply_event(struct reply *reply, uint32_t tokens)
{
    if (reply->count == reply->cap) {
        reply->cap = reply->cap ? reply->cap * 2 : 8;
        reply->events = realloc(reply->events, reply->cap * sizeof *reply->events);
        if (!reply->events)
            abort();
    }
    size_t len = reply->event.len;
    if (reply->chunked)
        buf_printf(&reply->framed, "%zx\r\n", len);
    size_t start = reply->framed.len;
    buf_add(&reply->framed, reply->event.data, len);
    if (reply->chunked)
        buf_add(&reply->framed, "\r\n", 2);
    reply->events[reply->count++] = (struct event){reply->framed.len, start, len, tokens};
    reply->payload_bytes += len;
    buf_clear(&reply->event);
}

void reply_end(struct reply *reply)
{
    if (reply->chunked)
        buf_add(&reply->framed, "0\r\n\r\n", 5);
    reply->events[reply->count - 1].framed_end = reply->framed.len;
    buf_free(&reply->event);
}

void reply_free(struct reply *reply)
{
    buf_free(&reply->event);
    buf_free(&reply->framed);
    free(reply->events);
    *reply = (struct reply){0};
}
