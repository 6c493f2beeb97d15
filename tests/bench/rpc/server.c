/* bench_rpc_server uv|queue [BACKEND_RPC BACKEND_HTTP]: the Echo service and an HTTP server on one
 * loop. It prints "RPC_PORT HTTP_PORT" and serves until its standard input ends.
 *
 * GET /plain answers at once. GET /through calls Unary on the backend and answers when that has;
 * GET /proxy does so with GET /plain, over libcurl. */
#include "libs/http/server.h"
#include "libs/http/client.h"
#include "libs/rpc/rpc.h"

#include "echo.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct server {
    tg_rpc_loop *loop;
    tg_rpc_server *rpc;
    tg_http_server *http;
    tg_rpc_channel *backend;
    tg_http_client *client;
    char backend_url[64];
    uv_pipe_t input;
} server;

static void must(int rc, const tg_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "bench_rpc_server: %s\n", err->text);
        exit(1);
    }
}

/* ---- gRPC ---- */

static void on_unary(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    Bench__EchoReply reply = BENCH__ECHO_REPLY__INIT;
    (void)service;
    reply.payload = ((const Bench__EchoRequest *)request)->payload;
    tg_rpc_reply(call, &reply.base);
}

/* The request lives in the call's arena, and so does what is left to send. */
static void fill(tg_rpc_call *call, void *user)
{
    Bench__EchoRequest *request = user;
    Bench__EchoReply reply = BENCH__ECHO_REPLY__INIT;
    reply.payload = request->payload;
    for (; request->count > 0; request->count--)
        if (tg_rpc_send(call, &reply.base) < 0)
            return;
    tg_rpc_finish(call, TG_RPC_OK, "");
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    (void)user;
    tg_rpc_finish(call, TG_RPC_CANCELLED, "");
}

static void on_stream(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    (void)service;
    tg_rpc_call_set_user(call, (void *)(uintptr_t)request);
    tg_rpc_call_on_cancel(call, on_cancel);
    tg_rpc_call_on_drain(call, fill);
    fill(call, tg_rpc_call_user(call));
}

/* ---- HTTP ---- */

static void answer(tg_http_exchange *x)
{
    tg_http_reply(x, 200, "text/plain", NULL, 0, TG_STR("0123456789abcdef0123456789abcdef"));
}

static void on_message(void *user, const ProtobufCMessage *message) { (void)user, (void)message; }

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
{
    (void)message, (void)trailing, (void)count;
    if (code != TG_RPC_OK)
        exit(1);
    answer(user);
}

static void on_event(void *user, const tg_upstream_event *event)
{
    if (event->type != TG_UPSTREAM_END)
        return;
    if (event->failure != TG_UPSTREAM_OK)
        exit(1);
    answer(user);
}

static void proxy(server *s, tg_http_exchange *x)
{
    tg_transport *transport = tg_http_client_transport(s->client);
    tg_upstream_request request = {.url = s->backend_url,
                                   .method = "GET",
                                   .body = TG_STR(""),
                                   .connect_timeout_ms = 10000,
                                   .total_timeout_ms = 10000};
    tg_upstream *upstream;
    if (transport->start(transport, &request, on_event, x, &upstream) < 0)
        exit(1);
}

static void on_request(void *user, tg_http_exchange *x, const tg_http_request *request)
{
    server *s = user;
    Bench__EchoRequest echo = BENCH__ECHO_REQUEST__INIT;
    tg_rpc_client *client;
    if (tg_str_is(request->path, "/plain")) {
        answer(x);
        return;
    }
    if (tg_str_is(request->path, "/proxy")) {
        proxy(s, x);
        return;
    }
    echo.payload =
        (ProtobufCBinaryData){32, (uint8_t *)(uintptr_t) "0123456789abcdef0123456789abcdef"};
    tg_rpc_start start = {.method = "/bench.Echo/Unary",
                          .request = &echo.base,
                          .response = &bench__echo_reply__descriptor,
                          .deadline_ms = 10000,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = x};
    if (tg_rpc_client_start(s->backend, &start, &client) < 0)
        exit(1);
}

/* ---- the process ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char unused[64];
    (void)handle, (void)suggested;
    *buf = uv_buf_init(unused, sizeof unused);
}

static void on_input(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    server *s = stream->data;
    (void)buf;
    if (got < 0)
        tg_rpc_loop_stop(s->loop);
}

int main(int argc, char **argv)
{
    static const tg_rpc_method methods[] = {{"Unary", false, on_unary},
                                            {"Stream", true, on_stream}};
    static const tg_rpc_service service = {&bench__echo__descriptor, methods, 2, NULL};
    static server s;
    tg_error err = {""};
    bool uv = argc > 1 && strcmp(argv[1], "uv") == 0;
    tg_http_server_conf conf = {.host = "127.0.0.1", .handler = on_request, .user = &s};
    tg_rpc_init();
    must(tg_rpc_loop_new(uv ? TG_RPC_LOOP_UV : TG_RPC_LOOP_QUEUE, &err, &s.loop), &err);
    must(tg_rpc_server_new(s.loop, "127.0.0.1:0", NULL, &err, &s.rpc), &err);
    must(tg_rpc_server_add(s.rpc, &service), &err);
    must(tg_rpc_server_start(s.rpc, &err), &err);
    must(tg_http_server_new(tg_rpc_loop_uv(s.loop), &conf, &err, &s.http), &err);
    if (argc > 3) {
        tg_http_client_conf client = {0};
        must(tg_rpc_channel_new(s.loop, argv[2], NULL, 0, &err, &s.backend), &err);
        must(tg_http_client_new(tg_rpc_loop_uv(s.loop), &client, &err, &s.client), &err);
        snprintf(s.backend_url, sizeof s.backend_url, "http://%s/plain", argv[3]);
    }
    uv_pipe_init(tg_rpc_loop_uv(s.loop), &s.input, 0);
    uv_pipe_open(&s.input, 0);
    s.input.data = &s;
    uv_read_start((uv_stream_t *)&s.input, on_alloc, on_input);
    printf("%d %d\n", tg_rpc_server_port(s.rpc), tg_http_server_port(s.http));
    fflush(stdout);
    tg_rpc_loop_run(s.loop);
    _Exit(0);
}
