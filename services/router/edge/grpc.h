/* The gRPC edge: tollgate.v1.Router on the same core as the HTTP edge. */
#ifndef TG_ROUTER_EDGE_GRPC_H
#define TG_ROUTER_EDGE_GRPC_H

#include "libs/rpc/rpc.h"
#include "services/router/router.h"

/* The service to add to a server; valid as long as the router. */
tg_rpc_service tg_edge_grpc_service(tg_router *router);

#endif
