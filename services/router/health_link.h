/* The router's line to the health service: reads the fleet view, sends observations.
 *
 * WatchFleet is kept open to one of the configured replicas (the next one after a failure, with
 * backoff from 100 ms to 5 s). Observations are sent in batches every `observe_interval_ms`; at
 * most TG_HEALTH_LINK_PENDING_MAX wait, the oldest are dropped and counted: they are statistics,
 * not money.
 *
 * Threads: the loop's.
 */
#ifndef TG_ROUTER_HEALTH_LINK_H
#define TG_ROUTER_HEALTH_LINK_H

#include "libs/rpc/rpc.h"
#include "services/router/fleet.h"

/* observations waiting for health; past it the oldest are dropped */
#define TG_HEALTH_LINK_PENDING_MAX 4096

typedef struct tg_health_link_conf {
    const char *const *endpoints; /* host:port of health replicas; none: the link does nothing */
    size_t endpoint_count;
    uint32_t observe_interval_ms;
    uint32_t observe_batch_max;
    const char *instance_id;
    const tg_rpc_tls *tls; /* NULL: plain text; must outlive the link */
} tg_health_link_conf;

typedef struct tg_health_link_stats {
    bool connected;      /* a WatchFleet stream has delivered since it was opened */
    uint64_t sent;       /* observations */
    uint64_t dropped;
    uint64_t reconnects;
} tg_health_link_stats;

typedef struct tg_health_link tg_health_link;
int tg_health_link_new(tg_rpc_loop *loop, const tg_health_link_conf *conf, tg_fleet_view *fleet,
                       tg_error *err, tg_health_link **ret);
/* Copies what it keeps. */
void tg_health_link_observe(tg_health_link *link, const tg_observation *observation);
void tg_health_link_stats_get(const tg_health_link *link, tg_health_link_stats *ret);
/* Sends what is pending if it can, then closes on the loop; the pointer is dead after the call. */
void tg_health_link_close(tg_health_link *link);

#endif
