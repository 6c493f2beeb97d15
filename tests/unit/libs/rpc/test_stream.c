/* Streams: order, backpressure, pausing, cancellation, draining. */
#include "tests/unit/libs/rpc/world.h"

static void stream_of_many(world *w)
{
    watch(w, 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_EQUAL(w->got, STREAM_MESSAGES);
    CU_ASSERT_TRUE(w->full > 0); /* the queue's bound was met, and nothing was lost */
}

/* The queued messages are more than gRPC buffers: it must not wait for a flush that never comes. */
static void stream_of_large(world *w)
{
    static const size_t sizes[] = {40, 1000, 20000, 100000};
    for (size_t i = 0; i < 4; i++) {
        char *padding = calloc(1, sizes[i] + 1);
        memset(padding, 'x', sizes[i]);
        w->padding = padding;
        w->fill_to = 3000;
        w->sent = w->got = w->done = 0;
        watch(w, 0);
        run_until(w, is_done);
        CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
        CU_ASSERT_EQUAL(w->got, 3000);
        free(padding);
    }
}

static void cancel_reaches_the_server(world *w)
{
    tg_rpc_client *client = watch(w, 7);
    run_until(w, got_one);
    tg_rpc_client_cancel(client);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
    run_until(w, was_cancelled);
    CU_ASSERT_EQUAL(w->cancelled, 1);
}

/* ---- pausing ---- */

static void pausing(world *w)
{
    w->fill_to = 20;
    tg_rpc_client *client = watch(w, 0);
    tg_rpc_client_pause(client, true);
    run_for(w, 200);
    CU_ASSERT_EQUAL(w->got, 0);
    CU_ASSERT_EQUAL(w->done, 0);
    CU_ASSERT_EQUAL(w->sent, 20);
    tg_rpc_client_pause(client, false);
    CU_ASSERT_EQUAL(w->got, 0); /* never from inside */
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->got, 20);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
}

/* A paused client holds the server back: gRPC's windows fill, then the call's queue. */
static void paused_client_holds_back(world *w)
{
    w->fill_to = 1000000;
    tg_rpc_client *client = watch(w, 0);
    tg_rpc_client_pause(client, true);
    unsigned sent;
    do { /* until nothing more goes; the guard ends a test in which it goes on */
        sent = w->sent;
        run_for(w, 300);
    } while ((w->sent != sent || sent == 0) && !w->timed_out);
    CU_ASSERT_TRUE(sent > TG_RPC_SEND_QUEUE_MAX && sent < 200000);
    CU_ASSERT_EQUAL(w->got, 0);
    tg_rpc_client_cancel(client);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
    CU_ASSERT_EQUAL(w->got, 0);
    run_until(w, was_cancelled);
}

static void cancel_from_inside(void *user, const ProtobufCMessage *message)
{
    world *w = user;
    on_message(user, message);
    if (w->got == 10)
        tg_rpc_client_cancel(w->client);
    CU_ASSERT_TRUE(w->got <= 10);
}

static void client_cancels_amid_messages(world *w)
{
    Tollgate__V1__WatchFleetRequest request = TOLLGATE__V1__WATCH_FLEET_REQUEST__INIT;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/WatchFleet",
                          .request = &request.base,
                          .response = &tollgate__v1__fleet_update__descriptor,
                          .on_message = cancel_from_inside,
                          .on_done = on_done,
                          .user = w};
    w->fill_to = 1000000;
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
    CU_ASSERT_EQUAL(w->got, 10);
    run_until(w, was_cancelled);
    CU_ASSERT_EQUAL(w->cancelled, 1);
    CU_ASSERT_EQUAL(w->done, 1);
}

/* The channel goes while a stream runs: the call ends by itself, once. */
static void channel_freed_under_a_call(world *w)
{
    watch(w, 7);
    run_until(w, got_one);
    w->channel = tg_rpc_channel_free(w->channel);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
    run_until(w, was_cancelled);
}

/* ---- draining ---- */

static void on_drained(void *user) { ((world *)user)->cancelled += 100; }
static bool drained(const world *w) { return w->cancelled >= 100; }

static void drain_lets_a_call_finish(world *w)
{
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    observe(w, 1, 5000, true);
    run_until(w, holds_one);
    tg_rpc_server_drain(w->server, 5000, on_drained, w);
    out.accepted = 42;
    tg_rpc_reply(w->held, &out.base);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_EQUAL(w->sent, 42);
    run_until(w, drained);
}

static void drain_lets_a_stream_finish(world *w)
{
    Tollgate__V1__FleetUpdate update = TOLLGATE__V1__FLEET_UPDATE__INIT;
    watch(w, 7);
    run_until(w, got_one);
    tg_rpc_call *call = w->held;
    tg_rpc_server_drain(w->server, 5000, on_drained, w);
    run_for(w, 100);
    CU_ASSERT_EQUAL(w->cancelled, 0);
    CU_ASSERT_EQUAL(w->done, 0);
    for (unsigned i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(tg_rpc_send(call, &update.base), 0);
    tg_rpc_finish(call, TG_RPC_OK, "");
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_EQUAL(w->got, 6);
    run_until(w, drained);
    CU_ASSERT_EQUAL(w->cancelled, 100);
    w->done = 0;
    observe(w, 1, 2000, false); /* nobody is there any more */
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_UNAVAILABLE);
}

static void drain_ends_at_its_deadline(world *w)
{
    watch(w, 7);
    run_until(w, got_one);
    uint64_t from = uv_hrtime();
    tg_rpc_server_drain(w->server, 200, on_drained, w);
    run_until(w, drained);
    uint64_t ms = (uv_hrtime() - from) / 1000000;
    CU_ASSERT_EQUAL(w->cancelled, 101); /* the handler was told first */
    CU_ASSERT_TRUE(ms >= 190 && ms < 5000);
    run_until(w, is_done);
    CU_ASSERT_NOT_EQUAL(w->code, TG_RPC_OK);
}

static void on_drained_free(void *user)
{
    world *w = user;
    w->server = tg_rpc_server_free(w->server);
    w->cancelled += 100;
}

static void freed_from_inside_a_callback(world *w)
{
    observe(w, 3, 5000, false);
    tg_rpc_loop_run(w->loop);
    tg_rpc_server_drain(w->server, 5000, on_drained_free, w);
    run_until(w, drained);
    CU_ASSERT_PTR_NULL(w->server);
}

/* A server that comes back is found again by the same channel, within the bound of its backoff. */
static void channel_reconnects(world *w)
{
    static const tg_rpc_service service = {&tollgate__v1__health__descriptor, methods, 2, NULL};
    tg_rpc_service mine = service;
    tg_error err = {""};
    observe(w, 1, 5000, false);
    run_until(w, is_done);
    w->server = tg_rpc_server_free(w->server);
    w->done = 0;
    observe(w, 1, 5000, false);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_UNAVAILABLE);
    run_for(w, 1500); /* several attempts fail meanwhile */
    mine.user = w;
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_new(w->loop, w->address, NULL, &err, &w->server), 0);
    CU_ASSERT_EQUAL(tg_rpc_server_add(w->server, &mine), 0);
    CU_ASSERT_EQUAL(tg_rpc_server_start(w->server, &err), 0);
    uint64_t from = uv_hrtime();
    do {
        run_for(w, 20);
        w->done = 0;
        observe(w, 1, 5000, false);
        run_until(w, is_done);
    } while (w->code != TG_RPC_OK && uv_hrtime() - from < 10000000000u);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_TRUE(uv_hrtime() - from < 5000000000u);
}

static void freed_with_a_stream_open(world *w)
{
    watch(w, 7);
    run_until(w, got_one);
    w->server = tg_rpc_server_free(w->server);
    CU_ASSERT_EQUAL(w->cancelled, 1);
    run_until(w, is_done);
    CU_ASSERT_NOT_EQUAL(w->code, TG_RPC_OK);
}

FOR_BOTH(stream_of_many)
FOR_BOTH(stream_of_large)
FOR_BOTH(cancel_reaches_the_server)
FOR_BOTH(pausing)
FOR_BOTH(paused_client_holds_back)
FOR_BOTH(client_cancels_amid_messages)
FOR_BOTH(channel_freed_under_a_call)
FOR_BOTH(drain_lets_a_call_finish)
FOR_BOTH(drain_lets_a_stream_finish)
FOR_BOTH(drain_ends_at_its_deadline)
FOR_BOTH(freed_from_inside_a_callback)
FOR_BOTH(channel_reconnects)
FOR_BOTH(freed_with_a_stream_open)

static const tg_test tests[] = {
    {"stream_of_many", test_stream_of_many},
    {"stream_of_large", test_stream_of_large},
    {"cancel_reaches_the_server", test_cancel_reaches_the_server},
    {"pausing", test_pausing},
    {"paused_client_holds_back", test_paused_client_holds_back},
    {"client_cancels_amid_messages", test_client_cancels_amid_messages},
    {"channel_freed_under_a_call", test_channel_freed_under_a_call},
    {"drain_lets_a_call_finish", test_drain_lets_a_call_finish},
    {"drain_lets_a_stream_finish", test_drain_lets_a_stream_finish},
    {"drain_ends_at_its_deadline", test_drain_ends_at_its_deadline},
    {"freed_from_inside_a_callback", test_freed_from_inside_a_callback},
    {"channel_reconnects", test_channel_reconnects},
    {"freed_with_a_stream_open", test_freed_with_a_stream_open},
};
TG_TEST_MAIN("libs_rpc_stream", tests)
