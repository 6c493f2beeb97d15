/* The transport over gRPC: its events, in order, for each way an exchange can end. */
#include "libs/rpc/transport_rpc.h"
#include "tests/unit/libs/rpc/world.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct event_log {
    world *world;
    char text[256]; /* "head data data end 1000 0" */
    unsigned data, ends;
    tg_upstream *upstream;
    bool cancel_at_data;
} event_log;

static tg_rpc_transport *transport;

static void on_event(void *user, const tg_upstream_event *event)
{
    event_log *l = user;
    size_t at = strlen(l->text);
    switch (event->type) {
    case TG_UPSTREAM_HEAD:
        CU_ASSERT_EQUAL(event->status, 200);
        snprintf(l->text + at, sizeof l->text - at, "head ");
        for (size_t i = 0; i < event->header_count; i++)
            if (tg_str_is(event->headers[i].name, "x-early"))
                snprintf(l->text + at, sizeof l->text - at, "head(%.*s) ",
                         (int)event->headers[i].value.len, event->headers[i].value.data);
        break;
    case TG_UPSTREAM_DATA:
        if (l->data++ < 3)
            snprintf(l->text + at, sizeof l->text - at, "data ");
        if (l->cancel_at_data)
            tg_rpc_transport_face(transport)->cancel(l->upstream);
        break;
    case TG_UPSTREAM_END:
        l->ends++;
        snprintf(l->text + at, sizeof l->text - at, "end %u %d", event->status,
                 (int)event->failure);
        l->world->done++;
        tg_rpc_loop_stop(l->world->loop);
        break;
    }
}

static void begin(world *w, event_log *l, const char *url, const char *method, tg_str body,
                  const char *hold, uint32_t timeout_ms)
{
    tg_upstream_header headers[] = {{TG_STR("traceparent"), TG_STR("00-abc-def-01")},
                                    {TG_STR("x-hold"), tg_str_of(hold)}};
    tg_upstream_request request = {.url = url,
                                   .method = method,
                                   .headers = headers,
                                   .header_count = *hold ? 2 : 1,
                                   .body = body,
                                   .total_timeout_ms = timeout_ms};
    tg_transport *face = tg_rpc_transport_face(transport);
    *l = (event_log){.world = w};
    CU_ASSERT_EQUAL(face->start(face, &request, on_event, l, &l->upstream), 0);
    CU_ASSERT_STRING_EQUAL(l->text, ""); /* never from inside start */
}

static void open_transport(world *w)
{
    tg_error err = {""};
    CU_ASSERT_EQUAL_FATAL(tg_rpc_transport_new(w->loop, NULL, &err, &transport), 0);
}

static void early_metadata(world *w, tg_rpc_call *call, const Tollgate__V1__ObserveRequest *in)
{
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    (void)w, (void)in;
    CU_ASSERT_TRUE(tg_str_is(tg_rpc_call_metadata(call, "traceparent"), "00-abc-def-01"));
    tg_rpc_call_add_initial(call, "x-early", TG_STR("bird"));
    tg_rpc_reply(call, &out.base);
}

static void ways_to_end(world *w)
{
    static const char observe_method[] = "/tollgate.v1.Health/Observe";
    event_log l;
    char many[99 * 2];
    open_transport(w);
    w->observe = early_metadata;
    begin(w, &l, w->address, observe_method, TG_STR(""), "", 5000);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "head(bird) data end 1000 0");
    w->observe = NULL;

    w->done = 0; /* another code */
    for (size_t i = 0; i < 99; i++)
        memcpy(many + 2 * i, "\x0a\x00", 2);
    begin(w, &l, w->address, observe_method, (tg_str){many, sizeof many}, "", 5000);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "end 1008 4");

    w->done = 0; /* a timeout */
    begin(w, &l, w->address, observe_method, TG_STR(""), "yes", 100);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "end 1004 3");
    tg_rpc_fail(w->held, TG_RPC_ABORTED, "late");

    w->done = 0; /* nobody there */
    begin(w, &l, "127.0.0.1:1", observe_method, TG_STR(""), "", 5000);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "end 1014 1");

    w->done = 0; /* a stream */
    w->sent = 0;
    w->fill_to = 3;
    begin(w, &l, w->address, "/tollgate.v1.Health/WatchFleet", TG_STR(""), "", 5000);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "head data data data end 1000 0");
    CU_ASSERT_EQUAL(l.ends, 1);
    transport = tg_rpc_transport_free(transport);
}

/* WatchFleetRequest{known_version: 7}: one message, then silence. */
#define ONE_THEN_SILENCE TG_STR("\x10\x07")

static event_log *watched;
static bool has_data(const world *w)
{
    (void)w;
    return watched->data > 0;
}

static void reset_after_a_message(world *w)
{
    event_log l;
    open_transport(w);
    begin(w, &l, w->address, "/tollgate.v1.Health/WatchFleet", ONE_THEN_SILENCE, "", 0);
    watched = &l;
    run_until(w, has_data);
    w->held = NULL;
    w->server = tg_rpc_server_free(w->server); /* the handler is told, and the call is cut */
    run_until(w, is_done);
    CU_ASSERT_TRUE(strcmp(l.text, "head data end 1014 2") == 0 ||
                   strcmp(l.text, "head data end 1001 4") == 0);
    transport = tg_rpc_transport_free(transport);
}

static void cancelled_is_silent(world *w)
{
    event_log l;
    open_transport(w);
    begin(w, &l, w->address, "/tollgate.v1.Health/WatchFleet", ONE_THEN_SILENCE, "", 0);
    l.cancel_at_data = true; /* from inside an event */
    run_until(w, was_cancelled);
    CU_ASSERT_STRING_EQUAL(l.text, "head data ");
    w->cancelled = 0;
    begin(w, &l, w->address, "/tollgate.v1.Health/WatchFleet", ONE_THEN_SILENCE, "", 0);
    watched = &l;
    run_until(w, has_data);
    tg_rpc_transport_face(transport)->cancel(l.upstream); /* from outside */
    run_until(w, was_cancelled);
    CU_ASSERT_STRING_EQUAL(l.text, "head data ");
    CU_ASSERT_EQUAL(l.ends, 0);
    transport = tg_rpc_transport_free(transport);
}

static void freed_with_one_in_flight(world *w)
{
    event_log l;
    open_transport(w);
    begin(w, &l, w->address, "/tollgate.v1.Health/WatchFleet", ONE_THEN_SILENCE, "", 0);
    watched = &l;
    run_until(w, has_data);
    transport = tg_rpc_transport_free(transport);
    run_until(w, was_cancelled);
    CU_ASSERT_STRING_EQUAL(l.text, "head data ");
}

static bool sent_fifty(const world *w) { return w->sent == 50; }

static void paused_is_silent(world *w)
{
    event_log l;
    open_transport(w);
    w->fill_to = 50;
    begin(w, &l, w->address, "/tollgate.v1.Health/WatchFleet", TG_STR(""), "", 0);
    tg_rpc_transport_face(transport)->pause(l.upstream, true);
    run_until(w, sent_fifty); /* they are waiting */
    run_for(w, 50);
    CU_ASSERT_EQUAL(l.data, 0);
    tg_rpc_transport_face(transport)->pause(l.upstream, false);
    CU_ASSERT_EQUAL(l.data, 0);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(l.data, 50);
    transport = tg_rpc_transport_free(transport);
}

/* A port that takes connections and never says a word: 3 s, the channel's default, would outlast
 * the whole call. */
static void silent_upstream(world *w)
{
    event_log l;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof to;
    char url[32];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(listener >= 0 && bind(listener, (struct sockaddr *)&to, size) == 0 &&
                    listen(listener, 8) == 0 &&
                    getsockname(listener, (struct sockaddr *)&to, &size) == 0);
    snprintf(url, sizeof url, "127.0.0.1:%u", ntohs(to.sin_port));
    open_transport(w);
    tg_upstream_request request = {.url = url,
                                   .method = "/tollgate.v1.Health/Observe",
                                   .body = TG_STR(""),
                                   .connect_timeout_ms = 200,
                                   .total_timeout_ms = 2000};
    tg_transport *face = tg_rpc_transport_face(transport);
    l = (event_log){.world = w};
    CU_ASSERT_EQUAL(face->start(face, &request, on_event, &l, &l.upstream), 0);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "end 1014 1"); /* CONNECT, not TIMEOUT */

    w->done = 0; /* the same address with more patience is another channel: here the whole call's
                    time is up first */
    request.connect_timeout_ms = 60000;
    request.total_timeout_ms = 100;
    l = (event_log){.world = w};
    CU_ASSERT_EQUAL(face->start(face, &request, on_event, &l, &l.upstream), 0);
    run_until(w, is_done);
    CU_ASSERT_STRING_EQUAL(l.text, "end 1004 3");
    transport = tg_rpc_transport_free(transport);
    close(listener);
}

static void limits(world *w)
{
    tg_transport *face;
    tg_upstream_header headers[17];
    tg_upstream *upstream;
    open_transport(w);
    face = tg_rpc_transport_face(transport);
    for (size_t i = 0; i < 17; i++)
        headers[i] = (tg_upstream_header){TG_STR("x-a"), TG_STR("b")};
    tg_upstream_request request = {.url = w->address,
                                   .method = "/a/b",
                                   .headers = headers,
                                   .header_count = 17,
                                   .body = TG_STR("")};
    CU_ASSERT_EQUAL(face->start(face, &request, on_event, NULL, &upstream), -EINVAL);
    headers[0].name = TG_STR("x-0123456789012345678901234567890123456789012345678901234567890123");
    request.header_count = 1;
    CU_ASSERT_EQUAL(face->start(face, &request, on_event, NULL, &upstream), -EINVAL);
    transport = tg_rpc_transport_free(transport);
}

FOR_BOTH(ways_to_end)
FOR_BOTH(reset_after_a_message)
FOR_BOTH(cancelled_is_silent)
FOR_BOTH(freed_with_one_in_flight)
FOR_BOTH(paused_is_silent)
FOR_BOTH(silent_upstream)
FOR_BOTH(limits)

static const tg_test tests[] = {
    {"ways_to_end", test_ways_to_end},
    {"reset_after_a_message", test_reset_after_a_message},
    {"cancelled_is_silent", test_cancelled_is_silent},
    {"freed_with_one_in_flight", test_freed_with_one_in_flight},
    {"paused_is_silent", test_paused_is_silent},
    {"silent_upstream", test_silent_upstream},
    {"limits", test_limits},
};
TG_TEST_MAIN("libs_rpc_transport", tests)
