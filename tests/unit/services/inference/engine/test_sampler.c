#include "services/inference/engine/sampler.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <math.h>

#define VOCAB 50
static tg_candidate scratch[2 * VOCAB];

static uint32_t sample(const tg_sampling *s, uint32_t position, const float *logits)
{
    uint32_t id = UINT32_MAX;
    CU_ASSERT_EQUAL(tg_sample(s, position, logits, VOCAB, scratch, &id), 0);
    return id;
}

static void make_logits(float *logits, uint64_t seed)
{
    for (uint32_t i = 0; i < VOCAB; i++)
        logits[i] = tiny_uniform(&seed) * 4;
}

static void test_greedy_and_ties(void)
{
    float logits[VOCAB] = {0};
    const tg_sampling s = {.seed = 1};
    logits[7] = logits[31] = 2;
    CU_ASSERT_EQUAL(sample(&s, 0, logits), 7);
    logits[31] = 2.5f;
    CU_ASSERT_EQUAL(sample(&s, 0, logits), 31);
    const tg_sampling top1 = {.temperature = 1, .top_k = 1, .seed = 9};
    logits[7] = 2.5f;
    CU_ASSERT_EQUAL(sample(&top1, 5, logits), 7);
}

static void test_depends_on_seed_and_position_alone(void)
{
    float logits[VOCAB];
    uint32_t other_seed = 0, other_position = 0, other_choice = 0;
    make_logits(logits, 3);
    for (uint32_t position = 0; position < 300; position++) {
        const tg_sampling a = {.temperature = 1, .seed = 5}, b = {.temperature = 1, .seed = 6};
        const tg_sampling c = {.temperature = 1, .seed = 5, .choice = 1};
        uint32_t id = sample(&a, position, logits);
        CU_ASSERT_EQUAL(sample(&a, position, logits), id);
        other_seed += sample(&b, position, logits) != id;
        other_choice += sample(&c, position, logits) != id;
        other_position += sample(&a, position + 1, logits) != id;
    }
    CU_ASSERT(other_seed > 100 && other_choice > 100 && other_position > 100);
}

/* Frequencies against the softmax, and nothing outside the cut. */
static void check_frequencies(tg_sampling s, const bool *allowed)
{
    enum { DRAWS = 20000 };
    float logits[VOCAB];
    double want[VOCAB], total = 0;
    uint32_t seen[VOCAB] = {0};
    make_logits(logits, 4);
    for (uint32_t i = 0; i < VOCAB; i++) {
        want[i] = !allowed || allowed[i] ? exp((double)logits[i] / (double)s.temperature) : 0;
        total += want[i];
    }
    for (uint32_t n = 0; n < DRAWS; n++)
        seen[sample(&s, n, logits)]++;
    for (uint32_t i = 0; i < VOCAB; i++) {
        double expected = want[i] / total * DRAWS;
        CU_ASSERT(fabs(seen[i] - expected) <= 5 * sqrt(expected + 1));
        CU_ASSERT(want[i] > 0 || seen[i] == 0);
    }
}

static void test_frequencies(void)
{
    float logits[VOCAB];
    bool allowed[VOCAB];
    make_logits(logits, 4);
    check_frequencies((tg_sampling){.temperature = 0.8f, .seed = 42}, NULL);
    for (uint32_t i = 0; i < VOCAB; i++) { /* top_k = 5, by counting who is larger */
        uint32_t larger = 0;
        for (uint32_t k = 0; k < VOCAB; k++)
            larger += logits[k] > logits[i];
        allowed[i] = larger < 5;
    }
    check_frequencies((tg_sampling){.temperature = 1.5f, .top_k = 5, .seed = 43}, allowed);
    double total = 0, top = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        total += exp((double)logits[i]);
        top = fmax(top, exp((double)logits[i]));
    }
    for (uint32_t i = 0; i < VOCAB; i++) { /* top_p = 0.7: what lies above holds less */
        double above = 0;
        for (uint32_t k = 0; k < VOCAB; k++)
            above += logits[k] > logits[i] ? exp((double)logits[k]) : 0;
        allowed[i] = above < 0.7 * total;
    }
    check_frequencies((tg_sampling){.temperature = 1, .top_p = 0.7f, .seed = 44}, allowed);
    for (uint32_t i = 0; i < VOCAB; i++)
        allowed[i] = exp((double)logits[i]) >= 0.25 * top;
    check_frequencies((tg_sampling){.temperature = 1, .min_p = 0.25f, .seed = 45}, allowed);
}

static void test_uniform_is_philox(void)
{
    /* Known answer of Philox4x32-10: counter and key all zero give 6627e8d5 e169c58d … */
    double want = (double)((uint64_t)0x6627e8d5e169c58du >> 11) * 0x1p-53;
    CU_ASSERT(tg_uniform(0, 0, 0) == want);
}

static void test_broken_logits(void)
{
    float logits[VOCAB] = {0};
    uint32_t id = 99;
    const tg_sampling s = {.temperature = 1};
    logits[3] = NAN;
    CU_ASSERT_EQUAL(tg_sample(&s, 0, logits, VOCAB, scratch, &id), -EDOM);
    logits[3] = INFINITY;
    CU_ASSERT_EQUAL(tg_sample(&s, 0, logits, VOCAB, scratch, &id), -EDOM);
    CU_ASSERT_EQUAL(id, 99);
}

static void test_check(void)
{
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_sampling_check(&(tg_sampling){.temperature = 1, .top_p = 1}, &err), 0);
    CU_ASSERT_EQUAL(tg_sampling_check(&(tg_sampling){.temperature = -1}, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "temperature"));
    CU_ASSERT_EQUAL(tg_sampling_check(&(tg_sampling){.temperature = NAN}, NULL), -EINVAL);
    CU_ASSERT_EQUAL(tg_sampling_check(&(tg_sampling){.top_p = 1.1f}, NULL), -EINVAL);
    CU_ASSERT_EQUAL(tg_sampling_check(&(tg_sampling){.min_p = 1}, NULL), -EINVAL);
}

static const tg_test tests[] = {
    {"greedy_and_ties", test_greedy_and_ties},
    {"depends_on_seed_and_position_alone", test_depends_on_seed_and_position_alone},
    {"frequencies", test_frequencies},
    {"uniform_is_philox", test_uniform_is_philox},
    {"broken_logits", test_broken_logits},
    {"check", test_check}};
TG_TEST_MAIN("services_inference_engine_sampler", tests)
