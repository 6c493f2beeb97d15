/* The consumer against librdkafka's mock brokers in this process. What it delivers is kept in a
 * small model of the ledger: numbers seen, and the next offset of each partition, changed together.
 */
#include "services/billing/consume/consumer.h"
#include "tests/unit/libs/usage/brokers.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PARTITIONS = 3, NUMBERS = 300, WAIT_MS = 20000 };
#define TOPIC "usage"

typedef struct model {
    pthread_mutex_t lock;
    unsigned seen[NUMBERS];
    size_t total;
    int64_t next[PARTITIONS]; /* -1: never read */
    int refusals_left;        /* of batches */
    int unreadable_left;      /* of offsets */
    int troubles;
    char trouble[64];
    bool done;
} model;

static brokers mock;

static void produce(unsigned from, unsigned to)
{
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", mock.addresses, reason,
                      sizeof reason);
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    for (unsigned i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        CU_ASSERT_EQUAL(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(TOPIC),
                                          RD_KAFKA_V_PARTITION((int32_t)(i % PARTITIONS)),
                                          RD_KAFKA_V_VALUE(text, strlen(text)),
                                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                        0);
    }
    CU_ASSERT_EQUAL(rd_kafka_flush(producer, WAIT_MS), 0);
    rd_kafka_destroy(producer);
}

static int next_offset(void *user, int32_t partition, int64_t *ret)
{
    model *m = user;
    int rc = -ENOENT;
    pthread_mutex_lock(&m->lock);
    if (m->unreadable_left > 0) {
        m->unreadable_left--;
        rc = -EBUSY;
    } else if (m->next[partition] >= 0) {
        *ret = m->next[partition];
        rc = 0;
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static int take(void *user, const tg_store_message *messages, size_t count)
{
    model *m = user;
    pthread_mutex_lock(&m->lock);
    int rc = m->refusals_left > 0 ? -ENOSPC : 0;
    if (rc < 0)
        m->refusals_left--;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char text[16] = "";
        tg_str_copy(text, sizeof text, messages[i].bytes);
        m->seen[strtoul(text, NULL, 10) % NUMBERS]++;
        m->total++;
        m->next[messages[i].partition] = messages[i].offset + 1;
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static void trouble(void *user, const char *what, const char *why)
{
    model *m = user;
    pthread_mutex_lock(&m->lock);
    m->troubles++;
    snprintf(m->trouble, sizeof m->trouble, "%s: %s", what, why);
    pthread_mutex_unlock(&m->lock);
}

static void done(void *user)
{
    model *m = user;
    pthread_mutex_lock(&m->lock);
    m->done = true;
    pthread_mutex_unlock(&m->lock);
}

static model *model_new(void)
{
    model *m = calloc(1, sizeof *m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    pthread_mutex_init(&m->lock, NULL);
    for (int i = 0; i < PARTITIONS; i++)
        m->next[i] = -1;
    return m;
}

static tg_consumer *start_consumer(model *m, const char *group)
{
    static tg_kafka_link link;
    link = (tg_kafka_link){.brokers = mock.addresses};
    tg_consumer_conf conf = {.link = &link,
                             .topic = TOPIC,
                             .group = group,
                             .client_id = "test",
                             .batch_events_max = 50,
                             .batch_wait_ms = 20,
                             .next_offset = next_offset,
                             .take = take,
                             .trouble = trouble,
                             .user = m};
    tg_consumer *consumer = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_consumer_start(&conf, NULL, &consumer), 0);
    return consumer;
}

static size_t total_of(model *m)
{
    pthread_mutex_lock(&m->lock);
    size_t total = m->total;
    pthread_mutex_unlock(&m->lock);
    return total;
}

static bool wait_total(model *m, size_t total)
{
    for (int waited = 0; waited < WAIT_MS && total_of(m) < total; waited += 10)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (total_of(m) != total)
        printf("# %zu messages, not %zu; trouble: %s\n", total_of(m), total, m->trouble);
    return total_of(m) == total;
}

static void expect_each_once(const model *m, unsigned to)
{
    for (unsigned i = 0; i < to; i++)
        CU_ASSERT_EQUAL(m->seen[i], 1);
}

static void test_reads_from_the_beginning_and_goes_on(void)
{
    model *m = model_new();
    tg_consumer_state state;
    mock = brokers_start(TOPIC, PARTITIONS);
    produce(0, 100);
    tg_consumer *consumer = start_consumer(m, "goes-on");
    CU_ASSERT_TRUE(wait_total(m, 100));
    tg_consumer_state_get(consumer, &state);
    CU_ASSERT_TRUE(state.assigned);
    CU_ASSERT_EQUAL(state.partitions, PARTITIONS);
    tg_consumer_stop(consumer, done, m);
    consumer = tg_consumer_free(consumer);
    CU_ASSERT_TRUE(m->done);
    produce(100, 150);
    /* Another life: it starts where the ledger says. In another group, since librdkafka's mock
     * never answers a join to a group that everybody has left. */
    consumer = start_consumer(m, "goes-on-2");
    CU_ASSERT_TRUE(wait_total(m, 150));
    expect_each_once(m, 150);
    tg_consumer_free(consumer);
    free(m);
    brokers_stop(&mock);
}

/* Kafka's idea of where we were counts for nothing: a ledger restored from yesterday reads again.
 */
static void test_the_ledger_decides_where_to_start(void)
{
    model *m = model_new();
    mock = brokers_start(TOPIC, PARTITIONS);
    produce(0, 150);
    tg_consumer *consumer = start_consumer(m, "ledger-decides");
    CU_ASSERT_TRUE(wait_total(m, 150));
    tg_consumer_free(consumer);
    m->next[0] = 10; /* of 50 */
    m->next[1] = -1; /* never read */
    m->total = 0;
    consumer = start_consumer(m, "ledger-decides-2");
    CU_ASSERT_TRUE(wait_total(m, 40 + 50));
    tg_consumer_free(consumer);
    free(m);
    brokers_stop(&mock);
}

static void test_a_refused_batch_is_offered_again(void)
{
    model *m = model_new();
    mock = brokers_start(TOPIC, PARTITIONS);
    produce(0, 150);
    m->refusals_left = 3;
    m->unreadable_left = 2;
    tg_consumer *consumer = start_consumer(m, "refused");
    CU_ASSERT_TRUE(wait_total(m, 150));
    expect_each_once(m, 150);
    CU_ASSERT_EQUAL(m->troubles, 1); /* told once until it works again */
    tg_consumer_free(consumer);
    free(m);
    brokers_stop(&mock);
}

static void test_stops_while_refused(void)
{
    model *m = model_new();
    tg_consumer_state state = {0};
    mock = brokers_start(TOPIC, PARTITIONS);
    produce(0, 150);
    m->refusals_left = 1000000;
    tg_consumer *consumer = start_consumer(m, "stops");
    for (int waited = 0; waited < WAIT_MS && !state.stalled; waited += 10) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        tg_consumer_state_get(consumer, &state);
    }
    CU_ASSERT_TRUE(state.stalled);
    CU_ASSERT_PTR_NOT_NULL(strstr(m->trouble, "batch_refused"));
    tg_consumer_free(consumer);
    CU_ASSERT_EQUAL(m->total, 0);
    for (int i = 0; i < PARTITIONS; i++)
        CU_ASSERT_EQUAL(m->next[i], -1);
    free(m);
    brokers_stop(&mock);
}

static void test_bad_settings(void)
{
    const tg_kafka_link link = {
        .brokers = "127.0.0.1:1", .security = TG_KAFKA_SSL, .ca_file = "/nonexistent.pem"};
    tg_consumer_conf conf = {.link = &link,
                             .topic = TOPIC,
                             .group = "g",
                             .client_id = "test",
                             .batch_events_max = 1};
    tg_consumer *consumer = NULL;
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_consumer_start(&conf, &err, &consumer), -EINVAL);
    CU_ASSERT_TRUE(err.text[0] != '\0');
}

static const tg_test tests[] = {
    {"reads_from_the_beginning_and_goes_on", test_reads_from_the_beginning_and_goes_on},
    {"the_ledger_decides_where_to_start", test_the_ledger_decides_where_to_start},
    {"a_refused_batch_is_offered_again", test_a_refused_batch_is_offered_again},
    {"stops_while_refused", test_stops_while_refused},
    {"bad_settings", test_bad_settings},
};

TG_TEST_MAIN("services_billing_consume_consumer", tests)
