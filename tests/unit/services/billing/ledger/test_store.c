#include "tests/unit/services/billing/ledger/fixture.h"

/* A database as a program before the first version would have left it: version 0, with or without a
 * file, migrates; what is newer than us is refused and left alone. */
static void test_migrates_forward(void)
{
    fixture f;
    tg_error err = {""};
    CU_ASSERT_TRUE(tg_store_sqlite_version >= 1);
    f = (fixture){0};
    fixture_path(f.path, ".db");
    fixture_sql(&f, "CREATE TABLE left_over (x); INSERT INTO left_over VALUES (1);"
                    "PRAGMA user_version = 0");
    CU_ASSERT_EQUAL_FATAL(tg_store_sqlite_open(f.path, false, &err, &f.store), 0);
    CU_ASSERT_EQUAL(fixture_counts(&f).events, 0);
    f.store = f.store->ops->close(f.store);
    fixture_sql(&f, "SELECT * FROM left_over, events, postings");
    CU_ASSERT_EQUAL_FATAL(tg_store_sqlite_open(f.path, false, &err, &f.store), 0); /* and stays */
    f.store = f.store->ops->close(f.store);
    fixture_sql(&f, "PRAGMA user_version = 999");
    CU_ASSERT_EQUAL(tg_store_sqlite_open(f.path, false, &err, &f.store), -EPROTONOSUPPORT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "version 999"));
    CU_ASSERT_EQUAL(tg_store_sqlite_open(f.path, true, NULL, &f.store), -EPROTONOSUPPORT);
    fixture_end(&f);
}

/* From every earlier version, with its own tables full, to the newest. */
static void test_every_step_keeps_the_data(void)
{
    for (int from = 1; from < tg_store_sqlite_version; from++) {
        fixture f = {0};
        char sql[128];
        fixture_path(f.path, ".db");
        for (int step = 0; step < from; step++)
            fixture_sql(&f, tg_store_sqlite_migrations[step]);
        snprintf(sql, sizeof sql, "PRAGMA user_version = %d; UPDATE counters SET value = 7", from);
        fixture_sql(&f, sql);
        CU_ASSERT_EQUAL_FATAL(tg_store_sqlite_open(f.path, false, NULL, &f.store), 0);
        CU_ASSERT_EQUAL(fixture_counts(&f).duplicates, 7);
        fixture_end(&f);
    }
    CU_PASS("steps kept the data");
}

static void test_open_refusals(void)
{
    tg_store *store = NULL;
    tg_error err = {""};
    char path[64];
    CU_ASSERT_TRUE(tg_store_sqlite_open("/proc/nowhere/ledger.db", false, &err, &store) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/proc/nowhere/ledger.db"));
    fixture_path(path, ".db");
    CU_ASSERT_TRUE(tg_store_sqlite_open(path, true, NULL, &store) < 0); /* reading makes nothing */
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    FILE *file = fopen(path, "w");
    fputs("this is no database, but long enough to look at, and then some more text", file);
    fclose(file);
    err.text[0] = '\0';
    CU_ASSERT_TRUE(tg_store_sqlite_open(path, false, &err, &store) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not a database"));
    unlink(path);
}

/* A view stays as it was while another store posts. */
static void test_reading_beside_writing(void)
{
    fixture f;
    tg_store *reader = NULL;
    tg_store_counts counts;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = fixture_event(&f, 1, "acme", "haiku", 1, 1);
    CU_ASSERT_EQUAL(fixture_post(&f, &e), 0);
    CU_ASSERT_EQUAL_FATAL(tg_store_sqlite_open(f.path, true, NULL, &reader), 0);
    CU_ASSERT_EQUAL(reader->ops->begin_read(reader), 0);
    CU_ASSERT_EQUAL(reader->ops->counts(reader, &counts), 0);
    CU_ASSERT_EQUAL(counts.events, 1);
    e.attempt = 2;
    CU_ASSERT_EQUAL(fixture_post(&f, &e), 0);
    CU_ASSERT_EQUAL(reader->ops->counts(reader, &counts), 0);
    CU_ASSERT_EQUAL(counts.events, 1);
    reader->ops->rollback(reader);
    CU_ASSERT_EQUAL(reader->ops->counts(reader, &counts), 0);
    CU_ASSERT_EQUAL(counts.events, 2);
    CU_ASSERT_TRUE(reader->ops->duplicates_add(reader, 1) < 0); /* it only reads */
    reader->ops->close(reader);
    fixture_end(&f);
}

static void test_everything_of_an_event_is_kept(void)
{
    fixture f;
    uint64_t state = tg_test_seed();
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    fixture_start(&f, fixture_book("one"));
    tg_usage_event e = sample_random(&state);
    e.counterfactual_count = 2;
    strcpy(e.counterfactuals[0].target, "a \"quoted\" target");
    strcpy(e.counterfactuals[1].target, "b");
    e.counterfactuals[1].cost_picousd = INT64_MIN;
    int64_t id = 0;
    CU_ASSERT_EQUAL(f.store->ops->begin(f.store), 0);
    CU_ASSERT_EQUAL(f.store->ops->event_add(f.store, &e, &id), 0);
    CU_ASSERT_EQUAL(f.store->ops->event_add(f.store, &e, &id), -EEXIST);
    CU_ASSERT_EQUAL(f.store->ops->commit(f.store), 0);
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(f.path, &db), SQLITE_OK);
    sqlite3_prepare_v2(
        db,
        "SELECT request_id, traceparent, policy_version, total_ns, gpu_ns, cost_picousd,"
        " json_extract(counterfactuals, '$.b'), reasoning_tokens FROM events",
        -1, &s, NULL);
    CU_ASSERT_EQUAL_FATAL(sqlite3_step(s), SQLITE_ROW);
    CU_ASSERT_STRING_EQUAL((const char *)sqlite3_column_text(s, 0), e.request_id);
    CU_ASSERT_STRING_EQUAL((const char *)sqlite3_column_text(s, 1), e.traceparent);
    CU_ASSERT_STRING_EQUAL((const char *)sqlite3_column_text(s, 2), e.policy_version);
    CU_ASSERT_EQUAL((uint64_t)sqlite3_column_int64(s, 3), e.total_ns);
    CU_ASSERT_EQUAL((uint64_t)sqlite3_column_int64(s, 4), e.gpu_ns);
    CU_ASSERT_EQUAL(sqlite3_column_int64(s, 5), e.cost_picousd);
    CU_ASSERT_EQUAL(sqlite3_column_int64(s, 6), INT64_MIN);
    CU_ASSERT_EQUAL((uint64_t)sqlite3_column_int64(s, 7), e.tokens.reasoning);
    sqlite3_finalize(s);
    sqlite3_close(db);
    fixture_end(&f);
}

static const tg_test tests[] = {
    {"migrates_forward", test_migrates_forward},
    {"every_step_keeps_the_data", test_every_step_keeps_the_data},
    {"open_refusals", test_open_refusals},
    {"reading_beside_writing", test_reading_beside_writing},
    {"everything_of_an_event_is_kept", test_everything_of_an_event_is_kept},
};
TG_TEST_MAIN("services_billing_ledger_store", tests)
