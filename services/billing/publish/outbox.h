/* Publishes what was posted: reads the ledger's outbox, sends each transaction to Kafka and takes
 * it out once the broker has it, in a thread of its own.
 *
 * The outbox is a table of the ledger's database, written in the transaction that posts. So a
 * transaction that was posted is published, whatever dies when: at least once, since a crash
 * between the broker's word and the removal sends it again. One round is a batch of at most
 * TG_OUTBOX_BATCH_MAX, in the order of posting; key = tenant, and a tenant's transactions keep
 * their order, except that what follows a failure may come twice. While the broker is away the
 * outbox grows, which is rows of one number beside a ledger that grows anyway; a round that failed
 * is tried again after a pause that grows to TG_OUTBOX_PAUSE_MS_MAX.
 *
 * Threads: `store` and everything in tg_outbox_conf is used by the thread; tg_outbox_wake and
 * tg_outbox_stats_get may be called from any; the rest belongs to the thread that made it.
 */
#ifndef TG_BILLING_PUBLISH_OUTBOX_H
#define TG_BILLING_PUBLISH_OUTBOX_H

#include "libs/base/error.h"
#include "libs/config/settings.h"
#include "services/billing/ledger/store.h"

/* transactions of one round: sent, confirmed and removed together */
#define TG_OUTBOX_BATCH_MAX 1000
/* milliseconds a transaction waits for the broker's word before its round has failed */
#define TG_OUTBOX_WAIT_MS_MAX 10000
#define TG_OUTBOX_PAUSE_MIN_MS 100
#define TG_OUTBOX_PAUSE_MS_MAX 5000 /* longest pause after rounds that failed */

typedef struct tg_outbox_conf {
    tg_store *store; /* to write, and nobody else's */
    const tg_kafka_link *link;
    const char *topic, *client_id;
    /* A round failed, and why; not called again before one has succeeded. */
    void (*trouble)(void *user, const char *what, const char *why);
    void *user;
} tg_outbox_conf;

typedef struct tg_outbox_stats {
    uint64_t published; /* acknowledged by the broker */
    uint64_t failed;    /* rounds */
    uint64_t waiting;   /* in the outbox, as of the last round */
} tg_outbox_stats;

typedef struct tg_outbox tg_outbox;

/* What `conf` points to must outlive the outbox. */
int tg_outbox_start(const tg_outbox_conf *conf, tg_error *err, tg_outbox **ret);
void tg_outbox_wake(tg_outbox *outbox); /* something was posted */
void tg_outbox_stats_get(tg_outbox *outbox, tg_outbox_stats *ret);
/* Gives what is there `flush_ms` to leave; the rest stays in the outbox. Always NULL. */
tg_outbox *tg_outbox_free(tg_outbox *outbox, uint32_t flush_ms);

#endif
