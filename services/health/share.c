#include "services/health/share.h"

#include "libs/base/clock.h"
#include "libs/base/list.h"
#include "libs/base/str.h"
#include "libs/rpc/wire.h"
#include "libs/usage/kafka.h"
#include "libs/usage/publisher.h"
#include "libs/usage/tsan.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "kafka observations"
enum {
    BATCH_MAX = 256,      /* messages applied in one turn of the loop */
    POLL_MS = 200,        /* how soon the thread notices that it is to stop */
    LOOK_MS = 500,        /* between looks for a topic that is not there yet */
    LOOK_AGAIN_MS = 30000, /* between looks for more partitions */
    LOOK_WAIT_MS = 1000
};

struct tg_share {
    tg_share_conf conf;
    tg_publisher *out;
    rd_kafka_t *consumer;
    uv_async_t wake;
    /* The reading thread's. */
    pthread_t thread;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue; /* of all partitions */
    int32_t partitions;      /* being read: 0..partitions-1 */
    bool looked;             /* the cluster has answered once */
    uint64_t look_at_ms;
    bool troubled;
    atomic_bool stop;
    /* From the thread to the loop. */
    pthread_mutex_t lock;
    rd_kafka_message_t *pending[TG_SHARE_IN_MAX]; /* a ring, oldest at `first` */
    size_t first, count;
    atomic_ullong consumed, in_full, late, unreadable;
};

static void count(atomic_ullong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- out, on the loop ---- */

void tg_share_observe(tg_share *s, const Tollgate__V1__Observation *o)
{
    char key[256];
    snprintf(key, sizeof key, "%s/%s", o->target, o->endpoint);
    tg_publisher_send(s->out, tg_str_of(key), &o->base);
}

/* ---- in, on the loop ---- */

static void apply(tg_share *s, const rd_kafka_message_t *message)
{
    const tg_str bytes = {message->payload, message->len};
    Tollgate__V1__Observation *o = (Tollgate__V1__Observation *)tg_rpc_wire_unpack(
        &tollgate__v1__observation__descriptor, NULL, bytes, NULL);
    if (!o) {
        count(&s->unreadable);
        return;
    }
    s->conf.apply(s->conf.user, o);
    count(&s->consumed);
    tollgate__v1__observation__free_unpacked(o, NULL);
}

static void on_wake(uv_async_t *wake)
{
    tg_share *s = TG_CONTAINER_OF(wake, tg_share, wake);
    rd_kafka_message_t *batch[BATCH_MAX];
    size_t taken = 0;
    pthread_mutex_lock(&s->lock);
    for (; taken < BATCH_MAX && s->count > 0; taken++, s->count--) {
        batch[taken] = s->pending[s->first];
        s->first = (s->first + 1) % TG_SHARE_IN_MAX;
    }
    bool more = s->count > 0;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < taken; i++) {
        apply(s, batch[i]);
        rd_kafka_message_destroy(batch[i]);
    }
    if (more)
        uv_async_send(wake); /* let the loop do something else in between */
}

/* ---- the reading thread ---- */

static uint64_t now_ms(void) { return tg_clock_mono_ns() / 1000000u; }

static bool wanted(tg_share *s, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers;
    const void *origin;
    size_t len;
    if (rd_kafka_message_headers(message, &headers) ||
        rd_kafka_header_get_last(headers, TG_SHARE_HEADER, &origin, &len)) {
        count(&s->unreadable);
        return false;
    }
    if (tg_str_is((tg_str){origin, len}, s->conf.instance_id))
        return false;
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    if (at_ms >= 0 && (uint64_t)at_ms + s->conf.age_max_ms < tg_clock_wall_ns() / 1000000u) {
        count(&s->late);
        return false;
    }
    return true;
}

/* Takes the messages over: each goes to the loop or is destroyed. */
static void hand_over(tg_share *s, rd_kafka_message_t **messages, size_t received)
{
    bool any = false;
    for (size_t i = 0; i < received; i++) {
        rd_kafka_message_t *message = messages[i];
        bool keep = !message->err && wanted(s, message);
        if (!message->err)
            s->troubled = false;
        if (keep) {
            pthread_mutex_lock(&s->lock);
            keep = s->count < TG_SHARE_IN_MAX;
            if (keep)
                s->pending[(s->first + s->count++) % TG_SHARE_IN_MAX] = message;
            pthread_mutex_unlock(&s->lock);
            if (!keep)
                count(&s->in_full);
        }
        if (!keep)
            rd_kafka_message_destroy(message);
        any = any || keep;
    }
    if (any)
        uv_async_send(&s->wake);
}

/* Partitions that are there at the first look are read from their end. Those that appear later hold
 * only what was said since, and are read whole. */
static void look_for_partitions(tg_share *s)
{
    const struct rd_kafka_metadata *metadata;
    uint64_t now = now_ms();
    if (now < s->look_at_ms)
        return;
    s->look_at_ms = now + LOOK_MS;
    if (rd_kafka_metadata(s->consumer, 0, s->topic, &metadata, LOOK_WAIT_MS))
        return;
    int64_t from = s->looked ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
    s->looked = true;
    while (metadata->topic_cnt == 1 && s->partitions < metadata->topics[0].partition_cnt &&
           rd_kafka_consume_start_queue(s->topic, s->partitions, from, s->queue) == 0)
        s->partitions++;
    if (s->partitions > 0)
        s->look_at_ms = now + LOOK_AGAIN_MS;
    rd_kafka_metadata_destroy(metadata);
}

static void *run(void *user)
{
    tg_share *s = user;
    while (!atomic_load(&s->stop)) {
        rd_kafka_message_t *batch[BATCH_MAX];
        look_for_partitions(s);
        batch[0] = rd_kafka_consume_queue(s->queue, POLL_MS);
        if (batch[0]) { /* and whatever else is there by now, without waiting for more */
            ssize_t more = rd_kafka_consume_batch_queue(s->queue, 0, batch + 1, BATCH_MAX - 1);
            hand_over(s, batch, 1 + (size_t)(more > 0 ? more : 0));
        }
        rd_kafka_poll(s->consumer, 0);
        tg_publisher_poll(s->out);
    }
    for (int32_t i = 0; i < s->partitions; i++)
        rd_kafka_consume_stop(s->topic, i);
    return NULL;
}

/* From rd_kafka_poll, so on the thread. */
static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *opaque)
{
    tg_share *s = opaque;
    (void)kafka;
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || s->troubled)
        return;
    s->troubled = true;
    s->conf.trouble(s->conf.user, reason);
}

/* ---- life ---- */

static int open_consumer(tg_share *s, tg_error *err)
{
    static const tg_kafka_property properties[] = {
        {"auto.offset.reset", "latest"},
        {"queued.max.messages.kbytes", "4096"}, /* for each partition */
    };
    rd_kafka_conf_t *conf;
    int rc = tg_kafka_configure(WHAT, s->conf.link, s->conf.instance_id, properties,
                                sizeof properties / sizeof *properties, err, &conf);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_opaque(conf, s);
    rd_kafka_conf_set_error_cb(conf, on_error);
    return tg_kafka_new(WHAT, RD_KAFKA_CONSUMER, conf, err, &s->consumer);
}

static int open_both(tg_share *s, tg_error *err)
{
    const tg_publisher_conf out = {.what = WHAT,
                                   .link = s->conf.link,
                                   .topic = s->conf.topic,
                                   .client_id = s->conf.instance_id,
                                   .header = TG_SHARE_HEADER};
    int rc = tg_publisher_new(&out, err, &s->out);
    if (rc == 0)
        rc = open_consumer(s, err);
    if (rc < 0)
        return rc;
    s->queue = rd_kafka_queue_new(s->consumer);
    s->topic = rd_kafka_topic_new(s->consumer, s->conf.topic, NULL);
    return s->topic ? 0 : tg_error_set(err, -EINVAL, WHAT ": topic '%s': %s", s->conf.topic,
                                       rd_kafka_err2str(rd_kafka_last_error()));
}

static void release(tg_share *s)
{
    for (; s->count > 0; s->count--) {
        rd_kafka_message_destroy(s->pending[s->first]);
        s->first = (s->first + 1) % TG_SHARE_IN_MAX;
    }
    if (s->topic)
        rd_kafka_topic_destroy(s->topic);
    if (s->queue)
        rd_kafka_queue_destroy(s->queue);
    if (s->consumer)
        rd_kafka_destroy(s->consumer);
    tg_publisher_free(s->out, 0);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void on_closed(uv_handle_t *handle)
{
    release(TG_CONTAINER_OF((uv_async_t *)handle, tg_share, wake));
}

int tg_share_start(uv_loop_t *loop, const tg_share_conf *conf, tg_error *err, tg_share **ret)
{
    tg_share *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->conf = *conf;
    pthread_mutex_init(&s->lock, NULL);
    int rc = open_both(s, err);
    if (rc == 0)
        rc = uv_async_init(loop, &s->wake, on_wake);
    if (rc < 0) {
        release(s);
        return rc;
    }
    rc = -pthread_create(&s->thread, NULL, run, s);
    if (rc < 0) {
        uv_close((uv_handle_t *)&s->wake, on_closed);
        return tg_error_set(err, rc, WHAT ": %s", strerror(-rc));
    }
    *ret = s;
    return 0;
}

void tg_share_stats_get(tg_share *s, tg_share_stats *ret)
{
    tg_publisher_stats out;
    tg_publisher_stats_get(s->out, &out);
    *ret = (tg_share_stats){.produced = out.published,
                            .consumed = atomic_load(&s->consumed),
                            .out_full = out.full,
                            .failed = out.failed,
                            .in_full = atomic_load(&s->in_full),
                            .late = atomic_load(&s->late),
                            .unreadable = atomic_load(&s->unreadable)};
}

void tg_share_close(tg_share *s)
{
    if (!s)
        return;
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    uv_close((uv_handle_t *)&s->wake, on_closed);
}
