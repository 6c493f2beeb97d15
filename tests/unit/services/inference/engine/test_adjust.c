#include "services/inference/engine/adjust.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { VOCAB = 8 };
static const float logits[VOCAB] = {1, -1, 2, 0, 3, -2, 0.5f, 4};
static const uint32_t tokens[] = {0, 1, 1, 2, 2, 5}; /* a prompt of three, an output of three */
static const uint32_t ends[] = {7, 4};

static const float *apply(const tg_adjustments *a, uint32_t len)
{
    static float got[VOCAB];
    uint32_t seen[VOCAB] = {0};
    static const uint32_t none[VOCAB];
    const tg_adjust adjust = {a, tokens, 3, len, ends, 2, VOCAB};
    tg_adjust_apply(&adjust, logits, seen, got);
    CU_ASSERT_EQUAL(memcmp(seen, none, sizeof seen), 0);
    CU_ASSERT_EQUAL(tg_adjust_wanted(&adjust), memcmp(got, logits, sizeof got) != 0);
    return got;
}

static void check(const float *got, const float *want)
{
    for (int i = 0; i < VOCAB; i++)
        CU_ASSERT_EQUAL(got[i], want[i]);
}

static void test_nothing_asked_nothing_changed(void)
{
    check(apply(&(tg_adjustments){0}, 6), logits);
    check(apply(&(tg_adjustments){.repetition_penalty = 1}, 6), logits);
    check(apply(&(tg_adjustments){.min_tokens = 3}, 6), logits); /* they are there */
}

static void test_repetition_counts_prompt_and_output_once(void)
{
    static const float want[VOCAB] = {0.5f, -2, 1, 0, 3, -4, 0.5f, 4};
    check(apply(&(tg_adjustments){.repetition_penalty = 2}, 6), want);
}

static void test_frequency_and_presence_count_the_output(void)
{
    static const float frequency[VOCAB] = {1, -1, 1, 0, 3, -2.5f, 0.5f, 4},
                       presence[VOCAB] = {1, -1, 1, 0, 3, -3, 0.5f, 4};
    check(apply(&(tg_adjustments){.frequency_penalty = 0.5f}, 6), frequency);
    check(apply(&(tg_adjustments){.presence_penalty = 1}, 6), presence);
    /* no output yet */
    check(apply(&(tg_adjustments){.frequency_penalty = 1, .presence_penalty = -1}, 3), logits);
}

static void test_bias_and_ban(void)
{
    static const tg_logit_bias bias[] = {{3, 5}, {7, -100}, {3, 1}};
    static const float biased[VOCAB] = {1, -1, 2, 6, 3, -2, 0.5f, -96};
    static const float banned[VOCAB] = {1, -1, 2, 0, -INFINITY, -2, 0.5f, -INFINITY};
    check(apply(&(tg_adjustments){.bias = bias, .bias_len = 3}, 6), biased);
    check(apply(&(tg_adjustments){.min_tokens = 4}, 6), banned);
}

static void test_bad_values(void)
{
    static const tg_logit_bias unknown = {VOCAB, 0}, huge = {1, 101};
    static const struct {
        tg_adjustments adjustments;
        const char *says;
    } bad[] = {{{.repetition_penalty = 2.1f}, "repetition_penalty"},
               {{.repetition_penalty = -1}, "repetition_penalty"},
               {{.presence_penalty = NAN}, "presence_penalty"},
               {{.frequency_penalty = -2.5f}, "frequency_penalty"},
               {{.bias = &unknown, .bias_len = 1}, "token 8"},
               {{.bias = &huge, .bias_len = 1}, "101"},
               {{.bias = &huge, .bias_len = TG_LOGIT_BIAS_MAX + 1}, "1025"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tg_error err = {""};
        CU_ASSERT_EQUAL(tg_adjustments_check(&bad[i].adjustments, VOCAB, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, bad[i].says));
    }
}

static const tg_test tests[] = {
    {"nothing_asked_nothing_changed", test_nothing_asked_nothing_changed},
    {"repetition_counts_prompt_and_output_once", test_repetition_counts_prompt_and_output_once},
    {"frequency_and_presence_count_the_output", test_frequency_and_presence_count_the_output},
    {"bias_and_ban", test_bias_and_ban},
    {"bad_values", test_bad_values},
};
TG_TEST_MAIN("services_inference_engine_adjust", tests)
