/* One unary call to a service, for subcommands: connect, ask, wait, print the error.
 *
 * The address comes from an option or from the environment (TOLLGATE_BILLING_GRPC, …). Where
 * services use certificates, TOLLGATE_TLS_CA names the CA that signed theirs, TOLLGATE_TLS_CERT and
 * TOLLGATE_TLS_KEY ours. A service that cannot be reached fails the call at once; one that is slow
 * has the time of --timeout.
 */
#ifndef TG_CLI_CALL_H
#define TG_CLI_CALL_H

#include "libs/rpc/rpc.h"

/* unless --timeout says otherwise: verifying a large ledger takes its time */
#define TG_CLI_TIMEOUT_MS 60000
#define TG_CLI_TIMEOUT_S_MAX 86400 /* longest --timeout, in seconds */

/* The value of --timeout, whole seconds. 0; -EINVAL after a message on stderr. */
int tg_cli_timeout(const char *program, const char *seconds, uint32_t *ret_ms);

/* Calls `method` and hands the reply, or each message of a stream, to `use` (valid during the
 * call), until the end or until `use` returns false. 0, or 1 after a message on stderr.
 * `timeout_ms` 0: as long as it takes. */
int tg_cli_call(const char *program, const char *address, const char *method,
                const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                uint32_t timeout_ms, bool (*use)(void *user, const ProtobufCMessage *reply),
                void *user);

#endif
