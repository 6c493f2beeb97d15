/* AWS event stream framing (application/vnd.amazon.eventstream), as Bedrock's ConverseStream uses
 * it.
 *
 * A message: total length, headers length, CRC-32 of those 8 bytes; headers; payload; CRC-32 of all
 * before it. Numbers are big endian. Source: AWS "Amazon Transcribe: event stream encoding" and the
 * Smithy specification of the format.
 *
 * Incremental: bytes may be cut anywhere. A message that arrives whole is read where it lies.
 * Bound: `message_max` bytes a message. Threads: one at a time. No I/O.
 */
#ifndef TG_ROUTER_DIALECT_EVENTSTREAM_H
#define TG_ROUTER_DIALECT_EVENTSTREAM_H

#include "libs/base/buf.h"
#include "libs/base/error.h"

#include <stdbool.h>

/* Slices are valid during the callback only; an absent header is empty. */
typedef struct tg_eventstream_message {
    tg_str message_type;              /* event, exception or error */
    tg_str event_type;                /* of an event */
    tg_str exception_type;            /* of an exception */
    tg_str error_code, error_message; /* of an error */
    tg_str payload;
} tg_eventstream_message;

typedef struct tg_eventstream {
    tg_buf partial;
    size_t message_max;
} tg_eventstream;

/* A callback that gives a negative number ends the feed with it. */
typedef int tg_eventstream_on_message(void *user, const tg_eventstream_message *message);

void tg_eventstream_init(tg_eventstream *stream, size_t message_max);
void tg_eventstream_free(tg_eventstream *stream);

/* 0; -EBADMSG with a reason for bytes that are no event stream; what the callback gave; -ENOMEM. */
int tg_eventstream_feed(tg_eventstream *stream, tg_str bytes, tg_eventstream_on_message *on_message,
                        void *user, tg_error *err);

/* True between two messages. */
bool tg_eventstream_at_boundary(const tg_eventstream *stream);

#endif
