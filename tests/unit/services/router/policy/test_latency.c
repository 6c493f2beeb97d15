/* Latency budgets in a world: requests are decided one by one, what they take is observed over a
 * window as health does it, and the next decision sees the window's percentiles. */
#include "libs/base/id.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/router/policy/mesh.h"

#include <stdlib.h>

enum { WINDOW_MS = 30000, EVERY_MS = 50, SAMPLES_MAX = 4096, BUDGET_MS = 800 };

static const char two_targets[] =
    "version: 1\ntargets:\n"
    "  - {id: first, provider: private, model: m, endpoints: [{id: a, url: \"h:1\"}, {id: b, url: "
    "\"h:2\"}]}\n"
    "  - {id: second, provider: private, model: m, endpoints: [{id: a, url: \"h:3\"}]}\n";
static const char one_rule[] =
    "routing_policy:\n  name: p\n  rules:\n"
    "    - {name: r, route_to: first, fallback: second, ttft_budget_ms: 800}\n";

typedef struct place {
    struct {
        uint64_t at_ms, us;
    } samples[SAMPLES_MAX]; /* a ring */
    size_t next;
    uint64_t usual_us; /* a first token takes half to one and a half of it */
    unsigned served, slow; /* of them, over the budget */
} place;

typedef struct world {
    uint64_t random, now_ms;
    place places[2][2];
    unsigned refused;
    tg_targets *targets;
    tg_policy *policy;
} world;

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static tg_endpoint_status view(const place *p, uint64_t now_ms)
{
    static uint64_t sorted[SAMPLES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < SAMPLES_MAX; i++)
        if (p->samples[i].us > 0 && p->samples[i].at_ms + WINDOW_MS > now_ms)
            sorted[n++] = p->samples[i].us;
    qsort(sorted, n, sizeof *sorted, by_size);
    return (tg_endpoint_status){.requests = n,
                                .first_token_p95_us = n ? sorted[(n * 95 - 1) / 100] : 0};
}

static void serve(world *w, place *p)
{
    uint64_t us = p->usual_us / 2 + tg_random_next(&w->random) % p->usual_us;
    p->samples[p->next % SAMPLES_MAX].at_ms = w->now_ms;
    p->samples[p->next++ % SAMPLES_MAX].us = us;
    p->served++;
    p->slow += us > BUDGET_MS * 1000;
}

/* So many requests, one every EVERY_MS, each to where the plan's first step says. */
static void run(world *w, unsigned requests)
{
    for (int t = 0; t < 2; t++)
        for (int e = 0; e < 2; e++)
            w->places[t][e].served = w->places[t][e].slow = 0;
    w->refused = 0;
    for (unsigned i = 0; i < requests; i++, w->now_ms += EVERY_MS) {
        tg_endpoint_status status[2][2];
        for (int t = 0; t < 2; t++)
            for (int e = 0; e < 2; e++)
                status[t][e] = view(&w->places[t][e], w->now_ms);
        const tg_endpoint_status *rows[] = {status[0], status[1]};
        const tg_fleet fleet = {.rows = rows, .row_count = 2};
        const tg_snapshot snapshot = {
            .policy = w->policy, .targets = w->targets, .attempts_max = 4};
        const tg_facts facts = {.tenant = "t", .key_id = "k", .draw = tg_random_next(&w->random)};
        const tg_state state = {.fleet = &fleet};
        tg_arena arena;
        tg_arena_init(&arena, 0);
        const tg_plan *plan = tg_decide(&snapshot, &facts, &state, (tg_now){2, w->now_ms}, &arena);
        CU_ASSERT_PTR_NOT_NULL_FATAL(plan);
        if (plan->step_count > 0)
            serve(w, &w->places[plan->steps[0].target][plan->steps[0].endpoint]);
        else
            w->refused++;
        tg_arena_free(&arena);
    }
}

static unsigned served(const world *w, int target)
{
    return w->places[target][0].served + w->places[target][1].served;
}

static void test_a_target_slows_down_and_recovers(void)
{
    enum { REQUESTS = 4 * WINDOW_MS / EVERY_MS };
    static world w;
    w = (world){.random = tg_test_seed(), .now_ms = 1000000};
    w.targets = load_targets(two_targets);
    w.policy = load_policy(one_rule, w.targets);
    w.places[0][0].usual_us = w.places[0][1].usual_us = 300000;
    w.places[1][0].usual_us = 400000;
    run(&w, REQUESTS);
    CU_ASSERT_EQUAL(served(&w, 0), REQUESTS); /* fast enough: the order is the rule's */

    /* one replica slows down: the other takes all but what finds it out */
    w.places[0][0].usual_us = 3000000;
    run(&w, REQUESTS);
    CU_ASSERT_EQUAL(served(&w, 0), REQUESTS);
    CU_ASSERT_TRUE(w.places[0][0].served < REQUESTS / 10);

    w.places[0][1].usual_us = 3000000; /* both: the fallback is the first attempt */
    run(&w, REQUESTS);
    CU_ASSERT_EQUAL(served(&w, 0) + served(&w, 1), REQUESTS);
    CU_ASSERT_TRUE(w.places[0][0].slow + w.places[0][1].slow < REQUESTS / 10);
    CU_ASSERT_EQUAL(w.refused, 0);

    /* nothing is fast: a few requests a window find out, the others are told so */
    w.places[1][0].usual_us = 3000000;
    run(&w, REQUESTS);
    CU_ASSERT_TRUE(w.refused > REQUESTS * 8 / 10);
    CU_ASSERT_TRUE(served(&w, 0) >= 3 * TG_DECIDE_REQUESTS_MIN); /* in four windows */

    w.places[0][0].usual_us = w.places[0][1].usual_us = 300000; /* all is well again */
    run(&w, REQUESTS);
    run(&w, REQUESTS);
    CU_ASSERT_EQUAL(served(&w, 0), REQUESTS);
    tg_policy_free(w.policy);
    tg_targets_free(w.targets);
}

static const tg_test tests[] = {
    {"a_target_slows_down_and_recovers", test_a_target_slows_down_and_recovers}};
TG_TEST_MAIN("router_policy_latency", tests)
