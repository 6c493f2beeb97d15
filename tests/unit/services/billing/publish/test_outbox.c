/* The outbox of a real ledger against librdkafka's mock brokers: what was posted is published,
 * whatever was in the way. */
#include "services/billing/publish/outbox.h"
#include "tests/unit/libs/usage/brokers.h"
#include "tests/unit/services/billing/ledger/fixture.h"

#include "tollgate/v1/ledger.pb-c.h"

#include <time.h>

enum { PARTITIONS = 2, WAIT_MS = 20000, IDS_MAX = 4000 };
#define LEDGER_TOPIC "ledger"

typedef struct world {
    fixture ledger;
    tg_store *store; /* the outbox's */
    brokers brokers;
    tg_kafka_link link;
    tg_outbox *outbox;
    unsigned posted;
    unsigned troubles;
    char trouble[128];
} world;

static void trouble(void *user, const char *what, const char *why)
{
    world *w = user;
    snprintf(w->trouble, sizeof w->trouble, "%s: %s", what, why);
    __atomic_add_fetch(&w->troubles, 1, __ATOMIC_RELEASE);
}

static void begin(world *w)
{
    *w = (world){.posted = 0};
    fixture_start(&w->ledger, fixture_book("one"));
    CU_ASSERT_EQUAL_FATAL(tg_store_sqlite_open(w->ledger.path, false, NULL, &w->store), 0);
    w->brokers = brokers_start(LEDGER_TOPIC, PARTITIONS);
    w->link = (tg_kafka_link){.brokers = w->brokers.addresses};
}

static void start(world *w)
{
    const tg_outbox_conf conf = {.store = w->store,
                                 .link = &w->link,
                                 .topic = LEDGER_TOPIC,
                                 .client_id = "billing-t",
                                 .trouble = trouble,
                                 .user = w};
    CU_ASSERT_EQUAL_FATAL(tg_outbox_start(&conf, NULL, &w->outbox), 0);
}

static void end(world *w)
{
    w->outbox = tg_outbox_free(w->outbox, 0);
    w->store->ops->close(w->store);
    fixture_end(&w->ledger);
    brokers_stop(&w->brokers);
}

static void post(world *w, unsigned count)
{
    static const char *const tenants[] = {"acme", "globex", "initech"};
    for (unsigned i = 0; i < count; i++, w->posted++) {
        tg_usage_event e = fixture_event(&w->ledger, w->posted, tenants[w->posted % 3],
                                         w->posted % 2 ? "haiku" : "mini", 10 + w->posted, 3);
        CU_ASSERT_EQUAL_FATAL(fixture_post(&w->ledger, &e), 0);
    }
    if (w->outbox)
        tg_outbox_wake(w->outbox);
}

static uint64_t waiting(const world *w)
{
    uint64_t count = UINT64_MAX;
    CU_ASSERT_EQUAL(w->ledger.store->ops->outbox_count(w->ledger.store, &count), 0);
    return count;
}

static void sleep_a_bit(void) { nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); }

static bool empties(const world *w)
{
    for (unsigned ms = 0; waiting(w) > 0 && ms < WAIT_MS; ms += 5)
        sleep_a_bit();
    return waiting(w) == 0;
}

typedef struct reading {
    unsigned seen[IDS_MAX];      /* by transaction id */
    int64_t last_of[PARTITIONS]; /* order, while nothing failed */
    bool check_order;
    tg_picousd debits;
} reading;

static void see(void *user, const rd_kafka_message_t *m)
{
    reading *r = user;
    Tollgate__V1__LedgerTransaction *t =
        tollgate__v1__ledger_transaction__unpack(NULL, m->len, m->payload);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_TRUE_FATAL(t->transaction_id > 0 && t->transaction_id < IDS_MAX &&
                         t->n_postings == 2);
    CU_ASSERT_TRUE(tg_str_is((tg_str){m->key, m->key_len}, t->tenant));
    CU_ASSERT_STRING_EQUAL(t->postings[0]->account, "receivable");
    CU_ASSERT_STRING_EQUAL(t->postings[0]->owner, t->tenant);
    CU_ASSERT_STRING_EQUAL(t->postings[1]->account, "revenue");
    CU_ASSERT_STRING_EQUAL(t->postings[1]->owner, t->target);
    CU_ASSERT_TRUE(t->postings[0]->amount_picousd > 0);
    CU_ASSERT_EQUAL(t->postings[0]->amount_picousd + t->postings[1]->amount_picousd, 0);
    /* as they were posted */
    CU_ASSERT_EQUAL(strtol(t->request_id + 24, NULL, 16) + 1, t->transaction_id);
    CU_ASSERT_TRUE(t->attempt == 1 && t->posted_unix_ns == 1000 && t->opened_unix_ns > 0);
    CU_ASSERT_STRING_EQUAL(t->price_book, "one");
    CU_ASSERT_EQUAL(t->price_assumed, false);
    if (r->check_order)
        CU_ASSERT_TRUE(r->last_of[m->partition] < t->transaction_id);
    r->last_of[m->partition] = t->transaction_id;
    if (r->seen[t->transaction_id]++ == 0)
        r->debits += t->postings[0]->amount_picousd;
    tollgate__v1__ledger_transaction__free_unpacked(t, NULL);
}

/* Every transaction posted so far is in the topic, at least once (or exactly), with what tenants
 * owe in all. */
static size_t check_topic(world *w, bool once)
{
    static reading r;
    r = (reading){.check_order = once};
    size_t total = brokers_read(&w->brokers, see, &r);
    for (unsigned i = 1; i <= w->posted; i++)
        CU_ASSERT_TRUE(once ? r.seen[i] == 1 : r.seen[i] >= 1);
    tg_picousd_sum owed = 0;
    static const char *const tenants[] = {"acme", "globex", "initech"};
    for (size_t i = 0; i < 3; i++)
        owed += fixture_balance_of(&w->ledger, TG_ACCOUNT_RECEIVABLE, tenants[i]);
    CU_ASSERT_TRUE(owed == r.debits);
    return total;
}

static void test_what_is_posted_is_published_once(void)
{
    world w;
    tg_outbox_stats stats;
    begin(&w);
    post(&w, 2500); /* before it starts, and more than a batch */
    CU_ASSERT_EQUAL(waiting(&w), 2500);
    start(&w);
    CU_ASSERT_TRUE(empties(&w));
    post(&w, 10); /* while it runs */
    CU_ASSERT_TRUE(empties(&w));
    w.outbox = tg_outbox_free(w.outbox, WAIT_MS);
    CU_ASSERT_EQUAL(check_topic(&w, true), 2510);
    CU_ASSERT_EQUAL(w.troubles, 0);
    start(&w); /* nothing is left to do */
    post(&w, 1);
    CU_ASSERT_TRUE(empties(&w));
    do { /* it counts after it has removed */
        tg_outbox_stats_get(w.outbox, &stats);
        sleep_a_bit();
    } while (stats.published == 0);
    CU_ASSERT_EQUAL(stats.published, 1);
    CU_ASSERT_EQUAL(check_topic(&w, true), 2511);
    end(&w);
}

static void test_refused_by_the_broker(void)
{
    world w;
    begin(&w);
    rd_kafka_mock_push_request_errors(w.brokers.cluster, BROKERS_API_PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    post(&w, 30);
    start(&w);
    CU_ASSERT_TRUE(empties(&w));
    check_topic(&w, false);
    w.outbox = tg_outbox_free(w.outbox, WAIT_MS);
    CU_ASSERT_TRUE(w.troubles >= 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trouble, "ledger_not_published: Broker: "));
    end(&w);
}

/* A process that died between the broker's word and the removal: its successor sends the same
 * again. */
static void test_died_before_the_removal(void)
{
    world w;
    begin(&w);
    post(&w, 20);
    start(&w);
    CU_ASSERT_TRUE(empties(&w));
    w.outbox = tg_outbox_free(w.outbox, WAIT_MS);
    fixture_sql(&w.ledger, "INSERT INTO outbox SELECT id FROM transactions WHERE id > 5");
    start(&w);
    CU_ASSERT_TRUE(empties(&w));
    w.outbox = tg_outbox_free(w.outbox, WAIT_MS);
    CU_ASSERT_EQUAL(check_topic(&w, false), 20 + 15);
    end(&w);
}

/* Nobody answers: stopping does not wait for ever, and nothing leaves the outbox. */
static void test_stops_without_a_broker(void)
{
    world w;
    begin(&w);
    w.link.brokers = "127.0.0.1:1";
    post(&w, 3);
    start(&w);
    w.outbox = tg_outbox_free(w.outbox, 200);
    CU_ASSERT_EQUAL(waiting(&w), 3);
    w.link.brokers = w.brokers.addresses;
    start(&w);
    CU_ASSERT_TRUE(empties(&w));
    CU_ASSERT_EQUAL(check_topic(&w, true), 3);
    end(&w);
}

/* What is not posted is not published: duplicates, the quarantined, a batch that was rolled
 * back. */
static void test_only_what_is_posted(void)
{
    world w;
    begin(&w);
    post(&w, 2);
    tg_usage_event e = fixture_event(&w.ledger, 0, "acme", "mini", 10, 3);
    CU_ASSERT_EQUAL(fixture_post(&w.ledger, &e), 0); /* again */
    CU_ASSERT_EQUAL(w.ledger.tally.duplicates, 1);
    e.attempt = 2;
    e.cost_picousd++;
    CU_ASSERT_EQUAL(fixture_post(&w.ledger, &e), 0);
    CU_ASSERT_EQUAL(w.ledger.tally.quarantined, 1);
    CU_ASSERT_EQUAL(waiting(&w), 2);
    tg_store *store = w.ledger.store;
    CU_ASSERT_EQUAL(store->ops->begin(store), 0);
    CU_ASSERT_EQUAL(store->ops->outbox_remove(store, 2), 0);
    store->ops->rollback(store);
    CU_ASSERT_EQUAL(waiting(&w), 2);
    end(&w);
}

static const tg_test tests[] = {
    {"what_is_posted_is_published_once", test_what_is_posted_is_published_once},
    {"refused_by_the_broker", test_refused_by_the_broker},
    {"died_before_the_removal", test_died_before_the_removal},
    {"stops_without_a_broker", test_stops_without_a_broker},
    {"only_what_is_posted", test_only_what_is_posted},
};
TG_TEST_MAIN("services_billing_publish_outbox", tests)
