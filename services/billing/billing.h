/* The billing process: the consumer's thread posts to the ledger; the loop answers questions about
 * it.
 *
 * Threads: `ledger`, `store` and the prices in them are used under `lock`, by the consumer's thread
 * and, when prices change, by the thread pool. Questions are answered in the thread pool from
 * stores of their own; the outbox has a thread and a store of its own too. All else belongs to
 * the loop. */
#ifndef TG_BILLING_BILLING_H
#define TG_BILLING_BILLING_H

#include "libs/config/mesh.h"
#include "libs/config/settings.h"
#include "libs/service/service.h"
#include "services/billing/consume/consumer.h"
#include "services/billing/ledger/ledger.h"
#include "services/billing/publish/outbox.h"

#include <pthread.h>
#include <stdatomic.h>

#define TG_BILLING_QUERIES_MAX 16            /* running or waiting; more are refused */
#define TG_BILLING_STATEMENT_LINES_MAX 50000 /* of one answer */

/* A price book with a count of its users, since a reload may replace it while a question reads it.
 */
typedef struct tg_billing_prices {
    tg_price_book *book;
    atomic_uint references;
} tg_billing_prices;

typedef struct tg_billing_metrics {
    tg_metrics *registry;
    tg_counter *posted, *duplicates, *quarantined, *batches;
    tg_counter *cost; /* pico-dollars, modulo 2^64 */
    tg_histogram *post_time;
    tg_counter *published, *publish_failed;
    tg_gauge *assigned, *partitions, *stalled, *lag, *reload_failed, *unpublished;
} tg_billing_metrics;

typedef struct tg_billing {
    const tg_billing_settings *settings;
    tg_service *service;
    pthread_mutex_t lock;
    tg_store *store;
    tg_ledger *ledger;
    tg_billing_prices *ledger_prices; /* those the ledger uses */
    tg_billing_prices *prices;        /* the newest; the loop's */
    tg_consumer *consumer;
    tg_store *outbox_store;
    tg_outbox *outbox; /* NULL without a topic */
    uv_async_t consumer_done;
    uv_timer_t tick;
    bool serving;
    unsigned queries;
    tg_billing_metrics metrics;
} tg_billing;

int tg_billing_prices_load(const char *path, tg_error *err, tg_billing_prices **ret);
tg_billing_prices *tg_billing_prices_ref(tg_billing_prices *prices);
tg_billing_prices *tg_billing_prices_unref(tg_billing_prices *prices); /* always NULL */

/* The gRPC face (questions.c). Allowances are declared and answer UNIMPLEMENTED. */
tg_rpc_service tg_billing_rpc_service(tg_billing *billing);

int tg_billing_metrics_init(tg_billing_metrics *metrics);
void tg_billing_metrics_collect(tg_billing *billing);

#endif
