/* A server on a loop of the test's own, and raw sockets that talk to it: the loop runs only while a
 * test waits, so that everything happens on one thread and in a known order. */
#ifndef TG_TESTS_UNIT_LIBS_HTTP_WIRE_H
#define TG_TESTS_UNIT_LIBS_HTTP_WIRE_H

#include "libs/base/buf.h"
#include "libs/base/clock.h"
#include "libs/http/server.h"
#include "tests/unit/harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WIRE_PATIENCE_MS 5000u

typedef struct wire {
    uv_loop_t loop;
    tg_http_server *server;
    unsigned requests, aborts, writables, drained;
    tg_http_exchange *held; /* of the path /hold */
    char last[256];         /* "METHOD path?query" of the last request */
} wire;

static inline void wire_on_abort(void *user)
{
    wire *w = user;
    w->aborts++;
    w->held = NULL;
}

static inline void wire_on_writable(void *user) { ((wire *)user)->writables++; }
static inline void wire_on_drained(void *user) { ((wire *)user)->drained++; }

static inline void wire_stream(tg_http_exchange *x)
{
    tg_http_stream_begin(x, 200, "text/event-stream", NULL, 0);
    tg_http_stream_write(x, TG_STR("data: one\n\n"));
    tg_http_stream_write(x, TG_STR("data: two\n\n"));
    tg_http_stream_end(x);
}

/* /echo: the body back; /hold: kept in `held`; /forget: kept without watching; /stream: two events;
 * anything else: "ok". */
static inline void wire_handler(void *user, tg_http_exchange *x, const tg_http_request *r)
{
    wire *w = user;
    w->requests++;
    snprintf(w->last, sizeof(w->last), TG_STR_FMT " " TG_STR_FMT "?" TG_STR_FMT,
             TG_STR_ARG(r->method), TG_STR_ARG(r->path), TG_STR_ARG(r->query));
    if (tg_str_is(r->path, "/hold")) {
        w->held = x;
        tg_http_exchange_watch(x, wire_on_abort, wire_on_writable, w);
    } else if (tg_str_is(r->path, "/forget")) {
        w->held = x;
    } else if (tg_str_is(r->path, "/stream")) {
        wire_stream(x);
    } else if (tg_str_is(r->path, "/echo")) {
        tg_http_reply(x, 200, "text/plain", NULL, 0, r->body);
    } else {
        tg_http_reply(x, 200, "text/plain", NULL, 0, TG_STR("ok"));
    }
}

static inline void wire_open(wire *w, tg_http_server_conf conf)
{
    tg_error err = {{0}};
    memset(w, 0, sizeof(*w));
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&w->loop);
    conf.host = "127.0.0.1";
    conf.handler = conf.handler ? conf.handler : wire_handler;
    conf.user = w;
    int rc = tg_http_server_new(&w->loop, &conf, &err, &w->server);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

/* Everything must be gone by then: the loop refuses to close otherwise. */
static inline void wire_close(wire *w)
{
    tg_http_server_close(w->server);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    CU_ASSERT_EQUAL(uv_loop_close(&w->loop), 0);
}

static inline uint64_t wire_now_ms(void) { return tg_clock_mono_ns() / 1000000; }

static inline void wire_turn(wire *w)
{
    uv_run(&w->loop, UV_RUN_NOWAIT);
    poll(NULL, 0, 1);
}

static inline void wire_run_ms(wire *w, uint64_t ms)
{
    for (uint64_t end = wire_now_ms() + ms; wire_now_ms() < end;)
        wire_turn(w);
}

/* Until the server has `count` connections: it lets go of one a turn after its client has seen the
 * end. */
static inline bool wire_connections(wire *w, size_t count)
{
    uint64_t before = wire_now_ms();
    while (tg_http_server_connections(w->server) != count &&
           wire_now_ms() - before < WIRE_PATIENCE_MS)
        wire_run_ms(w, 1);
    return tg_http_server_connections(w->server) == count;
}

/* Runs the loop until the counter has reached `value`. */
static inline bool wire_wait(wire *w, const unsigned *counter, unsigned value)
{
    for (uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS; *counter < value && wire_now_ms() < end;)
        wire_turn(w);
    return *counter >= value;
}

static inline int wire_connect_port(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static inline int wire_connect(wire *w)
{
    int fd = wire_connect_port(tg_http_server_port(w->server));
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    return fd;
}

static inline void wire_send(wire *w, int fd, tg_str bytes)
{
    uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS;
    while (bytes.len > 0 && wire_now_ms() < end) {
        ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (sent > 0)
            bytes = (tg_str){bytes.data + sent, bytes.len - (size_t)sent};
        else if (errno != EAGAIN)
            return; /* the server has closed: the test looks at what it answered */
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
}

typedef enum wire_end { WIRE_FOUND, WIRE_CLOSED, WIRE_RESET, WIRE_TIMEOUT } wire_end;

/* Appends to `got` until it contains `mark` `times` times (NULL: until the end of the connection).
 */
static inline wire_end wire_read(wire *w, int fd, tg_buf *got, const char *mark, unsigned times)
{
    char bytes[65536];
    for (uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS; wire_now_ms() < end;) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        ssize_t count = recv(fd, bytes, sizeof(bytes), 0);
        if (count == 0)
            return WIRE_CLOSED;
        if (count < 0 && errno != EAGAIN)
            return WIRE_RESET;
        if (count > 0)
            tg_buf_add(got, bytes, (size_t)count);
        else
            poll(NULL, 0, 1);
        unsigned found = 0;
        for (const char *at = got->data; mark && at && (at = strstr(at, mark)); at += strlen(mark))
            found++;
        if (mark && found >= times)
            return WIRE_FOUND;
    }
    return WIRE_TIMEOUT;
}

/* One connection, one send, everything that comes back until it closes. */
static inline wire_end wire_ask(wire *w, tg_str request, tg_buf *got)
{
    int fd = wire_connect(w);
    wire_send(w, fd, request);
    wire_end end = wire_read(w, fd, got, NULL, 0);
    close(fd);
    return end;
}

static inline bool wire_has(const tg_buf *got, const char *text)
{
    bool found = got->data && strstr(got->data, text);
    if (!found)
        printf("# '%s' is missing in: %.400s\n", text, got->data ? got->data : "");
    return found;
}

#endif
