/* librdkafka's own mock brokers in this process: real requests over real sockets. One topic. */
#ifndef TG_TESTS_UNIT_LIBS_USAGE_BROKERS_H
#define TG_TESTS_UNIT_LIBS_USAGE_BROKERS_H

#include "tests/unit/harness.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { BROKERS_API_PRODUCE = 0 }; /* for rd_kafka_mock_push_request_errors */

typedef struct brokers {
    rd_kafka_t *host; /* the mock cluster hangs on it */
    rd_kafka_mock_cluster_t *cluster;
    const char *topic, *addresses;
    int partitions;
} brokers;

static inline brokers brokers_start(const char *topic, int partitions)
{
    char reason[256];
    brokers b = {.topic = topic, .partitions = partitions};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
    b.host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    b.cluster = b.host ? rd_kafka_mock_cluster_new(b.host, 1) : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(b.cluster);
    CU_ASSERT_EQUAL_FATAL(rd_kafka_mock_topic_create(b.cluster, topic, partitions, 1), 0);
    b.addresses = rd_kafka_mock_cluster_bootstraps(b.cluster);
    return b;
}

static inline void brokers_stop(brokers *b)
{
    rd_kafka_mock_cluster_destroy(b->cluster);
    rd_kafka_destroy(b->host);
}

/* Hands every message of the topic to `each`, from the beginning to the present end. Their
 * number. */
static inline size_t brokers_read(const brokers *b,
                                  void (*each)(void *user, const rd_kafka_message_t *message),
                                  void *user)
{
    static const char *const properties[][2] = {
        {"group.id", "reader"}, {"enable.partition.eof", "true"}, {"log_level", "0"}};
    char reason[256];
    size_t total = 0;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", b->addresses, reason, sizeof reason);
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
        rd_kafka_conf_set(conf, properties[i][0], properties[i][1], reason, sizeof reason);
    rd_kafka_t *reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    CU_ASSERT_PTR_NOT_NULL_FATAL(reader);
    rd_kafka_poll_set_consumer(reader);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(b->partitions);
    for (int i = 0; i < b->partitions; i++)
        rd_kafka_topic_partition_list_add(all, b->topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(reader, all);
    for (int ends = 0, idle = 0; ends < b->partitions && idle < 100;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, 100);
        if (!m) {
            idle++;
            continue;
        }
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ends++;
        } else if (!m->err) {
            each(user, m);
            total++;
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_consumer_close(reader);
    rd_kafka_destroy(reader);
    return total;
}

#endif
