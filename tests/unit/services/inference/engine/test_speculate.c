#include "services/inference/engine/speculate.h"
#include "tests/unit/harness.h"

#include <string.h>

static void test_lookup(void)
{
    const uint32_t text[] = {9, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3};
    uint32_t out[TG_GUESSES_MAX];
    CU_ASSERT_EQUAL(tg_lookup_guess(NULL, text, 11, 8, out), 7);
    CU_ASSERT_EQUAL(memcmp(out, text + 4, 7 * sizeof(*out)), 0);
    CU_ASSERT_EQUAL(tg_lookup_guess(NULL, text, 11, 2, out), 2);
    CU_ASSERT_EQUAL(tg_lookup_guess(NULL, text, 8, 8, out), 0); /* 5 6 7 was never there before */
    const uint32_t twice[] = {1, 2, 5, 1, 2, 6, 7, 1, 2};
    CU_ASSERT_EQUAL(tg_lookup_guess(NULL, twice, 9, 1, out), 1);
    CU_ASSERT_EQUAL(out[0], 6); /* the latest place */
    const uint32_t better[] = {8, 1, 2, 5, 9, 1, 2, 6, 8, 1, 2};
    CU_ASSERT_EQUAL(tg_lookup_guess(NULL, better, 11, 1, out), 1);
    CU_ASSERT_EQUAL(out[0], 5); /* three equal tokens say more than two */
    const uint32_t same[] = {4, 4, 4, 4};
    /* where it stood before, one token follows */
    CU_ASSERT_EQUAL(tg_lookup_guess(NULL, same, 4, 8, out), 1);
    for (uint32_t len = 0; len < 3; len++)
        CU_ASSERT_EQUAL(tg_lookup_guess(NULL, same, len, 8, out), 0);
}

static void test_learns(void)
{
    tg_speculation s = {0};
    const uint32_t right[] = {1, 2, 3, 4, 9}, wrong[] = {7};
    const float before = tg_speculation_chance(&s, 1);
    for (int i = 0; i < 20; i++) {
        memcpy(s.guesses, right, 4 * sizeof(*right));
        s.len = 4;
        tg_speculation_learn(&s, right, 5);
        CU_ASSERT_EQUAL(s.len, 0);
    }
    CU_ASSERT(tg_speculation_chance(&s, 1) > 0.99f && before < 0.9f);
    CU_ASSERT(tg_speculation_chance(&s, 8) > 0.9f);
    for (int i = 0; i < 20; i++) { /* one that is wrong says nothing about those behind it */
        memcpy(s.guesses, right, 4 * sizeof(*right));
        s.len = 4;
        tg_speculation_learn(&s, wrong, 1);
    }
    CU_ASSERT(tg_speculation_chance(&s, 1) < 0.1f);
    const float settled = tg_speculation_chance(&s, 1);
    tg_speculation_learn(&s, right, 1); /* nothing was guessed */
    CU_ASSERT_EQUAL(tg_speculation_chance(&s, 1), settled);
}

static void test_worth(void)
{
    CU_ASSERT(tg_guess_worth(0.3f, 6, 1, 1)); /* alone: a step costs little more for a second row */
    CU_ASSERT(!tg_guess_worth(0.1f, 6, 1, 1));
    /* in company every row costs as much as a token brings */
    CU_ASSERT(!tg_guess_worth(0.8f, 6, 64, 64));
    CU_ASSERT(tg_guess_worth(0.95f, 6, 64, 64));
    CU_ASSERT(!tg_guess_worth(0, 6, 1, 1));
}

static void learn(tg_step_cost *cost, uint32_t steps, uint32_t rows, uint32_t more, float base)
{
    for (uint32_t i = 0; i < steps; i++) {
        const uint32_t n = rows + (more ? i * 5 % (more + 1) : 0);
        tg_step_cost_learn(cost, n, (uint64_t)(1e6f * (base + (float)n)));
    }
}

static void test_cost(void)
{
    tg_step_cost cost = {0};
    CU_ASSERT_EQUAL(tg_step_cost_base(&cost), TG_STEP_BASE_ROWS);
    learn(&cost, 200, 8, 0, 0); /* always as many rows: nothing to see */
    CU_ASSERT_DOUBLE_EQUAL(tg_step_cost_base(&cost), TG_STEP_BASE_ROWS, 0.01);
    learn(&cost, 200, 8, 6, 0); /* every row costs as much */
    CU_ASSERT(tg_step_cost_base(&cost) < 1.5f);
    CU_ASSERT(!tg_guess_worth(0.9f, tg_step_cost_base(&cost), 8, 8));
    const float dear = tg_step_cost_base(&cost);
    learn(&cost, 20, 8, 0, 0); /* not forgotten at once */
    CU_ASSERT(tg_step_cost_base(&cost) < dear + 1);
    learn(&cost, 1000, 8, 0, 0); /* but tried again some time */
    CU_ASSERT_DOUBLE_EQUAL(tg_step_cost_base(&cost), TG_STEP_BASE_ROWS, 0.01);
    learn(&cost, 300, 1, 8, 12);
    CU_ASSERT_DOUBLE_EQUAL(tg_step_cost_base(&cost), 12, 1.5);
    for (int i = 0; i < 300; i++) /* further rows cost nothing, or less */
        tg_step_cost_learn(&cost, 1 + (uint32_t)i % 9, 1000000 - 1000 * ((uint64_t)i % 9));
    CU_ASSERT_EQUAL(tg_step_cost_base(&cost), TG_STEP_BASE_ROWS_MAX);
}

/* What the machine did meanwhile is not what a row costs. */
static void test_cost_outlier(void)
{
    tg_step_cost cost = {0};
    learn(&cost, 200, 1, 8, 6);
    tg_step_cost_learn(&cost, 1, 1000000000);
    learn(&cost, 10, 1, 8, 6);
    CU_ASSERT(tg_step_cost_base(&cost) > 3);
    learn(&cost, 200, 1, 8, 6);
    CU_ASSERT_DOUBLE_EQUAL(tg_step_cost_base(&cost), 6, 1);
}

static const tg_test tests[] = {{"cost", test_cost},
                                {"cost_outlier", test_cost_outlier},
                                {"lookup", test_lookup},
                                {"learns", test_learns},
                                {"worth", test_worth}};
TG_TEST_MAIN("services_inference_engine_speculate", tests)
