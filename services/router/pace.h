/* A tenant's requests per minute, kept by this process.
 *
 * The generic cell rate algorithm (ITU-T I.371): one time a tenant, at which its next request would
 * be on schedule. It may run ahead of the schedule by TG_PACE_BURST_S seconds' worth of requests,
 * at least one; then requests are refused until time has caught up. Refused requests don't count.
 *
 * Each router process keeps its own: N processes on one port let through up to N times as many.
 * Pure but for its memory: time is given. Threads: one at a time. Bound: an entry for each tenant
 * that ever asked.
 */
#ifndef TG_ROUTER_PACE_H
#define TG_ROUTER_PACE_H

#include "libs/base/str.h"

#define TG_PACE_BURST_S 10 /* seconds' worth of a tenant's rate that may come at once */

typedef struct tg_pace tg_pace;

tg_pace *tg_pace_new(void); /* NULL: out of memory */
tg_pace *tg_pace_free(tg_pace *pace);

/* Takes one request of a tenant with a limit of `rpm` (0: none) at `now_ns` (monotonic). False when
 * it is to be refused: *ret_wait_ms, at least 1, says when to come again. */
bool tg_pace_take(tg_pace *pace, const char *tenant, uint32_t rpm, uint64_t now_ns,
                  uint64_t *ret_wait_ms);

#endif
