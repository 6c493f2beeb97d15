/* tollgate-router: takes chat requests by HTTP and gRPC, sends each where the policy says. */
#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "libs/base/log.h"
#include "services/router/edge/grpc.h"
#include "services/router/edge/http.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef struct app {
    tg_router router;
    tg_arena arena; /* settings */
    tg_http_server *http, *ops;
    tg_rpc_server *grpc;
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t tick;
    unsigned draining; /* parts still to finish */
} app;

/* ---- start ---- */

/* "host:port" → both parts; the port may be 0. */
static int split_address(const char *address, char *host, size_t size, uint16_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || tg_str_u64(tg_str_of(colon + 1), &port) < 0 || port > 65535 ||
        !tg_str_copy(host, size, (tg_str){address, (size_t)(colon - address)}))
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

static int listen_http(app *a, const char *address, bool public, tg_error *err, tg_http_server **ret)
{
    const tg_router_settings *s = a->router.settings;
    char host[64];
    tg_http_server_conf conf = {
        .host = host,
        .reuseport = public,
        .body_bytes_max = (uint32_t)s->http.body_bytes_max,
        .header_bytes_max = (uint32_t)s->http.header_bytes_max,
        .connections_max = s->http.connections_max,
        .header_timeout_ms = s->http.header_timeout_ms,
        .body_timeout_ms = s->http.body_timeout_ms,
        .idle_timeout_ms = s->http.idle_timeout_ms,
        .write_timeout_ms = s->http.write_timeout_ms,
        .write_buffer_max = (uint32_t)s->http.write_buffer_max,
        .handler = public ? tg_edge_http : tg_edge_http_ops,
        .user = &a->router,
    };
    if (split_address(address, host, sizeof host, &conf.port) < 0)
        return tg_error_set(err, -EINVAL, "'%s' is no address; allowed is HOST:PORT", address);
    if (public) {
        conf.cert_file = s->tls.cert_file;
        conf.key_file = s->tls.key_file;
        if (!conf.cert_file && strncmp(host, "127.", 4) != 0 && strcmp(host, "::1") != 0 && !s->insecure)
            return tg_error_set(err, -EINVAL,
                                "listen: %s is not a loopback address and tls has no certificate; set "
                                "tls.cert_file and tls.key_file, or insecure: true",
                                address);
    }
    return tg_http_server_new(a->router.uv, &conf, err, ret);
}

static tg_rpc_tls rpc_tls(const tg_router_settings *s)
{
    return (tg_rpc_tls){
        .cert_file = s->tls.cert_file, .key_file = s->tls.key_file, .ca_file = s->tls.ca_file};
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
        .brokers = s->kafka.brokers, .topic = s->kafka.topic_usage, .client_id = s->instance_id};
    int rc = tg_spool_open(r->uv, &spool, tg_clock_wall_ns(), err, &r->spool);
    if (rc == 0 && *s->kafka.brokers) /* without brokers events stay in the spool */
        rc = tg_producer_new(r->uv, &producer, r->spool, err, &r->producer);
    return rc;
}

static int start_upstreams(app *a, tg_error *err)
{
    tg_router *r = &a->router;
    const tg_router_settings *s = r->settings;
    tg_http_client_conf http = {.in_flight_max = s->in_flight_max};
    tg_rpc_tls tls = rpc_tls(s);
    tg_health_link_conf health = {.endpoints = s->health.endpoints,
                                  .endpoint_count = s->health.endpoint_count,
                                  .observe_interval_ms = s->health.observe_interval_ms,
                                  .observe_batch_max = s->health.observe_batch_max,
                                  .instance_id = s->instance_id,
                                  .tls = tls};
    r->fleet = tg_fleet_view_new(r->live->targets, s->health.stale_after_ms);
    r->doc = tg_json_doc_new();
    r->dispatch.doc = tg_json_doc_new();
    if (!r->fleet || !r->doc || !r->dispatch.doc)
        return -ENOMEM;
    int rc = tg_http_client_new(r->uv, &http, err, &r->http);
    if (rc == 0)
        rc = tg_rpc_transport_new(r->loop, &tls, err, &r->rpc);
    if (rc == 0)
        rc = tg_health_link_new(r->loop, &health, r->fleet, err, &r->health);
    if (rc == 0)
        tg_router_bind_dispatch(r);
    return rc;
}

static int start_edges(app *a, tg_error *err)
{
    tg_router *r = &a->router;
    const tg_router_settings *s = r->settings;
    tg_rpc_tls tls = rpc_tls(s);
    tg_rpc_service service = tg_edge_grpc_service(r);
    int rc = listen_http(a, s->listen, true, err, &a->http);
    if (rc == 0)
        rc = listen_http(a, s->metrics_listen, false, err, &a->ops);
    if (rc == 0 && s->grpc_listen && *s->grpc_listen) {
        rc = tg_rpc_server_new(r->loop, s->grpc_listen, tls.cert_file ? &tls : NULL, err, &a->grpc);
        if (rc == 0)
            rc = tg_rpc_server_add(a->grpc, &service);
        if (rc == 0)
            rc = tg_rpc_server_start(a->grpc, err);
        if (rc == 0)
            tg_rpc_server_set_serving(a->grpc, true);
    }
    return rc;
}

/* ---- signals ---- */

static void part_done(app *a)
{
    if (--a->draining == 0)
        tg_rpc_loop_stop(a->router.loop);
}

static void on_flushed(void *user, bool all)
{
    if (!all)
        tg_log(TG_LOG_WARN, "spool_not_empty", "note", "%s",
               "undelivered usage records stay on disk and are sent at the next start", NULL);
    part_done(user);
}

static void on_http_drained(void *user)
{
    app *a = user;
    /* Requests are over: what is left is to hand their usage to Kafka. */
    if (!a->router.producer)
        part_done(a);
    else
        tg_producer_flush(a->router.producer, 5000, on_flushed, a);
}

static void on_grpc_drained(void *user) { part_done(user); }

static void on_stop(uv_signal_t *handle, int signum)
{
    app *a = handle->data;
    if (a->router.draining)
        return;
    tg_log(TG_LOG_INFO, "draining", "signal", "%d", signum, NULL);
    a->router.draining = true;
    a->draining = 1;
    if (a->grpc) {
        a->draining++;
        tg_rpc_server_set_serving(a->grpc, false);
        tg_rpc_server_drain(a->grpc, a->router.settings->drain_timeout_ms, on_grpc_drained, a);
    }
    tg_http_server_drain(a->http, on_http_drained, a);
}

static void on_reload(uv_signal_t *handle, int signum)
{
    app *a = handle->data;
    tg_router *r = &a->router;
    tg_error err = {""};
    tg_live *live;
    (void)signum;
    int rc = tg_live_load(r->settings, &err, &live);
    if (rc == 0 && tg_fleet_view_bind(r->fleet, live->targets) == 0) {
        tg_live_unref(r->live);
        r->live = live;
        tg_log(TG_LOG_INFO, "configuration_reloaded", "policy_version", "%s",
               tg_policy_version(live->policy), NULL);
    } else {
        tg_log(TG_LOG_ERROR, "configuration_refused", "reason", "%s", err.text, NULL);
    }
    tg_gauge_set(r->metrics.policy_reload_failed, rc < 0);
}

static void on_tick(uv_timer_t *timer)
{
    app *a = timer->data;
    tg_dispatch_tick(&a->router.dispatch);
    tg_edge_http_sweep(&a->router);
}

static int start_handles(app *a)
{
    uv_loop_t *loop = a->router.uv;
    a->on_term.data = a->on_int.data = a->on_hup.data = a->tick.data = a;
    int rc = uv_signal_init(loop, &a->on_term);
    rc = rc < 0 ? rc : uv_signal_init(loop, &a->on_int);
    rc = rc < 0 ? rc : uv_signal_init(loop, &a->on_hup);
    rc = rc < 0 ? rc : uv_timer_init(loop, &a->tick);
    rc = rc < 0 ? rc : uv_signal_start(&a->on_term, on_stop, SIGTERM);
    rc = rc < 0 ? rc : uv_signal_start(&a->on_int, on_stop, SIGINT);
    rc = rc < 0 ? rc : uv_signal_start(&a->on_hup, on_reload, SIGHUP);
    rc = rc < 0 ? rc : uv_timer_start(&a->tick, on_tick, TG_DISPATCH_TICK_MS, TG_DISPATCH_TICK_MS);
    return rc;
}

/* ---- the process ---- */

static int start(app *a, const char *config, tg_error *err)
{
    tg_router *r = &a->router;
    tg_arena_init(&a->arena, 0);
    tg_list_init(&r->doomed);
    tg_random_bytes(&r->rng, sizeof r->rng);
    int rc = tg_router_settings_load(config, err, &a->arena, &r->settings);
    if (rc == 0) {
        tg_log_setup("router", r->settings->instance_id, (tg_log_level)r->settings->log_level);
        rc = tg_live_load(r->settings, err, &r->live);
    }
    if (rc == 0)
        rc = tg_rpc_loop_new(TG_RPC_LOOP_DEFAULT, err, &r->loop);
    if (rc == 0) {
        r->uv = tg_rpc_loop_uv(r->loop);
        rc = tg_router_metrics_init(&r->metrics);
    }
    if (rc == 0)
        rc = start_usage(a, err);
    if (rc == 0)
        rc = start_upstreams(a, err);
    if (rc == 0)
        rc = start_edges(a, err);
    return rc == 0 ? start_handles(a) : rc;
}

static void stop(app *a)
{
    tg_router *r = &a->router;
    tg_http_server_close(a->http);
    tg_http_server_close(a->ops);
    a->grpc = tg_rpc_server_free(a->grpc);
    tg_health_link_close(r->health);
    if (r->producer)
        tg_producer_close(r->producer);
    tg_http_client_close(r->http);
    uv_close((uv_handle_t *)&a->on_term, NULL);
    uv_close((uv_handle_t *)&a->on_int, NULL);
    uv_close((uv_handle_t *)&a->on_hup, NULL);
    uv_close((uv_handle_t *)&a->tick, NULL);
    r->rpc = tg_rpc_transport_free(r->rpc);
    uv_run(r->uv, UV_RUN_NOWAIT);
    r->spool = tg_spool_close(r->spool);
    r->loop = tg_rpc_loop_free(r->loop);
    r->live = tg_live_unref(r->live);
    r->fleet = tg_fleet_view_free(r->fleet);
    r->doc = tg_json_doc_free(r->doc);
    r->dispatch.doc = tg_json_doc_free(r->dispatch.doc);
    r->metrics.registry = tg_metrics_free(r->metrics.registry);
    tg_arena_free(&a->arena);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static app a;
    const char *config = NULL;
    tg_error err = {""};
    for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (c == 'c')
            config = optarg;
        else
            break;
    }
    if (!config) {
        fprintf(stderr, "usage: tollgate-router --config FILE\n");
        return 2;
    }
    tg_rpc_init();
    int rc = start(&a, config, &err);
    if (rc < 0) {
        tg_log(TG_LOG_ERROR, "start_failed", "reason", "%s", err.text[0] ? err.text : strerror(-rc), NULL);
        return 1;
    }
    tg_log(TG_LOG_INFO, "started", "listen", "%s", a.router.settings->listen, "port", "%d",
           (int)tg_http_server_port(a.http), "policy_version", "%s",
           tg_policy_version(a.router.live->policy), NULL);
    tg_rpc_loop_run(a.router.loop);
    tg_log(TG_LOG_INFO, "stopped", NULL);
    stop(&a);
    tg_rpc_shutdown();
    return 0;
}
