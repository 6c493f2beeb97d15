#include "tests/unit/services/billing/ledger/fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void test_posts_a_double_entry(void)
{
    fixture f;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = fixture_event(&f, 1, "acme", "haiku", 1000, 100);
    /* 1000 × 250,000 + 100 × 1,250,000 = 375,000,000: $0.000375 */
    CU_ASSERT_EQUAL(e.cost_picousd, 375000000);
    CU_ASSERT_EQUAL_FATAL(fixture_post(&f, &e), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    CU_ASSERT(f.tally.cost == 375000000);
    tg_store_counts counts = fixture_counts(&f);
    CU_ASSERT_EQUAL(counts.events, 1);
    CU_ASSERT_EQUAL(counts.transactions, 1);
    CU_ASSERT_EQUAL(counts.postings, 2);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "acme") == 375000000);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_REVENUE, "haiku") == -375000000);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

static void test_duplicates_are_counted_not_posted(void)
{
    fixture f;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = fixture_event(&f, 1, "acme", "haiku", 1000, 100);
    CU_ASSERT_EQUAL(fixture_post(&f, &e), 0);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(fixture_post(&f, &e), 0);
        CU_ASSERT_EQUAL(f.tally.posted, 0);
        CU_ASSERT_EQUAL(f.tally.duplicates, 1);
    }
    /* A copy that tells another story (a recovered spool, a price that changed) is still a copy. */
    tg_usage_event other = e;
    other.outcome = TG_OUTCOME_ABORTED;
    other.cost_picousd++;
    CU_ASSERT_EQUAL(fixture_post(&f, &other), 0);
    CU_ASSERT_EQUAL(f.tally.duplicates, 1);
    CU_ASSERT_EQUAL(f.tally.quarantined, 0);
    other = e;
    other.attempt = 2; /* another attempt of the request is another event */
    CU_ASSERT_EQUAL(fixture_post(&f, &other), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    tg_store_counts counts = fixture_counts(&f);
    CU_ASSERT_EQUAL(counts.transactions, 2);
    CU_ASSERT_EQUAL(counts.duplicates, 4);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "acme") == 750000000);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

static void expect_quarantined(fixture *f, int rc, const char *reason)
{
    CU_ASSERT_EQUAL(rc, 0);
    CU_ASSERT_EQUAL(f->tally.quarantined, 1);
    CU_ASSERT_EQUAL(f->tally.posted, 0);
    if (!strstr(f->reason.text, reason))
        printf("# wanted '%s', got '%s'\n", reason, f->reason.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(f->reason.text, reason));
}

static void test_quarantine(void)
{
    fixture f;
    int64_t next = 0;
    fixture_start(&f, fixture_book("one"));
    expect_quarantined(&f, fixture_post_bytes(&f, TG_STR("\xff\xff\xffnonsense")),
                       "no tollgate.v1.UsageEvent");
    expect_quarantined(&f, fixture_post_bytes(&f, TG_STR("")), "0 bytes");
    tg_usage_event good = fixture_event(&f, 1, "acme", "haiku", 1000, 100), e = good;
    e.cost_picousd++;
    expect_quarantined(&f, fixture_post(&f, &e), "costs 375000001");
    e = good;
    strcpy(e.target, "nowhere");
    expect_quarantined(&f, fixture_post(&f, &e), "no price for target nowhere");
    e = good;
    strcpy(e.price_book, "of-another-house");
    expect_quarantined(&f, fixture_post(&f, &e), "never loaded");
    CU_ASSERT_EQUAL(fixture_counts(&f).quarantined, 5);
    CU_ASSERT_EQUAL(fixture_counts(&f).transactions, 0);
    /* The offset went on all the same, and so does posting. */
    CU_ASSERT_EQUAL(f.store->ops->offset_get(f.store, TOPIC, 0, &next), 0);
    CU_ASSERT_EQUAL(next, 5);
    CU_ASSERT_EQUAL(fixture_post(&f, &good), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

static void test_quarantine_is_tried_again_when_prices_change(void)
{
    fixture f;
    fixture_start(&f, fixture_book("old"));
    /* The router has the new book already: sonnet, at $3 a million. */
    tg_price_book *newer = fixture_book("new");
    tg_price sonnet = {.input = 3000000};
    CU_ASSERT_EQUAL(tg_price_book_add(newer, "sonnet", &sonnet), 0);
    tg_usage_event e = fixture_event(&f, 1, "acme", "haiku", 10, 0);
    strcpy(e.target, "sonnet");
    strcpy(e.price_book, "new");
    e.cost_picousd = 30000000;
    expect_quarantined(&f, fixture_post(&f, &e), "never loaded");
    expect_quarantined(&f, fixture_post(&f, &e), "never loaded"); /* sent twice */
    tg_usage_event wrong = e;
    wrong.attempt = 2;
    wrong.cost_picousd = 1;
    expect_quarantined(&f, fixture_post(&f, &wrong), "never loaded");
    CU_ASSERT_EQUAL(tg_ledger_set_prices(f.ledger, newer, 2, &f.tally), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    CU_ASSERT_EQUAL(f.tally.duplicates, 1);
    CU_ASSERT_EQUAL(f.tally.quarantined, 1);
    CU_ASSERT_EQUAL(fixture_counts(&f).quarantined, 1);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "acme") == 30000000);
    /* Events under way that were stamped with the old version still agree. */
    tg_usage_event late = fixture_event(&f, 2, "acme", "haiku", 1000, 100);
    CU_ASSERT_STRING_EQUAL(late.price_book, "old");
    CU_ASSERT_EQUAL(fixture_post(&f, &late), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    tg_price_book_free(f.book);
    f.book = newer;
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

static void test_an_unlisted_tenant_is_charged(void)
{
    fixture f;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = fixture_event(&f, 1, "nobody-knows-me", "mini", 3, 4);
    CU_ASSERT_EQUAL(fixture_post(&f, &e), 0);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "nobody-knows-me") ==
              3 * 150000 + 4 * 600000);
    fixture_end(&f);
}

/* $10^9 and one pico-dollar: 108,421 and a half times more than 64 bits hold. */
static void test_balances_of_a_billion_dollars(void)
{
    fixture f;
    tg_price_book *book = tg_price_book_new("dear");
    tg_price dear = {.per_request = 8000000 * TG_PICOUSD_PER_USD, .input = 1};
    CU_ASSERT_EQUAL_FATAL(tg_price_book_add(book, "dear", &dear), 0);
    fixture_start(&f, book);
    for (unsigned i = 0; i < 125; i++) { /* 125 × $8 million */
        tg_usage_event e = fixture_event(&f, i, "whale", "dear", i == 0, 0);
        CU_ASSERT_EQUAL_FATAL(fixture_post(&f, &e), 0);
        CU_ASSERT_EQUAL(f.tally.posted, 1);
    }
    tg_picousd_sum billion = (tg_picousd_sum)1000000000 * TG_PICOUSD_PER_USD + 1;
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "whale") == billion);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_REVENUE, "dear") == -billion);
    fixture_lines lines = fixture_statement(&f, "whale");
    CU_ASSERT_EQUAL(lines.count, 1);
    CU_ASSERT(lines.items[0].row.cost == billion);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    tg_comparison c;
    CU_ASSERT_EQUAL(tg_audit_compare(f.store, book, "dear", "", NULL, &c), 0);
    CU_ASSERT(c.actual == billion && c.there == billion);
    /* One pico-dollar off in the low word is seen. */
    fixture_sql(&f, "UPDATE accounts SET balance_low = balance_low + 1 WHERE kind = 'receivable'");
    CU_ASSERT_EQUAL(fixture_problems(&f), 1);
    fixture_end(&f);
}

static void test_offsets_move_with_the_batch(void)
{
    fixture f;
    enum { COUNT = 6 };
    tg_buf bytes[COUNT];
    tg_store_message batch[COUNT];
    int64_t next = 77;
    fixture_start(&f, fixture_book("one"));
    CU_ASSERT_EQUAL(f.store->ops->offset_get(f.store, TOPIC, 1, &next), -ENOENT);
    for (unsigned i = 0; i < COUNT; i++) {
        tg_usage_event e = fixture_event(&f, i, "acme", "haiku", i, 1);
        tg_buf_init(&bytes[i], 0);
        CU_ASSERT_EQUAL(tg_usage_event_encode(&e, &bytes[i]), 0);
        batch[i] =
            (tg_store_message){TG_STR(TOPIC), (int32_t)(i % 2), 100 + i, tg_buf_str(&bytes[i])};
    }
    CU_ASSERT_EQUAL(tg_ledger_post(f.ledger, batch, COUNT, 1, NULL, &f.tally), 0);
    CU_ASSERT_EQUAL(f.tally.posted, COUNT);
    CU_ASSERT_EQUAL(f.store->ops->offset_get(f.store, TOPIC, 0, &next), 0);
    CU_ASSERT_EQUAL(next, 105);
    CU_ASSERT_EQUAL(f.store->ops->offset_get(f.store, TOPIC, 1, &next), 0);
    CU_ASSERT_EQUAL(next, 106);
    for (unsigned i = 0; i < COUNT; i++)
        tg_buf_free(&bytes[i]);
    fixture_end(&f);
}

/* ---- crashes and refusals ---- */

/* Killed between the postings and the commit: nothing of the batch stays, and reading it again
 * posts it once. */
static void test_killed_inside_the_transaction(void)
{
    fixture f;
    int status = 0;
    int64_t next;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event first = fixture_event(&f, 1, "acme", "haiku", 10, 10);
    tg_usage_event second = fixture_event(&f, 2, "acme", "haiku", 20, 20);
    CU_ASSERT_EQUAL_FATAL(fixture_post(&f, &first), 0);
    fixture_close(&f); /* a database handle must not be carried through a fork */
    fflush(stdout);
    setenv("TOLLGATE_FAULT_POINT", "ledger_in_transaction:2", 1); /* the first is set_prices' */
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test", "victim", f.path, (char *)NULL);
        _exit(1);
    }
    unsetenv("TOLLGATE_FAULT_POINT");
    waitpid(child, &status, 0);
    CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    fixture_open(&f, fixture_book("one"));
    CU_ASSERT_EQUAL(fixture_counts(&f).transactions, 1);
    CU_ASSERT_EQUAL(f.store->ops->offset_get(f.store, TOPIC, 0, &next), 0);
    CU_ASSERT_EQUAL(next, 1);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    f.next_offset = 1;
    CU_ASSERT_EQUAL(fixture_post(&f, &second), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    CU_ASSERT(fixture_balance_of(&f, TG_ACCOUNT_RECEIVABLE, "acme") ==
              first.cost_picousd + second.cost_picousd);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

/* Posts the second event into the database at `victim_path` and is killed on the way. */
static const char *victim_path;

static void run_victim(void)
{
    fixture f = {.next_offset = 1};
    snprintf(f.path, sizeof f.path, "%s", victim_path);
    fixture_open(&f, fixture_book("one"));
    tg_usage_event second = fixture_event(&f, 2, "acme", "haiku", 20, 20);
    fixture_post(&f, &second);
}

static void test_busy_and_then_posted(void)
{
    fixture f;
    sqlite3 *other = NULL;
    int64_t next;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = fixture_event(&f, 1, "acme", "haiku", 10, 10);
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(f.path, &other), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    CU_ASSERT_EQUAL(fixture_post(&f, &e), -EBUSY);
    CU_ASSERT_EQUAL(f.store->ops->offset_get(f.store, TOPIC, 0, &next), -ENOENT);
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    CU_ASSERT_EQUAL(fixture_post(&f, &e), 0);
    CU_ASSERT_EQUAL(f.tally.posted, 1);
    CU_ASSERT_EQUAL(fixture_problems(&f), 0);
    fixture_end(&f);
}

/* In a child, since a file size limit belongs to the process. */
static int run_on_a_full_disk(void)
{
    fixture f;
    int64_t next;
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = fixture_event(&f, 1, "acme", "haiku", 10, 10);
    if (fixture_post(&f, &e) != 0)
        return 1;
    getrlimit(RLIMIT_FSIZE, &limit);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &limit);
    tg_usage_event second = fixture_event(&f, 2, "acme", "haiku", 10, 10);
    int rc = fixture_post(&f, &second);
    if (rc != -ENOSPC && rc != -EIO)
        return 2;
    if (!f.reason.text[0])
        return 3;
    limit.rlim_cur = before;
    setrlimit(RLIMIT_FSIZE, &limit);
    if (f.store->ops->offset_get(f.store, TOPIC, 0, &next) != 0 || next != 1)
        return 4;
    if (fixture_post(&f, &second) != 0 || f.tally.posted != 1 || fixture_problems(&f) != 0)
        return 5;
    fixture_end(&f);
    return 0;
}

static void test_full_disk(void)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(run_on_a_full_disk());
    waitpid(child, &status, 0);
    CU_ASSERT_TRUE(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

static const tg_test tests[] = {
    {"posts_a_double_entry", test_posts_a_double_entry},
    {"duplicates_are_counted_not_posted", test_duplicates_are_counted_not_posted},
    {"quarantine", test_quarantine},
    {"quarantine_is_tried_again_when_prices_change",
     test_quarantine_is_tried_again_when_prices_change},
    {"an_unlisted_tenant_is_charged", test_an_unlisted_tenant_is_charged},
    {"balances_of_a_billion_dollars", test_balances_of_a_billion_dollars},
    {"offsets_move_with_the_batch", test_offsets_move_with_the_batch},
    {"killed_inside_the_transaction", test_killed_inside_the_transaction},
    {"busy_and_then_posted", test_busy_and_then_posted},
    {"full_disk", test_full_disk},
};

int main(int argc, char **argv)
{
    static const tg_test victim[] = {{"victim", run_victim}};
    if (argc == 3) {
        victim_path = argv[2];
        return tg_test_run("victim", victim, 1);
    }
    return tg_test_run("services_billing_ledger_ledger", tests, sizeof tests / sizeof *tests);
}
