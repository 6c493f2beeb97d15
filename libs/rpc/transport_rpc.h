/* The gRPC implementation of libs/http/transport.h: server-streaming calls with serialised messages.
 *
 * Channels are kept per address. DATA events are whole serialised messages. END carries status =
 * code + 1000; failure CONNECT for UNAVAILABLE before any message, TIMEOUT for DEADLINE_EXCEEDED,
 * RESET for UNAVAILABLE after a message, REFUSED for other codes. Unlike tg_rpc_client_cancel, after
 * cancel no event comes.
 */
#ifndef TG_RPC_TRANSPORT_RPC_H
#define TG_RPC_TRANSPORT_RPC_H

#include "libs/http/transport.h"
#include "libs/rpc/rpc.h"

typedef struct tg_rpc_transport tg_rpc_transport;
int tg_rpc_transport_new(tg_rpc_loop *loop, const tg_rpc_tls *tls, tg_error *err,
                         tg_rpc_transport **ret);
tg_transport *tg_rpc_transport_face(tg_rpc_transport *transport);
tg_rpc_transport *tg_rpc_transport_free(tg_rpc_transport *transport);

#endif
