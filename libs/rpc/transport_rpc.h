/* The gRPC implementation of libs/http/transport.h: server-streaming calls with serialised
 * messages.
 *
 * Channels are kept per address and connect_timeout_ms (0: 3 s; least 100 ms): an exchange that
 * meets no connection ends with CONNECT when the attempt under way has taken that long. DATA events
 * are whole serialised messages. END carries status = code + 1000; failure CONNECT for UNAVAILABLE
 * before any message, TIMEOUT for DEADLINE_EXCEEDED, RESET for UNAVAILABLE after a message, REFUSED
 * for other codes. HEAD, with the initial metadata, comes with the first message (or the end, when
 * that is OK without one). Unlike tg_rpc_client_cancel, after cancel no event comes.
 *
 * Bounds: 16 headers with names below 64 bytes (-EINVAL), 256 channels to addresses below 500 bytes
 * and 4096 exchanges (-EAGAIN). The strings of `tls` must outlive the transport.
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
