#include "services/health/endpoint.h"
#include "tests/unit/harness.h"

static const tg_circuit_conf conf = {.window_ms = 8000,
                                     .error_rate_permille = 500,
                                     .min_requests = 4,
                                     .open_ms = 1000,
                                     .half_open_successes = 2};

static bool observe(tg_health_endpoint *e, bool success, bool limited, uint64_t now_ms)
{
    Tollgate__V1__Observation o = TOLLGATE__V1__OBSERVATION__INIT;
    o.success = success;
    o.limited = limited;
    o.status = success ? 200 : limited ? 429 : 503;
    o.first_token_us = success ? 1000 : 0;
    o.total_us = 5000;
    return tg_health_endpoint_observe(e, &conf, &o, now_ms);
}

static void test_opens_at_the_error_rate(void)
{
    tg_health_endpoint e;
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&e, "t", "e"), 0);
    CU_ASSERT_FALSE(observe(&e, false, false, 1));
    CU_ASSERT_FALSE(observe(&e, false, false, 2));
    CU_ASSERT_FALSE(observe(&e, false, false, 3)); /* three of three, but min_requests is four */
    CU_ASSERT_TRUE(observe(&e, false, false, 4));
    CU_ASSERT_EQUAL(e.state, TG_CIRCUIT_DOWN);
    tg_health_endpoint_clear(&e);
}

static void test_quota_is_not_an_error(void)
{
    tg_health_endpoint e;
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&e, "t", "e"), 0);
    for (uint64_t i = 0; i < 100; i++)
        CU_ASSERT_FALSE(observe(&e, false, true, i));
    CU_ASSERT_EQUAL(e.state, TG_CIRCUIT_UP);
    tg_health_endpoint_clear(&e);
}

static void test_old_errors_leave_the_window(void)
{
    tg_health_endpoint e;
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&e, "t", "e"), 0);
    for (uint64_t i = 0; i < 3; i++)
        observe(&e, false, false, 100);
    /* Far later: one error among fresh requests is one of one, not four of four. */
    CU_ASSERT_FALSE(observe(&e, false, false, 100000));
    CU_ASSERT_EQUAL(e.state, TG_CIRCUIT_UP);
    tg_health_endpoint_clear(&e);
}

static void test_half_open_closes_after_good_probes(void)
{
    tg_health_endpoint e;
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&e, "t", "e"), 0);
    for (uint64_t i = 0; i < 4; i++)
        observe(&e, false, false, 10);
    CU_ASSERT_FALSE(tg_health_endpoint_tick(&e, 1009));
    CU_ASSERT_TRUE(tg_health_endpoint_tick(&e, 1010));
    CU_ASSERT_EQUAL(e.state, TG_CIRCUIT_HALF_OPEN);
    CU_ASSERT_FALSE(observe(&e, true, false, 1020));
    CU_ASSERT_TRUE(observe(&e, true, false, 1030));
    CU_ASSERT_EQUAL(e.state, TG_CIRCUIT_UP);
    CU_ASSERT_FALSE(observe(&e, false, false, 1040)); /* the old errors are forgotten */
    tg_health_endpoint_clear(&e);
}

static void test_failed_probe_opens_for_longer(void)
{
    tg_health_endpoint e;
    uint64_t now = 10;
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&e, "t", "e"), 0);
    for (int i = 0; i < 4; i++)
        observe(&e, false, false, now);
    for (uint64_t factor = 1; factor <= 16; factor *= 2) {
        uint64_t open =
            1000 * (factor < TG_HEALTH_OPEN_FACTOR_MAX ? factor : TG_HEALTH_OPEN_FACTOR_MAX);
        CU_ASSERT_EQUAL(e.reopen_mono_ms, now + open);
        now += open;
        CU_ASSERT_TRUE(tg_health_endpoint_tick(&e, now));
        CU_ASSERT_TRUE(observe(&e, false, false, now));
    }
    tg_health_endpoint_clear(&e);
}

static void test_view_shows_percentiles_and_state(void)
{
    tg_health_endpoint e;
    Tollgate__V1__EndpointView view;
    Tollgate__V1__RateLimit limit;
    CU_ASSERT_EQUAL_FATAL(tg_health_endpoint_init(&e, "t", "e"), 0);
    tg_health_endpoint_view(&e, &conf, 5, &view, &limit);
    CU_ASSERT_EQUAL(view.state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UNKNOWN);
    for (int i = 0; i < 100; i++)
        observe(&e, true, false, 100);
    tg_health_endpoint_view(&e, &conf, 200, &view, &limit);
    CU_ASSERT_EQUAL(view.state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UP);
    CU_ASSERT_EQUAL(view.requests, 100);
    CU_ASSERT_EQUAL(view.heard_ago_ms, 100);
    CU_ASSERT_TRUE(view.first_token_p50_us >= 937 && view.first_token_p50_us <= 1063);
    CU_ASSERT_TRUE(tg_health_endpoint_reachable(&e, &conf, "gone", 300));
    tg_health_endpoint_view(&e, &conf, 400, &view, &limit);
    CU_ASSERT_EQUAL(view.retry_in_ms, 900);
    CU_ASSERT_STRING_EQUAL(view.reason, "gone");
    CU_ASSERT_TRUE(tg_health_endpoint_reachable(&e, &conf, NULL, 500));
    CU_ASSERT_EQUAL(e.state, TG_CIRCUIT_UP);
    tg_health_endpoint_clear(&e);
}

static const tg_test tests[] = {
    {"opens_at_the_error_rate", test_opens_at_the_error_rate},
    {"quota_is_not_an_error", test_quota_is_not_an_error},
    {"old_errors_leave_the_window", test_old_errors_leave_the_window},
    {"half_open_closes_after_good_probes", test_half_open_closes_after_good_probes},
    {"failed_probe_opens_for_longer", test_failed_probe_opens_for_longer},
    {"view_shows_percentiles_and_state", test_view_shows_percentiles_and_state},
};
TG_TEST_MAIN("services_health_endpoint", tests)
