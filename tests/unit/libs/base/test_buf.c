#include "libs/base/buf.h"
#include "tests/unit/harness.h"

#include <errno.h>

static void test_append_and_consume(void)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    CU_ASSERT_EQUAL(tg_buf_add_text(&buf, "hello "), 0);
    CU_ASSERT_EQUAL(tg_buf_printf(&buf, "%d-%s", 42, "worlds of text that outgrow the first block"),
                    0);
    CU_ASSERT_TRUE(tg_str_starts(tg_buf_str(&buf), "hello 42-worlds"));
    tg_buf_consume(&buf, 6);
    CU_ASSERT_TRUE(tg_str_starts(tg_buf_str(&buf), "42-"));
    tg_buf_free(&buf);
}

static void test_limit_leaves_the_buffer_as_it_was(void)
{
    tg_buf buf;
    tg_buf_init(&buf, 8);
    CU_ASSERT_EQUAL(tg_buf_add_text(&buf, "12345678"), 0);
    CU_ASSERT_EQUAL(tg_buf_add_char(&buf, '9'), -ENOSPC);
    CU_ASSERT_EQUAL(tg_buf_printf(&buf, "%d", 9), -ENOSPC);
    CU_ASSERT_TRUE(tg_str_is(tg_buf_str(&buf), "12345678"));
    tg_buf_free(&buf);
}

static const tg_test tests[] = {{"append_and_consume", test_append_and_consume},
                                {"limit", test_limit_leaves_the_buffer_as_it_was}};
TG_TEST_MAIN("libs_base_buf", tests)
