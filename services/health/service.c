/* tollgate.v1.Health over gRPC: observations in, the fleet view out. */
#include "services/health/health.h"

#include "libs/base/clock.h"

typedef struct watcher {
    tg_watcher base;
    tg_health *health;
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

static void send_view(watcher *w)
{
    tg_arena arena;
    /* it has not read the last one: the next push says it all */
    if (tg_rpc_send_queued(w->base.call) > 0)
        return;
    tg_arena_init(&arena, 0);
    const Tollgate__V1__FleetUpdate *update =
        tg_health_fleet_update(&w->health->fleet, w->sent_version, tg_health_now_ms(), &arena);
    if (update && tg_rpc_send(w->base.call, &update->base) == 0)
        w->sent_version = w->health->fleet.version;
    tg_arena_free(&arena);
}

static void on_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *message)
{
    tg_health *health = service;
    /* a router that reconnects is sent everything: versions of two replicas differ */
    (void)message;
    watcher *w = tg_watcher_new(&health->watchers, call, sizeof *w);
    if (!w)
        return;
    w->health = health;
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
    TG_LIST_EACH(node, &health->watchers.list)
    {
        watcher *w = TG_CONTAINER_OF(node, watcher, base.node);
        if (w->sent_version < health->fleet.version)
            send_view(w);
    }
    health->pushed_version = health->fleet.version;
}

void tg_health_end_watchers(tg_health *health)
{
    tg_watchers_end(&health->watchers, "this health replica is going away; use another");
}

tg_rpc_service tg_health_rpc_service(tg_health *health)
{
    /* AcquireLease and SettleLease are declared and answer UNIMPLEMENTED. */
    static const tg_rpc_method methods[] = {{"Observe", false, on_observe},
                                            {"WatchFleet", true, on_watch},
                                            {"GetFleet", false, on_get}};
    return (tg_rpc_service){.descriptor = &tollgate__v1__health__descriptor,
                            .methods = methods,
                            .method_count = sizeof methods / sizeof *methods,
                            .user = health};
}
