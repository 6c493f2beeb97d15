/* Slow clients, clients that go away, backpressure, drain, limits. */
#include "tests/unit/libs/http/wire.h"

#define GET(path) TG_STR("GET " path " HTTP/1.1\r\nHost: a\r\n\r\n")

static void test_slow_requests(void)
{
    static const struct {
        const char *sent, *has;
    } cases[] = {
        {"GET / HT", "HTTP/1.1 408 Request Timeout\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nA: b", "the request's head did not arrive in time"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfour",
         "the request's body did not arrive in time"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive",
         "HTTP/1.1 408 "},
    };
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.header_timeout_ms = 100, .body_timeout_ms = 150});
    tg_buf_init(&got, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t before = wire_now_ms();
        tg_buf_clear(&got);
        CU_ASSERT_EQUAL(wire_ask(&w, tg_str_of(cases[i].sent), &got), WIRE_CLOSED);
        CU_ASSERT_TRUE(wire_has(&got, cases[i].has));
        CU_ASSERT_TRUE(wire_now_ms() - before >= 90 && wire_now_ms() - before < 2000);
    }
    CU_ASSERT_EQUAL(w.requests, 0);
    tg_buf_free(&got);
    wire_close(&w);
}

/* Bytes that trickle in do not move the deadline: it counts from the request's first byte. */
static void test_trickle(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.header_timeout_ms = 150});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    wire_send(&w, fd, TG_STR("GET / HTTP/1.1\r\nA: "));
    uint64_t before = wire_now_ms();
    wire_end end = WIRE_TIMEOUT;
    while (end == WIRE_TIMEOUT && wire_now_ms() - before < 3000) {
        char bytes[512];
        wire_send(&w, fd, TG_STR("x"));
        wire_run_ms(&w, 10);
        ssize_t count = recv(fd, bytes, sizeof(bytes), 0);
        if (count > 0)
            tg_buf_add(&got, bytes, (size_t)count);
        if (count == 0 || (count < 0 && errno != EAGAIN))
            end = WIRE_CLOSED;
    }
    CU_ASSERT_TRUE(wire_now_ms() - before < 3000);
    CU_ASSERT_TRUE(wire_has(&got, "HTTP/1.1 408 "));
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_idle(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.idle_timeout_ms = 100});
    tg_buf_init(&got, 0);
    int silent = wire_connect(&w), used = wire_connect(&w);
    wire_send(&w, used, GET("/"));
    CU_ASSERT_EQUAL(wire_read(&w, used, &got, "ok", 1), WIRE_FOUND);
    CU_ASSERT_EQUAL(wire_read(&w, silent, &got, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_EQUAL(wire_read(&w, used, &got, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_PTR_NULL(strstr(got.data, "408")); /* nothing was asked, nothing is answered */
    CU_ASSERT_TRUE(wire_connections(&w, 0));
    close(silent);
    close(used);
    tg_buf_free(&got);
    wire_close(&w);
}

/* A handler may take longer than any timeout of the client's side. */
static void test_slow_handler_is_not_cut(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){
                      .header_timeout_ms = 40, .body_timeout_ms = 40, .idle_timeout_ms = 40});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    wire_send(&w, fd, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    wire_run_ms(&w, 200);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w.held);
    tg_http_reply(w.held, 200, NULL, NULL, 0, TG_STR("late"));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "late", 1), WIRE_FOUND);
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_client_goes_away(void)
{
    wire w;
    wire_open(&w, (tg_http_server_conf){0});
    int fd = wire_connect(&w);
    wire_send(&w, fd, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    close(fd);
    CU_ASSERT_TRUE(wire_wait(&w, &w.aborts, 1));
    fd = wire_connect(&w); /* in the middle of a stream, by reset */
    wire_send(&w, fd, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 2));
    tg_http_stream_begin(w.held, 200, "text/event-stream", NULL, 0);
    wire_run_ms(&w, 5);
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    CU_ASSERT_TRUE(wire_wait(&w, &w.aborts, 2));
    wire_run_ms(&w, 5);
    CU_ASSERT_EQUAL(w.aborts, 2);
    CU_ASSERT_TRUE(wire_connections(&w, 0));
    wire_close(&w);
}

/* A handler that did not ask to be told answers into the void, and that is safe, even after the
 * server. */
static void test_unwatched_exchange_outlives_its_client(void)
{
    wire w;
    tg_http_exchange *held[3];
    wire_open(&w, (tg_http_server_conf){0});
    for (unsigned i = 0; i < 3; i++) {
        int fd = wire_connect(&w);
        wire_send(&w, fd, GET("/forget"));
        CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, i + 1));
        held[i] = w.held;
        close(fd);
        wire_run_ms(&w, 10);
    }
    CU_ASSERT_TRUE(wire_connections(&w, 0));
    tg_http_reply(held[0], 200, NULL, NULL, 0, TG_STR("void"));
    tg_http_stream_begin(held[1], 200, NULL, NULL, 0);
    CU_ASSERT_EQUAL(tg_http_stream_write(held[1], TG_STR("void")), -EPIPE);
    CU_ASSERT_FALSE(tg_http_stream_full(held[1]));
    tg_http_stream_end(held[1]);
    wire_close(&w);
    tg_http_stream_cut(held[2]);
}

static void test_cut(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    for (unsigned minor = 0; minor < 2; minor++) {
        int fd = wire_connect(&w);
        tg_buf_clear(&got);
        wire_send(&w, fd, minor ? GET("/hold") : TG_STR("GET /hold HTTP/1.0\r\n\r\n"));
        CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, minor + 1));
        tg_http_stream_begin(w.held, 200, NULL, NULL, 0);
        CU_ASSERT_EQUAL(tg_http_stream_write(w.held, TG_STR("part")), 0);
        CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "part", 1), WIRE_FOUND);
        tg_http_stream_cut(w.held);
        /* To an HTTP/1.0 client an orderly close would mean a complete answer. */
        CU_ASSERT_EQUAL(wire_read(&w, fd, &got, NULL, 0), minor ? WIRE_CLOSED : WIRE_RESET);
        CU_ASSERT_PTR_NULL(strstr(got.data, "0\r\n\r\n"));
        close(fd);
    }
    CU_ASSERT_EQUAL(w.aborts, 0);
    tg_buf_free(&got);
    wire_close(&w);
}

static void fill(wire *w, size_t bytes)
{
    static char block[16384];
    memset(block, 'x', sizeof(block));
    for (size_t sent = 0; sent < bytes && w->held; sent += sizeof(block)) {
        if (tg_http_stream_write(w->held, (tg_str){block, sizeof(block)}) < 0)
            break;
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
}

static void test_backpressure(void)
{
    enum { HIGH = 64 << 10, MAX = 512 << 10 };
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.write_high_water = HIGH, .write_buffer_max = MAX});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    wire_send(&w, fd, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    tg_http_stream_begin(w.held, 200, NULL, NULL, 0);
    CU_ASSERT_FALSE(tg_http_stream_full(w.held));
    fill(&w, (size_t)64 << 20); /* until the kernel's buffers and ours are full */
    CU_ASSERT_TRUE(tg_http_stream_full(w.held));
    CU_ASSERT_EQUAL(tg_http_stream_write(w.held, (tg_str){got.data, 0}), 0);
    static char block[MAX];
    CU_ASSERT_EQUAL(tg_http_stream_write(w.held, (tg_str){block, sizeof(block)}), -ENOBUFS);
    wire_run_ms(&w, 20);
    CU_ASSERT_EQUAL(w.writables, 0);
    uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS;
    while (w.writables == 0 && wire_now_ms() < end) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        if (recv(fd, block, sizeof(block), 0) < 0)
            poll(NULL, 0, 1);
    }
    CU_ASSERT_EQUAL(w.writables, 1);
    CU_ASSERT_FALSE(tg_http_stream_full(w.held));
    CU_ASSERT_EQUAL(tg_http_stream_write(w.held, TG_STR("more")), 0);
    tg_http_stream_end(w.held);
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "more\r\n0\r\n\r\n", 1), WIRE_FOUND);
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_write_timeout(void)
{
    wire w;
    wire_open(&w, (tg_http_server_conf){.write_timeout_ms = 100});
    int fd = wire_connect(&w);
    wire_send(&w, fd, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    tg_http_stream_begin(w.held, 200, NULL, NULL, 0);
    fill(&w, (size_t)64 << 20);
    uint64_t before = wire_now_ms();
    CU_ASSERT_TRUE(wire_wait(&w, &w.aborts, 1));
    CU_ASSERT_TRUE(wire_now_ms() - before < 2000);
    close(fd);
    wire_close(&w);
}

static void test_drain(void)
{
    wire w;
    tg_buf got, pipelined;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    tg_buf_init(&pipelined, 0);
    uint16_t port = tg_http_server_port(w.server);
    int idle = wire_connect(&w), busy = wire_connect(&w), partial = wire_connect(&w);
    wire_send(&w, partial, TG_STR("GET / HTTP/1.1\r\nHo"));
    wire_send(&w, busy, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    tg_http_stream_begin(w.held, 200, NULL, NULL, 0);
    wire_run_ms(&w, 5);
    tg_http_server_drain(w.server, wire_on_drained, &w);
    CU_ASSERT_EQUAL(wire_read(&w, idle, &got, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_EQUAL(wire_connect_port(port), -1);
    wire_send(&w, partial,
              TG_STR("st: a\r\n\r\n")); /* a request that has begun is still answered */
    CU_ASSERT_EQUAL(wire_read(&w, partial, &pipelined, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_TRUE(wire_has(&pipelined, "Connection: close\r\n\r\nok"));
    wire_run_ms(&w, 20);
    CU_ASSERT_EQUAL(w.drained, 0);
    CU_ASSERT_EQUAL(w.aborts, 0);
    CU_ASSERT_EQUAL(tg_http_stream_write(w.held, TG_STR("last words")), 0);
    tg_http_stream_end(w.held);
    CU_ASSERT_EQUAL(wire_read(&w, busy, &got, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_TRUE(wire_has(&got, "last words\r\n0\r\n\r\n"));
    CU_ASSERT_TRUE(wire_wait(&w, &w.drained, 1));
    close(idle);
    close(busy);
    close(partial);
    tg_buf_free(&got);
    tg_buf_free(&pipelined);
    wire_close(&w);
}

static void test_drain_at_rest(void)
{
    wire w;
    wire_open(&w, (tg_http_server_conf){0});
    tg_http_server_drain(w.server, wire_on_drained, &w);
    CU_ASSERT_EQUAL(w.drained, 0);
    CU_ASSERT_TRUE(wire_wait(&w, &w.drained, 1));
    wire_close(&w);
}

static void test_close_with_work_in_flight(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    wire_send(&w, fd, GET("/hold"));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    tg_http_server_close(w.server);
    CU_ASSERT_EQUAL(w.aborts, 1);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    CU_ASSERT_EQUAL(recv(fd, &got, 1, 0), 0);
    CU_ASSERT_EQUAL(uv_loop_close(&w.loop), 0);
    close(fd);
    tg_buf_free(&got);
}

static void test_connections_max(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.connections_max = 2});
    tg_buf_init(&got, 0);
    int fds[3];
    for (unsigned i = 0; i < 3; i++) {
        fds[i] = wire_connect(&w);
        wire_run_ms(&w, 5);
    }
    CU_ASSERT_EQUAL(wire_read(&w, fds[2], &got, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_EQUAL(tg_http_server_connections(w.server), 2);
    close(fds[0]);
    wire_run_ms(&w, 5);
    close(fds[2]);
    fds[2] = wire_connect(&w);
    wire_send(&w, fds[2], GET("/"));
    CU_ASSERT_EQUAL(wire_read(&w, fds[2], &got, "ok", 1), WIRE_FOUND);
    close(fds[1]);
    close(fds[2]);
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_port_in_use(void)
{
    wire w;
    tg_error err = {{0}};
    char expected[64];
    tg_http_server *second = NULL;
    wire_open(&w, (tg_http_server_conf){.reuseport = true});
    uint16_t port = tg_http_server_port(w.server);
    tg_http_server_conf conf = {
        .host = "127.0.0.1", .port = port, .handler = wire_handler, .user = &w};
    CU_ASSERT_EQUAL(tg_http_server_new(&w.loop, &conf, &err, &second), UV_EADDRINUSE);
    snprintf(expected, sizeof(expected), "cannot listen on 127.0.0.1:%u: address already in use",
             port);
    CU_ASSERT_STRING_EQUAL(err.text, expected);
    conf.reuseport = true;
    CU_ASSERT_EQUAL(tg_http_server_new(&w.loop, &conf, NULL, &second), 0);
    tg_http_server_close(second);
    conf.host = "localhost";
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_http_server_new(&w.loop, &conf, &err, &second), -EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "'localhost' is not a numeric address");
    wire_close(&w);
}

static const tg_test tests[] = {
    {"slow_requests", test_slow_requests},
    {"trickle", test_trickle},
    {"idle", test_idle},
    {"slow_handler_is_not_cut", test_slow_handler_is_not_cut},
    {"client_goes_away", test_client_goes_away},
    {"unwatched_exchange_outlives_its_client", test_unwatched_exchange_outlives_its_client},
    {"cut", test_cut},
    {"backpressure", test_backpressure},
    {"write_timeout", test_write_timeout},
    {"drain", test_drain},
    {"drain_at_rest", test_drain_at_rest},
    {"close_with_work_in_flight", test_close_with_work_in_flight},
    {"connections_max", test_connections_max},
    {"port_in_use", test_port_in_use},
};
TG_TEST_MAIN("libs_http_server_limits", tests)
