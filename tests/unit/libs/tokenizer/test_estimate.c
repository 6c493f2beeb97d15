/* Guesses of token counts: units are additive, a scale finds a tokenizer's factor, and no report
 * can spoil it. */
#include "libs/tokenizer/estimate.h"
#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <stdio.h>
#include <string.h>

static void test_units(void)
{
    CU_ASSERT_EQUAL(tg_token_units(TG_STR("")), 0);
    CU_ASSERT_EQUAL(tg_token_units(TG_STR("az AZ\n")), 6 * 22);
    CU_ASSERT_EQUAL(tg_token_units(TG_STR("2024")), 4 * 70);
    CU_ASSERT_EQUAL(tg_token_units(TG_STR("{}.\t")), 4 * 55);
    CU_ASSERT_EQUAL(tg_token_units(TG_STR("\xe4\xb8\xad")), 3 * 50);
    uint64_t random = tg_test_seed(); /* any split of any bytes has the units of the whole, and a
                                         byte is at most a token */
    for (int round = 0; round < 1000; round++) {
        char bytes[64];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)tg_random_next(&random);
        size_t cut = (size_t)(tg_random_next(&random) % sizeof bytes);
        uint64_t whole = tg_token_units((tg_str){bytes, sizeof bytes});
        CU_ASSERT_EQUAL(whole, tg_token_units((tg_str){bytes, cut}) +
                                   tg_token_units((tg_str){bytes + cut, sizeof bytes - cut}));
        CU_ASSERT_TRUE(whole >= sizeof bytes * 22 && whole <= sizeof bytes * 70);
    }
}

static void test_nothing_learned(void)
{
    tg_token_scale scale = {0};
    CU_ASSERT_EQUAL(tg_token_estimate(NULL, 0), 0);
    CU_ASSERT_EQUAL(tg_token_estimate(NULL, 1), 1);
    CU_ASSERT_EQUAL(tg_token_estimate(NULL, 1000), 10);
    tg_token_scale_learn(&scale, 0, 5);
    tg_token_scale_learn(&scale, 5, 0);
    CU_ASSERT_TRUE(scale.reports == 0 && tg_token_estimate(&scale, 1000) == 10);
    for (unsigned i = 1; i < TG_ESTIMATE_REPORTS_MIN; i++)
        tg_token_scale_learn(&scale, 1000, 30);
    CU_ASSERT_EQUAL(tg_token_estimate(&scale, 1000), 10); /* too few to go by */
    tg_token_scale_learn(&scale, 1000, 30);
    CU_ASSERT_EQUAL(tg_token_estimate(&scale, 1000), 30);
    CU_ASSERT_TRUE(scale.error_tokens == TG_ESTIMATE_REPORTS_MIN * 20 &&
                   scale.reported_tokens == TG_ESTIMATE_REPORTS_MIN * 30);
}

/* A tokenizer that makes `factor` of the units, give or take a tenth: the scale finds it, and finds
 * the next one. */
static void test_finds_the_factor(void)
{
    static const double factors[] = {0.5, 1.7, 1.0, 3.0};
    uint64_t random = tg_test_seed();
    tg_token_scale scale = {0};
    for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
        for (int i = 0; i < 400; i++) {
            uint64_t units = 1000 + tg_random_next(&random) % 1000000;
            double noise = 0.9 + (double)(tg_random_next(&random) % 1000) / 5000;
            tg_token_scale_learn(&scale, units,
                                 1 + (uint64_t)(factors[f] * noise * (double)units / 100));
        }
        double found = (double)tg_token_estimate(&scale, 10000000) / 100000;
        if (found < 0.93 * factors[f] || found > 1.07 * factors[f])
            printf("# found %f, not %f\n", found, factors[f]);
        CU_ASSERT_TRUE(found > 0.93 * factors[f] && found < 1.07 * factors[f]);
    }
}

/* Reports of nonsense, large and small, never overflow, and are forgotten. */
static void test_survives_nonsense(void)
{
    tg_token_scale scale = {0};
    const uint64_t most = (uint64_t)(32 << 20) * 100; /* of the longest body */
    for (int i = 0; i < 1000; i++) {
        tg_token_scale_learn(&scale, most, UINT32_MAX);
        CU_ASSERT_TRUE(tg_token_estimate(&scale, most) <= most / 100 * TG_ESTIMATE_FACTOR_MAX + 1);
    }
    for (int i = 0; i < 1000; i++)
        tg_token_scale_learn(&scale, most, 1);
    CU_ASSERT_TRUE(tg_token_estimate(&scale, most) >= most / 100 / TG_ESTIMATE_FACTOR_MAX);
    for (int i = 0; i < 1000; i++)
        tg_token_scale_learn(&scale, most, most / 100);
    uint64_t found = tg_token_estimate(&scale, most);
    CU_ASSERT_TRUE(found > most / 101 && found < most / 99);
}

static const tg_test tests[] = {
    {"units", test_units},
    {"nothing_learned", test_nothing_learned},
    {"finds_the_factor", test_finds_the_factor},
    {"survives_nonsense", test_survives_nonsense},
};
TG_TEST_MAIN("libs_tokenizer_estimate", tests)
