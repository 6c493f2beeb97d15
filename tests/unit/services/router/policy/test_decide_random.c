/* Random meshes and requests: whatever is decided keeps data class, cap and health, and is decided
 * alike twice. The checks are written apart from the code under test, from the words of the
 * language. */
#include "tests/unit/services/router/policy/mesh.h"

#include "libs/base/buf.h"
#include "libs/base/id.h"
#include "tests/unit/harness.h"

enum { TARGETS_MAX = 6, ENDPOINTS_MAX = 3 };

static const char *const types[] = {"chat", "code", "sort", "novel"};
static const char *const classes[] = {"public", "secret"};

typedef struct world {
    uint64_t random;
    size_t target_count;
    tg_targets *targets;
    tg_policy *policy;
    tg_price_book *prices;
    tg_endpoint_status health[TARGETS_MAX][ENDPOINTS_MAX];
    tg_facts facts;
    uint32_t attempts_max;
} world;

static uint64_t below(world *w, uint64_t n) { return tg_random_next(&w->random) % n; }

static void make_targets(world *w)
{
    tg_buf text;
    tg_buf_init(&text, 0);
    tg_buf_add_text(&text, "version: 1\ntargets:\n");
    w->target_count = 1 + below(w, TARGETS_MAX);
    w->prices = tg_price_book_new("random");
    for (size_t i = 0; i < w->target_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%zu", i);
        tg_buf_printf(&text, "  - {id: %s, provider: private, model: m, max_output_tokens: %llu",
                      name, (unsigned long long)(1 + below(w, 5000)));
        if (below(w, 3) == 0)
            tg_buf_printf(&text, ", context_tokens: %llu",
                          (unsigned long long)(1 + below(w, 3000)));
        if (below(w, 2) == 0)
            tg_buf_printf(&text, ", data_classes: [%s]", classes[below(w, 2)]);
        tg_buf_add_text(&text, ", endpoints: [");
        for (size_t j = 0, n = 1 + below(w, ENDPOINTS_MAX); j < n; j++) {
            tg_buf_printf(&text, "%s{id: e%zu, url: \"h:1\", weight: %llu}", j ? ", " : "", j,
                          (unsigned long long)(1 + below(w, 5)));
            w->health[i][j] = (tg_endpoint_status){.health = (tg_endpoint_health)below(w, 3),
                                                   .retry_at_mono_ms = below(w, 2000),
                                                   .first_token_p95_us = below(w, 2000000),
                                                   .total_p95_us = below(w, 9000000),
                                                   .requests = below(w, 3 * TG_DECIDE_REQUESTS_MIN),
                                                   .probing = below(w, 2) == 0};
        }
        tg_buf_add_text(&text, "]}\n");
        if (below(w, 5) > 0)
            add_price(w->prices, name, (tg_picousd)below(w, 3000000),
                      (tg_picousd)below(w, 15000000));
    }
    w->targets = load_targets(text.data);
    tg_buf_free(&text);
}

static void make_policy(world *w)
{
    static const char *const on_cap[] = {"default", "reject", "clamp", "next_rule"};
    tg_buf text;
    tg_buf_init(&text, 0);
    tg_buf_add_text(&text, "routing_policy:\n  name: p\n  rules:\n");
    for (size_t i = 0, n = 1 + below(w, 4); i < n; i++) {
        size_t first = below(w, w->target_count), more = below(w, w->target_count);
        tg_buf_printf(&text, "    - {name: r%zu, route_to: t%zu", i, first);
        if (below(w, 4) > 0)
            tg_buf_printf(&text, ", match: {task_type: [%s]}", types[below(w, 3)]);
        for (size_t j = 1; j <= more; j++)
            tg_buf_printf(&text, "%st%zu", j == 1 ? ", fallback: [" : ", ",
                          (first + j) % w->target_count);
        tg_buf_add_text(&text, more > 0 ? "]" : "");
        if (below(w, 2) == 0)
            tg_buf_printf(&text, ", cost_cap_usd_per_request: 0.%05llu, on_cap: %s",
                          (unsigned long long)(1 + below(w, 3000)), on_cap[below(w, 4)]);
        if (below(w, 3) == 0)
            tg_buf_printf(&text, ", ttft_budget_ms: %llu", (unsigned long long)below(w, 3000));
        if (below(w, 3) == 0)
            tg_buf_printf(&text, ", latency_budget_ms: %llu", (unsigned long long)below(w, 9000));
        tg_buf_add_text(&text, "}\n");
    }
    w->policy = load_policy(text.data, w->targets);
    tg_buf_free(&text);
}

static void make_facts(world *w)
{
    static const char *const models[] = {"", "auto", "t0", "t1", "nothing"};
    w->facts = (tg_facts){.tenant = "x",
                          .key_id = "k",
                          .may_pin = below(w, 2) == 0,
                          .model = tg_str_of(models[below(w, 8) < 5 ? 0 : below(w, 5)]),
                          .task_type = tg_str_of(below(w, 8) ? types[below(w, 4)] : ""),
                          .data_class = tg_str_of(below(w, 2) ? classes[below(w, 2)] : ""),
                          .input_tokens = below(w, 4000),
                          .input_tokens_exact = below(w, 2) == 0,
                          .max_tokens = below(w, 2) ? below(w, 5000) : 0,
                          .latency_budget_ms = below(w, 4) ? 0 : (uint32_t)below(w, 9000),
                          .draw = tg_random_next(&w->random)};
    w->attempts_max = (uint32_t)(1 + below(w, 16));
}

static const tg_plan *decide(const world *w, tg_arena *arena)
{
    const tg_endpoint_status *rows[TARGETS_MAX];
    for (size_t i = 0; i < TARGETS_MAX; i++)
        rows[i] = w->health[i];
    tg_snapshot snapshot = {w->policy, w->targets, w->prices, NULL, 0, w->attempts_max};
    tg_fleet fleet = {.rows = rows, .row_count = w->target_count};
    tg_state state = {.fleet = &fleet};
    return tg_decide(&snapshot, &w->facts, &state, (tg_now){2, 1000}, arena);
}

static bool carries(const tg_target *target, tg_str data_class)
{
    bool listed = data_class.len == 0 || target->data_class_count == 0;
    for (size_t i = 0; i < target->data_class_count; i++)
        listed = listed || tg_str_is(data_class, target->data_classes[i]);
    return listed;
}

static const tg_rule *rule_named(const world *w, const char *name)
{
    for (size_t i = 0; i < tg_policy_rule_count(w->policy); i++)
        if (strcmp(tg_policy_rule(w->policy, i)->name, name) == 0)
            return tg_policy_rule(w->policy, i);
    return NULL;
}

/* The first broken promise, or NULL. */
static const char *broken_step(const world *w, const tg_rule *rule, const tg_step *step)
{
    const tg_target *target = tg_targets_at(w->targets, (size_t)step->target);
    const tg_endpoint_status *health = &w->health[step->target][step->endpoint];
    bool listed = !rule; /* pinned */
    for (size_t i = 0; rule && i < rule->target_count; i++)
        listed = listed || rule->targets[i] == step->target;
    if (!listed)
        return "a target that the rule does not name";
    if ((size_t)step->endpoint >= target->endpoint_count)
        return "an endpoint that does not exist";
    if (!carries(target, w->facts.data_class))
        return "a target that may not carry the data class";
    if (health->health == TG_ENDPOINT_DOWN && health->retry_at_mono_ms > 1000)
        return "an endpoint that is down";
    if (health->health != TG_ENDPOINT_UP && (health->probing || !step->probe))
        return "a second probe, or one that is not called so";
    if (w->facts.max_tokens > 0 && step->max_tokens > w->facts.max_tokens)
        return "more tokens than the client asked for";
    if (health->health == TG_ENDPOINT_UP && health->requests >= TG_DECIDE_REQUESTS_MIN) {
        const uint64_t ttft_us = rule ? rule->ttft_budget_ms * UINT64_C(1000) : 0;
        const uint64_t budgets_us[] = {rule ? rule->latency_budget_ms * UINT64_C(1000) : 0,
                                       w->facts.latency_budget_ms * UINT64_C(1000)};
        if (ttft_us > 0 && health->first_token_p95_us > ttft_us)
            return "an endpoint whose first tokens are over the budget";
        for (int i = 0; i < 2; i++)
            if (budgets_us[i] > 0 && health->total_p95_us > budgets_us[i])
                return "an endpoint whose answers are over a budget";
    }
    if (!rule || rule->cost_cap == 0)
        return NULL;
    const tg_price *price = tg_price_book_find(w->prices, target->id, 2);
    if (!price)
        return "a capped target without a price";
    if (step->max_tokens == 0)
        return "a cap without a maximum";
    __int128 most =
        (__int128)price->input * w->facts.input_tokens + (__int128)price->output * step->max_tokens;
    return most > rule->cost_cap ? "a step that may cost more than the cap" : NULL;
}

static const char *broken_plan(const world *w, const tg_plan *plan)
{
    if ((plan->step_count == 0) == (plan->refusal == TG_REFUSAL_NONE))
        return "neither steps nor a refusal, or both";
    if (plan->refusal != TG_REFUSAL_NONE && (plan->refusal_status < 400 || !plan->refusal_text[0]))
        return "a refusal without status or reason";
    if (plan->step_count > w->attempts_max)
        return "more steps than attempts_max";
    const tg_rule *rule = plan->rule[0] ? rule_named(w, plan->rule) : NULL;
    for (size_t i = 0; i < plan->step_count; i++) {
        const char *broken = broken_step(w, rule, &plan->steps[i]);
        if (broken)
            return broken;
        for (size_t j = 0; j < i; j++)
            if (plan->steps[i].target == plan->steps[j].target &&
                plan->steps[i].endpoint == plan->steps[j].endpoint)
                return "the same endpoint twice";
    }
    return NULL;
}

static bool same_plan(const tg_plan *a, const tg_plan *b)
{
    if (a->step_count != b->step_count || a->refusal != b->refusal ||
        a->trace_count != b->trace_count || strcmp(a->refusal_text, b->refusal_text) != 0 ||
        strcmp(a->rule, b->rule) != 0)
        return false;
    for (size_t i = 0; i < a->step_count; i++)
        if (a->steps[i].target != b->steps[i].target ||
            a->steps[i].endpoint != b->steps[i].endpoint ||
            a->steps[i].max_tokens != b->steps[i].max_tokens ||
            a->steps[i].cost_bound != b->steps[i].cost_bound)
            return false;
    for (size_t i = 0; i < a->trace_count; i++)
        if (strcmp(a->trace[i].reason, b->trace[i].reason) != 0)
            return false;
    return true;
}

static void test_promises(void)
{
    world w = {.random = tg_test_seed()};
    size_t with_steps = 0, refused = 0;
    for (size_t round = 0; round < tg_test_rounds(300); round++) {
        memset(w.health, 0, sizeof w.health);
        make_targets(&w);
        make_policy(&w);
        for (int request = 0; request < 30; request++) {
            tg_arena one, two;
            tg_arena_init(&one, 0);
            tg_arena_init(&two, 0);
            make_facts(&w);
            const tg_plan *a = decide(&w, &one), *b = decide(&w, &two);
            const char *broken = broken_plan(&w, a);
            if (broken || !same_plan(a, b)) {
                printf("# round %zu, request %d: %s\n", round, request,
                       broken ? broken : "two plans differ");
                CU_FAIL_FATAL("a promise of the policy is broken");
            }
            with_steps += a->step_count > 0;
            refused += a->step_count == 0;
            tg_arena_free(&one);
            tg_arena_free(&two);
        }
        w.policy = tg_policy_free(w.policy);
        w.targets = tg_targets_free(w.targets);
        w.prices = tg_price_book_free(w.prices);
    }
    CU_ASSERT_TRUE(with_steps > 1000 &&
                   refused > 1000); /* the worlds are neither all easy nor all hopeless */
}

static const tg_test tests[] = {{"promises", test_promises}};
TG_TEST_MAIN("router_policy_decide_random", tests)
