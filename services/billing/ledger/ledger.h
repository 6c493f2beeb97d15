/* The ledger: every usage event is posted exactly once, as a double entry that debits what the
 * tenant owes and credits what the target earned.
 *
 * A batch of messages is one database transaction, together with the Kafka offsets it reaches: a
 * crash at any point either has it all or reads it again. An event seen again is counted, never
 * posted. What cannot be posted (no event, a price we do not confirm) goes to the quarantine with
 * its bytes and its reason; events quarantined for their price are tried again when the price book
 * changes.
 *
 * Errors are the store's: nothing of the batch was kept, and the same batch may be tried again.
 * Threads: one ledger, one thread. Time comes from the caller.
 */
#ifndef TG_BILLING_LEDGER_LEDGER_H
#define TG_BILLING_LEDGER_LEDGER_H

#include "services/billing/ledger/store.h"

typedef struct tg_ledger tg_ledger;

typedef struct tg_ledger_tally {
    uint64_t posted, duplicates, quarantined;
    tg_picousd_sum cost; /* of the posted ones */
} tg_ledger_tally;

/* `store` stays the caller's; `before_commit` (for tests) may be NULL. */
int tg_ledger_new(tg_store *store, void (*before_commit)(void *user), void *user, tg_ledger **ret);
tg_ledger *tg_ledger_free(tg_ledger *ledger);

/* Makes `book` (immutable, the caller's) the price book, and posts what was quarantined for its
 * price and now agrees. Before the first tg_ledger_post. */
int tg_ledger_set_prices(tg_ledger *ledger, const tg_price_book *book, uint64_t now_unix_ns,
                         tg_ledger_tally *ret);

/* Posts a batch and moves the offsets past it. `reason` gets the text of the first quarantine, or
 * the store's error. */
int tg_ledger_post(tg_ledger *ledger, const tg_store_message *messages, size_t count,
                   uint64_t now_unix_ns, tg_error *reason, tg_ledger_tally *ret);

#endif
