#include "services/health/health.h"

#include <errno.h>

int tg_health_metrics_init(tg_health_metrics *h)
{
    tg_metrics *m = h->registry = tg_metrics_new();
    if (!m)
        return -ENOMEM;
    h->state = tg_metrics_gauge(m, "tollgate_circuit_state", "0 up, 1 half open, 2 down.",
                                "target,endpoint");
    h->transitions = tg_metrics_counter(m, "tollgate_circuit_transitions_total",
                                        "Changes of the circuit, by the state it went to.",
                                        "target,endpoint,to");
    tg_metric_family *watchers =
        tg_metrics_gauge(m, "tollgate_fleet_watchers", "Routers that watch the fleet view.", "");
    tg_metric_family *version =
        tg_metrics_gauge(m, "tollgate_fleet_view_version", "Version of the fleet view.", "");
    tg_metric_family *observations =
        tg_metrics_counter(m, "tollgate_observations_total",
                           "Observations of routers, told directly or by other replicas.", "");
    tg_metric_family *unknown = tg_metrics_counter(
        m, "tollgate_observations_unknown_total",
        "Observations of endpoints that the targets document does not have.", "");
    tg_metric_family *produced = tg_metrics_counter(
        m, "tollgate_shared_observations_produced_total",
        "Observations of our routers that the broker has for other replicas.", "");
    tg_metric_family *consumed =
        tg_metrics_counter(m, "tollgate_shared_observations_consumed_total",
                           "Observations applied that other replicas had from their routers.", "");
    h->dropped =
        tg_metrics_counter(m, "tollgate_shared_observations_dropped_total",
                           "Observations not shared: too many for the broker (out_full), not taken "
                           "by it (failed), too many for us (in_full), too old (late), unreadable.",
                           "why");
    if (!produced || !consumed || !h->dropped)
        return -ENOMEM;
    if (!h->state || !h->transitions || !watchers || !version || !observations || !unknown)
        return -ENOMEM;
    h->watchers = tg_gauge_of(watchers, NULL);
    h->version = tg_gauge_of(version, NULL);
    h->observations = tg_counter_of(observations, NULL);
    h->unknown = tg_counter_of(unknown, NULL);
    h->produced = tg_counter_of(produced, NULL);
    h->consumed = tg_counter_of(consumed, NULL);
    return 0;
}

static void set_counter(tg_counter *c, uint64_t value)
{
    tg_counter_add(c, value - tg_counter_value(c));
}

static void collect_share(tg_health *health)
{
    tg_health_metrics *m = &health->metrics;
    tg_share_stats s = {0};
    if (health->share)
        tg_share_stats_get(health->share, &s);
    const struct {
        const char *why;
        uint64_t count;
    } dropped[] = {{"out_full", s.out_full},
                   {"failed", s.failed},
                   {"in_full", s.in_full},
                   {"late", s.late},
                   {"unreadable", s.unreadable}};
    set_counter(m->produced, s.produced);
    set_counter(m->consumed, s.consumed);
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        set_counter(tg_counter_of(m->dropped, &dropped[i].why), dropped[i].count);
}

void tg_health_metrics_collect(tg_health *health)
{
    tg_health_metrics *m = &health->metrics;
    for (size_t i = 0; i < health->fleet.count; i++) {
        const tg_health_endpoint *e = &health->fleet.endpoints[i];
        const char *const labels[] = {e->target, e->endpoint};
        tg_gauge_set(tg_gauge_of(m->state, labels), (int64_t)e->state);
    }
    tg_gauge_set(m->watchers, (int64_t)health->watchers.len);
    tg_gauge_set(m->version, (int64_t)health->fleet.version);
    set_counter(m->observations, health->fleet.observations);
    set_counter(m->unknown, health->fleet.unknown);
    collect_share(health);
}
