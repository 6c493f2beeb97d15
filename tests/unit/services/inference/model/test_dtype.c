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
    } types[] = {{TG_DTYPE_Q8_0, 0.006}, {TG_DTYPE_Q4_0, 0.14},  {TG_DTYPE_Q4_1, 0.08},
                 {TG_DTYPE_Q5_0, 0.07},  {TG_DTYPE_Q5_1, 0.04}, {TG_DTYPE_BF16, 0.004},
                 {TG_DTYPE_Q4_K, 0.12},  {TG_DTYPE_Q5_K, 0.07}, {TG_DTYPE_Q6_K, 0.06}};
    uint64_t random = tg_test_seed();
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (size_t round = 0; round < tg_test_rounds(100); round++) {
            enum { LEN = TG_QUANT_SUPER };
            float x[LEN], y[LEN];
            uint8_t row[LEN * 2];
            for (int k = 0; k < LEN; k++)
                x[k] = tiny_uniform(&random);
            tg_dtype_from_f32(types[i].type, x, LEN, row);
            tg_dtype_to_f32(types[i].type, row, LEN, y);
            for (int k = 0; k < LEN; k++)
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

/* K types, by hand: one scale and minimum of each kind of place, one quant with its high bits. */
static void test_k_layouts(void)
{
    uint8_t q5_k[176] = {0x00, 0x3c, 0x00, 0x38};   /* d = 1, dmin = 0.5 */
    q5_k[4] = 3 | 2 << 6;                            /* group 0's scale; group 4's upper bits */
    q5_k[8] = 7 | 1 << 6;                            /* group 0's minimum; group 4's upper bits */
    q5_k[12] = 5 | 9 << 4;                           /* group 4's scale and minimum */
    q5_k[16 + 31] = 1 | 1 << 4;                      /* fifth bits of weights 31 and 159 */
    q5_k[48 + 31] = 0x0e;                            /* weight 31, low half */
    q5_k[48 + 64 + 31] = 0x0b;                       /* weight 4 · 32 + 31 */
    float y[256];
    tg_dtype_to_f32(TG_DTYPE_Q5_K, q5_k, 256, y);
    CU_ASSERT(y[31] == 3 * 30 - 3.5f && y[0] == -3.5f);
    CU_ASSERT(y[159] == 37 * 27 - 12.5f && y[128] == -12.5f && y[32] == 0);
    uint8_t q6_k[210] = {0};
    q6_k[208] = 0x00, q6_k[209] = 0x40;              /* d = 2 */
    q6_k[64 + 33] = 0xa0;                            /* weight 128 + 97: the high half of byte 33 */
    q6_k[128 + 32 + 1] = 3 << 6;                     /* its two bits, of the fourth group */
    q6_k[192 + 14] = (uint8_t)-5;                    /* (128 + 97) / 16 */
    tg_dtype_to_f32(TG_DTYPE_Q6_K, q6_k, 256, y);
    CU_ASSERT(y[225] == 2 * -5 * (58 - 32) && y[224] == 2 * -5 * -32 && y[0] == 0);
}

static const tg_test tests[] = {{"f16_exact", test_f16_exact},
                                {"f16_rounds_to_nearest_even", test_f16_rounds_to_nearest_even},
                                {"quantised_round_trip", test_quantised_round_trip},
                                {"layouts", test_layouts},
                                {"k_layouts", test_k_layouts}};
TG_TEST_MAIN("services_inference_model_dtype", tests)
