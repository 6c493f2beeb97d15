#include "libs/service/service.h"

#include "libs/base/log.h"
#include "libs/base/trim.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tg_service {
    tg_service_conf conf;
    tg_rpc_loop *loop;
    uv_loop_t *uv;
    tg_http_server *ops;
    tg_rpc_server *grpc;
    tg_rpc_tls tls;
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t drain_timer;
    bool handles_open;
    bool draining;
    bool own_done, grpc_done;
};

const char *tg_service_config_argument(int argc, char **argv, const char *program)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL;
    int c, status = 2;
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (c == 'c')
            config = optarg;
        else if (c == 'h')
            status = 0;
    }
    if (config && optind == argc)
        return config;
    fprintf(status ? stderr : stdout,
            "usage: %s --config FILE\n\n`tollgate config print` shows every setting.\n", program);
    exit(status);
}

int tg_service_address(const char *address, char *ret_host, size_t size, uint16_t *ret_port,
                       tg_error *err)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || tg_str_u64(tg_str_of(colon + 1), &port) < 0 || port > 65535 ||
        !tg_str_copy(ret_host, size, (tg_str){address, (size_t)(colon - address)}))
        return tg_error_set(err, -EINVAL, "'%s' is no address; allowed is HOST:PORT", address);
    *ret_port = (uint16_t)port;
    return 0;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "[::1]") == 0 || strcmp(host, "localhost") == 0;
}

int tg_service_check_bind(const char *what, const char *host, const tg_tls_settings *tls,
                          bool insecure, tg_error *err)
{
    if (is_loopback(host) || insecure || (tls->cert_file && tls->key_file))
        return 0;
    return tg_error_set(err, -EINVAL,
                        "%s: %s is not a loopback address and there is no certificate; set "
                        "tls.cert_file and tls.key_file, or insecure: true",
                        what, host);
}

/* ---- the operations port ---- */

static void reply_text(tg_http_exchange *x, unsigned status, const char *text)
{
    tg_http_reply(x, status, "text/plain; charset=utf-8", NULL, 0, tg_str_of(text));
}

static void reply_ready(tg_service *s, tg_http_exchange *x)
{
    const char *why = "";
    char text[192];
    if (s->draining) {
        why = "draining";
    } else if (!s->conf.ready || s->conf.ready(s->conf.user, &why)) {
        reply_text(x, 200, "ready\n");
        return;
    }
    snprintf(text, sizeof text, "not ready: %s\n", why);
    reply_text(x, 503, text);
}

static void reply_metrics(tg_service *s, tg_http_exchange *x)
{
    tg_buf out;
    tg_buf_init(&out, 0);
    if (s->conf.collect)
        s->conf.collect(s->conf.user);
    tg_metrics_render(s->conf.metrics, &out);
    tg_http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, 0, tg_buf_str(&out));
    tg_buf_free(&out);
}

bool tg_service_ops(tg_service *s, tg_http_exchange *x, const tg_http_request *request)
{
    if (!tg_str_is(request->method, "GET") && !tg_str_is(request->method, "HEAD"))
        return false;
    if (tg_str_is(request->path, "/healthz"))
        reply_text(x, 200, "ok\n");
    else if (tg_str_is(request->path, "/readyz"))
        reply_ready(s, x);
    else if (tg_str_is(request->path, "/metrics"))
        reply_metrics(s, x);
    else
        return false;
    return true;
}

static void on_ops(void *user, tg_http_exchange *x, const tg_http_request *request)
{
    if (!tg_service_ops(user, x, request))
        reply_text(x, 404, "not found: GET /metrics, /healthz and /readyz are served here\n");
}

/* ---- drain ---- */

static void maybe_stop(tg_service *s)
{
    if (s->own_done && s->grpc_done)
        tg_rpc_loop_stop(s->loop);
}

void tg_service_drained(tg_service *s)
{
    s->own_done = true;
    maybe_stop(s);
}

static void on_grpc_drained(void *user)
{
    tg_service *s = user;
    s->grpc_done = true;
    maybe_stop(s);
}

static void on_drain_timeout(uv_timer_t *timer)
{
    tg_service *s = timer->data;
    tg_log(TG_LOG_WARN, "drain_timeout", "timeout_ms", "%u", s->conf.settings->drain_timeout_ms,
           NULL);
    /* gRPC's own drain ends as late, and a little later where its calls do not let go */
    s->own_done = true;
    maybe_stop(s);
}

static void on_stop(uv_signal_t *handle, int signum)
{
    tg_service *s = handle->data;
    if (s->draining)
        return;
    s->draining = true;
    tg_log(TG_LOG_INFO, "draining", "signal", "%d", signum, NULL);
    uv_timer_start(&s->drain_timer, on_drain_timeout, s->conf.settings->drain_timeout_ms, 0);
    s->grpc_done = s->grpc == NULL;
    if (s->grpc) {
        tg_rpc_server_set_serving(s->grpc, false);
        tg_rpc_server_drain(s->grpc, s->conf.settings->drain_timeout_ms, on_grpc_drained, s);
    }
    if (s->conf.drain)
        s->conf.drain(s->conf.user, s);
    else
        tg_service_drained(s);
}

static void on_reload(uv_signal_t *handle, int signum)
{
    tg_service *s = handle->data;
    (void)signum;
    if (s->conf.reload)
        s->conf.reload(s->conf.user);
}

/* ---- life ---- */

int tg_service_new(const tg_service_conf *conf, tg_error *err, tg_service **ret)
{
    tg_service *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->conf = *conf;
    tg_log_setup(conf->name, conf->settings->instance_id, (tg_log_level)conf->settings->log_level);
    s->tls = (tg_rpc_tls){.cert_file = conf->settings->tls.cert_file,
                          .key_file = conf->settings->tls.key_file,
                          .ca_file = conf->settings->tls.ca_file};
    int rc = tg_rpc_loop_new(conf->loop_owner, err, &s->loop);
    if (rc < 0) {
        free(s);
        return rc;
    }
    s->uv = tg_rpc_loop_uv(s->loop);
    *ret = s;
    return 0;
}

tg_rpc_loop *tg_service_loop(tg_service *s) { return s->loop; }
uv_loop_t *tg_service_uv(tg_service *s) { return s->uv; }
bool tg_service_draining(const tg_service *s) { return s->draining; }
const tg_rpc_tls *tg_service_tls(const tg_service *s) { return s->tls.cert_file ? &s->tls : NULL; }

static int listen_ops(tg_service *s, tg_error *err)
{
    char host[64];
    tg_http_server_conf conf = {.host = host, .handler = on_ops, .user = s};
    int rc =
        tg_service_address(s->conf.settings->metrics_listen, host, sizeof host, &conf.port, err);
    if (rc == 0)
        rc = tg_service_check_bind("metrics_listen", host, &s->conf.settings->tls,
                                   s->conf.settings->insecure, err);
    if (rc == 0 && !is_loopback(host)) {
        conf.cert_file = s->conf.settings->tls.cert_file;
        conf.key_file = s->conf.settings->tls.key_file;
    }
    if (rc == 0)
        rc = tg_http_server_new(s->uv, &conf, err, &s->ops);
    return rc;
}

static int listen_grpc(tg_service *s, const tg_rpc_service *services, size_t count, tg_error *err)
{
    char host[64];
    uint16_t port;
    tg_rpc_tls tls = s->tls;
    if (s->conf.grpc_public)
        tls.ca_file = NULL;
    if (!s->conf.grpc_listen || !*s->conf.grpc_listen)
        return 0;
    int rc = tg_service_address(s->conf.grpc_listen, host, sizeof host, &port, err);
    if (rc == 0)
        rc = tg_service_check_bind("grpc_listen", host, &s->conf.settings->tls,
                                   s->conf.settings->insecure, err);
    if (rc == 0)
        rc = (s->conf.grpc_shared ? tg_rpc_server_new_shared : tg_rpc_server_new)(
            s->loop, s->conf.grpc_listen, &tls, err, &s->grpc);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = tg_rpc_server_add(s->grpc, &services[i]);
    if (rc == 0)
        rc = tg_rpc_server_start(s->grpc, err);
    if (rc == 0)
        tg_rpc_server_set_serving(s->grpc, true);
    return rc;
}

static int open_handles(tg_service *s)
{
    s->on_term.data = s->on_int.data = s->on_hup.data = s->drain_timer.data = s;
    int rc = uv_signal_init(s->uv, &s->on_term);
    rc = rc < 0 ? rc : uv_signal_init(s->uv, &s->on_int);
    rc = rc < 0 ? rc : uv_signal_init(s->uv, &s->on_hup);
    rc = rc < 0 ? rc : uv_timer_init(s->uv, &s->drain_timer);
    s->handles_open = rc == 0;
    rc = rc < 0 ? rc : uv_signal_start(&s->on_term, on_stop, SIGTERM);
    rc = rc < 0 ? rc : uv_signal_start(&s->on_int, on_stop, SIGINT);
    rc = rc < 0 ? rc : uv_signal_start(&s->on_hup, on_reload, SIGHUP);
    return rc;
}

int tg_service_listen(tg_service *s, const tg_rpc_service *services, size_t count, tg_error *err)
{
    int rc = open_handles(s);
    if (rc == 0)
        rc = listen_grpc(s, services, count, err);
    if (rc == 0)
        rc = listen_ops(s, err);
    if (rc == 0)
        tg_log(TG_LOG_INFO, "started", "grpc", "%s", s->conf.grpc_listen, "metrics", "%s",
               s->conf.settings->metrics_listen, NULL);
    return rc;
}

void tg_service_set_serving(tg_service *s, bool serving)
{
    if (s->grpc)
        tg_rpc_server_set_serving(s->grpc, serving && !s->draining);
}

int tg_service_run(tg_service *s)
{
    tg_trim();
    int rc = tg_rpc_loop_run(s->loop);
    tg_log(TG_LOG_INFO, "stopped", NULL);
    return rc;
}

tg_service *tg_service_free(tg_service *s)
{
    if (!s)
        return NULL;
    if (s->ops)
        tg_http_server_close(s->ops);
    s->grpc = tg_rpc_server_free(s->grpc);
    if (s->handles_open) {
        uv_close((uv_handle_t *)&s->on_term, NULL);
        uv_close((uv_handle_t *)&s->on_int, NULL);
        uv_close((uv_handle_t *)&s->on_hup, NULL);
        /* it ends already: another one must not make it end by a signal */
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        uv_close((uv_handle_t *)&s->drain_timer, NULL);
    }
    s->loop = tg_rpc_loop_free(s->loop); /* runs libuv until every closed handle is gone */
    free(s);
    return NULL;
}
