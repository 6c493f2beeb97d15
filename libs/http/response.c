#include "libs/http/server_internal.h"

#include <errno.h>
#include <string.h>

/* ---- heads ---- */

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {529, "Overloaded"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown"; /* the phrase may be anything (RFC 9112, section 4) */
}

/* A cursor in space reserved beforehand. */
static char *put(char *to, tg_str text)
{
    if (text.len > 0)
        memcpy(to, text.data, text.len);
    return to + text.len;
}

static char *put_text(char *to, const char *text) { return put(to, tg_str_of(text)); }

static char *put_number(char *to, uint64_t value, unsigned base)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    return put(to, (tg_str){digits + at, sizeof(digits) - at});
}

/* A value that would end its line early, and so forge headers, is cut there. */
static tg_str header_safe(tg_str value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] == '\r' || value.data[i] == '\n' || value.data[i] == '\0')
            return (tg_str){value.data, i};
    return value;
}

typedef struct head {
    unsigned status;
    const char *content_type; /* or NULL */
    const tg_http_header *headers;
    size_t header_count;
    const uint64_t *length; /* NULL: a stream */
    size_t body_len;        /* room to reserve behind the head */
} head;

static int write_head(tg_http_conn *conn, const head *h)
{
    tg_http_exchange *x = &conn->x;
    size_t need = 256 + (h->content_type ? strlen(h->content_type) : 0) + h->body_len;
    for (size_t i = 0; i < h->header_count; i++)
        need += h->headers[i].name.len + h->headers[i].value.len + 4;
    tg_http_output_take(conn->server, &conn->out);
    int rc = tg_buf_reserve(&conn->out, need);
    if (rc < 0)
        return rc;
    bool empty = h->status == 204 || h->status == 304 || h->status < 200;
    x->bodiless |= empty;
    x->keep_alive &= !conn->server->draining && (h->length || !x->minor_0);
    x->chunked = !h->length && !x->minor_0;
    char *to = conn->out.data + conn->out.len;
    to = put(to, TG_STR("HTTP/1.1 "));
    to = put_number(to, h->status, 10);
    *to++ = ' ';
    to = put_text(to, reason_of(h->status));
    to = put(to, TG_STR("\r\nDate: "));
    to = put(to, tg_http_server_date(conn->server));
    if (h->content_type)
        to = put_text(put(to, TG_STR("\r\nContent-Type: ")), h->content_type);
    for (size_t i = 0; i < h->header_count; i++) {
        to = put(put(to, TG_STR("\r\n")), header_safe(h->headers[i].name));
        to = put(put(to, TG_STR(": ")), header_safe(h->headers[i].value));
    }
    if (h->length && !empty)
        to = put_number(put(to, TG_STR("\r\nContent-Length: ")), *h->length, 10);
    else if (x->chunked && !empty)
        to = put(to, TG_STR("\r\nTransfer-Encoding: chunked"));
    if (!x->keep_alive)
        to = put(to, TG_STR("\r\nConnection: close"));
    else if (x->minor_0)
        to = put(to, TG_STR("\r\nConnection: keep-alive"));
    to = put(to, TG_STR("\r\n\r\n"));
    conn->out.len = (size_t)(to - conn->out.data);
    return 0;
}

/* ---- exchanges ---- */

static tg_http_conn *conn_of(tg_http_exchange *x) { return TG_CONTAINER_OF(x, tg_http_conn, x); }

/* The answer is complete, or given up. */
static void finish(tg_http_exchange *x)
{
    tg_http_conn *conn = conn_of(x);
    x->active = false;
    if (!conn->orphan) {
        tg_http_conn_dirty(conn);
        return;
    }
    conn->orphan = false;
    if (!conn->server)
        tg_http_conn_release(conn);
}

void tg_http_stream_cut(tg_http_exchange *x)
{
    if (!x->active)
        return;
    x->keep_alive = false;
    x->cut = true;
    finish(x);
}

void tg_http_reply(tg_http_exchange *x, unsigned status, const char *content_type,
                   const tg_http_header *headers, size_t header_count, tg_str body)
{
    tg_http_conn *conn = conn_of(x);
    uint64_t length = body.len;
    head h = {status, content_type, headers, header_count, &length, body.len};
    if (!x->active || x->begun)
        return;
    if (conn->orphan) {
        finish(x);
        return;
    }
    if (write_head(conn, &h) < 0 || (!x->bodiless && tg_buf_add_str(&conn->out, body) < 0)) {
        tg_http_stream_cut(x);
        return;
    }
    finish(x);
}

void tg_http_stream_begin(tg_http_exchange *x, unsigned status, const char *content_type,
                          const tg_http_header *headers, size_t header_count)
{
    tg_http_conn *conn = conn_of(x);
    head h = {status, content_type, headers, header_count, NULL, 0};
    if (!x->active || x->begun || conn->orphan)
        return;
    x->begun = true;
    if (write_head(conn, &h) < 0)
        x->cut = true; /* the next write says so */
    tg_http_conn_dirty(conn);
}

int tg_http_stream_write(tg_http_exchange *x, tg_str bytes)
{
    tg_http_conn *conn = conn_of(x);
    if (!x->active || !x->begun || conn->orphan || x->cut)
        return -EPIPE;
    if (bytes.len == 0 || x->bodiless)
        return 0; /* an empty chunk would end the answer */
    size_t queued = tg_http_conn_queued(conn) + bytes.len;
    if (queued > conn->server->conf.write_buffer_max)
        return -ENOBUFS;
    tg_http_output_take(conn->server, &conn->out);
    if (tg_buf_reserve(&conn->out, bytes.len + 24) < 0)
        return -ENOBUFS;
    char *to = conn->out.data + conn->out.len;
    if (x->chunked)
        to = put(put_number(to, bytes.len, 16), TG_STR("\r\n"));
    to = put(to, bytes);
    if (x->chunked)
        to = put(to, TG_STR("\r\n"));
    conn->out.len = (size_t)(to - conn->out.data);
    x->was_full |= queued > conn->server->conf.write_high_water;
    tg_http_conn_dirty(conn);
    return 0;
}

bool tg_http_stream_full(const tg_http_exchange *x)
{
    const tg_http_conn *conn = TG_CONTAINER_OF(x, const tg_http_conn, x);
    return !conn->orphan && tg_http_conn_queued(conn) > conn->server->conf.write_high_water;
}

void tg_http_stream_end(tg_http_exchange *x)
{
    tg_http_conn *conn = conn_of(x);
    if (!x->active)
        return;
    if (!conn->orphan && x->chunked && !x->bodiless) {
        tg_http_output_take(conn->server, &conn->out);
        if (tg_buf_add_text(&conn->out, "0\r\n\r\n") < 0)
            x->cut = true;
    }
    if (x->cut || !x->begun)
        tg_http_stream_cut(x);
    else
        finish(x);
}

void tg_http_exchange_watch(tg_http_exchange *x, void (*on_abort)(void *user),
                            void (*on_writable)(void *user), void *user)
{
    x->on_abort = on_abort;
    x->on_writable = on_writable;
    x->user = user;
}

tg_str tg_http_request_header(const tg_http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (tg_str_is_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return (tg_str){NULL, 0};
}

/* ---- refusals ---- */

/* Before a request is known, neither is the client's dialect: the body is an error to all of them.
 */
void tg_http_refuse(tg_http_conn *conn, unsigned status, const char *reason)
{
    static const char format[] =
        "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"%s\","
        "\"param\":null,\"code\":null}}";
    tg_buf body;
    tg_buf_init(&body, 1024);
    conn->x = (tg_http_exchange){0};
    conn->phase = TG_HTTP_LINGERING;
    conn->deadline_ms = 0; /* from here on the write's */
    conn->ending = conn->linger = true;
    if (tg_buf_printf(&body, format, reason) < 0) {
        tg_http_conn_close(conn);
        return;
    }
    uint64_t length = body.len;
    head h = {status, "application/json", NULL, 0, &length, body.len};
    if (write_head(conn, &h) < 0 || tg_buf_add_str(&conn->out, tg_buf_str(&body)) < 0)
        tg_http_conn_close(conn);
    tg_buf_free(&body);
}
