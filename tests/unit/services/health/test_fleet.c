#include "services/health/fleet.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/targets.h"

static const char document[] =
    "version: 1\n"
    "targets:\n"
    "  - {id: a, provider: private, model: m, endpoints: [{id: x, url: \"h:1\"}, {id: y, url: "
    "\"h:2\"}]}\n"
    "  - {id: b, provider: private, model: m, endpoints: [{id: x, url: \"h:3\"}]}\n";

static const tg_circuit_conf circuit = {.window_ms = 8000,
                                        .error_rate_permille = 500,
                                        .min_requests = 2,
                                        .open_ms = 1000,
                                        .half_open_successes = 1};

static tg_targets *targets;
static tg_health_fleet fleet;
static tg_arena arena;

static void set_up(void)
{
    targets = load_targets(document);
    CU_ASSERT_EQUAL_FATAL(tg_health_fleet_init(&fleet, targets, &circuit, "health-1"), 0);
    tg_arena_init(&arena, 0);
}

static void tear_down(void)
{
    tg_arena_free(&arena);
    tg_health_fleet_clear(&fleet);
    targets = tg_targets_free(targets);
}

static bool observe(const char *target, const char *endpoint, bool success, uint64_t now_ms)
{
    Tollgate__V1__Observation o = TOLLGATE__V1__OBSERVATION__INIT;
    o.target = (char *)target;
    o.endpoint = (char *)endpoint;
    o.success = success;
    o.status = success ? 200 : 503;
    o.total_us = 1000;
    return tg_health_fleet_observe(&fleet, &o, now_ms);
}

static const Tollgate__V1__FleetUpdate *update(uint64_t known)
{
    const Tollgate__V1__FleetUpdate *u = tg_health_fleet_update(&fleet, known, 100, &arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(u);
    CU_ASSERT_EQUAL(u->version, fleet.version);
    CU_ASSERT_STRING_EQUAL(u->health_instance, "health-1");
    return u;
}

static void test_new_watchers_get_everything(void)
{
    set_up();
    const Tollgate__V1__FleetUpdate *u = update(0);
    CU_ASSERT_TRUE(u->full);
    CU_ASSERT_EQUAL_FATAL(u->n_endpoints, 3);
    CU_ASSERT_STRING_EQUAL(u->endpoints[1]->target, "a");
    CU_ASSERT_STRING_EQUAL(u->endpoints[1]->endpoint, "y");
    CU_ASSERT_EQUAL(u->endpoints[2]->state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UNKNOWN);
    tear_down();
}

static void test_deltas_hold_what_changed_since(void)
{
    set_up();
    uint64_t before = fleet.version;
    CU_ASSERT_FALSE(observe("a", "y", true, 10));
    CU_ASSERT_EQUAL(fleet.version, before + 1);
    uint64_t between = fleet.version;
    CU_ASSERT_FALSE(observe("b", "x", true, 20));
    const Tollgate__V1__FleetUpdate *both = update(before), *last = update(between);
    CU_ASSERT_FALSE(both->full);
    CU_ASSERT_EQUAL_FATAL(both->n_endpoints, 2);
    CU_ASSERT_STRING_EQUAL(both->endpoints[0]->endpoint, "y");
    CU_ASSERT_STRING_EQUAL(both->endpoints[1]->target, "b");
    CU_ASSERT_EQUAL(both->endpoints[1]->state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UP);
    CU_ASSERT_EQUAL_FATAL(last->n_endpoints, 1);
    CU_ASSERT_STRING_EQUAL(last->endpoints[0]->target, "b");
    CU_ASSERT_EQUAL(update(fleet.version)->n_endpoints, 0);
    tear_down();
}

static void test_unknown_endpoints_change_nothing(void)
{
    set_up();
    uint64_t before = fleet.version;
    CU_ASSERT_FALSE(observe("a", "z", false, 10));
    CU_ASSERT_FALSE(observe("nobody", "x", false, 10));
    CU_ASSERT_FALSE(observe("", "", false, 10));
    CU_ASSERT_EQUAL(fleet.version, before);
    CU_ASSERT_EQUAL(fleet.unknown, 3);
    CU_ASSERT_EQUAL(fleet.observations, 0);
    CU_ASSERT_PTR_NULL(tg_health_fleet_find(&fleet, "a", "z"));
    tear_down();
}

static void test_endpoints_of_a_target_fail_apart(void)
{
    set_up();
    CU_ASSERT_FALSE(observe("a", "x", false, 10));
    CU_ASSERT_TRUE(observe("a", "x", false, 10));
    const Tollgate__V1__FleetUpdate *u = update(0);
    CU_ASSERT_EQUAL(u->endpoints[0]->state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN);
    CU_ASSERT_EQUAL(u->endpoints[0]->retry_in_ms, 910);
    CU_ASSERT_STRING_EQUAL(u->endpoints[0]->reason, "failing (status 503)");
    CU_ASSERT_EQUAL(u->endpoints[1]->state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UNKNOWN);
    tear_down();
}

static void test_ticks_are_changes(void)
{
    set_up();
    observe("b", "x", false, 10);
    observe("b", "x", false, 10);
    uint64_t before = fleet.version;
    CU_ASSERT_FALSE(tg_health_fleet_tick(&fleet, 1009));
    CU_ASSERT_EQUAL(fleet.version, before);
    CU_ASSERT_TRUE(tg_health_fleet_tick(&fleet, 1010));
    const Tollgate__V1__FleetUpdate *u = update(before);
    CU_ASSERT_EQUAL_FATAL(u->n_endpoints, 1);
    CU_ASSERT_EQUAL(u->endpoints[0]->state, TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_HALF_OPEN);
    tear_down();
}

/* What was observed leaves the window: watchers are told, though nothing else happens. */
static void test_what_grows_old_is_a_change(void)
{
    set_up();
    observe("b", "x", true, 10);
    uint64_t before = fleet.version, mono_ms = 10;
    CU_ASSERT_FALSE(tg_health_fleet_tick(&fleet, mono_ms));
    CU_ASSERT_EQUAL(fleet.version, before);
    while (fleet.version == before && mono_ms < 10 * fleet.circuit.window_ms)
        CU_ASSERT_FALSE(tg_health_fleet_tick(&fleet, mono_ms += 50)); /* no state has changed */
    CU_ASSERT_TRUE(mono_ms > fleet.circuit.window_ms / 2 && mono_ms <= 2 * fleet.circuit.window_ms);
    tg_arena later;
    tg_arena_init(&later, 0);
    const Tollgate__V1__FleetUpdate *u = tg_health_fleet_update(&fleet, before, mono_ms, &later);
    CU_ASSERT_EQUAL_FATAL(u->n_endpoints, 1);
    CU_ASSERT_STRING_EQUAL(u->endpoints[0]->target, "b");
    CU_ASSERT_TRUE(u->endpoints[0]->requests == 0 && u->endpoints[0]->total_p95_us == 0);
    before = fleet.version;
    CU_ASSERT_FALSE(tg_health_fleet_tick(&fleet, mono_ms + 5 * fleet.circuit.window_ms));
    CU_ASSERT_EQUAL(fleet.version, before); /* once */
    tg_arena_free(&later);
    tear_down();
}

static const tg_test tests[] = {
    {"new_watchers_get_everything", test_new_watchers_get_everything},
    {"deltas_hold_what_changed_since", test_deltas_hold_what_changed_since},
    {"unknown_endpoints_change_nothing", test_unknown_endpoints_change_nothing},
    {"endpoints_of_a_target_fail_apart", test_endpoints_of_a_target_fail_apart},
    {"ticks_are_changes", test_ticks_are_changes},
    {"what_grows_old_is_a_change", test_what_grows_old_is_a_change},
};
TG_TEST_MAIN("services_health_fleet", tests)
