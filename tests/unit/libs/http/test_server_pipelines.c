/* Clients that pipeline to do harm: what they can make the server hold, and how long they can keep
 * it. */
#include "tests/unit/libs/http/wire.h"

#include <time.h>

static tg_http_exchange *kept;

/* /large: 32 KiB; /hold: kept; anything else: "ok". */
static void handler(void *user, tg_http_exchange *x, const tg_http_request *r)
{
    static char large[32 << 10];
    wire *w = user;
    w->requests++;
    if (tg_str_is(r->path, "/hold"))
        kept = x;
    else if (tg_str_is(r->path, "/large"))
        tg_http_reply(x, 200, "text/plain", NULL, 0, (tg_str){large, sizeof(large)});
    else
        tg_http_reply(x, 200, NULL, NULL, 0, TG_STR("ok"));
}

/* Sends what the server takes, until neither that nor the number of requests moves for a while. */
static size_t send_until_held(wire *w, int fd, tg_str bytes)
{
    size_t sent = 0;
    for (unsigned idle = 0; idle < 100;) {
        unsigned before = w->requests;
        ssize_t count =
            sent < bytes.len ? send(fd, bytes.data + sent, bytes.len - sent, MSG_NOSIGNAL) : 0;
        sent += count > 0 ? (size_t)count : 0;
        wire_turn(w);
        idle = count > 0 || w->requests != before ? 0 : idle + 1;
    }
    return sent;
}

static void repeat(tg_buf *to, const char *text, unsigned times)
{
    tg_buf_init(to, 0);
    for (unsigned i = 0; i < times; i++)
        tg_buf_add_text(to, text);
}

/* A client that sends requests and reads no answers is not worked for beyond the high water mark,
 * and gets every answer once it does read. */
static void test_unread_answers_hold_requests_back(void)
{
    enum { COUNT = 4000, LARGE = 32 << 10 }; /* 125 MiB of answers */
    wire w;
    tg_buf all;
    static char block[256 << 10];
    int small = 64 << 10;
    wire_open(&w, (tg_http_server_conf){.handler = handler, .write_high_water = 128 << 10});
    repeat(&all, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", COUNT);
    int fd = wire_connect(&w);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    size_t sent = send_until_held(&w, fd, tg_buf_str(&all));
    unsigned answered = w.requests;
    /* The kernel's send buffer takes a few MiB; the rest would be the server's memory. */
    CU_ASSERT_TRUE(answered > 0);
    CU_ASSERT_TRUE(answered < COUNT / 4);
    if (answered >= COUNT / 4)
        printf("# %u requests were worked on for a client that read nothing\n", answered);
    size_t got = 0;
    uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS * 2;
    while (got < (size_t)COUNT * LARGE && wire_now_ms() < end) {
        ssize_t count =
            sent < all.len ? send(fd, all.data + sent, all.len - sent, MSG_NOSIGNAL) : 0;
        sent += count > 0 ? (size_t)count : 0;
        uv_run(&w.loop, UV_RUN_NOWAIT);
        count = recv(fd, block, sizeof(block), 0);
        got += count > 0 ? (size_t)count : 0;
    }
    CU_ASSERT_EQUAL(w.requests, COUNT);
    CU_ASSERT_TRUE(got >= (size_t)COUNT * LARGE);
    close(fd);
    tg_buf_free(&all);
    wire_close(&w);
}

/* Draining lets a client that was held back have its next answer, which says that it is the
 * last. */
static void test_drain_while_held(void)
{
    enum { COUNT = 1000 };
    wire w;
    tg_buf all, got;
    int small = 64 << 10;
    wire_open(&w, (tg_http_server_conf){.handler = handler, .write_high_water = 128 << 10});
    tg_buf_init(&got, 0);
    repeat(&all, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", COUNT);
    int fd = wire_connect(&w);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    send_until_held(&w, fd, tg_buf_str(&all));
    unsigned answered = w.requests;
    CU_ASSERT_TRUE(answered > 0 && answered < COUNT);
    tg_http_server_drain(w.server, wire_on_drained, &w);
    wire_end end = wire_read(&w, fd, &got, NULL, 0);
    CU_ASSERT_TRUE(end == WIRE_CLOSED || end == WIRE_RESET);
    CU_ASSERT_EQUAL(w.requests, answered + 1);
    close(fd);
    CU_ASSERT_TRUE(wire_wait(&w, &w.drained, 1));
    tg_buf_free(&all);
    tg_buf_free(&got);
    wire_close(&w);
}

static uint64_t cpu_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* CPU time of `count` pipelined requests that wait in a buffer grown by a body before them. */
static uint64_t pipeline_behind_body_ms(unsigned count)
{
    enum { BODY = 4 << 20, CHUNK = 1 << 20 };
    wire w;
    tg_buf all, got;
    wire_open(&w, (tg_http_server_conf){.handler = handler});
    tg_buf_init(&all, 0);
    tg_buf_init(&got, 0);
    static char chunk[CHUNK];
    tg_buf_add_text(&all, "POST /hold HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < BODY / CHUNK; i++) {
        tg_buf_add_text(&all, "100000\r\n");
        tg_buf_add(&all, chunk, CHUNK);
        tg_buf_add_text(&all, "\r\n");
    }
    tg_buf_add_text(&all, "0\r\n\r\n");
    kept = NULL;
    int fd = wire_connect(&w);
    wire_send(&w, fd, tg_buf_str(&all));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    tg_buf_free(&all);
    repeat(&all, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", count);
    size_t sent = send_until_held(&w, fd, tg_buf_str(&all));
    uint64_t before_ms = cpu_ms();
    tg_http_reply(kept, 200, NULL, NULL, 0, TG_STR("ok"));
    while (w.requests < count + 1 && cpu_ms() - before_ms < 20000) {
        char bytes[65536];
        ssize_t more = sent < all.len ? send(fd, all.data + sent, all.len - sent, MSG_NOSIGNAL) : 0;
        sent += more > 0 ? (size_t)more : 0;
        uv_run(&w.loop, UV_RUN_NOWAIT);
        while (recv(fd, bytes, sizeof(bytes), 0) > 0)
            ;
    }
    uint64_t used_ms = cpu_ms() - before_ms;
    CU_ASSERT_EQUAL(w.requests, count + 1);
    close(fd);
    tg_buf_free(&all);
    tg_buf_free(&got);
    wire_close(&w);
    return used_ms;
}

/* The work for a request does not depend on how many wait behind it. */
static void test_long_pipeline_costs_in_proportion(void)
{
    uint64_t few_ms = pipeline_behind_body_ms(20000), many_ms = pipeline_behind_body_ms(80000);
    CU_ASSERT_TRUE(many_ms < few_ms * 8 + 200);
    printf("# 20000 requests: %llu ms, 80000: %llu ms\n", (unsigned long long)few_ms,
           (unsigned long long)many_ms);
}

static const tg_test tests[] = {
    {"unread_answers_hold_requests_back", test_unread_answers_hold_requests_back},
    {"drain_while_held", test_drain_while_held},
    {"long_pipeline_costs_in_proportion", test_long_pipeline_costs_in_proportion},
};
TG_TEST_MAIN("libs_http_server_pipelines", tests)
