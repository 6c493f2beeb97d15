/* Where the ledger lives: an interface, so that the rules of double entry (ledger.c) do not know
 * the database. SQLite implements it (store_sqlite.h); PostgreSQL can.
 *
 * All writes happen between begin and commit. Every function returns 0 or: -EBUSY (another writer),
 * -ENOSPC, -EIO, -ENOMEM; `error` then says what the database said. After a failure within a
 * transaction only rollback is allowed.
 *
 * Amounts are pico-dollars; a debit is positive, a credit negative. Threads: one store, one thread;
 * open another store on the same database to read from another thread.
 */
#ifndef TG_BILLING_LEDGER_STORE_H
#define TG_BILLING_LEDGER_STORE_H

#include "libs/base/error.h"
#include "libs/usage/event.h"

typedef enum tg_account_kind {
    TG_ACCOUNT_RECEIVABLE, /* what a tenant owes: owner is the tenant */
    TG_ACCOUNT_REVENUE     /* what a target earned: owner is the target */
} tg_account_kind;

typedef struct tg_posting {
    int64_t account_id;
    tg_picousd amount;
} tg_posting;

typedef enum tg_quarantine_kind {
    TG_QUARANTINE_FORM, /* not an event at all */
    TG_QUARANTINE_PRICE /* an event whose price we cannot confirm; tried again when prices change */
} tg_quarantine_kind;

/* A message of the usage topic. */
typedef struct tg_store_message {
    tg_str topic; /* NUL-terminated */
    int32_t partition;
    int64_t offset;
    tg_str bytes;
} tg_store_message;

typedef struct tg_statement_filter {
    const char *tenant;                /* "": every tenant */
    uint64_t from_unix_ns, to_unix_ns; /* of the attempt's beginning: [from, to); to 0: no end */
} tg_statement_filter;

/* One line of a statement; strings are valid during the callback. */
typedef struct tg_statement_row {
    const char *tenant, *target, *model, *task_type;
    uint64_t attempts, estimated_attempts;
    uint64_t input, cache_read, cache_write, output;
    tg_picousd_sum cost;
    bool price_assumed;
} tg_statement_row;

/* An event with what was posted for it; strings are valid during the callback. */
typedef struct tg_posted_row {
    int64_t event_id;
    const char *request_id, *tenant, *target;
    uint32_t attempt;
    uint64_t opened_unix_ns;
    tg_tokens tokens;
    tg_picousd cost;
    const char *debited, *credited; /* owners of the accounts; NULL when there is no such posting */
    tg_picousd debit, credit;
} tg_posted_row;

/* A transaction that was posted and is not known to be published; strings are valid during the
 * callback. */
typedef struct tg_outbox_row {
    int64_t transaction_id;
    const char *request_id, *tenant, *target, *model, *task_type, *price_book;
    uint32_t attempt;
    uint64_t opened_unix_ns, posted_unix_ns;
    bool price_assumed;
    const char *debited, *credited; /* owners: of a receivable, of revenue */
    tg_picousd debit, credit;
} tg_outbox_row;

typedef struct tg_account_row {
    tg_account_kind kind;
    const char *owner;
    tg_picousd_sum balance, postings; /* as kept, and as summed */
} tg_account_row;

typedef struct tg_store_counts {
    uint64_t events, transactions, postings;
    uint64_t duplicates;  /* events seen again and not posted */
    uint64_t quarantined; /* not resolved since */
} tg_store_counts;

typedef struct tg_store tg_store;

/* Callbacks return 0 to go on; anything else ends the walk and is returned. */
typedef struct tg_store_ops {
    tg_store *(*close)(tg_store *store); /* always NULL */
    const char *(*error)(const tg_store *store);

    int (*begin)(tg_store *store);      /* to write */
    int (*begin_read)(tg_store *store); /* one view of everything until rollback */
    int (*commit)(tg_store *store);
    void (*rollback)(tg_store *store);

    /* -EEXIST when (request_id, attempt) is there. */
    int (*event_add)(tg_store *store, const tg_usage_event *event, int64_t *ret_id);
    int (*event_exists)(tg_store *store, const char *request_id, uint32_t attempt, bool *ret);
    /* Also puts the transaction into the outbox. */
    int (*transaction_add)(tg_store *store, int64_t event_id, uint64_t now_unix_ns,
                           const tg_posting *postings, size_t count);
    int (*account_find)(tg_store *store, tg_account_kind kind, const char *owner, int64_t *ret_id);
    int (*account_add)(tg_store *store, int64_t id, tg_picousd_sum amount);
    int (*duplicates_add)(tg_store *store, uint64_t count);
    int (*quarantine_add)(tg_store *store, const tg_store_message *message, tg_quarantine_kind kind,
                          const char *reason, uint64_t now_unix_ns);
    int (*quarantine_resolve)(tg_store *store, int64_t id, uint64_t now_unix_ns);
    int (*offset_set)(tg_store *store, const char *topic, int32_t partition, int64_t next_offset);
    int (*price_book_add)(tg_store *store, const char *version, uint64_t now_unix_ns);
    /* Takes out of the outbox what is in it up to and with this transaction. */
    int (*outbox_remove)(tg_store *store, int64_t transaction_id);

    /* -ENOENT when nothing of that partition was ever read. */
    int (*offset_get)(tg_store *store, const char *topic, int32_t partition, int64_t *ret_next);
    int (*price_book_known)(tg_store *store, const char *version, bool *ret);
    int (*counts)(tg_store *store, tg_store_counts *ret);
    int (*outbox_count)(tg_store *store, uint64_t *ret);
    /* The first `limit` transactions of the outbox, by rising id. */
    int (*outbox)(tg_store *store, uint32_t limit, int (*row)(void *user, const tg_outbox_row *row),
                  void *user);
    int (*statement)(tg_store *store, const tg_statement_filter *filter,
                     int (*row)(void *user, const tg_statement_row *row), void *user);
    int (*posted)(tg_store *store, const char *tenant /* "": all */,
                  int (*row)(void *user, const tg_posted_row *row), void *user);
    int (*accounts)(tg_store *store, int (*row)(void *user, const tg_account_row *row), void *user);
    /* Transactions whose postings are not two that sum to zero, or that have no event. */
    int (*unbalanced)(tg_store *store, int (*row)(void *user, int64_t transaction_id), void *user);
    /* Unresolved ones of the kind, by rising id, after `after_id`; at most one call. -ENOENT: no
     * more. `ret_bytes` is valid until the next call. */
    int (*quarantine_next)(tg_store *store, tg_quarantine_kind kind, int64_t after_id,
                           int64_t *ret_id, tg_str *ret_bytes);
} tg_store_ops;

struct tg_store {
    const tg_store_ops *ops;
};

const char *tg_account_kind_name(tg_account_kind kind); /* receivable, revenue */

#endif
