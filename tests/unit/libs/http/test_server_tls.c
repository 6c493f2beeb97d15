/* The server under TLS, spoken to by OpenSSL's own client. */
#include "tests/unit/libs/http/tls_files.h"
#include "tests/unit/libs/http/wire.h"

#include <openssl/ssl.h>

typedef struct client {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
} client;

static client client_open(wire *w, const tls_files *identity)
{
    client c = {.fd = wire_connect(w), .context = SSL_CTX_new(TLS_client_method())};
    if (identity) {
        SSL_CTX_use_certificate_file(c.context, identity->cert, SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(c.context, identity->key, SSL_FILETYPE_PEM);
    }
    SSL_CTX_set_mode(c.context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    c.ssl = SSL_new(c.context);
    SSL_set_fd(c.ssl, c.fd);
    SSL_set_connect_state(c.ssl);
    return c;
}

static void client_close(client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->context);
    close(c->fd);
}

static bool client_send(wire *w, client *c, tg_str bytes)
{
    uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS;
    while (bytes.len > 0 && wire_now_ms() < end) {
        int sent = SSL_write(c->ssl, bytes.data, (int)bytes.len);
        if (sent > 0)
            bytes = (tg_str){bytes.data + sent, bytes.len - (size_t)sent};
        else if (SSL_get_error(c->ssl, sent) != SSL_ERROR_WANT_READ &&
                 SSL_get_error(c->ssl, sent) != SSL_ERROR_WANT_WRITE)
            return false;
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    return bytes.len == 0;
}

/* Until `size` bytes are there; false when the connection ended before. */
static bool client_read(wire *w, client *c, tg_buf *got, size_t size)
{
    char bytes[20000];
    for (uint64_t end = wire_now_ms() + WIRE_PATIENCE_MS; got->len < size && wire_now_ms() < end;) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        int count = SSL_read(c->ssl, bytes, sizeof(bytes));
        if (count > 0)
            tg_buf_add(got, bytes, (size_t)count);
        else if (SSL_get_error(c->ssl, count) != SSL_ERROR_WANT_READ)
            return false;
    }
    return got->len >= size;
}

static const tg_str get_close = {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 47};

static void test_requests(void)
{
    wire w;
    tls_files files;
    tg_buf got;
    tls_files_make(&files);
    tg_buf_init(&got, 0);
    wire_open(&w, (tg_http_server_conf){.cert_file = files.cert, .key_file = files.key});
    client c = client_open(&w, NULL);
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_TRUE(
            client_send(&w, &c,
                        TG_STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")) &&
            client_send(&w, &c, TG_STR("dy")));
    CU_ASSERT_TRUE(client_send(&w, &c, get_close));
    CU_ASSERT_FALSE(client_read(&w, &c, &got, SIZE_MAX));
    CU_ASSERT_EQUAL(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    CU_ASSERT_EQUAL(w.requests, 4);
    CU_ASSERT_TRUE(wire_has(&got, "\r\n\r\nbodyHTTP/1.1 200 OK") && wire_has(&got, "\r\n\r\nok"));
    client_close(&c);
    tg_buf_free(&got);
    wire_close(&w);
    tls_files_remove(&files);
}

/* Both ways: a large body in, the same body out to a client that reads slowly. */
static void test_large(void)
{
    enum { SIZE = 4 << 20 };
    wire w;
    tls_files files;
    tg_buf got, body;
    tls_files_make(&files);
    tg_buf_init(&got, 0);
    tg_buf_init(&body, 0);
    for (unsigned i = 0; i < SIZE / 8; i++)
        tg_buf_printf(&body, "%07x\n", i);
    wire_open(&w, (tg_http_server_conf){.cert_file = files.cert, .key_file = files.key});
    client c = client_open(&w, NULL);
    CU_ASSERT_TRUE(client_send(
        &w, &c, TG_STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n")));
    CU_ASSERT_TRUE(client_send(&w, &c, tg_buf_str(&body)));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    wire_run_ms(&w, 10);
    CU_ASSERT_TRUE(client_read(&w, &c, &got, SIZE + 100));
    CU_ASSERT_TRUE_FATAL(got.len > SIZE);
    CU_ASSERT_EQUAL(memcmp(got.data + got.len - SIZE, body.data, SIZE), 0);
    client_close(&c);
    tg_buf_free(&got);
    tg_buf_free(&body);
    wire_close(&w);
    tls_files_remove(&files);
}

/* Pipelined requests beyond the input buffer wait inside TLS and come out afterwards. */
static void test_pipeline_held_back(void)
{
    enum { COUNT = 1000 };
    wire w;
    tls_files files;
    tg_buf got, all;
    tls_files_make(&files);
    tg_buf_init(&got, 0);
    tg_buf_init(&all, 0);
    tg_buf_add_text(&all, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    for (unsigned i = 0; i < COUNT; i++)
        tg_buf_printf(&all, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n<%04u>", i);
    wire_open(&w, (tg_http_server_conf){.cert_file = files.cert, .key_file = files.key});
    client c = client_open(&w, NULL);
    CU_ASSERT_TRUE(client_send(&w, &c, tg_buf_str(&all)));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    wire_run_ms(&w, 20);
    CU_ASSERT_EQUAL(w.requests, 1);
    tg_http_reply(w.held, 200, NULL, NULL, 0, TG_STR("<held>"));
    CU_ASSERT_TRUE(wire_wait(&w, &w.requests, COUNT + 1));
    while (!(got.data && strstr(got.data, "<0999>")) && client_read(&w, &c, &got, got.len + 1))
        ;
    CU_ASSERT_TRUE(got.data && strstr(got.data, "<0999>"));
    client_close(&c);
    tg_buf_free(&got);
    tg_buf_free(&all);
    wire_close(&w);
    tls_files_remove(&files);
}

static void large_handler(void *user, tg_http_exchange *x, const tg_http_request *r)
{
    static char large[32 << 10];
    (void)r;
    ((wire *)user)->requests++;
    tg_http_reply(x, 200, "text/plain", NULL, 0, (tg_str){large, sizeof(large)});
}

/* Requests whose answers are not read are not worked on; once they are read, all are. */
static void test_unread_answers_hold_requests_back(void)
{
    enum { COUNT = 1000, LARGE = 32 << 10 };
    wire w;
    tls_files files;
    tg_buf got, all;
    tls_files_make(&files);
    tg_buf_init(&got, 0);
    tg_buf_init(&all, 0);
    for (unsigned i = 0; i < COUNT; i++)
        tg_buf_add_text(&all, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_open(&w, (tg_http_server_conf){.cert_file = files.cert,
                                        .key_file = files.key,
                                        .handler = large_handler,
                                        .write_high_water = 128 << 10});
    client c = client_open(&w, NULL);
    int small = 64 << 10;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    CU_ASSERT_TRUE(client_send(&w, &c, tg_buf_str(&all)));
    wire_run_ms(&w, 100);
    CU_ASSERT_TRUE(w.requests > 0 && w.requests < COUNT);
    CU_ASSERT_TRUE(client_read(&w, &c, &got, (size_t)COUNT * LARGE));
    CU_ASSERT_EQUAL(w.requests, COUNT);
    client_close(&c);
    tg_buf_free(&got);
    tg_buf_free(&all);
    wire_close(&w);
    tls_files_remove(&files);
}

static void test_goodbye_aborts(void)
{
    wire w;
    tls_files files;
    tls_files_make(&files);
    wire_open(&w, (tg_http_server_conf){.cert_file = files.cert, .key_file = files.key});
    client c = client_open(&w, NULL);
    CU_ASSERT_TRUE(client_send(&w, &c, TG_STR("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")));
    CU_ASSERT_TRUE_FATAL(wire_wait(&w, &w.requests, 1));
    SSL_shutdown(c.ssl);
    CU_ASSERT_TRUE(wire_wait(&w, &w.aborts, 1));
    client_close(&c);
    wire_close(&w);
    tls_files_remove(&files);
}

static void test_not_tls(void)
{
    wire w;
    tls_files files;
    tg_buf got;
    tls_files_make(&files);
    tg_buf_init(&got, 0);
    wire_open(&w, (tg_http_server_conf){
                      .cert_file = files.cert, .key_file = files.key, .header_timeout_ms = 100});
    CU_ASSERT_NOT_EQUAL(wire_ask(&w, get_close, &got), WIRE_TIMEOUT);
    CU_ASSERT_NOT_EQUAL(wire_ask(&w, TG_STR(""), &got), WIRE_TIMEOUT); /* no handshake in time */
    CU_ASSERT_EQUAL(w.requests, 0);
    tg_buf_free(&got);
    wire_close(&w);
    tls_files_remove(&files);
}

static void test_client_certificates(void)
{
    wire w;
    tls_files files, known, stranger;
    const tls_files *shown[] = {&known, &stranger, NULL};
    tls_files_make(&files);
    tls_files_make(&known);
    tls_files_make(&stranger);
    wire_open(&w, (tg_http_server_conf){.cert_file = files.cert,
                                        .key_file = files.key,
                                        .client_ca_file = known.cert});
    for (unsigned i = 0; i < 3; i++) {
        tg_buf got;
        tg_buf_init(&got, 0);
        client c = client_open(&w, shown[i]);
        client_send(&w, &c, get_close);
        client_read(&w, &c, &got, SIZE_MAX);
        CU_ASSERT_EQUAL(got.len > 0, i == 0);
        client_close(&c);
        tg_buf_free(&got);
    }
    CU_ASSERT_EQUAL(w.requests, 1);
    wire_close(&w);
    tls_files_remove(&files);
    tls_files_remove(&known);
    tls_files_remove(&stranger);
}

static void test_bad_files(void)
{
    uv_loop_t loop;
    tls_files files, other;
    tg_http_server *server = NULL;
    tls_files_make(&files);
    tls_files_make(&other);
    uv_loop_init(&loop);
    const struct {
        const char *cert, *key, *ca, *has;
    } cases[] = {
        {files.cert, NULL, NULL, "TLS needs both a certificate and a private key"},
        {"/nowhere.pem", files.key, NULL, "cannot use the certificate '/nowhere.pem': "},
        {files.cert, files.cert, NULL, "cannot use the private key '"},
        {files.cert, other.key, NULL, "the private key"},
        {files.cert, files.key, "/nowhere.pem", "cannot use the client CA '/nowhere.pem': "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tg_error err = {{0}};
        tg_http_server_conf conf = {.host = "127.0.0.1",
                                    .handler = wire_handler,
                                    .cert_file = cases[i].cert,
                                    .key_file = cases[i].key,
                                    .client_ca_file = cases[i].ca};
        CU_ASSERT_EQUAL(tg_http_server_new(&loop, &conf, &err, &server), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].has));
        if (!strstr(err.text, cases[i].has))
            printf("# '%s' is missing in: %s\n", cases[i].has, err.text);
    }
    CU_ASSERT_EQUAL(uv_loop_close(&loop), 0);
    tls_files_remove(&files);
    tls_files_remove(&other);
}

static const tg_test tests[] = {
    {"requests", test_requests},
    {"large", test_large},
    {"pipeline_held_back", test_pipeline_held_back},
    {"unread_answers_hold_requests_back", test_unread_answers_hold_requests_back},
    {"goodbye_aborts", test_goodbye_aborts},
    {"not_tls", test_not_tls},
    {"client_certificates", test_client_certificates},
    {"bad_files", test_bad_files},
};
TG_TEST_MAIN("libs_http_server_tls", tests)
