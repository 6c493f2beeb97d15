/* The frame every service stands in: one loop, the operations port (/metrics, /healthz, /readyz),
 * the gRPC server with health and reflection, signals, and a drain.
 *
 *     tg_service_new → (the service's own start) → tg_service_listen → tg_service_run →
 *       tg_service_free
 *
 * SIGTERM and SIGINT drain: gRPC takes no new calls, `drain` finishes the service's own work and
 * calls tg_service_drained; when both are through, or after drain_timeout_ms, tg_service_run
 * returns. SIGHUP calls `reload`.
 *
 * TLS: with certificates, gRPC is served over TLS, and with a CA beside them a caller must show a
 * certificate of that CA (mTLS) unless `grpc_public`. The operations port is plain HTTP on loopback
 * and HTTPS elsewhere. A non-loopback address without certificates is refused unless `insecure`.
 * Threads: the loop's.
 */
#ifndef TG_SERVICE_SERVICE_H
#define TG_SERVICE_SERVICE_H

#include "libs/base/error.h"
#include "libs/config/settings.h"
#include "libs/http/server.h"
#include "libs/metrics/metrics.h"
#include "libs/rpc/rpc.h"

typedef struct tg_service tg_service;

typedef struct tg_service_conf {
    const char *name;          /* router, inference, billing, health */
    const tg_common_settings *settings; /* must outlive the service */
    const char *grpc_listen;    /* HOST:PORT; NULL or "": no gRPC server */
    bool grpc_public; /* its callers have keys, not certificates: none is asked of them */
    bool grpc_shared; /* several processes may listen on grpc_listen (SO_REUSEPORT) */
    tg_rpc_loop_owner loop_owner; /* who blocks: see ARCHITECTURE.md */
    tg_metrics *metrics;
    /* All four get `user` and may be NULL. */
    bool (*ready)(void *user, const char **ret_why);
    void (*collect)(void *user); /* before /metrics is rendered: set the gauges */
    void (*drain)(void *user, tg_service *service);
    void (*reload)(void *user);
    void *user;
} tg_service_conf;

/* Parses `--config FILE` (and --help); exits with usage on anything else. */
const char *tg_service_config_argument(int argc, char **argv, const char *program);

int tg_service_new(const tg_service_conf *conf, tg_error *err, tg_service **ret);
tg_rpc_loop *tg_service_loop(tg_service *service);
uv_loop_t *tg_service_uv(tg_service *service);
bool tg_service_draining(const tg_service *service);
/* Credentials for gRPC as the settings say; NULL when there are none. Valid as long as the
 * service. */
const tg_rpc_tls *tg_service_tls(const tg_service *service);

/* Opens the ports and installs the signals. */
int tg_service_listen(tg_service *service, const tg_rpc_service *services, size_t count,
                      tg_error *err);
/* What grpc.health.v1 answers; true once the ports are open, for a service that is not ready by
 * then. */
void tg_service_set_serving(tg_service *service, bool serving);
/* The service's own work is over (once, after `drain` was called). */
void tg_service_drained(tg_service *service);
int tg_service_run(tg_service *service);
/* Closes the ports. The service's own handles must be closed (uv_close) before; frees the loop. */
tg_service *tg_service_free(tg_service *service);

/* For ports a service opens itself: "HOST:PORT" → parts. 0 or -EINVAL with a reason. */
int tg_service_address(const char *address, char *ret_host, size_t size, uint16_t *ret_port,
                       tg_error *err);
/* 0, or -EINVAL when `host` is not a loopback address, there is no certificate and insecure is not
 * set. */
int tg_service_check_bind(const char *what, const char *host, const tg_tls_settings *tls,
                          bool insecure, tg_error *err);
/* Serves /metrics, /healthz and /readyz; false when the request is for something else. */
bool tg_service_ops(tg_service *service, tg_http_exchange *x, const tg_http_request *request);

#endif
