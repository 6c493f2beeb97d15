/* A small HTTP/1.1 server for the stand-ins: one request after another on a connection, replies as pieces
 * with delays, TLS through memory BIOs. */
#include "tests/providers/providers.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef TG_HAVE_LLHTTP
#include <llhttp.h>
typedef llhttp_t parser_type;
typedef llhttp_settings_t parser_settings;
#else
#include <http_parser.h>
typedef http_parser parser_type;
typedef http_parser_settings parser_settings;
#endif

typedef struct listener {
    uv_tcp_t tcp;
    handler *on_request;
    bool tls;
} listener;

typedef struct conn {
    uv_tcp_t tcp;
    uv_timer_t timer;
    listener *listener;
    parser_type parser;
    SSL *ssl;
    request in;
    text url, name, value, pending; /* pending: bytes after a request that is still being answered */
    bool in_value, complete, keep_alive, replying, closing;
    unsigned handles, writes;
    reply out;
    size_t next;
    unsigned tokens_sent;
    uint64_t bytes_sent;
    bool logged;
    char inbox[65536];
} conn;

static unsigned connections;
static SSL_CTX *tls_context;
static parser_settings settings;

unsigned http_connections(void) { return connections; }

const char *header(const request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

static void request_free(request *r)
{
    free(r->path);
    for (size_t i = 0; i < r->header_count; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    text_free(&r->body);
    memset(r, 0, sizeof *r);
}

void reply_piece(reply *r, const char *data, size_t len, uint64_t delay_ms, unsigned tokens)
{
    if (r->count == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 16;
        r->pieces = realloc(r->pieces, r->cap * sizeof *r->pieces);
    }
    char *copy = malloc(len + 1);
    memcpy(copy, data, len);
    r->pieces[r->count++] = (piece){copy, len, delay_ms, tokens};
}

void reply_free(reply *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->pieces[i].data);
    free(r->pieces);
    text_free(&r->headers);
    memset(r, 0, sizeof *r);
}

/* ---- the end of a connection ---- */

static void log_once(conn *c, bool finished)
{
    if (c->replying && !c->logged && c->out.log.wanted)
        log_write(&c->out.log, finished, c->tokens_sent, c->bytes_sent);
    c->logged = true;
}

static void on_handle_closed(uv_handle_t *handle)
{
    conn *c = handle->data;
    if (--c->handles > 0)
        return;
    request_free(&c->in);
    reply_free(&c->out);
    text_free(&c->url);
    text_free(&c->name);
    text_free(&c->value);
    text_free(&c->pending);
    if (c->ssl)
        SSL_free(c->ssl);
    free(c);
    connections--;
}

static void conn_close(conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    log_once(c, false);
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

/* ---- writing ---- */

typedef struct write_job {
    uv_write_t req;
    conn *c;
    char *data;
    bool last;
} write_job;

static void next_request(conn *c);

static void on_written(uv_write_t *req, int status)
{
    write_job *job = req->data;
    conn *c = job->c;
    bool last = job->last;
    free(job->data);
    free(job);
    c->writes--;
    if (status < 0 || c->closing) {
        conn_close(c);
        return;
    }
    if (last && c->replying && c->writes == 0)
        next_request(c);
}

static void raw_write(conn *c, char *data, size_t len, bool last)
{
    write_job *job = malloc(sizeof *job);
    *job = (write_job){.c = c, .data = data, .last = last};
    job->req.data = job;
    uv_buf_t buf = uv_buf_init(data, (unsigned)len);
    c->writes++;
    if (uv_write(&job->req, (uv_stream_t *)&c->tcp, &buf, 1, on_written) < 0) {
        c->writes--;
        free(data);
        free(job);
        conn_close(c);
    }
}

static void send_bytes(conn *c, const char *data, size_t len, bool last)
{
    if (c->ssl) {
        SSL_write(c->ssl, data, (int)len);
        BIO *out = SSL_get_wbio(c->ssl);
        size_t size = BIO_ctrl_pending(out);
        char *cipher = malloc(size + 1);
        int got = BIO_read(out, cipher, (int)size);
        raw_write(c, cipher, got > 0 ? (size_t)got : 0, last);
        return;
    }
    char *copy = malloc(len + 1);
    memcpy(copy, data, len);
    raw_write(c, copy, len, last);
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    case 529: return "Overloaded";
    default: return "Status";
    }
}

static void frame(conn *c, text *out, const piece *p)
{
    if (c->out.chunked && p->len > 0)
        text_printf(out, "%zx\r\n", p->len);
    text_add(out, p->data, p->len);
    if (c->out.chunked && p->len > 0)
        text_add(out, "\r\n", 2);
}

static void on_timer(uv_timer_t *timer);

/* Sends pieces, behind what `out` holds already, until one has to wait. The log line is on disk before the
 * last byte leaves. Frees `out`. */
static void pump(conn *c, text *out)
{
    reply *r = &c->out;
    bool last;
    do {
        const piece *p = &r->pieces[c->next++];
        frame(c, out, p);
        c->tokens_sent = p->tokens;
        c->bytes_sent += p->len;
        last = c->next == r->count;
    } while (!last && r->one_write && r->pieces[c->next].delay_ms == 0);
    if (last && !r->stall) {
        log_once(c, !r->close_after);
        if (r->chunked && !r->close_after)
            text_add(out, "0\r\n\r\n", 5);
    }
    send_bytes(c, out->data, out->len, last && !r->stall);
    text_free(out);
    if (last || c->closing)
        return;
    if (r->pieces[c->next].delay_ms > 0) {
        uv_timer_start(&c->timer, on_timer, r->pieces[c->next].delay_ms, 0);
    } else {
        text more = {0};
        pump(c, &more);
    }
}

static void on_timer(uv_timer_t *timer)
{
    conn *c = timer->data;
    text out = {0};
    if (!c->closing)
        pump(c, &out);
}

static void start_reply(conn *c)
{
    text head = {0};
    size_t length = 0;
    reply *r = &c->out;
    for (size_t i = 0; i < r->count; i++)
        length += r->pieces[i].len;
    text_printf(&head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n", r->status, reason_of(r->status),
                r->content_type);
    text_add(&head, r->headers.data ? r->headers.data : "", r->headers.len);
    if (r->chunked)
        text_printf(&head, "Transfer-Encoding: chunked\r\n\r\n");
    else
        text_printf(&head, "Content-Length: %zu\r\n\r\n", length);
    if (r->count == 0)
        reply_piece(r, "", 0, 0, 0);
    c->next = 0;
    if (r->pieces[0].delay_ms == 0) {
        pump(c, &head); /* head and first piece in one write */
    } else {
        send_bytes(c, head.data, head.len, false);
        uv_timer_start(&c->timer, on_timer, r->pieces[0].delay_ms, 0);
        text_free(&head);
    }
}

/* ---- reading ---- */

static int on_url(parser_type *p, const char *at, size_t len)
{
    text_add(&((conn *)p->data)->url, at, len);
    return 0;
}

static void end_header(conn *c)
{
    if (c->name.len > 0 && c->in.header_count < HEADERS_MAX) {
        c->in.headers[c->in.header_count].name = strndup(c->name.data, c->name.len);
        c->in.headers[c->in.header_count++].value = strndup(c->value.data ? c->value.data : "", c->value.len);
    }
    c->name.len = c->value.len = 0;
    c->in_value = false;
}

static int on_field(parser_type *p, const char *at, size_t len)
{
    conn *c = p->data;
    if (c->in_value)
        end_header(c);
    text_add(&c->name, at, len);
    return 0;
}

static int on_value(parser_type *p, const char *at, size_t len)
{
    conn *c = p->data;
    c->in_value = true;
    text_add(&c->value, at, len);
    return 0;
}

static int on_body(parser_type *p, const char *at, size_t len)
{
    conn *c = p->data;
    if (c->in.body.len + len > BODY_MAX)
        return -1;
    text_add(&c->in.body, at, len);
    return 0;
}

static int on_complete(parser_type *p)
{
    conn *c = p->data;
    end_header(c);
#ifdef TG_HAVE_LLHTTP
    c->keep_alive = llhttp_should_keep_alive(p) != 0;
    snprintf(c->in.method, sizeof c->in.method, "%s", llhttp_method_name((llhttp_method_t)p->method));
    c->complete = true;
    return HPE_PAUSED;
#else
    c->keep_alive = http_should_keep_alive(p) != 0;
    snprintf(c->in.method, sizeof c->in.method, "%s", http_method_str((enum http_method)p->method));
    c->complete = true;
    http_parser_pause(p, 1);
    return 0;
#endif
}

static void parser_reset(conn *c)
{
#ifdef TG_HAVE_LLHTTP
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
#else
    http_parser_init(&c->parser, HTTP_REQUEST);
#endif
    c->parser.data = c;
    c->complete = false;
}

/* Feeds bytes; what follows a complete request is kept until that one is answered. */
static void feed(conn *c, const char *data, size_t len)
{
    if (c->replying) {
        text_add(&c->pending, data, len);
        return;
    }
#ifdef TG_HAVE_LLHTTP
    llhttp_errno_t error = llhttp_execute(&c->parser, data, len);
    size_t used = error == HPE_PAUSED ? (size_t)(llhttp_get_error_pos(&c->parser) - data) : len;
    bool bad = error != HPE_OK && error != HPE_PAUSED;
#else
    size_t used = http_parser_execute(&c->parser, &settings, data, len);
    enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
    bool bad = error != HPE_OK && error != HPE_PAUSED;
#endif
    if (bad) {
        conn_close(c);
        return;
    }
    if (!c->complete)
        return;
    if (used < len)
        text_add(&c->pending, data + used, len - used);
    char *query = c->url.data ? memchr(c->url.data, '?', c->url.len) : NULL;
    c->in.path = strndup(c->url.data ? c->url.data : "/",
                         query ? (size_t)(query - c->url.data) : c->url.len);
    c->replying = true;
    c->logged = false;
    c->tokens_sent = 0;
    c->bytes_sent = 0;
    c->listener->on_request(&c->in, &c->out);
    start_reply(c);
}

static void next_request(conn *c)
{
    bool drop = c->out.close_after || !c->keep_alive;
    c->replying = false;
    request_free(&c->in);
    reply_free(&c->out);
    c->url.len = 0;
    if (drop) {
        conn_close(c);
        return;
    }
    parser_reset(c);
    if (c->pending.len > 0) {
        text again = c->pending;
        c->pending = (text){0};
        feed(c, again.data, again.len);
        text_free(&again);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    conn *c = handle->data;
    (void)size;
    *buf = uv_buf_init(c->inbox, sizeof c->inbox);
}

static void flush_tls(conn *c)
{
    BIO *out = SSL_get_wbio(c->ssl);
    size_t size = BIO_ctrl_pending(out);
    if (size == 0)
        return;
    char *cipher = malloc(size);
    int got = BIO_read(out, cipher, (int)size);
    raw_write(c, cipher, got > 0 ? (size_t)got : 0, false);
}

static void read_tls(conn *c, const char *data, size_t len)
{
    char plain[16384];
    BIO_write(SSL_get_rbio(c->ssl), data, (int)len);
    for (int got; !c->closing && (got = SSL_read(c->ssl, plain, sizeof plain)) > 0;)
        feed(c, plain, (size_t)got);
    if (!c->closing)
        flush_tls(c);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    conn *c = stream->data;
    if (got < 0)
        conn_close(c);
    else if (c->ssl)
        read_tls(c, buf->base, (size_t)got);
    else if (got > 0)
        feed(c, buf->base, (size_t)got);
}

static void on_connection(uv_stream_t *server, int status)
{
    listener *l = server->data;
    conn *c = status == 0 ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return;
    c->listener = l;
    c->tcp.data = c->timer.data = c;
    c->handles = 2;
    connections++;
    uv_tcp_init(server->loop, &c->tcp);
    uv_timer_init(server->loop, &c->timer);
    if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0 || connections > CONNECTIONS_MAX) {
        conn_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    if (l->tls) {
        c->ssl = SSL_new(tls_context);
        SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_accept_state(c->ssl);
    }
    parser_reset(c);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static void load_tls(void)
{
    tls_context = SSL_CTX_new(TLS_server_method());
    if (!tls_context || SSL_CTX_use_certificate_chain_file(tls_context, opt.cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, opt.key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

int http_listen(uv_loop_t *loop, const char *bind_to, int port, bool tls, handler *on_request)
{
    listener *l = calloc(1, sizeof *l);
    struct sockaddr_in address;
    int len = sizeof address, fd, one = 1;
#ifdef TG_HAVE_LLHTTP
    llhttp_settings_init(&settings);
#else
    http_parser_settings_init(&settings);
#endif
    settings.on_url = on_url;
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_body = on_body;
    settings.on_message_complete = on_complete;
    if (tls && !tls_context)
        load_tls();
    l->on_request = on_request;
    l->tls = tls;
    l->tcp.data = l;
    uv_ip4_addr(bind_to, port, &address);
    uv_tcp_init_ex(loop, &l->tcp, AF_INET);
    if (opt.reuseport && uv_fileno((uv_handle_t *)&l->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    int rc = uv_tcp_bind(&l->tcp, (struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&l->tcp, 1024, on_connection);
    if (rc < 0) {
        fprintf(stderr, "providers: %s:%d: %s\n", bind_to, port, uv_strerror(rc));
        exit(1);
    }
    uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&address, &len);
    return ntohs(address.sin_port);
}
