/* Sends closed records of a spool to Kafka and acknowledges them to the spool.
 *
 * Idempotent producer, acks=all, key = tenant. At most `in_flight_max` records are handed to
 * librdkafka at a time; delivery reports come on librdkafka's thread and are carried to the loop by
 * one uv_async per batch. A record whose delivery failed is sent again, for ever, in the spool's
 * order of sequence: the spool is the queue and its limit is the bound.
 *
 * Threads: the loop's.
 */
#ifndef TG_USAGE_PRODUCER_H
#define TG_USAGE_PRODUCER_H

#include "libs/config/settings.h"
#include "libs/usage/spool.h"

typedef struct tg_producer_conf {
    const tg_kafka_link *link; /* this and the two strings must outlive the producer */
    const char *topic;      /* tollgate.usage.v1 */
    const char *client_id;
    uint32_t in_flight_max; /* default 4096 */
} tg_producer_conf;

typedef struct tg_producer tg_producer;

typedef struct tg_producer_stats {
    uint64_t sent;      /* handed to librdkafka */
    uint64_t delivered; /* acknowledged by the broker */
    uint64_t failed;    /* delivery reports with an error, each retried */
    uint64_t in_flight;
    bool broker_up;     /* the last word from the broker connection */
    char last_error[128];
} tg_producer_stats;

int tg_producer_new(uv_loop_t *loop, const tg_producer_conf *conf, tg_spool *spool, tg_error *err,
                    tg_producer **ret);
void tg_producer_stats_get(const tg_producer *producer, tg_producer_stats *ret);
/* Calls `done(all_delivered)` when nothing unacknowledged is left, or after timeout_ms. */
void tg_producer_flush(tg_producer *producer, uint32_t timeout_ms,
                       void (*done)(void *user, bool all), void *user);
/* Closes handles on the loop; what was not delivered stays in the spool. */
void tg_producer_close(tg_producer *producer);

#endif
