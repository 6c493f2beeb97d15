/* Requests and answers over raw sockets. */
#include "tests/unit/libs/http/wire.h"

static void test_keep_alive_and_ordered_pipelining(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    wire_send(&w, fd,
              TG_STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst"
                     "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"
                     "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthird"));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "first", 1), WIRE_FOUND);
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 2));
    wire_run_ms(&w, 20);
    CU_ASSERT_EQUAL(w.requests, 2); /* the third waits for the second's answer */
    tg_http_reply(w.held, 200, "text/plain", NULL, 0, TG_STR("second"));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "third", 1), WIRE_FOUND);
    CU_ASSERT_TRUE(strstr(got.data, "second") < strstr(got.data, "third"));
    CU_ASSERT_EQUAL(tg_http_server_connections(w.server), 1);
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

/* More pipelined requests than any buffer holds: all are answered, in order. */
static void test_long_pipeline(void)
{
    enum { COUNT = 3000 };
    wire w;
    tg_buf got, all;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    tg_buf_init(&all, 0);
    tg_buf_add_text(&all, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    for (unsigned i = 0; i < COUNT; i++)
        tg_buf_printf(&all, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n<%04u>", i);
    int fd = wire_connect(&w);
    size_t sent = 0;
    tg_str rest = tg_buf_str(&all);
    while (sent < rest.len) { /* as much as goes while the first is held */
        ssize_t n = send(fd, rest.data + sent, rest.len - sent, MSG_NOSIGNAL);
        if (n < 0)
            break;
        sent += (size_t)n;
        wire_run_ms(&w, 2);
    }
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    CU_ASSERT_EQUAL(w.requests, 1);
    tg_http_reply(w.held, 200, NULL, NULL, 0, TG_STR("<held>"));
    wire_send(&w, fd, (tg_str){rest.data + sent, rest.len - sent});
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "<2999>", 1), WIRE_FOUND);
    const char *at = got.data;
    char mark[16];
    for (unsigned i = 0; at && i < COUNT; i++) {
        snprintf(mark, sizeof(mark), "<%04u>", i);
        at = strstr(at, mark);
    }
    CU_ASSERT_PTR_NOT_NULL(at);
    close(fd);
    tg_buf_free(&got);
    tg_buf_free(&all);
    wire_close(&w);
}

static void test_byte_by_byte(void)
{
    static const char request[] =
        "\r\nPOST /echo?a=b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        "5;x=\"y\"\r\nhello\r\n001\r\n \r\n5\r\nworld\r\n0\r\nTrailer: t\r\n\r\n";
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    for (size_t i = 0; i + 1 < sizeof(request); i++) {
        wire_send(&w, fd, (tg_str){request + i, 1});
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "hello world", 1), WIRE_FOUND);
    CU_ASSERT_STRING_EQUAL(w.last, "POST /echo?a=b");
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_large_bodies(void)
{
    enum { SIZE = 3 << 20 };
    wire w;
    tg_buf got, all;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    tg_buf_init(&all, 0);
    tg_buf_printf(&all, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", SIZE);
    size_t body = all.len;
    for (unsigned i = 0; i < SIZE / 8; i++)
        tg_buf_printf(&all, "%07x\n", i);
    int fd = wire_connect(&w);
    for (int chunked = 0; chunked < 2; chunked++) {
        tg_buf_clear(&got);
        if (!chunked) {
            wire_send(&w, fd, tg_buf_str(&all));
        } else {
            wire_send(
                &w, fd,
                TG_STR("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
            for (size_t at = 0; at < SIZE; at += SIZE / 4) {
                char size[16];
                snprintf(size, sizeof(size), "%X\r\n", SIZE / 4);
                wire_send(&w, fd, tg_str_of(size));
                wire_send(&w, fd, (tg_str){all.data + body + at, SIZE / 4});
                wire_send(&w, fd, TG_STR("\r\n"));
            }
            wire_send(&w, fd, TG_STR("0\r\n\r\n"));
        }
        CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "005ffff\n", 1), WIRE_FOUND);
        const char *start = got.data ? strstr(got.data, "\r\n\r\n") : NULL;
        CU_ASSERT_TRUE_FATAL(start && got.len - (size_t)(start + 4 - got.data) == SIZE);
        CU_ASSERT_EQUAL(memcmp(start + 4, all.data + body, SIZE), 0);
    }
    close(fd);
    tg_buf_free(&got);
    tg_buf_free(&all);
    wire_close(&w);
}

static void test_answers(void)
{
    static const struct {
        const char *request, *has;
    } cases[] = {
        {"GET /?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "\r\nConnection: close\r\n\r\nok"},
        {"GET / HTTP/1.0\r\n\r\n", "\r\nConnection: close\r\n\r\nok"},
        {"GET http://a/abs?x HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", "ok"},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "ok"},
        {"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "Content-Length: 2\r\nConnection: close\r\n\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n",
         "\r\n\r\nok"},
        {"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
         "b\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"},
        {"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         "event-stream\r\nConnection: close\r\n\r\ndata: one\n\ndata: two\n\n"},
        {"HEAD /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
         "Content-Length: 0\r\nConnection: close\r\n\r\n"},
    };
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tg_buf_clear(&got);
        CU_ASSERT_EQUAL(wire_ask(&w, tg_str_of(cases[i].request), &got), WIRE_CLOSED);
        CU_ASSERT_TRUE(wire_has(&got, cases[i].has));
        CU_ASSERT_TRUE(wire_has(&got, "HTTP/1.1 200 OK\r\nDate: "));
        bool ends = got.len >= strlen(cases[i].has) &&
                    strcmp(got.data + got.len - strlen(cases[i].has), cases[i].has) == 0;
        CU_ASSERT_TRUE(ends); /* and nothing after it: a HEAD has no body */
    }
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_http10_keep_alive(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    for (unsigned i = 1; i <= 2; i++) {
        wire_send(&w, fd, TG_STR("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "Connection: keep-alive\r\n\r\nok", i), WIRE_FOUND);
    }
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_expect_continue(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.body_bytes_max = 100});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    wire_send(
        &w, fd,
        TG_STR(
            "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "HTTP/1.1 100 Continue\r\n\r\n", 1), WIRE_FOUND);
    CU_ASSERT_EQUAL(w.requests, 0);
    wire_send(&w, fd, TG_STR("body"));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "\r\n\r\nbody", 1), WIRE_FOUND);
    tg_buf_clear(&got); /* a body that will be refused is not asked for */
    wire_send(
        &w, fd,
        TG_STR(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n"));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "HTTP/1.1 413 ", 1), WIRE_FOUND);
    CU_ASSERT_PTR_NULL(strstr(got.data, "100 Continue"));
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

#define HEAD "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define REFUSED(text, status)                                                                      \
    {                                                                                              \
        TG_STR(text), status                                                                       \
    }

static const struct {
    tg_str request;
    unsigned status;
} refused[] = {
    REFUSED(HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    REFUSED(HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    REFUSED(HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    REFUSED(HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    REFUSED(HEAD "Content-Length: 5, 5\r\n\r\nhello", 400),
    REFUSED(HEAD "Content-Length: -1\r\n\r\n", 400),
    REFUSED(HEAD "Content-Length: +5\r\n\r\nhello", 400),
    REFUSED(HEAD "Content-Length: 0x5\r\n\r\nhello", 400),
    REFUSED(HEAD "Content-Length: 5 5\r\n\r\nhello", 400),
    REFUSED(HEAD "Content-Length:\r\n\r\n", 400),
    REFUSED(HEAD "Content-Length: 99999999999999999999\r\n\r\n", 400),
    REFUSED(HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    REFUSED("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    REFUSED(HEAD "A: b\r\n folded\r\n\r\n", 400),
    REFUSED(HEAD "A: b\r\n\tfolded\r\n\r\n", 400),
    REFUSED("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    REFUSED(HEAD "A: b\0c\r\n\r\n", 400),
    REFUSED(HEAD "A\0: b\r\n\r\n", 400),
    REFUSED("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    REFUSED(HEAD "A: b\rc\r\n\r\n", 400),
    REFUSED(HEAD "A: b\r\r\n\r\n", 400),
    REFUSED("GET / HTTP/1.1\nHost: a\n\n", 400),
    REFUSED("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    REFUSED(HEAD "A : b\r\n\r\n", 400),
    REFUSED(HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    REFUSED(HEAD ": b\r\n\r\n", 400),
    REFUSED(HEAD "no colon\r\n\r\n", 400),
    REFUSED(HEAD "A\x01: b\r\n\r\n", 400),
    REFUSED(HEAD "A: b\x7f\r\n\r\n", 400),
    REFUSED("GET / HTTP/1.1\r\n\r\n", 400),
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    REFUSED("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    REFUSED("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    REFUSED("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    REFUSED("GET path HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    REFUSED("GET /#part HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    REFUSED("GET /\r\n\r\n", 400),
    REFUSED("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    REFUSED("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    REFUSED("\x16\x03\x01\x02", 400),
    REFUSED("\r\n\r\n\r\n\r\n\r\n\r\n", 400),
    REFUSED("\n", 400),
    REFUSED("{\"json\": true}\r\n\r\n", 400),
    REFUSED(CHUNKED "\r\n", 400),
    REFUSED(CHUNKED "g\r\n", 400),
    REFUSED(CHUNKED "-1\r\n", 400),
    REFUSED(CHUNKED " 1\r\na\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "1 \r\na\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "0x1\r\na\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "1\na\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "1\r\nab\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "1\r\na\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "1;a\nb\r\na\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "00000000000000001\r\na\r\n0\r\n\r\n", 400),
    REFUSED(CHUNKED "0\r\nA: b\n\r\n", 400),
    REFUSED(CHUNKED "0\r\nA: b\rc\r\n\r\n", 400),
    REFUSED(HEAD "Transfer-Encoding: gzip\r\n\r\n", 501),
    REFUSED(HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    REFUSED(HEAD "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    REFUSED(HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    REFUSED(HEAD "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501),
    REFUSED(HEAD "A: \x0b b\r\n\r\n", 400),
    REFUSED("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    REFUSED("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    REFUSED("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    REFUSED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    REFUSED("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    REFUSED("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    REFUSED(HEAD "Content-Length: 2001\r\n\r\n", 413),
    REFUSED(CHUNKED "7d1\r\n", 413),
    REFUSED(CHUNKED "1\r\na\r\n7d0\r\n", 413),
    REFUSED(CHUNKED "ffffffffffffffff\r\n", 413),
};

static void test_refusals(void)
{
    wire w;
    tg_buf got;
    char status[32];
    wire_open(&w, (tg_http_server_conf){.body_bytes_max = 2000});
    tg_buf_init(&got, 0);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        tg_buf_clear(&got);
        snprintf(status, sizeof(status), "HTTP/1.1 %u ", refused[i].status);
        wire_end end = wire_ask(&w, refused[i].request, &got);
        CU_ASSERT_EQUAL(end, WIRE_CLOSED);
        bool right = got.data && strncmp(got.data, status, strlen(status)) == 0;
        CU_ASSERT_TRUE(right);
        if (!right || end != WIRE_CLOSED)
            printf("# %u expected for: " TG_STR_FMT "\n# answer: %.60s\n", refused[i].status,
                   TG_STR_ARG(refused[i].request), got.data ? got.data : "");
        CU_ASSERT_TRUE(wire_has(&got, "Connection: close\r\n"));
        CU_ASSERT_TRUE(wire_has(&got, "\"type\":\"invalid_request_error\",\"message\":\""));
    }
    CU_ASSERT_EQUAL(w.requests, 0); /* none of them reached the handler */
    tg_buf_free(&got);
    wire_close(&w);
}

static void test_too_large_heads(void)
{
    wire w;
    tg_buf got, all;
    wire_open(&w, (tg_http_server_conf){.header_bytes_max = 4096});
    tg_buf_init(&got, 0);
    tg_buf_init(&all, 0);
    for (int which = 0; which < 4; which++) {
        tg_buf_clear(&all);
        tg_buf_clear(&got);
        tg_buf_add_text(&all, which == 0  ? "GET /"
                              : which < 3 ? "GET / HTTP/1.1\r\nHost: a\r\nA: "
                                          : CHUNKED "0\r\n");
        for (unsigned i = 0; which < 2 && i < 5000; i++)
            tg_buf_add_char(&all, 'x');
        for (unsigned i = 0; which >= 2 && i < 1200; i++)
            tg_buf_add_text(&all, which == 2 && i > 200 ? "" : "h: v\r\n");
        tg_buf_add_text(&all, which == 0 ? " HTTP/1.1\r\nHost: a\r\n\r\n" : "\r\n\r\n");
        wire_ask(&w, tg_buf_str(&all), &got);
        CU_ASSERT_TRUE(wire_has(&got, which == 0 ? "HTTP/1.1 414 " : "HTTP/1.1 431 "));
    }
    CU_ASSERT_EQUAL(w.requests, 0);
    tg_buf_free(&got);
    tg_buf_free(&all);
    wire_close(&w);
}

/* A client that sends a large body learns why it is refused, although it never stops sending. */
static void test_refusal_reaches_a_sending_client(void)
{
    wire w;
    tg_buf got, body;
    wire_open(&w, (tg_http_server_conf){.body_bytes_max = 1000});
    tg_buf_init(&got, 0);
    tg_buf_init(&body, 0);
    for (unsigned i = 0; i < 1 << 20; i++)
        tg_buf_add_char(&body, 'x');
    int fd = wire_connect(&w);
    wire_send(&w, fd, TG_STR(HEAD "Content-Length: 1048576\r\n\r\n"));
    wire_send(&w, fd, tg_buf_str(&body));
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, "the body is too large", 1), WIRE_FOUND);
    close(fd);
    tg_buf_free(&got);
    tg_buf_free(&body);
    wire_close(&w);
}

static void reply_with_headers(void *user, tg_http_exchange *x, const tg_http_request *r)
{
    (void)user;
    tg_http_header headers[] = {
        {TG_STR("X-A"), TG_STR("one\r\nX-Forged: yes")},
        {TG_STR("X-B"), tg_http_request_header(r, "x-IN")},
        {TG_STR("X-C"), tg_str_of(tg_http_request_header(r, "x-none").data ? "y" : "n")}};
    tg_http_reply(x, 429, "application/json", headers, 3, TG_STR("{}"));
}

static void test_headers(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){.handler = reply_with_headers});
    tg_buf_init(&got, 0);
    wire_ask(&w,
             TG_STR("GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nX-In: \t in side \t\r\nConnection: "
                    "close\r\n\r\n"),
             &got);
    CU_ASSERT_TRUE(wire_has(&got, "HTTP/1.1 429 Too Many Requests\r\n"));
    CU_ASSERT_TRUE(wire_has(&got, "X-A: one\r\nX-B: in side\r\nX-C: n\r\n"));
    CU_ASSERT_PTR_NULL(strstr(got.data, "Forged"));
    tg_buf_free(&got);
    wire_close(&w);
}

/* The head, both events and the end of a stream, written by four calls, arrive as one segment. */
static void test_one_turn_is_one_write(void)
{
    wire w;
    char bytes[4096] = "";
    wire_open(&w, (tg_http_server_conf){0});
    int fd = wire_connect(&w);
    wire_send(&w, fd, TG_STR("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"));
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (poll(&ready, 1, 0) == 0)
        uv_run(&w.loop, UV_RUN_NOWAIT);
    CU_ASSERT_TRUE(recv(fd, bytes, sizeof(bytes) - 1, 0) > 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(bytes, "data: two\n\n\r\n0\r\n\r\n"));
    close(fd);
    wire_close(&w);
}

static void test_half_closed_client_gets_its_answer(void)
{
    wire w;
    tg_buf got;
    wire_open(&w, (tg_http_server_conf){0});
    tg_buf_init(&got, 0);
    int fd = wire_connect(&w);
    CU_ASSERT_TRUE(send(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0) == 27);
    shutdown(fd, SHUT_WR);
    CU_ASSERT_EQUAL(wire_read(&w, fd, &got, NULL, 0), WIRE_CLOSED);
    CU_ASSERT_TRUE(wire_has(&got, "\r\n\r\nok"));
    close(fd);
    tg_buf_free(&got);
    wire_close(&w);
}

static const tg_test tests[] = {
    {"keep_alive_and_ordered_pipelining", test_keep_alive_and_ordered_pipelining},
    {"long_pipeline", test_long_pipeline},
    {"byte_by_byte", test_byte_by_byte},
    {"large_bodies", test_large_bodies},
    {"answers", test_answers},
    {"http10_keep_alive", test_http10_keep_alive},
    {"expect_continue", test_expect_continue},
    {"refusals", test_refusals},
    {"too_large_heads", test_too_large_heads},
    {"refusal_reaches_a_sending_client", test_refusal_reaches_a_sending_client},
    {"headers", test_headers},
    {"one_turn_is_one_write", test_one_turn_is_one_write},
    {"half_closed_client_gets_its_answer", test_half_closed_client_gets_its_answer},
};
TG_TEST_MAIN("libs_http_server", tests)
