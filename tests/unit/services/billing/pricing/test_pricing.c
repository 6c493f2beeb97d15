#include "services/billing/pricing/pricing.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static void test_agrees_to_the_pico_dollar(void)
{
    tg_price_book *book = tg_price_book_new("book");
    tg_price before = {.input = 250000, .output = 1250000};
    tg_price after = {.effective_unix_ns = 1000, .input = 200000, .output = 1000000};
    tg_tokens tokens = {.input = 100, .output = 10};
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_price_book_add(book, "haiku", &before), 0);
    CU_ASSERT_EQUAL(tg_price_book_add(book, "haiku", &after), 0);
    /* 100 × 250,000 + 10 × 1,250,000 = 37,500,000 until the change; 30,000,000 from it on. */
    CU_ASSERT_EQUAL(tg_pricing_check(book, "haiku", 999, &tokens, 37500000, &err), 0);
    CU_ASSERT_EQUAL(tg_pricing_check(book, "haiku", 1000, &tokens, 30000000, &err), 0);
    CU_ASSERT_EQUAL(tg_pricing_check(book, "haiku", 1000, &tokens, 37500000, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "costs 37500000"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "says 30000000"));
    CU_ASSERT_EQUAL(tg_pricing_check(book, "haiku", 999, &tokens, 37500001, NULL), -EINVAL);
    tg_price_book_free(book);
}

static void test_no_price(void)
{
    tg_price_book *book = tg_price_book_new("book");
    tg_price late = {.effective_unix_ns = UINT64_C(1700000000000000000), .input = INT64_MAX};
    tg_tokens tokens = {.input = 2};
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_price_book_add(book, "late", &late), 0);
    CU_ASSERT_EQUAL(tg_pricing_check(book, "nowhere", 1, &tokens, 0, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no price for target nowhere"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_pricing_check(book, "late", 1000000000, &tokens, 0, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "at 1970-01-01T00:00:01"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_pricing_check(book, "late", UINT64_MAX / 2, &tokens, 0, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "exceeds"));
    tg_price_book_free(book);
}

static const tg_test tests[] = {
    {"agrees_to_the_pico_dollar", test_agrees_to_the_pico_dollar},
    {"no_price", test_no_price},
};
TG_TEST_MAIN("services_billing_pricing_pricing", tests)
