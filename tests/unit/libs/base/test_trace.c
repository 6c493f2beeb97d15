#include "libs/base/trace.h"
#include "tests/unit/harness.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static const uint8_t counted[24] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                    13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};
static const char began[] = "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-00";

static void test_a_valid_one_goes_on(void)
{
    char text[TG_TRACEPARENT_TEXT];
    tg_traceparent(TG_STR("00-" TRACE "-" PARENT "-01"), counted, text);
    CU_ASSERT_STRING_EQUAL(text, "00-" TRACE "-" PARENT "-01");
    tg_traceparent(TG_STR("cc-" TRACE "-" PARENT "-01-what-comes-later"), counted, text);
    CU_ASSERT_STRING_EQUAL(text, "00-" TRACE "-" PARENT "-01");
}

static void test_without_a_valid_one_a_trace_begins(void)
{
    static const char *const bad[] = {"",
                                      "00",
                                      "00-" TRACE "-" PARENT,
                                      "00-" TRACE "-" PARENT "-0",
                                      "00-" TRACE "-" PARENT "-01x",
                                      "00-" TRACE "-" PARENT "-01-more",
                                      "ff-" TRACE "-" PARENT "-01",
                                      "cc-" TRACE "-" PARENT "-01x",
                                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
                                      "00-00000000000000000000000000000000-" PARENT "-01",
                                      "00-" TRACE "-0000000000000000-01",
                                      "00_" TRACE "-" PARENT "-01",
                                      "00-" TRACE "_" PARENT "-01",
                                      "00-" TRACE "-" PARENT "_01",
                                      "0g-" TRACE "-" PARENT "-01",
                                      "00-" TRACE "-" PARENT "-0g"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[TG_TRACEPARENT_TEXT];
        tg_traceparent(tg_str_of(bad[i]), counted, text);
        CU_ASSERT_STRING_EQUAL(text, began);
    }
}

static void test_no_id_is_all_zero(void)
{
    static const uint8_t zeros[24];
    char text[TG_TRACEPARENT_TEXT];
    tg_traceparent((tg_str){NULL, 0}, zeros, text);
    CU_ASSERT_STRING_EQUAL(text, "00-00000000000000000000000000000001-0000000000000001-00");
}

static const tg_test tests[] = {
    {"a_valid_one_goes_on", test_a_valid_one_goes_on},
    {"without_a_valid_one_a_trace_begins", test_without_a_valid_one_a_trace_begins},
    {"no_id_is_all_zero", test_no_id_is_all_zero},
};
TG_TEST_MAIN("libs_base_trace", tests)
