#include "services/router/router.h"

#include <errno.h>

int tg_router_metrics_init(tg_router_metrics *r)
{
    tg_metrics *m = r->registry = tg_metrics_new();
    if (!m)
        return -ENOMEM;
    r->requests = tg_metrics_counter(m, "tollgate_requests_total",
                                     "Requests answered, by edge and status.", "edge,status");
    r->refusals = tg_metrics_counter(m, "tollgate_refusals_total",
                                     "Requests refused before any attempt, by reason.", "reason");
    r->attempts =
        tg_metrics_counter(m, "tollgate_attempts_total", "Attempts at upstreams, by outcome.",
                           "target,endpoint,outcome");
    r->first_token =
        tg_metrics_histogram(m, "tollgate_first_token_seconds",
                             "From the attempt's start to its first token.", "target", 1e-9);
    r->total = tg_metrics_histogram(m, "tollgate_attempt_seconds", "Duration of attempts.",
                                    "target", 1e-9);
    r->cost = tg_metrics_counter(m, "tollgate_cost_picousd_total",
                                 "Cost of attempts in pico-dollars (10^-12 USD).", "tenant,target");
    r->tokens = tg_metrics_counter(m, "tollgate_tokens_total", "Tokens, by kind (input, output).",
                                   "target,kind");
    r->estimated = tg_metrics_counter(
        m, "tollgate_estimate_checked_tokens_total",
        "Reported prompt tokens against which an estimate was checked.", "target");
    r->estimate_error =
        tg_metrics_counter(m, "tollgate_estimate_error_tokens_total",
                           "Tokens by which those estimates were off, either way.", "target");
    r->counts = tg_metrics_counter(
        m, "tollgate_prompt_counts_total",
        "Times a private target was asked for its count of a prompt's tokens, by outcome.",
        "target,outcome");
    r->in_flight =
        tg_metrics_one_gauge(m, "tollgate_dispatch_in_flight", "Requests being dispatched.");
    r->spool_bytes =
        tg_metrics_one_gauge(m, "tollgate_spool_bytes", "Bytes of the usage spool on disk.");
    r->spool_unacked = tg_metrics_one_gauge(m, "tollgate_spool_unacknowledged_records",
                             "Closed usage records Kafka has not acknowledged yet.");
    r->spool_open =
        tg_metrics_one_gauge(m, "tollgate_spool_open_attempts", "Attempts opened and not closed.");
    r->fleet_stale = tg_metrics_one_gauge(m, "tollgate_fleet_view_stale",
                           "1 when the health service has not been heard for stale_after_ms.");
    r->fleet_version =
        tg_metrics_one_gauge(m, "tollgate_fleet_view_version", "Version of the fleet view in use.");
    r->broker_up = tg_metrics_one_gauge(m, "tollgate_kafka_up", "1 when the Kafka broker answers.");
    r->policy_reload_failed = tg_metrics_one_gauge(
        m, "tollgate_config_reload_failed",
        "1 when the last reload was refused and the old configuration is in use.");
    r->unspooled = tg_metrics_one_counter(m, "tollgate_unspooled_attempts_total",
                           "Attempts served without a usage record (on_spool_full: allow).");
    r->closed_failed = tg_metrics_one_counter(
        m, "tollgate_usage_close_failures_total",
        "Closed records that could not be written; recovery bills them as estimated.");
    r->observations_dropped = tg_metrics_one_counter(m, "tollgate_observations_dropped_total",
                                      "Observations dropped because health was away too long.");
    r->delivered = tg_metrics_one_counter(m, "tollgate_usage_delivered_total",
                                          "Usage events acknowledged by Kafka.");
    r->decisions_published = tg_metrics_one_counter(m, "tollgate_decisions_published_total",
                                                    "Routing decisions acknowledged by Kafka.");
    r->decisions_dropped = tg_metrics_one_counter(
        m, "tollgate_decisions_dropped_total",
        "Routing decisions dropped because Kafka did not take them in time.");
    return r->delivered && r->decisions_published && r->decisions_dropped && r->requests &&
                   r->attempts && r->tokens && r->estimated && r->estimate_error && r->counts
               ? 0
               : -ENOMEM;
}

static void set_counter(tg_counter *c, uint64_t value)
{
    uint64_t now = tg_counter_value(c);
    if (value > now)
        tg_counter_add(c, value - now);
}

void tg_router_metrics_collect(tg_router *router)
{
    tg_router_metrics *m = &router->metrics;
    tg_spool_stats spool;
    tg_producer_stats producer = {0};
    tg_publisher_stats decisions = {0};
    tg_health_link_stats health;
    tg_spool_stats_get(router->spool, &spool);
    if (router->producer)
        tg_producer_stats_get(router->producer, &producer);
    if (router->decisions)
        tg_publisher_stats_get(router->decisions, &decisions);
    tg_health_link_stats_get(router->health, &health);
    const tg_fleet *fleet = tg_fleet_view_get(router->fleet, uv_now(router->uv));
    tg_gauge_set(m->in_flight, (int64_t)router->dispatch.active_count);
    tg_gauge_set(m->spool_bytes, (int64_t)spool.bytes);
    tg_gauge_set(m->spool_unacked, (int64_t)spool.unacked);
    tg_gauge_set(m->spool_open, (int64_t)spool.opened);
    tg_gauge_set(m->fleet_stale, fleet->stale);
    tg_gauge_set(m->fleet_version, (int64_t)fleet->version);
    tg_gauge_set(m->broker_up, producer.broker_up);
    size_t at = 0;
    tg_str target;
    const tg_token_scale *scale;
    while (tg_estimates_next(router->dispatch.estimates, &at, &target, &scale)) {
        const char *const label[] = {target.data};
        set_counter(tg_counter_of(m->estimated, label), scale->reported_tokens);
        set_counter(tg_counter_of(m->estimate_error, label), scale->error_tokens);
    }
    set_counter(m->observations_dropped, health.dropped);
    set_counter(m->delivered, producer.delivered);
    set_counter(m->decisions_published, decisions.published);
    set_counter(m->decisions_dropped, decisions.full + decisions.failed);
}
