/* Any bytes as HTTP/1 requests on one connection: whole and byte by byte they must give the same
 * requests, and every slice must lie inside the buffer. */
#include "libs/base/buf.h"
#include "libs/http/h1_parser.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES_MAX 2048
#define BODY_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void put_span(tg_buf *out, const char *data, size_t len, tg_h1_span span)
{
    require(span.at <= len && span.len <= len - span.at);
    tg_buf_add(out, data + span.at, span.len);
    tg_buf_add_char(out, '|');
}

static void put_request(tg_buf *out, const tg_h1_parser *p, const char *data, size_t len)
{
    require(p->at <= len && p->header_count <= TG_H1_HEADERS_MAX);
    require(p->body.len <= BODY_BYTES_MAX);
    put_span(out, data, len, p->method);
    put_span(out, data, len, p->path);
    put_span(out, data, len, p->query);
    for (uint32_t i = 0; i < p->header_count; i++) {
        put_span(out, data, len, p->headers[i].name);
        put_span(out, data, len, p->headers[i].value);
    }
    put_span(out, data, len, p->body);
    tg_buf_printf(out, "%u %d %d\n", p->minor, p->keep_alive, p->chunked);
}

/* Hands the bytes over in steps, as a connection would, and writes down what came of them. */
static void run(const uint8_t *data, size_t size, size_t step, tg_buf *out)
{
    tg_h1_parser parser;
    char *input = malloc(size + 1);
    size_t held = 0, given = 0;
    require(input != NULL);
    tg_h1_init(&parser, HEADER_BYTES_MAX, BODY_BYTES_MAX);
    while (given < size) {
        size_t more = step < size - given ? step : size - given;
        memcpy(input + held, data + given, more);
        held += more;
        given += more;
        for (;;) {
            tg_h1_result result = tg_h1_feed(&parser, input, &held);
            if (result == TG_H1_BAD) {
                require(parser.status >= 400 && parser.status < 600 && parser.reason != NULL);
                tg_buf_printf(out, "bad %u\n", parser.status);
                free(input);
                return;
            }
            if (result == TG_H1_MORE)
                break;
            put_request(out, &parser, input, held);
            held -= parser.at;
            memmove(input, input + parser.at, held);
            tg_h1_init(&parser, HEADER_BYTES_MAX, BODY_BYTES_MAX);
            if (held == 0)
                break;
        }
    }
    free(input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_buf whole, cut;
    tg_buf_init(&whole, 0);
    tg_buf_init(&cut, 0);
    run(data, size, size + 1, &whole);
    run(data, size, 1, &cut);
    require(tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut)));
    tg_buf_free(&whole);
    tg_buf_free(&cut);
    return 0;
}
