/* The files of deploy/dev load with nothing but the environment that ./dev sets. */
#include "libs/base/clock.h"
#include "libs/config/mesh.h"
#include "libs/config/settings.h"
#include "tests/unit/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dev[512]; /* .../deploy/dev */

static const char *path(const char *name)
{
    static char text[640];
    if (!*dev) {
        const char *here = strstr(__FILE__, "tests/unit/");
        snprintf(dev, sizeof dev, "%.*sdeploy/dev", (int)(here - __FILE__), __FILE__);
    }
    snprintf(text, sizeof text, "%s/%s", dev, name);
    return text;
}

static void set_environment(void)
{
    static const char *const names[] = {"TOLLGATE_ROUTER_LISTEN",     "TOLLGATE_ROUTER_GRPC_LISTEN",
                                        "TOLLGATE_INFERENCE_GRPC",    "TOLLGATE_BILLING_GRPC",
                                        "TOLLGATE_HEALTH_GRPC",       "TOLLGATE_ROUTER_METRICS",
                                        "TOLLGATE_INFERENCE_METRICS", "TOLLGATE_BILLING_METRICS",
                                        "TOLLGATE_HEALTH_METRICS",    "TOLLGATE_KAFKA"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        setenv(names[i], "127.0.0.1:18080", 1);
    setenv("TOLLGATE_RUN_DIR", "/tmp/run", 1);
    setenv("TOLLGATE_MODEL", "/tmp/model.gguf", 1);
    setenv("TOLLGATE_OPENAI_URL", "http://127.0.0.1:18081", 1);
    setenv("TOLLGATE_ANTHROPIC_URL", "http://127.0.0.1:18081", 1);
    setenv("TOLLGATE_BEDROCK_URL", "http://127.0.0.1:18081", 1);
    unsetenv("TOLLGATE_INSTANCE_ID");
    unsetenv("TOLLGATE_CONFIG_DIR");
    unsetenv("TOLLGATE_PROVIDER_CA");
}

static void loaded(int rc, const tg_error *err)
{
    if (rc < 0)
        printf("# %s\n", err->text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void test_settings(void)
{
    tg_arena arena;
    tg_error err = {""};
    const tg_router_settings *router = NULL;
    const tg_inference_settings *inference = NULL;
    const tg_billing_settings *billing = NULL;
    const tg_health_settings *health = NULL;
    set_environment();
    tg_arena_init(&arena, 0);
    loaded(tg_router_settings_load(path("router.yaml"), &err, &arena, &router), &err);
    loaded(tg_inference_settings_load(path("inference.yaml"), &err, &arena, &inference), &err);
    loaded(tg_billing_settings_load(path("billing.yaml"), &err, &arena, &billing), &err);
    loaded(tg_health_settings_load(path("health.yaml"), &err, &arena, &health), &err);
    CU_ASSERT_STRING_EQUAL(router->spool.dir, "/tmp/run/spool/router-1");
    CU_ASSERT_STRING_EQUAL(router->targets_file, "deploy/dev/targets.yaml");
    CU_ASSERT_STRING_EQUAL(inference->model_file, "/tmp/model.gguf");
    CU_ASSERT_STRING_EQUAL(billing->database, "/tmp/run/ledger/ledger.db");
    tg_arena_free(&arena);
}

static void test_mesh(void)
{
    tg_error err = {""};
    tg_targets *targets = NULL;
    tg_price_book *prices = NULL;
    tg_tenants *tenants = NULL;
    uint64_t at = 0;
    set_environment();
    loaded(tg_targets_load(path("targets.yaml"), &err, &targets), &err);
    loaded(tg_prices_load(path("prices.yaml"), &err, &prices), &err);
    loaded(tg_tenants_load(path("tenants.yaml"), &err, &tenants), &err);
    CU_ASSERT_EQUAL(tg_clock_parse("2026-01-01", &at), 0);
    CU_ASSERT_EQUAL(tg_targets_count(targets), 7);
    for (size_t i = 0; i < tg_targets_count(targets); i++)
        CU_ASSERT_PTR_NOT_NULL(tg_price_book_find(prices, tg_targets_at(targets, i)->id, at));
    const tg_price *mini = tg_price_book_find(prices, "openai-gpt4o-mini", at);
    const tg_price *private = tg_price_book_find(prices, "private-gpu-llama-70b", at);
    CU_ASSERT_TRUE(mini && mini->input == 150000 && mini->output == 600000 && !mini->assumed);
    CU_ASSERT_TRUE(private && private->input == 208000 && private->assumed);
    CU_ASSERT_EQUAL(tg_tenants_count(tenants), 3);
    const tg_tenant *initech = tg_tenants_find(tenants, TG_STR("initech"));
    for (size_t i = 0; initech && i < initech->model_allowlist_count; i++)
        CU_ASSERT_TRUE(tg_targets_find(targets, tg_str_of(initech->model_allowlist[i])) >= 0);
    tg_targets_free(targets);
    tg_price_book_free(prices);
    tg_tenants_free(tenants);
}

/* Every target that the policy names exists. The policy itself is read by the router. */
static void test_policy_names_known_targets(void)
{
    tg_arena arena;
    tg_error err = {""};
    tg_targets *targets = NULL;
    const tg_yaml_node *root = NULL;
    set_environment();
    tg_arena_init(&arena, 0);
    loaded(tg_targets_load(path("targets.yaml"), &err, &targets), &err);
    loaded(tg_yaml_load(&arena, path("policy.yaml"), &err, &root), &err);
    const tg_yaml_node *rules = tg_yaml_get(tg_yaml_get(root, "routing_policy"), "rules");
    CU_ASSERT_PTR_NOT_NULL_FATAL(rules);
    CU_ASSERT_EQUAL(rules->count, 3);
    for (const tg_yaml_node *rule = rules->first; rule; rule = rule->next) {
        const tg_yaml_node *to = tg_yaml_get(rule, "route_to"),
                           * or = tg_yaml_get(rule, "fallback");
        CU_ASSERT_TRUE(to && tg_targets_find(targets, to->text) >= 0);
        CU_ASSERT_TRUE(! or || tg_targets_find(targets, or->text) >= 0);
    }
    tg_targets_free(targets);
    tg_arena_free(&arena);
}

static const tg_test tests[] = {{"settings", test_settings},
                                {"mesh", test_mesh},
                                {"policy_names_known_targets", test_policy_names_known_targets}};
TG_TEST_MAIN("libs_config_deploy_dev", tests)
