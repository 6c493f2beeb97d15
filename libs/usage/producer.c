#include "libs/usage/producer.h"

#include "libs/base/fault.h"
#include "libs/base/list.h"
#include "libs/usage/kafka.h"
#include "libs/usage/tsan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "kafka producer"
#define IN_FLIGHT_MAX_DEFAULT 4096
#define GATHER_MS 2          /* closed records are handed over in groups, not one by one */
#define RETRY_MS 500         /* pause before a record whose delivery failed is sent again */
#define STATISTICS_MS "2000" /* how often librdkafka says whether a broker is connected */
#define DRAIN_MS 20          /* how often a flush looks */

typedef struct flush {
    void (*done)(void *user, bool all);
    void *user;
    uint64_t deadline_ms;
} flush;

struct tg_producer {
    tg_spool *spool;
    uv_loop_t *loop;
    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue; /* delivery reports, errors, statistics */
    tg_producer_conf conf;
    uv_async_t wake;  /* librdkafka's thread: the queue has something */
    uv_timer_t pump;  /* hands over what the spool holds */
    uv_timer_t drain; /* while flushing */
    unsigned handles_open;
    uint64_t cursor;  /* the last sequence handed over in order */
    uint64_t *failed; /* sequences to hand over again; at most in_flight_max */
    uint32_t failed_count;
    flush flush;
    bool restart; /* librdkafka's instance is beyond repair */
    tg_producer_stats stats;
};

static void schedule(tg_producer *p, uint64_t after_ms);

static void note_error(tg_producer *p, const char *text)
{
    tg_str_copy(p->stats.last_error, sizeof p->stats.last_error, tg_str_of(text));
}

/* ---- librdkafka ---- */

/* On librdkafka's thread. */
static void on_queue_ready(rd_kafka_t *kafka, void *opaque)
{
    (void)kafka;
    TG_TAKE_OVER(opaque);
    tg_producer *p = opaque;
    uv_async_send(&p->wake);
}

static int start_kafka(tg_producer *p, tg_error *err)
{
    static const tg_kafka_property properties[] = {
        {"enable.idempotence", "true"},    /* implies acks=all and order within a partition */
        {"partitioner", "murmur2_random"}, /* as other languages' clients place a key */
        {"message.timeout.ms", "0"},       /* never: the spool is the bound, not time */
        {"linger.ms", "5"},
        {"queue.buffering.max.kbytes", "1048576"}, /* in_flight_max is the bound */
        {"statistics.interval.ms", STATISTICS_MS},
    };
    rd_kafka_conf_t *conf;
    int rc = tg_kafka_configure(WHAT, p->conf.link, p->conf.client_id, properties,
                                sizeof properties / sizeof *properties, err, &conf);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
    rc = tg_kafka_new(WHAT, RD_KAFKA_PRODUCER, conf, err, &p->kafka);
    if (rc < 0)
        return rc;
    p->queue = rd_kafka_queue_get_main(p->kafka);
    TG_HAND_OVER(p);
    rd_kafka_queue_cb_event_enable(p->queue, on_queue_ready, p);
    /* what came before the callback was there announces itself to nobody */
    uv_async_send(&p->wake);
    return 0;
}

/* What is in flight is forgotten here and stays unacknowledged in the spool. */
static void stop_kafka(tg_producer *p)
{
    if (!p->kafka)
        return;
    rd_kafka_queue_cb_event_enable(p->queue, NULL, NULL);
    rd_kafka_purge(p->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_queue_destroy(p->queue);
    rd_kafka_destroy(p->kafka);
    p->kafka = NULL;
    p->queue = NULL;
}

/* ---- what librdkafka reports ---- */

/* The message's opaque is the record's sequence. */
static void on_report(tg_producer *p, const rd_kafka_message_t *message)
{
    uint64_t sequence = (uint64_t)(uintptr_t)message->_private;
    p->stats.in_flight--;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        tg_fault_point("producer_after_ack");
        p->stats.delivered++;
        p->stats.broker_up = true;
        tg_spool_acked(p->spool, sequence);
        return;
    }
    p->stats.failed++;
    note_error(p, rd_kafka_err2str(message->err));
    p->failed[p->failed_count++] = sequence;
}

static void on_error(tg_producer *p, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    note_error(p, rd_kafka_event_error_string(event));
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        p->stats.broker_up = false;
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(event))
        p->restart = true;
}

static void on_event(tg_producer *p, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR:
        while ((message = rd_kafka_event_message_next(event)))
            on_report(p, message);
        break;
    case RD_KAFKA_EVENT_ERROR:
        on_error(p, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        p->stats.broker_up = strstr(rd_kafka_event_stats(event), "\"state\":\"UP\"") != NULL;
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

static void restart(tg_producer *p)
{
    tg_error err = {""};
    stop_kafka(p);
    p->restart = false;
    p->stats.in_flight = p->failed_count = 0;
    p->cursor = 0; /* everything unacknowledged, again */
    if (start_kafka(p, &err) < 0) {
        note_error(p, err.text);
        p->restart = true;
    }
    schedule(p, RETRY_MS);
}

static void on_wake(uv_async_t *wake)
{
    tg_producer *p = TG_CONTAINER_OF(wake, tg_producer, wake);
    uint32_t failed_before = p->failed_count;
    if (!p->queue)
        return;
    for (rd_kafka_event_t *event; (event = rd_kafka_queue_poll(p->queue, 0));)
        on_event(p, event);
    if (p->restart)
        restart(p);
    else if (p->failed_count > failed_before)
        schedule(p, RETRY_MS);
    else
        schedule(p, GATHER_MS); /* there is room again */
}

/* ---- handing records to librdkafka ---- */

/* 0, or -EAGAIN when librdkafka takes no more now. */
static int hand_over(tg_producer *p, uint64_t sequence, tg_str tenant, tg_str event)
{
    rd_kafka_resp_err_t code = rd_kafka_producev(
        p->kafka, RD_KAFKA_V_TOPIC(p->conf.topic), RD_KAFKA_V_KEY(tenant.data, tenant.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)event.data, event.len),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE((void *)(uintptr_t)sequence),
        RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_error(p, rd_kafka_err2str(code));
        return -EAGAIN;
    }
    p->stats.sent++;
    p->stats.in_flight++;
    return 0;
}

static int compare_sequences(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sends again, in order, what failed. */
static int hand_over_failed(tg_producer *p)
{
    uint32_t done = 0;
    int rc = 0;
    if (p->failed_count > 1)
        qsort(p->failed, p->failed_count, sizeof *p->failed, compare_sequences);
    for (; done < p->failed_count; done++) {
        uint64_t sequence;
        tg_str tenant, event;
        if (tg_spool_next(p->spool, p->failed[done] - 1, &sequence, &tenant, &event) < 0 ||
            sequence != p->failed[done])
            continue; /* unreadable: it stays in the spool */
        rc = hand_over(p, sequence, tenant, event);
        if (rc < 0)
            break;
    }
    p->failed_count -= done;
    memmove(p->failed, p->failed + done, p->failed_count * sizeof *p->failed);
    return rc;
}

static void on_pump(uv_timer_t *timer)
{
    tg_producer *p = TG_CONTAINER_OF(timer, tg_producer, pump);
    uint64_t sequence;
    tg_str tenant, event;
    int rc = 0;
    if (p->restart || !p->kafka) {
        restart(p);
        return;
    }
    if (p->failed_count > 0)
        rc = hand_over_failed(p);
    while (rc == 0 && p->stats.in_flight + p->failed_count < p->conf.in_flight_max &&
           tg_spool_next(p->spool, p->cursor, &sequence, &tenant, &event) == 0) {
        rc = hand_over(p, sequence, tenant, event);
        if (rc == 0)
            p->cursor = sequence;
    }
    if (rc < 0)
        schedule(p, RETRY_MS);
}

static void schedule(tg_producer *p, uint64_t after_ms)
{
    if (!uv_is_active((uv_handle_t *)&p->pump))
        uv_timer_start(&p->pump, on_pump, after_ms, 0);
}

static void on_closed_record(void *user) { schedule(user, GATHER_MS); }

/* ---- the face ---- */

static void release(tg_producer *p)
{
    free(p->failed);
    free(p);
}

static void on_handle_closed(uv_handle_t *handle)
{
    tg_producer *p = handle->data;
    if (--p->handles_open == 0)
        release(p);
}

int tg_producer_new(uv_loop_t *loop, const tg_producer_conf *conf, tg_spool *spool, tg_error *err,
                    tg_producer **ret)
{
    tg_producer *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->loop = loop;
    p->spool = spool;
    p->conf = *conf;
    if (p->conf.in_flight_max == 0)
        p->conf.in_flight_max = IN_FLIGHT_MAX_DEFAULT;
    p->failed = calloc(p->conf.in_flight_max, sizeof *p->failed);
    int rc = p->failed ? uv_async_init(loop, &p->wake, on_wake) : -ENOMEM;
    if (rc < 0) {
        release(p);
        return tg_error_set(err, rc, "kafka producer: %s", strerror(-rc));
    }
    uv_timer_init(loop, &p->pump); /* cannot fail */
    uv_timer_init(loop, &p->drain);
    p->wake.data = p->pump.data = p->drain.data = p;
    p->handles_open = 3;
    rc = start_kafka(p, err);
    if (rc < 0) {
        tg_producer_close(p);
        return rc;
    }
    tg_spool_on_closed(spool, on_closed_record, p);
    schedule(p, 0); /* what an earlier process left */
    *ret = p;
    return 0;
}

void tg_producer_stats_get(const tg_producer *producer, tg_producer_stats *ret)
{
    *ret = producer->stats;
}

static void on_drain(uv_timer_t *timer)
{
    tg_producer *p = TG_CONTAINER_OF(timer, tg_producer, drain);
    tg_spool_stats stats;
    tg_spool_stats_get(p->spool, &stats);
    bool all = stats.unacked == 0;
    if (!all && uv_now(p->loop) < p->flush.deadline_ms)
        return;
    uv_timer_stop(timer);
    p->flush.done(p->flush.user, all);
}

void tg_producer_flush(tg_producer *p, uint32_t timeout_ms, void (*done)(void *user, bool all),
                       void *user)
{
    p->flush = (flush){done, user, uv_now(p->loop) + timeout_ms};
    uv_timer_start(&p->drain, on_drain, 0, DRAIN_MS);
}

void tg_producer_close(tg_producer *p)
{
    if (!p)
        return;
    tg_spool_on_closed(p->spool, NULL, NULL);
    stop_kafka(p);
    uv_close((uv_handle_t *)&p->wake, on_handle_closed);
    uv_close((uv_handle_t *)&p->pump, on_handle_closed);
    uv_close((uv_handle_t *)&p->drain, on_handle_closed);
}
