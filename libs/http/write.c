#include "libs/http/server_internal.h"

#include <errno.h>

static void on_pending(uv_idle_t *handle) { (void)handle; }

void tg_http_conn_dirty(tg_http_conn *conn)
{
    tg_http_server *server = conn->server;
    if (conn->in_turn || !tg_list_empty(&conn->dirty))
        return;
    if (tg_list_empty(&server->dirty))
        uv_idle_start(&server->pending, on_pending);
    tg_list_add_tail(&server->dirty, &conn->dirty);
}

void tg_http_server_flush(tg_http_server *server)
{
    if (tg_list_empty(&server->dirty))
        return;
    while (!tg_list_empty(&server->dirty)) {
        tg_http_conn *conn = TG_CONTAINER_OF(server->dirty.next, tg_http_conn, dirty);
        tg_list_remove(&conn->dirty);
        if (conn->phase == TG_HTTP_CLOSED)
            continue;
        tg_http_conn_run(conn);
        tg_http_conn_flush(conn);
    }
    uv_idle_stop(&server->pending);
}

size_t tg_http_conn_queued(const tg_http_conn *conn)
{
    return conn->out.len + uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)request;
    (void)status;
}

/* Everything is written and the connection is to end. */
static void end(tg_http_conn *conn)
{
    if (conn->tls && !conn->x.cut) {
        tg_tls_goodbye(conn->tls);
        tg_str bytes = tg_tls_pending(conn->tls);
        uv_buf_t buf = uv_buf_init((char *)bytes.data, (unsigned)bytes.len);
        if (bytes.len > 0) /* a courtesy: what does not fit now is dropped */
            uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
        tg_tls_taken(conn->tls);
    }
    if (!conn->linger) {
        tg_http_conn_close(conn);
        return;
    }
    /* Closing now would reset the connection under bytes the client still sends, and with it would
     * go the answer it has not read yet. So: no more from us, and its bytes are read and dropped
     * for a while. */
    conn->linger = conn->ending = false;
    conn->phase = TG_HTTP_LINGERING;
    conn->deadline_ms = uv_now(conn->server->loop) + TG_HTTP_LINGER_MS;
    if (!conn->reading || uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shutdown) < 0)
        tg_http_conn_close(conn);
}

static void on_written(uv_write_t *request, int status)
{
    tg_http_conn *conn = request->data;
    conn->writing = false;
    tg_http_output_give(conn->server, &conn->wire);
    if (status < 0)
        tg_http_conn_fail(conn);
    else
        tg_http_conn_flush(conn);
}

/* Hands what the socket did not take to libuv. */
static void write_later(tg_http_conn *conn, tg_str bytes)
{
    uv_buf_t buf = uv_buf_init((char *)bytes.data, (unsigned)bytes.len);
    if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written) < 0) {
        tg_http_conn_fail(conn);
        return;
    }
    conn->writing = true;
    conn->write_left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
    conn->write_deadline_ms = uv_now(conn->server->loop) + conn->server->conf.write_timeout_ms;
}

static void write_some(tg_http_conn *conn, tg_str bytes)
{
    uv_buf_t buf = uv_buf_init((char *)bytes.data, (unsigned)bytes.len);
    int rc = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    if (rc < 0 && rc != UV_EAGAIN) {
        tg_http_conn_fail(conn);
        return;
    }
    size_t sent = rc < 0 ? 0 : (size_t)rc;
    bool whole = sent == bytes.len;
    tg_str left = {bytes.data + sent, bytes.len - sent};
    if (!conn->tls) {
        if (whole) {
            tg_http_output_give(conn->server, &conn->out);
        } else {
            conn->wire = conn->out;
            conn->out = (tg_buf){0};
            write_later(conn, left);
        }
        return;
    }
    if (!whole) {
        tg_http_output_take(conn->server, &conn->wire);
        if (tg_buf_add_str(&conn->wire, left) < 0)
            tg_http_conn_fail(conn);
        else
            write_later(conn, tg_buf_str(&conn->wire));
    }
    tg_tls_taken(conn->tls);
}

void tg_http_conn_flush(tg_http_conn *conn)
{
    tg_http_exchange *x = &conn->x;
    if (conn->phase == TG_HTTP_CLOSED || conn->writing)
        return;
    if (conn->tls && conn->out.len > 0) {
        if (tg_tls_write(conn->tls, tg_buf_str(&conn->out)) < 0) {
            tg_http_conn_fail(conn);
            return;
        }
        tg_http_output_give(conn->server, &conn->out);
    }
    tg_str bytes = conn->tls ? tg_tls_pending(conn->tls) : tg_buf_str(&conn->out);
    if (bytes.len > 0)
        write_some(conn, bytes);
    if (conn->phase == TG_HTTP_CLOSED)
        return;
    if (x->active && x->was_full &&
        tg_http_conn_queued(conn) < conn->server->conf.write_high_water / 2) {
        x->was_full = false;
        if (x->on_writable)
            x->on_writable(x->user);
    } else if (conn->ending && !conn->writing && conn->out.len == 0) {
        end(conn);
    } else if (tg_http_conn_waits(conn)) {
        tg_http_conn_dirty(conn); /* the client has read its answers: on to its next request */
    }
}
