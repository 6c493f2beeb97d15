/* grpc.health.v1.Health: one answer for the server as a whole and for every service it serves. */
#include "libs/rpc/internal.h"

#include "grpc/health/v1/health.pb-c.h"

#include <stdlib.h>
#include <string.h>

typedef struct watcher {
    tg_list node;
    tg_rpc_server *server;
    tg_rpc_call *call;
    bool known; /* the service asked for is served here */
} watcher;

static bool serves(const tg_rpc_server *s, const char *name)
{
    if (*name == '\0')
        return true;
    for (size_t i = 0; i < s->service_count; i++)
        if (strcmp(s->services[i].descriptor->name, name) == 0)
            return true;
    return false;
}

static void fill(const tg_rpc_server *s, bool known, Grpc__Health__V1__HealthCheckResponse *out)
{
    grpc__health__v1__health_check_response__init(out);
    if (!known)
        out->status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    else if (s->serving)
        out->status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    else
        out->status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

static void on_check(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    const Grpc__Health__V1__HealthCheckRequest *in =
        (const Grpc__Health__V1__HealthCheckRequest *)request;
    Grpc__Health__V1__HealthCheckResponse out;
    if (!serves(service, in->service)) {
        tg_rpc_fail(call, TG_RPC_NOT_FOUND, "no such service is served here");
        return;
    }
    fill(service, true, &out);
    tg_rpc_reply(call, &out.base);
}

static void watcher_end(watcher *w, tg_rpc_code code)
{
    tg_list_remove(&w->node);
    tg_rpc_call_set_user(w->call, NULL);
    tg_rpc_finish(w->call, code, "");
    free(w);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    (void)call;
    if (user)
        watcher_end(user, TG_RPC_CANCELLED);
}

static void tell(watcher *w)
{
    Grpc__Health__V1__HealthCheckResponse out;
    fill(w->server, w->known, &out);
    tg_rpc_send(w->call, &out.base);
}

static void on_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    const Grpc__Health__V1__HealthCheckRequest *in =
        (const Grpc__Health__V1__HealthCheckRequest *)request;
    watcher *w = calloc(1, sizeof *w);
    if (!w) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    w->server = service;
    w->call = call;
    w->known = serves(service, in->service);
    tg_list_add_tail(&w->server->health_watchers, &w->node);
    tg_rpc_call_set_user(call, w);
    tg_rpc_call_on_cancel(call, on_cancel);
    tell(w);
}

void tg_rpc_health_changed(tg_rpc_server *s)
{
    TG_LIST_EACH(node, &s->health_watchers)
    tell(TG_CONTAINER_OF(node, watcher, node));
}

void tg_rpc_health_end(tg_rpc_server *s)
{
    tg_rpc_health_changed(s);
    while (!tg_list_empty(&s->health_watchers))
        watcher_end(TG_CONTAINER_OF(s->health_watchers.next, watcher, node), TG_RPC_UNAVAILABLE);
}

tg_rpc_service tg_rpc_health_service(tg_rpc_server *server)
{
    static const tg_rpc_method methods[] = {{"Check", false, on_check}, {"Watch", true, on_watch}};
    return (tg_rpc_service){.descriptor = &grpc__health__v1__health__descriptor,
                            .methods = methods,
                            .method_count = sizeof methods / sizeof *methods,
                            .user = server};
}
