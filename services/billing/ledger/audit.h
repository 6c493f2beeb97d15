/* Questions to the ledger: whether it is right, and what the same tokens would have cost elsewhere.
 *
 * Each reads one view of the database, through a store of its own, so that they can run in another
 * thread than the one that posts. They take time in proportion to the events. */
#ifndef TG_BILLING_LEDGER_AUDIT_H
#define TG_BILLING_LEDGER_AUDIT_H

#include "libs/base/arena.h"
#include "services/billing/ledger/store.h"

#define TG_AUDIT_PROBLEMS_MAX 100 /* sentences; more are only counted */

typedef struct tg_audit {
    tg_store_counts counts;
    uint64_t problem_count;
    size_t problem_texts; /* of `problems`, at most TG_AUDIT_PROBLEMS_MAX */
    char *problems[TG_AUDIT_PROBLEMS_MAX];
} tg_audit;

/* Every transaction has two postings that sum to zero and its event; every event has its
 * transaction, which debits its tenant and credits its target by its cost; that cost is what the
 * price book says; every account's balance is the sum of its postings. Texts are in the arena. 0
 * (problems or not), or the store's error. */
int tg_audit_verify(tg_store *store, const tg_price_book *book, tg_arena *arena, tg_audit *ret);

typedef struct tg_comparison {
    uint64_t attempts;
    tg_picousd_sum actual, there;
} tg_comparison;

/* What a tenant's attempts ("": all tenants') cost, and what the same tokens would have cost on
 * `target`, each at the price of its time. -ENOENT with a reason when the target had no price at
 * some time. */
int tg_audit_compare(tg_store *store, const tg_price_book *book, const char *target,
                     const char *tenant, tg_error *err, tg_comparison *ret);

#endif
