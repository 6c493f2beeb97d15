/* What every server serves by itself: health and reflection. */
#include "tests/unit/libs/rpc/world.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

enum {
    NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
    SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
    SERVICE_UNKNOWN = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
};

/* ---- health ---- */

static void on_health(void *user, const ProtobufCMessage *message)
{
    world *w = user;
    w->full = (unsigned)((const check_response *)message)->status;
    w->got++;
}

static tg_rpc_client *ask(world *w, const char *method, const char *service)
{
    check_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    tg_rpc_client *client = NULL;
    request.service = (char *)(uintptr_t)service;
    tg_rpc_start start = {.method = method,
                          .request = &request.base,
                          .response = &grpc__health__v1__health_check_response__descriptor,
                          .on_message = on_health,
                          .on_done = on_done,
                          .user = w};
    w->got = w->done = 0;
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &client), 0);
    return client;
}

static void check(world *w)
{
    static const char *const served[] = {"", "tollgate.v1.Health", "grpc.health.v1.Health"};
    for (size_t i = 0; i < 3; i++) {
        ask(w, "/grpc.health.v1.Health/Check", served[i]);
        run_until(w, is_done);
        CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
        CU_ASSERT_EQUAL(w->full, SERVING);
    }
    ask(w, "/grpc.health.v1.Health/Check", "tollgate.v1.Nobody");
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_NOT_FOUND);
    tg_rpc_server_set_serving(w->server, false);
    ask(w, "/grpc.health.v1.Health/Check", "");
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->full, NOT_SERVING);
}

static bool got_two(const world *w) { return w->got >= 2; }
static bool got_three(const world *w) { return w->got >= 3; }

static void on_drained(void *user) { ((world *)user)->cancelled++; }

static void watch_tells_changes(world *w)
{
    ask(w, "/grpc.health.v1.Health/Watch", "");
    run_until(w, got_one);
    CU_ASSERT_EQUAL(w->full, SERVING);
    tg_rpc_server_set_serving(w->server, false);
    run_until(w, got_two);
    CU_ASSERT_EQUAL(w->full, NOT_SERVING);
    tg_rpc_server_set_serving(w->server, true);
    tg_rpc_server_set_serving(w->server, true); /* no change, no message */
    run_until(w, got_three);
    CU_ASSERT_EQUAL(w->full, SERVING);
    tg_rpc_server_drain(w->server, 2000, on_drained, w);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->full, NOT_SERVING); /* said before the stream ended */
    CU_ASSERT_EQUAL(w->got, 4);
    run_until(w, was_cancelled);
}

static void watch_of_the_unknown(world *w)
{
    tg_rpc_client *client = ask(w, "/grpc.health.v1.Health/Watch", "tollgate.v1.Nobody");
    run_until(w, got_one);
    CU_ASSERT_EQUAL(w->full, SERVICE_UNKNOWN);
    tg_rpc_client_cancel(client);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
}

/* ---- reflection ---- */

static bool contains(ProtobufCBinaryData bytes, const char *text)
{
    return memmem(bytes.data, bytes.len, text, strlen(text)) != NULL;
}

/* Leaves in `message` what came: the services, "file" when the file defines WatchFleet, or the
 * error. */
static void on_reflection(void *user, const ProtobufCMessage *message)
{
    const reflection_response *in = (const reflection_response *)message;
    world *w = user;
    char *to = w->address; /* not needed any more */
    size_t size = sizeof w->address;
    w->got++;
    to[0] = '\0';
    CU_ASSERT_PTR_NOT_NULL(in->original_request);
    if (in->list_services_response &&
        in->message_response_case ==
            GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE) {
        const Grpc__Reflection__V1__ListServiceResponse *list = in->list_services_response;
        CU_ASSERT_EQUAL(list->n_service, 4);
        snprintf(to, size, "%s", list->service[0]->name);
    } else if (
        in->message_response_case ==
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE) {
        const Grpc__Reflection__V1__FileDescriptorResponse *files = in->file_descriptor_response;
        CU_ASSERT_EQUAL_FATAL(files->n_file_descriptor_proto, 1);
        CU_ASSERT_TRUE(contains(files->file_descriptor_proto[0], "tollgate/v1/health.proto"));
        snprintf(to, size, "%s",
                 contains(files->file_descriptor_proto[0], "WatchFleet") ? "file" : "other");
    } else if (in->error_response) {
        snprintf(to, size, "error %d", in->error_response->error_code);
    }
}

static void reflect(world *w, const char *version, unsigned which, const char *argument,
                    const char *expected)
{
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    char method[96];
    request.message_request_case = which;
    request.list_services =
        (char *)(uintptr_t)argument; /* one text field of the union or another */
    snprintf(method, sizeof method, "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo",
             version);
    tg_rpc_start start = {.method = method,
                          .request = &request.base,
                          .response = &grpc__reflection__v1__server_reflection_response__descriptor,
                          .on_message = on_reflection,
                          .on_done = on_done,
                          .user = w};
    w->got = w->done = 0;
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_OK);
    CU_ASSERT_EQUAL(w->got, 1);
    CU_ASSERT_STRING_EQUAL(w->address, expected);
}

static void reflection(world *w)
{
    enum {
        LIST = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES,
        FILE_NAMED =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME,
        SYMBOL =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL
    };
    static const char *const versions[] = {"v1", "v1alpha"};
    for (size_t i = 0; i < 2; i++) {
        reflect(w, versions[i], LIST, "", "tollgate.v1.Health");
        reflect(w, versions[i], FILE_NAMED, "tollgate/v1/health.proto", "file");
        reflect(w, versions[i], FILE_NAMED, "tollgate/v1/nothing.proto", "error 5");
        reflect(w, versions[i], SYMBOL, "tollgate.v1.Health", "file");
        reflect(w, versions[i], SYMBOL, "tollgate.v1.Health.WatchFleet", "file");
        reflect(w, versions[i], SYMBOL, "tollgate.v1.EndpointView", "file");
        reflect(w, versions[i], SYMBOL, "tollgate.v1.EndpointVie", "error 5");
        reflect(w, versions[i], SYMBOL, "", "error 5");
    }
}

FOR_BOTH(check)
FOR_BOTH(watch_tells_changes)
FOR_BOTH(watch_of_the_unknown)
FOR_BOTH(reflection)

static const tg_test tests[] = {
    {"check", test_check},
    {"watch_tells_changes", test_watch_tells_changes},
    {"watch_of_the_unknown", test_watch_of_the_unknown},
    {"reflection", test_reflection},
};
TG_TEST_MAIN("libs_rpc_builtin", tests)
