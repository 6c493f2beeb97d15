#include "services/billing/ledger/store_sqlite_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A 64-bit sum of SQL overflows past nine million dollars, so amounts are summed in two halves: an
 * amount is (amount >> 32) * 2^32 + (amount & 4294967295), also when negative. */
#define SUM_HALVES(amount) "sum(" amount " >> 32), sum(" amount " & 4294967295)"

static const char *const sql[TG_SQL_COUNT] = {
    [TG_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [TG_SQL_BEGIN_READ] = "BEGIN",
    [TG_SQL_COMMIT] = "COMMIT",
    [TG_SQL_EVENT_ADD] =
        "INSERT INTO events (request_id, attempt, tenant, key_id, client_request_id, task_type, "
        "rule,"
        " policy_version, target, endpoint, provider, instance_id, model_requested, model_sent,"
        " model_answered, input_tokens, cache_read_tokens, cache_write_5m_tokens,"
        " cache_write_1h_tokens, output_tokens, reasoning_tokens, input_source, output_source,"
        " opened_unix_ns, closed_unix_ns, queue_ns, first_token_ns, total_ns, gpu_ns, outcome,"
        " upstream_status, batch, stream, price_book, cost_picousd, price_assumed, counterfactuals,"
        " traceparent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, "
        "?16,"
        " ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34,"
        " ?35, ?36, ?37, ?38) ON CONFLICT DO NOTHING",
    [TG_SQL_EVENT_EXISTS] = "SELECT 1 FROM events WHERE request_id = ?1 AND attempt = ?2",
    [TG_SQL_TRANSACTION_ADD] =
        "INSERT INTO transactions (event_id, posted_unix_ns) VALUES (?1, ?2)",
    [TG_SQL_POSTING_ADD] = "INSERT INTO postings VALUES (?1, ?2, ?3, ?4)",
    [TG_SQL_OUTBOX_ADD] = "INSERT INTO outbox VALUES (?1)",
    [TG_SQL_OUTBOX_REMOVE] = "DELETE FROM outbox WHERE transaction_id <= ?1",
    [TG_SQL_OUTBOX_COUNT] = "SELECT count(*) FROM outbox",
    [TG_SQL_OUTBOX] =
        "SELECT t.id, e.request_id, e.tenant, e.target, e.model_sent, e.task_type, e.price_book, "
        "e.attempt,"
        " e.opened_unix_ns, t.posted_unix_ns, e.price_assumed, da.owner, ca.owner, "
        "d.amount_picousd,"
        " c.amount_picousd FROM outbox o JOIN transactions t ON t.id = o.transaction_id"
        " JOIN events e ON e.id = t.event_id"
        " JOIN postings d ON d.transaction_id = t.id AND d.line = 0 JOIN accounts da ON da.id = "
        "d.account_id"
        " JOIN postings c ON c.transaction_id = t.id AND c.line = 1 JOIN accounts ca ON ca.id = "
        "c.account_id"
        " ORDER BY o.transaction_id LIMIT ?1",
    [TG_SQL_ACCOUNT_FIND] = "SELECT id FROM accounts WHERE kind = ?1 AND owner = ?2",
    [TG_SQL_ACCOUNT_MAKE] = "INSERT INTO accounts (kind, owner) VALUES (?1, ?2)",
    [TG_SQL_ACCOUNT_BALANCE] = "SELECT balance_high, balance_low FROM accounts WHERE id = ?1",
    [TG_SQL_ACCOUNT_SET] = "UPDATE accounts SET balance_high = ?2, balance_low = ?3 WHERE id = ?1",
    [TG_SQL_DUPLICATES_ADD] = "UPDATE counters SET value = value + ?1 WHERE name = 'duplicates'",
    [TG_SQL_QUARANTINE_ADD] =
        "INSERT INTO quarantine (topic, partition, \"offset\", kind, reason, raw, at_unix_ns)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [TG_SQL_QUARANTINE_RESOLVE] = "UPDATE quarantine SET resolved_unix_ns = ?2 WHERE id = ?1",
    [TG_SQL_QUARANTINE_NEXT] =
        "SELECT id, raw FROM quarantine WHERE kind = ?1 AND id > ?2 AND resolved_unix_ns = 0"
        " ORDER BY id LIMIT 1",
    [TG_SQL_OFFSET_SET] = "INSERT INTO offsets VALUES (?1, ?2, ?3)"
                          " ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
    [TG_SQL_OFFSET_GET] = "SELECT next_offset FROM offsets WHERE topic = ?1 AND partition = ?2",
    [TG_SQL_PRICE_BOOK_ADD] = "INSERT INTO price_books VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    [TG_SQL_PRICE_BOOK_KNOWN] = "SELECT 1 FROM price_books WHERE version = ?1",
    [TG_SQL_COUNTS] = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM transactions),"
                      " (SELECT count(*) FROM postings),"
                      " (SELECT value FROM counters WHERE name = 'duplicates'),"
                      " (SELECT count(*) FROM quarantine WHERE resolved_unix_ns = 0)",
    /* One tenant is a range of one; all are a range too. An OR would not use the index. */
    [TG_SQL_STATEMENT] =
        "SELECT tenant, target, model_sent, task_type, count(*),"
        " sum(input_source = 2 OR output_source = 2), sum(input_tokens), sum(cache_read_tokens),"
        " sum(cache_write_5m_tokens + cache_write_1h_tokens), sum(output_tokens),"
        " max(price_assumed), " SUM_HALVES(
            "cost_picousd") " FROM events"
                            " WHERE tenant BETWEEN ?1 AND ?2 AND opened_unix_ns >= ?3 AND "
                            "opened_unix_ns < ?4"
                            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    [TG_SQL_POSTED] =
        "SELECT e.id, e.request_id, e.tenant, e.target, e.attempt, e.opened_unix_ns, "
        "e.input_tokens,"
        " e.cache_read_tokens, e.cache_write_5m_tokens, e.cache_write_1h_tokens, e.output_tokens,"
        " e.reasoning_tokens, e.cost_picousd, da.owner, ca.owner, d.amount_picousd,"
        " c.amount_picousd FROM events e"
        " LEFT JOIN transactions t ON t.event_id = e.id"
        " LEFT JOIN postings d ON d.transaction_id = t.id AND d.line = 0"
        " LEFT JOIN accounts da ON da.id = d.account_id AND da.kind = 'receivable'"
        " LEFT JOIN postings c ON c.transaction_id = t.id AND c.line = 1"
        " LEFT JOIN accounts ca ON ca.id = c.account_id AND ca.kind = 'revenue'"
        " WHERE e.tenant BETWEEN ?1 AND ?2",
    [TG_SQL_ACCOUNTS] =
        "SELECT a.kind = 'revenue', a.owner, a.balance_high, a.balance_low, p.high, p.low"
        " FROM accounts a LEFT JOIN (SELECT account_id, sum(amount_picousd >> 32) AS high,"
        " sum(amount_picousd & 4294967295) AS low FROM postings GROUP BY account_id) p"
        " ON p.account_id = a.id ORDER BY a.kind, a.owner",
    [TG_SQL_UNBALANCED] =
        "SELECT t.id FROM transactions t LEFT JOIN postings p ON p.transaction_id = t.id"
        " GROUP BY t.id HAVING count(p.line) <> 2 OR sum(p.amount_picousd) <> 0"
        " UNION SELECT transaction_id FROM postings"
        "  WHERE transaction_id NOT IN (SELECT id FROM transactions)"
        " UNION SELECT id FROM transactions WHERE event_id NOT IN (SELECT id FROM events)"
        " ORDER BY 1",
};

const char *tg_account_kind_name(tg_account_kind kind)
{
    return kind == TG_ACCOUNT_RECEIVABLE ? "receivable" : "revenue";
}

static tg_store_sqlite *of(const tg_store *store)
{
    return (tg_store_sqlite *)((char *)(uintptr_t)store - offsetof(tg_store_sqlite, store));
}

sqlite3 *tg_store_sqlite_db(const tg_store *store) { return of(store)->db; }

sqlite3_stmt *tg_store_sqlite_stmt(tg_store *store, tg_sql which)
{
    tg_store_sqlite *s = of(store);
    if (!s->statements[which])
        sqlite3_prepare_v3(s->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[which],
                           NULL);
    return s->statements[which];
}

int tg_store_sqlite_status(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CANTOPEN:
        return -ENOENT;
    case SQLITE_READONLY:
        return -EROFS;
    default:
        return -EIO;
    }
}

int tg_store_sqlite_run(sqlite3_stmt *statement)
{
    if (!statement)
        return -EIO;
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return tg_store_sqlite_status(code);
}

int tg_store_sqlite_row(sqlite3_stmt *statement)
{
    if (!statement)
        return -EIO;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 0;
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? -ENOENT : tg_store_sqlite_status(code);
}

/* ---- transactions ---- */

static int op_begin(tg_store *store)
{
    return tg_store_sqlite_run(tg_store_sqlite_stmt(store, TG_SQL_BEGIN));
}

static int op_begin_read(tg_store *store)
{
    return tg_store_sqlite_run(tg_store_sqlite_stmt(store, TG_SQL_BEGIN_READ));
}

/* The bytes of a quarantined message are handed out from an open row, which would keep the view
 * alive. */
static void end_quarantine_row(tg_store *store)
{
    sqlite3_reset(of(store)->statements[TG_SQL_QUARANTINE_NEXT]);
}

static int op_commit(tg_store *store)
{
    end_quarantine_row(store);
    return tg_store_sqlite_run(tg_store_sqlite_stmt(store, TG_SQL_COMMIT));
}

static void op_rollback(tg_store *store)
{
    end_quarantine_row(store);
    if (!sqlite3_get_autocommit(of(store)->db)) /* some errors have rolled back already */
        sqlite3_exec(of(store)->db, "ROLLBACK", NULL, NULL, NULL);
}

static const char *op_error(const tg_store *store) { return sqlite3_errmsg(of(store)->db); }

static tg_store *op_close(tg_store *store)
{
    if (!store)
        return NULL;
    tg_store_sqlite *s = of(store);
    for (size_t i = 0; i < TG_SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    tg_buf_free(&s->text);
    free(s);
    return NULL;
}

static const tg_store_ops ops = {
    .close = op_close,
    .error = op_error,
    .begin = op_begin,
    .begin_read = op_begin_read,
    .commit = op_commit,
    .rollback = op_rollback,
    .event_add = tg_store_sqlite_event_add,
    .event_exists = tg_store_sqlite_event_exists,
    .transaction_add = tg_store_sqlite_transaction_add,
    .account_find = tg_store_sqlite_account_find,
    .account_add = tg_store_sqlite_account_add,
    .duplicates_add = tg_store_sqlite_duplicates_add,
    .quarantine_add = tg_store_sqlite_quarantine_add,
    .quarantine_resolve = tg_store_sqlite_quarantine_resolve,
    .offset_set = tg_store_sqlite_offset_set,
    .price_book_add = tg_store_sqlite_price_book_add,
    .outbox_remove = tg_store_sqlite_outbox_remove,
    .outbox_count = tg_store_sqlite_outbox_count,
    .outbox = tg_store_sqlite_outbox,
    .offset_get = tg_store_sqlite_offset_get,
    .price_book_known = tg_store_sqlite_price_book_known,
    .counts = tg_store_sqlite_counts,
    .statement = tg_store_sqlite_statement,
    .posted = tg_store_sqlite_posted,
    .accounts = tg_store_sqlite_accounts,
    .unbalanced = tg_store_sqlite_unbalanced,
    .quarantine_next = tg_store_sqlite_quarantine_next,
};

/* ---- open and migrate ---- */

static int schema_version(sqlite3 *db, int *ret)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return tg_store_sqlite_status(code);
}

/* One step of the schema and its version number, together or not at all. */
static int migrate_one(sqlite3 *db, int to)
{
    char set_version[64];
    sqlite3_snprintf(sizeof set_version, set_version, "PRAGMA user_version = %d", to);
    int code = sqlite3_exec(db, tg_store_sqlite_migrations[to - 1], NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, set_version, NULL, NULL, NULL);
    return tg_store_sqlite_status(code);
}

static int migrate(sqlite3 *db, const char *path, tg_error *err)
{
    int version = 0;
    int rc = tg_store_sqlite_status(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    if (rc == 0)
        rc = schema_version(db, &version);
    if (rc == 0 && version > tg_store_sqlite_version)
        rc = tg_error_set(err, -EPROTONOSUPPORT,
                          "%s has schema version %d; this program knows versions up to %d", path,
                          version, tg_store_sqlite_version);
    while (rc == 0 && version < tg_store_sqlite_version)
        rc = migrate_one(db, ++version);
    if (rc == 0)
        rc = tg_store_sqlite_status(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    if (rc < 0) {
        tg_error_set(err, rc, "%s: %s", path, sqlite3_errmsg(db));
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    return rc;
}

static int check_version(sqlite3 *db, const char *path, tg_error *err)
{
    int version = 0;
    int rc = schema_version(db, &version);
    if (rc < 0)
        return tg_error_set(err, rc, "%s: %s", path, sqlite3_errmsg(db));
    if (version != tg_store_sqlite_version)
        return tg_error_set(err, -EPROTONOSUPPORT, "%s has schema version %d, not %d", path,
                            version, tg_store_sqlite_version);
    return 0;
}

/* The file's own directory, one level; if that fails, opening the file says why. */
static void make_directory(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    if (slash && slash > path &&
        tg_str_copy(dir, sizeof dir, (tg_str){path, (size_t)(slash - path)}))
        mkdir(dir, 0700);
}

int tg_store_sqlite_open(const char *path, bool read_only, tg_error *err, tg_store **ret)
{
    int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    tg_store_sqlite *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->store.ops = &ops;
    tg_buf_init(&s->text, 0);
    if (!read_only)
        make_directory(path);
    int code = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    int rc = tg_store_sqlite_status(code);
    if (rc == 0) {
        sqlite3_busy_timeout(s->db, TG_STORE_BUSY_MS);
        if (!read_only)
            code = sqlite3_exec(s->db,
                                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                "PRAGMA foreign_keys = OFF; PRAGMA cache_size = -16384;",
                                NULL, NULL, NULL);
        rc = tg_store_sqlite_status(code);
    }
    if (rc < 0)
        tg_error_set(err, rc, "%s: %s", path, sqlite3_errmsg(s->db));
    else
        rc = read_only ? check_version(s->db, path, err) : migrate(s->db, path, err);
    if (rc < 0) {
        op_close(&s->store);
        return rc;
    }
    *ret = &s->store;
    return 0;
}
