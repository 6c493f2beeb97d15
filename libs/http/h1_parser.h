/* HTTP/1.x requests from bytes: framing of our own, strict, over a packaged parser of the head.
 *
 * The framing decides where a message ends, which is what request smuggling is about, so it is
 * strict: every line ends in CR LF, no folded lines, one Content-Length of digits alone, no
 * Content-Length beside Transfer-Encoding, no transfer coding but `chunked`, exact chunk framing
 * (RFC 9112, sections 5 to 7). The head, once whole, is taken apart by llhttp or http_parser,
 * whichever the system has.
 *
 * The message starts at data[0]. The caller appends bytes and feeds the same buffer again; the
 * buffer may move between calls, since everything is kept as offsets. A chunked body is put
 * together in place. No sockets, no clock, no allocation. Bounds: the two limits and
 * TG_H1_HEADERS_MAX.
 */
#ifndef TG_HTTP_H1_PARSER_H
#define TG_HTTP_H1_PARSER_H

#include "libs/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_H1_HEADERS_MAX 128 /* header fields of one message; more are refused */
#define TG_H1_BLANK_LINES_MAX 4   /* tolerated before a request (RFC 9112, section 2.2) */
#define TG_H1_CHUNK_EXT_MAX 4096u /* bytes of chunk extensions in one message */

typedef struct tg_h1_span {
    uint32_t at, len;
} tg_h1_span;

typedef struct tg_h1_header {
    tg_h1_span name, value;
} tg_h1_header;

typedef enum tg_h1_state {
    TG_H1_HEAD,
    TG_H1_BODY,
    TG_H1_CHUNK_SIZE,
    TG_H1_CHUNK_EXT,
    TG_H1_CHUNK_SIZE_LF,
    TG_H1_CHUNK_DATA,
    TG_H1_CHUNK_CR,
    TG_H1_CHUNK_LF,
    TG_H1_TRAILER,
    TG_H1_DONE
} tg_h1_state;

typedef enum tg_h1_result { TG_H1_MORE, TG_H1_COMPLETE, TG_H1_BAD } tg_h1_result;

typedef struct tg_h1_parser {
    uint32_t header_bytes_max, body_bytes_max;
    tg_h1_state state;

    /* The head, valid once the state is past TG_H1_HEAD. */
    tg_h1_span method, path, query;
    uint32_t header_count;
    tg_h1_header headers[TG_H1_HEADERS_MAX];
    unsigned minor; /* of the version: 0 or 1 */
    bool keep_alive;
    bool expect_continue;
    bool is_head;
    bool chunked;
    uint32_t body_left; /* of Content-Length, or of the chunk under way */

    /* Valid on TG_H1_COMPLETE: the body, and where the next message starts. */
    tg_h1_span body;
    size_t at;

    /* Valid on TG_H1_BAD. */
    unsigned status;
    const char *reason;

    /* Where the framing stands. */
    uint32_t line_at, start;
    unsigned blank_lines;
    uint32_t chunk_digits, chunk_ext, trailer_bytes, trailer_line;
    bool trailer_cr;
    bool is_value; /* the head parser spoke of a value last */
} tg_h1_parser;

void tg_h1_init(tg_h1_parser *parser, uint32_t header_bytes_max, uint32_t body_bytes_max);

/* Takes data[0, *len). On TG_H1_MORE *len may have become smaller (chunk framing is dropped): the
 * next bytes belong at data + *len. After TG_H1_COMPLETE, data[at, *len) is what follows the
 * message. */
tg_h1_result tg_h1_feed(tg_h1_parser *parser, char *data, size_t *len);

/* Bytes still missing as far as is known; 0 when unknown. */
size_t tg_h1_missing(const tg_h1_parser *parser);

#endif
