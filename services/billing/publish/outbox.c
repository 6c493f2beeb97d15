#include "services/billing/publish/outbox.h"

#include "libs/base/clock.h"
#include "libs/base/fault.h"
#include "libs/usage/kafka.h"
#include "libs/usage/tsan.h"

#include "tollgate/v1/ledger.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "kafka ledger"
#define IDLE_MS 1000  /* how often an outbox that nobody woke is looked at */
#define REPORT_MS 100 /* how soon a wait for the broker notices that we stop */
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

typedef struct sent {
    int64_t transaction_id;
    bool reported, acked;
} sent;

struct tg_outbox {
    tg_outbox_conf conf;
    rd_kafka_t *kafka;
    pthread_t thread;
    sent batch[TG_OUTBOX_BATCH_MAX];
    uint32_t count, reports, acked; /* of the round; acked: without a gap from its first */
    tg_error why;            /* the round's first failure */
    bool troubled;           /* trouble was told and not yet over */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool woken, stop;
    uint64_t stop_mono_ms; /* when to stop even though something is left */
    tg_outbox_stats stats;
};

static uint64_t mono_ms(void) { return tg_clock_mono_ns() / 1000000u; }

static bool stopping(tg_outbox *o)
{
    pthread_mutex_lock(&o->lock);
    bool stop = o->stop;
    pthread_mutex_unlock(&o->lock);
    return stop;
}

static bool out_of_time(tg_outbox *o)
{
    pthread_mutex_lock(&o->lock);
    bool out = o->stop && mono_ms() >= o->stop_mono_ms;
    pthread_mutex_unlock(&o->lock);
    return out;
}

/* Until woken, told to stop, or `ms` have passed. */
static void sleep_ms(tg_outbox *o, uint32_t ms, bool heed_wake)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&o->lock);
    while (!o->stop && !(heed_wake && o->woken))
        if (pthread_cond_timedwait(&o->changed, &o->lock, &until) == ETIMEDOUT)
            break;
    if (heed_wake)
        o->woken = false;
    pthread_mutex_unlock(&o->lock);
}

/* ---- one round ---- */

static char *text(const char *value) { return (char *)(uintptr_t)value; }

static size_t pack(const tg_outbox_row *row, uint8_t **ret)
{
    Tollgate__V1__LedgerPosting debit = TOLLGATE__V1__LEDGER_POSTING__INIT, credit = debit;
    Tollgate__V1__LedgerPosting *postings[] = {&debit, &credit};
    Tollgate__V1__LedgerTransaction out = TOLLGATE__V1__LEDGER_TRANSACTION__INIT;
    debit.account = text(tg_account_kind_name(TG_ACCOUNT_RECEIVABLE));
    debit.owner = text(row->debited);
    debit.amount_picousd = row->debit;
    credit.account = text(tg_account_kind_name(TG_ACCOUNT_REVENUE));
    credit.owner = text(row->credited);
    credit.amount_picousd = row->credit;
    out.transaction_id = row->transaction_id;
    out.request_id = text(row->request_id);
    out.attempt = row->attempt;
    out.tenant = text(row->tenant);
    out.target = text(row->target);
    out.model = text(row->model);
    out.task_type = text(row->task_type);
    out.opened_unix_ns = (int64_t)row->opened_unix_ns;
    out.posted_unix_ns = (int64_t)row->posted_unix_ns;
    out.price_book = text(row->price_book);
    out.price_assumed = row->price_assumed;
    out.n_postings = 2;
    out.postings = postings;
    *ret = malloc(tollgate__v1__ledger_transaction__get_packed_size(&out));
    return *ret ? tollgate__v1__ledger_transaction__pack(&out, *ret) : 0;
}

static int send_row(void *user, const tg_outbox_row *row)
{
    tg_outbox *o = user;
    uint8_t *value;
    size_t size = pack(row, &value);
    if (!value)
        return -ENOMEM;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        o->kafka, RD_KAFKA_V_TOPIC(o->conf.topic), RD_KAFKA_V_KEY(row->tenant, strlen(row->tenant)),
        RD_KAFKA_V_VALUE(value, size),
        RD_KAFKA_V_HEADER("billing-instance", o->conf.client_id,
                          (ssize_t)strlen(o->conf.client_id)),
        RD_KAFKA_V_OPAQUE((void *)(uintptr_t)o->count), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE),
        RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        free(value);
        return tg_error_set(&o->why, -EAGAIN, "%s", rd_kafka_err2str(code));
    }
    o->batch[o->count++] = (sent){.transaction_id = row->transaction_id};
    return 0;
}

/* From rd_kafka_poll, on our thread. */
static void on_report(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
    tg_outbox *o = opaque;
    sent *s = &o->batch[(uintptr_t)message->_private];
    (void)kafka;
    s->reported = true;
    s->acked = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    o->reports++;
    if (!s->acked)
        tg_error_set(&o->why, -EIO, "%s", rd_kafka_err2str(message->err));
}

static int remove_up_to(tg_outbox *o, int64_t transaction_id)
{
    tg_store *store = o->conf.store;
    int rc = store->ops->begin(store);
    if (rc == 0)
        rc = store->ops->outbox_remove(store, transaction_id);
    if (rc == 0)
        rc = store->ops->commit(store);
    if (rc < 0) {
        tg_error_set(&o->why, rc, "%s", store->ops->error(store));
        store->ops->rollback(store);
    }
    return rc;
}

static void count_waiting(tg_outbox *o)
{
    uint64_t waiting;
    if (o->conf.store->ops->outbox_count(o->conf.store, &waiting) < 0)
        return;
    pthread_mutex_lock(&o->lock);
    o->stats.waiting = waiting;
    pthread_mutex_unlock(&o->lock);
}

/* 0, or negative when something was in the way, with o->why. Every report of a round comes within
 * it, so that the next one may use the batch again. */
static int run_round(tg_outbox *o)
{
    o->count = o->reports = o->acked = 0;
    o->why.text[0] = '\0';
    int rc = o->conf.store->ops->outbox(o->conf.store, TG_OUTBOX_BATCH_MAX, send_row, o);
    if (rc < 0)
        tg_error_set(&o->why, rc, "%s", o->conf.store->ops->error(o->conf.store));
    while (o->reports < o->count) {
        if (out_of_time(o))
            rd_kafka_purge(o->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_poll(o->kafka, REPORT_MS);
    }
    while (o->acked < o->count && o->batch[o->acked].acked)
        o->acked++;
    if (rc == 0 && o->acked < o->count)
        rc = -EIO;
    if (o->acked > 0) {
        tg_fault_point("outbox_after_ack");
        int removed = remove_up_to(o, o->batch[o->acked - 1].transaction_id);
        rc = rc < 0 ? rc : removed;
    }
    return rc;
}

static void note(tg_outbox *o, int rc)
{
    pthread_mutex_lock(&o->lock);
    o->stats.published += o->acked;
    o->stats.failed += rc < 0;
    pthread_mutex_unlock(&o->lock);
    if (rc < 0 && !o->troubled && o->conf.trouble)
        o->conf.trouble(o->conf.user, "ledger_not_published", o->why.text);
    o->troubled = rc < 0;
}

static void *run(void *user)
{
    tg_outbox *o = user;
    uint32_t pause_ms = TG_OUTBOX_PAUSE_MIN_MS;
    while (!out_of_time(o)) {
        int rc = run_round(o);
        count_waiting(o);
        note(o, rc);
        if (rc < 0) {
            if (stopping(o))
                break; /* it stays in the outbox */
            sleep_ms(o, pause_ms, false);
            pause_ms =
                pause_ms * 2 < TG_OUTBOX_PAUSE_MS_MAX ? pause_ms * 2 : TG_OUTBOX_PAUSE_MS_MAX;
            continue;
        }
        pause_ms = TG_OUTBOX_PAUSE_MIN_MS;
        if (o->count == 0 && stopping(o))
            break;
        if (o->count == 0)
            sleep_ms(o, IDLE_MS, true);
    }
    return NULL;
}

/* ---- life ---- */

static int open_kafka(tg_outbox *o, tg_error *err)
{
    static const tg_kafka_property properties[] = {
        {"acks", "all"},
        {"max.in.flight.requests.per.connection", "1"}, /* a retry keeps the order */
        {"partitioner", "murmur2_random"}, /* as other languages' clients place a key */
        {"linger.ms", "5"},
        {"message.timeout.ms", TEXT(TG_OUTBOX_WAIT_MS_MAX)},
    };
    rd_kafka_conf_t *kafka;
    int rc = tg_kafka_configure(WHAT, o->conf.link, o->conf.client_id, properties,
                                sizeof properties / sizeof *properties, err, &kafka);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_opaque(kafka, o);
    rd_kafka_conf_set_dr_msg_cb(kafka, on_report);
    return tg_kafka_new(WHAT, RD_KAFKA_PRODUCER, kafka, err, &o->kafka);
}

static void release(tg_outbox *o)
{
    if (o->kafka)
        rd_kafka_destroy(o->kafka);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

int tg_outbox_start(const tg_outbox_conf *conf, tg_error *err, tg_outbox **ret)
{
    pthread_condattr_t monotonic;
    tg_outbox *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    o->conf = *conf;
    pthread_mutex_init(&o->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&o->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = open_kafka(o, err);
    if (rc == 0)
        rc = -pthread_create(&o->thread, NULL, run, o);
    if (rc < 0) {
        release(o);
        return rc;
    }
    *ret = o;
    return 0;
}

void tg_outbox_wake(tg_outbox *o)
{
    pthread_mutex_lock(&o->lock);
    o->woken = true;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
}

void tg_outbox_stats_get(tg_outbox *o, tg_outbox_stats *ret)
{
    pthread_mutex_lock(&o->lock);
    *ret = o->stats;
    pthread_mutex_unlock(&o->lock);
}

tg_outbox *tg_outbox_free(tg_outbox *o, uint32_t flush_ms)
{
    if (!o)
        return NULL;
    pthread_mutex_lock(&o->lock);
    o->stop = true;
    o->stop_mono_ms = mono_ms() + flush_ms;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    release(o);
    return NULL;
}
