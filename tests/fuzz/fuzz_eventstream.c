/* Any bytes as an event stream. Since no fuzzer guesses checksums, the input is also framed: its
 * first byte says how many of the others are headers, and the checksums are made right. */
#include "services/router/dialect/eventstream.h"

#include <stdlib.h>
#include <zlib.h>

#define MESSAGE_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static int print_message(void *user, const tg_eventstream_message *m)
{
    tg_buf *out = user;
    const tg_str parts[] = {m->message_type, m->event_type,    m->exception_type,
                            m->error_code,   m->error_message, m->payload};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        tg_buf_add_str(out, parts[i]);
        tg_buf_add_char(out, '|');
    }
    return 0;
}

static int run(tg_str bytes, size_t step, tg_buf *out)
{
    tg_eventstream stream;
    tg_error err = {""};
    int rc = 0;
    tg_eventstream_init(&stream, MESSAGE_MAX);
    for (size_t at = 0; rc == 0 && at < bytes.len; at += step) {
        size_t len = step < bytes.len - at ? step : bytes.len - at;
        rc = tg_eventstream_feed(&stream, (tg_str){bytes.data + at, len}, print_message, out, &err);
    }
    require(rc == 0 || err.text[0]);
    tg_eventstream_free(&stream);
    return rc;
}

static void check(tg_str bytes)
{
    tg_buf whole, cut;
    tg_buf_init(&whole, 0);
    tg_buf_init(&cut, 0);
    int rc = run(bytes, bytes.len + 1, &whole);
    require(run(bytes, 1, &cut) == rc);
    require(tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut)));
    tg_buf_free(&whole);
    tg_buf_free(&cut);
}

static void put_be32(tg_buf *out, uint32_t value)
{
    char bytes[4] = {(char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value};
    tg_buf_add(out, bytes, 4);
}

static void put_crc(tg_buf *out)
{
    put_be32(out, (uint32_t)crc32(0, (const unsigned char *)out->data, (unsigned)out->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_buf frame;
    check((tg_str){(const char *)data, size});
    if (size == 0 || size > MESSAGE_MAX - 16)
        return 0;
    tg_buf_init(&frame, 0);
    put_be32(&frame, (uint32_t)(size - 1 + 16));
    put_be32(&frame, data[0]);
    put_crc(&frame);
    tg_buf_add(&frame, data + 1, size - 1);
    put_crc(&frame);
    check(tg_buf_str(&frame));
    tg_buf_free(&frame);
    return 0;
}
