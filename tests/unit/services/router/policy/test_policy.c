/* The policy language: what is read, each error with its place, what a careful reader warns of. */
#include "tests/unit/services/router/policy/mesh.h"

#include "libs/base/buf.h"
#include "tests/unit/harness.h"

#include <errno.h>

static void test_article(void)
{
    tg_targets *targets = load_targets(article_targets);
    tg_policy *policy = load_policy(article_policy, targets);
    CU_ASSERT_STRING_EQUAL(tg_policy_name(policy), "cost-tiered-routing");
    CU_ASSERT_EQUAL_FATAL(tg_policy_rule_count(policy), 3);
    const tg_rule *rule = tg_policy_rule(policy, 0);
    CU_ASSERT_STRING_EQUAL(rule->name, "commodity-to-private-gpu");
    CU_ASSERT_EQUAL_FATAL(rule->target_count, 2);
    CU_ASSERT_EQUAL(rule->targets[0], 0);
    CU_ASSERT_EQUAL(rule->targets[1], 1);
    CU_ASSERT_EQUAL(rule->cost_cap, 0);
    rule = tg_policy_rule(policy, 2);
    CU_ASSERT_EQUAL(rule->target_count, 1);
    CU_ASSERT_EQUAL(rule->cost_cap, TG_PICOUSD_PER_USD / 20);
    CU_ASSERT_EQUAL(rule->on_cap, TG_ON_CAP_DEFAULT);
    CU_ASSERT_EQUAL(tg_policy_task_type_count(policy), 9);
    CU_ASSERT_STRING_EQUAL(tg_policy_task_type(policy, 5), "structured-output");
    CU_ASSERT_PTR_NULL(tg_policy_default_task_type(policy));
    CU_ASSERT_EQUAL(strlen(tg_policy_version(policy)), 14);
    CU_ASSERT_TRUE(tg_str_starts(tg_str_of(tg_policy_version(policy)), "p-"));
    tg_policy_free(policy);
    tg_targets_free(targets);
}

static void test_every_form(void)
{
    tg_targets *targets = load_targets(article_targets);
    tg_policy *policy = load_policy("version: 1\n"
                                    "routing_policy:\n"
                                    "  name: p\n"
                                    "  default_task_type: chat\n"
                                    "  rules:\n"
                                    "    - name: one\n"
                                    "      match: {task_type: chat}\n"
                                    "      route_to: anthropic-claude-haiku\n"
                                    "      fallback: [openai-gpt4o-mini, bedrock-llama-3-70b]\n"
                                    "      cost_cap_usd_per_request: \"0.000001\"\n"
                                    "      on_cap: next_rule\n"
                                    "    - name: rest\n"
                                    "      route_to: openai-gpt4o-mini\n",
                                    targets);
    CU_ASSERT_STRING_EQUAL(tg_policy_default_task_type(policy), "chat");
    CU_ASSERT_EQUAL(tg_policy_rule(policy, 0)->target_count, 3);
    CU_ASSERT_EQUAL(tg_policy_rule(policy, 0)->cost_cap, 1000000);
    CU_ASSERT_EQUAL(tg_policy_rule(policy, 0)->on_cap, TG_ON_CAP_NEXT_RULE);
    CU_ASSERT_EQUAL(tg_policy_rule(policy, 1)->task_type_count, 0);
    tg_policy_free(policy);
    tg_targets_free(targets);
}

#define RULES "routing_policy:\n  name: p\n  rules:\n"
#define RULE "    - name: a\n      route_to: openai-gpt4o-mini\n"

static void test_errors(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "p.yaml"},
        {"routing_polcy: {}\n",
         "p.yaml:1:1: unknown key 'routing_polcy'; did you mean 'routing_policy'?"},
        {"version: 2\nrouting_policy: {}\n", "p.yaml:1:10: 'version' is '2'"},
        {"routing_policy:\n  name: p\n", "p.yaml:2:3: 'rules' is missing"},
        {"routing_policy:\n  name: p\n  rules: []\n", "p.yaml:3:10: 'rules' holds 0; at least 1"},
        {RULES "    - name: a\n      rout_to: x\n",
         "p.yaml:5:7: unknown key 'rout_to'; did you mean 'route_to'?"},
        {RULES "    - name: a\n      route_to: openai-gpt40-mini\n",
         "p.yaml:5:17: unknown target 'openai-gpt40-mini'; did you mean 'openai-gpt4o-mini'? "
         "(known: "
         "private-gpu-llama-70b, "},
        {RULES "    - name: a\n      route_to: zzz\n",
         "p.yaml:5:17: unknown target 'zzz' (known: "},
        {RULES RULE "      fallback: [bedrock-llama-3-70b, nowhere]\n",
         "p.yaml:6:39: unknown target 'nowhere'"},
        {RULES RULE "      fallback: openai-gpt4o-mini\n",
         "p.yaml:6:17: target 'openai-gpt4o-mini' is tried by this rule already"},
        {RULES RULE "      fallback: []\n", "p.yaml:6:17: 'fallback' holds 0"},
        {RULES RULE "      match: {task_type: []}\n", "p.yaml:6:26: 'task_type' holds 0"},
        {RULES RULE "      match: {task_type: \"a b\"}\n",
         "p.yaml:6:26: task type 'a b'; allowed:"},
        {RULES RULE "      match: {tenant: x}\n",
         "p.yaml:6:15: unknown key 'tenant' (known: task_type)"},
        {RULES RULE "      match: chat\n", "p.yaml:6:14: 'match' must be a mapping"},
        {RULES RULE "      cost_cap_usd_per_request: -1\n",
         "p.yaml:6:33: 'cost_cap_usd_per_request' is '-1'"},
        {RULES RULE "      cost_cap_usd_per_request: 0\n",
         "'cost_cap_usd_per_request' is '0'; allowed: dollars"},
        {RULES RULE "      cost_cap_usd_per_request: 5c\n", "'cost_cap_usd_per_request' is '5c'"},
        {RULES RULE "      on_cap: clamp\n",
         "p.yaml:6:15: 'on_cap' needs a 'cost_cap_usd_per_request'"},
        {RULES RULE "      cost_cap_usd_per_request: 1\n      on_cap: clam\n",
         "p.yaml:7:15: 'on_cap' is 'clam'; allowed: default, reject, clamp, next_rule; did you "
         "mean 'clamp'?"},
        {RULES RULE RULE, "p.yaml:6:13: rule 'a' is there twice"},
        {"routing_policy:\n  name: p\n  default_task_type: chta\n  rules:\n" RULE
         "      match: {task_type: chat}\n",
         "p.yaml:3:22: no rule is for default_task_type 'chta'; did you mean 'chat'?"},
        {RULES "    - name: a b\n      route_to: x\n", "p.yaml:4:13: 'name' is 'a b'"},
        {RULES RULE "      name: a\n", "p.yaml:6:7"},
    };
    tg_targets *targets = load_targets(article_targets);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tg_policy *policy = NULL;
        tg_error err = {""};
        int rc = tg_policy_parse("p.yaml", tg_str_of(cases[i].text), targets, &err, &policy);
        if (rc != -EINVAL || !strstr(err.text, cases[i].error) || policy) {
            printf("# %s\n# rc %d, got '%s', expected '%s'\n", cases[i].text, rc, err.text,
                   cases[i].error);
            CU_FAIL("an error is missing or worded otherwise");
        }
        tg_policy_free(policy);
    }
    tg_targets_free(targets);
}

static void collect(void *user, const char *text) { tg_buf_printf(user, "%s\n", text); }

static void expect_warnings(const char *text, bool with_prices, const char *expected)
{
    tg_targets *targets = load_targets(article_targets);
    tg_policy *policy = load_policy(text, targets);
    tg_price_book *prices = article_prices();
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_buf_add_text(&out, "");
    tg_policy_warnings(policy, targets, with_prices ? prices : NULL, 2, collect, &out);
    if (strcmp(out.data, expected) != 0)
        printf("#      got %s\n# expected %s\n", out.data, expected);
    CU_ASSERT_STRING_EQUAL(out.data, expected);
    tg_buf_free(&out);
    tg_price_book_free(prices);
    tg_policy_free(policy);
    tg_targets_free(targets);
}

static void test_warnings(void)
{
    expect_warnings(
        article_policy, true,
        "policy.yaml:8:17: rule 'commodity-to-private-gpu' serves embedding and falls back from "
        "llama-3.1-70b to meta.llama3-70b-instruct-v1:0: vectors of two models do not mix\n"
        "policy.yaml:17:17: rule 'reasoning-to-frontier' has no fallback: when "
        "anthropic-claude-35-sonnet fails, so does the request\n");
#define TWO "      route_to: openai-gpt4o-mini\n      fallback: anthropic-claude-haiku\n"
    expect_warnings(
        RULES "    - name: a\n      match: {task_type: [x, y]}\n" TWO
              "    - name: b\n      match: {task_type: [y, z]}\n" TWO
              "    - name: c\n      match: {task_type: x}\n" TWO "    - name: d\n" TWO
              "    - name: e\n      match: {task_type: w}\n" TWO "    - name: f\n" TWO,
        true,
        "policy.yaml:8:7: rule 'b' never sees task type 'y': rule 'a' before it takes it\n"
        "policy.yaml:12:7: rule 'c' is never reached: rule 'a' before it takes all its requests\n"
        "policy.yaml:19:7: rule 'e' is never reached: rule 'd' before it takes all its requests\n"
        "policy.yaml:23:7: rule 'f' is never reached: rule 'd' before it takes all its requests\n");
    expect_warnings(
        RULES "    - name: a\n" TWO "      cost_cap_usd_per_request: 0.0000001\n", true,
        "policy.yaml:7:33: the cap of rule 'a' is below the cheapest possible request\n");
    expect_warnings(RULES "    - name: a\n" TWO "      cost_cap_usd_per_request: 0.0000001\n",
                    false, "");
    expect_warnings(RULES "    - name: a\n" TWO
                          "      cost_cap_usd_per_request: 1\n      on_cap: next_rule\n"
                          "    - name: b\n" TWO,
                    true, "");
}

static const tg_test tests[] = {{"article", test_article},
                                {"every_form", test_every_form},
                                {"errors", test_errors},
                                {"warnings", test_warnings}};
TG_TEST_MAIN("router_policy_policy", tests)
