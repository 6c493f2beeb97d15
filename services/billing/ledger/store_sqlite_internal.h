/* Shared by the three files of the SQLite store: store_sqlite.c (open, migrate, transactions),
 * store_sqlite_write.c and store_sqlite_read.c. */
#ifndef TG_BILLING_LEDGER_STORE_SQLITE_INTERNAL_H
#define TG_BILLING_LEDGER_STORE_SQLITE_INTERNAL_H

#include "libs/base/buf.h"
#include "services/billing/ledger/store_sqlite.h"

#include <sqlite3.h>

typedef enum tg_sql {
    TG_SQL_BEGIN,
    TG_SQL_BEGIN_READ,
    TG_SQL_COMMIT,
    TG_SQL_EVENT_ADD,
    TG_SQL_EVENT_EXISTS,
    TG_SQL_TRANSACTION_ADD,
    TG_SQL_POSTING_ADD,
    TG_SQL_OUTBOX_ADD,
    TG_SQL_OUTBOX_REMOVE,
    TG_SQL_OUTBOX_COUNT,
    TG_SQL_OUTBOX,
    TG_SQL_ACCOUNT_FIND,
    TG_SQL_ACCOUNT_MAKE,
    TG_SQL_ACCOUNT_BALANCE,
    TG_SQL_ACCOUNT_SET,
    TG_SQL_DUPLICATES_ADD,
    TG_SQL_QUARANTINE_ADD,
    TG_SQL_QUARANTINE_RESOLVE,
    TG_SQL_QUARANTINE_NEXT,
    TG_SQL_OFFSET_SET,
    TG_SQL_OFFSET_GET,
    TG_SQL_PRICE_BOOK_ADD,
    TG_SQL_PRICE_BOOK_KNOWN,
    TG_SQL_COUNTS,
    TG_SQL_STATEMENT,
    TG_SQL_POSTED,
    TG_SQL_ACCOUNTS,
    TG_SQL_UNBALANCED,
    TG_SQL_COUNT
} tg_sql;

typedef struct tg_store_sqlite {
    tg_store store;
    sqlite3 *db;
    sqlite3_stmt *statements[TG_SQL_COUNT]; /* prepared at first use */
    tg_buf text;                            /* the counterfactuals of one event */
} tg_store_sqlite;

/* The statement, ready to be bound; NULL when it cannot be prepared. */
sqlite3_stmt *tg_store_sqlite_stmt(tg_store *store, tg_sql which);
sqlite3 *tg_store_sqlite_db(const tg_store *store);
/* SQLite's code as 0 or -errno. */
int tg_store_sqlite_status(int code);
/* Steps a statement that gives no rows, and resets it. */
int tg_store_sqlite_run(sqlite3_stmt *statement);
/* Steps to the first row: 0, -ENOENT (reset already) or an error (reset already). */
int tg_store_sqlite_row(sqlite3_stmt *statement);

int tg_store_sqlite_event_add(tg_store *, const tg_usage_event *, int64_t *ret_id);
int tg_store_sqlite_event_exists(tg_store *, const char *request_id, uint32_t attempt, bool *ret);
int tg_store_sqlite_transaction_add(tg_store *, int64_t event_id, uint64_t now_unix_ns,
                                    const tg_posting *, size_t count);
int tg_store_sqlite_account_find(tg_store *, tg_account_kind, const char *owner, int64_t *ret_id);
int tg_store_sqlite_account_add(tg_store *, int64_t id, tg_picousd_sum amount);
int tg_store_sqlite_duplicates_add(tg_store *, uint64_t count);
int tg_store_sqlite_quarantine_add(tg_store *, const tg_store_message *, tg_quarantine_kind,
                                   const char *reason, uint64_t now_unix_ns);
int tg_store_sqlite_quarantine_resolve(tg_store *, int64_t id, uint64_t now_unix_ns);
int tg_store_sqlite_offset_set(tg_store *, const char *topic, int32_t partition,
                               int64_t next_offset);
int tg_store_sqlite_price_book_add(tg_store *, const char *version, uint64_t now_unix_ns);

int tg_store_sqlite_outbox_remove(tg_store *, int64_t transaction_id);

int tg_store_sqlite_outbox_count(tg_store *, uint64_t *ret);
int tg_store_sqlite_outbox(tg_store *, uint32_t limit,
                           int (*row)(void *user, const tg_outbox_row *row), void *user);
int tg_store_sqlite_offset_get(tg_store *, const char *topic, int32_t partition, int64_t *ret_next);
int tg_store_sqlite_price_book_known(tg_store *, const char *version, bool *ret);
int tg_store_sqlite_counts(tg_store *, tg_store_counts *ret);
int tg_store_sqlite_statement(tg_store *, const tg_statement_filter *,
                              int (*row)(void *user, const tg_statement_row *row), void *user);
int tg_store_sqlite_posted(tg_store *, const char *tenant,
                           int (*row)(void *user, const tg_posted_row *row), void *user);
int tg_store_sqlite_accounts(tg_store *, int (*row)(void *user, const tg_account_row *row),
                             void *user);
int tg_store_sqlite_unbalanced(tg_store *, int (*row)(void *user, int64_t transaction_id),
                               void *user);
int tg_store_sqlite_quarantine_next(tg_store *, tg_quarantine_kind, int64_t after_id,
                                    int64_t *ret_id, tg_str *ret_bytes);

#endif
