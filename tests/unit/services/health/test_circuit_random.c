/* The circuit under random observations, conditions and times: what must hold whatever happens. */
#include "libs/base/id.h"
#include "services/health/endpoint.h"
#include "tests/unit/harness.h"

#include <stdio.h>

enum { STEPS = 200 };

typedef enum kind { GOOD, QUOTA, BAD } kind;

typedef struct world {
    uint64_t random;
    tg_circuit_conf conf;
    tg_health_endpoint e;
    uint64_t now_ms;
} world;

static uint64_t below(world *w, uint64_t n) { return tg_random_next(&w->random) % n; }

static void make(world *w, uint64_t seed)
{
    w->random = seed;
    w->conf = (tg_circuit_conf){.window_ms = 1000 + (uint32_t)below(w, 60000),
                                .error_rate_permille = 1 + (uint32_t)below(w, 1000),
                                .min_requests = 1 + (uint32_t)below(w, 20),
                                .open_ms = 1 + (uint32_t)below(w, 10000),
                                .half_open_successes = 1 + (uint32_t)below(w, 5)};
    w->now_ms = 1 + below(w, 1000000);
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&w->e, "t", "e"), 0);
}

static void observe(world *w, kind what)
{
    Tollgate__V1__Observation o = TOLLGATE__V1__OBSERVATION__INIT;
    o.success = what == GOOD;
    o.limited = what == QUOTA;
    o.status = what == GOOD ? 200 : what == QUOTA ? 429 : 503;
    o.total_us = below(w, 1000000);
    tg_health_endpoint_observe(&w->e, &w->conf, &o, w->now_ms);
}

/* Time passes as it does for the service: by steps, with a tick at each. */
static void pass(world *w, uint64_t ms)
{
    w->now_ms += ms;
    tg_health_endpoint_tick(&w->e, w->now_ms);
}

static void go_down(world *w)
{
    for (uint32_t i = 0; i < w->conf.min_requests && w->e.state == TG_CIRCUIT_UP; i++)
        observe(w, BAD);
}

/* Leaves the circuit wherever a random past takes it. */
static void random_past(world *w)
{
    for (int i = 0; i < STEPS; i++) {
        observe(w, (kind)below(w, 3));
        pass(w, below(w, 4) ? below(w, 100) : below(w, 20000));
    }
}

/* Fails with the seed that shows it. */
static void each(void (*check)(world *w))
{
    uint64_t seeds = tg_test_seed();
    for (size_t i = 0; i < tg_test_rounds(300); i++) {
        static world w;
        uint64_t seed = tg_random_next(&seeds);
        unsigned failures = CU_get_number_of_failures();
        make(&w, seed);
        check(&w);
        tg_health_endpoint_clear(&w.e);
        if (CU_get_number_of_failures() > failures) {
            printf("# world %llu\n", (unsigned long long)seed);
            return;
        }
    }
}

static void quota(world *w)
{
    for (int i = 0; i < STEPS; i++) {
        observe(w, below(w, 2) ? QUOTA : GOOD);
        pass(w, below(w, 2000));
        CU_ASSERT_EQUAL(w->e.state, TG_CIRCUIT_UP);
    }
}

static void opens_by_an_error_only(world *w)
{
    uint32_t seen = 0;
    for (int i = 0; i < STEPS; i++) {
        tg_circuit_state before = w->e.state;
        kind what = (kind)below(w, 3);
        seen = before == TG_CIRCUIT_UP ? seen + 1 : 0;
        observe(w, what);
        if (before != TG_CIRCUIT_DOWN && w->e.state == TG_CIRCUIT_DOWN) {
            CU_ASSERT_EQUAL(what, BAD);
            CU_ASSERT_TRUE(before == TG_CIRCUIT_HALF_OPEN || seen >= w->conf.min_requests);
        }
        pass(w, below(w, 500));
    }
}

static void leaves_down_after_time(world *w)
{
    random_past(w);
    go_down(w);
    if (w->e.state == TG_CIRCUIT_DOWN) {
        uint64_t longest = (uint64_t)w->conf.open_ms * TG_HEALTH_OPEN_FACTOR_MAX;
        CU_ASSERT_TRUE(w->e.reopen_mono_ms <= w->now_ms + longest);
        for (uint64_t step = longest / 10 + 1, passed = 0; passed <= longest; passed += step) {
            observe(w, BAD); /* attempts that were under way do not keep it shut */
            w->now_ms += step;
            if (tg_health_endpoint_tick(&w->e, w->now_ms))
                break;
        }
        CU_ASSERT_EQUAL(w->e.state, TG_CIRCUIT_HALF_OPEN);
    }
}

static void half_open_restores(world *w)
{
    random_past(w);
    go_down(w);
    if (w->e.state == TG_CIRCUIT_DOWN)
        pass(w, w->e.reopen_mono_ms - w->now_ms);
    if (w->e.state != TG_CIRCUIT_HALF_OPEN)
        return;
    for (uint32_t i = w->e.good_probes; i < w->conf.half_open_successes; i++) {
        observe(w, QUOTA); /* neither good nor bad */
        CU_ASSERT_EQUAL(w->e.state, TG_CIRCUIT_HALF_OPEN);
        observe(w, GOOD);
        pass(w, below(w, 100));
    }
    CU_ASSERT_EQUAL(w->e.state, TG_CIRCUIT_UP);
    CU_ASSERT_EQUAL(w->e.open_factor, 1);
    if (w->conf.min_requests > 1) { /* a clean slate: one error is not enough again */
        observe(w, BAD);
        CU_ASSERT_EQUAL(w->e.state, TG_CIRCUIT_UP);
    }
}

static void bad_probe_opens_again(world *w)
{
    random_past(w);
    go_down(w);
    if (w->e.state == TG_CIRCUIT_DOWN)
        pass(w, w->e.reopen_mono_ms - w->now_ms);
    if (w->e.state != TG_CIRCUIT_HALF_OPEN)
        return;
    uint32_t factor = w->e.open_factor;
    observe(w, BAD);
    CU_ASSERT_EQUAL(w->e.state, TG_CIRCUIT_DOWN);
    CU_ASSERT_TRUE(w->e.open_factor == 2 * factor || factor == TG_HEALTH_OPEN_FACTOR_MAX);
    CU_ASSERT_EQUAL(w->e.reopen_mono_ms, w->now_ms + (uint64_t)w->conf.open_ms * w->e.open_factor);
}

static void test_quota(void) { each(quota); }
static void test_opens_by_an_error_only(void) { each(opens_by_an_error_only); }
static void test_leaves_down_after_time(void) { each(leaves_down_after_time); }
static void test_half_open_restores(void) { each(half_open_restores); }
static void test_bad_probe_opens_again(void) { each(bad_probe_opens_again); }

static const tg_test tests[] = {
    {"quota_alone_never_opens_it", test_quota},
    {"opens_by_an_error_only", test_opens_by_an_error_only},
    {"leaves_down_after_time", test_leaves_down_after_time},
    {"half_open_restores", test_half_open_restores},
    {"bad_probe_opens_again", test_bad_probe_opens_again},
};
TG_TEST_MAIN("services_health_circuit_random", tests)
