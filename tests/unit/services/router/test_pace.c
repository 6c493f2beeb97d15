#include "services/router/pace.h"
#include "libs/base/id.h"
#include "tests/unit/harness.h"

static const uint64_t S = 1000000000;

static void test_a_burst_and_then_the_rate(void)
{
    tg_pace *pace = tg_pace_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(pace);
    uint64_t wait_ms = 0, now = 5 * S;
    for (int i = 0; i < 10; i++) /* 60 a minute: ten at once */
        CU_ASSERT_TRUE(tg_pace_take(pace, "acme", 60, now, &wait_ms));
    CU_ASSERT_FALSE(tg_pace_take(pace, "acme", 60, now, &wait_ms));
    CU_ASSERT_EQUAL(wait_ms, 1000);
    /* the refused one did not count */
    CU_ASSERT_FALSE(tg_pace_take(pace, "acme", 60, now + S / 2, &wait_ms));
    CU_ASSERT_EQUAL(wait_ms, 500);
    /* another tenant's is its own */
    CU_ASSERT_TRUE(tg_pace_take(pace, "globex", 60, now, &wait_ms));
    CU_ASSERT_TRUE(tg_pace_take(pace, "acme", 60, now + S, &wait_ms));
    CU_ASSERT_FALSE(tg_pace_take(pace, "acme", 60, now + S, &wait_ms));
    tg_pace_free(pace);
}

static void test_small_and_large_limits(void)
{
    tg_pace *pace = tg_pace_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(pace);
    uint64_t wait_ms = 0;
    CU_ASSERT_TRUE(tg_pace_take(pace, "one", 1, S, &wait_ms));
    CU_ASSERT_FALSE(tg_pace_take(pace, "one", 1, S, &wait_ms));
    CU_ASSERT_EQUAL(wait_ms, 60000);
    CU_ASSERT_TRUE(tg_pace_take(pace, "one", 1, 61 * S, &wait_ms));
    for (int i = 0; i < 100000; i++)
        CU_ASSERT_TRUE_FATAL(tg_pace_take(pace, "none", 0, S, &wait_ms));
    for (int i = 0; i < 100000; i++)
        CU_ASSERT_TRUE_FATAL(tg_pace_take(pace, "many", 100000000, S, &wait_ms));
    /* a limit may change */
    CU_ASSERT_TRUE(tg_pace_take(pace, "one", 100000, 61 * S, &wait_ms) || wait_ms > 0);
    tg_pace_free(pace);
    CU_ASSERT_PTR_NULL(tg_pace_free(NULL));
}

/* Whatever the arrivals: no window of a minute lets through more than the rate and one burst. */
static void test_no_minute_exceeds_the_rate_and_a_burst(void)
{
    enum { RPM = 120, MOST = RPM + RPM * TG_PACE_BURST_S / 60 };
    static uint64_t taken[20000];
    uint64_t state = tg_test_seed(), now = 1;
    size_t count = 0;
    tg_pace *pace = tg_pace_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(pace);
    for (int i = 0; i < 20000; i++) {
        uint64_t wait_ms = 0;
        now += tg_random_next(&state) % (tg_random_next(&state) % 50 == 0 ? 20 * S : S / 4);
        if (tg_pace_take(pace, "acme", RPM, now, &wait_ms))
            taken[count++] = now;
        else
            CU_ASSERT_FATAL(wait_ms > 0);
        if (count > MOST)
            CU_ASSERT_FATAL(taken[count - 1] - taken[count - 1 - MOST] >= 60 * S - 1);
    }
    CU_ASSERT(count > 1000);
    tg_pace_free(pace);
}

static const tg_test tests[] = {
    {"a_burst_and_then_the_rate", test_a_burst_and_then_the_rate},
    {"small_and_large_limits", test_small_and_large_limits},
    {"no_minute_exceeds_the_rate_and_a_burst", test_no_minute_exceeds_the_rate_and_a_burst},
};
TG_TEST_MAIN("services_router_pace", tests)
