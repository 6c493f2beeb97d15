#include "tests/providers/request.h"

#include <string.h>
#include <strings.h>

static int add_head(struct parser *parser, const char *data, size_t len)
{
    struct request *request = parser->request;
    if (request->head.len + len + 2 > REQUEST_HEAD_BYTES_MAX) {
        parser->too_large = true;
        return -1;
    }
    buf_add(&request->head, data, len);
    return 0;
}

/* Callbacks may come in pieces; a NUL goes behind the last piece when another part begins. */
static void end_part(struct parser *parser, int part)
{
    if (parser->part != part)
        buf_add(&parser->request->head, "", 1);
    parser->part = part;
}

static int on_url(http1_parser *http, const char *data, size_t len)
{
    return add_head(http->data, data, len);
}

static int on_name(http1_parser *http, const char *data, size_t len)
{
    struct parser *parser = http->data;
    struct request *request = parser->request;
    if (parser->part != 1) {
        if (request->header_count == REQUEST_HEADERS_MAX) {
            parser->too_large = true;
            return -1;
        }
        end_part(parser, 1);
        request->headers[request->header_count++] = (struct header){request->head.len, 0};
    }
    return add_head(parser, data, len);
}

static int on_value(http1_parser *http, const char *data, size_t len)
{
    struct parser *parser = http->data;
    struct request *request = parser->request;
    if (parser->part != 2) {
        end_part(parser, 2);
        request->headers[request->header_count - 1].value = request->head.len;
    }
    return add_head(parser, data, len);
}

static int on_headers(http1_parser *http)
{
    struct parser *parser = http->data;
    struct request *request = parser->request;
    if (parser->part == 1) { /* a name whose value was empty and never reported */
        end_part(parser, 2);
        request->headers[request->header_count - 1].value = request->head.len;
    }
    end_part(parser, 3);
    const char *expect = request_header(request, "expect");
    request->expect_continue = expect && strcasecmp(expect, "100-continue") == 0;
    request->http10 = http->http_major < 1 || (http->http_major == 1 && http->http_minor == 0);
    if (http->content_length != UINT64_MAX && http->content_length > REQUEST_BODY_BYTES_MAX) {
        parser->too_large = true;
        return -1;
    }
    return 0;
}

static int on_body(http1_parser *http, const char *data, size_t len)
{
    struct parser *parser = http->data;
    if (parser->request->body.len + len > REQUEST_BODY_BYTES_MAX) {
        parser->too_large = true;
        return -1;
    }
    buf_add(&parser->request->body, data, len);
    return 0;
}

static int on_complete(http1_parser *http)
{
    struct parser *parser = http->data;
    parser->done = true;
#ifdef TG_HAVE_LLHTTP
    parser->request->method = llhttp_method_name((llhttp_method_t)http->method);
    parser->request->keep_alive = llhttp_should_keep_alive(http) != 0;
    return HPE_PAUSED;
#else
    parser->request->method = http_method_str((enum http_method)http->method);
    parser->request->keep_alive = http_should_keep_alive(http) != 0;
    http_parser_pause(http, 1);
    return 0;
#endif
}

#ifdef TG_HAVE_LLHTTP
static llhttp_settings_t settings;
#else
static http_parser_settings settings;
#endif

void parser_init(struct parser *parser, struct request *request)
{
    settings.on_url = on_url;
    settings.on_header_field = on_name;
    settings.on_header_value = on_value;
    settings.on_headers_complete = on_headers;
    settings.on_body = on_body;
    settings.on_message_complete = on_complete;
#ifdef TG_HAVE_LLHTTP
    llhttp_init(&parser->http, HTTP_REQUEST, &settings);
#else
    http_parser_init(&parser->http, HTTP_REQUEST);
#endif
    parser->http.data = parser;
    parser->request = request;
    parser_next(parser);
}

void parser_next(struct parser *parser)
{
    buf_clear(&parser->request->head);
    buf_clear(&parser->request->body);
    parser->request->header_count = 0;
    parser->request->expect_continue = false;
    parser->part = 0;
    parser->done = false;
    parser->too_large = false;
}

enum parse_result parser_feed(struct parser *parser, const char *data, size_t len, size_t *ret_used)
{
    size_t used = len;
#ifdef TG_HAVE_LLHTTP
    llhttp_errno_t err = llhttp_execute(&parser->http, data, len);
    if (parser->done) {
        used = (size_t)(llhttp_get_error_pos(&parser->http) - data);
        if (err == HPE_PAUSED_UPGRADE)
            llhttp_resume_after_upgrade(&parser->http);
        else
            llhttp_resume(&parser->http);
    }
    bool bad = err != HPE_OK && !parser->done;
#else
    used = http_parser_execute(&parser->http, &settings, data, len);
    bool bad = !parser->done && (used != len || HTTP_PARSER_ERRNO(&parser->http) != HPE_OK);
    if (parser->done)
        http_parser_pause(&parser->http, 0);
#endif
    *ret_used = used;
    if (parser->too_large)
        return PARSE_TOO_LARGE;
    if (bad)
        return PARSE_BAD;
    return parser->done ? PARSE_DONE : PARSE_MORE;
}

const char *request_url(const struct request *request)
{
    return request->head.len ? request->head.data : "";
}

const char *request_header(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->head.data + request->headers[i].name, name) == 0)
            return request->head.data + request->headers[i].value;
    return NULL;
}

void request_free(struct request *request)
{
    buf_free(&request->head);
    buf_free(&request->body);
}
