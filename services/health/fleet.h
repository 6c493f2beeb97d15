/* The fleet: every endpoint of the targets document, a version that rises with every change, and
 * the routers that watch it. Pushed as deltas: a watcher is sent the endpoints changed since the
 * version it holds.
 *
 * Threads: the loop's.
 */
#ifndef TG_HEALTH_FLEET_H
#define TG_HEALTH_FLEET_H

#include "libs/base/arena.h"
#include "libs/config/mesh.h"
#include "services/health/endpoint.h"

typedef struct tg_health_fleet {
    tg_circuit_conf circuit;
    char instance[64];
    tg_health_endpoint *endpoints;
    size_t count;
    uint64_t version;
    uint64_t observations, unknown; /* counted; unknown: of endpoints not in the document */
} tg_health_fleet;

int tg_health_fleet_init(tg_health_fleet *fleet, const tg_targets *targets,
                         const tg_circuit_conf *circuit, const char *instance);
void tg_health_fleet_clear(tg_health_fleet *fleet);

tg_health_endpoint *tg_health_fleet_find(tg_health_fleet *fleet, const char *target,
                                         const char *endpoint);

/* True when a state changed (worth pushing at once; latencies wait for the next push). */
bool tg_health_fleet_observe(tg_health_fleet *fleet, const Tollgate__V1__Observation *o,
                             uint64_t mono_ms);
bool tg_health_fleet_tick(tg_health_fleet *fleet, uint64_t mono_ms);
/* it changed: new version */
void tg_health_fleet_touch(tg_health_fleet *fleet, tg_health_endpoint *e);

/* The endpoints changed after `known_version` (0: all, and full is set). Everything in the arena or
 * pointing into the fleet. NULL when the arena is exhausted. */
Tollgate__V1__FleetUpdate *tg_health_fleet_update(const tg_health_fleet *fleet,
                                                  uint64_t known_version, uint64_t mono_ms,
                                                  tg_arena *arena);

#endif
