/* Unary calls: answers, failures, deadlines, metadata, refusals, limits. */
#include "tests/unit/libs/rpc/world.h"

static void unary(world *w)
{
    observe(w, 3, 600000, false);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_EQUAL(w->got, 1);
    CU_ASSERT_EQUAL(w->sent, 3);
    CU_ASSERT_TRUE(w->deadline_ms > 540000 && w->deadline_ms <= 600000);
}

static void failure_carries_message_and_trailer(world *w)
{
    observe(w, 99, 0, false);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_RESOURCE_EXHAUSTED);
    CU_ASSERT_STRING_EQUAL(w->message, "too many");
    CU_ASSERT_STRING_EQUAL(w->trailing, "ninety-nine");
    CU_ASSERT_EQUAL(w->deadline_ms, UINT64_MAX);
}

static void deadline_passes(world *w)
{
    observe(w, 1, 100, true);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_DEADLINE_EXCEEDED);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->held);
    tg_rpc_fail(w->held, TG_RPC_UNAVAILABLE, "late"); /* releases the call */
}

static void unknown_method(world *w)
{
    Tollgate__V1__GetFleetRequest request = TOLLGATE__V1__GET_FLEET_REQUEST__INIT;
    tg_rpc_client *client;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/GetFleet", /* declared, not in the table */
                          .request = &request.base,
                          .response = &tollgate__v1__fleet_update__descriptor,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &client), 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_UNIMPLEMENTED);
}

static void nobody_listens(world *w)
{
    tg_error err = {""};
    tg_rpc_channel *mine = w->channel;
    CU_ASSERT_EQUAL_FATAL(tg_rpc_channel_new(w->loop, "127.0.0.1:1", NULL, 0, &err, &w->channel),
                          0);
    observe(w, 1, 5000, false);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_UNAVAILABLE);
    tg_rpc_channel_free(w->channel);
    w->channel = mine;
}

/* ---- metadata ---- */

static void seen_metadata(world *w, tg_rpc_call *call, const Tollgate__V1__ObserveRequest *in)
{
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    (void)in;
    CU_ASSERT_TRUE(tg_str_is(tg_rpc_call_metadata(call, "traceparent"), "00-abc-def-01"));
    CU_ASSERT_PTR_NULL(tg_rpc_call_metadata(call, "absent").data);
    CU_ASSERT_EQUAL(strncmp(tg_rpc_call_peer(call), "ipv4:127.0.0.1:", 15), 0);
    CU_ASSERT_EQUAL(tg_rpc_call_add_initial(call, "x-early", TG_STR("first")), 0);
    out.accepted = 5;
    tg_rpc_reply(call, &out.base);
    w->cancelled++; /* counts: the handler ran */
}

static void early(void *user, const tg_rpc_metadata *metadata, size_t count)
{
    world *w = user;
    CU_ASSERT_EQUAL(w->got, 0); /* before the first message */
    for (size_t i = 0; i < count; i++)
        if (strcmp(metadata[i].key, "x-early") == 0)
            tg_str_copy(w->trailing, sizeof w->trailing, metadata[i].value);
}

static void metadata_both_ways(world *w)
{
    Tollgate__V1__ObserveRequest request = TOLLGATE__V1__OBSERVE_REQUEST__INIT;
    tg_rpc_metadata metadata[17] = {{"traceparent", TG_STR("00-abc-def-01")}};
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          .request = &request.base,
                          .response = &tollgate__v1__observe_response__descriptor,
                          .metadata = metadata,
                          .metadata_count = 1,
                          .on_initial = early,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    w->observe = seen_metadata;
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_EQUAL(w->cancelled, 1);
    CU_ASSERT_STRING_EQUAL(w->trailing, "first");
    start.metadata_count = 17;
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), -E2BIG);
}

static bool refuse_unless_known(void *user, tg_rpc_call *call, const char *method)
{
    world *w = user;
    CU_ASSERT_STRING_EQUAL(method, "/tollgate.v1.Health/Observe");
    if (tg_rpc_call_metadata(call, "x-hold").len > 0)
        return true;
    w->full++;
    tg_rpc_fail(call, TG_RPC_UNAUTHENTICATED, "who are you");
    return false;
}

static void interceptor_refuses(world *w)
{
    tg_rpc_server_intercept(w->server, refuse_unless_known, w);
    observe(w, 1, 0, false);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_UNAUTHENTICATED);
    CU_ASSERT_STRING_EQUAL(w->message, "who are you");
    CU_ASSERT_EQUAL(w->full, 1);
    w->done = 0;
    observe(w, 1, 0, true);
    run_until(w, holds_one);
    tg_rpc_fail(w->held, TG_RPC_ABORTED, "let in");
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_ABORTED);
}

/* ---- limits ---- */

static void too_large(world *w)
{
    char *bytes = calloc(1, TG_RPC_MESSAGE_MAX + 64);
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          .request_bytes = {bytes, TG_RPC_MESSAGE_MAX + 64},
                          .response = &tollgate__v1__observe_response__descriptor,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_RESOURCE_EXHAUSTED);
    free(bytes);
}

static void answer_too_much(world *w, tg_rpc_call *call, const Tollgate__V1__ObserveRequest *in)
{
    Tollgate__V1__Observation observation = TOLLGATE__V1__OBSERVATION__INIT, *one = &observation;
    Tollgate__V1__ObserveRequest out = TOLLGATE__V1__OBSERVE_REQUEST__INIT;
    char *text = malloc(TG_RPC_MESSAGE_MAX + 1);
    (void)w, (void)in;
    memset(text, 'x', TG_RPC_MESSAGE_MAX);
    text[TG_RPC_MESSAGE_MAX] = '\0';
    observation.target = text;
    out.observations = &one;
    out.n_observations = 1;
    tg_rpc_reply(call, &out.base);
    free(text);
}

static void answer_too_large(world *w)
{
    w->observe = answer_too_much;
    observe(w, 1, 0, false);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_RESOURCE_EXHAUSTED);
    CU_ASSERT_EQUAL(w->got, 0);
}

static void garbage(world *w)
{
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          .request_bytes = TG_STR("\xff\xff\xff"),
                          .response = &tollgate__v1__observe_response__descriptor,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(w->message, "the message is no tollgate.v1.ObserveRequest");
}

/* protobuf-c would cut the text at the NUL. */
static void nul_in_a_text(world *w)
{
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          /* observations { target: "a\0b" } */
                          .request_bytes = TG_STR("\x0a\x05\x0a\x03" "a\0b"),
                          .response = &tollgate__v1__observe_response__descriptor,
                          .on_message = on_message,
                          .on_done = on_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(w->code, TG_RPC_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(w->message, "observations[0]: target: a text must not hold a NUL byte");
}

/* ---- a call made for a call ---- */

static tg_rpc_call *outer;

static void inner_done(void *user, tg_rpc_code code, const char *message,
                       const tg_rpc_metadata *trailing, size_t count)
{
    world *w = user;
    (void)message, (void)trailing, (void)count;
    w->full = 100 + (unsigned)code;
    tg_rpc_fail(outer, code, "inner");
}

/* The first call starts a second, to a method that never answers, with itself as parent. */
static void call_on(world *w, tg_rpc_call *call, const Tollgate__V1__ObserveRequest *in)
{
    Tollgate__V1__WatchFleetRequest request = TOLLGATE__V1__WATCH_FLEET_REQUEST__INIT;
    tg_rpc_client *client;
    (void)in;
    request.known_version = 7;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/WatchFleet",
                          .request = &request.base,
                          .response = &tollgate__v1__fleet_update__descriptor,
                          .parent = call,
                          .on_message = on_message,
                          .on_done = inner_done,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &client), 0);
    outer = call;
}

static bool inner_ended(const world *w) { return w->full > 0; }
static bool both_cancelled(const world *w) { return w->full > 0 && w->cancelled > 0; }

static void parent_is_cancelled(world *w)
{
    w->observe = call_on;
    tg_rpc_client *client = observe(w, 1, 0, false);
    run_until(w, got_one); /* the inner call has said something */
    tg_rpc_client_cancel(client);
    run_until(w, both_cancelled);
    CU_ASSERT_EQUAL(w->full, 100 + TG_RPC_CANCELLED);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
}

static void parent_has_a_deadline(world *w)
{
    w->observe = call_on;
    observe(w, 1, 300, false);
    run_until(w, got_one);
    run_until(w, inner_ended);
    CU_ASSERT_TRUE(w->full == 100 + TG_RPC_DEADLINE_EXCEEDED || w->full == 100 + TG_RPC_CANCELLED);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_DEADLINE_EXCEEDED);
}

/* ---- ports and tables ---- */

static void port_in_use(world *w)
{
    tg_rpc_server *other = NULL, *third = NULL;
    tg_error err = {""};
    char address[64];
    CU_ASSERT_EQUAL(tg_rpc_server_new(w->loop, w->address, NULL, &err, &other), -EADDRINUSE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "in use"));
    CU_ASSERT_PTR_NULL(other);
    CU_ASSERT_EQUAL_FATAL(tg_rpc_server_new_shared(w->loop, "127.0.0.1:0", NULL, &err, &other), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", tg_rpc_server_port(other));
    CU_ASSERT_EQUAL(tg_rpc_server_new_shared(w->loop, address, NULL, &err, &third), 0);
    tg_rpc_server_free(other);
    tg_rpc_server_free(third);
}

static void test_tables_are_checked(void)
{
    tg_rpc_method wrong[] = {{"Observe", true, on_observe}, {"WatchFleet", true, on_watch}};
    tg_rpc_service service = {&tollgate__v1__health__descriptor, wrong, 2, NULL};
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_rpc_check_methods(&service, &err), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Observe"));
    wrong[0] = methods[0];
    CU_ASSERT_EQUAL(tg_rpc_check_methods(&service, &err), 0);
    wrong[1].name = "WatchFlee";
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_rpc_check_methods(&service, &err), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "WatchFlee"));
}

/* Many calls at once, each answered; the number posted is far smaller. */
static unsigned burst_done;
static void on_burst_done(void *user, tg_rpc_code code, const char *message,
                          const tg_rpc_metadata *trailing, size_t count)
{
    world *w = user;
    (void)message, (void)trailing, (void)count;
    CU_ASSERT_EQUAL(code, TG_RPC_OK);
    if (++burst_done == 1000)
        tg_rpc_loop_stop(w->loop);
}

static void burst(world *w)
{
    Tollgate__V1__ObserveRequest request = TOLLGATE__V1__OBSERVE_REQUEST__INIT;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          .request = &request.base,
                          .response = &tollgate__v1__observe_response__descriptor,
                          .on_message = on_message,
                          .on_done = on_burst_done,
                          .user = w};
    burst_done = 0;
    for (unsigned i = 0; i < 1000; i++)
        CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    tg_rpc_loop_run(w->loop);
    CU_ASSERT_EQUAL(burst_done, 1000);
    CU_ASSERT_EQUAL(w->got, 1000);
}

FOR_BOTH(unary)
FOR_BOTH(failure_carries_message_and_trailer)
FOR_BOTH(deadline_passes)
FOR_BOTH(unknown_method)
FOR_BOTH(nobody_listens)
FOR_BOTH(metadata_both_ways)
FOR_BOTH(interceptor_refuses)
FOR_BOTH(too_large)
FOR_BOTH(answer_too_large)
FOR_BOTH(garbage)
FOR_BOTH(nul_in_a_text)
FOR_BOTH(parent_is_cancelled)
FOR_BOTH(parent_has_a_deadline)
FOR_BOTH(port_in_use)
FOR_BOTH(burst)

static const tg_test tests[] = {
    {"unary", test_unary},
    {"failure_carries_message_and_trailer", test_failure_carries_message_and_trailer},
    {"deadline_passes", test_deadline_passes},
    {"unknown_method", test_unknown_method},
    {"nobody_listens", test_nobody_listens},
    {"metadata_both_ways", test_metadata_both_ways},
    {"interceptor_refuses", test_interceptor_refuses},
    {"too_large", test_too_large},
    {"answer_too_large", test_answer_too_large},
    {"garbage", test_garbage},
    {"nul_in_a_text", test_nul_in_a_text},
    {"parent_is_cancelled", test_parent_is_cancelled},
    {"parent_has_a_deadline", test_parent_has_a_deadline},
    {"port_in_use", test_port_in_use},
    {"burst", test_burst},
    {"tables_are_checked", test_tables_are_checked},
};
TG_TEST_MAIN("libs_rpc", tests)
