/* The HTTP edge: POST /v1/chat/completions, POST /v1/messages, POST /v1/route, GET /v1/models,
 * /healthz, /readyz, /metrics. Errors are in the client's own dialect. */
#ifndef TG_ROUTER_EDGE_HTTP_H
#define TG_ROUTER_EDGE_HTTP_H

#include "services/router/edge/chat.h"

/* The handler of the public port; `user` is the tg_router. */
void tg_edge_http(void *user, tg_http_exchange *x, const tg_http_request *request);

/* For the files of this folder. */
void tg_edge_http_headers(const tg_http_request *request, tg_edge_headers *ret);
void tg_edge_http_problem(tg_router *router, tg_http_exchange *x, tg_dialect dialect,
                          const tg_edge_problem *problem, const char *request_id);
void tg_edge_http_count(tg_router *router, const char *edge, unsigned status);
void tg_edge_http_chat(tg_router *router, tg_http_exchange *x, const tg_http_request *request,
                       tg_dialect dialect);
void tg_edge_http_route(tg_router *router, tg_http_exchange *x, const tg_http_request *request);
void tg_edge_http_models(tg_router *router, tg_http_exchange *x, const tg_http_request *request);
/* Frees exchanges that ended inside an event; called every tick. */
void tg_edge_http_sweep(tg_router *router);

#endif
