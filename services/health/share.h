/* Replicas of health share what routers tell them, by a Kafka topic.
 *
 * Every observation that came by gRPC is produced, with the key target/endpoint, the Observation as
 * value and the header TG_SHARE_HEADER naming the replica. Every replica reads all partitions from
 * their end, in no consumer group, and applies what others produced; its own come back and are
 * passed over, so an instance id belongs to one replica only.
 *
 * Best effort, for these are statistics and not money: what goes out waits in a publisher
 * (libs/usage), at most TG_SHARE_IN_MAX wait for the loop, and what is older than `age_max_ms` when
 * it arrives says nothing about now. The rest is dropped and counted. With the broker away each
 * replica knows its own routers' observations.
 *
 * Threads: the loop's, which is woken once for a batch; a thread of its own reads.
 */
#ifndef TG_HEALTH_SHARE_H
#define TG_HEALTH_SHARE_H

#include "libs/base/error.h"
#include "libs/config/settings.h"

#include "tollgate/v1/health.pb-c.h"

#include <stdint.h>
#include <uv.h>

#define TG_SHARE_IN_MAX 4096 /* observations of others waiting for the loop */
#define TG_SHARE_HEADER "health-instance"

typedef struct tg_share tg_share;

/* What it points to must outlive the share. */
typedef struct tg_share_conf {
    const tg_kafka_link *link;
    const char *topic, *instance_id;
    uint32_t age_max_ms;
    /* On the loop: an observation of another replica, valid during the call. */
    void (*apply)(void *user, const Tollgate__V1__Observation *observation);
    /* On the reading thread: the brokers are away; not again before something came from them, which
     * may have been on its way. */
    void (*trouble)(void *user, const char *why);
    void *user;
} tg_share_conf;

typedef struct tg_share_stats {
    uint64_t produced;   /* acknowledged by the broker */
    uint64_t consumed;   /* of other replicas, applied */
    /* Dropped: */
    uint64_t out_full;   /* TG_PUBLISHER_WAITING_MAX were waiting */
    uint64_t failed;     /* not taken by the broker in TG_PUBLISHER_WAIT_MS_MAX */
    uint64_t in_full;    /* TG_SHARE_IN_MAX were waiting */
    uint64_t late;       /* older than age_max_ms */
    uint64_t unreadable; /* no replica's name, no Observation, or a NUL byte in a text */
} tg_share_stats;

int tg_share_start(uv_loop_t *loop, const tg_share_conf *conf, tg_error *err, tg_share **ret);
void tg_share_observe(tg_share *share, const Tollgate__V1__Observation *observation);
void tg_share_stats_get(tg_share *share, tg_share_stats *ret);
/* Waits for the thread (about a second at most), then closes on the loop; the pointer is dead after
 * the call. NULL is allowed. */
void tg_share_close(tg_share *share);

#endif
