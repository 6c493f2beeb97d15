#include "services/inference/engine/logprobs.h"
#include "services/inference/backend/numerics.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <math.h>

#define VOCAB 531

static void test_ln_is_right(void)
{
    uint64_t random = tg_test_seed();
    for (size_t i = 0; i < tg_test_rounds(100000); i++) {
        const double x = exp((double)tiny_uniform(&random) * 600);
        CU_ASSERT(fabs(tg_ln(x) - log(x)) <= 1e-15 + 1e-15 * fabs(log(x)));
    }
    CU_ASSERT_EQUAL(tg_ln(1), 0);
}

static void test_against_the_definition(void)
{
    uint64_t random = tg_test_seed();
    tg_logprob out[1 + TG_LOGPROBS_TOP_MAX];
    float logits[VOCAB];
    for (size_t round = 0; round < tg_test_rounds(200); round++) {
        double sum = 0;
        for (uint32_t i = 0; i < VOCAB; i++) {
            logits[i] = roundf(tiny_uniform(&random) * 30); /* many equal ones */
            sum += exp((double)logits[i]);
        }
        const uint32_t token = (uint32_t)(tiny_random(&random) % VOCAB),
                       top = (uint32_t)(tiny_random(&random) % 25);
        const uint32_t len = tg_logprobs(logits, VOCAB, token, top, out);
        CU_ASSERT_EQUAL_FATAL(len, 1 + (top < TG_LOGPROBS_TOP_MAX ? top : TG_LOGPROBS_TOP_MAX));
        CU_ASSERT_EQUAL(out[0].id, token);
        for (uint32_t i = 0; i < len; i++)
            CU_ASSERT(fabs((double)out[i].logprob - ((double)logits[out[i].id] - log(sum))) < 1e-5);
        for (uint32_t i = 1; i + 1 < len; i++) /* in order; of equals the lower id */
            CU_ASSERT(logits[out[i].id] > logits[out[i + 1].id] ||
                      (logits[out[i].id] == logits[out[i + 1].id] && out[i].id < out[i + 1].id));
        /* none left out is better than the last */
        for (uint32_t id = 0; id < VOCAB && len > 1; id++) {
            bool is_in = false;
            for (uint32_t i = 1; i < len; i++)
                is_in |= out[i].id == id;
            CU_ASSERT(is_in || logits[id] <= logits[out[len - 1].id]);
        }
    }
}

static void test_banned_tokens(void)
{
    const float logits[4] = {-INFINITY, 0, -INFINITY, 0};
    tg_logprob out[3];
    CU_ASSERT_EQUAL(tg_logprobs(logits, 4, 0, 2, out), 3);
    CU_ASSERT(isinf(out[0].logprob) && out[0].logprob < 0);
    CU_ASSERT(fabs((double)out[1].logprob + 0.69314718) < 1e-6 && out[1].id == 1 && out[2].id == 3);
}

static const tg_test tests[] = {{"ln_is_right", test_ln_is_right},
                                {"against_the_definition", test_against_the_definition},
                                {"banned_tokens", test_banned_tokens}};
TG_TEST_MAIN("services_inference_engine_logprobs", tests)
