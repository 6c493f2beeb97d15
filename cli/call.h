/* One unary call to a service, for subcommands: connect, ask, wait, print the error.
 *
 * The address comes from an option or from the environment (TOLLGATE_BILLING_GRPC, …). Where services use
 * certificates, TOLLGATE_TLS_CA names the CA that signed theirs, TOLLGATE_TLS_CERT and TOLLGATE_TLS_KEY ours.
 */
#ifndef TG_CLI_CALL_H
#define TG_CLI_CALL_H

#include "libs/rpc/rpc.h"

/* Calls `method` and hands the reply to `use` (valid during the call). 0, or 1 after a message on
 * stderr. `streaming`: `use` gets every message until the stream ends or `use` returns false. */
int tg_cli_call(const char *program, const char *address, const char *method,
                const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                bool streaming, bool (*use)(void *user, const ProtobufCMessage *reply), void *user);

#endif
