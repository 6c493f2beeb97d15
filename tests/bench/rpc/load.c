#include "tests/bench/rpc/load.h"

#include "libs/base/clock.h"

#include "echo.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_MESSAGES = 10000, HTTP_BUFFER_BYTES = 4096 };

static const char payload[] = "0123456789abcdef0123456789abcdef";

static void note(load *l, uint64_t from_ns)
{
    if (l->latency_count < LATENCIES_MAX)
        l->latencies_us[l->latency_count++] = (uint32_t)((tg_clock_mono_ns() - from_ns) / 1000);
}

static void ended(load *l)
{
    if (--l->live == 0 && l->stopping)
        tg_rpc_loop_stop(l->loop);
}

/* ---- gRPC ---- */

typedef struct flight {
    load *load;
    uint64_t from_ns;
    bool stream;
} flight;

static void fly(flight *f);

static void on_message(void *user, const ProtobufCMessage *message)
{
    flight *f = user;
    (void)message;
    f->load->messages++;
}

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
{
    flight *f = user;
    load *l = f->load;
    (void)trailing, (void)count;
    if (code != TG_RPC_OK) {
        fprintf(stderr, "bench_rpc: %s: %s\n", tg_rpc_code_name(code), message);
        exit(1);
    }
    l->calls++;
    if (l->http == 0)
        note(l, f->from_ns);
    if (!l->stopping) {
        fly(f);
        return;
    }
    free(f);
    ended(l);
}

static void fly(flight *f)
{
    Bench__EchoRequest request = BENCH__ECHO_REQUEST__INIT;
    tg_rpc_client *client;
    request.payload = (ProtobufCBinaryData){sizeof payload - 1, (uint8_t *)(uintptr_t)payload};
    request.count = f->stream ? STREAM_MESSAGES : 0;
    tg_rpc_start start = {.method = f->stream ? "/bench.Echo/Stream" : "/bench.Echo/Unary",
                          .request = &request.base,
                          .response = &bench__echo_reply__descriptor,
                          .deadline_ms = 20000,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = f};
    f->from_ns = tg_clock_mono_ns();
    if (tg_rpc_client_start(f->load->channel, &start, &client) < 0)
        exit(1);
}

/* ---- HTTP ---- */

typedef struct conn {
    load *load;
    uv_tcp_t tcp;
    uv_connect_t connecting;
    uv_write_t writing;
    uint64_t from_ns;
    size_t got, wanted; /* bytes of the answer; wanted 0: not known yet */
    char request[128], buffer[HTTP_BUFFER_BYTES];
} conn;

static void on_written(uv_write_t *writing, int status)
{
    (void)writing;
    if (status < 0)
        exit(1);
}

static void ask(conn *c)
{
    uv_buf_t buf = uv_buf_init(c->request, (unsigned)strlen(c->request));
    c->got = 0;
    c->from_ns = tg_clock_mono_ns();
    uv_write(&c->writing, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    conn *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init(c->buffer + c->got, (unsigned)(sizeof c->buffer - c->got - 1));
}

static void on_closed(uv_handle_t *handle)
{
    conn *c = handle->data;
    load *l = c->load;
    free(c);
    ended(l);
}

/* Every answer of a server has the length of its first. */
static size_t answer_bytes(conn *c)
{
    c->buffer[c->got] = '\0';
    char *end = strstr(c->buffer, "\r\n\r\n"), *length = strcasestr(c->buffer, "content-length:");
    if (strncmp(c->buffer, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "bench_rpc: %.40s\n", c->buffer);
        exit(1);
    }
    return end && length ? (size_t)(end + 4 - c->buffer) + strtoul(length + 15, NULL, 10) : 0;
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    conn *c = stream->data;
    load *l = c->load;
    (void)buf;
    if (got < 0) {
        fprintf(stderr, "bench_rpc: HTTP: %s\n", uv_strerror((int)got));
        exit(1);
    }
    c->got += (size_t)got;
    if (c->wanted == 0)
        c->wanted = answer_bytes(c);
    if (c->wanted == 0 || c->got < c->wanted)
        return;
    l->requests++;
    note(l, c->from_ns);
    if (l->stopping)
        uv_close((uv_handle_t *)stream, on_closed);
    else
        ask(c);
}

static void on_connected(uv_connect_t *connecting, int status)
{
    conn *c = connecting->data;
    if (status < 0)
        exit(1);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    ask(c);
}

static void connect_one(load *l)
{
    struct sockaddr_in address;
    conn *c = calloc(1, sizeof *c);
    if (!c)
        exit(1);
    c->load = l;
    c->tcp.data = c->connecting.data = c;
    snprintf(c->request, sizeof c->request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", l->http_path);
    uv_ip4_addr("127.0.0.1", l->http_port, &address);
    uv_tcp_init(tg_rpc_loop_uv(l->loop), &c->tcp);
    uv_tcp_connect(&c->connecting, &c->tcp, (struct sockaddr *)&address, on_connected);
}

/* ---- the face ---- */

void load_start(load *l)
{
    l->live = l->unary + l->streams + l->http;
    l->latencies_us = malloc(LATENCIES_MAX * sizeof *l->latencies_us);
    for (unsigned i = 0; i < l->unary + l->streams; i++) {
        flight *f = calloc(1, sizeof *f);
        if (!f || !l->latencies_us)
            exit(1);
        *f = (flight){.load = l, .stream = i >= l->unary};
        fly(f);
    }
    for (unsigned i = 0; i < l->http; i++)
        connect_one(l);
}

void load_reset(load *l)
{
    l->calls = l->messages = l->requests = 0;
    l->latency_count = 0;
}

void load_stop(load *l)
{
    l->stopping = true;
    while (l->live > 0)
        tg_rpc_loop_run(l->loop);
    free(l->latencies_us);
}
