/* The SQLite schema, as the steps that lead to it. A step that has been released is never changed.
 */
#include "services/billing/ledger/store_sqlite.h"

const char *const tg_store_sqlite_migrations[] = {
    /* Version 1. Amounts of one event fit 64 bits; balances need two words: high * 2^64 + low. */
    "CREATE TABLE events ("
    " id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, attempt INTEGER NOT NULL,"
    " tenant TEXT NOT NULL, key_id TEXT NOT NULL, client_request_id TEXT NOT NULL,"
    " task_type TEXT NOT NULL, rule TEXT NOT NULL, policy_version TEXT NOT NULL,"
    " target TEXT NOT NULL, endpoint TEXT NOT NULL, provider TEXT NOT NULL,"
    " instance_id TEXT NOT NULL, model_requested TEXT NOT NULL, model_sent TEXT NOT NULL,"
    " model_answered TEXT NOT NULL, input_tokens INTEGER NOT NULL,"
    " cache_read_tokens INTEGER NOT NULL, cache_write_5m_tokens INTEGER NOT NULL,"
    " cache_write_1h_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,"
    " reasoning_tokens INTEGER NOT NULL, input_source INTEGER NOT NULL,"
    " output_source INTEGER NOT NULL, opened_unix_ns INTEGER NOT NULL,"
    " closed_unix_ns INTEGER NOT NULL, queue_ns INTEGER NOT NULL,"
    " first_token_ns INTEGER NOT NULL, total_ns INTEGER NOT NULL, gpu_ns INTEGER NOT NULL,"
    " outcome INTEGER NOT NULL, upstream_status INTEGER NOT NULL, batch INTEGER NOT NULL,"
    " stream INTEGER NOT NULL, price_book TEXT NOT NULL, cost_picousd INTEGER NOT NULL,"
    " price_assumed INTEGER NOT NULL, counterfactuals TEXT NOT NULL, traceparent TEXT NOT NULL,"
    " UNIQUE (request_id, attempt)) STRICT;"
    "CREATE INDEX events_by_tenant ON events (tenant, opened_unix_ns);"
    "CREATE TABLE accounts ("
    " id INTEGER PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL,"
    " balance_high INTEGER NOT NULL DEFAULT 0, balance_low INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE (kind, owner)) STRICT;"
    "CREATE TABLE transactions ("
    " id INTEGER PRIMARY KEY, event_id INTEGER NOT NULL UNIQUE REFERENCES events (id),"
    " posted_unix_ns INTEGER NOT NULL) STRICT;"
    "CREATE TABLE postings ("
    " transaction_id INTEGER NOT NULL REFERENCES transactions (id), line INTEGER NOT NULL,"
    " account_id INTEGER NOT NULL REFERENCES accounts (id), amount_picousd INTEGER NOT NULL,"
    " PRIMARY KEY (transaction_id, line)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE quarantine ("
    " id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,"
    " \"offset\" INTEGER NOT NULL, kind INTEGER NOT NULL, reason TEXT NOT NULL, raw BLOB NOT NULL,"
    " at_unix_ns INTEGER NOT NULL, resolved_unix_ns INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE offsets ("
    " topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,"
    " PRIMARY KEY (topic, partition)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"
    "INSERT INTO counters VALUES ('duplicates', 0);"
    "CREATE TABLE price_books ("
    " version TEXT PRIMARY KEY, first_loaded_unix_ns INTEGER NOT NULL) STRICT;",
    /* Version 2. Transactions that are to be published, those posted so far among them. */
    "CREATE TABLE outbox (transaction_id INTEGER PRIMARY KEY REFERENCES transactions (id)) STRICT;"
    "INSERT INTO outbox SELECT id FROM transactions;",
};
const int tg_store_sqlite_version =
    sizeof tg_store_sqlite_migrations / sizeof *tg_store_sqlite_migrations;
