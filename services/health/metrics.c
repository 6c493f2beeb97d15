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
        tg_metrics_counter(m, "tollgate_observations_total", "Observations taken from routers.", "");
    tg_metric_family *unknown = tg_metrics_counter(
        m, "tollgate_observations_unknown_total",
        "Observations of endpoints that the targets document does not have.", "");
    if (!h->state || !h->transitions || !watchers || !version || !observations || !unknown)
        return -ENOMEM;
    h->watchers = tg_gauge_of(watchers, NULL);
    h->version = tg_gauge_of(version, NULL);
    h->observations = tg_counter_of(observations, NULL);
    h->unknown = tg_counter_of(unknown, NULL);
    return 0;
}

static void set_counter(tg_counter *c, uint64_t value) { tg_counter_add(c, value - tg_counter_value(c)); }

void tg_health_metrics_collect(tg_health *health)
{
    tg_health_metrics *m = &health->metrics;
    for (size_t i = 0; i < health->fleet.count; i++) {
        const tg_health_endpoint *e = &health->fleet.endpoints[i];
        const char *const labels[] = {e->target, e->endpoint};
        tg_gauge_set(tg_gauge_of(m->state, labels), (int64_t)e->state);
    }
    tg_gauge_set(m->watchers, (int64_t)health->watcher_count);
    tg_gauge_set(m->version, (int64_t)health->fleet.version);
    set_counter(m->observations, health->fleet.observations);
    set_counter(m->unknown, health->fleet.unknown);
}
