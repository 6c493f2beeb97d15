#include "libs/config/settings.h"

#include "libs/base/log.h"
#include "libs/config/mesh.h"
#include "tests/unit/libs/config/files.h"

#include <errno.h>

static tg_arena arena;

#define ROUTER                                                                                     \
    "version: 1\nlisten: 127.0.0.1:8080\ntargets_file: t\npolicy_file: p\nprices_file: q\n"        \
    "tenants_file: n\nkeys_file: k\nspool: {dir: /tmp/s}\n"

static void test_router_defaults(void)
{
    const tg_router_settings *s = NULL;
    tg_error err = {""};
    write_file("r.yaml", ROUTER);
    int rc = tg_router_settings_load("r.yaml", &err, &arena, &s);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_STRING_EQUAL(s->common.instance_id, "router-1");
    CU_ASSERT_STRING_EQUAL(s->common.metrics_listen, "127.0.0.1:0");
    CU_ASSERT_STRING_EQUAL(s->grpc_listen, "");
    CU_ASSERT_TRUE(s->common.log_level == TG_LOG_INFO && !s->common.insecure &&
                   s->common.drain_timeout_ms == 30000);
    CU_ASSERT_TRUE(!s->common.tls.cert_file && !s->common.tls.key_file && !s->common.tls.ca_file);
    CU_ASSERT_TRUE(s->attempts_max == 4 && s->in_flight_max == 4096 && s->model_alias_count == 0);
    CU_ASSERT_TRUE(s->on_stale == TG_WHEN_STALE_ALLOW && s->on_spool_full == TG_WHEN_FULL_ALLOW);
    CU_ASSERT_TRUE(s->health.endpoint_count == 0 && s->health.stale_after_ms == 10000);
    CU_ASSERT_STRING_EQUAL(s->spool.dir, "/tmp/s");
    CU_ASSERT_TRUE(s->spool.sync_ms == 50 && s->spool.segment_bytes == 4 << 20);
    CU_ASSERT_TRUE(s->spool.limit_bytes == 256 << 20);
    CU_ASSERT_STRING_EQUAL(s->kafka.link.brokers, "");
    CU_ASSERT_STRING_EQUAL(s->kafka.topic_usage, "tollgate.usage.v1");
    CU_ASSERT_TRUE(s->http.body_bytes_max == 8 << 20 && s->http.header_bytes_max == 32 << 10);
    CU_ASSERT_TRUE(s->http.header_timeout_ms == 10000 && s->http.write_high_water == 256 << 10);
    tg_arena_free(&arena);
}

static void check_router(const char *more, const char *expected, unsigned line)
{
    const tg_router_settings *s = NULL;
    tg_error err = {""};
    char text[1024];
    snprintf(text, sizeof text, ROUTER "%s", more);
    write_file("r.yaml", text);
    CU_ASSERT_EQUAL(tg_router_settings_load("r.yaml", &err, &arena, &s), -EINVAL);
    check_text(err.text, expected, line);
    tg_arena_free(&arena);
}

static void test_router_refused(void)
{
    check_router("on_stale: alow\n",
                 "r.yaml:9:11: 'on_stale' is 'alow'; allowed: allow, reject; did you mean 'allow'?",
                 __LINE__);
    check_router("http: {header_timeout_ms: 0}\n",
                 "r.yaml:9:27: 'header_timeout_ms' is '0'; allowed: a duration such as 250ms or "
                 "30s from 1ms to 1h",
                 __LINE__);
    check_router("tls: {ca_file: a, cert_file: \"\", key_file: \"\"}\n",
                 "r.yaml: tls: ca_file needs cert_file and key_file beside it", __LINE__);
    check_router("tls: {cert_file: c}\n",
                 "r.yaml: tls: cert_file and key_file are given together or not at all", __LINE__);
    check_router(
        "health: {endpoint: [a]}\n",
        "r.yaml:9:10: unknown key 'endpoint'; did you mean 'endpoints'? (known: endpoints, "
        "observe_interval_ms, observe_batch_max, stale_after_ms)",
        __LINE__);
    const tg_router_settings *s = NULL;
    tg_error err = {""};
    write_file("r.yaml", "version: 1\n");
    CU_ASSERT_EQUAL(tg_router_settings_load("r.yaml", &err, &arena, &s), -EINVAL);
    check_text(
        err.text,
        "r.yaml:1:1: 'listen' is missing: Address for clients over HTTP; port 0: any free one.",
        __LINE__);
    tg_arena_free(&arena);
}

static void test_the_others(void)
{
    tg_error err = {""};
    const tg_inference_settings *inference = NULL;
    const tg_billing_settings *billing = NULL;
    const tg_health_settings *health = NULL;
    write_file("i.yaml", "version: 1\ngrpc_listen: 127.0.0.1:0\nmodel_file: m.gguf\n");
    CU_ASSERT_EQUAL_FATAL(tg_inference_settings_load("i.yaml", &err, &arena, &inference), 0);
    CU_ASSERT_TRUE(inference->threads == 0 && inference->max_seqs == 8 &&
                   inference->max_queue == 64);
    CU_ASSERT_STRING_EQUAL(inference->request_log, "");
    write_file("b.yaml", "version: 1\ngrpc_listen: 127.0.0.1:0\ndatabase: d\nprices_file: p\n"
                         "tenants_file: t\nkafka: {brokers: 'h:1,i:2'}\n");
    CU_ASSERT_EQUAL_FATAL(tg_billing_settings_load("b.yaml", &err, &arena, &billing), 0);
    CU_ASSERT_STRING_EQUAL(billing->kafka.link.brokers, "h:1,i:2");
    CU_ASSERT_STRING_EQUAL(billing->kafka.group, "tollgate-billing");
    CU_ASSERT_TRUE(billing->batch_events_max == 1000 && billing->batch_wait_ms == 100);
    write_file("h.yaml",
               "version: 1\ngrpc_listen: 127.0.0.1:0\ntargets_file: t\ncircuit: {open_ms: 1}\n");
    CU_ASSERT_EQUAL_FATAL(tg_health_settings_load("h.yaml", &err, &arena, &health), 0);
    CU_ASSERT_TRUE(health->circuit.open_ms == 1 && health->circuit.error_rate_permille == 500);
    CU_ASSERT_TRUE(health->window_ms == 30000);
    check_text(err.text, "", __LINE__);
    tg_arena_free(&arena);
}

/* Every schema's printed defaults are YAML in which only the required keys are missing: the first
 * error is about such a key, not about a default that its own bounds refuse. */
static void test_printed_defaults_are_readable(void)
{
    static const tg_schema *const schemas[] = {
        &tg_router_schema,  &tg_inference_schema, &tg_billing_schema, &tg_health_schema,
        &tg_targets_schema, &tg_prices_schema,    &tg_tenants_schema, &tg_keys_schema};
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        tg_buf out;
        tg_error err = {""};
        const tg_yaml_node *root = NULL;
        tg_buf_init(&out, 0);
        tg_buf_add_text(&out, "# defaults\n");
        CU_ASSERT_EQUAL(tg_schema_print(schemas[i], NULL, &out), 0);
        /* what it shows as required is allowed */
        CU_ASSERT_PTR_NULL(strstr(out.data, "# version: 0"));
        int rc = tg_yaml_parse(&arena, schemas[i]->name, tg_buf_str(&out), NULL, &err, &root);
        void *value = tg_arena_alloc(&arena, schemas[i]->size);
        if (rc == 0)
            rc = tg_schema_read(schemas[i], root, &arena, &err, value);
        bool as_expected = rc == -EINVAL && (strstr(err.text, "'version' is missing") ||
                                             strstr(err.text, "holds 0; at least 1"));
        if (!as_expected)
            printf("# %s: %s\n%s\n", schemas[i]->name, err.text, out.data);
        CU_ASSERT_TRUE(as_expected);
        tg_buf_free(&out);
        tg_arena_free(&arena);
    }
}

static void test_printed_settings_read_back(void)
{
    const tg_router_settings *s = NULL, *again = NULL;
    tg_error err = {""};
    tg_buf out;
    tg_buf_init(&out, 0);
    write_file("r.yaml",
               ROUTER "health: {endpoints: ['h:1', 'i:2']}\nhttp: {idle_timeout_ms: 1234}\n");
    CU_ASSERT_EQUAL_FATAL(tg_router_settings_load("r.yaml", &err, &arena, &s), 0);
    CU_ASSERT_EQUAL(tg_schema_print(&tg_router_schema, s, &out), 0);
    write_file("r2.yaml", out.data);
    int rc = tg_router_settings_load("r2.yaml", &err, &arena, &again);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_TRUE(again->http.idle_timeout_ms == 1234 && again->health.endpoint_count == 2);
    CU_ASSERT_STRING_EQUAL(again->health.endpoints[1], "i:2");
    tg_buf_free(&out);
    tg_arena_free(&arena);
}

static const tg_test tests[] = {
    {"router_defaults", test_router_defaults},
    {"router_refused", test_router_refused},
    {"the_others", test_the_others},
    {"printed_defaults", test_printed_defaults_are_readable},
    {"printed_settings", test_printed_settings_read_back},
};
TG_TEST_MAIN("libs_config_settings", tests)
