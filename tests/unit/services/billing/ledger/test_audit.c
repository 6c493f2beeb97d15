#include "tests/unit/services/billing/ledger/fixture.h"

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static tg_price_book *load(const char *text)
{
    char path[64];
    tg_price_book *book = NULL;
    tg_error err = {""};
    fixture_path(path, ".yaml");
    write_file(path, text);
    if (tg_prices_load(path, &err, &book) < 0)
        printf("# %s\n", err.text);
    unlink(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(book);
    return book;
}

/* The same five attempts under one price file. */
static void post_the_five(fixture *f)
{
    static const struct {
        const char *tenant, *target, *task_type;
        uint64_t input, cache_read, output;
        tg_count_source source;
    } attempts[] = {
        {"acme", "haiku", "chat", 1000, 0, 200, TG_COUNT_REPORTED},
        {"acme", "haiku", "chat", 500, 2000, 100, TG_COUNT_REPORTED},
        {"acme", "gpu", "classification", 300, 0, 10, TG_COUNT_REPORTED},
        {"globex", "haiku", "summarization", 4000, 0, 300, TG_COUNT_ESTIMATED},
        {"globex", "gpu", "classification", 1, 0, 1, TG_COUNT_REPORTED},
    };
    for (unsigned i = 0; i < 5; i++) {
        tg_usage_event e = fixture_event(f, i, attempts[i].tenant, attempts[i].target,
                                         attempts[i].input, attempts[i].output);
        strcpy(e.task_type, attempts[i].task_type);
        e.tokens.cache_read = attempts[i].cache_read;
        e.input_source = attempts[i].source;
        const tg_price *price = tg_price_book_find(f->book, e.target, e.opened_unix_ns);
        e.price_assumed = price->assumed;
        CU_ASSERT_EQUAL(
            tg_price_of(f->book, e.target, e.opened_unix_ns, &e.tokens, &e.cost_picousd), 0);
        CU_ASSERT_EQUAL_FATAL(fixture_post(f, &e), 0);
        CU_ASSERT_EQUAL_FATAL(f->tally.posted, 1);
    }
}

static void expect_line(const fixture_lines *lines, size_t at, const char *tenant,
                        const char *target, uint64_t attempts, tg_picousd cost)
{
    CU_ASSERT_TRUE_FATAL(at < lines->count);
    CU_ASSERT_STRING_EQUAL(lines->items[at].tenant, tenant);
    CU_ASSERT_STRING_EQUAL(lines->items[at].target, target);
    CU_ASSERT_EQUAL(lines->items[at].row.attempts, attempts);
    CU_ASSERT(lines->items[at].row.cost == cost);
}

static void test_two_price_files_two_statements(void)
{
    fixture f;
    fixture_start(
        &f, load("version: \"first\"\n"
                 "prices:\n"
                 "  - {target: haiku, effective: 2024-01-01,\n"
                 "     input_usd_per_million: \"0.25\", output_usd_per_million: \"1.25\",\n"
                 "     cache_read_usd_per_million: \"0.03\"}\n"
                 "  - {target: gpu, effective: 2024-01-01, assumed: true,\n"
                 "     input_usd_per_million: \"0.05\", output_usd_per_million: \"0.05\"}\n"));
    post_the_five(&f);
    /* acme, gpu:   300 × 50,000 + 10 × 50,000                            =    15,500,000
     * acme, haiku: (1000 + 500) × 250,000 + 2000 × 30,000 + 300 × 1,250,000
     *              = 375,000,000 + 60,000,000 + 375,000,000              =   810,000,000
     * globex, gpu: 50,000 + 50,000                                       =       100,000
     * globex, haiku: 4000 × 250,000 + 300 × 1,250,000                    = 1,375,000,000 */
    fixture_lines all = fixture_statement(&f, "");
    CU_ASSERT_EQUAL(all.count, 4);
    expect_line(&all, 0, "acme", "gpu", 1, 15500000);
    expect_line(&all, 1, "acme", "haiku", 2, 810000000);
    expect_line(&all, 2, "globex", "gpu", 1, 100000);
    expect_line(&all, 3, "globex", "haiku", 1, 1375000000);
    CU_ASSERT_TRUE(all.items[0].row.price_assumed);
    CU_ASSERT_FALSE(all.items[1].row.price_assumed);
    CU_ASSERT_EQUAL(all.items[1].row.input, 1500);
    CU_ASSERT_EQUAL(all.items[1].row.cache_read, 2000);
    CU_ASSERT_EQUAL(all.items[1].row.output, 300);
    CU_ASSERT_EQUAL(all.items[1].row.estimated_attempts, 0);
    CU_ASSERT_EQUAL(all.items[3].row.estimated_attempts, 1);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);

    fixture_start(
        &f, load("version: \"second\"\n"
                 "prices:\n"
                 "  - {target: haiku, effective: 2024-01-01,\n"
                 "     input_usd_per_million: \"0.80\", output_usd_per_million: \"4\",\n"
                 "     per_request_usd: \"0.000001\"}\n"
                 "  - {target: gpu, effective: 2024-01-01,\n"
                 "     input_usd_per_million: \"0.208\", output_usd_per_million: \"0.208\"}\n"));
    post_the_five(&f);
    /* Cached input costs as input here, and each haiku request 1,000,000 more.
     * acme, gpu:   310 × 208,000                                         =    64,480,000
     * acme, haiku: 3500 × 800,000 + 300 × 4,000,000 + 2 × 1,000,000
     *              = 2,800,000,000 + 1,200,000,000 + 2,000,000           = 4,002,000,000
     * globex, gpu: 2 × 208,000                                           =       416,000
     * globex, haiku: 4000 × 800,000 + 300 × 4,000,000 + 1,000,000        = 4,401,000,000 */
    all = fixture_statement(&f, "");
    expect_line(&all, 0, "acme", "gpu", 1, 64480000);
    expect_line(&all, 1, "acme", "haiku", 2, 4002000000);
    expect_line(&all, 2, "globex", "gpu", 1, 416000);
    expect_line(&all, 3, "globex", "haiku", 1, 4401000000);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

static void test_statement_of_one_tenant_and_time(void)
{
    fixture f;
    fixture_start(&f, fixture_book("one"));
    for (unsigned i = 0; i < 10; i++) { /* opened one nanosecond after the other */
        tg_usage_event e = fixture_event(&f, i, i % 2 ? "acme" : "globex", "haiku", 1, 0);
        CU_ASSERT_EQUAL_FATAL(fixture_post(&f, &e), 0);
    }
    fixture_lines lines = fixture_statement(&f, "acme");
    CU_ASSERT_EQUAL(lines.count, 1);
    expect_line(&lines, 0, "acme", "haiku", 5, 5 * 250000);
    CU_ASSERT_EQUAL(fixture_statement(&f, "acm").count, 0);
    uint64_t base = sample_event(0, 1).opened_unix_ns;
    tg_statement_filter filter = {"", base + 2, base + 5}; /* 2, 3, 4 */
    lines.count = 0;
    CU_ASSERT_EQUAL(f.store->ops->statement(f.store, &filter, fixture_see_line, &lines), 0);
    CU_ASSERT_EQUAL(lines.count, 2);
    expect_line(&lines, 0, "acme", "haiku", 1, 250000);
    expect_line(&lines, 1, "globex", "haiku", 2, 500000);
    fixture_end(&f);
}

static void test_compare(void)
{
    fixture f;
    tg_comparison c;
    tg_error err = {""};
    fixture_start(&f, fixture_book("one"));
    for (unsigned i = 0; i < 4; i++) {
        tg_usage_event e = fixture_event(&f, i, i < 3 ? "acme" : "globex", "haiku", 1000, 100);
        CU_ASSERT_EQUAL_FATAL(fixture_post(&f, &e), 0);
    }
    /* On mini: 1000 × 150,000 + 100 × 600,000 = 210,000,000 each. */
    CU_ASSERT_EQUAL(tg_audit_compare(f.store, f.book, "mini", "acme", &err, &c), 0);
    CU_ASSERT_EQUAL(c.attempts, 3);
    CU_ASSERT(c.actual == 3 * 375000000 && c.there == 3 * 210000000);
    CU_ASSERT_EQUAL(tg_audit_compare(f.store, f.book, "mini", "", &err, &c), 0);
    CU_ASSERT_EQUAL(c.attempts, 4);
    CU_ASSERT_EQUAL(tg_audit_compare(f.store, f.book, "nowhere", "", &err, &c), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "nowhere"));
    tg_price late = {.effective_unix_ns = UINT64_C(1900000000000000000), .input = 1};
    CU_ASSERT_EQUAL(tg_price_book_add(f.book, "late", &late), 0);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_audit_compare(f.store, f.book, "late", "", &err, &c), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "had no price"));
    fixture_end(&f);
}

/* Each kind of damage is found. */
static void test_verify_finds(void)
{
    static const struct {
        const char *damage;
        uint64_t problems;
    } cases[] = {
        {"UPDATE postings SET amount_picousd = amount_picousd + 1 WHERE transaction_id = 2 AND "
         "line = 0",
         3}, /* unbalanced; not the cost; the account's balance */
        {"DELETE FROM postings WHERE transaction_id = 2 AND line = 1", 3},
        {"UPDATE events SET cost_picousd = cost_picousd - 1 WHERE id = 1", 2}, /* posting; price */
        {"UPDATE events SET output_tokens = output_tokens + 1 WHERE id = 1", 1},
        {"UPDATE events SET tenant = 'globex' WHERE id = 1", 1},
        {"DELETE FROM transactions WHERE id = 3", 3}, /* counts; postings; the event */
        {"DELETE FROM events WHERE id = 3", 2},
        {"UPDATE accounts SET balance_high = 1 WHERE kind = 'revenue'", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        fixture_start(&f, fixture_book("one"));
        for (unsigned n = 0; n < 3; n++) {
            tg_usage_event e = fixture_event(&f, n, "acme", "haiku", 10, 10);
            CU_ASSERT_EQUAL_FATAL(fixture_post(&f, &e), 0);
        }
        CU_ASSERT_EQUAL(fixture_problems(&f), 0);
        fixture_sql(&f, cases[i].damage);
        uint64_t found = fixture_problems(&f);
        if (found != cases[i].problems)
            printf("# %s: %d problems\n", cases[i].damage, (int)found);
        CU_ASSERT_EQUAL(found, cases[i].problems);
        fixture_end(&f);
    }
}

static const tg_test tests[] = {
    {"two_price_files_two_statements", test_two_price_files_two_statements},
    {"statement_of_one_tenant_and_time", test_statement_of_one_tenant_and_time},
    {"compare", test_compare},
    {"verify_finds", test_verify_finds},
};
TG_TEST_MAIN("services_billing_ledger_audit", tests)
