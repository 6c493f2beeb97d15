#include "libs/json/json.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_nesting_and_commas(void)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "a");
    tg_json_out_begin_array(&out);
    tg_json_out_u64(&out, UINT64_MAX);
    tg_json_out_i64(&out, INT64_MIN);
    tg_json_out_begin_object(&out);
    tg_json_out_end_object(&out);
    tg_json_out_begin_array(&out);
    tg_json_out_end_array(&out);
    tg_json_out_null(&out);
    tg_json_out_end_array(&out);
    tg_json_out_key(&out, "b");
    tg_json_out_bool(&out, true);
    tg_json_out_key(&out, "c");
    tg_json_out_raw(&out, TG_STR("{\"r\":1}"));
    tg_json_out_key(&out, "d");
    tg_json_out_text(&out, "x");
    tg_json_out_end_object(&out);
    CU_ASSERT_EQUAL(out.status, 0);
    CU_ASSERT_STRING_EQUAL(buf.data,
                           "{\"a\":[18446744073709551615,-9223372036854775808,{},[],null],"
                           "\"b\":true,\"c\":{\"r\":1},\"d\":\"x\"}");
    tg_buf_free(&buf);
}

static void check_quote(tg_str text, const char *expected)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    CU_ASSERT_EQUAL(tg_json_quote(&buf, text), 0);
    if (strcmp(buf.data, expected) != 0)
        printf("# quoted as %s, expected %s\n", buf.data, expected);
    CU_ASSERT_STRING_EQUAL(buf.data, expected);
    tg_buf_free(&buf);
}

static void test_quote(void)
{
    check_quote(TG_STR(""), "\"\"");
    check_quote(TG_STR("a\"b\\c/d\b\f\n\r\t\x01\x1f\x7f"),
                "\"a\\\"b\\\\c/d\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    check_quote(TG_STR("nul\0nul"), "\"nul\\u0000nul\"");
    check_quote(TG_STR("\xC3\xA9 \xF0\x9F\x98\x80"), "\"\xC3\xA9 \xF0\x9F\x98\x80\"");
    check_quote(TG_STR("a\xFF"), "\"a\xEF\xBF\xBD\"");
    check_quote(TG_STR("\xE2\x82"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
    check_quote(TG_STR("\xED\xA0\x80z"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\"");
}

static void check_f64(double value, const char *expected)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_f64(&out, value);
    CU_ASSERT_STRING_EQUAL(buf.data, expected);
    CU_ASSERT_EQUAL(strtod(buf.data, NULL), value);
    tg_buf_free(&buf);
}

static void test_f64(void)
{
    check_f64(0.1, "0.1");
    check_f64(3, "3");
    check_f64(-0.0, "-0.0");
    check_f64(1.0 / 3, "0.3333333333333333");
    check_f64(5e-324, "4.94065645841247e-324");
    check_f64(1.7976931348623157e308, "1.7976931348623157e+308");
    tg_buf buf;
    tg_buf_init(&buf, 0);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_f64(&out, NAN);
    CU_ASSERT_EQUAL(out.status, -EINVAL);
    CU_ASSERT_EQUAL(buf.len, 0);
    tg_buf_free(&buf);
}

static void test_a_full_buffer_is_reported(void)
{
    tg_buf buf;
    tg_buf_init(&buf, 8);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_begin_array(&out);
    tg_json_out_text(&out, "longer than eight");
    tg_json_out_end_array(&out);
    CU_ASSERT_EQUAL(out.status, -ENOSPC);
    CU_ASSERT_STRING_EQUAL(buf.data, "[");
    tg_buf_free(&buf);
}

static void check_members(tg_str text, const char *expected)
{
    char found[256] = "";
    size_t at = 0, used = 0;
    for (tg_json_member m; tg_json_raw_next(text, &at, &m);)
        used +=
            (size_t)snprintf(found + used, sizeof found - used, "<" TG_STR_FMT "|" TG_STR_FMT ">",
                             TG_STR_ARG(m.key_raw), TG_STR_ARG(m.value_raw));
    if (strcmp(found, expected) != 0)
        printf("# found %s, expected %s\n", found, expected);
    CU_ASSERT_STRING_EQUAL(found, expected);
}

static void test_raw_members(void)
{
    check_members(TG_STR("{}"), "");
    check_members(
        TG_STR(" { \"a\" : 1 , \"b\":[1, {\"]\":\"}\"}] ,\"c\\\"\":\"x\\\\\",\"d\":true}"),
        "<\"a\"|1><\"b\"|[1, {\"]\":\"}\"}]><\"c\\\"\"|\"x\\\\\"><\"d\"|true>");
    check_members(TG_STR("[1]"), "");
    check_members(TG_STR("{\"a"), "");
    check_members(TG_STR("{\"a\":"), "");
}

static void test_raw_keys(void)
{
    CU_ASSERT_TRUE(tg_json_raw_key_is(TG_STR("\"model\""), "model"));
    CU_ASSERT_TRUE(tg_json_raw_key_is(TG_STR("\"mod\\u0065l\""), "model"));
    CU_ASSERT_TRUE(tg_json_raw_key_is(TG_STR("\"a\\/b\""), "a/b"));
    CU_ASSERT_FALSE(tg_json_raw_key_is(TG_STR("\"mod\\u0065ls\""), "model"));
    CU_ASSERT_FALSE(tg_json_raw_key_is(TG_STR("\"mode\\u0165\""), "model"));
    CU_ASSERT_FALSE(tg_json_raw_key_is(TG_STR("\"mode\\"), "model"));
    CU_ASSERT_FALSE(tg_json_raw_key_is(TG_STR("\"models\""), "model"));
    CU_ASSERT_FALSE(tg_json_raw_key_is(TG_STR("\""), ""));
}

static const tg_test tests[] = {
    {"nesting_and_commas", test_nesting_and_commas},
    {"quote", test_quote},
    {"f64", test_f64},
    {"full_buffer", test_a_full_buffer_is_reported},
    {"raw_members", test_raw_members},
    {"raw_keys", test_raw_keys},
};
TG_TEST_MAIN("libs_json_out", tests)
