#include "libs/rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSTED_PER_METHOD = 8, KEEPALIVE_MIN_MS = 5000, DRAIN_GRACE_MS = 1000 };

static grpc_server *create(bool shared_port)
{
    grpc_arg args[TG_RPC_COMMON_ARGS + 3];
    tg_rpc_common_args(args);
    args[TG_RPC_COMMON_ARGS] =
        tg_rpc_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, KEEPALIVE_MIN_MS);
    args[TG_RPC_COMMON_ARGS + 1] = tg_rpc_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    args[TG_RPC_COMMON_ARGS + 2] = tg_rpc_arg(GRPC_ARG_ALLOW_REUSEPORT, shared_port);
    grpc_channel_args channel_args = {sizeof args / sizeof *args, args};
    return grpc_server_create(&channel_args, NULL);
}

static int server_new(tg_rpc_loop *loop, const char *address, bool shared_port,
                      const tg_rpc_tls *tls, tg_error *err, tg_rpc_server **ret)
{
    grpc_server_credentials *credentials;
    int rc = tg_rpc_server_credentials(tls, err, &credentials);
    if (rc < 0)
        return rc;
    tg_rpc_server *s = calloc(1, sizeof *s);
    if (!s) {
        grpc_server_credentials_release(credentials);
        return -ENOMEM;
    }
    s->loop = loop;
    tg_list_init(&s->calls);
    tg_list_init(&s->health_watchers);
    tg_list_init(&s->reflection_streams);
    s->grpc = create(shared_port);
    grpc_server_register_completion_queue(s->grpc, loop->queue, NULL);
    s->port = grpc_server_add_http2_port(s->grpc, address, credentials);
    grpc_server_credentials_release(credentials);
    if (s->port == 0) {
        tg_rpc_server_free(s);
        return tg_error_set(err, -EADDRINUSE, "%s cannot be listened on: is the port in use?",
                            address);
    }
    *ret = s;
    return 0;
}

int tg_rpc_server_new(tg_rpc_loop *loop, const char *address, const tg_rpc_tls *tls, tg_error *err,
                      tg_rpc_server **ret)
{
    return server_new(loop, address, false, tls, err, ret);
}

int tg_rpc_server_new_shared(tg_rpc_loop *loop, const char *address, const tg_rpc_tls *tls,
                             tg_error *err, tg_rpc_server **ret)
{
    return server_new(loop, address, true, tls, err, ret);
}

int tg_rpc_server_port(const tg_rpc_server *server) { return server->port; }

static int add_method(tg_rpc_server *s, const tg_rpc_service *service, const tg_rpc_method *method)
{
    const ProtobufCMethodDescriptor *descriptor =
        protobuf_c_service_descriptor_get_method_by_name(service->descriptor, method->name);
    if (!descriptor)
        return -ENOENT;
    if (s->bound_count == TG_RPC_METHODS_MAX)
        return -E2BIG;
    tg_rpc_bound *b = &s->bound[s->bound_count++];
    *b = (tg_rpc_bound){.method = method, .descriptor = descriptor, .user = service->user};
    b->client_streaming =
        tg_rpc_descriptor_method(service->descriptor->name, method->name).client_streaming;
    snprintf(b->path, sizeof b->path, "/%s/%s", service->descriptor->name, method->name);
    b->registered = grpc_server_register_method(
        s->grpc, b->path, NULL,
        b->client_streaming ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    return b->registered ? 0 : -EEXIST;
}

int tg_rpc_server_add(tg_rpc_server *s, const tg_rpc_service *service)
{
    if (s->service_count == TG_RPC_SERVICES_MAX)
        return -E2BIG;
    s->services[s->service_count++] = *service;
    for (size_t i = 0; i < service->method_count; i++) {
        int rc = add_method(s, service, &service->methods[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void tg_rpc_server_intercept(tg_rpc_server *s, tg_rpc_interceptor *interceptor, void *user)
{
    s->interceptor = interceptor;
    s->interceptor_user = user;
}

int tg_rpc_server_start(tg_rpc_server *s, tg_error *err)
{
    tg_rpc_service own[] = {tg_rpc_health_service(s), tg_rpc_reflection_service(s, false),
                            tg_rpc_reflection_service(s, true)};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        int rc = tg_rpc_server_add(s, &own[i]);
        if (rc < 0)
            return tg_error_set(err, rc, "%s cannot be served", own[i].descriptor->name);
    }
    grpc_server_start(s->grpc);
    s->started = true;
    for (unsigned n = 0; n < POSTED_PER_METHOD; n++)
        for (size_t i = 0; i < s->bound_count; i++)
            tg_rpc_call_request(s, &s->bound[i]);
    tg_rpc_call_request(s, NULL); /* whatever is not registered: UNIMPLEMENTED */
    return 0;
}

void tg_rpc_server_set_serving(tg_rpc_server *s, bool serving)
{
    if (s->serving == serving)
        return;
    s->serving = serving;
    tg_rpc_health_changed(s);
}

/* ---- drain ---- */

static void tell_drained(tg_rpc_server *s)
{
    void (*done)(void *) = s->drain_done;
    s->drain_done = NULL;
    if (s->drain_timer_open)
        uv_timer_stop(&s->drain_timer);
    if (done)
        done(s->drain_user);
}

static void on_shut_down(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_server *s = TG_CONTAINER_OF(tag, tg_rpc_server, shutdown_tag);
    (void)ok;
    s->down = true;
    if (!s->dead)
        tell_drained(s);
    tg_rpc_server_maybe_free(s);
}

static void shut_down(tg_rpc_server *s)
{
    if (s->shutting_down)
        return;
    s->shutting_down = true;
    s->serving = false;
    tg_rpc_health_end(s);
    tg_rpc_reflection_end(s);
    s->shutdown_tag.run = on_shut_down;
    tg_rpc_begin(s->loop, &s->shutdown_tag);
    grpc_server_shutdown_and_notify(s->grpc, s->loop->queue, &s->shutdown_tag);
    tg_rpc_end(s->loop);
}

/* A handler that does not let go of a cancelled call must not hold the process. */
static void on_grace_over(uv_timer_t *timer) { tell_drained(timer->data); }

static void on_drain_timeout(uv_timer_t *timer)
{
    tg_rpc_server *s = timer->data;
    uv_timer_start(timer, on_grace_over, DRAIN_GRACE_MS, 0);
    grpc_server_cancel_all_calls(s->grpc);
}

void tg_rpc_server_drain(tg_rpc_server *s, uint32_t timeout_ms, void (*done)(void *user),
                         void *user)
{
    s->drain_done = done;
    s->drain_user = user;
    if (!s->drain_timer_open && uv_timer_init(&s->loop->uv, &s->drain_timer) == 0) {
        s->drain_timer_open = true;
        s->drain_timer.data = s;
    }
    if (s->drain_timer_open)
        uv_timer_start(&s->drain_timer, on_drain_timeout, timeout_ms, 0);
    shut_down(s);
}

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    tg_rpc_server *s = handle->data;
    s->drain_timer_open = false;
    tg_rpc_server_maybe_free(s);
}

void tg_rpc_server_maybe_free(tg_rpc_server *s)
{
    if (!s->dead || !s->down || s->drain_timer_open || !tg_list_empty(&s->calls))
        return;
    grpc_server_destroy(s->grpc);
    tg_rpc_call_pool_free(s);
    if (s->gone)
        *s->gone = s->loop->interrupted = true;
    free(s);
}

tg_rpc_server *tg_rpc_server_free(tg_rpc_server *s)
{
    bool gone = false;
    if (!s)
        return NULL;
    tg_rpc_loop *loop = s->loop;
    shut_down(s);
    s->dead = true;
    if (!s->down)
        grpc_server_cancel_all_calls(s->grpc);
    if (s->drain_timer_open)
        uv_close((uv_handle_t *)&s->drain_timer, on_timer_closed);
    if (loop->turning) { /* called from a callback: the loop does the rest */
        tg_rpc_server_maybe_free(s);
        return NULL;
    }
    s->gone = &gone;
    tg_rpc_server_maybe_free(s);
    while (!gone)
        tg_rpc_loop_pump(loop);
    return NULL;
}
