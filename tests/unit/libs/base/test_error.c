#include "libs/base/error.h"
#include "libs/base/str.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static void test_the_first_reason_wins_and_context_goes_in_front(void)
{
    tg_error err = {{0}};
    CU_ASSERT_EQUAL(tg_error_set(&err, -EINVAL, "no %s", "model"), -EINVAL);
    CU_ASSERT_EQUAL(tg_error_set(&err, -ENOENT, "another"), -ENOENT);
    tg_error_prefix(&err, "line %d", 3);
    CU_ASSERT_STRING_EQUAL(err.text, "line 3: no model");
    CU_ASSERT_EQUAL(tg_error_set(NULL, -ENOMEM, "nobody listens"), -ENOMEM);
    tg_error_prefix(NULL, "nobody");
}

/* Whatever the length, a cut leaves whole characters. */
static void test_a_long_reason_ends_on_a_character(void)
{
    char text[1200];
    for (size_t shift = 0; shift < 4; shift++) {
        tg_error err = {{0}};
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        tg_error_set(&err, -EINVAL, "%s", text);
        CU_ASSERT(strlen(err.text) >= sizeof err.text - 4);
        CU_ASSERT_TRUE(tg_utf8_valid(err.text, strlen(err.text)));
        tg_error_prefix(&err, "in front");
        CU_ASSERT_TRUE(tg_utf8_valid(err.text, strlen(err.text)));
        CU_ASSERT_TRUE(tg_str_starts(tg_str_of(err.text), "in front: "));
    }
}

static const tg_test tests[] = {
    {"the_first_reason_wins_and_context_goes_in_front",
     test_the_first_reason_wins_and_context_goes_in_front},
    {"a_long_reason_ends_on_a_character", test_a_long_reason_ends_on_a_character},
};
TG_TEST_MAIN("libs_base_error", tests)
