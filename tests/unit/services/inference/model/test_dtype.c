#include "services/inference/model/dtype.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <math.h>

static double half_value(uint32_t bits) /* by definition */
{
    int exponent = (int)(bits >> 10 & 31);
    double fraction = (double)(bits & 1023) / 1024;
    double size = exponent ? ldexp(1 + fraction, exponent - 15) : ldexp(fraction, -14);
    return bits & 0x8000 ? -size : size;
}

static void test_f16_exact(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        if ((bits >> 10 & 31) == 31)
            continue;
        float value = tg_f16_to_f32((uint16_t)bits);
        CU_ASSERT((double)value == half_value(bits));
        CU_ASSERT_EQUAL(tg_f32_to_f16(value), bits);
    }
    CU_ASSERT(isinf(tg_f16_to_f32(0x7c00)));
    CU_ASSERT(isnan(tg_f16_to_f32(0x7e01)));
}

static void test_f16_rounds_to_nearest_even(void)
{
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = tg_f16_to_f32((uint16_t)bits), high = tg_f16_to_f32((uint16_t)(bits + 1));
        float middle = (low + high) / 2; /* exact: one more bit */
        CU_ASSERT_EQUAL(tg_f32_to_f16(middle), bits + (bits & 1));
        CU_ASSERT_EQUAL(tg_f32_to_f16(nextafterf(middle, 1e9f)), bits + 1);
        CU_ASSERT_EQUAL(tg_f32_to_f16(nextafterf(middle, -1)), bits);
    }
    CU_ASSERT_EQUAL(tg_f32_to_f16(65519.9f), 0x7bff);
    CU_ASSERT_EQUAL(tg_f32_to_f16(65520.0f), 0x7c00);
    CU_ASSERT_EQUAL(tg_f32_to_f16(-1e30f), 0xfc00);
    CU_ASSERT_EQUAL(tg_f32_to_f16(1e-30f), 0);
}

static void test_quantised_round_trip(void)
{
    static const struct {
        tg_dtype type;
        double error; /* of the largest magnitude in a block */
    } types[] = {{TG_DTYPE_Q8_0, 0.006}, {TG_DTYPE_Q4_0, 0.14}, {TG_DTYPE_Q4_1, 0.08}};
    uint64_t random = tg_test_seed();
    for (size_t i = 0; i < 3; i++) {
        for (size_t round = 0; round < tg_test_rounds(100); round++) {
            float x[64], y[64];
            uint8_t row[2 * 34];
            for (int k = 0; k < 64; k++)
                x[k] = tiny_uniform(&random);
            tg_dtype_from_f32(types[i].type, x, 64, row);
            tg_dtype_to_f32(types[i].type, row, 64, y);
            for (int k = 0; k < 64; k++)
                CU_ASSERT(fabs((double)x[k] - (double)y[k]) <= types[i].error);
        }
    }
}

/* A block written by hand, so that reader and writer can't be wrong together. */
static void test_layouts(void)
{
    uint8_t q4_1[20] = {0x00, 0x3c, 0x00, 0xc0, 0x21, 0xf0}; /* d = 1, m = −2 */
    uint8_t q4_0[18] = {0x00, 0x40, 0x9f};                    /* d = 2 */
    uint8_t q8_0[34] = {0x00, 0x38, 0x80, 0x7f};              /* d = 0.5 */
    float y[32];
    tg_dtype_to_f32(TG_DTYPE_Q4_1, q4_1, 32, y);
    CU_ASSERT(y[0] == -1 && y[16] == 0 && y[1] == -2 && y[17] == 13 && y[2] == -2);
    tg_dtype_to_f32(TG_DTYPE_Q4_0, q4_0, 32, y);
    CU_ASSERT(y[0] == 14 && y[16] == 2 && y[1] == -16);
    tg_dtype_to_f32(TG_DTYPE_Q8_0, q8_0, 32, y);
    CU_ASSERT(y[0] == -64 && y[1] == 63.5f && y[2] == 0);
}

static const tg_test tests[] = {{"f16_exact", test_f16_exact},
                                {"f16_rounds_to_nearest_even", test_f16_rounds_to_nearest_even},
                                {"quantised_round_trip", test_quantised_round_trip},
                                {"layouts", test_layouts}};
TG_TEST_MAIN("services_inference_model_dtype", tests)
