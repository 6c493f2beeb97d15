#include "libs/usage/publisher.h"

#include "libs/usage/kafka.h"
#include "libs/usage/tsan.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

struct tg_publisher {
    tg_publisher_conf conf;
    rd_kafka_t *kafka;
    atomic_ullong published, full, failed;
};

static void count(atomic_ullong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* From rd_kafka_poll. */
static void on_report(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
    tg_publisher *p = opaque;
    (void)kafka;
    count(message->err ? &p->failed : &p->published);
}

int tg_publisher_new(const tg_publisher_conf *conf, tg_error *err, tg_publisher **ret)
{
    static const tg_kafka_property properties[] = {
        {"acks", "1"},
        {"partitioner", "murmur2_random"}, /* as other languages' clients place a key */
        {"linger.ms", "20"},
        {"message.timeout.ms", TEXT(TG_PUBLISHER_WAIT_MS_MAX)},
        {"queue.buffering.max.messages", TEXT(TG_PUBLISHER_WAITING_MAX)},
    };
    rd_kafka_conf_t *kafka;
    int rc = tg_kafka_configure(conf->what, conf->link, conf->client_id, properties,
                                sizeof properties / sizeof *properties, err, &kafka);
    if (rc < 0)
        return rc;
    tg_publisher *p = calloc(1, sizeof *p);
    if (!p) {
        rd_kafka_conf_destroy(kafka);
        return -ENOMEM;
    }
    p->conf = *conf;
    rd_kafka_conf_set_opaque(kafka, p);
    rd_kafka_conf_set_dr_msg_cb(kafka, on_report);
    rc = tg_kafka_new(conf->what, RD_KAFKA_PRODUCER, kafka, err, &p->kafka);
    if (rc < 0) {
        free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void tg_publisher_send(tg_publisher *p, tg_str key, const ProtobufCMessage *record)
{
    uint8_t *value = malloc(protobuf_c_message_get_packed_size(record) + 1);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__QUEUE_FULL;
    if (value) {
        size_t size = protobuf_c_message_pack(record, value);
        code = rd_kafka_producev(p->kafka, RD_KAFKA_V_TOPIC(p->conf.topic),
                                 RD_KAFKA_V_KEY(key.data, key.len), RD_KAFKA_V_VALUE(value, size),
                                 RD_KAFKA_V_HEADER(p->conf.header, p->conf.client_id,
                                                   (ssize_t)strlen(p->conf.client_id)),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE), RD_KAFKA_V_END);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        count(&p->full);
        free(value);
    }
}

void tg_publisher_poll(tg_publisher *p) { rd_kafka_poll(p->kafka, 0); }

void tg_publisher_stats_get(tg_publisher *p, tg_publisher_stats *ret)
{
    *ret = (tg_publisher_stats){.published = atomic_load(&p->published),
                                .full = atomic_load(&p->full),
                                .failed = atomic_load(&p->failed)};
}

tg_publisher *tg_publisher_free(tg_publisher *p, uint32_t flush_ms)
{
    if (p) {
        rd_kafka_flush(p->kafka, (int)flush_ms);
        rd_kafka_purge(p->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(p->kafka);
        free(p);
    }
    return NULL;
}
