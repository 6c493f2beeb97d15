/* The best-effort publisher against librdkafka's mock brokers: what arrives, and what is counted
 * when it cannot. */
#include "libs/usage/publisher.h"
#include "tests/unit/libs/usage/brokers.h"

#include "tollgate/v1/decisions.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PARTITIONS = 2, COUNT = 500, WAIT_MS = 20000 };

static tg_publisher *make(const tg_kafka_link *link)
{
    tg_publisher *publisher = NULL;
    const tg_publisher_conf conf = {.what = "kafka test",
                                    .link = link,
                                    .topic = "decisions",
                                    .client_id = "router-t",
                                    .header = "router-instance"};
    CU_ASSERT_EQUAL_FATAL(tg_publisher_new(&conf, NULL, &publisher), 0);
    return publisher;
}

/* Records of the tenants "0", "1" and "2" in turn, numbered by the time of decision. */
static void publish(tg_publisher *publisher, int64_t from, int64_t count)
{
    for (int64_t i = from; i < from + count; i++) {
        Tollgate__V1__Decision record = TOLLGATE__V1__DECISION__INIT;
        char tenant[2] = {(char)('0' + i % 3), '\0'};
        record.tenant = tenant;
        record.decided_unix_ns = i;
        tg_publisher_send(publisher, tg_str_of(tenant), &record.base);
    }
}

static tg_publisher_stats poll_until(tg_publisher *publisher, uint64_t reports)
{
    tg_publisher_stats stats;
    for (unsigned ms = 0; ms < WAIT_MS; ms += 5) {
        tg_publisher_poll(publisher);
        tg_publisher_stats_get(publisher, &stats);
        if (stats.published + stats.failed >= reports)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return stats;
}

typedef struct reading {
    int64_t last[3]; /* by tenant */
    unsigned seen[COUNT];
} reading;

static void see(void *user, const rd_kafka_message_t *m)
{
    reading *r = user;
    rd_kafka_headers_t *headers = NULL;
    const void *value = NULL;
    size_t size = 0;
    Tollgate__V1__Decision *record = tollgate__v1__decision__unpack(NULL, m->len, m->payload);
    CU_ASSERT_PTR_NOT_NULL_FATAL(record);
    CU_ASSERT_TRUE_FATAL(record->decided_unix_ns >= 0 && record->decided_unix_ns < COUNT);
    size_t tenant = (size_t)(record->tenant[0] - '0');
    CU_ASSERT_TRUE(tg_str_is((tg_str){m->key, m->key_len}, record->tenant));
    /* records of one key keep their order */
    CU_ASSERT_TRUE(r->last[tenant] < record->decided_unix_ns);
    r->last[tenant] = record->decided_unix_ns;
    r->seen[record->decided_unix_ns]++;
    CU_ASSERT_EQUAL_FATAL(rd_kafka_message_headers(m, &headers), 0);
    CU_ASSERT_EQUAL(rd_kafka_header_get_last(headers, "router-instance", &value, &size), 0);
    CU_ASSERT_TRUE(size == strlen("router-t") && memcmp(value, "router-t", size) == 0);
    tollgate__v1__decision__free_unpacked(record, NULL);
}

static void test_all_arrive(void)
{
    brokers b = brokers_start("decisions", PARTITIONS);
    const tg_kafka_link link = {.brokers = b.addresses};
    tg_publisher *publisher = make(&link);
    reading r = {.last = {-1, -1, -1}};
    publish(publisher, 0, COUNT);
    tg_publisher_stats stats = poll_until(publisher, COUNT);
    CU_ASSERT_TRUE(stats.published == COUNT && stats.full == 0 && stats.failed == 0);
    CU_ASSERT_EQUAL(brokers_read(&b, see, &r), COUNT);
    for (size_t i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(r.seen[i], 1);
    tg_publisher_free(publisher, 0);
    brokers_stop(&b);
}

/* What waits when it is freed is given time to leave. */
static void test_freeing_flushes(void)
{
    brokers b = brokers_start("decisions", PARTITIONS);
    const tg_kafka_link link = {.brokers = b.addresses};
    tg_publisher *publisher = make(&link);
    reading r = {.last = {-1, -1, -1}};
    publish(publisher, 0, 50);
    CU_ASSERT_PTR_NULL(tg_publisher_free(publisher, WAIT_MS));
    CU_ASSERT_EQUAL(brokers_read(&b, see, &r), 50);
    CU_ASSERT_PTR_NULL(tg_publisher_free(NULL, 0));
    brokers_stop(&b);
}

static void test_refused_records_are_counted(void)
{
    brokers b = brokers_start("decisions", PARTITIONS);
    const tg_kafka_link link = {.brokers = b.addresses};
    tg_publisher *publisher = make(&link);
    rd_kafka_mock_push_request_errors(b.cluster, BROKERS_API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    publish(publisher, 0, 9);
    tg_publisher_stats stats = poll_until(publisher, 9);
    CU_ASSERT_TRUE(stats.failed > 0 && stats.failed + stats.published == 9 && stats.full == 0);
    publish(publisher, 9, 9); /* and it goes on */
    tg_publisher_stats later = poll_until(publisher, 18);
    CU_ASSERT_EQUAL(later.published, stats.published + 9);
    tg_publisher_free(publisher, 0);
    brokers_stop(&b);
}

/* Nobody takes anything: the bound holds, what is past it is counted, and nothing waits. */
static void test_a_full_queue(void)
{
    const tg_kafka_link link = {.brokers = "127.0.0.1:1"};
    tg_publisher *publisher = make(&link);
    tg_publisher_stats stats;
    publish(publisher, 0, TG_PUBLISHER_WAITING_MAX + 77);
    tg_publisher_stats_get(publisher, &stats);
    CU_ASSERT_TRUE(stats.full == 77 && stats.published == 0 && stats.failed == 0);
    CU_ASSERT_PTR_NULL(tg_publisher_free(publisher, 0));
}

static void test_bad_settings(void)
{
    tg_publisher *publisher = NULL;
    tg_error err = {""};
    const tg_kafka_link link = {.brokers = "127.0.0.1:1", .ca_file = "/ca.pem"};
    const tg_publisher_conf conf = {
        .what = "kafka test", .link = &link, .topic = "t", .client_id = "c", .header = "h"};
    CU_ASSERT_EQUAL(tg_publisher_new(&conf, &err, &publisher), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "kafka test: "));
    CU_ASSERT_PTR_NULL(publisher);
}

static const tg_test tests[] = {
    {"all_arrive", test_all_arrive},
    {"freeing_flushes", test_freeing_flushes},
    {"refused_records_are_counted", test_refused_records_are_counted},
    {"a_full_queue", test_a_full_queue},
    {"bad_settings", test_bad_settings},
};
TG_TEST_MAIN("libs_usage_publisher", tests)
