/* tollgate-billing: posts usage events to the ledger, and answers for it. */
#include "services/billing/billing.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "services/billing/ledger/store_sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICK_MS = 200,
    OUTBOX_FLUSH_MS = 5000 /* what Kafka has not taken by then stays in the outbox */
};

/* ---- on the consumer's thread ---- */

static int next_offset(void *user, int32_t partition, int64_t *ret)
{
    tg_billing *b = user;
    pthread_mutex_lock(&b->lock);
    int rc = b->store->ops->offset_get(b->store, b->settings->kafka.topic_usage, partition, ret);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static int take(void *user, const tg_store_message *messages, size_t count)
{
    tg_billing *b = user;
    tg_ledger_tally tally;
    tg_error reason = {""};
    uint64_t begun = tg_clock_mono_ns();
    pthread_mutex_lock(&b->lock);
    int rc = tg_ledger_post(b->ledger, messages, count, tg_clock_wall_ns(), &reason, &tally);
    pthread_mutex_unlock(&b->lock);
    if (rc < 0)
        return rc;
    if (b->outbox)
        tg_outbox_wake(b->outbox);
    tg_histogram_observe(b->metrics.post_time, tg_clock_mono_ns() - begun);
    tg_counter_add(b->metrics.batches, 1);
    tg_counter_add(b->metrics.posted, tally.posted);
    tg_counter_add(b->metrics.duplicates, tally.duplicates);
    tg_counter_add(b->metrics.quarantined, tally.quarantined);
    tg_counter_add(b->metrics.cost, (uint64_t)tally.cost);
    if (tally.quarantined > 0)
        tg_log(TG_LOG_WARN, "quarantined", "messages", "%lu", (unsigned long)tally.quarantined,
               "first", "%s", reason.text, NULL);
    return 0;
}

static void trouble(void *user, const char *what, const char *why)
{
    (void)user;
    tg_log(TG_LOG_WARN, what, "reason", "%s", why, "note", "%s",
           "offsets stay where they are until it works again", NULL);
}

/* On the outbox's thread. */
static void not_published(void *user, const char *what, const char *why)
{
    (void)user;
    tg_log(TG_LOG_WARN, what, "reason", "%s", why, "note", "%s",
           "transactions stay in the outbox until it works again", NULL);
}

static void consumer_done(void *user)
{
    tg_billing *b = user;
    uv_async_send(&b->consumer_done);
}

/* ---- prices ---- */

/* Under the lock, or before the consumer runs. */
static int use_prices(tg_billing *b, tg_billing_prices *prices, tg_ledger_tally *ret)
{
    int rc = tg_ledger_set_prices(b->ledger, prices->book, tg_clock_wall_ns(), ret);
    if (rc == 0) {
        tg_billing_prices_unref(b->ledger_prices);
        b->ledger_prices = tg_billing_prices_ref(prices);
    }
    return rc;
}

typedef struct reload {
    uv_work_t work;
    tg_billing *billing;
    tg_billing_prices *prices;
    tg_ledger_tally tally;
    tg_error err;
    int rc;
} reload;

static void reload_work(uv_work_t *work)
{
    reload *r = (reload *)work;
    tg_billing *b = r->billing;
    r->rc = tg_billing_prices_load(b->settings->prices_file, &r->err, &r->prices);
    if (r->rc < 0)
        return;
    pthread_mutex_lock(&b->lock);
    r->rc = use_prices(b, r->prices, &r->tally);
    pthread_mutex_unlock(&b->lock);
}

static void reload_done(uv_work_t *work, int status)
{
    reload *r = (reload *)work;
    tg_billing *b = r->billing;
    int rc = status < 0 ? status : r->rc;
    if (rc == 0) {
        tg_billing_prices_unref(b->prices);
        b->prices = tg_billing_prices_ref(r->prices);
        tg_counter_add(b->metrics.posted, r->tally.posted);
        tg_log(TG_LOG_INFO, "prices_loaded", "version", "%s",
               tg_price_book_version(b->prices->book), "posted_from_quarantine", "%lu",
               (unsigned long)r->tally.posted, "still_quarantined", "%lu",
               (unsigned long)r->tally.quarantined, NULL);
    } else {
        tg_log(TG_LOG_ERROR, "prices_refused", "reason", "%s",
               r->err.text[0] ? r->err.text : strerror(-rc), NULL);
    }
    tg_gauge_set(b->metrics.reload_failed, rc < 0);
    tg_billing_prices_unref(r->prices);
    free(r);
}

static void on_reload(void *user)
{
    tg_billing *b = user;
    reload *r = calloc(1, sizeof *r);
    if (!r)
        return;
    r->billing = b;
    if (uv_queue_work(tg_service_uv(b->service), &r->work, reload_work, reload_done) < 0)
        reload_done(&r->work, -ENOMEM);
}

/* ---- the frame ---- */

static bool on_ready(void *user, const char **ret_why)
{
    tg_billing *b = user;
    tg_consumer_state state = {0};
    if (b->consumer)
        tg_consumer_state_get(b->consumer, &state);
    if (tg_service_draining(b->service))
        *ret_why = "draining";
    else if (!state.assigned)
        *ret_why = "not in the consumer group yet";
    else if (state.stalled)
        *ret_why = "the database refuses to write";
    else
        return true;
    return false;
}

static void on_tick(uv_timer_t *timer)
{
    tg_billing *b = timer->data;
    const char *why;
    bool ready = on_ready(b, &why);
    if (ready != b->serving)
        tg_service_set_serving(b->service, ready);
    b->serving = ready;
}

static void on_consumer_done(uv_async_t *async)
{
    tg_service_drained(((tg_billing *)async->data)->service);
}

static void on_drain(void *user, tg_service *service)
{
    tg_billing *b = user;
    (void)service;
    tg_consumer_stop(b->consumer, consumer_done, b);
}

static void on_collect(void *user) { tg_billing_metrics_collect(user); }

/* ---- start and stop ---- */

static int start_service(tg_billing *b, tg_error *err)
{
    const tg_billing_settings *s = b->settings;
    tg_service_conf conf = {
        .name = "billing",
        .settings = &s->common,
        .grpc_listen = s->grpc_listen,
        .metrics = b->metrics.registry,
        .ready = on_ready,
        .collect = on_collect,
        .drain = on_drain,
        .reload = on_reload,
        .user = b,
    };
    return tg_service_new(&conf, err, &b->service);
}

static int start_ledger(tg_billing *b, tg_error *err)
{
    tg_ledger_tally tally;
    tg_tenants *tenants = NULL;
    /* Only checked: a tenant that is not listed (any more) is charged all the same. */
    int rc = tg_tenants_load(b->settings->tenants_file, err, &tenants);
    tg_tenants_free(tenants);
    if (rc == 0)
        rc = tg_billing_prices_load(b->settings->prices_file, err, &b->prices);
    if (rc == 0)
        rc = tg_store_sqlite_open(b->settings->database, false, err, &b->store);
    if (rc == 0)
        rc = tg_ledger_new(b->store, NULL, NULL, &b->ledger);
    if (rc == 0) {
        rc = use_prices(b, b->prices, &tally);
        if (rc < 0)
            tg_error_set(err, rc, "%s: %s", b->settings->database, strerror(-rc));
    }
    return rc;
}

static int start_outbox(tg_billing *b, tg_error *err)
{
    const tg_billing_settings *s = b->settings;
    if (!*s->kafka.topic_ledger)
        return 0;
    int rc = tg_store_sqlite_open(s->database, false, err, &b->outbox_store);
    if (rc < 0)
        return rc;
    const tg_outbox_conf conf = {.store = b->outbox_store,
                                 .link = &s->kafka.link,
                                 .topic = s->kafka.topic_ledger,
                                 .client_id = s->common.instance_id,
                                 .trouble = not_published,
                                 .user = b};
    return tg_outbox_start(&conf, err, &b->outbox);
}

static int start_handles(tg_billing *b)
{
    uv_loop_t *loop = tg_service_uv(b->service);
    int rc = uv_async_init(loop, &b->consumer_done, on_consumer_done);
    rc = rc < 0 ? rc : uv_timer_init(loop, &b->tick);
    rc = rc < 0 ? rc : uv_timer_start(&b->tick, on_tick, TICK_MS, TICK_MS);
    b->consumer_done.data = b->tick.data = b;
    return rc;
}

static int start(tg_billing *b, tg_arena *arena, const char *config, tg_error *err)
{
    tg_rpc_service service = tg_billing_rpc_service(b);
    int rc = tg_billing_settings_load(config, err, arena, &b->settings);
    if (rc == 0)
        rc = tg_billing_metrics_init(&b->metrics);
    if (rc == 0)
        rc = start_service(b, err);
    if (rc == 0)
        rc = start_ledger(b, err);
    if (rc == 0)
        rc = start_outbox(b, err);
    if (rc == 0)
        rc = start_handles(b);
    if (rc == 0)
        rc = tg_service_listen(b->service, &service, 1, err);
    if (rc < 0)
        return rc;
    tg_service_set_serving(b->service, false); /* until the consumer has its partitions */
    const tg_billing_settings *s = b->settings;
    tg_consumer_conf consumer = {.link = &s->kafka.link,
                                 .topic = s->kafka.topic_usage,
                                 .group = s->kafka.group,
                                 .client_id = s->common.instance_id,
                                 .batch_events_max = s->batch_events_max,
                                 .batch_wait_ms = s->batch_wait_ms,
                                 .next_offset = next_offset,
                                 .take = take,
                                 .trouble = trouble,
                                 .user = b};
    return tg_consumer_start(&consumer, err, &b->consumer);
}

static void stop(tg_billing *b, tg_arena *arena)
{
    b->consumer = tg_consumer_free(b->consumer);
    b->outbox = tg_outbox_free(b->outbox, OUTBOX_FLUSH_MS);
    if (b->outbox_store)
        b->outbox_store = b->outbox_store->ops->close(b->outbox_store);
    uv_close((uv_handle_t *)&b->consumer_done, NULL);
    uv_close((uv_handle_t *)&b->tick, NULL);
    b->service = tg_service_free(b->service);
    b->ledger = tg_ledger_free(b->ledger);
    if (b->store)
        b->store->ops->close(b->store);
    b->ledger_prices = tg_billing_prices_unref(b->ledger_prices);
    b->prices = tg_billing_prices_unref(b->prices);
    b->metrics.registry = tg_metrics_free(b->metrics.registry);
    tg_arena_free(arena);
}

int main(int argc, char **argv)
{
    static tg_billing billing = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static tg_arena arena; /* of the process: a start that fails leaves it to the exit */
    tg_error err = {""};
    const char *config = tg_service_config_argument(argc, argv, "tollgate-billing");
    tg_rpc_init();
    tg_arena_init(&arena, 0);
    int rc = start(&billing, &arena, config, &err);
    if (rc < 0) {
        tg_log(TG_LOG_ERROR, "start_failed", "reason", "%s", err.text[0] ? err.text : strerror(-rc),
               NULL);
        return 1;
    }
    rc = tg_service_run(billing.service);
    stop(&billing, &arena);
    tg_rpc_shutdown();
    return rc < 0 ? 1 : 0;
}
