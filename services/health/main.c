/* tollgate-health: watches every (target, endpoint) and tells the routers. */
#include "libs/base/log.h"
#include "services/health/health.h"

#include <stdlib.h>
#include <string.h>

enum { TICK_MS = 50 };

void tg_health_changed(tg_health *health, const tg_health_endpoint *e)
{
    static const char *const names[] = {"up", "half_open", "down"};
    const char *const labels[] = {e->target, e->endpoint, names[e->state]};
    tg_counter_add(tg_counter_of(health->metrics.transitions, labels), 1);
    tg_log(e->state == TG_CIRCUIT_DOWN ? TG_LOG_WARN : TG_LOG_INFO, "circuit", "target", "%s",
           e->target, "endpoint", "%s", e->endpoint, "state", "%s", names[e->state], "reason", "%s",
           e->reason, NULL);
    tg_health_push(health);
}

static void on_tick(uv_timer_t *timer)
{
    tg_health *health = timer->data;
    uint64_t now = tg_health_now_ms();
    for (size_t i = 0; i < health->fleet.count; i++) {
        tg_health_endpoint *e = &health->fleet.endpoints[i];
        if (tg_health_endpoint_tick(e, now)) {
            tg_health_fleet_touch(&health->fleet, e);
            tg_health_changed(health, e);
        }
    }
}

static void on_push(uv_timer_t *timer)
{
    tg_health *health = timer->data;
    if (health->pushed_version < health->fleet.version)
        tg_health_push(health);
}

static void on_drain(void *user, tg_service *service)
{
    tg_health_end_watchers(user);
    tg_service_drained(service);
}

static void on_collect(void *user) { tg_health_metrics_collect(user); }

static int start_timers(tg_health *health)
{
    uv_loop_t *loop = tg_service_uv(health->service);
    int rc = uv_timer_init(loop, &health->tick);
    rc = rc < 0 ? rc : uv_timer_init(loop, &health->push);
    health->tick.data = health->push.data = health;
    rc = rc < 0 ? rc : uv_timer_start(&health->tick, on_tick, TICK_MS, TICK_MS);
    rc = rc < 0 ? rc
                : uv_timer_start(&health->push, on_push, health->settings->push_interval_ms,
                                 health->settings->push_interval_ms);
    return rc;
}

static int start_service(tg_health *health, tg_error *err)
{
    const tg_health_settings *s = health->settings;
    tg_service_conf conf = {
        .name = "health",
        .settings = &s->common,
        .grpc_listen = s->grpc_listen,
        .metrics = health->metrics.registry,
        .collect = on_collect,
        .drain = on_drain,
        .user = health,
    };
    return tg_service_new(&conf, err, &health->service);
}

static void on_shared(void *user, const Tollgate__V1__Observation *observation)
{
    tg_health_observe(user, observation);
}

static void on_share_trouble(void *user, const char *why)
{
    (void)user;
    tg_log(TG_LOG_WARN, "observations_not_shared", "reason", "%s", why, NULL);
}

static int start_share(tg_health *health, tg_error *err)
{
    const tg_health_settings *s = health->settings;
    tg_share_conf conf = {.link = &s->kafka.link,
                          .topic = s->kafka.topic_observations,
                          .instance_id = s->common.instance_id,
                          .age_max_ms = s->window_ms,
                          .apply = on_shared,
                          .trouble = on_share_trouble,
                          .user = health};
    if (!*s->kafka.link.brokers || !*s->kafka.topic_observations)
        return 0;
    return tg_share_start(tg_service_uv(health->service), &conf, err, &health->share);
}

static int start(tg_health *health, tg_arena *arena, const char *config, tg_error *err)
{
    tg_rpc_service service = tg_health_rpc_service(health);
    tg_watchers_init(&health->watchers, TG_HEALTH_WATCHERS_MAX);
    int rc = tg_health_settings_load(config, err, arena, &health->settings);
    if (rc == 0)
        rc = tg_health_metrics_init(&health->metrics);
    if (rc == 0)
        rc = start_service(health, err);
    if (rc == 0)
        rc = tg_targets_load(health->settings->targets_file, err, &health->targets);
    if (rc == 0) {
        const tg_health_settings *s = health->settings;
        tg_circuit_conf circuit = {.window_ms = s->window_ms,
                                   .error_rate_permille = s->circuit.error_rate_permille,
                                   .min_requests = s->circuit.min_requests,
                                   .open_ms = s->circuit.open_ms,
                                   .half_open_successes = s->circuit.half_open_successes};
        rc = tg_health_fleet_init(&health->fleet, health->targets, &circuit, s->common.instance_id);
    }
    if (rc == 0)
        rc = start_timers(health);
    if (rc == 0)
        rc = tg_private_watch_start(health, err);
    if (rc == 0)
        rc = start_share(health, err);
    if (rc == 0)
        rc = tg_service_listen(health->service, &service, 1, err);
    return rc;
}

static void stop(tg_health *health, tg_arena *arena)
{
    tg_private_watch_stop(health);
    tg_share_close(health->share);
    uv_close((uv_handle_t *)&health->tick, NULL);
    uv_close((uv_handle_t *)&health->push, NULL);
    health->service = tg_service_free(health->service);
    free(health->privates);
    tg_health_fleet_clear(&health->fleet);
    health->targets = tg_targets_free(health->targets);
    health->metrics.registry = tg_metrics_free(health->metrics.registry);
    tg_arena_free(arena);
}

int main(int argc, char **argv)
{
    static tg_health health;
    static tg_arena arena; /* of the process: a start that fails leaves it to the exit */
    tg_error err = {""};
    const char *config = tg_service_config_argument(argc, argv, "tollgate-health");
    tg_rpc_init();
    tg_arena_init(&arena, 0);
    int rc = start(&health, &arena, config, &err);
    if (rc < 0) {
        tg_log(TG_LOG_ERROR, "start_failed", "reason", "%s", err.text[0] ? err.text : strerror(-rc),
               NULL);
        return 1;
    }
    rc = tg_service_run(health.service);
    stop(&health, &arena);
    tg_rpc_shutdown();
    return rc < 0 ? 1 : 0;
}
