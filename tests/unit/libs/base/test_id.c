#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <string.h>

/* The example of RFC 9562, appendix A.6. */
static void test_uuid7_of_the_rfc(void)
{
    const uint8_t random[10] = {0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
    char text[TG_UUID_TEXT];
    tg_uuid7(0x017f22e279b0, random, text);
    CU_ASSERT_STRING_EQUAL(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

static void test_uuid7_sorts_by_time_whatever_is_random(void)
{
    const uint8_t most[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, least[10] = {0};
    char before[TG_UUID_TEXT], after[TG_UUID_TEXT];
    tg_uuid7(1000, most, before);
    tg_uuid7(1001, least, after);
    CU_ASSERT(strcmp(before, after) < 0);
    CU_ASSERT_EQUAL(before[14], '7'); /* the version, and the variant */
    CU_ASSERT_EQUAL(before[19], 'b');
    CU_ASSERT_EQUAL(after[19], '8');
}

static void test_hex(void)
{
    char text[7];
    tg_hex("\x00\xff\x1a", 3, text);
    CU_ASSERT_STRING_EQUAL(text, "00ff1a");
    tg_hex(NULL, 0, text);
    CU_ASSERT_STRING_EQUAL(text, "");
}

static void test_random_bytes_fill_all(void)
{
    static uint8_t bytes[4096]; /* larger than what one call of the kernel's is sure to give */
    uint8_t *last = bytes + sizeof bytes - 16;
    static const uint8_t zeros[16];
    tg_random_bytes(bytes, sizeof bytes);
    CU_ASSERT(memcmp(bytes, zeros, 16) != 0);
    CU_ASSERT(memcmp(last, zeros, 16) != 0);
    CU_ASSERT(memcmp(bytes, last, 16) != 0);
}

/* splitmix64 from state 1234567: the values of its author's C code. */
static void test_seeded_generator(void)
{
    uint64_t state = 1234567;
    CU_ASSERT_EQUAL(tg_random_next(&state), 6457827717110365317u);
    CU_ASSERT_EQUAL(tg_random_next(&state), 3203168211198807973u);
}

static const tg_test tests[] = {
    {"uuid7_of_the_rfc", test_uuid7_of_the_rfc},
    {"uuid7_sorts_by_time_whatever_is_random", test_uuid7_sorts_by_time_whatever_is_random},
    {"hex", test_hex},
    {"random_bytes_fill_all", test_random_bytes_fill_all},
    {"seeded_generator", test_seeded_generator},
};
TG_TEST_MAIN("libs_base_id", tests)
