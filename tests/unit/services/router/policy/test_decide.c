/* Deciding: names, task types, caps, health; each refusal with its words. */
#include "tests/unit/services/router/policy/mesh.h"

#include "tests/unit/harness.h"

#include <errno.h>

static tg_targets *targets;
static tg_policy *policy;
static tg_price_book *prices;
static tg_arena arena;
static tg_facts facts;
static tg_endpoint_status health[5][2]; /* [target][endpoint] */
static bool stale;
static tg_estimates *estimates;

enum { PRIVATE, BEDROCK, HAIKU, MINI, SONNET };

static void set_up(const char *policy_text)
{
    targets = load_targets(article_targets);
    policy = load_policy(policy_text, targets);
    prices = article_prices();
    memset(health, 0, sizeof health);
    stale = false;
    facts = (tg_facts){.tenant = "acme",
                       .key_id = "k",
                       .may_pin = true,
                       .task_type = TG_STR("chat"),
                       .input_tokens = 100,
                       .draw = 1};
    tg_arena_init(&arena, 0);
}

static void tear_down(void)
{
    tg_arena_free(&arena);
    tg_price_book_free(prices);
    tg_policy_free(policy);
    tg_targets_free(targets);
}

static const tg_plan *decide(void)
{
    static const char *const aliases[] = {"gpt-4o"};
    const tg_endpoint_status *rows[5];
    for (size_t i = 0; i < 5; i++)
        rows[i] = health[i];
    tg_snapshot snapshot = {policy, targets, prices, aliases, 1, 4};
    tg_fleet fleet = {.stale = stale, .rows = rows, .row_count = 5};
    tg_state state = {&fleet, estimates};
    const tg_plan *plan = tg_decide(&snapshot, &facts, &state, (tg_now){2, 1000}, &arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plan);
    return plan;
}

/* "3/0 2/1p": target/endpoint of each step, p for a probe. */
static void expect_steps(const tg_plan *plan, const char *expected)
{
    char text[256] = "";
    for (size_t i = 0; i < plan->step_count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%d/%d%s", i ? " " : "", plan->steps[i].target,
                 plan->steps[i].endpoint, plan->steps[i].probe ? "p" : "");
    }
    if (strcmp(text, expected) != 0)
        printf("# got '%s' (%s), expected '%s'\n", text, plan->refusal_text, expected);
    CU_ASSERT_STRING_EQUAL(text, expected);
    CU_ASSERT_EQUAL(plan->refusal, TG_REFUSAL_NONE);
}

static void expect_refusal(tg_refusal_code code, unsigned status, const char *words)
{
    const tg_plan *plan = decide();
    if (plan->refusal != code || !strstr(plan->refusal_text, words))
        printf("# got %d '%s', expected %d '%s'\n", (int)plan->refusal, plan->refusal_text,
               (int)code, words);
    CU_ASSERT_EQUAL(plan->refusal, code);
    CU_ASSERT_EQUAL(plan->refusal_status, status);
    CU_ASSERT_EQUAL(plan->step_count, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(plan->refusal_text, words));
}

static bool traced(const tg_plan *plan, const char *target, bool kept, const char *words)
{
    for (size_t i = 0; i < plan->trace_count; i++)
        if (strcmp(plan->trace[i].target, target) == 0 && plan->trace[i].kept == kept &&
            strstr(plan->trace[i].reason, words))
            return true;
    for (size_t i = 0; i < plan->trace_count; i++)
        printf("# trace: %s %s %s %d %s\n", plan->trace[i].rule, plan->trace[i].target,
               plan->trace[i].endpoint, plan->trace[i].kept, plan->trace[i].reason);
    return false;
}

static void test_first_matching_rule(void)
{
    set_up(article_policy);
    const tg_plan *plan = decide();
    expect_steps(plan, "2/0 3/0");
    CU_ASSERT_STRING_EQUAL(plan->rule, "general-to-haiku");
    CU_ASSERT_STRING_EQUAL(plan->task_type, "chat");
    CU_ASSERT_EQUAL(plan->max_tokens, 0);
    CU_ASSERT_EQUAL(plan->steps[0].cost_bound, 100 * 250000 + INT64_C(4096) * 1250000);
    CU_ASSERT_EQUAL(plan->alternative_count, 2);
    CU_ASSERT_TRUE(traced(plan, "", false, "not for this task type"));
    CU_ASSERT_TRUE(traced(plan, "anthropic-claude-haiku", true, "route_to"));
    CU_ASSERT_TRUE(traced(plan, "openai-gpt4o-mini", true, "fallback"));
    facts.max_tokens = 10;
    plan = decide();
    CU_ASSERT_EQUAL(plan->max_tokens, 10);
    CU_ASSERT_EQUAL(plan->steps[1].cost_bound, 100 * 150000 + 10 * 600000);
    tear_down();
}

static void test_model_names(void)
{
    set_up(article_policy);
    facts.model = TG_STR("auto");
    CU_ASSERT_STRING_EQUAL(decide()->rule, "general-to-haiku");
    facts.model = TG_STR("gpt-4o"); /* an alias */
    CU_ASSERT_STRING_EQUAL(decide()->rule, "general-to-haiku");
    facts.model = TG_STR("anthropic-claude-35-sonnet");
    facts.task_type = (tg_str){"", 0};
    const tg_plan *plan = decide();
    expect_steps(plan, "4/0");
    CU_ASSERT_STRING_EQUAL(plan->rule, "");
    CU_ASSERT_STRING_EQUAL(plan->task_type, "");
    facts.model = TG_STR("anthropic-claude-35-sonet");
    expect_refusal(TG_REFUSAL_MODEL_NOT_FOUND, 404,
                   "there is no model 'anthropic-claude-35-sonet'; did you mean "
                   "'anthropic-claude-35-sonnet'?");
    facts.model = TG_STR("AUTO");
    expect_refusal(TG_REFUSAL_MODEL_NOT_FOUND, 404, "there is no model 'AUTO'");
    facts.model = TG_STR("openai-gpt4o-mini");
    facts.may_pin = false;
    expect_refusal(TG_REFUSAL_MODEL_FORBIDDEN, 403,
                   "this key may not ask for 'openai-gpt4o-mini' by name");
    static const char *const allowed[] = {"bedrock-llama-3-70b"};
    facts.may_pin = true;
    facts.pin_allowlist = allowed;
    facts.pin_allowlist_count = 1;
    expect_refusal(TG_REFUSAL_MODEL_FORBIDDEN, 403, "ask for 'auto'");
    facts.model = TG_STR("bedrock-llama-3-70b");
    expect_steps(decide(), "1/0");
    tear_down();
}

static void test_task_types(void)
{
    set_up(article_policy);
    facts.task_type = (tg_str){"", 0};
    expect_refusal(TG_REFUSAL_TASK_TYPE_MISSING, 400,
                   "the header X-Task-Type is missing; known task types: classification, "
                   "extraction, embedding, "
                   "summarization, chat, structured-output, analysis, code-review, long-context");
    facts.task_type = TG_STR("chatt");
    expect_refusal(TG_REFUSAL_TASK_TYPE_UNKNOWN, 400,
                   "the task type 'chatt' in X-Task-Type is not known; did you mean 'chat'?; known "
                   "task types: classification");
    tear_down();
    set_up("routing_policy: {name: p, default_task_type: b, rules: [{name: r1, match: {task_type: "
           "a}, route_to: "
           "openai-gpt4o-mini}, {name: r2, match: {task_type: b}, route_to: "
           "anthropic-claude-haiku}]}");
    facts.task_type = (tg_str){"", 0};
    CU_ASSERT_STRING_EQUAL(decide()->rule, "r2");
    CU_ASSERT_STRING_EQUAL(decide()->task_type, "b");
    tear_down();
    set_up("routing_policy: {name: p, rules: [{name: r1, match: {task_type: a}, route_to: "
           "openai-gpt4o-mini}, "
           "{name: all, route_to: anthropic-claude-haiku}]}");
    facts.task_type = (tg_str){"", 0};
    CU_ASSERT_STRING_EQUAL(decide()->rule, "all"); /* a rule for everything is for these too */
    facts.task_type = TG_STR("novel");
    CU_ASSERT_STRING_EQUAL(decide()->rule, "all");
    CU_ASSERT_STRING_EQUAL(decide()->task_type, "novel");
    tear_down();
}

static void test_data_class(void)
{
    set_up(article_policy);
    facts.data_class = TG_STR("internal");
    const tg_plan *plan = decide();
    expect_steps(plan, "2/0"); /* the fallback may not carry it */
    CU_ASSERT_TRUE(traced(plan, "openai-gpt4o-mini", false, "may not carry this data class"));
    facts.data_class = TG_STR("secret");
    expect_refusal(TG_REFUSAL_DATA_CLASS, 403,
                   "no target allowed here may carry data of class 'secret'");
    facts.model = TG_STR("openai-gpt4o-mini"); /* nothing overrides it */
    expect_refusal(TG_REFUSAL_DATA_CLASS, 403, "may carry");
    tear_down();
}

static void test_context(void)
{
    set_up(article_policy);
    facts.task_type = TG_STR("extraction");
    facts.input_tokens = 8000;
    facts.input_tokens_exact = true;
    facts.max_tokens = 193;
    expect_refusal(TG_REFUSAL_CONTEXT, 400, "longer than the context");
    facts.max_tokens = 192;
    CU_ASSERT_EQUAL(decide()->refusal, TG_REFUSAL_NONE);
    facts.input_tokens_exact = false; /* a bound of 8000 is 2000 tokens or so */
    facts.max_tokens = 4000;
    CU_ASSERT_EQUAL(decide()->refusal, TG_REFUSAL_NONE);
    facts.input_tokens = 4 * 8192;
    expect_refusal(TG_REFUSAL_CONTEXT, 400, "context");
    facts.input_units = 4000 * 100; /* a guess counts, not the bound */
    CU_ASSERT_EQUAL(decide()->refusal, TG_REFUSAL_NONE);
    estimates = tg_estimates_new();
    /* a tokenizer that makes twice as many of a text */
    for (int i = 0; i < TG_ESTIMATE_REPORTS_MIN; i++)
        tg_estimates_learn(estimates, "private-gpu-llama-70b", 1000, 20);
    expect_steps(decide(), "1/0"); /* of the other target's tokenizer nothing is known */
    facts.max_tokens = 192;
    CU_ASSERT_EQUAL(decide()->steps[0].target, PRIVATE);
    estimates = tg_estimates_free(estimates);
    tear_down();
}

/* A private target that would be the first is asked for its count where guess or bound leave open
 * whether it may be. */
static void test_count(void)
{
    tg_prompt_count count = {.target = PRIVATE};
    set_up(article_policy);
    facts.task_type = TG_STR("classification");
    facts.counts = &count;
    facts.max_tokens = 192;
    facts.input_tokens = 40000;
    /* 8,000 tokens are left, and twice as many as guessed would fit */
    facts.input_units = 3999 * 100;
    CU_ASSERT_FALSE(decide()->wants_count);
    facts.input_units = 4001 * 100;
    CU_ASSERT_TRUE(decide()->wants_count);
    CU_ASSERT_EQUAL(decide()->count_target, PRIVATE);
    CU_ASSERT_EQUAL(decide()->count_endpoint, 0);
    CU_ASSERT_EQUAL(decide()->steps[0].target, PRIVATE); /* without an answer the guess stands */
    health[PRIVATE][0].health = TG_ENDPOINT_DOWN;
    health[PRIVATE][0].retry_at_mono_ms = 5000;
    CU_ASSERT_EQUAL(decide()->count_endpoint, 1);
    health[PRIVATE][1] = health[PRIVATE][0];
    CU_ASSERT_FALSE(decide()->wants_count);
    memset(health, 0, sizeof health);
    facts.count_len = 1; /* was asked, did not answer */
    CU_ASSERT_FALSE(decide()->wants_count);
    CU_ASSERT_EQUAL(decide()->steps[0].target, PRIVATE);
    count.tokens = 8000;
    const tg_plan *plan = decide();
    CU_ASSERT_FALSE(plan->wants_count);
    CU_ASSERT_EQUAL(plan->steps[0].target, PRIVATE);
    CU_ASSERT_EQUAL(plan->steps[0].counted_tokens, 8000);
    /* it is not the other target's count */
    CU_ASSERT_EQUAL(plan->steps[plan->step_count - 1].counted_tokens, 0);
    count.tokens = 8001;
    expect_steps(decide(), "1/0");
    CU_ASSERT_TRUE(traced(decide(), "private-gpu-llama-70b", false,
                          "needs 8193 tokens, its context has 8192"));
    facts.count_len = 0;
    facts.input_units = 16002 * 100; /* half of the guess would not fit */
    CU_ASSERT_FALSE(decide()->wants_count);
    facts.input_units = 15000 * 100;
    CU_ASSERT_TRUE(decide()->wants_count);
    expect_refusal(TG_REFUSAL_CONTEXT, 400, "context");
    count.tokens = 7000; /* the guess was wrong: it fits, and is the only one that does */
    facts.count_len = 1;
    CU_ASSERT_EQUAL(decide()->steps[0].target, PRIVATE);
    facts.count_len = 0;
    facts.task_type = TG_STR("chat"); /* the managed targets are asked nothing */
    CU_ASSERT_FALSE(decide()->wants_count);
    tear_down();
}

/* A target may be asked whatever the guess, or never. */
static void test_count_by_choice(void)
{
    static const char *const choices[] = {"always", "never"};
    for (size_t i = 0; i < 2; i++) {
        char text[sizeof article_targets + 64];
        const char *at = strstr(article_targets, "context_tokens: ");
        set_up(article_policy);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        snprintf(text, sizeof text, "%.*scount_tokens: %s, %s", (int)(at - article_targets),
                 article_targets, choices[i], at);
        tg_targets_free(targets);
        targets = load_targets(text);
        tg_policy_free(policy);
        policy = load_policy(article_policy, targets);
        facts.task_type = TG_STR("classification");
        facts.input_units = 10 * 100; /* nowhere near */
        CU_ASSERT_EQUAL(decide()->wants_count, i == 0);
        facts.input_tokens = 40000;
        facts.input_units = 8000 * 100; /* at the limit */
        CU_ASSERT_EQUAL(decide()->wants_count, i == 0);
        tear_down();
    }
}

/* Under a cap the bound is a token a byte, until the target has counted. */
static void test_count_under_a_cap(void)
{
    tg_prompt_count count = {.target = PRIVATE, .tokens = 1500};
    set_up("routing_policy:\n  name: p\n  rules:\n    - name: r\n      route_to: "
           "private-gpu-llama-70b\n"
           "      fallback: bedrock-llama-3-70b\n      cost_cap_usd_per_request: 0.0002\n      "
           "on_cap: reject\n");
    facts.counts = &count;
    facts.max_tokens = 100;
    facts.input_tokens = 6000;
    facts.input_units = 1600 * 100;
    const tg_price *price = tg_price_book_find(prices, "private-gpu-llama-70b", 2);
    const tg_picousd cap = INT64_C(200000000);
    CU_ASSERT_TRUE_FATAL(price->input * 6000 + price->output * 100 > cap &&
                         price->input * 1500 + price->output * 100 < cap);
    CU_ASSERT_TRUE(decide()->wants_count);
    facts.count_len = 1;
    CU_ASSERT_EQUAL(decide()->steps[0].target, PRIVATE);
    CU_ASSERT_EQUAL(decide()->steps[0].cost_bound, price->input * 1500 + price->output * 100);
    facts.count_len = 0;
    facts.input_tokens = 300; /* fits by its bytes */
    facts.input_units = 80 * 100;
    CU_ASSERT_FALSE(decide()->wants_count);
    tear_down();
}

static void test_form(void)
{
    set_up(article_policy);
    facts.json_object = true; /* which Anthropic's target, the first one, has no mode for */
    const tg_plan *plan = decide();
    expect_steps(plan, "3/0");
    CU_ASSERT_TRUE(traced(plan, "anthropic-claude-haiku", false, "no mode for JSON objects"));
    facts.model = TG_STR("anthropic-claude-haiku");
    facts.may_pin = true;
    expect_refusal(TG_REFUSAL_FORM, 400, "without a schema");
    facts.json_object = false;
    facts.text_form = true; /* which the private tier alone has */
    expect_refusal(TG_REFUSAL_FORM, 400,
                   "response_format: no target allowed here can hold its answer to a regular "
                   "expression or a choice");
    facts.model = TG_STR("");
    facts.task_type = TG_STR("classification");
    CU_ASSERT_EQUAL(decide()->steps[0].target, PRIVATE);
    CU_ASSERT_EQUAL(decide()->step_count, 2); /* its two endpoints */
    CU_ASSERT_TRUE(
        traced(decide(), "bedrock-llama-3-70b", false, "no mode for regular expressions"));
    tear_down();
}

static void test_cap(void)
{
    set_up(article_policy);
    facts.task_type = TG_STR("analysis");
    /* 0.05 = 1000 input tokens ($0.003) and 3133 output tokens at $15 per million. */
    facts.input_tokens = 1000;
    facts.max_tokens = 3133;
    const tg_plan *plan = decide();
    expect_steps(plan, "4/0");
    CU_ASSERT_EQUAL(plan->steps[0].cost_bound, INT64_C(49995000000));
    CU_ASSERT_FALSE(plan->clamped);
    facts.max_tokens = 3134;
    expect_refusal(
        TG_REFUSAL_COST_CAP, 402,
        "may cost up to $0.05001 on anthropic-claude-35-sonnet (up to 1000 input and 3134 output "
        "tokens), over the cap of $0.05 per request of rule reasoning-to-frontier");
    facts.max_tokens = 0; /* none stated: lowered to what the cap pays for */
    plan = decide();
    expect_steps(plan, "4/0");
    CU_ASSERT_EQUAL(plan->max_tokens, 3133);
    CU_ASSERT_TRUE(plan->clamped);
    CU_ASSERT_TRUE(traced(plan, "anthropic-claude-35-sonnet", true, "clamped to 3133 by the cap"));
    facts.input_tokens = 16666; /* one output token is over it already */
    expect_refusal(TG_REFUSAL_COST_CAP, 402, "(up to 16666 input and 1 output tokens)");
    tear_down();
}

#define CAPPED(cap, on_cap)                                                                        \
    "routing_policy: {name: p, rules: [{name: r1, match: {task_type: chat}, "                      \
    "route_to: anthropic-claude-35-sonnet, fallback: openai-gpt4o-mini, "                          \
    "cost_cap_usd_per_request: " cap ", on_cap: " on_cap "}, "                                     \
    "{name: r2, match: {task_type: chat}, route_to: anthropic-claude-haiku}]}"

static void test_on_cap(void)
{
    set_up(CAPPED("0.001", "reject"));
    facts.max_tokens = 1000; /* sonnet $0.0153, mini $0.000615 */
    const tg_plan *plan = decide();
    expect_steps(plan, "3/0"); /* the cap is each target's own */
    CU_ASSERT_TRUE(traced(plan, "anthropic-claude-35-sonnet", false,
                          "may cost $0.0153, over the cap of $0.001"));
    facts.max_tokens = 5000;
    expect_refusal(TG_REFUSAL_COST_CAP, 402, "may cost up to $0.003015 on openai-gpt4o-mini");
    tear_down();

    set_up(CAPPED("0.001", "clamp"));
    facts.max_tokens = 5000;
    plan = decide();
    expect_steps(plan, "4/0 3/0");
    CU_ASSERT_EQUAL(plan->steps[0].max_tokens, 46);   /* (0.001 - 0.0003) / 0.000015 */
    CU_ASSERT_EQUAL(plan->steps[1].max_tokens, 1641); /* (0.001 - 0.000015) / 0.0000006 */
    CU_ASSERT_TRUE(plan->steps[0].clamped && plan->steps[1].clamped);
    facts.max_tokens = 40;
    plan = decide();
    CU_ASSERT_EQUAL(plan->max_tokens, 40);
    CU_ASSERT_FALSE(plan->clamped);
    facts.max_tokens = 0; /* under a cap the maximum is always said */
    plan = decide();
    CU_ASSERT_EQUAL(plan->steps[1].max_tokens, 1641);
    tear_down();

    set_up(CAPPED("0.00001", "next_rule"));
    facts.max_tokens = 1000;
    plan = decide();
    expect_steps(plan, "2/0");
    CU_ASSERT_STRING_EQUAL(plan->rule, "r2");
    CU_ASSERT_STRING_EQUAL(plan->refusal_text, "");
    tear_down();

    set_up("routing_policy: {name: p, rules: [{name: r1, route_to: openai-gpt4o-mini, "
           "cost_cap_usd_per_request: 0.00001, on_cap: next_rule}]}");
    expect_refusal(TG_REFUSAL_COST_CAP, 402, "over the cap of $0.00001"); /* no rule is next */
    tear_down();
}

static void test_no_price_no_cap(void)
{
    set_up(article_policy);
    tg_price_book_free(prices);
    prices = tg_price_book_new("empty");
    const tg_plan *plan = decide();
    expect_steps(plan, "2/0 3/0");
    CU_ASSERT_EQUAL(plan->steps[0].cost_bound, 0);
    facts.task_type = TG_STR("analysis");
    expect_refusal(TG_REFUSAL_COST_CAP, 402, "its targets have no price");
    tear_down();
}

static void test_health(void)
{
    set_up(article_policy);
    health[HAIKU][0] = (tg_endpoint_status){
        .health = TG_ENDPOINT_DOWN, .retry_at_mono_ms = 1500, .reason = "5 of 5 failed"};
    const tg_plan *plan = decide();
    expect_steps(plan, "3/0"); /* the fallback is the first attempt */
    CU_ASSERT_TRUE(
        traced(plan, "anthropic-claude-haiku", false, "down for another 500 ms (5 of 5 failed)"));
    health[HAIKU][0].retry_at_mono_ms = 1000;
    expect_steps(decide(), "2/0p 3/0");
    health[HAIKU][0].health = TG_ENDPOINT_HALF_OPEN;
    expect_steps(decide(), "2/0p 3/0");
    health[HAIKU][0].probing = true;
    plan = decide();
    expect_steps(plan, "3/0");
    CU_ASSERT_TRUE(traced(plan, "anthropic-claude-haiku", false, "a probe is in flight"));
    health[HAIKU][0] = (tg_endpoint_status){.health = TG_ENDPOINT_DOWN, .retry_at_mono_ms = 9000};
    health[MINI][0] = (tg_endpoint_status){.health = TG_ENDPOINT_DOWN, .retry_at_mono_ms = 3000};
    expect_refusal(TG_REFUSAL_UNAVAILABLE, 503, "no target of rule general-to-haiku is available");
    CU_ASSERT_EQUAL(decide()->retry_after_ms, 2000);
    facts.task_type = TG_STR("extraction");
    health[PRIVATE][0].health = TG_ENDPOINT_DOWN;
    health[PRIVATE][0].retry_at_mono_ms = 5000;
    expect_steps(decide(), "0/1 1/0"); /* one replica down is not the target down */
    tear_down();
}

static void test_latency_budgets(void)
{
    set_up(
        "routing_policy:\n  name: p\n  rules:\n    - {name: fast, route_to: anthropic-claude-haiku,"
        " fallback: openai-gpt4o-mini, ttft_budget_ms: 800, latency_budget_ms: 5s}\n");
    health[HAIKU][0] =
        (tg_endpoint_status){.first_token_p95_us = 800000, .total_p95_us = 5000000, .requests = 10};
    expect_steps(decide(), "2/0 3/0"); /* just within */
    health[HAIKU][0].first_token_p95_us++;
    const tg_plan *plan = decide();
    expect_steps(plan, "3/0"); /* the fallback is the first attempt */
    CU_ASSERT_TRUE(traced(
        plan, "anthropic-claude-haiku", false,
        "too slow: of late 95% of its first tokens came within 801 ms, the budget is 800 ms"));
    health[HAIKU][0].requests = TG_DECIDE_REQUESTS_MIN - 1; /* too few to say anything */
    expect_steps(decide(), "2/0 3/0");
    health[HAIKU][0] = (tg_endpoint_status){.total_p95_us = 5000001, .requests = 10};
    plan = decide();
    expect_steps(plan, "3/0");
    CU_ASSERT_TRUE(
        traced(plan, "anthropic-claude-haiku", false, "of its answers came within 5001 ms"));
    facts.latency_budget_ms = 6000; /* the rule's budget stays */
    expect_steps(decide(), "3/0");
    facts.latency_budget_ms = 2000; /* the client's is tighter */
    health[MINI][0] = (tg_endpoint_status){.total_p95_us = 2500000, .requests = 10};
    expect_refusal(TG_REFUSAL_LATENCY, 503, "the fastest had a 95th percentile of 2500 ms");
    CU_ASSERT_EQUAL(decide()->retry_after_ms, 1000);
    health[HAIKU][0].health = TG_ENDPOINT_DOWN; /* what passes by itself is told first */
    health[HAIKU][0].retry_at_mono_ms = 4000;
    expect_refusal(TG_REFUSAL_UNAVAILABLE, 503, "no target of rule fast is available");
    health[HAIKU][0].health = TG_ENDPOINT_HALF_OPEN; /* a probe finds out */
    expect_steps(decide(), "2/0p");
    tear_down();
    set_up(article_policy); /* without a budget nothing is too slow */
    health[HAIKU][0] = (tg_endpoint_status){
        .first_token_p95_us = UINT64_MAX, .total_p95_us = UINT64_MAX, .requests = 99};
    expect_steps(decide(), "2/0 3/0");
    facts.latency_budget_ms = 1;
    expect_steps(decide(), "3/0");
    stale = true; /* what was observed long ago says nothing */
    expect_steps(decide(), "2/0 3/0");
    tear_down();
}

/* Of 10,000 draws, three quarters go to the replica of weight 3, and every plan tries both. */
static void test_weights(void)
{
    uint64_t random = tg_test_seed();
    unsigned first[2] = {0, 0};
    set_up(article_policy);
    facts.task_type = TG_STR("extraction");
    for (int i = 0; i < 10000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        facts.draw = random;
        const tg_plan *plan = decide();
        CU_ASSERT_EQUAL_FATAL(plan->step_count, 3);
        CU_ASSERT_EQUAL(plan->steps[0].endpoint + plan->steps[1].endpoint, 1);
        first[plan->steps[0].endpoint]++;
        tg_arena_reset(&arena);
    }
    CU_ASSERT_TRUE(first[1] > 7300 && first[1] < 7700);
    tear_down();
}

/* However many replicas come first, the fallback gets its turn. */
static void test_attempts(void)
{
    set_up(article_policy);
    facts.task_type = TG_STR("extraction");
    tg_snapshot snapshot = {policy, targets, prices, NULL, 0, 2};
    const tg_plan *plan = tg_decide(&snapshot, &facts, NULL, (tg_now){2, 1}, &arena);
    CU_ASSERT_EQUAL_FATAL(plan->step_count, 2);
    CU_ASSERT_EQUAL(plan->steps[0].target, PRIVATE);
    CU_ASSERT_EQUAL(plan->steps[1].target, BEDROCK);
    snapshot.attempts_max = 1;
    plan = tg_decide(&snapshot, &facts, NULL, (tg_now){2, 1}, &arena);
    CU_ASSERT_EQUAL(plan->step_count, 1);
    tear_down();
}

static void test_out_of_memory(void)
{
    set_up(article_policy);
    tg_snapshot snapshot = {policy, targets, prices, NULL, 0, 2};
    tg_arena small;
    tg_arena_init(&small, 64);
    CU_ASSERT_PTR_NULL(tg_decide(&snapshot, &facts, NULL, (tg_now){2, 1}, &small));
    tg_arena_free(&small);
    tear_down();
}

static const tg_test tests[] = {{"first_matching_rule", test_first_matching_rule},
                                {"model_names", test_model_names},
                                {"task_types", test_task_types},
                                {"data_class", test_data_class},
                                {"context", test_context},
                                {"count", test_count},
                                {"count_by_choice", test_count_by_choice},
                                {"count_under_a_cap", test_count_under_a_cap},
                                {"form", test_form},
                                {"cap", test_cap},
                                {"on_cap", test_on_cap},
                                {"no_price_no_cap", test_no_price_no_cap},
                                {"health", test_health},
                                {"latency_budgets", test_latency_budgets},
                                {"weights", test_weights},
                                {"attempts", test_attempts},
                                {"out_of_memory", test_out_of_memory}};
TG_TEST_MAIN("router_policy_decide", tests)
