/* A ledger in a database of its own, and ways to feed it. */
#ifndef TG_TESTS_UNIT_SERVICES_BILLING_LEDGER_FIXTURE_H
#define TG_TESTS_UNIT_SERVICES_BILLING_LEDGER_FIXTURE_H

#include "libs/config/mesh.h"
#include "services/billing/ledger/audit.h"
#include "services/billing/ledger/ledger.h"
#include "services/billing/ledger/store_sqlite.h"
#include "tests/unit/harness.h"
#include "tests/unit/libs/usage/sample.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#define TOPIC "tollgate.usage.v1"

typedef struct fixture {
    char path[64];
    tg_store *store;
    tg_ledger *ledger;
    tg_price_book *book;
    tg_buf bytes;
    int64_t next_offset;
    tg_ledger_tally tally; /* of the last post */
    tg_error reason;
} fixture;

static inline void fixture_path(char path[64], const char *suffix)
{
    static unsigned number;
    snprintf(path, 64, "%s/tg-ledger-%d-%u%s", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid(), number++, suffix);
}

/* $0.25 and $1.25 a million for haiku; $0.15 and $0.60 for mini. */
static inline tg_price_book *fixture_book(const char *version)
{
    tg_price_book *book = tg_price_book_new(version);
    tg_price haiku = {.input = 250000, .output = 1250000};
    tg_price mini = {.input = 150000, .output = 600000, .assumed = true};
    CU_ASSERT_EQUAL_FATAL(tg_price_book_add(book, "haiku", &haiku), 0);
    CU_ASSERT_EQUAL_FATAL(tg_price_book_add(book, "mini", &mini), 0);
    return book;
}

static inline void fixture_open(fixture *f, tg_price_book *book)
{
    tg_error err = {""};
    int rc = tg_store_sqlite_open(f->path, false, &err, &f->store);
    if (rc < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_EQUAL_FATAL(tg_ledger_new(f->store, NULL, NULL, &f->ledger), 0);
    f->book = book;
    CU_ASSERT_EQUAL_FATAL(tg_ledger_set_prices(f->ledger, book, 1, &f->tally), 0);
}

static inline void fixture_start(fixture *f, tg_price_book *book)
{
    *f = (fixture){0};
    fixture_path(f->path, ".db");
    fixture_open(f, book);
}

static inline void fixture_close(fixture *f)
{
    f->ledger = tg_ledger_free(f->ledger);
    if (f->store)
        f->store = f->store->ops->close(f->store);
    f->book = tg_price_book_free(f->book);
    tg_buf_free(&f->bytes);
}

static inline void fixture_end(fixture *f)
{
    char name[96];
    fixture_close(f);
    unlink(f->path);
    snprintf(name, sizeof name, "%s-wal", f->path);
    unlink(name);
    snprintf(name, sizeof name, "%s-shm", f->path);
    unlink(name);
}

static inline int fixture_post_bytes(fixture *f, tg_str bytes)
{
    tg_store_message message = {TG_STR(TOPIC), 0, f->next_offset, bytes};
    f->reason.text[0] = '\0';
    int rc = tg_ledger_post(f->ledger, &message, 1, 1000, &f->reason, &f->tally);
    if (rc == 0)
        f->next_offset++;
    return rc;
}

static inline int fixture_post(fixture *f, const tg_usage_event *event)
{
    tg_buf_clear(&f->bytes);
    CU_ASSERT_EQUAL_FATAL(tg_usage_event_encode(event, &f->bytes), 0);
    return fixture_post_bytes(f, tg_buf_str(&f->bytes));
}

/* An event priced by the fixture's book. */
static inline tg_usage_event fixture_event(const fixture *f, unsigned number, const char *tenant,
                                           const char *target, uint64_t input, uint64_t output)
{
    tg_usage_event e = sample_event(number, 1);
    sample_close(&e);
    snprintf(e.tenant, sizeof e.tenant, "%s", tenant);
    snprintf(e.target, sizeof e.target, "%s", target);
    e.tokens = (tg_tokens){.input = input, .output = output};
    snprintf(e.price_book, sizeof e.price_book, "%s", tg_price_book_version(f->book));
    CU_ASSERT_EQUAL_FATAL(
        tg_price_of(f->book, target, e.opened_unix_ns, &e.tokens, &e.cost_picousd), 0);
    return e;
}

static inline tg_store_counts fixture_counts(const fixture *f)
{
    tg_store_counts counts = {0};
    CU_ASSERT_EQUAL(f->store->ops->counts(f->store, &counts), 0);
    return counts;
}

static inline uint64_t fixture_problems(const fixture *f)
{
    tg_arena arena;
    tg_audit audit = {0};
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL(tg_audit_verify(f->store, f->book, &arena, &audit), 0);
    for (size_t i = 0; i < audit.problem_texts; i++)
        printf("# problem: %s\n", audit.problems[i]);
    tg_arena_free(&arena);
    return audit.problem_count;
}

/* Changes the database behind the ledger's back. */
static inline void fixture_sql(const fixture *f, const char *sql)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(f->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        printf("# %s: %s\n", sql, message);
    CU_ASSERT_PTR_NULL_FATAL(message);
    sqlite3_close(db);
}

typedef struct fixture_balance {
    tg_account_kind kind;
    const char *owner;
    tg_picousd_sum balance;
    bool found;
} fixture_balance;

static inline int fixture_see_balance(void *user, const tg_account_row *row)
{
    fixture_balance *b = user;
    if (row->kind == b->kind && strcmp(row->owner, b->owner) == 0) {
        b->balance = row->balance;
        b->found = true;
    }
    return 0;
}

static inline tg_picousd_sum fixture_balance_of(const fixture *f, tg_account_kind kind,
                                                const char *owner)
{
    fixture_balance b = {.kind = kind, .owner = owner};
    CU_ASSERT_EQUAL(f->store->ops->accounts(f->store, fixture_see_balance, &b), 0);
    CU_ASSERT_TRUE(b.found);
    return b.balance;
}

typedef struct fixture_lines {
    struct {
        char tenant[64], target[64], task_type[64];
        tg_statement_row row;
    } items[16];
    size_t count;
} fixture_lines;

static inline int fixture_see_line(void *user, const tg_statement_row *row)
{
    fixture_lines *l = user;
    if (l->count < 16) {
        snprintf(l->items[l->count].tenant, 64, "%s", row->tenant);
        snprintf(l->items[l->count].target, 64, "%s", row->target);
        snprintf(l->items[l->count].task_type, 64, "%s", row->task_type);
        l->items[l->count].row = *row;
    }
    l->count++;
    return 0;
}

static inline fixture_lines fixture_statement(const fixture *f, const char *tenant)
{
    fixture_lines lines = {.count = 0};
    tg_statement_filter filter = {.tenant = tenant};
    CU_ASSERT_EQUAL(f->store->ops->statement(f->store, &filter, fixture_see_line, &lines), 0);
    return lines;
}

#endif
