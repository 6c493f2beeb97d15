/* What dispatch writes to: the spool, the fleet view, health and the metrics. */
#include "services/router/router.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"

#include <errno.h>
#include <string.h>

static int on_opened(void *user, const tg_usage_event *event, uint64_t *ret_slot)
{
    tg_router *router = user;
    int rc = tg_spool_opened(router->spool, event, ret_slot);
    if (rc < 0 && router->settings->on_spool_full == TG_WHEN_FULL_ALLOW) {
        tg_counter_add(router->metrics.unspooled, 1);
        tg_log(TG_LOG_ERROR, "attempt_without_spool", "request_id", "%s", event->request_id,
               "tenant", "%s", event->tenant, "reason", "%s", strerror(-rc), NULL);
        *ret_slot = TG_NO_SLOT;
        return 0;
    }
    return rc;
}

static void count(tg_router *router, const tg_usage_event *event)
{
    tg_router_metrics *m = &router->metrics;
    const char *const target[] = {event->target};
    const char *const attempt[] = {event->target, event->endpoint, tg_outcome_name(event->outcome)};
    const char *const cost[] = {event->tenant, event->target};
    const char *const input[] = {event->target, "input"}, *const output[] = {event->target,
                                                                             "output"};
    tg_counter_add(tg_counter_of(m->attempts, attempt), 1);
    tg_counter_add(tg_counter_of(m->cost, cost), (uint64_t)event->cost_picousd);
    tg_counter_add(tg_counter_of(m->tokens, input), event->tokens.input + event->tokens.cache_read);
    tg_counter_add(tg_counter_of(m->tokens, output), event->tokens.output);
    tg_histogram_observe(tg_histogram_of(m->total, target), event->total_ns);
    if (event->first_token_ns > 0)
        tg_histogram_observe(tg_histogram_of(m->first_token, target), event->first_token_ns);
}

static int on_closed(void *user, uint64_t slot, const tg_usage_event *event)
{
    tg_router *router = user;
    int rc = tg_spool_closed(router->spool, slot, event);
    if (rc < 0) {
        /* The opened record stays: recovery will bill the attempt as estimated. */
        tg_counter_add(router->metrics.closed_failed, 1);
        tg_log(TG_LOG_ERROR, "usage_not_closed", "request_id", "%s", event->request_id, "reason",
               "%s", strerror(-rc), NULL);
    }
    count(router, event);
    return rc;
}

static void on_observation(void *user, const tg_observation *observation)
{
    tg_router *router = user;
    tg_fleet_view_observe(router->fleet, observation, tg_clock_mono_ns() / 1000000u);
    tg_health_link_observe(router->health, observation);
}

static void on_probe(void *user, const char *target, const char *endpoint, bool begun)
{
    tg_router *router = user;
    tg_fleet_view_probe(router->fleet, target, endpoint, begun);
}

void tg_router_bind_dispatch(tg_router *router)
{
    tg_dispatch_env *env = &router->dispatch;
    env->http = tg_http_client_transport(router->http);
    env->rpc = tg_rpc_transport_face(router->rpc);
    env->mono_ns = tg_clock_mono_ns;
    env->wall_ns = tg_clock_wall_ns;
    env->user = router;
    env->opened = on_opened;
    env->closed = on_closed;
    env->observe = on_observation;
    env->probe = on_probe;
    env->instance_id = router->settings->common.instance_id;
    tg_dispatch_env_init(env);
}

bool tg_router_ready(tg_router *router, const char **ret_why)
{
    tg_spool_stats spool;
    tg_spool_stats_get(router->spool, &spool);
    if (router->settings->on_spool_full == TG_WHEN_FULL_REJECT &&
             spool.bytes >= router->settings->spool.limit_bytes)
        *ret_why = "the spool is full";
    else
        *ret_why = NULL;
    return *ret_why == NULL;
}
