#include "libs/metrics/histogram.h"

#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <stdlib.h>

static void test_buckets_tile_the_range(void)
{
    CU_ASSERT_EQUAL(tg_histogram_lower(0), 0);
    for (unsigned i = 0; i < TG_HISTOGRAM_BUCKETS; i++) {
        uint64_t lower = tg_histogram_lower(i);
        CU_ASSERT_EQUAL(tg_histogram_index(lower), i);
        if (i > 0)
            CU_ASSERT_EQUAL(tg_histogram_index(lower - 1), i - 1);
    }
    CU_ASSERT_EQUAL(tg_histogram_index(UINT64_MAX), TG_HISTOGRAM_BUCKETS - 1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_quantiles_are_within_a_sixteenth(void)
{
    enum { COUNT = 2000 };
    static uint64_t values[COUNT];
    uint64_t state = tg_test_seed();
    tg_histogram *h = tg_histogram_new();
    for (size_t round = tg_test_rounds(20); round > 0; round--) {
        tg_histogram_clear(h);
        for (size_t i = 0; i < COUNT; i++) {
            values[i] = tg_random_next(&state) >> (tg_random_next(&state) % 64);
            tg_histogram_observe(h, values[i]);
        }
        qsort(values, COUNT, sizeof *values, compare);
        for (unsigned permille = 1; permille <= 1000; permille += 37) {
            size_t rank = (COUNT * (size_t)permille + 999) / 1000;
            double exact = (double)values[rank - 1];
            double shown = (double)tg_histogram_quantile(h, permille);
            CU_ASSERT_TRUE(shown >= exact * 15 / 16 - 0.5 && shown <= exact * 17 / 16 + 0.5);
        }
    }
    tg_histogram_free(h);
}

static void test_merge_adds(void)
{
    tg_histogram *a = tg_histogram_new(), *b = tg_histogram_new();
    CU_ASSERT_EQUAL(tg_histogram_quantile(a, 500), 0);
    tg_histogram_observe(a, 5);
    tg_histogram_observe(b, 7);
    tg_histogram_observe(b, 7);
    tg_histogram_merge(a, b);
    CU_ASSERT_EQUAL(tg_histogram_count(a), 3);
    CU_ASSERT_EQUAL(tg_histogram_quantile(a, 333), 5);
    CU_ASSERT_EQUAL(tg_histogram_quantile(a, 334), 7);
    CU_ASSERT_EQUAL(tg_histogram_quantile(a, 0), 5);
    CU_ASSERT_EQUAL(tg_histogram_quantile(a, 5000), 7);
    tg_histogram_clear(a);
    CU_ASSERT_EQUAL(tg_histogram_count(a), 0);
    tg_histogram_free(a);
    tg_histogram_free(b);
}

static const tg_test tests[] = {{"buckets_tile_the_range", test_buckets_tile_the_range},
                                {"quantiles", test_quantiles_are_within_a_sixteenth},
                                {"merge_adds", test_merge_adds}};
TG_TEST_MAIN("libs_metrics_histogram", tests)
