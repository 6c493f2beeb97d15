#include "libs/http/h1_parser.h"

#include <string.h>

#ifdef TG_HAVE_LLHTTP
#include <llhttp.h>
typedef llhttp_t head_parser;
typedef llhttp_settings_t head_settings;
#else
#include <http_parser.h>
typedef http_parser head_parser;
typedef http_parser_settings head_settings;
#endif

void tg_h1_init(tg_h1_parser *p, uint32_t header_bytes_max, uint32_t body_bytes_max)
{
    /* Not the whole struct: the table of headers is large and header_count says what is valid. */
    p->header_bytes_max = header_bytes_max;
    p->body_bytes_max = body_bytes_max;
    p->state = TG_H1_HEAD;
    p->method = p->path = p->query = p->body = (tg_h1_span){0, 0};
    p->header_count = 0;
    p->minor = 1;
    p->keep_alive = p->expect_continue = p->is_head = p->chunked = false;
    p->body_left = 0;
    p->at = 0;
    p->status = 0;
    p->reason = NULL;
    p->line_at = p->start = 0;
    p->blank_lines = 0;
    p->chunk_digits = p->chunk_ext = p->trailer_bytes = p->trailer_line = 0;
    p->trailer_cr = p->is_value = false;
}

static tg_h1_result bad(tg_h1_parser *p, unsigned status, const char *reason)
{
    p->status = status;
    p->reason = reason;
    return TG_H1_BAD;
}

static tg_str slice(const char *data, tg_h1_span span)
{
    return (tg_str){data + span.at, span.len};
}

/* ---- the head, by the packaged parser ---- */

typedef struct head_job {
    tg_h1_parser *p;
    const char *data;
    bool too_many, complete;
} head_job;

static void extend(const head_job *job, tg_h1_span *span, const char *at, size_t len)
{
    if (span->len == 0)
        span->at = (uint32_t)(at - job->data);
    span->len += (uint32_t)len;
}

static int on_url(head_parser *lib, const char *at, size_t len)
{
    head_job *job = lib->data;
    extend(job, &job->p->path, at, len);
    return 0;
}

static int on_header_field(head_parser *lib, const char *at, size_t len)
{
    head_job *job = lib->data;
    tg_h1_parser *p = job->p;
    if (p->header_count == 0 || p->is_value) {
        if (p->header_count == TG_H1_HEADERS_MAX) {
            job->too_many = true;
            return -1;
        }
        p->headers[p->header_count++] = (tg_h1_header){{0, 0}, {0, 0}};
        p->is_value = false;
    }
    extend(job, &p->headers[p->header_count - 1].name, at, len);
    return 0;
}

static int on_header_value(head_parser *lib, const char *at, size_t len)
{
    head_job *job = lib->data;
    job->p->is_value = true;
    if (job->p->header_count > 0)
        extend(job, &job->p->headers[job->p->header_count - 1].value, at, len);
    return 0;
}

static int on_headers_complete(head_parser *lib)
{
    head_job *job = lib->data;
    job->complete = true;
    lib->upgrade = 0;
    return 1; /* the body is none of its business */
}

/* Hands the whole head to the packaged parser. Returns 0, or the status to refuse with. */
static unsigned run_head_parser(tg_h1_parser *p, const char *data, size_t end)
{
    head_job job = {.p = p, .data = data};
    head_settings settings;
    head_parser lib;
    const char *from = data + p->start;
    size_t len = end - p->start;
#ifdef TG_HAVE_LLHTTP
    llhttp_settings_init(&settings);
#else
    http_parser_settings_init(&settings);
#endif
    settings.on_url = on_url;
    settings.on_header_field = on_header_field;
    settings.on_header_value = on_header_value;
    settings.on_headers_complete = on_headers_complete;
#ifdef TG_HAVE_LLHTTP
    llhttp_init(&lib, HTTP_REQUEST, &settings);
    lib.data = &job;
    llhttp_errno_t error = llhttp_execute(&lib, from, len);
#else
    http_parser_init(&lib, HTTP_REQUEST);
    lib.data = &job;
    http_parser_execute(&lib, &settings, from, len);
    enum http_errno error = HTTP_PARSER_ERRNO(&lib);
#endif
    p->minor = lib.http_minor;
    p->is_head = lib.method == HTTP_HEAD;
    if (job.too_many)
        return 431;
    if (job.complete)
        return lib.method == HTTP_CONNECT ? 501 : 0;
    return error == HPE_INVALID_METHOD ? 501 : 400;
}

/* ---- what the head means ---- */

static bool has_token(tg_str list, const char *token)
{
    while (list.len > 0) {
        const char *comma = memchr(list.data, ',', list.len);
        size_t len = comma ? (size_t)(comma - list.data) : list.len;
        if (tg_str_is_nocase(tg_str_trim((tg_str){list.data, len}), token))
            return true;
        list = comma ? (tg_str){comma + 1, list.len - len - 1} : (tg_str){NULL, 0};
    }
    return false;
}

typedef struct framing {
    unsigned lengths, codings, hosts;
    uint64_t length;
    bool closes;
} framing;

static tg_h1_result take_header(tg_h1_parser *p, framing *f, tg_str name, tg_str value)
{
    switch (name.len) {
    case 4:
        f->hosts += tg_str_is_nocase(name, "host");
        break;
    case 6:
        p->expect_continue |=
            tg_str_is_nocase(name, "expect") && tg_str_is_nocase(value, "100-continue");
        break;
    case 10:
        if (tg_str_is_nocase(name, "connection")) {
            f->closes |= has_token(value, "close");
            p->keep_alive |= p->minor == 0 && has_token(value, "keep-alive");
        }
        break;
    case 14:
        if (!tg_str_is_nocase(name, "content-length"))
            break;
        f->lengths++;
        if (value.len > 19 || tg_str_u64(value, &f->length) < 0)
            return bad(p, 400, "Content-Length is not a number");
        break;
    case 17:
        if (!tg_str_is_nocase(name, "transfer-encoding"))
            break;
        f->codings++;
        break;
    default:
        break;
    }
    return TG_H1_MORE;
}

static tg_h1_result decide_framing(tg_h1_parser *p, const char *data)
{
    framing f = {0};
    p->keep_alive = p->minor > 0;
    for (uint32_t i = 0; i < p->header_count; i++) {
        tg_h1_header *h = &p->headers[i];
        tg_str value = tg_str_trim(slice(data, h->value));
        if (h->value.len > 0)
            h->value = (tg_h1_span){(uint32_t)(value.data - data), (uint32_t)value.len};
        if (take_header(p, &f, slice(data, h->name), value) == TG_H1_BAD)
            return TG_H1_BAD;
    }
    p->keep_alive &= !f.closes;
    if (f.hosts > 1 || (f.hosts == 0 && p->minor > 0))
        return bad(p, 400, "a request has exactly one Host header");
    if (f.codings > 0 && (f.lengths > 0 || p->minor == 0))
        return bad(p, 400,
                   f.lengths > 0 ? "both Content-Length and Transfer-Encoding"
                                 : "Transfer-Encoding in an HTTP/1.0 request");
    if (f.codings > 1 || f.lengths > 1)
        return bad(p, 400, "Content-Length or Transfer-Encoding is repeated");
    if (f.length > p->body_bytes_max)
        return bad(p, 413, "the body is too large");
    p->chunked = f.codings > 0;
    p->body_left = (uint32_t)f.length;
    return TG_H1_MORE;
}

/* Splits the target into path and query; an absolute target loses its scheme and authority. */
static tg_h1_result split_target(tg_h1_parser *p, const char *data)
{
    tg_str target = slice(data, p->path);
    if (tg_str_starts(target, "http://") || tg_str_starts(target, "https://")) {
        size_t skip = target.data[4] == 's' ? 8 : 7;
        while (skip < target.len && target.data[skip] != '/' && target.data[skip] != '?')
            skip++;
        p->path = (tg_h1_span){p->path.at + (uint32_t)skip, p->path.len - (uint32_t)skip};
        target = slice(data, p->path);
    }
    if (target.len == 0 || (target.data[0] != '/' && !tg_str_is(target, "*")))
        return bad(p, 400, "the request target is not a path");
    if (memchr(target.data, '#', target.len))
        return bad(p, 400, "the request target has a fragment");
    const char *mark = memchr(target.data, '?', target.len);
    if (mark) {
        uint32_t len = (uint32_t)(mark - target.data);
        p->query = (tg_h1_span){p->path.at + len + 1, p->path.len - len - 1};
        p->path.len = len;
    }
    return TG_H1_MORE;
}

static tg_h1_result take_head(tg_h1_parser *p, const char *data, size_t end)
{
    unsigned status = run_head_parser(p, data, end);
    if (status != 0)
        return bad(p, status,
                   status == 501   ? "the method is not supported"
                   : status == 431 ? "too many headers"
                                   : "the request's head is malformed");
    if (split_target(p, data) == TG_H1_BAD || decide_framing(p, data) == TG_H1_BAD)
        return TG_H1_BAD;
    p->body = (tg_h1_span){(uint32_t)end, 0};
    p->at = end;
    p->state = p->chunked ? TG_H1_CHUNK_SIZE : p->body_left > 0 ? TG_H1_BODY : TG_H1_DONE;
    return TG_H1_MORE;
}

/* ---- lines ---- */

/* Letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, section 5.6.2), a bit each. The packaged parsers
 * take more for a name when built for speed, a space before the colon for one. */
static bool is_token(tg_str text)
{
    static const uint32_t allowed[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (!(allowed[c >> 5] >> (c & 31) & 1))
            return false;
    }
    return text.len > 0;
}

/* METHOD SP target SP HTTP/1.x; anything else is refused before the head is whole. */
static tg_h1_result check_request_line(tg_h1_parser *p, const char *data, tg_str line)
{
    const char *space = memchr(line.data, ' ', line.len);
    size_t method = space ? (size_t)(space - line.data) : 0;
    if (!is_token((tg_str){line.data, method}))
        return bad(p, 400, "the request line is malformed");
    p->method = (tg_h1_span){(uint32_t)(line.data - data), (uint32_t)method};
    const char *version = line.len < method + 11 ? NULL : line.data + line.len - 9;
    if (!version || memcmp(version, " HTTP/", 6) != 0 || version[7] != '.' ||
        memchr(space + 1, ' ', (size_t)(version - space - 1)))
        return bad(p, 400, "the request line is malformed");
    if (version[6] != '1' || (version[8] != '0' && version[8] != '1'))
        return bad(p, 505, "the HTTP version is not supported");
    return TG_H1_MORE;
}

/* What the packaged parsers see differently from each other, or not at all: the name, the value's
 * first byte, the transfer coding. */
static tg_h1_result check_header_line(tg_h1_parser *p, tg_str line)
{
    const char *colon = memchr(line.data, ':', line.len);
    tg_str name = {line.data, colon ? (size_t)(colon - line.data) : 0};
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return bad(p, 400, "a folded header line");
    if (!is_token(name))
        return bad(p, 400, "a header line is malformed");
    tg_str value = {colon + 1, line.len - name.len - 1};
    while (value.len > 0 && (value.data[0] == ' ' || value.data[0] == '\t'))
        value = (tg_str){value.data + 1, value.len - 1};
    if (value.len > 0 && ((unsigned char)value.data[0] < ' ' || value.data[0] == 127))
        return bad(p, 400, "a control character in a header");
    if (name.len == 17 && tg_str_is_nocase(name, "transfer-encoding") &&
        !tg_str_is_nocase(tg_str_trim(value), "chunked"))
        return bad(p, 501, "no transfer coding but chunked is supported");
    return TG_H1_MORE;
}

/* One line of the head, without CR LF. */
static tg_h1_result take_line(tg_h1_parser *p, char *data, tg_str line, size_t next)
{
    bool first = p->method.len == 0;
    if (memchr(line.data, '\r', line.len) || memchr(line.data, '\0', line.len))
        return bad(p, 400, "a bare CR or a NUL in the request's head");
    if (line.len > 0 && first)
        return check_request_line(p, data, line);
    if (line.len > 0)
        return check_header_line(p, line);
    if (!first)
        return take_head(p, data, next);
    if (++p->blank_lines > TG_H1_BLANK_LINES_MAX)
        return bad(p, 400, "blank lines before the request");
    p->start = (uint32_t)next;
    return TG_H1_MORE;
}

static tg_h1_result feed_head(tg_h1_parser *p, char *data, size_t len)
{
    while (p->state == TG_H1_HEAD && p->at < len) {
        char *lf = memchr(data + p->at, '\n', len - p->at);
        size_t next = lf ? (size_t)(lf - data) + 1 : len;
        /* What cannot begin a request, a TLS hello for one, is refused at its first byte. */
        if (p->method.len == 0 && data[p->line_at] != '\r' &&
            !is_token((tg_str){data + p->line_at, 1}))
            return bad(p, 400, "the request line is malformed");
        if (next - p->start > p->header_bytes_max)
            return p->method.len == 0 ? bad(p, 414, "the request line is too long")
                                      : bad(p, 431, "the request's head is too large");
        p->at = next;
        if (!lf)
            break;
        if (next - p->line_at < 2 || data[next - 2] != '\r')
            return bad(p, 400, "a line of the head does not end in CR LF");
        tg_str line = {data + p->line_at, next - p->line_at - 2};
        p->line_at = (uint32_t)next;
        if (take_line(p, data, line, next) == TG_H1_BAD)
            return TG_H1_BAD;
    }
    return TG_H1_MORE;
}

/* ---- bodies ---- */

static void feed_body(tg_h1_parser *p, size_t len)
{
    size_t take = len - p->at < p->body_left ? len - p->at : p->body_left;
    p->body.len += (uint32_t)take;
    p->body_left -= (uint32_t)take;
    p->at += take;
    if (p->body_left == 0)
        p->state = TG_H1_DONE;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static tg_h1_result chunk_size_byte(tg_h1_parser *p, char c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++p->chunk_digits > 16)
            return bad(p, 400, "a chunk size is too long");
        if (((uint64_t)p->body_left << 4) + (unsigned)digit > p->body_bytes_max - p->body.len)
            return bad(p, 413, "the body is too large");
        p->body_left = (p->body_left << 4) + (uint32_t)digit;
        return TG_H1_MORE;
    }
    if (p->chunk_digits == 0 || (c != '\r' && c != ';'))
        return bad(p, 400, "a chunk size is malformed");
    p->state = c == '\r' ? TG_H1_CHUNK_SIZE_LF : TG_H1_CHUNK_EXT;
    return TG_H1_MORE;
}

static tg_h1_result trailer_byte(tg_h1_parser *p, char c)
{
    if (++p->trailer_bytes > p->header_bytes_max)
        return bad(p, 431, "the trailer is too large");
    if (p->trailer_cr != (c == '\n') || c == '\0')
        return bad(p, 400, "the trailer is malformed");
    p->trailer_cr = c == '\r';
    if (c == '\n') {
        if (p->trailer_line == 0)
            p->state = TG_H1_DONE;
        p->trailer_line = 0;
    } else if (c != '\r') {
        p->trailer_line++;
    }
    return TG_H1_MORE;
}

/* One byte of chunk framing. */
static tg_h1_result chunk_byte(tg_h1_parser *p, char c)
{
    switch (p->state) {
    case TG_H1_CHUNK_SIZE:
        return chunk_size_byte(p, c);
    case TG_H1_CHUNK_EXT:
        if (++p->chunk_ext > TG_H1_CHUNK_EXT_MAX ||
            (c != '\r' && c != '\t' && (unsigned char)c < ' '))
            return bad(p, 400, "a chunk extension is malformed or too long");
        if (c == '\r')
            p->state = TG_H1_CHUNK_SIZE_LF;
        return TG_H1_MORE;
    case TG_H1_CHUNK_SIZE_LF:
        p->state = p->body_left > 0 ? TG_H1_CHUNK_DATA : TG_H1_TRAILER;
        p->chunk_digits = 0;
        return c == '\n' ? TG_H1_MORE : bad(p, 400, "a chunk size does not end in CR LF");
    case TG_H1_CHUNK_CR:
        p->state = TG_H1_CHUNK_LF;
        return c == '\r' ? TG_H1_MORE : bad(p, 400, "a chunk does not end in CR LF");
    case TG_H1_CHUNK_LF:
        p->state = TG_H1_CHUNK_SIZE;
        return c == '\n' ? TG_H1_MORE : bad(p, 400, "a chunk does not end in CR LF");
    default:
        return trailer_byte(p, c);
    }
}

static tg_h1_result feed_chunks(tg_h1_parser *p, char *data, size_t len)
{
    while (p->state != TG_H1_DONE && p->at < len) {
        if (p->state != TG_H1_CHUNK_DATA) {
            if (chunk_byte(p, data[p->at++]) == TG_H1_BAD)
                return TG_H1_BAD;
            continue;
        }
        size_t take = len - p->at < p->body_left ? len - p->at : p->body_left;
        memmove(data + p->body.at + p->body.len, data + p->at, take);
        p->body.len += (uint32_t)take;
        p->body_left -= (uint32_t)take;
        p->at += take;
        if (p->body_left == 0)
            p->state = TG_H1_CHUNK_CR;
    }
    return TG_H1_MORE;
}

tg_h1_result tg_h1_feed(tg_h1_parser *p, char *data, size_t *len)
{
    if (p->state == TG_H1_HEAD && feed_head(p, data, *len) == TG_H1_BAD)
        return TG_H1_BAD;
    if (p->state == TG_H1_BODY)
        feed_body(p, *len);
    else if (p->chunked && p->state != TG_H1_HEAD && feed_chunks(p, data, *len) == TG_H1_BAD)
        return TG_H1_BAD;
    if (p->state == TG_H1_DONE)
        return TG_H1_COMPLETE;
    if (p->chunked && p->state != TG_H1_HEAD)
        *len = p->at = p->body.at + p->body.len;
    return TG_H1_MORE;
}

size_t tg_h1_missing(const tg_h1_parser *p)
{
    return p->state == TG_H1_BODY || p->state == TG_H1_CHUNK_DATA ? p->body_left : 0;
}
