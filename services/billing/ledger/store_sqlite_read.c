#include "services/billing/ledger/store_sqlite_internal.h"

#include <errno.h>

/* Sorts after every UTF-8 text: from the empty text to this is all tenants. */
#define AFTER_ALL_TEXT "\xf7\xbf\xbf\xbf"

static const char *text(sqlite3_stmt *s, int column)
{
    return (const char *)sqlite3_column_text(s, column);
}

static uint64_t u64(sqlite3_stmt *s, int column)
{
    return (uint64_t)sqlite3_column_int64(s, column);
}

static tg_picousd_sum halves(sqlite3_stmt *s, int column)
{
    return (tg_picousd_sum)sqlite3_column_int64(s, column) * ((tg_picousd_sum)1 << 32) +
           sqlite3_column_int64(s, column + 1);
}

static void bind_tenant(sqlite3_stmt *s, const char *tenant)
{
    bool all = !tenant || !*tenant;
    sqlite3_bind_text(s, 1, all ? "" : tenant, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, all ? AFTER_ALL_TEXT : tenant, -1, SQLITE_STATIC);
}

/* Calls `each` for every row until it returns other than 0. */
static int walk(sqlite3_stmt *s, int (*each)(sqlite3_stmt *s, void *user), void *user)
{
    int code, rc = 0;
    if (!s)
        return -EIO;
    while (rc == 0 && (code = sqlite3_step(s)) == SQLITE_ROW)
        rc = each(s, user);
    if (rc == 0)
        rc = tg_store_sqlite_status(code);
    sqlite3_reset(s);
    return rc;
}

int tg_store_sqlite_offset_get(tg_store *store, const char *topic, int32_t partition,
                               int64_t *ret_next)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_OFFSET_GET);
    sqlite3_bind_text(s, 1, topic, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, partition);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0)
        return rc;
    *ret_next = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return 0;
}

int tg_store_sqlite_price_book_known(tg_store *store, const char *version, bool *ret)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_PRICE_BOOK_KNOWN);
    sqlite3_bind_text(s, 1, version, -1, SQLITE_STATIC);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    *ret = rc == 0;
    sqlite3_reset(s);
    return 0;
}

int tg_store_sqlite_counts(tg_store *store, tg_store_counts *ret)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_COUNTS);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0)
        return rc;
    *ret = (tg_store_counts){u64(s, 0), u64(s, 1), u64(s, 2), u64(s, 3), u64(s, 4)};
    sqlite3_reset(s);
    return 0;
}

typedef struct statement_walk {
    int (*row)(void *user, const tg_statement_row *row);
    void *user;
} statement_walk;

static int each_statement(sqlite3_stmt *s, void *user)
{
    const statement_walk *w = user;
    tg_statement_row row = {.tenant = text(s, 0),
                            .target = text(s, 1),
                            .model = text(s, 2),
                            .task_type = text(s, 3),
                            .attempts = u64(s, 4),
                            .estimated_attempts = u64(s, 5),
                            .input = u64(s, 6),
                            .cache_read = u64(s, 7),
                            .cache_write = u64(s, 8),
                            .output = u64(s, 9),
                            .price_assumed = sqlite3_column_int(s, 10) != 0,
                            .cost = halves(s, 11)};
    return w->row(w->user, &row);
}

int tg_store_sqlite_statement(tg_store *store, const tg_statement_filter *filter,
                              int (*row)(void *user, const tg_statement_row *row), void *user)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_STATEMENT);
    uint64_t to = filter->to_unix_ns ? filter->to_unix_ns : INT64_MAX;
    bind_tenant(s, filter->tenant);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)filter->from_unix_ns);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)to);
    statement_walk w = {row, user};
    return walk(s, each_statement, &w);
}

typedef struct posted_walk {
    int (*row)(void *user, const tg_posted_row *row);
    void *user;
} posted_walk;

static int each_posted(sqlite3_stmt *s, void *user)
{
    const posted_walk *w = user;
    tg_posted_row row = {
        .event_id = sqlite3_column_int64(s, 0),
        .request_id = text(s, 1),
        .tenant = text(s, 2),
        .target = text(s, 3),
        .attempt = (uint32_t)sqlite3_column_int64(s, 4),
        .opened_unix_ns = u64(s, 5),
        .tokens = {u64(s, 6), u64(s, 7), u64(s, 8), u64(s, 9), u64(s, 10), u64(s, 11)},
        .cost = sqlite3_column_int64(s, 12),
        .debited = text(s, 13),
        .credited = text(s, 14),
        .debit = sqlite3_column_int64(s, 15),
        .credit = sqlite3_column_int64(s, 16)};
    return w->row(w->user, &row);
}

int tg_store_sqlite_posted(tg_store *store, const char *tenant,
                           int (*row)(void *user, const tg_posted_row *row), void *user)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_POSTED);
    posted_walk w = {row, user};
    bind_tenant(s, tenant);
    return walk(s, each_posted, &w);
}

int tg_store_sqlite_outbox_count(tg_store *store, uint64_t *ret)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_OUTBOX_COUNT);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0)
        return rc;
    *ret = u64(s, 0);
    sqlite3_reset(s);
    return 0;
}

typedef struct outbox_walk {
    int (*row)(void *user, const tg_outbox_row *row);
    void *user;
} outbox_walk;

static int each_outbox(sqlite3_stmt *s, void *user)
{
    const outbox_walk *w = user;
    tg_outbox_row row = {.transaction_id = sqlite3_column_int64(s, 0),
                         .request_id = text(s, 1),
                         .tenant = text(s, 2),
                         .target = text(s, 3),
                         .model = text(s, 4),
                         .task_type = text(s, 5),
                         .price_book = text(s, 6),
                         .attempt = (uint32_t)sqlite3_column_int64(s, 7),
                         .opened_unix_ns = u64(s, 8),
                         .posted_unix_ns = u64(s, 9),
                         .price_assumed = sqlite3_column_int(s, 10) != 0,
                         .debited = text(s, 11),
                         .credited = text(s, 12),
                         .debit = sqlite3_column_int64(s, 13),
                         .credit = sqlite3_column_int64(s, 14)};
    return w->row(w->user, &row);
}

int tg_store_sqlite_outbox(tg_store *store, uint32_t limit,
                           int (*row)(void *user, const tg_outbox_row *row), void *user)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_OUTBOX);
    sqlite3_bind_int64(s, 1, limit);
    outbox_walk w = {row, user};
    return walk(s, each_outbox, &w);
}

typedef struct accounts_walk {
    int (*row)(void *user, const tg_account_row *row);
    void *user;
} accounts_walk;

static int each_account(sqlite3_stmt *s, void *user)
{
    const accounts_walk *w = user;
    tg_money_words words = {sqlite3_column_int64(s, 2), u64(s, 3)};
    tg_account_row row = {.kind =
                              sqlite3_column_int(s, 0) ? TG_ACCOUNT_REVENUE : TG_ACCOUNT_RECEIVABLE,
                          .owner = text(s, 1),
                          .balance = tg_money_join(words),
                          .postings = halves(s, 4)};
    return w->row(w->user, &row);
}

int tg_store_sqlite_accounts(tg_store *store, int (*row)(void *user, const tg_account_row *row),
                             void *user)
{
    accounts_walk w = {row, user};
    return walk(tg_store_sqlite_stmt(store, TG_SQL_ACCOUNTS), each_account, &w);
}

typedef struct unbalanced_walk {
    int (*row)(void *user, int64_t transaction_id);
    void *user;
} unbalanced_walk;

static int each_unbalanced(sqlite3_stmt *s, void *user)
{
    const unbalanced_walk *w = user;
    return w->row(w->user, sqlite3_column_int64(s, 0));
}

int tg_store_sqlite_unbalanced(tg_store *store, int (*row)(void *user, int64_t transaction_id),
                               void *user)
{
    unbalanced_walk w = {row, user};
    return walk(tg_store_sqlite_stmt(store, TG_SQL_UNBALANCED), each_unbalanced, &w);
}

int tg_store_sqlite_quarantine_next(tg_store *store, tg_quarantine_kind kind, int64_t after_id,
                                    int64_t *ret_id, tg_str *ret_bytes)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_QUARANTINE_NEXT);
    sqlite3_reset(s); /* the bytes of the last call end here */
    sqlite3_bind_int(s, 1, (int)kind);
    sqlite3_bind_int64(s, 2, after_id);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0)
        return rc;
    *ret_id = sqlite3_column_int64(s, 0);
    *ret_bytes = (tg_str){sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1)};
    return 0;
}
