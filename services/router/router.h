/* The router process: everything a request needs, in one place. Filled by main.c, read by edge/.
 *
 * Threads: one loop.
 */
#ifndef TG_ROUTER_ROUTER_H
#define TG_ROUTER_ROUTER_H

#include "libs/config/settings.h"
#include "libs/http/client.h"
#include "libs/http/server.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/transport_rpc.h"
#include "libs/service/service.h"
#include "libs/usage/producer.h"
#include "libs/usage/publisher.h"
#include "services/router/fleet.h"
#include "services/router/health_link.h"
#include "services/router/live.h"
#include "services/router/pace.h"

/* Families and hot series; see docs/operations.md for what they mean. */
typedef struct tg_router_metrics {
    tg_metrics *registry;
    tg_metric_family *requests;      /* edge, status */
    tg_metric_family *refusals;      /* reason */
    tg_metric_family *attempts;      /* target, endpoint, outcome */
    tg_metric_family *first_token;   /* target */
    tg_metric_family *total;         /* target */
    tg_metric_family *cost;          /* tenant, target: pico-dollars */
    tg_metric_family *tokens;        /* target, kind */
    tg_metric_family *estimate_error, *estimated; /* target: tokens */
    tg_metric_family *counts;        /* target, outcome: answered, unanswered */
    tg_gauge *in_flight, *spool_bytes, *spool_unacked, *spool_open, *fleet_stale, *fleet_version,
        *broker_up, *policy_reload_failed;
    tg_counter *unspooled; /* attempts served without a spool record (on_spool_full: allow) */
    tg_counter *closed_failed;       /* closed records that could not be written */
    tg_counter *observations_dropped, *delivered, *decisions_published, *decisions_dropped;
} tg_router_metrics;

typedef struct tg_router {
    const tg_router_settings *settings;
    tg_service *service;
    tg_rpc_loop *loop;
    uv_loop_t *uv;
    tg_live *live; /* the current configuration */
    tg_fleet_view *fleet;
    tg_health_link *health;
    tg_spool *spool;
    tg_producer *producer;
    tg_publisher *decisions; /* NULL without brokers or a topic */
    tg_http_client *http;
    tg_rpc_transport *rpc;
    tg_dispatch_env dispatch;
    tg_pace *pace; /* tenants' requests per minute */
    tg_json_doc *doc; /* scratch for client bodies */
    tg_router_metrics metrics;
    tg_list doomed; /* exchanges to free outside the event that ended them */
    uint64_t rng;   /* draws */
} tg_router;

int tg_router_metrics_init(tg_router_metrics *metrics);
/* Sets the gauges that are read from elsewhere: spool, fleet, producer. */
void tg_router_metrics_collect(tg_router *router);

/* The dispatch environment's sinks: spool, fleet, health, metrics. `user` is the tg_router. */
void tg_router_bind_dispatch(tg_router *router);

/* Ready: spool open and below its limit (or allowed to be full).
 * Otherwise *ret_why says what is missing. */
bool tg_router_ready(tg_router *router, const char **ret_why);

#endif
