#include "services/billing/consume/consumer.h"

#include "libs/usage/kafka.h"
#include "libs/usage/tsan.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WHAT "kafka consumer"
#define PAUSE_STEP_MS 50 /* how soon a pause notices that we stop */

struct tg_consumer {
    tg_consumer_conf conf;
    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue;
    rd_kafka_message_t **received; /* batch_events_max of them */
    tg_store_message *batch;
    pthread_t thread;
    bool troubled; /* trouble was told and not yet over */
    atomic_bool stop;
    void (*done)(void *user);
    void *done_user;
    atomic_bool assigned, stalled;
    atomic_int partitions;
    atomic_ullong batches, messages, lag;
};

static void trouble(tg_consumer *c, const char *what, const char *why)
{
    if (!c->troubled && c->conf.trouble)
        c->conf.trouble(c->conf.user, what, why);
    c->troubled = true;
}

/* False when the consumer is to stop. */
static bool pause_ms(tg_consumer *c, uint32_t ms)
{
    for (uint32_t slept = 0; slept < ms && !atomic_load(&c->stop); slept += PAUSE_STEP_MS)
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_STEP_MS * 1000000}, NULL);
    return !atomic_load(&c->stop);
}

static uint32_t longer(uint32_t ms)
{
    return ms * 2 < TG_CONSUMER_PAUSE_MAX_MS ? ms * 2 : TG_CONSUMER_PAUSE_MAX_MS;
}

/* ---- assignment ---- */

static void seek_to_ledger(tg_consumer *c, rd_kafka_topic_partition_list_t *partitions)
{
    for (int i = 0; i < partitions->cnt; i++) {
        rd_kafka_topic_partition_t *p = &partitions->elems[i];
        int64_t next = 0;
        uint32_t wait_ms = TG_CONSUMER_PAUSE_MIN_MS;
        int rc;
        while ((rc = c->conf.next_offset(c->conf.user, p->partition, &next)) < 0 && rc != -ENOENT) {
            trouble(c, "offsets_unreadable", strerror(-rc));
            if (!pause_ms(c, wait_ms))
                return;
            wait_ms = longer(wait_ms);
        }
        p->offset = rc == 0 ? next : RD_KAFKA_OFFSET_BEGINNING;
    }
}

static void on_rebalance(rd_kafka_t *kafka, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    tg_consumer *c = opaque;
    if (code != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        atomic_store(&c->assigned, false);
        atomic_store(&c->partitions, 0);
        rd_kafka_assign(kafka, NULL);
        return;
    }
    seek_to_ledger(c, partitions);
    if (atomic_load(&c->stop)) {
        rd_kafka_assign(kafka, NULL);
        return;
    }
    rd_kafka_assign(kafka, partitions);
    atomic_store(&c->partitions, partitions->cnt);
    atomic_store(&c->assigned, true);
}

/* ---- batches ---- */

/* Kafka's own record of where we are: for the eyes of operators, so failures do not matter. */
static void tell_kafka(tg_consumer *c, size_t count)
{
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(8);
    for (size_t i = 0; i < count; i++) {
        const tg_store_message *m = &c->batch[i];
        rd_kafka_topic_partition_t *p =
            rd_kafka_topic_partition_list_find(offsets, c->conf.topic, m->partition);
        if (!p)
            p = rd_kafka_topic_partition_list_add(offsets, c->conf.topic, m->partition);
        p->offset = m->offset + 1;
    }
    rd_kafka_commit(c->kafka, offsets, 1);
    rd_kafka_topic_partition_list_destroy(offsets);
}

/* How far behind the ends of its partitions the consumer is, by what the last fetches said. */
static void note_lag(tg_consumer *c)
{
    rd_kafka_topic_partition_list_t *assigned = NULL;
    uint64_t lag = 0;
    if (rd_kafka_assignment(c->kafka, &assigned) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    rd_kafka_position(c->kafka, assigned);
    for (int i = 0; i < assigned->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &assigned->elems[i];
        int64_t low, high;
        if (p->offset >= 0 &&
            rd_kafka_get_watermark_offsets(c->kafka, p->topic, p->partition, &low, &high) ==
                RD_KAFKA_RESP_ERR_NO_ERROR &&
            high > p->offset)
            lag += (uint64_t)(high - p->offset);
    }
    atomic_store(&c->lag, lag);
    rd_kafka_topic_partition_list_destroy(assigned);
}

/* Offers the batch until it is taken, or we stop. */
static bool deliver(tg_consumer *c, size_t count)
{
    int rc;
    uint32_t wait_ms = TG_CONSUMER_PAUSE_MIN_MS;
    while ((rc = c->conf.take(c->conf.user, c->batch, count)) < 0) {
        atomic_store(&c->stalled, true);
        trouble(c, "batch_refused", strerror(-rc));
        if (!pause_ms(c, wait_ms))
            return false; /* read again by whoever comes next */
        wait_ms = longer(wait_ms);
    }
    atomic_store(&c->stalled, false);
    c->troubled = false;
    atomic_fetch_add(&c->batches, 1);
    atomic_fetch_add(&c->messages, count);
    return true;
}

/* Turns what was received into a batch; messages that are errors are told and skipped. */
static size_t sort_out(tg_consumer *c, size_t received)
{
    size_t count = 0;
    for (size_t i = 0; i < received; i++) {
        const rd_kafka_message_t *m = c->received[i];
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            continue;
        if (m->err) {
            trouble(c, "kafka", rd_kafka_message_errstr(m));
            continue;
        }
        c->batch[count++] = (tg_store_message){.topic = {c->conf.topic, strlen(c->conf.topic)},
                                               .partition = m->partition,
                                               .offset = m->offset,
                                               .bytes = {m->payload, m->len}};
    }
    return count;
}

static void *run(void *user)
{
    tg_consumer *c = user;
    while (!atomic_load(&c->stop)) {
        ssize_t received = rd_kafka_consume_batch_queue(c->queue, (int)c->conf.batch_wait_ms,
                                                        c->received, c->conf.batch_events_max);
        if (received <= 0)
            continue;
        size_t count = sort_out(c, (size_t)received);
        if (count > 0 && deliver(c, count)) {
            tell_kafka(c, count);
            note_lag(c);
        }
        for (ssize_t i = 0; i < received; i++)
            rd_kafka_message_destroy(c->received[i]);
    }
    rd_kafka_consumer_close(c->kafka);
    atomic_store(&c->assigned, false);
    if (c->done)
        c->done(c->done_user);
    return NULL;
}

/* ---- life ---- */

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *opaque)
{
    (void)kafka, (void)code;
    trouble(opaque, "kafka", reason);
}

static int configure(const tg_consumer_conf *c, tg_error *err, rd_kafka_conf_t **ret)
{
    const tg_kafka_property properties[] = {
        {"group.id", c->group},
        /* A killed process is missed this soon; Kafka's brokers allow no less by default. */
        {"session.timeout.ms", "6000"},
        {"heartbeat.interval.ms", "1500"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "earliest"}, /* nothing that is still there is left out */
        {"topic.metadata.refresh.interval.ms", "10000"}, /* a topic may be made after we start */
        {"allow.auto.create.topics", "true"},
        {"isolation.level", "read_committed"},
    };
    int rc = tg_kafka_configure(WHAT, c->link, c->client_id, properties,
                                sizeof properties / sizeof *properties, err, ret);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_rebalance_cb(*ret, on_rebalance);
    rd_kafka_conf_set_error_cb(*ret, on_error);
    return 0;
}

static int subscribe(tg_consumer *c, tg_error *err)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, c->conf.topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_poll_set_consumer(c->kafka);
    c->queue = rd_kafka_queue_get_consumer(c->kafka);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(c->kafka, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code ? tg_error_set(err, -EINVAL, "kafka consumer: %s", rd_kafka_err2str(code)) : 0;
}

static void release(tg_consumer *c)
{
    if (c->queue)
        rd_kafka_queue_destroy(c->queue);
    if (c->kafka)
        rd_kafka_destroy(c->kafka);
    free(c->received);
    free(c->batch);
    free(c);
}

static int open_consumer(tg_consumer *c, tg_error *err)
{
    rd_kafka_conf_t *kafka;
    c->received = calloc(c->conf.batch_events_max, sizeof(rd_kafka_message_t *));
    c->batch = calloc(c->conf.batch_events_max, sizeof *c->batch);
    int rc = c->received && c->batch ? configure(&c->conf, err, &kafka) : -ENOMEM;
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_opaque(kafka, c);
    rc = tg_kafka_new(WHAT, RD_KAFKA_CONSUMER, kafka, err, &c->kafka);
    return rc < 0 ? rc : subscribe(c, err);
}

int tg_consumer_start(const tg_consumer_conf *conf, tg_error *err, tg_consumer **ret)
{
    tg_consumer *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->conf = *conf;
    int rc = open_consumer(c, err);
    if (rc == 0)
        rc = -pthread_create(&c->thread, NULL, run, c);
    if (rc < 0) {
        release(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void tg_consumer_state_get(const tg_consumer *c, tg_consumer_state *ret)
{
    *ret = (tg_consumer_state){.assigned = atomic_load(&c->assigned),
                               .stalled = atomic_load(&c->stalled),
                               .partitions = atomic_load(&c->partitions),
                               .batches = atomic_load(&c->batches),
                               .messages = atomic_load(&c->messages),
                               .lag = atomic_load(&c->lag)};
}

void tg_consumer_stop(tg_consumer *c, void (*done)(void *user), void *user)
{
    c->done = done;
    c->done_user = user;
    atomic_store(&c->stop, true);
}

tg_consumer *tg_consumer_free(tg_consumer *c)
{
    if (!c)
        return NULL;
    if (!atomic_load(&c->stop))
        tg_consumer_stop(c, NULL, NULL);
    pthread_join(c->thread, NULL);
    release(c);
    return NULL;
}
