/* The HTTP transport: pooled keep-alive connections over libcurl's multi interface on libuv.
 *
 * HTTP/1.1, TLS 1.2 and later, certificates verified. Redirects are not followed, proxies of the
 * environment not used, and a request is sent at most once. Trailers are dropped. start gives
 * -EINVAL for a URL that is neither http nor https, for HEAD, and for a header with a line break in
 * it.
 *
 * Threads: the loop's. Bound: `in_flight_max` exchanges; past it start gives -EAGAIN.
 */
#ifndef TG_HTTP_CLIENT_H
#define TG_HTTP_CLIENT_H

#include "libs/base/error.h"
#include "libs/http/transport.h"

#include <uv.h>

typedef struct tg_http_client_conf {
    uint32_t in_flight_max;        /* default 4096 */
    uint32_t connections_per_host; /* default 256 */
    uint32_t pool_max;             /* idle connections kept; default 256 */
    bool insecure_no_verify;       /* development only */
} tg_http_client_conf;

typedef struct tg_http_client tg_http_client;
int tg_http_client_new(uv_loop_t *loop, const tg_http_client_conf *conf, tg_error *err,
                       tg_http_client **ret);
tg_transport *tg_http_client_transport(tg_http_client *client);
/* Cancels what is in flight and closes its handles; memory is released on the loop. */
void tg_http_client_close(tg_http_client *client);

#endif
