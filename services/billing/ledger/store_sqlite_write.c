#include "libs/json/json.h"
#include "services/billing/ledger/store_sqlite_internal.h"

#include <errno.h>

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static void bind_u64(sqlite3_stmt *statement, int at, uint64_t value)
{
    sqlite3_bind_int64(statement, at, (sqlite3_int64)value);
}

/* {"target":cost,…}, which SQLite's JSON functions can read. */
static int put_counterfactuals(tg_buf *text, const tg_usage_event *e)
{
    tg_buf_clear(text);
    tg_json_out out = tg_json_out_to(text);
    tg_json_out_begin_object(&out);
    for (uint32_t i = 0; i < e->counterfactual_count; i++) {
        tg_json_out_key(&out, e->counterfactuals[i].target);
        tg_json_out_i64(&out, e->counterfactuals[i].cost_picousd);
    }
    tg_json_out_end_object(&out);
    return out.status;
}

static void bind_event_texts(sqlite3_stmt *s, const tg_usage_event *e)
{
    bind_text(s, 1, e->request_id);
    sqlite3_bind_int64(s, 2, e->attempt);
    bind_text(s, 3, e->tenant);
    bind_text(s, 4, e->key_id);
    bind_text(s, 5, e->client_request_id);
    bind_text(s, 6, e->task_type);
    bind_text(s, 7, e->rule);
    bind_text(s, 8, e->policy_version);
    bind_text(s, 9, e->target);
    bind_text(s, 10, e->endpoint);
    bind_text(s, 11, e->provider);
    bind_text(s, 12, e->instance_id);
    bind_text(s, 13, e->model_requested);
    bind_text(s, 14, e->model_sent);
    bind_text(s, 15, e->model_answered);
    bind_text(s, 34, e->price_book);
    bind_text(s, 38, e->traceparent);
}

static void bind_event_numbers(sqlite3_stmt *s, const tg_usage_event *e)
{
    bind_u64(s, 16, e->tokens.input);
    bind_u64(s, 17, e->tokens.cache_read);
    bind_u64(s, 18, e->tokens.cache_write_5m);
    bind_u64(s, 19, e->tokens.cache_write_1h);
    bind_u64(s, 20, e->tokens.output);
    bind_u64(s, 21, e->tokens.reasoning);
    sqlite3_bind_int(s, 22, (int)e->input_source);
    sqlite3_bind_int(s, 23, (int)e->output_source);
    bind_u64(s, 24, e->opened_unix_ns);
    bind_u64(s, 25, e->closed_unix_ns);
    bind_u64(s, 26, e->queue_ns);
    bind_u64(s, 27, e->first_token_ns);
    bind_u64(s, 28, e->total_ns);
    bind_u64(s, 29, e->gpu_ns);
    sqlite3_bind_int(s, 30, (int)e->outcome);
    sqlite3_bind_int64(s, 31, e->upstream_status);
    sqlite3_bind_int(s, 32, e->batch);
    sqlite3_bind_int(s, 33, e->stream);
    sqlite3_bind_int64(s, 35, e->cost_picousd);
    sqlite3_bind_int(s, 36, e->price_assumed);
}

int tg_store_sqlite_event_add(tg_store *store, const tg_usage_event *event, int64_t *ret_id)
{
    tg_store_sqlite *self = (tg_store_sqlite *)((char *)store - offsetof(tg_store_sqlite, store));
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_EVENT_ADD);
    int rc = put_counterfactuals(&self->text, event);
    if (rc < 0 || !s)
        return rc < 0 ? rc : -EIO;
    bind_event_texts(s, event);
    bind_event_numbers(s, event);
    sqlite3_bind_text(s, 37, self->text.data, (int)self->text.len, SQLITE_STATIC);
    rc = tg_store_sqlite_run(s);
    if (rc < 0)
        return rc;
    if (sqlite3_changes(self->db) == 0)
        return -EEXIST;
    *ret_id = sqlite3_last_insert_rowid(self->db);
    return 0;
}

int tg_store_sqlite_event_exists(tg_store *store, const char *request_id, uint32_t attempt,
                                 bool *ret)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_EVENT_EXISTS);
    bind_text(s, 1, request_id);
    sqlite3_bind_int64(s, 2, attempt);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    *ret = rc == 0;
    sqlite3_reset(s);
    return 0;
}

int tg_store_sqlite_transaction_add(tg_store *store, int64_t event_id, uint64_t now_unix_ns,
                                    const tg_posting *postings, size_t count)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_TRANSACTION_ADD);
    sqlite3_bind_int64(s, 1, event_id);
    bind_u64(s, 2, now_unix_ns);
    int rc = tg_store_sqlite_run(s);
    if (rc < 0)
        return rc;
    sqlite3_int64 id = sqlite3_last_insert_rowid(tg_store_sqlite_db(store));
    sqlite3_stmt *line = tg_store_sqlite_stmt(store, TG_SQL_POSTING_ADD);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        sqlite3_bind_int64(line, 1, id);
        sqlite3_bind_int64(line, 2, (sqlite3_int64)i);
        sqlite3_bind_int64(line, 3, postings[i].account_id);
        sqlite3_bind_int64(line, 4, postings[i].amount);
        rc = tg_store_sqlite_run(line);
    }
    if (rc < 0)
        return rc;
    s = tg_store_sqlite_stmt(store, TG_SQL_OUTBOX_ADD);
    sqlite3_bind_int64(s, 1, id);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_outbox_remove(tg_store *store, int64_t transaction_id)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_OUTBOX_REMOVE);
    sqlite3_bind_int64(s, 1, transaction_id);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_account_find(tg_store *store, tg_account_kind kind, const char *owner,
                                 int64_t *ret_id)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_ACCOUNT_FIND);
    bind_text(s, 1, tg_account_kind_name(kind));
    bind_text(s, 2, owner);
    int rc = tg_store_sqlite_row(s);
    if (rc == 0) {
        *ret_id = sqlite3_column_int64(s, 0);
        sqlite3_reset(s);
    }
    if (rc != -ENOENT)
        return rc;
    s = tg_store_sqlite_stmt(store, TG_SQL_ACCOUNT_MAKE);
    bind_text(s, 1, tg_account_kind_name(kind));
    bind_text(s, 2, owner);
    rc = tg_store_sqlite_run(s);
    if (rc == 0)
        *ret_id = sqlite3_last_insert_rowid(tg_store_sqlite_db(store));
    return rc;
}

int tg_store_sqlite_account_add(tg_store *store, int64_t id, tg_picousd_sum amount)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_ACCOUNT_BALANCE);
    sqlite3_bind_int64(s, 1, id);
    int rc = tg_store_sqlite_row(s);
    if (rc < 0)
        return rc == -ENOENT ? -EIO : rc;
    tg_money_words words = {sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1)};
    sqlite3_reset(s);
    words = tg_money_split(tg_money_join(words) + amount);
    s = tg_store_sqlite_stmt(store, TG_SQL_ACCOUNT_SET);
    sqlite3_bind_int64(s, 1, id);
    sqlite3_bind_int64(s, 2, words.high);
    bind_u64(s, 3, words.low);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_duplicates_add(tg_store *store, uint64_t count)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_DUPLICATES_ADD);
    bind_u64(s, 1, count);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_quarantine_add(tg_store *store, const tg_store_message *message,
                                   tg_quarantine_kind kind, const char *reason,
                                   uint64_t now_unix_ns)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_QUARANTINE_ADD);
    bind_text(s, 1, message->topic.data);
    sqlite3_bind_int(s, 2, message->partition);
    sqlite3_bind_int64(s, 3, message->offset);
    sqlite3_bind_int(s, 4, (int)kind);
    bind_text(s, 5, reason);
    /* A NULL pointer would be NULL, not an empty blob. */
    sqlite3_bind_blob64(s, 6, message->bytes.len ? message->bytes.data : "", message->bytes.len,
                        SQLITE_STATIC);
    bind_u64(s, 7, now_unix_ns);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_quarantine_resolve(tg_store *store, int64_t id, uint64_t now_unix_ns)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_QUARANTINE_RESOLVE);
    sqlite3_bind_int64(s, 1, id);
    bind_u64(s, 2, now_unix_ns);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_offset_set(tg_store *store, const char *topic, int32_t partition,
                               int64_t next_offset)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_OFFSET_SET);
    bind_text(s, 1, topic);
    sqlite3_bind_int(s, 2, partition);
    sqlite3_bind_int64(s, 3, next_offset);
    return tg_store_sqlite_run(s);
}

int tg_store_sqlite_price_book_add(tg_store *store, const char *version, uint64_t now_unix_ns)
{
    sqlite3_stmt *s = tg_store_sqlite_stmt(store, TG_SQL_PRICE_BOOK_ADD);
    bind_text(s, 1, version);
    bind_u64(s, 2, now_unix_ns);
    return tg_store_sqlite_run(s);
}
