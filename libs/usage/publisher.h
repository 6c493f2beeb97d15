/* Publishes records to a Kafka topic, best effort: what explains and what is measured, never money
 * (that goes through the spool or an outbox).
 *
 * Nothing waits for the broker: a record is handed to librdkafka, and when TG_PUBLISHER_WAITING_MAX
 * are waiting there already, or the broker has not taken it in TG_PUBLISHER_WAIT_MS_MAX, it is
 * dropped and counted.
 *
 * Threads: tg_publisher_send and _stats_get from any; tg_publisher_poll from one, about every
 * second or oftener: reports are counted in it. What `conf` points to must outlive the publisher.
 */
#ifndef TG_USAGE_PUBLISHER_H
#define TG_USAGE_PUBLISHER_H

#include "libs/base/error.h"
#include "libs/base/str.h"
#include "libs/config/settings.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

/* records waiting for the broker; past it they are dropped and counted */
#define TG_PUBLISHER_WAITING_MAX 10000
/* milliseconds a record waits for the broker's word before it is dropped */
#define TG_PUBLISHER_WAIT_MS_MAX 5000

typedef struct tg_publisher_conf {
    const char *what; /* begins every message: "kafka decisions" */
    const tg_kafka_link *link;
    const char *topic, *client_id;
    const char *header; /* of every record: names the process, by client_id */
} tg_publisher_conf;

typedef struct tg_publisher_stats {
    uint64_t published; /* acknowledged by the broker */
    /* Dropped: */
    uint64_t full;   /* at once: TG_PUBLISHER_WAITING_MAX were waiting, no memory was left, or the
                        topic is known to   be refused to us */
    uint64_t failed; /* not taken by the broker in TG_PUBLISHER_WAIT_MS_MAX */
} tg_publisher_stats;

typedef struct tg_publisher tg_publisher;

int tg_publisher_new(const tg_publisher_conf *conf, tg_error *err, tg_publisher **ret);
/* Packs `record`; records of one key keep their order. */
void tg_publisher_send(tg_publisher *publisher, tg_str key, const ProtobufCMessage *record);
void tg_publisher_poll(tg_publisher *publisher);
void tg_publisher_stats_get(tg_publisher *publisher, tg_publisher_stats *ret);
/* Gives what is waiting `flush_ms` to leave and drops the rest. */
tg_publisher *tg_publisher_free(tg_publisher *publisher, uint32_t flush_ms);

#endif
