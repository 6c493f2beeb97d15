/* The admin port, plain HTTP and JSON:
 *
 *   POST   /faults   one rule (fault.h) -> {"id": N}
 *   GET    /faults   the rules, how much of each is left and how often each was used
 *   DELETE /faults   -> {"removed": N}
 *   POST   /limits   rate limits of one dialect (limits.h)
 *   GET    /stats    counts by dialect, connections
 *   GET    /log      the log; ?from=BYTE skips what was read before
 *   GET    /healthz  200 once the ports listen
 * Errors are 4xx with {"error": "…"}.
 */
#ifndef PROVIDERS_ADMIN_H
#define PROVIDERS_ADMIN_H

#include "tests/providers/conn.h"

extern const struct conn_handler admin_handler;

#endif
