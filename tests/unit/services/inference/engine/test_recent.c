#include "services/inference/engine/recent.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <stdlib.h>

static const uint64_t second = 1000000000u;

static void test_rates(void)
{
    tg_recent r;
    tg_recent_view v;
    tg_recent_init(&r, 5 * second);
    tg_recent_read(&r, 5 * second, &v);
    CU_ASSERT(v.tokens_in_per_s == 0 && v.tokens_out_per_s == 0 && v.first_token.p99_ns == 0);
    for (uint64_t s = 5; s < 200; s++) { /* 100 tokens in and 3 out every second */
        tg_recent_admitted(&r, 100, s * second);
        tg_recent_first_token(&r, second / 2, s * second);
        tg_recent_next_token(&r, second / 50, s * second);
        tg_recent_next_token(&r, second / 50, s * second);
        tg_recent_read(&r, (s + 1) * second, &v);
        CU_ASSERT(v.tokens_in_per_s > 96 && v.tokens_in_per_s < 104);
        CU_ASSERT(v.tokens_out_per_s > 2.8 && v.tokens_out_per_s < 3.2);
    }
    /* at rest for half a minute: some of it is still in sight */
    tg_recent_read(&r, 231 * second, &v);
    CU_ASSERT(v.tokens_in_per_s > 0 && v.tokens_in_per_s < 60 && v.first_token.p50_ns > 0);
    tg_recent_read(&r, 290 * second, &v);
    CU_ASSERT(v.tokens_in_per_s == 0 && v.between.p50_ns == 0);
    tg_recent_first_token(&r, 1, 10000 * second); /* long after */
    tg_recent_read(&r, 10000 * second, &v);
    CU_ASSERT(v.tokens_out_per_s > 0 && v.first_token.p50_ns < 1200);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool near(uint64_t have, uint64_t want) /* within a sixteenth; of the ends the end */
{
    want = want < 1024 ? 1024 : want;
    const uint64_t apart = have > want ? have - want : want - have;
    return apart <= want / 16 + 1;
}

static void test_percentiles(void)
{
    enum { COUNT = 1000 };
    static uint64_t all[COUNT];
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(50); round++) {
        tg_recent r;
        tg_recent_view v;
        tg_recent_init(&r, 0);
        for (uint32_t i = 0; i < COUNT; i++) {
            all[i] =
                (tiny_random(&random) & ((UINT64_C(1) << 40) - 1)) >> (tiny_random(&random) % 40);
            tg_recent_next_token(&r, all[i], i * 2 * second / 50);
        }
        qsort(all, COUNT, sizeof(all[0]), by_value);
        tg_recent_read(&r, 40 * second, &v);
        CU_ASSERT(near(v.between.p50_ns, all[COUNT / 2 - 1]));
        CU_ASSERT(near(v.between.p95_ns, all[COUNT * 95 / 100 - 1]));
        CU_ASSERT(near(v.between.p99_ns, all[COUNT * 99 / 100 - 1]));
        CU_ASSERT_EQUAL(v.first_token.p50_ns, 0);
    }
}

static const tg_test tests[] = {{"rates", test_rates}, {"percentiles", test_percentiles}};
TG_TEST_MAIN("services_inference_engine_recent", tests)
