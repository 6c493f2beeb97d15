/* The client against the server of the same library, and against peers that misbehave by script. */
#include "libs/base/list.h"
#include "libs/http/client.h"
#include "tests/unit/libs/http/tls_files.h"
#include "tests/unit/libs/http/wire.h"

typedef struct call {
    wire *w;
    tg_transport *transport;
    tg_upstream *upstream;
    unsigned heads, datas, ends;
    unsigned status;
    bool inside; /* start, pause or cancel is on the stack: no event may come */
    bool cancel_on_head, cancel_on_data, cancel_on_end, restart_on_end;
    struct call *cancel_other;
    tg_http_client *close_client; /* on DATA */
    tg_upstream_failure failure;
    char reason[256], type[64], url[128];
    tg_buf body;
} call;

typedef struct fixture {
    wire w;
    tg_http_client *client;
} fixture;

static void open_all(fixture *f, tg_http_server_conf server, tg_http_client_conf client)
{
    wire_open(&f->w, server);
    CU_ASSERT_EQUAL_FATAL(tg_http_client_new(&f->w.loop, &client, NULL, &f->client), 0);
}

static void close_all(fixture *f)
{
    tg_http_client_close(f->client);
    wire_close(&f->w);
}

static void begin(call *c, const char *method, const char *body);

static void cancel_call(call *c)
{
    c->inside = true;
    c->transport->cancel(c->upstream);
    c->inside = false;
}

static void on_head(call *c, const tg_upstream_event *event)
{
    c->heads++;
    c->status = event->status;
    for (size_t i = 0; i < event->header_count; i++)
        if (tg_str_is_nocase(event->headers[i].name, "content-type"))
            tg_str_copy(c->type, sizeof(c->type), event->headers[i].value);
    if (c->cancel_on_head)
        cancel_call(c);
}

static void on_data(call *c, const tg_upstream_event *event)
{
    c->datas++;
    tg_buf_add_str(&c->body, event->data);
    if (c->cancel_other)
        cancel_call(c->cancel_other);
    if (c->cancel_on_data)
        cancel_call(c);
    if (c->close_client)
        tg_http_client_close(c->close_client);
}

static void on_event(void *user, const tg_upstream_event *event)
{
    call *c = user;
    CU_ASSERT_FALSE(c->inside);
    CU_ASSERT_EQUAL(c->ends, 0);
    if (event->type == TG_UPSTREAM_HEAD) {
        on_head(c, event);
    } else if (event->type == TG_UPSTREAM_DATA) {
        CU_ASSERT_EQUAL(c->heads, 1);
        on_data(c, event);
    } else {
        c->ends++;
        c->failure = event->failure;
        CU_ASSERT_EQUAL(event->failure == TG_UPSTREAM_OK, event->reason == NULL);
        snprintf(c->reason, sizeof(c->reason), "%s", event->reason ? event->reason : "");
        if (c->cancel_on_end)
            cancel_call(c);
        if (c->restart_on_end) {
            c->restart_on_end = false;
            c->ends = c->heads = 0;
            begin(c, "GET", "");
        }
    }
}

static call make_call(fixture *f, const char *scheme, uint16_t port, const char *path)
{
    call c = {.w = &f->w, .transport = tg_http_client_transport(f->client)};
    tg_buf_init(&c.body, 0);
    snprintf(c.url, sizeof(c.url), "%s://127.0.0.1:%u%s", scheme, port, path);
    return c;
}

static call to_server(fixture *f, const char *path)
{
    return make_call(f, "http", tg_http_server_port(f->w.server), path);
}

static int try_begin(call *c, const char *method, const char *body, const char *ca_file,
                     uint32_t total_ms)
{
    tg_upstream_header headers[] = {{TG_STR("X-Test"), TG_STR("yes")},
                                    {TG_STR("X-Empty"), TG_STR("")}};
    tg_upstream_request request = {.url = c->url,
                                   .method = method,
                                   .headers = headers,
                                   .header_count = 2,
                                   .body = tg_str_of(body),
                                   .ca_file = ca_file,
                                   .connect_timeout_ms = 2000,
                                   .total_timeout_ms = total_ms};
    c->inside = true;
    int rc = c->transport->start(c->transport, &request, on_event, c, &c->upstream);
    c->inside = false;
    return rc;
}

static void begin(call *c, const char *method, const char *body)
{
    CU_ASSERT_EQUAL_FATAL(try_begin(c, method, body, NULL, 10000), 0);
}

static void set_paused(call *c, bool paused)
{
    c->inside = true;
    c->transport->pause(c->upstream, paused);
    c->inside = false;
}

static bool ended(call *c, tg_upstream_failure failure)
{
    bool in_time = wire_wait(c->w, &c->ends, 1);
    if (!in_time || c->failure != failure)
        printf("# ended %u with %d (%s), expected %d\n", c->ends, (int)c->failure, c->reason,
               (int)failure);
    return in_time && c->failure == failure;
}

/* Says back what came: the method, the names of the headers, the body. */
static void tell(void *user, tg_http_exchange *x, const tg_http_request *r)
{
    tg_buf out;
    (void)user;
    tg_buf_init(&out, 0);
    tg_buf_printf(&out, TG_STR_FMT, TG_STR_ARG(r->method));
    for (size_t i = 0; i < r->header_count; i++)
        tg_buf_printf(&out, " " TG_STR_FMT "=" TG_STR_FMT, TG_STR_ARG(r->headers[i].name),
                      TG_STR_ARG(r->headers[i].value));
    tg_buf_printf(&out, " [" TG_STR_FMT "]", TG_STR_ARG(r->body));
    tg_http_reply(x, 203, "text/odd", NULL, 0, tg_buf_str(&out));
    tg_buf_free(&out);
}

static void test_requests(void)
{
    fixture f;
    open_all(&f, (tg_http_server_conf){.handler = tell}, (tg_http_client_conf){0});
    static const char *const methods[] = {"POST", "GET", "DELETE", "PUT", "POST"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        char expected[256];
        const char *body = i == 0 ? "{\"a\":1}" : i == 3 ? "put" : "";
        call c = to_server(&f, "/x");
        begin(&c, methods[i], body);
        CU_ASSERT_TRUE(ended(&c, TG_UPSTREAM_OK));
        CU_ASSERT_EQUAL(c.status, 203);
        CU_ASSERT_STRING_EQUAL(c.type, "text/odd");
        snprintf(expected, sizeof(expected), "X-Test=yes X-Empty=");
        CU_ASSERT_TRUE(wire_has(&c.body, expected));
        snprintf(expected, sizeof(expected), " [%s]", body);
        CU_ASSERT_TRUE(wire_has(&c.body, expected));
        CU_ASSERT_TRUE(tg_str_starts(tg_buf_str(&c.body), methods[i]));
        CU_ASSERT_PTR_NULL(strstr(c.body.data, "Expect")); /* nothing curl thinks up by itself */
        CU_ASSERT_PTR_NULL(strstr(c.body.data, "Content-Type"));
        tg_buf_free(&c.body);
    }
    CU_ASSERT_EQUAL(tg_http_server_connections(f.w.server), 1); /* kept alive */
    close_all(&f);
}

static void test_concurrent(void)
{
    enum { COUNT = 20 };
    fixture f;
    call calls[COUNT];
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){.connections_per_host = 4});
    for (unsigned i = 0; i < COUNT; i++) {
        char body[16];
        calls[i] = to_server(&f, "/echo");
        snprintf(body, sizeof(body), "<%u>", i);
        begin(&calls[i], "POST", body);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        char body[16];
        CU_ASSERT_TRUE(ended(&calls[i], TG_UPSTREAM_OK));
        snprintf(body, sizeof(body), "<%u>", i);
        CU_ASSERT_TRUE(tg_str_is(tg_buf_str(&calls[i].body), body));
        tg_buf_free(&calls[i].body);
    }
    CU_ASSERT_TRUE(tg_http_server_connections(f.w.server) <= 4);
    close_all(&f);
}

static void test_bounds(void)
{
    fixture f;
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){.in_flight_max = 2});
    call a = to_server(&f, "/hold"), b = to_server(&f, "/"), c = to_server(&f, "/");
    begin(&a, "GET", "");
    begin(&b, "GET", "");
    CU_ASSERT_EQUAL(try_begin(&c, "GET", "", NULL, 0), -EAGAIN);
    CU_ASSERT_TRUE(ended(&b, TG_UPSTREAM_OK));
    CU_ASSERT_EQUAL(try_begin(&c, "HEAD", "", NULL, 0), -EINVAL);
    tg_upstream_header forged = {TG_STR("A"), TG_STR("b\r\nC: d")};
    tg_upstream_request request = {
        .url = c.url, .method = "GET", .headers = &forged, .header_count = 1};
    CU_ASSERT_EQUAL(c.transport->start(c.transport, &request, on_event, &c, &c.upstream), -EINVAL);
    begin(&c, "GET", "");
    CU_ASSERT_TRUE(ended(&c, TG_UPSTREAM_OK));
    CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.requests, 3));
    cancel_call(&a);
    CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.aborts, 1));
    tg_buf_free(&b.body);
    tg_buf_free(&c.body);
    close_all(&f);
}

static void test_pause(void)
{
    fixture f;
    static char block[64 << 10];
    size_t sent = 0;
    memset(block, 'x', sizeof(block));
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    call c = to_server(&f, "/hold");
    begin(&c, "GET", "");
    CU_ASSERT_TRUE_FATAL(wire_wait(&f.w, &f.w.requests, 1));
    tg_http_stream_begin(f.w.held, 200, NULL, NULL, 0);
    CU_ASSERT_TRUE(wire_wait(&f.w, &c.heads, 1));
    set_paused(&c, true);
    while (sent < 64u << 20 &&
           tg_http_stream_write(f.w.held, (tg_str){block, sizeof(block)}) == 0) {
        sent += sizeof(block);
        uv_run(&f.w.loop, UV_RUN_NOWAIT);
    }
    CU_ASSERT_TRUE(sent < 64u << 20); /* the server was held back */
    CU_ASSERT_TRUE(tg_http_stream_full(f.w.held));
    CU_ASSERT_EQUAL(c.datas, 0);
    set_paused(&c, false);
    CU_ASSERT_EQUAL(c.datas, 0);
    CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.writables, 1));
    tg_http_stream_end(f.w.held);
    CU_ASSERT_TRUE(ended(&c, TG_UPSTREAM_OK));
    CU_ASSERT_EQUAL(c.body.len, sent);
    tg_buf_free(&c.body);
    close_all(&f);
}

/* Cancelled before anything happened, in the middle, and from inside its own callbacks: the server
 * sees it each time, and no END comes. */
static void test_cancel(void)
{
    fixture f;
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    call never = to_server(&f, "/hold");
    begin(&never, "GET", "");
    cancel_call(&never);
    wire_run_ms(&f.w, 20);
    CU_ASSERT_EQUAL(f.w.requests, 0);
    for (unsigned i = 0; i < 3; i++) {
        call c = to_server(&f, "/hold");
        c.cancel_on_head = i == 1;
        c.cancel_on_data = i == 2;
        begin(&c, "GET", "");
        CU_ASSERT_TRUE_FATAL(wire_wait(&f.w, &f.w.requests, i + 1));
        if (i == 0)
            cancel_call(&c);
        if (i > 0) {
            tg_http_stream_begin(f.w.held, 200, NULL, NULL, 0);
            tg_http_stream_write(f.w.held, TG_STR("data"));
        }
        CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.aborts, i + 1));
        wire_run_ms(&f.w, 10);
        CU_ASSERT_EQUAL(c.heads, i > 0);
        CU_ASSERT_EQUAL(c.datas, i > 1);
        CU_ASSERT_EQUAL(c.ends, 0);
        tg_buf_free(&c.body);
    }
    close_all(&f);
}

static void test_cancel_another_from_a_callback(void)
{
    fixture f;
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    call a = to_server(&f, "/hold"), b = to_server(&f, "/");
    begin(&a, "GET", "");
    CU_ASSERT_TRUE_FATAL(wire_wait(&f.w, &f.w.requests, 1));
    b.cancel_other = &a;
    b.cancel_on_end = b.restart_on_end = true;
    begin(&b, "GET", "");
    CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.requests, 3));
    CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.aborts, 1));
    CU_ASSERT_TRUE(ended(&b, TG_UPSTREAM_OK));
    CU_ASSERT_EQUAL(a.ends, 0);
    tg_buf_free(&b.body);
    close_all(&f);
}

static void test_close(void)
{
    fixture f;
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    call a = to_server(&f, "/hold"), b = to_server(&f, "/");
    begin(&a, "GET", "");
    CU_ASSERT_TRUE_FATAL(wire_wait(&f.w, &f.w.requests, 1));
    b.close_client = f.client; /* from inside a callback */
    begin(&b, "GET", "");
    CU_ASSERT_TRUE(wire_wait(&f.w, &f.w.aborts, 1));
    CU_ASSERT_EQUAL(a.ends + b.ends, 0);
    tg_buf_free(&b.body);
    wire_close(&f.w);
}

/* ---- peers by script ---- */

static int listen_raw(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    bind(fd, (struct sockaddr *)&at, sizeof(at));
    listen(fd, 8);
    getsockname(fd, (struct sockaddr *)&at, &len);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static int accept_raw(wire *w, int listener)
{
    int fd = -1;
    for (uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS; fd < 0 && wire_now_ms() < end;) {
        wire_turn(w);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    }
    return fd;
}

/* Waits for a request and answers with `script`. */
static void answer_raw(wire *w, int fd, const char *script)
{
    tg_buf got;
    tg_buf_init(&got, 0);
    CU_ASSERT_EQUAL(wire_read(w, fd, &got, "\r\n\r\n", 1), WIRE_FOUND);
    wire_send(w, fd, tg_str_of(script));
    tg_buf_free(&got);
}

/* One connection with one request. */
static void play(wire *w, int listener, const char *script)
{
    int fd = accept_raw(w, listener);
    answer_raw(w, fd, script);
    close(fd);
}

static void test_scripts(void)
{
    static const struct {
        const char *script;
        unsigned status;
        const char *body;
        tg_upstream_failure failure;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", TG_UPSTREAM_OK},
        {"HTTP/1.1 200 OK\r\n\r\nuntil close", 200, "until close", TG_UPSTREAM_OK},
        {"HTTP/1.1 529 \r\nContent-Length: 0\r\n\r\n", 529, "", TG_UPSTREAM_OK},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 "
         "Created\r\n"
         "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Type: trailer\r\n\r\n",
         201, "ok", TG_UPSTREAM_OK},
        {"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: "
         "0\r\n\r\n",
         307, "", TG_UPSTREAM_OK},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", 200, "short", TG_UPSTREAM_RESET},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", 200, "short",
         TG_UPSTREAM_RESET},
        {"", 0, "", TG_UPSTREAM_RESET},
        {"no HTTP at all\r\n\r\n", 0, "", TG_UPSTREAM_RESET},
    };
    fixture f;
    uint16_t port = 0;
    int listener = listen_raw(&port);
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        call c = make_call(&f, "http", port, "/");
        begin(&c, "POST", "body");
        play(&f.w, listener, cases[i].script);
        CU_ASSERT_TRUE(ended(&c, cases[i].failure));
        CU_ASSERT_EQUAL(c.status, cases[i].status);
        CU_ASSERT_STRING_EQUAL(c.body.data ? c.body.data : "", cases[i].body);
        CU_ASSERT_STRING_EQUAL(c.type, ""); /* a trailer is no header */
        tg_buf_free(&c.body);
    }
    close(listener);
    close_all(&f);
}

static void test_head_too_large(void)
{
    fixture f;
    tg_buf script;
    uint16_t port = 0;
    int listener = listen_raw(&port);
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    tg_buf_init(&script, 0);
    tg_buf_add_text(&script, "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i < 10000; i++)
        tg_buf_printf(&script, "X-Header-%u: v\r\n", i);
    tg_buf_add_text(&script, "\r\n");
    call c = make_call(&f, "http", port, "/");
    begin(&c, "GET", "");
    play(&f.w, listener, script.data);
    CU_ASSERT_TRUE(ended(&c, TG_UPSTREAM_RESET));
    CU_ASSERT_STRING_EQUAL(c.reason, "the head of the answer is too large");
    tg_buf_free(&script);
    close(listener);
    close_all(&f);
}

static void test_failures(void)
{
    fixture f;
    uint16_t port = 0;
    int listener = listen_raw(&port);
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    call late = make_call(&f, "http", port, "/"); /* accepted by the kernel, never answered */
    CU_ASSERT_EQUAL(try_begin(&late, "GET", "", NULL, 100), 0);
    CU_ASSERT_TRUE(ended(&late, TG_UPSTREAM_TIMEOUT));
    close(listener);
    call refused = make_call(&f, "http", port, "/");
    begin(&refused, "GET", "");
    CU_ASSERT_TRUE(ended(&refused, TG_UPSTREAM_CONNECT));
    CU_ASSERT_TRUE(refused.reason[0] != '\0');
    call scheme = make_call(&f, "ftp", port, "/");
    CU_ASSERT_EQUAL(try_begin(&scheme, "GET", "", NULL, 100), -EINVAL);
    snprintf(scheme.url, sizeof(scheme.url), "http://127.0.0.1:port/");
    CU_ASSERT_EQUAL(try_begin(&scheme, "GET", "", NULL, 100), -EINVAL);
    call unknown = make_call(&f, "http", port, "/");
    snprintf(unknown.url, sizeof(unknown.url), "http://host.invalid:%u/", port);
    begin(&unknown, "GET", "");
    CU_ASSERT_TRUE(ended(&unknown, TG_UPSTREAM_CONNECT));
    call cut = to_server(&f, "/hold");
    begin(&cut, "GET", "");
    CU_ASSERT_TRUE_FATAL(wire_wait(&f.w, &f.w.requests, 1));
    tg_http_stream_begin(f.w.held, 200, NULL, NULL, 0);
    tg_http_stream_write(f.w.held, TG_STR("part"));
    tg_http_stream_cut(f.w.held);
    CU_ASSERT_TRUE(ended(&cut, TG_UPSTREAM_RESET));
    CU_ASSERT_TRUE(tg_str_is(tg_buf_str(&cut.body), "part"));
    tg_buf_free(&cut.body);
    close_all(&f);
}

/* A peer that takes a request on a kept connection and dies may have served it. */
static void test_a_request_is_sent_once(void)
{
    fixture f;
    uint16_t port = 0;
    int listener = listen_raw(&port);
    open_all(&f, (tg_http_server_conf){0}, (tg_http_client_conf){0});
    call first = make_call(&f, "http", port, "/"), second = make_call(&f, "http", port, "/");
    begin(&first, "POST", "1");
    int fd = accept_raw(&f.w, listener);
    answer_raw(&f.w, fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    CU_ASSERT_TRUE(ended(&first, TG_UPSTREAM_OK));
    begin(&second, "POST", "2");
    answer_raw(&f.w, fd, "");
    close(fd);
    CU_ASSERT_TRUE(ended(&second, TG_UPSTREAM_RESET));
    CU_ASSERT_STRING_EQUAL(second.reason, "the connection was closed before it answered");
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0) { /* curl has opened it, but nothing may come over it */
        tg_buf got;
        tg_buf_init(&got, 0);
        wire_run_ms(&f.w, 50);
        CU_ASSERT_NOT_EQUAL(wire_read(&f.w, fd, &got, "POST", 1), WIRE_FOUND);
        tg_buf_free(&got);
        close(fd);
    }
    close(listener);
    close_all(&f);
}

/* The server drops a kept connection; the next request goes out on a new one. */
static void test_kept_connection_closed_by_the_peer(void)
{
    fixture f;
    open_all(&f, (tg_http_server_conf){.idle_timeout_ms = 50}, (tg_http_client_conf){0});
    for (unsigned i = 0; i < 3; i++) {
        call c = to_server(&f, "/echo");
        begin(&c, "POST", "again");
        CU_ASSERT_TRUE(ended(&c, TG_UPSTREAM_OK));
        CU_ASSERT_TRUE(tg_str_is(tg_buf_str(&c.body), "again"));
        tg_buf_free(&c.body);
        wire_run_ms(&f.w, 120);
        CU_ASSERT_EQUAL(tg_http_server_connections(f.w.server), 0);
    }
    close_all(&f);
}

static void test_tls(void)
{
    fixture f;
    tls_files files, other;
    tls_files_make(&files);
    tls_files_make(&other);
    open_all(&f, (tg_http_server_conf){.cert_file = files.cert, .key_file = files.key},
             (tg_http_client_conf){0});
    const char *const authorities[] = {files.cert, other.cert, NULL, "/nowhere.pem", files.cert};
    for (unsigned i = 0; i < 5; i++) {
        bool good = i == 0 || i == 4;
        call c = make_call(&f, "https", tg_http_server_port(f.w.server), "/echo");
        CU_ASSERT_EQUAL(try_begin(&c, "POST", "secret", authorities[i], 5000), 0);
        CU_ASSERT_TRUE(ended(&c, good ? TG_UPSTREAM_OK : TG_UPSTREAM_CONNECT));
        CU_ASSERT_STRING_EQUAL(c.body.data ? c.body.data : "", good ? "secret" : "");
        tg_buf_free(&c.body);
    }
    CU_ASSERT_EQUAL(f.w.requests, 2);
    close_all(&f);
    tls_files_remove(&files);
    tls_files_remove(&other);
}

static const tg_test tests[] = {
    {"requests", test_requests},
    {"concurrent", test_concurrent},
    {"bounds", test_bounds},
    {"pause", test_pause},
    {"cancel", test_cancel},
    {"cancel_another_from_a_callback", test_cancel_another_from_a_callback},
    {"close", test_close},
    {"scripts", test_scripts},
    {"head_too_large", test_head_too_large},
    {"failures", test_failures},
    {"a_request_is_sent_once", test_a_request_is_sent_once},
    {"kept_connection_closed_by_the_peer", test_kept_connection_closed_by_the_peer},
    {"tls", test_tls},
};
TG_TEST_MAIN("libs_http_client", tests)
