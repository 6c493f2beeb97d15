/* Two replicas share a topic of librdkafka's own mock brokers: real requests over real sockets, in
 * this process, each replica with its reading thread. Also built under ThreadSanitizer. */
#include "libs/base/clock.h"
#include "libs/usage/publisher.h"
#include "services/health/share.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { PARTITIONS = 2, PROBES = 16, WAIT_MS = 30000, AGE_MAX_MS = 600000 };
#define TOPIC "observations"

typedef struct replica {
    tg_share *share;
    const char *name;
    unsigned probes;   /* bit i: probe i of the other one has come */
    unsigned seen;     /* that are no probes */
    uint64_t tokens;   /* their sum */
    bool own_came;     /* one's own observation was applied */
    atomic_uint troubles;
} replica;

typedef struct world {
    rd_kafka_t *host; /* the mock cluster hangs on it; produces what no replica would */
    rd_kafka_mock_cluster_t *cluster;
    uv_loop_t loop;
    uv_timer_t watch;
    tg_kafka_link link;
    replica a, b;
    bool (*until)(struct world *w);
    uint64_t waited_ms;
    bool reached;
} world;

static void on_observation(void *user, const Tollgate__V1__Observation *o)
{
    replica *r = user;
    unsigned probe;
    r->own_came = r->own_came || strcmp(o->instance_id, r->name) == 0;
    if (sscanf(o->target, "probe-%u", &probe) == 1) {
        r->probes |= 1u << probe;
    } else {
        r->seen++;
        r->tokens += o->output_tokens;
    }
}

static void on_trouble(void *user, const char *why)
{
    replica *r = user;
    (void)why;
    atomic_fetch_add(&r->troubles, 1);
}

static void observe(replica *r, const char *target, uint64_t tokens)
{
    Tollgate__V1__Observation o = TOLLGATE__V1__OBSERVATION__INIT;
    char target_text[64], name[16];
    snprintf(target_text, sizeof target_text, "%s", target);
    snprintf(name, sizeof name, "%s", r->name);
    o.target = target_text;
    o.endpoint = name;
    o.instance_id = name;
    o.output_tokens = tokens;
    tg_share_observe(r->share, &o);
}

static void start_replica(world *w, replica *r, const char *name)
{
    tg_error err = {""};
    r->name = name;
    tg_share_conf conf = {.link = &w->link,
                          .topic = TOPIC,
                          .instance_id = name,
                          .age_max_ms = AGE_MAX_MS,
                          .apply = on_observation,
                          .trouble = on_trouble,
                          .user = r};
    int rc = tg_share_start(&w->loop, &conf, &err, &r->share);
    if (rc < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void on_watch(uv_timer_t *timer)
{
    world *w = timer->data;
    w->waited_ms += 20;
    w->reached = w->until(w);
    if (w->reached || w->waited_ms > WAIT_MS)
        uv_stop(&w->loop);
}

static bool wait_until(world *w, bool (*until)(world *w))
{
    w->until = until;
    w->waited_ms = 0;
    w->watch.data = w;
    uv_timer_start(&w->watch, on_watch, 0, 20);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&w->watch);
    return w->reached;
}

/* Reading starts at the partitions' end, whenever that is: probes for both partitions until each
 * has seen all. */
static bool both_read(world *w)
{
    char target[32];
    if (w->a.probes == (1u << PROBES) - 1 && w->b.probes == (1u << PROBES) - 1)
        return true;
    for (int i = 0; i < PROBES && w->waited_ms % 200 == 0; i++) {
        snprintf(target, sizeof target, "probe-%d", i);
        observe(&w->a, target, 0);
        observe(&w->b, target, 0);
    }
    return false;
}

static tg_share_stats stats(const replica *r)
{
    tg_share_stats ret;
    tg_share_stats_get(r->share, &ret);
    return ret;
}

static void start(world *w)
{
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    *w = (world){0};
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
    rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", reason, sizeof reason);
    rd_kafka_conf_set(conf, "linger.ms", "5", reason, sizeof reason);
    w->host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->host);
    w->cluster = rd_kafka_handle_mock_cluster(w->host);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->cluster);
    CU_ASSERT_EQUAL_FATAL(rd_kafka_mock_topic_create(w->cluster, TOPIC, PARTITIONS, 1), 0);
    w->link = (tg_kafka_link){.brokers = rd_kafka_mock_cluster_bootstraps(w->cluster)};
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->watch);
    start_replica(w, &w->a, "a");
    start_replica(w, &w->b, "b");
    CU_ASSERT_TRUE_FATAL(wait_until(w, both_read));
}

static void end(world *w)
{
    tg_share_close(w->a.share);
    tg_share_close(w->b.share);
    uv_close((uv_handle_t *)&w->watch, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    CU_ASSERT_EQUAL(uv_loop_close(&w->loop), 0);
    rd_kafka_destroy(w->host); /* and the cluster with it */
}

enum { MANY = 500 };

static bool many_came(world *w) { return w->a.seen >= MANY && w->b.seen >= MANY; }

static void test_each_hears_the_other(void)
{
    world w;
    start(&w);
    for (unsigned i = 0; i < MANY; i++) {
        char target[32];
        snprintf(target, sizeof target, "t%u", i);
        observe(&w.a, target, i);
        observe(&w.b, target, 3 * i);
    }
    CU_ASSERT_TRUE(wait_until(&w, many_came));
    CU_ASSERT_EQUAL(w.a.seen, MANY);
    CU_ASSERT_EQUAL(w.b.seen, MANY);
    CU_ASSERT_EQUAL(w.a.tokens, 3 * MANY * (MANY - 1) / 2);
    CU_ASSERT_EQUAL(w.b.tokens, MANY * (MANY - 1) / 2);
    CU_ASSERT_FALSE(w.a.own_came || w.b.own_came);
    CU_ASSERT_TRUE(stats(&w.b).consumed >= MANY + PROBES && stats(&w.a).produced > 0);
    CU_ASSERT_EQUAL(stats(&w.a).unreadable + stats(&w.a).in_full + stats(&w.a).out_full +
                        stats(&w.a).failed,
                    0);
    end(&w);
}

/* As someone else on the topic would: with or without a name, at a time of its own. */
static void produce_raw(world *w, const char *header, const void *value, size_t len, int64_t at_ms)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    if (header)
        rd_kafka_header_add(headers, TG_SHARE_HEADER, -1, header, -1);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        w->host, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(0),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len), RD_KAFKA_V_TIMESTAMP(at_ms),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    CU_ASSERT_EQUAL_FATAL(code, 0);
}

static bool strangers_counted(world *w)
{
    tg_share_stats a = stats(&w->a), b = stats(&w->b);
    return w->a.seen > 0 && w->b.seen > 0 && a.unreadable >= 3 && b.unreadable >= 3 &&
           a.late >= 1 && b.late >= 1;
}

static void test_strangers_words(void)
{
    world w;
    Tollgate__V1__Observation o = TOLLGATE__V1__OBSERVATION__INIT;
    uint8_t bytes[64];
    start(&w);
    int64_t now_ms = (int64_t)(tg_clock_wall_ns() / 1000000u);
    o.output_tokens = 7;
    size_t len = tollgate__v1__observation__pack(&o, bytes);
    produce_raw(&w, NULL, bytes, len, now_ms);                     /* no replica's name */
    produce_raw(&w, "c", "\xff\xff\xff", 3, now_ms);               /* no Observation */
    /* a target that protobuf-c would cut */
    produce_raw(&w, "c", "\x0a\x03" "t\0u", 5, now_ms);
    produce_raw(&w, "c", bytes, len, now_ms - 2 * AGE_MAX_MS);     /* says nothing about now */
    produce_raw(&w, "c", bytes, len, now_ms);
    CU_ASSERT_EQUAL_FATAL(rd_kafka_flush(w.host, WAIT_MS), 0);
    CU_ASSERT_TRUE(wait_until(&w, strangers_counted));
    CU_ASSERT_EQUAL(stats(&w.a).unreadable, 3);
    CU_ASSERT_EQUAL(stats(&w.b).unreadable, 3);
    CU_ASSERT_EQUAL(stats(&w.a).late, 1);
    CU_ASSERT_EQUAL(w.a.seen, 1);
    CU_ASSERT_EQUAL(w.a.tokens, 7);
    end(&w);
}

static bool overflowed(world *w)
{
    tg_share_stats a = stats(&w->a);
    return w->a.seen + a.in_full >= TG_SHARE_IN_MAX + MANY;
}

/* While the loop does something else the thread goes on reading: what it cannot keep is counted,
 * and nothing else is lost. */
static void test_a_loop_that_is_late(void)
{
    world w;
    Tollgate__V1__Observation o = TOLLGATE__V1__OBSERVATION__INIT;
    uint8_t bytes[64];
    start(&w);
    size_t len = tollgate__v1__observation__pack(&o, bytes);
    int64_t now_ms = (int64_t)(tg_clock_wall_ns() / 1000000u);
    for (unsigned i = 0; i < TG_SHARE_IN_MAX + MANY; i++)
        produce_raw(&w, "c", bytes, len, now_ms);
    CU_ASSERT_EQUAL_FATAL(rd_kafka_flush(w.host, WAIT_MS), 0);
    for (int waited = 0; stats(&w.a).in_full < MANY && waited < WAIT_MS; waited += 20)
        uv_sleep(20); /* the loop stands still */
    CU_ASSERT_TRUE(wait_until(&w, overflowed));
    CU_ASSERT_TRUE(stats(&w.a).in_full >= MANY); /* probes that were on their way take places too */
    CU_ASSERT_EQUAL(w.a.seen + stats(&w.a).in_full, TG_SHARE_IN_MAX + MANY);
    end(&w);
}

static bool troubled(world *w)
{
    return atomic_load(&w->a.troubles) > 0 && atomic_load(&w->b.troubles) > 0;
}

static void test_brokers_that_are_away(void)
{
    world w;
    start(&w);
    CU_ASSERT_EQUAL(rd_kafka_mock_broker_set_down(w.cluster, 1), 0);
    CU_ASSERT_TRUE(wait_until(&w, troubled));
    for (unsigned i = 0; i < TG_PUBLISHER_WAITING_MAX + 10; i++)
        observe(&w.a, "t", 1);
    CU_ASSERT_TRUE(stats(&w.a).out_full >= 10); /* dropped and counted, never waited for */
    end(&w); /* with all that still waiting */
}

static void test_bad_settings(void)
{
    uv_loop_t loop;
    tg_error err = {""};
    tg_share *share = NULL;
    const tg_kafka_link link = {
        .brokers = "127.0.0.1:1", .security = TG_KAFKA_SSL, .ca_file = "/nonexistent.pem"};
    tg_share_conf conf = {.link = &link, .topic = TOPIC, .instance_id = "a"};
    uv_loop_init(&loop);
    CU_ASSERT_EQUAL(tg_share_start(&loop, &conf, &err, &share), -EINVAL);
    CU_ASSERT_TRUE(strncmp(err.text, "kafka observations", 18) == 0);
    CU_ASSERT_PTR_NULL(share);
    CU_ASSERT_EQUAL(uv_loop_close(&loop), 0);
}

static const tg_test tests[] = {
    {"each_hears_the_other", test_each_hears_the_other},
    {"strangers_words", test_strangers_words},
    {"a_loop_that_is_late", test_a_loop_that_is_late},
    {"brokers_that_are_away", test_brokers_that_are_away},
    {"bad_settings", test_bad_settings},
};

int main(void) { return tg_test_run("services_health_share", tests, sizeof tests / sizeof *tests); }
