/* Any bytes as server-sent events: whole and byte by byte they must give the same events. */
#include "libs/http/sse.h"

#include <stdlib.h>

#define EVENT_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static int put_event(void *user, tg_str name, tg_str data)
{
    tg_buf *out = user;
    require(data.len <= EVENT_MAX);
    tg_buf_add_str(out, name);
    tg_buf_add_char(out, '|');
    tg_buf_add_str(out, data);
    tg_buf_add_char(out, '\n');
    return 0;
}

static int run(const uint8_t *data, size_t size, size_t step, tg_buf *out)
{
    tg_sse_parser parser;
    int rc = 0;
    tg_sse_parser_init(&parser, EVENT_MAX);
    for (size_t at = 0; rc == 0 && at < size; at += step) {
        size_t len = step < size - at ? step : size - at;
        rc = tg_sse_parser_feed(&parser, (tg_str){(const char *)data + at, len}, put_event, out);
    }
    tg_sse_parser_free(&parser);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_buf whole, cut;
    tg_buf_init(&whole, 0);
    tg_buf_init(&cut, 0);
    int rc = run(data, size, size + 1, &whole);
    require(run(data, size, 1, &cut) == rc);
    require(tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut)));
    tg_buf_free(&whole);
    tg_buf_free(&cut);
    return 0;
}
