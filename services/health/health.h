/* The health process: the fleet, the routers that watch it, the private endpoints it watches, and
 * what it shares with other replicas.
 *
 * Threads: the loop's. */
#ifndef TG_HEALTH_HEALTH_H
#define TG_HEALTH_HEALTH_H

#include "libs/config/settings.h"
#include "libs/rpc/watch.h"
#include "libs/service/service.h"
#include "services/health/fleet.h"
#include "services/health/share.h"

#define TG_HEALTH_WATCHERS_MAX 1024 /* streams of the fleet view open at once */

typedef struct tg_health_metrics {
    tg_metrics *registry;
    tg_metric_family *state; /* target, endpoint: 0 up, 1 half open, 2 down */
    tg_metric_family *transitions; /* target, endpoint, to */
    tg_gauge *watchers, *version;
    tg_counter *observations, *unknown;
    tg_counter *produced, *consumed;
    tg_metric_family *dropped; /* why */
} tg_health_metrics;

typedef struct tg_health {
    const tg_health_settings *settings;
    tg_service *service;
    tg_targets *targets;
    tg_health_fleet fleet;
    tg_share *share; /* NULL: this replica shares nothing */
    tg_watchers watchers; /* of WatchFleet */
    uv_timer_t tick;   /* circuits */
    uv_timer_t push;   /* latencies */
    uint64_t pushed_version;
    tg_health_metrics metrics;
    struct tg_private_watch *privates; /* one per private endpoint */
    size_t private_count;
} tg_health;

uint64_t tg_health_now_ms(void);

/* The gRPC face. */
tg_rpc_service tg_health_rpc_service(tg_health *health);
/* Sends every watcher what changed since it was last sent something. */
void tg_health_push(tg_health *health);
/* Ends every WatchFleet stream, for a drain. */
void tg_health_end_watchers(tg_health *health);

/* An observation of a router, or of another replica. */
void tg_health_observe(tg_health *health, const Tollgate__V1__Observation *observation);
/* A state changed: log it, count it, push it at once. */
void tg_health_changed(tg_health *health, const tg_health_endpoint *endpoint);

/* Watches the endpoints of private targets by Inference.WatchStatus. */
int tg_private_watch_start(tg_health *health, tg_error *err);
void tg_private_watch_stop(tg_health *health);

int tg_health_metrics_init(tg_health_metrics *metrics);
void tg_health_metrics_collect(tg_health *health);

#endif
