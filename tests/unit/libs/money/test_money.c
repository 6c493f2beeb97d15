#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "libs/money/money.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static void expect_text(tg_picousd_sum sum, const char *expected)
{
    char text[TG_MONEY_TEXT];
    tg_money_format_usd(sum, text);
    if (strcmp(text, expected) != 0)
        printf("# got %s, wanted %s\n", text, expected);
    CU_ASSERT_STRING_EQUAL(text, expected);
}

static void expect_parsed(const char *text, int rc, tg_picousd expected)
{
    tg_picousd value = 77;
    int got = tg_money_parse_usd(tg_str_of(text), &value);
    if (got != rc || value != (rc == 0 ? expected : 77))
        printf("# %s gave %d, %lld\n", text, got, (long long)value);
    CU_ASSERT_EQUAL(got, rc);
    CU_ASSERT_EQUAL(value, rc == 0 ? expected : 77);
}

static void test_parse(void)
{
    expect_parsed("0.15", 0, 150000000000);
    expect_parsed("15", 0, 15 * TG_PICOUSD_PER_USD);
    expect_parsed("0.000000000001", 0, 1);
    expect_parsed("-2.5", 0, -2500000000000);
    expect_parsed("9223372.036854775807", 0, INT64_MAX);
    expect_parsed("-9223372.036854775808", 0, INT64_MIN);
    expect_parsed("9223372.036854775808", -ERANGE, 0);
    expect_parsed("99999999999999999999999999999999999999999", -ERANGE, 0);
    static const char *const refused[] = {
        "",      "-",   ".",    ".5", "5.", "1e3", "0.0000000000001",
        "1.2.3", "0x1", " 1.0", "1 ", "+1", "1,5", "--1"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        expect_parsed(refused[i], -EINVAL, 0);
}

static void test_format(void)
{
    expect_text(0, "$0.00");
    expect_text(1, "$0.000000000001");
    expect_text(12340000, "$0.00001234");
    expect_text(150000000000, "$0.15");
    expect_text(100000000000, "$0.10");
    expect_text(TG_PICOUSD_PER_USD, "$1.00");
    expect_text(-(tg_picousd_sum)TG_PICOUSD_PER_USD * 3 / 2, "-$1.50");
    expect_text((tg_picousd_sum)1000000000 * TG_PICOUSD_PER_USD + 1, "$1000000000.000000000001");
    tg_picousd_sum most = (tg_picousd_sum)(~(unsigned __int128)0 >> 1);
    expect_text(most, "$170141183460469231731687303.715884105727");
    expect_text(-most - 1, "-$170141183460469231731687303.715884105728");
}

static void test_text_returns_to_the_same_number(void)
{
    uint64_t state = tg_test_seed();
    for (size_t i = 0; i < tg_test_rounds(20000); i++) {
        tg_picousd value = (tg_picousd)(tg_random_next(&state) >> (tg_random_next(&state) % 64));
        if (tg_random_next(&state) & 1)
            value = (tg_picousd) - (uint64_t)value;
        char text[TG_MONEY_TEXT];
        char bare[TG_MONEY_TEXT];
        tg_money_format_usd(value, text);
        const char *dollar = strchr(text, '$');
        snprintf(bare, sizeof bare, "%s%s", value < 0 ? "-" : "", dollar ? dollar + 1 : "");
        tg_picousd back = 0;
        CU_ASSERT_EQUAL_FATAL(tg_money_parse_usd(tg_str_of(bare), &back), 0);
        CU_ASSERT_EQUAL_FATAL(back, value);
    }
}

static void test_split_and_join(void)
{
    CU_ASSERT_EQUAL(tg_money_split(-1).high, -1);
    CU_ASSERT_EQUAL(tg_money_split(-1).low, UINT64_MAX);
    /* $10^9 is 10^21 pico-dollars = 54 × 2^64 + 3875820019684212736. */
    tg_money_words words = tg_money_split((tg_picousd_sum)1000000000 * TG_PICOUSD_PER_USD);
    CU_ASSERT_EQUAL(words.high, 54);
    CU_ASSERT_EQUAL(words.low, UINT64_C(3875820019684212736));
    uint64_t state = tg_test_seed();
    for (size_t i = 0; i < tg_test_rounds(20000); i++) {
        tg_money_words any = {(int64_t)tg_random_next(&state), tg_random_next(&state)};
        tg_money_words again = tg_money_split(tg_money_join(any));
        CU_ASSERT_FATAL(again.high == any.high && again.low == any.low);
    }
}

/* A million random postings, kept as the ledger keeps them (joined, added, split again each time),
 * next to a sum in base 10^6 digits that shares no arithmetic with it. Undoing them must give zero.
 */
static void test_no_drift(void)
{
    enum { POSTINGS = 1000000, BASE = 1000000 };
    uint64_t start = tg_test_seed(), state = start;
    tg_money_words balance = {0, 0};
    int64_t digits[8] = {0};
    for (int i = 0; i < POSTINGS; i++) {
        tg_picousd amount = (tg_picousd)(tg_random_next(&state) >> 1);
        balance = tg_money_split(tg_money_join(balance) + amount);
        int64_t rest = amount;
        for (int d = 0; d < 8; d++, rest /= BASE)
            digits[d] += rest % BASE;
    }
    tg_picousd_sum expected = 0;
    for (int d = 7; d >= 0; d--)
        expected = expected * BASE + digits[d];
    CU_ASSERT_TRUE(tg_money_join(balance) == expected);
    CU_ASSERT_TRUE(balance.high > 0); /* it did leave the first word */
    state = start;
    for (int i = 0; i < POSTINGS; i++) {
        tg_picousd amount = (tg_picousd)(tg_random_next(&state) >> 1);
        balance = tg_money_split(tg_money_join(balance) - amount);
    }
    CU_ASSERT_TRUE(tg_money_join(balance) == 0);
}

/* Dollars per million tokens to pico-dollars a token: $1 per million is 10^6. */
static tg_price haiku(uint64_t from_unix_ns)
{
    return (tg_price){.effective_unix_ns = from_unix_ns,
                      .input = 250000,          /* $0.25 */
                      .cache_read = 30000,      /* $0.03 */
                      .cache_write_5m = 300000, /* $0.30 */
                      .cache_write_1h = 500000, /* $0.50 */
                      .output = 1250000};       /* $1.25 */
}

static void test_prices_by_hand(void)
{
    tg_price_book *book = tg_price_book_new("2024-11");
    CU_ASSERT_PTR_NOT_NULL_FATAL(book);
    CU_ASSERT_STRING_EQUAL(tg_price_book_version(book), "2024-11");
    tg_price price = haiku(0);
    CU_ASSERT_EQUAL(tg_price_book_add(book, "haiku", &price), 0);
    /* 1000 × 250,000 + 200 × 30,000 + 50 × 300,000 + 20 × 500,000 + 300 × 1,250,000
     * = 250,000,000 + 6,000,000 + 15,000,000 + 10,000,000 + 375,000,000 = 656,000,000: $0.000656.
     * The 120 reasoning tokens are among the 300 and cost nothing more. */
    tg_tokens tokens = {1000, 200, 50, 20, 300, 120};
    tg_picousd cost = 0;
    CU_ASSERT_EQUAL(tg_price_of(book, "haiku", 5, &tokens, &cost), 0);
    CU_ASSERT_EQUAL(cost, 656000000);
    expect_text(cost, "$0.000656");

    tg_price flat = {.per_request = 5000000, .input = 1, .assumed = true};
    CU_ASSERT_EQUAL(tg_price_book_add(book, "flat", &flat), 0);
    CU_ASSERT_EQUAL(tg_price_of(book, "flat", 0, &tokens, &cost), 0);
    CU_ASSERT_EQUAL(cost, 5001000);
    CU_ASSERT_TRUE(tg_price_book_find(book, "flat", 0)->assumed);
    tg_price_book_free(book);
}

static void test_effective_dates(void)
{
    tg_price_book *book = tg_price_book_new("dated");
    uint64_t january = 0, june = 0;
    CU_ASSERT_EQUAL(tg_clock_parse("2025-01-01", &january), 0);
    CU_ASSERT_EQUAL(tg_clock_parse("2025-06-01", &june), 0);
    tg_price old_price = haiku(january), new_price = haiku(june);
    new_price.input = 100000;
    /* Added out of order on purpose. */
    CU_ASSERT_EQUAL(tg_price_book_add(book, "haiku", &new_price), 0);
    CU_ASSERT_EQUAL(tg_price_book_add(book, "haiku", &old_price), 0);
    CU_ASSERT_EQUAL(tg_price_book_add(book, "haiku", &old_price), -EEXIST);
    CU_ASSERT_PTR_NULL(tg_price_book_find(book, "haiku", january - 1));
    CU_ASSERT_EQUAL(tg_price_book_find(book, "haiku", january)->input, 250000);
    CU_ASSERT_EQUAL(tg_price_book_find(book, "haiku", june - 1)->input, 250000);
    CU_ASSERT_EQUAL(tg_price_book_find(book, "haiku", june)->input, 100000);
    CU_ASSERT_EQUAL(tg_price_book_find(book, "haiku", UINT64_MAX)->input, 100000);
    CU_ASSERT_PTR_NULL(tg_price_book_find(book, "sonnet", june));
    tg_tokens tokens = {.input = 1};
    tg_picousd cost = 77;
    CU_ASSERT_EQUAL(tg_price_of(book, "haiku", january - 1, &tokens, &cost), -ENOENT);
    CU_ASSERT_EQUAL(tg_price_of(book, "sonnet", june, &tokens, &cost), -ENOENT);
    CU_ASSERT_EQUAL(cost, 77);
    tg_price_book_free(book);
}

static void test_bounds(void)
{
    tg_price_book *book = tg_price_book_new("bounds");
    tg_price negative = {.output = -1};
    CU_ASSERT_EQUAL(tg_price_book_add(book, "negative", &negative), -EINVAL);
    CU_ASSERT_PTR_NULL(tg_price_book_find(book, "negative", 1));
    tg_price one = {.input = 1, .output = 1};
    CU_ASSERT_EQUAL(tg_price_book_add(book, "one", &one), 0);
    tg_picousd cost = 77;
    tg_tokens tokens = {.input = INT64_MAX};
    CU_ASSERT_EQUAL(tg_price_of(book, "one", 1, &tokens, &cost), 0);
    CU_ASSERT_EQUAL(cost, INT64_MAX);
    tokens.output = 1;
    CU_ASSERT_EQUAL(tg_price_of(book, "one", 1, &tokens, &cost), -ERANGE);
    CU_ASSERT_EQUAL(cost, INT64_MAX);
    tg_price most = {.input = INT64_MAX, .output = INT64_MAX, .cache_read = INT64_MAX};
    CU_ASSERT_EQUAL(tg_price_book_add(book, "most", &most), 0);
    tokens = (tg_tokens){.input = UINT64_MAX, .output = UINT64_MAX, .cache_read = UINT64_MAX};
    CU_ASSERT_EQUAL(tg_price_of(book, "most", 1, &tokens, &cost), -ERANGE);
    tg_price_book_free(book);
    CU_ASSERT_PTR_NULL(tg_price_book_free(NULL));
}

static const tg_test tests[] = {
    {"parse", test_parse},
    {"format", test_format},
    {"text_returns_to_the_same_number", test_text_returns_to_the_same_number},
    {"split_and_join", test_split_and_join},
    {"no_drift", test_no_drift},
    {"prices_by_hand", test_prices_by_hand},
    {"effective_dates", test_effective_dates},
    {"bounds", test_bounds},
};
TG_TEST_MAIN("libs_money_money", tests)
