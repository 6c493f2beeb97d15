/* The same usage under two price files: two different statements, each reckoned by hand. */
#include "tests/unit/services/billing/ledger/fixture.h"

static const char one_file[] =
    "version: one\nprices:\n"
    "  - {target: haiku, effective: 2024-11-01, input_usd_per_million: \"0.25\","
    " output_usd_per_million: \"1.25\", cache_read_usd_per_million: \"0.03\"}\n"
    "  - {target: mini, effective: 2024-11-01, input_usd_per_million: \"0.15\","
    " output_usd_per_million: \"0.60\"}\n";
/* Dearer, by the request too, and for mini dearer still from a certain second on. */
static const char other_file[] =
    "version: other\nprices:\n"
    "  - {target: haiku, effective: 2024-11-01, input_usd_per_million: \"3\","
    " output_usd_per_million: \"15\", per_request_usd: \"0.0001\"}\n"
    "  - {target: mini, effective: 2024-11-01, input_usd_per_million: \"0.15\","
    " output_usd_per_million: \"0.60\"}\n"
    "  - {target: mini, effective: \"2026-09-21T14:13:20Z\", input_usd_per_million: \"10\","
    " output_usd_per_million: \"20\"}\n";

static tg_price_book *load(const char *text)
{
    char path[64];
    tg_price_book *book = NULL;
    tg_error err = {""};
    fixture_path(path, ".yaml");
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
    if (tg_prices_load(path, &err, &book) < 0)
        printf("# %s\n", err.text);
    unlink(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(book);
    return book;
}

/* 1,234 input, 567 output and 8,000 cached tokens on haiku; 100 and 10 on mini, before and from a
 * second on. */
static void post_usage(fixture *f)
{
    tg_usage_event e = fixture_event(f, 1, "acme", "haiku", 1234, 567);
    e.tokens.cache_read = 8000;
    CU_ASSERT_EQUAL(tg_price_of(f->book, "haiku", e.opened_unix_ns, &e.tokens, &e.cost_picousd), 0);
    CU_ASSERT_EQUAL(fixture_post(f, &e), 0);
    for (unsigned i = 0; i < 2; i++) {
        e = fixture_event(f, 2 + i, "acme", "mini", 100, 10);
        e.opened_unix_ns = UINT64_C(1790000000) * 1000000000 - 1 + i; /* 2026-09-21T14:13:20Z */
        e.closed_unix_ns = e.opened_unix_ns + e.total_ns;
        CU_ASSERT_EQUAL(tg_price_of(f->book, "mini", e.opened_unix_ns, &e.tokens, &e.cost_picousd),
                        0);
        CU_ASSERT_EQUAL(fixture_post(f, &e), 0);
        CU_ASSERT_EQUAL(f->tally.posted, 1);
    }
}

static void expect(const char *file, tg_picousd haiku, tg_picousd mini)
{
    fixture f;
    fixture_start(&f, load(file));
    post_usage(&f);
    fixture_lines lines = fixture_statement(&f, "acme");
    CU_ASSERT_EQUAL_FATAL(lines.count, 2);
    CU_ASSERT_STRING_EQUAL(lines.items[0].target, "haiku");
    if (lines.items[0].row.cost != haiku || lines.items[1].row.cost != mini)
        printf("# %lld and %lld, not %lld and %lld\n", (long long)lines.items[0].row.cost,
               (long long)lines.items[1].row.cost, (long long)haiku, (long long)mini);
    CU_ASSERT_TRUE(lines.items[0].row.cost == haiku);
    CU_ASSERT_TRUE(lines.items[0].row.attempts == 1 && lines.items[0].row.input == 1234 &&
                   lines.items[0].row.cache_read == 8000 && lines.items[0].row.output == 567);
    CU_ASSERT_STRING_EQUAL(lines.items[1].target, "mini");
    CU_ASSERT_TRUE(lines.items[1].row.cost == mini);
    CU_ASSERT_TRUE(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "acme") == haiku + mini);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

static void test_two_price_files_two_statements(void)
{
    /* $0.25/M is 250,000 pico-dollars a token: 1,234 × 250,000 = 308,500,000; 567 × 1,250,000 =
     * 708,750,000; 8,000 × 30,000 = 240,000,000; together $0.00125725. Mini, twice: 100 × 150,000 +
     * 10 × 600,000 = 21,000,000. */
    expect(one_file, 1257250000, 42000000);
    /* 1,234 × 3,000,000 = 3,702,000,000; 567 × 15,000,000 = 8,505,000,000; cached as input, 8,000 ×
     * 3,000,000 = 24,000,000,000; a request 100,000,000; together $0.036307. Mini: 21,000,000
     * before, and then 100 × 10,000,000 + 10 × 20,000,000 = 1,200,000,000. */
    expect(other_file, 36307000000, 1221000000);
}

static const tg_test tests[] = {
    {"two_price_files_two_statements", test_two_price_files_two_statements}};
TG_TEST_MAIN("services_billing_ledger_statement", tests)
