/* Random calls, cancelled, paused, timed out and cut off at random moments: whatever happens, every
 * call ends exactly once on both sides, and nothing leaks (the sanitizers see to that). */
#include "tests/unit/libs/rpc/world.h"

enum { CALLS = 300, HELD_MAX = 512, STREAM_MAX = 3000 };

typedef struct chaos chaos;

typedef struct attempt {
    chaos *chaos;
    tg_rpc_client *client; /* NULL: over */
    unsigned done, messages;
    bool cancelled;
} attempt;

/* A call that the server has not finished. */
typedef struct held {
    chaos *chaos;
    tg_rpc_call *call;
    bool stream;
    unsigned left;
} held;

struct chaos {
    world *world;
    uint64_t state;
    uv_timer_t timer;
    attempt attempts[CALLS];
    held held[HELD_MAX];
    unsigned begun, ended, started_on_server, finished_on_server;
};

static unsigned draw(chaos *c, unsigned below)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return (unsigned)(c->state >> 33) % below;
}

/* ---- the server's side ---- */

static void let_go(held *h, tg_rpc_code code)
{
    tg_rpc_call *call = h->call;
    h->call = NULL;
    h->chaos->finished_on_server++;
    tg_rpc_finish(call, code, "by chance");
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    held *h = user;
    CU_ASSERT_PTR_EQUAL(h->call, call);
    CU_ASSERT_TRUE(tg_rpc_call_cancelled(call));
    let_go(h, TG_RPC_CANCELLED);
}

static void on_room(tg_rpc_call *call, void *user)
{
    Tollgate__V1__FleetUpdate update = TOLLGATE__V1__FLEET_UPDATE__INIT;
    held *h = user;
    for (; h->left > 0; h->left--)
        if (tg_rpc_send(call, &update.base) < 0)
            return;
    if (draw(h->chaos, 2) == 0)
        let_go(h, TG_RPC_OK);
}

static void arrive(chaos *c, tg_rpc_call *call, bool stream)
{
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    held *h = NULL;
    c->started_on_server++;
    for (size_t i = 0; i < HELD_MAX && !h; i++)
        if (!c->held[i].call)
            h = &c->held[i];
    if (!h || (!stream && draw(c, 3) == 0)) {
        c->finished_on_server++;
        if (stream)
            tg_rpc_fail(call, TG_RPC_UNAVAILABLE, "no room");
        else
            tg_rpc_reply(call, &out.base);
        return;
    }
    *h = (held){.chaos = c, .call = call, .stream = stream, .left = draw(c, STREAM_MAX)};
    tg_rpc_call_set_user(call, h);
    tg_rpc_call_on_cancel(call, on_cancel);
    if (stream) {
        tg_rpc_call_on_drain(call, on_room);
        on_room(call, h);
    }
}

static void on_chaos_observe(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    (void)request;
    arrive(service, call, false);
}

static void on_chaos_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    (void)request;
    arrive(service, call, true);
}

/* ---- the client's side ---- */

static void on_attempt_message(void *user, const ProtobufCMessage *message)
{
    attempt *a = user;
    (void)message;
    a->messages++;
    CU_ASSERT_FALSE(a->cancelled);
    CU_ASSERT_EQUAL(a->done, 0);
    if (draw(a->chaos, 500) == 0) {
        a->cancelled = true;
        tg_rpc_client_cancel(a->client);
    } else if (draw(a->chaos, 100) == 0) {
        tg_rpc_client_pause(a->client, true);
    }
}

static void on_attempt_done(void *user, tg_rpc_code code, const char *message,
                            const tg_rpc_metadata *trailing, size_t count)
{
    attempt *a = user;
    (void)message, (void)trailing, (void)count;
    CU_ASSERT_EQUAL(a->done++, 0);
    if (a->cancelled)
        CU_ASSERT_EQUAL(code, TG_RPC_CANCELLED);
    a->client = NULL;
    a->chaos->ended++;
}

static void begin(chaos *c)
{
    attempt *a = &c->attempts[c->begun];
    bool stream = draw(c, 2) == 0;
    *a = (attempt){.chaos = c};
    tg_rpc_start start = {.method = stream ? "/tollgate.v1.Health/WatchFleet"
                                           : "/tollgate.v1.Health/Observe",
                          .request_bytes = TG_STR(""),
                          .response = stream ? &tollgate__v1__fleet_update__descriptor
                                             : &tollgate__v1__observe_response__descriptor,
                          .deadline_ms = draw(c, 3) == 0 ? 1 + draw(c, 100) : 0,
                          .on_message = on_attempt_message,
                          .on_done = on_attempt_done,
                          .user = a};
    CU_ASSERT_EQUAL(tg_rpc_client_start(c->world->channel, &start, &a->client), 0);
    c->begun++;
}

static void act(chaos *c)
{
    attempt *a = c->begun > 0 ? &c->attempts[draw(c, c->begun)] : NULL;
    held *h = &c->held[draw(c, 32)];
    switch (draw(c, 6)) {
    case 0:
    case 1:
        if (c->begun < CALLS)
            begin(c);
        break;
    case 2:
        if (a && a->client && draw(c, 3) == 0) {
            a->cancelled = true;
            tg_rpc_client_cancel(a->client);
        }
        break;
    case 3:
        if (a && a->client)
            tg_rpc_client_pause(a->client, draw(c, 3) == 0);
        break;
    default:
        if (h->call)
            let_go(h, draw(c, 2) == 0 ? TG_RPC_OK : TG_RPC_ABORTED);
        break;
    }
}

/* Once all are begun, what is left is let go, so that the round ends. */
static void wind_up(chaos *c)
{
    for (size_t i = 0; i < HELD_MAX; i++)
        if (c->held[i].call)
            let_go(&c->held[i], TG_RPC_OK);
    for (size_t i = 0; i < c->begun; i++)
        if (c->attempts[i].client)
            tg_rpc_client_pause(c->attempts[i].client, false);
}

static void on_act(uv_timer_t *timer)
{
    chaos *c = timer->data;
    for (unsigned i = 0; i < 20; i++)
        act(c);
    if (c->begun == CALLS)
        wind_up(c);
    if (c->begun == CALLS && c->ended == CALLS)
        tg_rpc_loop_stop(c->world->loop);
}

static void play(tg_rpc_loop_owner owner, uint64_t seed)
{
    static const tg_rpc_method chaos_methods[] = {{"Observe", false, on_chaos_observe},
                                                  {"WatchFleet", true, on_chaos_watch}};
    static world w;
    static chaos c;
    tg_error err = {""};
    set_up(&w, owner);
    memset(&c, 0, sizeof c);
    c.world = &w;
    c.state = seed;
    w.server = tg_rpc_server_free(w.server); /* its place is taken by one with the service above */
    tg_rpc_service service = {&tollgate__v1__health__descriptor, chaos_methods, 2, &c};
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_new(w.loop, w.address, NULL, &err, &w.server), 0);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_add(w.server, &service), 0);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_start(w.server, &err), 0);
    uv_timer_init(tg_rpc_loop_uv(w.loop), &c.timer);
    c.timer.data = &c;
    uv_timer_start(&c.timer, on_act, 1, 1);
    if (draw(&c, 2) == 0) { /* to the end */
        while (c.ended < CALLS && !w.timed_out)
            tg_rpc_loop_run(w.loop);
        CU_ASSERT_EQUAL(c.ended, CALLS);
    } else { /* in the middle of it everything is freed */
        run_for(&w, 10 + draw(&c, 100));
    }
    uv_close((uv_handle_t *)&c.timer, NULL);
    if (draw(&c, 2) == 0)
        w.channel = tg_rpc_channel_free(w.channel);
    w.server = tg_rpc_server_free(w.server);
    CU_ASSERT_EQUAL(c.started_on_server, c.finished_on_server);
    tear_down(&w);
    CU_ASSERT_EQUAL(c.begun, c.ended);
    for (size_t i = 0; i < c.begun; i++)
        CU_ASSERT_EQUAL(c.attempts[i].done, 1);
}

static void test_everything_ends_once(void)
{
    uint64_t seed = tg_test_seed();
    for (size_t i = 0; i < tg_test_rounds(5); i++)
        for (size_t owner = 0; owner < 2; owner++)
            play(owners[owner], seed + 1000003 * (2 * i + owner));
}

static const tg_test tests[] = {{"everything_ends_once", test_everything_ends_once}};
TG_TEST_MAIN("libs_rpc_chaos", tests)
