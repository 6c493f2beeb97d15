/* tollgate.v1.Health over gRPC: observations in, the fleet view out. */
#include "services/health/health.h"

#include "libs/base/clock.h"

#include <stdlib.h>

typedef struct watcher {
    tg_list node;
    tg_health *health;
    tg_rpc_call *call;
    uint64_t sent_version; /* 0: nothing yet */
} watcher;

uint64_t tg_health_now_ms(void) { return tg_clock_mono_ns() / 1000000u; }

/* ---- observations ---- */

void tg_health_observe(tg_health *health, const Tollgate__V1__Observation *o)
{
    if (tg_health_fleet_observe(&health->fleet, o, tg_health_now_ms()))
        tg_health_changed(health, tg_health_fleet_find(&health->fleet, o->target, o->endpoint));
}

static void on_observe(void *service, tg_rpc_call *call, const ProtobufCMessage *message)
{
    tg_health *health = service;
    const Tollgate__V1__ObserveRequest *in = (const Tollgate__V1__ObserveRequest *)message;
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    uint64_t before = health->fleet.observations;
    for (size_t i = 0; i < in->n_observations; i++) {
        tg_health_observe(health, in->observations[i]);
        if (health->share)
            tg_share_observe(health->share, in->observations[i]);
    }
    out.accepted = health->fleet.observations - before;
    tg_rpc_reply(call, &out.base);
}

/* ---- the view ---- */

static void watcher_end(watcher *w, tg_rpc_code code, const char *why)
{
    tg_list_remove(&w->node);
    w->health->watcher_count--;
    tg_rpc_call_set_user(w->call, NULL);
    tg_rpc_finish(w->call, code, why);
    free(w);
}

static void on_watcher_cancel(tg_rpc_call *call, void *user)
{
    (void)call;
    if (user)
        watcher_end(user, TG_RPC_CANCELLED, "");
}

static void send_view(watcher *w)
{
    tg_arena arena;
    if (tg_rpc_send_queued(w->call) > 0) /* it has not read the last one: the next push says it all */
        return;
    tg_arena_init(&arena, 0);
    const Tollgate__V1__FleetUpdate *update =
        tg_health_fleet_update(&w->health->fleet, w->sent_version, tg_health_now_ms(), &arena);
    if (update && tg_rpc_send(w->call, &update->base) == 0)
        w->sent_version = w->health->fleet.version;
    tg_arena_free(&arena);
}

static void on_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *message)
{
    tg_health *health = service;
    (void)message; /* a router that reconnects is sent everything: versions of two replicas differ */
    if (health->watcher_count == TG_HEALTH_WATCHERS_MAX) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "at most %d watchers", TG_HEALTH_WATCHERS_MAX);
        return;
    }
    watcher *w = calloc(1, sizeof *w);
    if (!w) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    w->health = health;
    w->call = call;
    tg_list_add_tail(&health->watchers, &w->node);
    health->watcher_count++;
    tg_rpc_call_set_user(call, w);
    tg_rpc_call_on_cancel(call, on_watcher_cancel);
    send_view(w);
}

static void on_get(void *service, tg_rpc_call *call, const ProtobufCMessage *message)
{
    tg_health *health = service;
    (void)message;
    const Tollgate__V1__FleetUpdate *update =
        tg_health_fleet_update(&health->fleet, 0, tg_health_now_ms(), tg_rpc_call_arena(call));
    if (update)
        tg_rpc_reply(call, &update->base);
    else
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
}

void tg_health_push(tg_health *health)
{
    TG_LIST_EACH(node, &health->watchers)
    {
        watcher *w = TG_CONTAINER_OF(node, watcher, node);
        if (w->sent_version < health->fleet.version)
            send_view(w);
    }
    health->pushed_version = health->fleet.version;
}

void tg_health_end_watchers(tg_health *health)
{
    while (!tg_list_empty(&health->watchers))
        watcher_end(TG_CONTAINER_OF(health->watchers.next, watcher, node), TG_RPC_UNAVAILABLE,
                    "this health replica is going away; use another");
}

tg_rpc_service tg_health_rpc_service(tg_health *health)
{
    /* AcquireLease and SettleLease are declared and answer UNIMPLEMENTED. */
    static const tg_rpc_method methods[] = {
        {"Observe", false, on_observe}, {"WatchFleet", true, on_watch}, {"GetFleet", false, on_get}};
    return (tg_rpc_service){.descriptor = &tollgate__v1__health__descriptor,
                            .methods = methods,
                            .method_count = sizeof methods / sizeof *methods,
                            .user = health};
}
