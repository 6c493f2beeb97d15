/* Reads a Kafka topic in batches, in a thread of its own, and takes its offsets from the ledger.
 *
 * The offsets that count are those the ledger committed together with its postings: at every
 * assignment of partitions the consumer asks for them and seeks there. Offsets are also committed
 * to Kafka after each batch, but only so that the usual tools can show the lag.
 *
 * `take` is called with one batch at a time. When it fails, the same batch is offered again after a
 * pause that grows to TG_CONSUMER_PAUSE_MAX_MS, and nothing is read meanwhile.
 *
 * Threads: everything in tg_consumer_conf is called on the consumer's thread; the rest belongs to
 * the thread that made it; tg_consumer_state_get may be called from any.
 */
#ifndef TG_BILLING_CONSUME_CONSUMER_H
#define TG_BILLING_CONSUME_CONSUMER_H

#include "libs/base/error.h"
#include "libs/config/settings.h"
#include "services/billing/ledger/store.h"

#define TG_CONSUMER_PAUSE_MIN_MS 100
#define TG_CONSUMER_PAUSE_MAX_MS 5000 /* longest pause before a refused batch is offered again */

typedef struct tg_consumer_conf {
    const tg_kafka_link *link;
    const char *topic, *group, *client_id;
    uint32_t batch_events_max;
    uint32_t batch_wait_ms;
    /* Where to go on. 0, -ENOENT: from the beginning; any other error is asked again after a pause.
     */
    int (*next_offset)(void *user, int32_t partition, int64_t *ret);
    int (*take)(void *user, const tg_store_message *messages, size_t count);
    /* The consumer cannot do something and says why; not called again before it has worked. */
    void (*trouble)(void *user, const char *what, const char *why);
    void *user;
} tg_consumer_conf;

typedef struct tg_consumer_state {
    bool assigned; /* a member of the group, with its partitions (none, if others have them all) */
    bool stalled;  /* the last batch was refused and waits */
    int partitions;
    uint64_t batches, messages;
    uint64_t lag; /* messages behind the end of the assigned partitions, as of the last batch */
} tg_consumer_state;

typedef struct tg_consumer tg_consumer;

/* What `conf` points to must outlive the consumer. */
int tg_consumer_start(const tg_consumer_conf *conf, tg_error *err, tg_consumer **ret);
void tg_consumer_state_get(const tg_consumer *consumer, tg_consumer_state *ret);
/* Asks the thread to finish the batch in hand and leave the group; `done` is called on the thread,
 * last. */
void tg_consumer_stop(tg_consumer *consumer, void (*done)(void *user), void *user);
/* Waits for the thread (stopping it first if nobody did) and frees. Always NULL. */
tg_consumer *tg_consumer_free(tg_consumer *consumer);

#endif
