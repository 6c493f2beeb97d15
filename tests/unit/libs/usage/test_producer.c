/* The producer against librdkafka's own mock brokers: real requests over real sockets, in this
 * process. */
#include "libs/usage/producer.h"
#include "tests/unit/libs/usage/brokers.h"
#include "tests/unit/libs/usage/sample.h"
#include "tests/unit/libs/usage/spool_dir.h"

#include <errno.h>

enum { PARTITIONS = 4, WAIT_MS = 20000 };
#define TOPIC "usage"

typedef struct bench {
    brokers brokers;
    uv_loop_t loop;
    uv_timer_t watch;
    tg_spool *spool;
    tg_kafka_link link;
    tg_producer *producer;
    bool (*until)(struct bench *b);
    uint64_t waited_ms;
    bool reached;
    int flushed; /* -1 before done */
} bench;

static char dir[64];

static void start_producer(bench *b, uint32_t in_flight_max)
{
    tg_error err = {""};
    b->link = (tg_kafka_link){.brokers = b->brokers.addresses};
    tg_producer_conf conf = {.link = &b->link,
                             .topic = TOPIC,
                             .client_id = "test",
                             .in_flight_max = in_flight_max};
    CU_ASSERT_EQUAL_FATAL(tg_producer_new(&b->loop, &conf, b->spool, &err, &b->producer), 0);
}

static void start(bench *b, uint32_t in_flight_max)
{
    *b = (bench){.flushed = -1};
    spool_dir_clear(dir);
    b->brokers = brokers_start(TOPIC, PARTITIONS);
    uv_loop_init(&b->loop);
    uv_timer_init(&b->loop, &b->watch);
    tg_spool_conf conf = {.dir = dir, .sync_ms = 5, .segment_bytes = 20000};
    CU_ASSERT_EQUAL_FATAL(tg_spool_open(&b->loop, &conf, 1, NULL, &b->spool), 0);
    if (in_flight_max)
        start_producer(b, in_flight_max);
}

static void end(bench *b)
{
    tg_producer_close(b->producer);
    b->spool = tg_spool_close(b->spool);
    uv_close((uv_handle_t *)&b->watch, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    CU_ASSERT_EQUAL(uv_loop_close(&b->loop), 0);
    brokers_stop(&b->brokers);
}

static void on_watch(uv_timer_t *timer)
{
    bench *b = timer->data;
    b->waited_ms += 5;
    b->reached = b->until(b);
    if (b->reached || b->waited_ms > WAIT_MS)
        uv_stop(&b->loop);
}

/* Runs the loop until the condition holds. */
static bool wait_until(bench *b, bool (*until)(bench *b))
{
    b->until = until;
    b->waited_ms = 0;
    b->watch.data = b;
    uv_timer_start(&b->watch, on_watch, 0, 5);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&b->watch);
    return b->reached;
}

static bool all_delivered(bench *b)
{
    tg_spool_stats stats;
    tg_spool_stats_get(b->spool, &stats);
    return stats.unacked == 0;
}

static bool broker_up(bench *b)
{
    tg_producer_stats stats;
    tg_producer_stats_get(b->producer, &stats);
    return stats.broker_up;
}

static bool broker_down(bench *b) { return !broker_up(b); }

static bool some_failed(bench *b)
{
    tg_producer_stats stats;
    tg_producer_stats_get(b->producer, &stats);
    return stats.failed > 0;
}

static void attempt(bench *b, unsigned number)
{
    uint64_t slot;
    tg_usage_event event = sample_event(number, 1);
    CU_ASSERT_EQUAL_FATAL(tg_spool_opened(b->spool, &event, &slot), 0);
    sample_close(&event);
    CU_ASSERT_EQUAL_FATAL(tg_spool_closed(b->spool, slot, &event), 0);
}

typedef struct reading {
    unsigned *seen; /* by number */
    size_t numbers;
    long last[3]; /* by tenant */
    bool check_order;
} reading;

static void see(void *user, const rd_kafka_message_t *m)
{
    reading *r = user;
    tg_usage_event event;
    CU_ASSERT_EQUAL_FATAL(tg_usage_event_decode(m->payload, m->len, NULL, &event), 0);
    unsigned number = (unsigned)strtoul(event.request_id + 24, NULL, 16);
    CU_ASSERT_TRUE(tg_str_is((tg_str){m->key, m->key_len}, event.tenant));
    CU_ASSERT_TRUE_FATAL(number < r->numbers);
    if (r->check_order)
        CU_ASSERT_TRUE(r->last[number % 3] < (long)number);
    r->last[number % 3] = (long)number;
    r->seen[number]++;
}

/* Reads the topic to its end: how often each number is there. Checks key and order within a
 * tenant. */
static size_t read_topic(bench *b, unsigned *seen, size_t numbers, bool check_order)
{
    reading r = {
        .seen = seen, .numbers = numbers, .last = {-1, -1, -1}, .check_order = check_order};
    return brokers_read(&b->brokers, see, &r);
}

static void test_delivers_everything_once_and_in_order(void)
{
    enum { COUNT = 1500 };
    bench b;
    unsigned seen[COUNT] = {0};
    tg_producer_stats stats;
    start(&b, 100); /* far fewer in flight than there are */
    for (unsigned i = 0; i < COUNT; i++)
        attempt(&b, i);
    CU_ASSERT_TRUE(wait_until(&b, all_delivered));
    tg_producer_stats_get(b.producer, &stats);
    CU_ASSERT_EQUAL(stats.sent, COUNT);
    CU_ASSERT_EQUAL(stats.delivered, COUNT);
    CU_ASSERT_EQUAL(stats.failed, 0);
    CU_ASSERT_EQUAL(stats.in_flight, 0);
    CU_ASSERT_TRUE(stats.broker_up);
    CU_ASSERT_EQUAL(read_topic(&b, seen, COUNT, true), COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(seen[i], 1);
    end(&b);
}

static void test_sends_what_an_earlier_process_left(void)
{
    bench b;
    unsigned seen[3] = {0};
    uint64_t slot;
    start(&b, 0);
    attempt(&b, 0);
    attempt(&b, 1);
    tg_usage_event open = sample_event(2, 1);
    CU_ASSERT_EQUAL(tg_spool_opened(b.spool, &open, &slot), 0);
    b.spool = tg_spool_close(b.spool);
    tg_spool_conf conf = {.dir = dir, .sync_ms = 5};
    CU_ASSERT_EQUAL_FATAL(tg_spool_open(&b.loop, &conf, 1, NULL, &b.spool), 0);
    start_producer(&b, 0);
    CU_ASSERT_TRUE(wait_until(&b, all_delivered));
    CU_ASSERT_EQUAL(read_topic(&b, seen, 3, true), 3); /* the open one as aborted */
    end(&b);
}

static void test_a_broker_that_is_away(void)
{
    enum { COUNT = 50 };
    bench b;
    unsigned seen[COUNT] = {0};
    start(&b, 4096);
    CU_ASSERT_TRUE(wait_until(&b, broker_up));
    rd_kafka_mock_broker_set_down(b.brokers.cluster, 1);
    CU_ASSERT_TRUE(wait_until(&b, broker_down));
    for (unsigned i = 0; i < COUNT; i++)
        attempt(&b, i);
    rd_kafka_mock_broker_set_up(b.brokers.cluster, 1);
    CU_ASSERT_TRUE(wait_until(&b, all_delivered));
    read_topic(&b, seen, COUNT, false);
    for (unsigned i = 0; i < COUNT; i++)
        CU_ASSERT_TRUE(seen[i] >= 1);
    end(&b);
}

/* An error that librdkafka does not retry comes back in the delivery report; the spool's record is
 * sent again until it is taken. */
static void test_failed_deliveries_are_sent_again(void)
{
    enum { COUNT = 30 };
    bench b;
    unsigned seen[COUNT] = {0};
    tg_producer_stats stats;
    start(&b, 4096);
    rd_kafka_mock_push_request_errors(b.brokers.cluster, BROKERS_API_PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    for (unsigned i = 0; i < COUNT; i++)
        attempt(&b, i);
    CU_ASSERT_TRUE(wait_until(&b, some_failed));
    tg_producer_stats_get(b.producer, &stats);
    CU_ASSERT_TRUE(stats.last_error[0] != '\0');
    CU_ASSERT_TRUE(wait_until(&b, all_delivered));
    tg_producer_stats_get(b.producer, &stats);
    CU_ASSERT_EQUAL(stats.delivered, COUNT);
    CU_ASSERT_EQUAL(stats.sent, COUNT + stats.failed);
    CU_ASSERT_EQUAL(read_topic(&b, seen, COUNT, false), COUNT);
    end(&b);
}

static void on_flushed(void *user, bool all) { ((bench *)user)->flushed = all; }

static bool flush_ended(bench *b) { return b->flushed >= 0; }

static void test_flush(void)
{
    bench b;
    start(&b, 4096);
    for (unsigned i = 0; i < 20; i++)
        attempt(&b, i);
    tg_producer_flush(b.producer, WAIT_MS, on_flushed, &b);
    CU_ASSERT_TRUE(wait_until(&b, flush_ended));
    CU_ASSERT_EQUAL(b.flushed, 1);
    rd_kafka_mock_broker_set_down(b.brokers.cluster, 1);
    attempt(&b, 20);
    b.flushed = -1;
    tg_producer_flush(b.producer, 200, on_flushed, &b);
    CU_ASSERT_TRUE(wait_until(&b, flush_ended));
    CU_ASSERT_EQUAL(b.flushed, 0);
    end(&b); /* what was not delivered is in the spool */
    tg_spool *spool = NULL;
    tg_spool_conf conf = {.dir = dir};
    tg_spool_stats stats;
    CU_ASSERT_EQUAL_FATAL(tg_spool_open(NULL, &conf, 1, NULL, &spool), 0);
    tg_spool_stats_get(spool, &stats);
    CU_ASSERT_TRUE(stats.unacked >= 1);
    tg_spool_close(spool);
}

static void test_bad_settings(void)
{
    bench b;
    tg_error err = {""};
    tg_producer *producer = NULL;
    start(&b, 0);
    const tg_kafka_link link = {
        .brokers = "127.0.0.1:1", .security = TG_KAFKA_SSL, .ca_file = "/nonexistent.pem"};
    tg_producer_conf conf = {.link = &link, .topic = TOPIC, .client_id = "test"};
    CU_ASSERT_EQUAL(tg_producer_new(&b.loop, &conf, b.spool, &err, &producer), -EINVAL);
    CU_ASSERT_TRUE(err.text[0] != '\0');
    end(&b);
}

static const tg_test tests[] = {
    {"delivers_everything_once_and_in_order", test_delivers_everything_once_and_in_order},
    {"sends_what_an_earlier_process_left", test_sends_what_an_earlier_process_left},
    {"a_broker_that_is_away", test_a_broker_that_is_away},
    {"failed_deliveries_are_sent_again", test_failed_deliveries_are_sent_again},
    {"flush", test_flush},
    {"bad_settings", test_bad_settings},
};

int main(void)
{
    spool_dir_make(dir);
    int rc = tg_test_run("libs_usage_producer", tests, sizeof tests / sizeof *tests);
    spool_dir_remove(dir);
    return rc;
}
