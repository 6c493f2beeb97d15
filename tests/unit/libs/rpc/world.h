/* What the tests of libs/rpc share: a server and a client on one loop, in process, for either owner
 * of the loop. The service under test is tollgate.v1.Health, for its one unary and one streaming
 * call. */
#ifndef TG_TESTS_UNIT_LIBS_RPC_WORLD_H
#define TG_TESTS_UNIT_LIBS_RPC_WORLD_H

#include "libs/rpc/transport_rpc.h"
#include "libs/rpc/watch.h"
#include "tests/unit/harness.h"

#include "tollgate/v1/health.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_MESSAGES = 10000, GUARD_MS = 20000 };

#pragma GCC diagnostic ignored "-Wunused-function" /* each test uses its part */
#pragma GCC diagnostic ignored "-Wunused-variable"

typedef struct world world;
struct world {
    tg_rpc_loop *loop;
    tg_rpc_server *server;
    tg_rpc_channel *channel;
    tg_rpc_call *held; /* a call whose handler answers later */
    tg_rpc_client *client;
    unsigned sent, got, done, cancelled, full;
    unsigned fill_to; /* messages of WatchFleet; 0: STREAM_MESSAGES */
    tg_rpc_code code;
    char message[128], trailing[64];
    uint64_t deadline_ms;
    uv_timer_t guard;
    bool timed_out;
    char *padding; /* a text in every message of WatchFleet, or NULL */
    char address[64];
    tg_watchers *watchers; /* or NULL: of WatchFleet, who get one message */
    void (*observe)(world *w, tg_rpc_call *call,
                    const Tollgate__V1__ObserveRequest *in); /* or NULL */
};

static bool initialised;
static const tg_rpc_loop_owner owners[] = {TG_RPC_LOOP_UV, TG_RPC_LOOP_QUEUE};

/* ---- the service ---- */

static void on_observe(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    const Tollgate__V1__ObserveRequest *in = (const Tollgate__V1__ObserveRequest *)request;
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    world *w = service;
    w->deadline_ms = tg_rpc_call_deadline_ms(call);
    if (w->observe) {
        w->observe(w, call, in);
        return;
    }
    if (in->n_observations == 99) {
        tg_rpc_call_add_trailing(call, "x-why", TG_STR("ninety-nine"));
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "%s", "too many");
        return;
    }
    if (tg_rpc_call_metadata(call, "x-hold").len > 0) {
        w->held = call;
        return;
    }
    out.accepted = in->n_observations;
    tg_rpc_reply(call, &out.base);
}

static void fill(tg_rpc_call *call, void *user)
{
    world *w = user;
    Tollgate__V1__FleetUpdate update = TOLLGATE__V1__FLEET_UPDATE__INIT;
    Tollgate__V1__EndpointView view = TOLLGATE__V1__ENDPOINT_VIEW__INIT, *views = &view;
    if (w->padding) {
        view.target = w->padding;
        update.endpoints = &views;
        update.n_endpoints = 1;
    }
    while (w->sent < (w->fill_to ? w->fill_to : STREAM_MESSAGES)) {
        update.version = w->sent + 1;
        int rc = tg_rpc_send(call, &update.base);
        if (rc < 0) { /* full: on_drain goes on */
            CU_ASSERT_EQUAL(rc, -ENOBUFS);
            CU_ASSERT_EQUAL(tg_rpc_send_queued(call), TG_RPC_SEND_QUEUE_MAX);
            w->full++;
            return;
        }
        w->sent++;
    }
    tg_rpc_finish(call, TG_RPC_OK, "");
}

static void on_stream_cancel(tg_rpc_call *call, void *user)
{
    world *w = user;
    w->cancelled++;
    tg_rpc_finish(call, TG_RPC_CANCELLED, "");
}

static void on_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    const Tollgate__V1__WatchFleetRequest *in = (const Tollgate__V1__WatchFleetRequest *)request;
    Tollgate__V1__FleetUpdate update = TOLLGATE__V1__FLEET_UPDATE__INIT;
    world *w = service;
    if (w->watchers) {
        if (tg_watcher_new(w->watchers, call, sizeof(tg_watcher)))
            tg_rpc_send(call, &update.base);
        return;
    }
    tg_rpc_call_set_user(call, w);
    tg_rpc_call_on_cancel(call, on_stream_cancel);
    if (in->known_version == 7) { /* one message, then silence until cancelled */
        w->held = call;
        tg_rpc_send(call, &update.base);
        return;
    }
    tg_rpc_call_on_drain(call, fill);
    fill(call, w);
}

static const tg_rpc_method methods[] = {{"Observe", false, on_observe},
                                        {"WatchFleet", true, on_watch}};

/* ---- the client ---- */

static void on_message(void *user, const ProtobufCMessage *message)
{
    world *w = user;
    w->got++;
    if (message->descriptor == &tollgate__v1__fleet_update__descriptor) {
        const Tollgate__V1__FleetUpdate *update = (const Tollgate__V1__FleetUpdate *)message;
        if (update->version > 0)
            CU_ASSERT_EQUAL(update->version, w->got);
    } else {
        w->sent = (unsigned)((const Tollgate__V1__ObserveResponse *)message)->accepted;
    }
}

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
{
    world *w = user;
    w->done++;
    w->code = code;
    snprintf(w->message, sizeof w->message, "%s", message);
    for (size_t i = 0; i < count; i++)
        if (strcmp(trailing[i].key, "x-why") == 0)
            tg_str_copy(w->trailing, sizeof w->trailing, trailing[i].value);
    tg_rpc_loop_stop(w->loop);
}

static void on_guard(uv_timer_t *timer)
{
    world *w = timer->data;
    CU_FAIL("nothing happened within the guard's time");
    w->timed_out = true;
    tg_rpc_loop_stop(w->loop);
}

static void set_up_tls(world *w, tg_rpc_loop_owner owner, const tg_rpc_tls *server_tls,
                       const tg_rpc_tls *channel_tls)
{
    tg_rpc_service service = {&tollgate__v1__health__descriptor, methods, 2, w};
    tg_error err = {""};
    memset(w, 0, sizeof *w);
    if (!initialised)
        tg_rpc_init();
    initialised = true;
    CU_ASSERT_EQUAL_FATAL(tg_rpc_loop_new(owner, &err, &w->loop), 0);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_new(w->loop, "127.0.0.1:0", server_tls, &err, &w->server),
                          0);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_check_methods(&service, &err), 0);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_add(w->server, &service), 0);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_start(w->server, &err), 0);
    tg_rpc_server_set_serving(w->server, true);
    snprintf(w->address, sizeof w->address, "127.0.0.1:%d", tg_rpc_server_port(w->server));
    CU_ASSERT_EQUAL_FATAL(
        tg_rpc_channel_new(w->loop, w->address, channel_tls, 0, &err, &w->channel), 0);
    uv_timer_init(tg_rpc_loop_uv(w->loop), &w->guard);
    w->guard.data = w;
    uv_timer_start(&w->guard, on_guard, GUARD_MS, 0);
}

static void set_up(world *w, tg_rpc_loop_owner owner) { set_up_tls(w, owner, NULL, NULL); }

static void tear_down(world *w)
{
    uv_close((uv_handle_t *)&w->guard, NULL);
    w->channel = tg_rpc_channel_free(w->channel);
    w->server = tg_rpc_server_free(w->server);
    w->loop = tg_rpc_loop_free(w->loop);
}

static tg_rpc_client *observe(world *w, size_t n, uint32_t deadline_ms, bool hold)
{
    static Tollgate__V1__Observation one;
    static Tollgate__V1__Observation *many[128];
    Tollgate__V1__ObserveRequest request = TOLLGATE__V1__OBSERVE_REQUEST__INIT;
    tg_rpc_metadata metadata = {"x-hold", TG_STR("yes")};
    tg_rpc_client *client = NULL;
    tollgate__v1__observation__init(&one);
    for (size_t i = 0; i < n; i++)
        many[i] = &one;
    request.observations = many;
    request.n_observations = n;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          .request = &request.base,
                          .response = &tollgate__v1__observe_response__descriptor,
                          .deadline_ms = deadline_ms,
                          .metadata = &metadata,
                          .metadata_count = hold,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &client), 0);
    CU_ASSERT_EQUAL(w->done, 0); /* never from inside start */
    return client;
}

static tg_rpc_client *watch(world *w, uint64_t version)
{
    Tollgate__V1__WatchFleetRequest request = TOLLGATE__V1__WATCH_FLEET_REQUEST__INIT;
    tg_rpc_client *client = NULL;
    request.known_version = version;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/WatchFleet",
                          .request = &request.base,
                          .response = &tollgate__v1__fleet_update__descriptor,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &client), 0);
    return client;
}

/* ---- waiting ---- */

typedef struct waiter {
    uv_timer_t timer;
    world *world;
    bool (*met)(const world *w);
} waiter;

static void on_poll(uv_timer_t *timer)
{
    waiter *p = timer->data;
    if (p->met(p->world))
        tg_rpc_loop_stop(p->world->loop);
}

/* Runs the loop until the condition is met (or the guard fails the test). */
static void run_until(world *w, bool (*met)(const world *w))
{
    waiter p = {.world = w, .met = met};
    uv_timer_init(tg_rpc_loop_uv(w->loop), &p.timer);
    p.timer.data = &p;
    uv_timer_start(&p.timer, on_poll, 1, 1);
    while (!met(w) && !w->timed_out)
        tg_rpc_loop_run(w->loop);
    uv_close((uv_handle_t *)&p.timer, NULL);
    uv_run(tg_rpc_loop_uv(w->loop), UV_RUN_NOWAIT);
}

static void on_ring(uv_timer_t *timer) { tg_rpc_loop_stop(((world *)timer->data)->loop); }

static void run_for(world *w, uint64_t ms)
{
    uv_timer_t timer;
    uv_timer_init(tg_rpc_loop_uv(w->loop), &timer);
    timer.data = w;
    uv_timer_start(&timer, on_ring, ms, 0);
    while (uv_is_active((uv_handle_t *)&timer)) /* others may stop the loop too */
        tg_rpc_loop_run(w->loop);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(tg_rpc_loop_uv(w->loop), UV_RUN_NOWAIT);
}

static bool got_one(const world *w) { return w->got > 0; }
static bool was_cancelled(const world *w) { return w->cancelled > 0; }
static bool holds_one(const world *w) { return w->held != NULL; }
static bool is_done(const world *w) { return w->done > 0; }

#define FOR_BOTH(name)                                                                             \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        for (size_t i = 0; i < 2; i++) {                                                           \
            static world w;                                                                        \
            set_up(&w, owners[i]);                                                                 \
            name(&w);                                                                              \
            tear_down(&w);                                                                         \
        }                                                                                          \
    }

#endif
