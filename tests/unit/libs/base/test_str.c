#include "libs/base/str.h"
#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static void test_compare_and_trim(void)
{
    CU_ASSERT_TRUE(tg_str_eq((tg_str){NULL, 0}, TG_STR("")));
    CU_ASSERT_FALSE(tg_str_eq(TG_STR("a"), TG_STR("ab")));
    CU_ASSERT_TRUE(tg_str_is_nocase(TG_STR("X-Task-Type"), "x-task-type"));
    CU_ASSERT_FALSE(tg_str_is_nocase(TG_STR("X-Task"), "x-task-type"));
    CU_ASSERT_TRUE(tg_str_starts(TG_STR("abc"), "ab"));
    CU_ASSERT_FALSE(tg_str_starts(TG_STR("a"), "ab"));
    CU_ASSERT_TRUE(tg_str_is(tg_str_trim(TG_STR(" \t a b\r\n")), "a b"));
    CU_ASSERT_EQUAL(tg_str_trim(TG_STR(" \n ")).len, 0);
    CU_ASSERT_EQUAL(tg_str_of(NULL).len, 0);
}

static void test_u64(void)
{
    uint64_t n = 7;
    CU_ASSERT_EQUAL(tg_str_u64(TG_STR("18446744073709551615"), &n), 0);
    CU_ASSERT_EQUAL(n, UINT64_MAX);
    CU_ASSERT_EQUAL(tg_str_u64(TG_STR("18446744073709551616"), &n), -ERANGE);
    CU_ASSERT_EQUAL(tg_str_u64(TG_STR("184467440737095516150"), &n), -ERANGE);
    CU_ASSERT_EQUAL(tg_str_u64(TG_STR("000"), &n), 0);
    CU_ASSERT_EQUAL(n, 0);
    const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1e3", "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(tg_str_u64(tg_str_of(bad[i]), &n), -EINVAL);
    CU_ASSERT_EQUAL(n, 0); /* untouched by the failures */
}

static void test_copy_terminates(void)
{
    char to[4];
    CU_ASSERT_TRUE(tg_str_copy(to, sizeof to, TG_STR("abc")));
    CU_ASSERT_STRING_EQUAL(to, "abc");
    CU_ASSERT_FALSE(tg_str_copy(to, sizeof to, TG_STR("abcd")));
    CU_ASSERT_STRING_EQUAL(to, "abc");
    CU_ASSERT_TRUE(tg_str_copy(to, sizeof to, (tg_str){NULL, 0}));
    CU_ASSERT_STRING_EQUAL(to, "");
}

/* What RFC 3629 allows, said another way: decode, then encode again the shortest way. */
static bool decodes(const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        const unsigned char c = p[i];
        const size_t more = c < 0x80       ? 0
                            : c >> 5 == 6  ? 1
                            : c >> 4 == 14 ? 2
                            : c >> 3 == 30 ? 3
                                           : 9;
        if (more == 9 || i + more >= len)
            return false;
        uint32_t code = more == 0 ? c : c & (0x3fu >> more);
        for (size_t k = 1; k <= more; k++) {
            if (p[i + k] >> 6 != 2)
                return false;
            code = code << 6 | (p[i + k] & 0x3f);
        }
        const size_t shortest = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        if (shortest != more || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
            return false;
        i += more + 1;
    }
    return true;
}

static void test_utf8_of_every_two_bytes_and_many_four(void)
{
    unsigned char four[4];
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        four[0] = (unsigned char)(pair >> 8);
        four[1] = (unsigned char)pair;
        CU_ASSERT_EQUAL_FATAL(tg_utf8_valid((const char *)four, 2), decodes(four, 2));
    }
    uint64_t state = tg_test_seed();
    static const unsigned char likely[] = {0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5,
                                           0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 'a'};
    for (size_t round = 0; round < tg_test_rounds(100000); round++) {
        for (size_t i = 0; i < 4; i++)
            four[i] = likely[tg_random_next(&state) % sizeof likely];
        for (size_t len = 0; len <= 4; len++)
            CU_ASSERT_EQUAL_FATAL(tg_utf8_valid((const char *)four, len), decodes(four, len));
    }
}

static void test_utf8_whole(void)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"; /* 1, 2, 3 and 4 bytes */
    static const size_t whole[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};
    for (size_t len = 0; len <= 10; len++)
        CU_ASSERT_EQUAL(tg_utf8_whole(text, len), whole[len]);
}

static void test_nearest(void)
{
    const char *const names[] = {"policy", "prices", "tenants"};
    CU_ASSERT_STRING_EQUAL(tg_str_nearest("polcy", names, 3), "policy");
    CU_ASSERT_STRING_EQUAL(tg_str_nearest("price", names, 3), "prices");
    CU_ASSERT_PTR_NULL(tg_str_nearest("zzzzzz", names, 3));
    CU_ASSERT_EQUAL(tg_str_distance("kitten", "sitting"), 3);
    char longer[100];
    memset(longer, 'a', sizeof longer - 1);
    longer[99] = '\0';
    CU_ASSERT(tg_str_distance(longer, longer) >= 64); /* far away, and no overrun */
}

static void test_constant_time_equality_is_equality(void)
{
    unsigned char a[32] = {0}, b[32] = {0};
    CU_ASSERT_TRUE(tg_equal_constant_time(a, b, 32));
    for (unsigned bit = 0; bit < 256; bit++) {
        b[bit / 8] ^= (unsigned char)(1u << bit % 8);
        CU_ASSERT_FALSE(tg_equal_constant_time(a, b, 32));
        b[bit / 8] = 0;
    }
}

static const tg_test tests[] = {
    {"compare_and_trim", test_compare_and_trim},
    {"u64", test_u64},
    {"copy_terminates", test_copy_terminates},
    {"utf8_of_every_two_bytes_and_many_four", test_utf8_of_every_two_bytes_and_many_four},
    {"utf8_whole", test_utf8_whole},
    {"nearest", test_nearest},
    {"constant_time_equality_is_equality", test_constant_time_equality_is_equality},
};
TG_TEST_MAIN("libs_base_str", tests)
