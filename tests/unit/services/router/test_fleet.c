#include "services/router/fleet.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/targets.h"

#define A_X "{id: a, provider: private, model: m, endpoints: [{id: x, url: \"h:1\"}]}"
#define A_XY                                                                                       \
    "{id: a, provider: private, model: m, endpoints: [{id: x, url: \"h:1\"}, {id: y, url: "        \
    "\"h:2\"}]}"
#define A_YX                                                                                       \
    "{id: a, provider: private, model: m, endpoints: [{id: y, url: \"h:2\"}, {id: x, url: "        \
    "\"h:1\"}]}"
#define B_X "{id: b, provider: private, model: m, endpoints: [{id: x, url: \"h:3\"}]}"
#define DOCUMENT(one, two) "version: 1\ntargets:\n  - " one "\n  - " two "\n"

enum { STALE_AFTER_MS = 1000 };

static tg_targets *targets;
static tg_fleet_view *view;

static void set_up(void)
{
    targets = load_targets(DOCUMENT(A_XY, B_X));
    view = tg_fleet_view_new(targets, STALE_AFTER_MS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(view);
}

static void tear_down(void)
{
    view = tg_fleet_view_free(view);
    targets = tg_targets_free(targets);
}

static const tg_endpoint_status *status(size_t target, size_t endpoint, uint64_t now_ms)
{
    return &tg_fleet_view_get(view, now_ms)->rows[target][endpoint];
}

static Tollgate__V1__EndpointView endpoint(const char *target, const char *name,
                                           Tollgate__V1__EndpointState state)
{
    Tollgate__V1__EndpointView e = TOLLGATE__V1__ENDPOINT_VIEW__INIT;
    e.target = (char *)target;
    e.endpoint = (char *)name;
    e.state = state;
    e.reason =
        (char *)(state == TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN ? "failing" : "");
    e.retry_in_ms = state == TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN ? 500 : 0;
    return e;
}

static void push(bool full, uint64_t version, Tollgate__V1__EndpointView *e, uint64_t now_ms)
{
    Tollgate__V1__FleetUpdate update = TOLLGATE__V1__FLEET_UPDATE__INIT;
    update.full = full;
    update.version = version;
    update.endpoints = &e;
    update.n_endpoints = e ? 1 : 0;
    tg_fleet_view_apply(view, &update, now_ms);
}

static void observe(const char *target, const char *name, bool success, bool quota, uint64_t now_ms)
{
    tg_observation o = {.target = target, .endpoint = name, .success = success, .quota = quota};
    tg_fleet_view_observe(view, &o, now_ms);
}

#define DOWN TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN
#define HALF_OPEN TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_HALF_OPEN
#define UNKNOWN TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UNKNOWN

static void test_applies_what_health_says(void)
{
    set_up();
    CU_ASSERT_EQUAL(status(0, 1, 1)->health, TG_ENDPOINT_UP);
    Tollgate__V1__EndpointView down = endpoint("a", "y", DOWN),
                               probing = endpoint("b", "x", HALF_OPEN);
    push(true, 7, &down, 100);
    push(false, 8, &probing, 200);
    CU_ASSERT_EQUAL(tg_fleet_view_version(view), 8);
    CU_ASSERT_EQUAL(status(0, 0, 200)->health, TG_ENDPOINT_UP);
    CU_ASSERT_EQUAL(status(0, 1, 200)->health, TG_ENDPOINT_DOWN);
    CU_ASSERT_EQUAL(status(0, 1, 200)->retry_at_mono_ms, 600); /* of the message that said so */
    CU_ASSERT_STRING_EQUAL(status(0, 1, 200)->reason, "failing");
    CU_ASSERT_EQUAL(status(1, 0, 200)->health, TG_ENDPOINT_HALF_OPEN);
    down.first_token_p95_us = 1000, down.total_p95_us = 2000, down.requests = 30;
    push(false, 9, &down, 250);
    CU_ASSERT_TRUE(status(0, 1, 250)->first_token_p95_us == 1000 &&
                   status(0, 1, 250)->total_p95_us == 2000 && status(0, 1, 250)->requests == 30);
    push(true, 1, NULL, 300); /* another replica, which knows nothing yet */
    CU_ASSERT_TRUE(status(0, 1, 300)->first_token_p95_us == 0 &&
                   status(0, 1, 300)->total_p95_us == 0 && status(0, 1, 300)->requests == 0);
    CU_ASSERT_EQUAL(status(0, 1, 300)->health, TG_ENDPOINT_UP);
    CU_ASSERT_STRING_EQUAL(status(0, 1, 300)->reason, "");
    tear_down();
}

static void test_unknown_ids_are_ignored(void)
{
    set_up();
    Tollgate__V1__EndpointView e = endpoint("a", "z", DOWN), t = endpoint("c", "x", DOWN);
    push(false, 2, &e, 100);
    push(false, 3, &t, 100);
    observe("a", "z", false, false, 100);
    observe("c", "x", false, false, 100);
    tg_fleet_view_probe(view, "c", "x", true);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(status(i / 2, i % 2, 100)->health, TG_ENDPOINT_UP);
    tear_down();
}

static void test_own_memory_decides_only_when_stale(void)
{
    set_up();
    push(true, 1, NULL, 1000);
    CU_ASSERT_FALSE(tg_fleet_view_get(view, 1000 + STALE_AFTER_MS)->stale);
    for (int i = 0; i < 2 * TG_FLEET_FAILURES_MAX; i++)
        observe("a", "x", false, false, 1500);
    CU_ASSERT_EQUAL(status(0, 0, 1500)->health, TG_ENDPOINT_UP); /* health has the word */
    push(false, 2, NULL, 1600);
    tg_fleet_view_heard(view, 1700);
    CU_ASSERT_FALSE(tg_fleet_view_get(view, 1700 + STALE_AFTER_MS)->stale);
    CU_ASSERT_TRUE(tg_fleet_view_get(view, 1701 + STALE_AFTER_MS)->stale);
    observe("a", "x", true, false, 3000); /* the row of failures ends here */
    for (int i = 0; i < TG_FLEET_FAILURES_MAX - 1; i++)
        observe("a", "x", false, false, 3000);
    CU_ASSERT_EQUAL(status(0, 0, 3000)->health, TG_ENDPOINT_UP);
    observe("a", "x", false, false, 3000);
    CU_ASSERT_EQUAL(status(0, 0, 3000)->health, TG_ENDPOINT_DOWN);
    CU_ASSERT_EQUAL(status(0, 0, 3000)->retry_at_mono_ms, 3000 + TG_FLEET_DOWN_MS);
    CU_ASSERT_PTR_NOT_NULL(strstr(status(0, 0, 3000)->reason, "seen by this router"));
    CU_ASSERT_EQUAL(status(0, 1, 3000)->health, TG_ENDPOINT_UP);
    observe("a", "x", true, false, 9000); /* a probe that came through */
    CU_ASSERT_EQUAL(status(0, 0, 9000)->health, TG_ENDPOINT_UP);
    tear_down();
}

static void test_quota_is_no_fault(void)
{
    set_up();
    CU_ASSERT_TRUE(tg_fleet_view_get(view, 1)->stale); /* never heard */
    for (int i = 0; i < 4 * TG_FLEET_FAILURES_MAX; i++)
        observe("b", "x", false, true, 10);
    CU_ASSERT_EQUAL(status(1, 0, 10)->health, TG_ENDPOINT_UP);
    tear_down();
}

static void test_health_overrules_own_memory(void)
{
    set_up();
    tg_fleet_view_get(view, 1);
    for (int i = 0; i < TG_FLEET_FAILURES_MAX; i++)
        observe("b", "x", false, false, 10);
    CU_ASSERT_EQUAL(status(1, 0, 10)->health, TG_ENDPOINT_DOWN);
    Tollgate__V1__EndpointView fresh = endpoint("b", "x", UNKNOWN);
    push(true, 1, &fresh, 20);
    CU_ASSERT_EQUAL(status(1, 0, 20)->health, TG_ENDPOINT_UP);
    tear_down();
}

static void test_counts_probes(void)
{
    set_up();
    tg_fleet_view_probe(view, "a", "y", true);
    tg_fleet_view_probe(view, "a", "y", true);
    tg_fleet_view_probe(view, "a", "y", false);
    CU_ASSERT_TRUE(status(0, 1, 1)->probing);
    CU_ASSERT_FALSE(status(0, 0, 1)->probing);
    tg_fleet_view_probe(view, "a", "y", false);
    CU_ASSERT_FALSE(status(0, 1, 1)->probing);
    tg_fleet_view_probe(view, "a", "y", false); /* of a probe that began before a reload */
    CU_ASSERT_FALSE(status(0, 1, 1)->probing);
    tear_down();
}

/* Rows move with their ids; what an old attempt says about an id that is gone changes nothing. */
static void test_rebinds_by_id(void)
{
    set_up();
    Tollgate__V1__EndpointView down = endpoint("a", "y", DOWN);
    push(true, 4, &down, 100);
    tg_fleet_view_probe(view, "a", "y", true);
    tg_targets *next = load_targets(DOCUMENT(B_X, A_YX));
    CU_ASSERT_EQUAL_FATAL(tg_fleet_view_bind(view, next), 0);
    tg_targets_free(targets);
    targets = next;
    CU_ASSERT_EQUAL(status(1, 0, 100)->health, TG_ENDPOINT_DOWN);
    CU_ASSERT_STRING_EQUAL(status(1, 0, 100)->reason, "failing");
    CU_ASSERT_TRUE(status(1, 0, 100)->probing);
    CU_ASSERT_EQUAL(status(1, 1, 100)->health, TG_ENDPOINT_UP);
    CU_ASSERT_EQUAL(tg_fleet_view_version(view), 4);
    tg_fleet_view_probe(view, "a", "y", false);
    CU_ASSERT_FALSE(status(1, 0, 100)->probing);

    next = load_targets(DOCUMENT(A_X, B_X));
    CU_ASSERT_EQUAL_FATAL(tg_fleet_view_bind(view, next), 0);
    tg_targets_free(targets);
    targets = next;
    observe("a", "y", false, false, 200);
    tg_fleet_view_probe(view, "a", "y", false);
    CU_ASSERT_EQUAL(status(0, 0, 200)->health, TG_ENDPOINT_UP);
    tear_down();
}

static const tg_test tests[] = {
    {"applies_what_health_says", test_applies_what_health_says},
    {"unknown_ids_are_ignored", test_unknown_ids_are_ignored},
    {"own_memory_decides_only_when_stale", test_own_memory_decides_only_when_stale},
    {"quota_is_no_fault", test_quota_is_no_fault},
    {"health_overrules_own_memory", test_health_overrules_own_memory},
    {"counts_probes", test_counts_probes},
    {"rebinds_by_id", test_rebinds_by_id},
};
TG_TEST_MAIN("services_router_fleet", tests)
