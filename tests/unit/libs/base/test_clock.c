#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static void test_known_times(void)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } known[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-25T14:49:43.5Z", 1795618183500000000u},
        {"2026-11-25T15:49:43.500+01:00", 1795618183500000000u},
        {"2026-11-25 09:19:43.50-05:30", 1795618183500000000u},
        {"2024-02-29t00:00:00z", 1709164800000000000u},
        {"2016-12-31T23:59:60Z", 1483228800000000000u}, /* a leap second */
        {"2026-01-01T00:00:00.123456789987Z", 1767225600123456789u},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint64_t ns = 1;
        CU_ASSERT_EQUAL(tg_clock_parse(known[i].text, &ns), 0);
        CU_ASSERT_EQUAL(ns, known[i].ns);
    }
}

static void test_what_is_no_time(void)
{
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11",
                                      "2026-1-1",
                                      " 2026-01-01",
                                      "2026-01-01 ",
                                      "2026-02-29",
                                      "2026-04-31",
                                      "2026-13-01",
                                      "2026-00-10",
                                      "2026-01-00",
                                      "2026-01-01T",
                                      "2026-01-01T00:00",
                                      "2026-01-01T00:00:00",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:61Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00+1:00",
                                      "2026-01-01T00:00:00+01",
                                      "2026-01-01T00:00:00+24:00",
                                      "2026-01-01T00:00:00Zx",
                                      "2026-01-01T-1:00:00Z",
                                      "1969-12-31",
                                      "1970-01-01T00:00:00+00:01",
                                      "9999-12-31",
                                      "yesterday"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t ns = 7;
        CU_ASSERT_EQUAL(tg_clock_parse(bad[i], &ns), -EINVAL);
        CU_ASSERT_EQUAL(ns, 7);
    }
}

static void test_what_is_printed_is_read(void)
{
    uint64_t state = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(10000); round++) {
        const uint64_t ms = tg_random_next(&state) % 18000000000000u; /* until 2540 */
        char text[TG_CLOCK_TEXT];
        uint64_t back = 1;
        tg_clock_format(ms * 1000000u + tg_random_next(&state) % 1000000u, text, sizeof text);
        CU_ASSERT_EQUAL_FATAL(strlen(text), TG_CLOCK_TEXT - 1);
        CU_ASSERT_EQUAL_FATAL(tg_clock_parse(text, &back), 0);
        CU_ASSERT_EQUAL_FATAL(back, ms * 1000000u);
    }
}

static void test_the_clocks_go_forward(void)
{
    const uint64_t before = tg_clock_mono_ns();
    CU_ASSERT(tg_clock_mono_ns() >= before);
    CU_ASSERT(tg_clock_wall_ns() > 1767225600000000000u); /* after 2026 began */
}

static const tg_test tests[] = {{"known_times", test_known_times},
                                {"what_is_no_time", test_what_is_no_time},
                                {"what_is_printed_is_read", test_what_is_printed_is_read},
                                {"the_clocks_go_forward", test_the_clocks_go_forward}};
TG_TEST_MAIN("libs_base_clock", tests)
