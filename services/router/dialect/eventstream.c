#include "services/router/dialect/eventstream.h"

#include <errno.h>
#include <zlib.h>

enum { PRELUDE = 12, CHECKSUM = 4, TYPE_STRING = 7 };

void tg_eventstream_init(tg_eventstream *stream, size_t message_max)
{
    stream->message_max = message_max;
    tg_buf_init(&stream->partial, message_max);
}

void tg_eventstream_free(tg_eventstream *stream) { tg_buf_free(&stream->partial); }

bool tg_eventstream_at_boundary(const tg_eventstream *stream) { return stream->partial.len == 0; }

static uint32_t read_be(const char *data, size_t len)
{
    uint32_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | (unsigned char)data[i];
    return value;
}

static uint32_t checksum(const char *data, size_t len)
{
    return (uint32_t)crc32(0, (const unsigned char *)data, (unsigned)len);
}

/* Checks the prelude before its lengths are believed. */
static int read_prelude(const tg_eventstream *stream, const char *data, tg_error *err,
                        size_t *ret_total)
{
    size_t total = read_be(data, 4), headers = read_be(data + 4, 4);
    if (checksum(data, 8) != read_be(data + 8, 4))
        return tg_error_set(err, -EBADMSG, "event stream: the prelude's checksum is wrong");
    if (total > stream->message_max)
        return tg_error_set(err, -EBADMSG,
                            "event stream: a message of %zu bytes; at most %zu are allowed", total,
                            stream->message_max);
    if (total < PRELUDE + CHECKSUM || headers > total - PRELUDE - CHECKSUM)
        return tg_error_set(err, -EBADMSG, "event stream: a message's lengths do not fit together");
    *ret_total = total;
    return 0;
}

/* Bytes a header value of that type takes at `data`, its own length field included. */
static size_t value_size(unsigned type, const char *data, size_t left)
{
    static const unsigned char sizes[] = {0, 0, 1, 2, 4, 8, 0, 0, 8, 16};
    if (type == 6 || type == TYPE_STRING)
        return left < 2 ? SIZE_MAX : 2 + (size_t)read_be(data, 2);
    return type < sizeof sizes ? sizes[type] : SIZE_MAX;
}

static void take_header(tg_eventstream_message *message, tg_str name, tg_str value)
{
    const struct {
        const char *name;
        tg_str *to;
    } known[] = {{":message-type", &message->message_type},
                 {":event-type", &message->event_type},
                 {":exception-type", &message->exception_type},
                 {":error-code", &message->error_code},
                 {":error-message", &message->error_message}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (tg_str_is(name, known[i].name))
            *known[i].to = value;
}

static int read_headers(tg_str headers, tg_eventstream_message *message, tg_error *err)
{
    for (size_t at = 0; at < headers.len;) {
        size_t name_len = (unsigned char)headers.data[at++];
        if (name_len + 1 > headers.len - at)
            return tg_error_set(err, -EBADMSG, "event stream: a header's name is cut off");
        tg_str name = {headers.data + at, name_len};
        at += name_len;
        unsigned type = (unsigned char)headers.data[at++];
        size_t size = value_size(type, headers.data + at, headers.len - at);
        if (size > headers.len - at)
            return tg_error_set(err, -EBADMSG, "event stream: a header's value is cut off");
        if (type == TYPE_STRING)
            take_header(message, name, (tg_str){headers.data + at + 2, size - 2});
        at += size;
    }
    return 0;
}

static int read_message(tg_str bytes, tg_eventstream_on_message *on_message, void *user,
                        tg_error *err)
{
    tg_eventstream_message message = {0};
    size_t headers = read_be(bytes.data + 4, 4), end = bytes.len - CHECKSUM;
    if (checksum(bytes.data, end) != read_be(bytes.data + end, CHECKSUM))
        return tg_error_set(err, -EBADMSG, "event stream: a message's checksum is wrong");
    int rc = read_headers((tg_str){bytes.data + PRELUDE, headers}, &message, err);
    if (rc < 0)
        return rc;
    message.payload = (tg_str){bytes.data + PRELUDE + headers, end - PRELUDE - headers};
    return on_message(user, &message);
}

/* Consumes what it can from the front of *bytes: one message in place, or a part of one. */
static int feed_some(tg_eventstream *stream, tg_str *bytes, tg_eventstream_on_message *on_message,
                     void *user, tg_error *err)
{
    tg_buf *partial = &stream->partial;
    size_t total = PRELUDE;
    int rc = 0;
    if (partial->len == 0 && bytes->len >= PRELUDE) {
        rc = read_prelude(stream, bytes->data, err, &total);
        if (rc == 0 && bytes->len >= total) {
            tg_str whole = {bytes->data, total};
            *bytes = (tg_str){bytes->data + total, bytes->len - total};
            return read_message(whole, on_message, user, err);
        }
    } else if (partial->len >= PRELUDE) {
        rc = read_prelude(stream, partial->data, err, &total);
    }
    if (rc < 0)
        return rc;
    size_t want = total - partial->len, take = want < bytes->len ? want : bytes->len;
    rc = tg_buf_add(partial, bytes->data, take);
    if (rc < 0)
        return tg_error_set(err, rc, "out of memory");
    *bytes = (tg_str){bytes->data + take, bytes->len - take};
    if (partial->len == PRELUDE)
        return read_prelude(stream, partial->data, err, &total);
    if (partial->len < total)
        return 0;
    rc = read_message(tg_buf_str(partial), on_message, user, err);
    tg_buf_clear(partial);
    return rc;
}

int tg_eventstream_feed(tg_eventstream *stream, tg_str bytes, tg_eventstream_on_message *on_message,
                        void *user, tg_error *err)
{
    int rc = 0;
    while (rc == 0 && bytes.len > 0)
        rc = feed_some(stream, &bytes, on_message, user, err);
    return rc < 0 ? rc : 0;
}
