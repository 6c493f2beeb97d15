#include "libs/http/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROOM_MIN = 2048, /* less than this free for a read: the buffer grows */
    SLACK = 1024     /* free behind a whole request, so that a client's going away is seen */
};

/* ---- closing ---- */

void tg_http_conn_release(tg_http_conn *conn)
{
    tg_http_server *server = conn->server;
    tg_http_input_give(server, conn->input);
    tg_http_output_give(server, &conn->out);
    tg_http_output_give(server, &conn->wire);
    tg_tls_free(conn->tls);
    if (server && server->spare_count < TG_HTTP_POOL_MAX)
        server->spare[server->spare_count++] = conn;
    else
        free(conn);
}

static void on_closed(uv_handle_t *handle)
{
    tg_http_conn *conn = handle->data;
    tg_http_server *server = conn->server;
    tg_list_remove(&conn->all);
    tg_list_remove(&conn->dirty);
    if (conn->orphan)
        conn->server = NULL;
    else
        tg_http_conn_release(conn);
    tg_http_server_forget(server);
}

void tg_http_conn_close(tg_http_conn *conn)
{
    if (conn->phase == TG_HTTP_CLOSED)
        return;
    conn->phase = TG_HTTP_CLOSED;
    if (!conn->reset || uv_tcp_close_reset(&conn->tcp, on_closed) < 0)
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

void tg_http_conn_fail(tg_http_conn *conn)
{
    tg_http_exchange *x = &conn->x;
    if (conn->phase == TG_HTTP_CLOSED)
        return;
    bool tell = x->active && x->on_abort;
    conn->orphan = x->active && !x->on_abort;
    x->active = conn->orphan;
    tg_http_conn_close(conn);
    if (tell)
        x->on_abort(x->user);
}

/* The client sends no more. Answers that are complete still go out; a client that waits for one is
 * taken to have gone away. */
static void client_ended(tg_http_conn *conn)
{
    if (conn->phase == TG_HTTP_RECEIVING || conn->x.active ||
        !(conn->writing || conn->out.len > 0)) {
        tg_http_conn_fail(conn);
        return;
    }
    uv_read_stop((uv_stream_t *)&conn->tcp);
    conn->reading = conn->linger = false;
    conn->ending = true;
}

/* ---- deadlines ---- */

static void check_write(tg_http_conn *conn, uint64_t now_ms)
{
    size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
    if (left != conn->write_left) {
        conn->write_left = left;
        conn->write_deadline_ms = now_ms + conn->server->conf.write_timeout_ms;
    } else if (now_ms >= conn->write_deadline_ms) {
        tg_http_conn_fail(conn);
    }
}

void tg_http_conn_deadline(tg_http_conn *conn, uint64_t now_ms)
{
    if (conn->phase != TG_HTTP_CLOSED && conn->writing)
        check_write(conn, now_ms);
    if (conn->deadline_ms == 0 || now_ms < conn->deadline_ms)
        return;
    if (conn->phase == TG_HTTP_RECEIVING) {
        tg_http_refuse(conn, 408,
                       conn->awaits_body ? "the request's body did not arrive in time"
                                         : "the request's head did not arrive in time");
        tg_http_conn_flush(conn);
    } else if ((conn->phase == TG_HTTP_IDLE || conn->phase == TG_HTTP_LINGERING) &&
               !conn->writing) {
        tg_http_conn_close(conn);
    }
}

static void rest(tg_http_conn *conn)
{
    conn->phase = TG_HTTP_IDLE;
    conn->deadline_ms = uv_now(conn->server->loop) + conn->server->conf.idle_timeout_ms;
}

/* ---- requests ---- */

static int grow(tg_http_input *input, size_t cap)
{
    char *data = realloc(input->data, cap);
    if (!data)
        return -ENOMEM;
    input->data = data;
    input->cap = cap;
    return 0;
}

/* Moves the request under way to the front: once a read, and not for each request taken, since a
 * long pipeline would be moved by a request's length each time. */
static void compact(tg_http_input *input)
{
    if (input->start == 0)
        return;
    memmove(input->data, input->data + input->start, input->len - input->start);
    input->len -= input->start;
    input->start = 0;
}

/* Room behind a whole request, by moving it or else by growing. What is pipelined behind it may
 * fill that room, but makes the buffer no larger. */
static int keep_slack(tg_http_input *input)
{
    if (input->cap - input->start - input->parser.at >= SLACK / 2)
        return 0;
    if (input->start < SLACK / 2)
        return grow(input, input->cap + SLACK);
    compact(input);
    return 0;
}

/* Free bytes behind the input. A request under way gets as much as it is known to need; while one
 * is with the handler, which holds pointers into the buffer, it does not grow. */
static size_t make_room(tg_http_conn *conn)
{
    tg_http_input *input = conn->input;
    if (!input) {
        input = conn->input = tg_http_input_take(conn->server);
        if (!input)
            return 0;
        tg_h1_init(&input->parser, conn->server->conf.header_bytes_max,
                   conn->server->conf.body_bytes_max);
    }
    if (conn->phase != TG_HTTP_ANSWERING)
        compact(input);
    size_t missing = tg_h1_missing(&input->parser);
    size_t need = missing > ROOM_MIN ? missing : ROOM_MIN;
    if (conn->phase != TG_HTTP_ANSWERING && input->cap - input->len < need + SLACK) {
        size_t cap = input->len + need + SLACK;
        if (grow(input, cap > input->cap * 2 ? cap : input->cap * 2) < 0)
            return 0;
    }
    return input->cap - input->len;
}

static void begin_exchange(tg_http_conn *conn)
{
    tg_http_input *input = conn->input;
    const tg_h1_parser *p = &input->parser;
    if (keep_slack(input) < 0) {
        tg_http_conn_close(conn);
        return;
    }
    const char *data = input->data + input->start;
    for (uint32_t i = 0; i < p->header_count; i++) {
        const tg_h1_header *h = &p->headers[i];
        input->headers[i].name = (tg_str){data + h->name.at, h->name.len};
        input->headers[i].value = (tg_str){data + h->value.at, h->value.len};
    }
    conn->x = (tg_http_exchange){
        .request = {.method = {data + p->method.at, p->method.len},
                    .path = {data + p->path.at, p->path.len},
                    .query = {data + p->query.at, p->query.len},
                    .headers = input->headers,
                    .header_count = p->header_count,
                    .body = {data + p->body.at, p->body.len},
                    .peer = conn->peer,
                    .tls = conn->tls != NULL},
        .active = true,
        .bodiless = p->is_head,
        .minor_0 = p->minor == 0,
        .keep_alive = p->keep_alive,
    };
    conn->phase = TG_HTTP_ANSWERING;
    conn->deadline_ms = 0;
    conn->server->conf.handler(conn->server->conf.user, &conn->x, &conn->x.request);
}

static void request_incomplete(tg_http_conn *conn)
{
    const tg_h1_parser *p = &conn->input->parser;
    const tg_http_server_conf *conf = &conn->server->conf;
    bool body = p->state != TG_H1_HEAD;
    conn->deadline_ms =
        conn->request_at_ms + (body ? conf->body_timeout_ms : conf->header_timeout_ms);
    if (body && !conn->awaits_body && p->expect_continue && p->minor > 0 && p->body.len == 0) {
        tg_http_output_take(conn->server, &conn->out);
        if (tg_buf_add_text(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n") < 0)
            tg_http_conn_close(conn);
    }
    conn->awaits_body = body;
}

bool tg_http_conn_has_more(const tg_http_conn *conn)
{
    return conn->phase == TG_HTTP_IDLE && conn->input && conn->input->len > 0;
}

/* A client that does not read its answers waits for the next: they would pile up here. */
static bool is_held(const tg_http_conn *conn)
{
    return conn->phase == TG_HTTP_IDLE &&
           tg_http_conn_queued(conn) > conn->server->conf.write_high_water;
}

bool tg_http_conn_waits(const tg_http_conn *conn)
{
    return conn->phase == TG_HTTP_IDLE && !conn->ending && !is_held(conn) &&
           (!conn->reading || tg_http_conn_has_more(conn));
}

/* Makes of the input what it holds. False when there is nothing more to do with it now. */
static bool take_request(tg_http_conn *conn)
{
    tg_http_input *input = conn->input;
    if (!input || input->len == 0 || conn->phase > TG_HTTP_RECEIVING || is_held(conn))
        return false;
    if (conn->phase == TG_HTTP_IDLE) {
        conn->phase = TG_HTTP_RECEIVING;
        conn->request_at_ms = uv_now(conn->server->loop);
        conn->awaits_body = false;
    }
    size_t len = input->len - input->start;
    tg_h1_result result = tg_h1_feed(&input->parser, input->data + input->start, &len);
    input->len = input->start + len;
    switch (result) {
    case TG_H1_MORE:
        request_incomplete(conn);
        return false;
    case TG_H1_BAD:
        tg_http_refuse(conn, input->parser.status, input->parser.reason);
        return false;
    default:
        begin_exchange(conn);
        return true;
    }
}

/* The exchange is answered: on to what the client sent behind it, or to the connection's end. */
static void finish_exchange(tg_http_conn *conn)
{
    tg_http_input *input = conn->input;
    size_t left = input->len - input->start - input->parser.at;
    if (!conn->x.keep_alive || conn->server->draining) {
        conn->phase = TG_HTTP_LINGERING;
        conn->ending = true;
        conn->linger = left > 0 && !conn->x.cut;
        conn->reset = conn->x.cut && conn->x.minor_0;
        return;
    }
    input->start += input->parser.at;
    if (left == 0)
        input->start = input->len = 0;
    tg_h1_init(&input->parser, conn->server->conf.header_bytes_max,
               conn->server->conf.body_bytes_max);
    rest(conn);
}

static void take_requests(tg_http_conn *conn)
{
    do {
        if (conn->phase == TG_HTTP_ANSWERING) {
            if (conn->x.active)
                return;
            finish_exchange(conn);
        }
    } while (take_request(conn));
    if (conn->phase == TG_HTTP_IDLE && conn->input && conn->input->len == 0) {
        tg_http_input_give(conn->server, conn->input);
        conn->input = NULL;
    }
}

/* ---- reading ---- */

/* Nothing is read while pipelined requests fill the buffer, or while the client is to read
 * first. */
static bool is_full(const tg_http_conn *conn)
{
    return conn->phase == TG_HTTP_CLOSED || is_held(conn) ||
           (conn->phase == TG_HTTP_ANSWERING && conn->input->len == conn->input->cap);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    tg_http_conn *conn = handle->data;
    (void)suggested;
    if (conn->tls || conn->phase >= TG_HTTP_LINGERING) {
        *ret = uv_buf_init(conn->server->scratch, TG_HTTP_SCRATCH_BYTES);
        return;
    }
    size_t room = make_room(conn); /* 0 when memory is short: libuv reports ENOBUFS */
    *ret = uv_buf_init(room ? conn->input->data + conn->input->len : NULL, (unsigned)room);
}

/* Plain bytes out of TLS, as far as there are any and there is room for them. */
static void pull_tls(tg_http_conn *conn)
{
    long got = 0;
    do {
        char *to = conn->server->scratch;
        size_t room = TG_HTTP_SCRATCH_BYTES;
        if (conn->phase < TG_HTTP_LINGERING) {
            room = make_room(conn);
            if (room == 0)
                return;
            to = conn->input->data + conn->input->len;
        }
        got = tg_tls_read(conn->tls, to, room);
        if (got > 0 && conn->phase < TG_HTTP_LINGERING) {
            conn->input->len += (size_t)got;
            take_requests(conn);
        }
    } while (got > 0 && !is_full(conn));
    if (got < 0) {
        tg_http_conn_flush(conn); /* an alert may say why */
        client_ended(conn);
    } else if (conn->phase == TG_HTTP_IDLE && conn->input && conn->input->len == 0) {
        tg_http_input_give(conn->server, conn->input);
        conn->input = NULL;
    }
}

static void stop_when_full(tg_http_conn *conn)
{
    if (!conn->reading || !is_full(conn))
        return;
    uv_read_stop((uv_stream_t *)&conn->tcp);
    conn->reading = false;
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    tg_http_conn *conn = stream->data;
    if (count == 0 || conn->phase == TG_HTTP_CLOSED)
        return;
    conn->in_turn = true;
    if (count == UV_EOF) {
        client_ended(conn);
    } else if (count < 0) {
        tg_http_conn_fail(conn);
    } else if (conn->tls) {
        if (tg_tls_feed(conn->tls, (tg_str){buf->base, (size_t)count}) < 0)
            tg_http_conn_fail(conn);
        else
            pull_tls(conn);
    } else if (conn->phase < TG_HTTP_LINGERING) {
        conn->input->len += (size_t)count;
        take_requests(conn);
    }
    conn->in_turn = false;
    stop_when_full(conn);
    tg_http_conn_flush(conn);
}

void tg_http_conn_run(tg_http_conn *conn)
{
    conn->in_turn = true;
    take_requests(conn);
    if (!conn->reading && conn->tls && !is_full(conn))
        pull_tls(conn);
    if (!conn->reading && !conn->ending && !is_full(conn))
        conn->reading = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) == 0;
    stop_when_full(conn);
    conn->in_turn = false;
}

/* ---- accepting ---- */

static void name_peer(tg_http_conn *conn)
{
    struct sockaddr_storage address = {0};
    int len = sizeof(address);
    char text[48] = "";
    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &len) == 0)
        uv_ip_name((struct sockaddr *)&address, text, sizeof(text));
    snprintf(conn->peer, sizeof(conn->peer), "%s:%u", text,
             (unsigned)ntohs(((struct sockaddr_in *)&address)->sin_port));
}

void tg_http_conn_accept(tg_http_server *server)
{
    tg_http_conn *conn =
        server->spare_count > 0 ? server->spare[--server->spare_count] : malloc(sizeof(*conn));
    if (!conn)
        return;
    *conn = (tg_http_conn){.server = server};
    if (uv_tcp_init(server->loop, &conn->tcp) < 0) {
        free(conn);
        return;
    }
    conn->tcp.data = conn->write.data = conn->shutdown.data = conn;
    tg_list_init(&conn->dirty);
    tg_list_add_tail(&server->conns, &conn->all);
    server->conn_count++;
    server->handles++;
    rest(conn);
    int rc = uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&conn->tcp);
    if (rc == 0 && server->conn_count > server->conf.connections_max)
        rc = UV_EMFILE;
    if (rc == 0 && server->tls) {
        conn->tls = tg_tls_new(server->tls);
        conn->deadline_ms = uv_now(server->loop) + server->conf.header_timeout_ms;
        rc = conn->tls ? 0 : UV_ENOMEM;
    }
    if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    if (rc < 0) {
        tg_http_conn_close(conn);
        return;
    }
    conn->reading = true;
    uv_tcp_nodelay(&conn->tcp, 1);
    name_peer(conn);
}
