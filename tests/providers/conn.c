#include "tests/providers/conn.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct out {
    uv_write_t write;
    struct conn *conn;
    size_t len;
    char data[];
};

/* Bytes are used up inside the read callback, so one buffer serves every connection. */
static char read_buffer[64 << 10];

static void feed(struct conn *conn, const char *data, size_t len);

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    if (--conn->open_handles > 0)
        return;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        conn->net->first = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->net->conn_count--;
    if (conn->handler->free)
        conn->handler->free(conn->user);
    tls_free(conn->tls);
    request_free(&conn->request);
    buf_free(&conn->ahead);
    free(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->closing)
        return;
    conn->closing = true;
    if (conn->answering && conn->handler->gone)
        conn->handler->gone(conn);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
    uv_close((uv_handle_t *)&conn->timer, on_closed);
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    if (conn->dropping)
        conn_close(conn);
    else if (!conn->closing)
        conn->handler->tick(conn);
}

void conn_wait(struct conn *conn, uint64_t delay_ms)
{
    if (conn->closing)
        return;
    /* Never early: the loop's clock counts whole milliseconds, and stands since its last turn. */
    uv_update_time(conn->timer.loop);
    uv_timer_start(&conn->timer, on_timer, delay_ms > 0 ? delay_ms + 1 : 0, 0);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status)
{
    struct conn *conn = shutdown->data;
    if (status < 0)
        conn_close(conn);
    else if (!conn->closing) /* all is flushed */
        uv_timer_start(&conn->timer, on_timer, CONN_LINGER_MS, 0);
}

void conn_drop(struct conn *conn)
{
    if (conn->closing || conn->dropping)
        return;
    conn->answering = false;
    conn->dropping = true;
    uv_timer_stop(&conn->timer);
    conn->shutdown.data = conn;
    if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shutdown) < 0)
        conn_close(conn);
}

/* ---- writing ---- */

static void on_written(uv_write_t *write, int status)
{
    struct out *out = (struct out *)write;
    struct conn *conn = out->conn;
    bool was_congested = conn_congested(conn);
    conn->backlog_bytes -= out->len;
    free(out);
    if (conn->closing)
        return;
    if (status < 0)
        conn_close(conn);
    else if (was_congested && !conn_congested(conn) && conn->answering && conn->handler->drained)
        conn->handler->drained(conn);
}

static void send_raw(struct conn *conn, const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t sent = 0;
    if (a_len + b_len == 0 || conn->closing)
        return;
    if (conn->backlog_bytes == 0) {
        uv_buf_t bufs[2];
        unsigned count = 0;
        if (a_len)
            bufs[count++] = uv_buf_init((char *)(uintptr_t)a, (unsigned)a_len);
        if (b_len)
            bufs[count++] = uv_buf_init((char *)(uintptr_t)b, (unsigned)b_len);
        int got = uv_try_write((uv_stream_t *)&conn->tcp, bufs, count);
        if (got < 0 && got != UV_EAGAIN) {
            conn_close(conn);
            return;
        }
        sent = got > 0 ? (size_t)got : 0;
        if (sent == a_len + b_len)
            return;
    }
    size_t from_a = sent < a_len ? a_len - sent : 0;
    size_t from_b = b_len - (sent > a_len ? sent - a_len : 0);
    struct out *out = malloc(sizeof *out + from_a + from_b);
    if (!out)
        abort();
    out->conn = conn;
    out->len = from_a + from_b;
    memcpy(out->data, a + a_len - from_a, from_a);
    memcpy(out->data + from_a, b + b_len - from_b, from_b);
    uv_buf_t buf = uv_buf_init(out->data, (unsigned)out->len);
    conn->backlog_bytes += out->len;
    if (uv_write(&out->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written) < 0) {
        conn->backlog_bytes -= out->len;
        free(out);
        conn_close(conn);
    }
}

static void send_cipher(struct conn *conn)
{
    static char cipher[32 << 10];
    for (int got; !conn->closing && (got = tls_drain(conn->tls, cipher, sizeof cipher)) > 0;)
        send_raw(conn, cipher, (size_t)got, "", 0);
}

void conn_send(struct conn *conn, const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (conn->closing)
        return;
    if (!conn->tls) {
        send_raw(conn, a, a_len, b, b_len);
        return;
    }
    int failed = tls_write(conn->tls, a, a_len) < 0 || tls_write(conn->tls, b, b_len) < 0;
    send_cipher(conn);
    if (failed)
        conn_close(conn);
}

bool conn_congested(const struct conn *conn)
{
    return conn->backlog_bytes > CONN_BACKLOG_BYTES_MAX;
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(read_buffer, sizeof read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    static char plain[32 << 10];
    struct conn *conn = stream->data;
    if (got < 0) {
        conn_close(conn);
        return;
    }
    if (!conn->tls) {
        feed(conn, buf->base, (size_t)got);
        return;
    }
    tls_feed(conn->tls, buf->base, (size_t)got);
    int len = 0;
    while (!conn->closing && (len = tls_read(conn->tls, plain, sizeof plain)) > 0)
        feed(conn, plain, (size_t)len);
    send_cipher(conn); /* handshakes and alerts */
    if (len < 0)
        conn_close(conn);
}

static void read_more(struct conn *conn)
{
    if (conn->reading || conn->closing)
        return;
    conn->reading = true;
    if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) < 0)
        conn_close(conn);
}

static void keep_ahead(struct conn *conn, const char *data, size_t len)
{
    buf_add(&conn->ahead, data, len);
    if (conn->ahead.len > CONN_AHEAD_BYTES_MAX && conn->reading) {
        uv_read_stop((uv_stream_t *)&conn->tcp);
        conn->reading = false;
    }
}

static void hand_over(struct conn *conn, enum parse_result result)
{
    conn->continued = false;
    conn->answering = true;
    conn->feeding = true;
    if (result == PARSE_DONE)
        conn->handler->request(conn);
    else
        conn->handler->refuse(conn, result);
    conn->feeding = false;
}

static void feed(struct conn *conn, const char *data, size_t len)
{
    while (len > 0 && !conn->closing && !conn->dropping) {
        if (conn->answering) {
            keep_ahead(conn, data, len);
            return;
        }
        size_t used = 0;
        enum parse_result result = parser_feed(&conn->parser, data, len, &used);
        data += used;
        len -= used;
        if (result != PARSE_MORE) {
            hand_over(conn, result);
        } else if (conn->request.expect_continue && !conn->continued) {
            static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
            conn->continued = true;
            conn_send(conn, go_on, sizeof go_on - 1, "", 0);
        }
    }
}

void conn_done(struct conn *conn)
{
    if (conn->closing)
        return;
    conn->answering = false;
    if (!conn->request.keep_alive || conn->net->stopping) {
        conn_drop(conn);
        return;
    }
    parser_next(&conn->parser);
    if (conn->feeding) /* the loop in feed goes on by itself */
        return;
    struct buf ahead = conn->ahead;
    conn->ahead = (struct buf){0};
    feed(conn, ahead.data, ahead.len);
    buf_free(&ahead);
    if (conn->ahead.len <= CONN_AHEAD_BYTES_MAX)
        read_more(conn);
}

/* ---- listening ---- */

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *listener = stream->data;
    struct net *net = listener->net;
    if (status < 0)
        return;
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        abort();
    uv_tcp_init(net->loop, &conn->tcp);
    uv_timer_init(net->loop, &conn->timer);
    conn->tcp.data = conn->timer.data = conn;
    conn->open_handles = 2;
    conn->net = net;
    conn->handler = listener->handler;
    conn->next = net->first;
    if (net->first)
        net->first->prev = conn;
    net->first = conn;
    if (++net->conn_count > net->conn_most)
        net->conn_most = net->conn_count;
    parser_init(&conn->parser, &conn->request);
    if (uv_accept(stream, (uv_stream_t *)&conn->tcp) < 0 || net->conn_count > CONN_COUNT_MAX) {
        net->conn_refused++;
        conn_close(conn);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    if (listener->tls)
        conn->tls = tls_new(listener->tls);
    read_more(conn);
}

static int open_socket(struct listener *listener, const struct sockaddr *address, bool reuseport)
{
    int on = 1;
    if (!reuseport)
        return uv_tcp_bind(&listener->tcp, address, 0);
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return UV_EMFILE;
    socklen_t size =
        address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        bind(fd, address, size) < 0) {
        close(fd);
        return UV_EADDRINUSE;
    }
    int err = uv_tcp_open(&listener->tcp, fd);
    if (err < 0)
        close(fd);
    return err;
}

int net_listen(struct net *net, const char *bind, int port, bool reuseport, SSL_CTX *tls,
               const struct conn_handler *handler, int *ret_port)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;
    struct listener *listener = &net->listeners[net->listener_count];
    int err = uv_ip4_addr(bind, port, (struct sockaddr_in *)&address);
    if (err < 0)
        err = uv_ip6_addr(bind, port, (struct sockaddr_in6 *)&address);
    if (err < 0)
        return err;
    uv_tcp_init(net->loop, &listener->tcp);
    net->listener_count++;
    listener->net = net;
    listener->handler = handler;
    listener->tls = tls;
    listener->tcp.data = listener;
    err = open_socket(listener, (struct sockaddr *)&address, reuseport);
    if (err == 0)
        err = uv_listen((uv_stream_t *)&listener->tcp, 1024, on_connection);
    if (err == 0)
        err = uv_tcp_getsockname(&listener->tcp, (struct sockaddr *)&address, &size);
    if (err == 0)
        *ret_port = ntohs(((struct sockaddr_in *)&address)->sin_port); /* at one place in both */
    return err;
}

static void on_grace_over(uv_timer_t *timer)
{
    struct net *net = timer->data;
    for (struct conn *conn = net->first; conn; conn = conn->next)
        conn_close(conn);
}

void net_stop(struct net *net)
{
    if (net->stopping)
        return;
    net->stopping = true;
    for (size_t i = 0; i < net->listener_count; i++)
        uv_close((uv_handle_t *)&net->listeners[i].tcp, NULL);
    for (struct conn *conn = net->first; conn; conn = conn->next)
        if (!conn->answering && !conn->dropping)
            conn_close(conn);
    uv_timer_init(net->loop, &net->grace);
    net->grace.data = net;
    uv_timer_start(&net->grace, on_grace_over, NET_GRACE_MS, 0);
    uv_unref((uv_handle_t *)&net->grace); /* the loop ends with its last connection */
}
