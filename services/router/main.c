/* tollgate-router: takes chat requests by HTTP and gRPC, sends each where the policy says. */
#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "libs/base/log.h"
#include "services/router/edge/grpc.h"
#include "services/router/edge/http.h"

#include <errno.h>
#include <string.h>

enum {
    FLUSH_MS = 5000,           /* a drain's patience with the broker */
    DECISIONS_FLUSH_MS = 1000, /* the same, for decisions */
};

typedef struct app {
    tg_router router;
    tg_arena arena; /* settings */
    tg_http_server *http;
    uv_timer_t tick;
} app;

/* ---- start ---- */

static int listen_public(app *a, tg_error *err)
{
    const tg_router_settings *s = a->router.settings;
    char host[64];
    tg_http_server_conf conf = {
        .host = host,
        .reuseport = true, /* more cores are more routers on one port */
        .cert_file = s->common.tls.cert_file,
        .key_file = s->common.tls.key_file,
        .body_bytes_max = (uint32_t)s->http.body_bytes_max,
        .header_bytes_max = (uint32_t)s->http.header_bytes_max,
        .connections_max = s->http.connections_max,
        .header_timeout_ms = s->http.header_timeout_ms,
        .body_timeout_ms = s->http.body_timeout_ms,
        .idle_timeout_ms = s->http.idle_timeout_ms,
        .write_timeout_ms = s->http.write_timeout_ms,
        .write_buffer_max = (uint32_t)s->http.write_buffer_max,
        .write_high_water = (uint32_t)s->http.write_high_water,
        .handler = tg_edge_http,
        .user = &a->router,
    };
    int rc = tg_service_address(s->listen, host, sizeof host, &conf.port, err);
    if (rc == 0)
        rc = tg_service_check_bind("listen", host, &s->common.tls, s->common.insecure, err);
    return rc < 0 ? rc : tg_http_server_new(a->router.uv, &conf, err, &a->http);
}

static int start_usage(app *a, tg_error *err)
{
    tg_router *r = &a->router;
    const tg_router_settings *s = r->settings;
    tg_spool_conf spool = {.dir = s->spool.dir,
                           .sync_ms = s->spool.sync_ms,
                           .segment_bytes = s->spool.segment_bytes,
                           .limit_bytes = s->spool.limit_bytes};
    tg_producer_conf producer = {
        .link = &s->kafka.link, .topic = s->kafka.topic_usage, .client_id = s->common.instance_id};
    const tg_publisher_conf decisions = {.what = "kafka decisions",
                                         .link = &s->kafka.link,
                                         .topic = s->kafka.topic_decisions,
                                         .client_id = s->common.instance_id,
                                         .header = "router-instance"};
    int rc = tg_spool_open(r->uv, &spool, tg_clock_wall_ns(), err, &r->spool);
    if (rc == 0 && *s->kafka.link.brokers) /* without brokers events stay in the spool */
        rc = tg_producer_new(r->uv, &producer, r->spool, err, &r->producer);
    if (rc == 0 && *s->kafka.link.brokers && *s->kafka.topic_decisions)
        rc = tg_publisher_new(&decisions, err, &r->decisions);
    return rc;
}

static int start_upstreams(app *a, tg_error *err)
{
    tg_router *r = &a->router;
    const tg_router_settings *s = r->settings;
    const tg_rpc_tls *tls = tg_service_tls(r->service);
    tg_http_client_conf http = {.in_flight_max = s->in_flight_max};
    tg_health_link_conf health = {.endpoints = s->health.endpoints,
                                  .endpoint_count = s->health.endpoint_count,
                                  .observe_interval_ms = s->health.observe_interval_ms,
                                  .observe_batch_max = s->health.observe_batch_max,
                                  .instance_id = s->common.instance_id,
                                  .tls = tls};
    r->fleet = tg_fleet_view_new(r->live->targets, s->health.stale_after_ms);
    r->doc = tg_json_doc_new();
    r->dispatch.doc = tg_json_doc_new();
    r->dispatch.estimates = tg_estimates_new();
    if (!r->fleet || !r->doc || !r->dispatch.doc || !r->dispatch.estimates)
        return -ENOMEM;
    int rc = tg_http_client_new(r->uv, &http, err, &r->http);
    if (rc == 0)
        rc = tg_rpc_transport_new(r->loop, tls, err, &r->rpc);
    if (rc == 0)
        rc = tg_health_link_new(r->loop, &health, r->fleet, err, &r->health);
    if (rc == 0)
        tg_router_bind_dispatch(r);
    return rc;
}

/* ---- drain, reload, tick ---- */

static void on_flushed(void *user, bool all)
{
    app *a = user;
    if (!all)
        tg_log(TG_LOG_WARN, "spool_not_empty", "note", "%s",
               "undelivered usage records stay on disk and are sent at the next start", NULL);
    tg_service_drained(a->router.service);
}

static void on_http_drained(void *user)
{
    app *a = user;
    /* Requests are over: what is left is to hand their usage to Kafka. */
    if (a->router.producer)
        tg_producer_flush(a->router.producer, FLUSH_MS, on_flushed, a);
    else
        tg_service_drained(a->router.service);
}

static void on_drain(void *user, tg_service *service)
{
    app *a = user;
    (void)service;
    tg_http_server_drain(a->http, on_http_drained, a);
}

static void on_reload(void *user)
{
    app *a = user;
    tg_router *r = &a->router;
    tg_error err = {""};
    tg_live *live = NULL;
    int rc = tg_live_load(r->settings, &err, &live);
    if (rc == 0)
        rc = tg_fleet_view_bind(r->fleet, live->targets);
    if (rc == 0) {
        tg_live_unref(r->live);
        r->live = live;
        tg_log(TG_LOG_INFO, "configuration_reloaded", "policy_version", "%s",
               tg_policy_version(live->policy), NULL);
    } else {
        tg_live_unref(live);
        tg_log(TG_LOG_ERROR, "configuration_refused", "reason", "%s", err.text, NULL);
    }
    tg_gauge_set(r->metrics.policy_reload_failed, rc < 0);
}

static void on_tick(uv_timer_t *timer)
{
    app *a = timer->data;
    tg_dispatch_tick(&a->router.dispatch);
    tg_edge_http_sweep(&a->router);
    if (a->router.decisions)
        tg_publisher_poll(a->router.decisions);
}

static bool on_ready(void *user, const char **ret_why)
{
    return tg_router_ready(&((app *)user)->router, ret_why);
}

static void on_collect(void *user) { tg_router_metrics_collect(&((app *)user)->router); }

/* ---- the process ---- */

static int start_service(app *a, tg_error *err)
{
    tg_router *r = &a->router;
    const tg_router_settings *s = r->settings;
    tg_service_conf conf = {
        .name = "router",
        .settings = &s->common,
        .grpc_listen = s->grpc_listen,
        .grpc_public = true,
        .grpc_shared = true,
        .loop_owner = TG_RPC_LOOP_UV, /* HTTP is its work, gRPC the lesser part */
        .metrics = r->metrics.registry,
        .ready = on_ready,
        .collect = on_collect,
        .drain = on_drain,
        .reload = on_reload,
        .user = a,
    };
    int rc = tg_service_new(&conf, err, &r->service);
    if (rc == 0) {
        r->loop = tg_service_loop(r->service);
        r->uv = tg_service_uv(r->service);
    }
    return rc;
}

static int start(app *a, const char *config, tg_error *err)
{
    tg_router *r = &a->router;
    tg_arena_init(&a->arena, 0);
    tg_list_init(&r->doomed);
    tg_random_bytes(&r->rng, sizeof r->rng);
    int rc = tg_router_settings_load(config, err, &a->arena, &r->settings);
    if (rc == 0)
        rc = tg_router_metrics_init(&r->metrics);
    if (rc == 0)
        rc = (r->pace = tg_pace_new()) ? 0 : -ENOMEM;
    if (rc == 0)
        rc = start_service(a, err);
    if (rc == 0)
        rc = tg_live_load(r->settings, err, &r->live);
    if (rc == 0)
        rc = start_usage(a, err);
    if (rc == 0)
        rc = start_upstreams(a, err);
    if (rc == 0)
        rc = listen_public(a, err);
    if (rc == 0) {
        tg_rpc_service service = tg_edge_grpc_service(r);
        rc = tg_service_listen(r->service, &service, 1, err);
    }
    if (rc == 0)
        rc = uv_timer_init(r->uv, &a->tick);
    if (rc == 0) {
        a->tick.data = a;
        rc = uv_timer_start(&a->tick, on_tick, TG_DISPATCH_TICK_MS, TG_DISPATCH_TICK_MS);
    }
    return rc;
}

static void stop(app *a)
{
    tg_router *r = &a->router;
    tg_http_server_close(a->http);
    tg_health_link_close(r->health);
    if (r->producer)
        tg_producer_close(r->producer);
    r->decisions = tg_publisher_free(r->decisions, DECISIONS_FLUSH_MS);
    tg_http_client_close(r->http);
    uv_close((uv_handle_t *)&a->tick, NULL);
    r->rpc = tg_rpc_transport_free(r->rpc);
    tg_edge_http_sweep(r);
    r->spool = tg_spool_close(r->spool);
    r->service = tg_service_free(r->service);
    r->live = tg_live_unref(r->live);
    r->pace = tg_pace_free(r->pace);
    r->fleet = tg_fleet_view_free(r->fleet);
    r->doc = tg_json_doc_free(r->doc);
    r->dispatch.doc = tg_json_doc_free(r->dispatch.doc);
    r->dispatch.estimates = tg_estimates_free(r->dispatch.estimates);
    r->metrics.registry = tg_metrics_free(r->metrics.registry);
    tg_arena_free(&a->arena);
}

int main(int argc, char **argv)
{
    static app a;
    const char *config = tg_service_config_argument(argc, argv, "tollgate-router");
    tg_error err = {""};
    tg_rpc_init();
    int rc = start(&a, config, &err);
    if (rc < 0) {
        tg_log(TG_LOG_ERROR, "start_failed", "reason", "%s", err.text[0] ? err.text : strerror(-rc),
               NULL);
        return 1;
    }
    tg_log(TG_LOG_INFO, "listening", "http", "%s", a.router.settings->listen, "policy_version",
           "%s", tg_policy_version(a.router.live->policy), NULL);
    rc = tg_service_run(a.router.service);
    stop(&a);
    tg_rpc_shutdown();
    return rc < 0 ? 1 : 0;
}
