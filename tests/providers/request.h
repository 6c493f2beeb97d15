/* One HTTP/1.1 request, and the parser that fills it.
 *
 * Debian 12 packages http-parser and Debian 13 its successor llhttp; request.c is the only file
 * that knows which. Both refuse a request with a Content-Length and a Transfer-Encoding.
 *
 * Ownership: the caller owns both structs; request_free releases the buffers.
 */
#ifndef PROVIDERS_REQUEST_H
#define PROVIDERS_REQUEST_H

#include "tests/providers/buf.h"

#include <stdbool.h>

#ifdef TG_HAVE_LLHTTP
#include <llhttp.h>
typedef llhttp_t http1_parser;
#else
#include <http_parser.h>
typedef http_parser http1_parser;
#endif

#define REQUEST_HEADERS_MAX 64
#define REQUEST_HEAD_BYTES_MAX ((size_t)64 << 10)
#define REQUEST_BODY_BYTES_MAX ((size_t)32 << 20)

struct header {
    size_t name;  /* offset into head, NUL-terminated */
    size_t value; /* the same */
};

struct request {
    struct buf head; /* the URL, then header names and values, each followed by a NUL */
    struct buf body;
    struct header headers[REQUEST_HEADERS_MAX];
    size_t header_count;
    const char *method;
    bool http10;
    bool keep_alive;
    bool expect_continue; /* the client waits for a 100 before its body */
};

enum parse_result {
    PARSE_MORE,     /* all bytes used, the request is not complete */
    PARSE_DONE,     /* complete; bytes behind it are unused */
    PARSE_BAD,      /* not HTTP */
    PARSE_TOO_LARGE /* head or body past its bound */
};

struct parser {
    http1_parser http;
    struct request *request;
    int part; /* what the last callback saw: 0 URL, 1 header name, 2 header value */
    bool done;
    bool too_large;
};

/* Starts a parser for a new connection, and empties the request for its next one. */
void parser_init(struct parser *parser, struct request *request);
void parser_next(struct parser *parser);

/* Reads up to one request. The connection is over after PARSE_BAD and PARSE_TOO_LARGE. */
enum parse_result parser_feed(struct parser *parser, const char *data, size_t len,
                              size_t *ret_used);

const char *request_url(const struct request *request);
const char *request_header(const struct request *request, const char *name); /* NULL: absent */
void request_free(struct request *request);

#endif
