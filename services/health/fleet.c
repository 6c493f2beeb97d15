#include "services/health/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tg_health_fleet_init(tg_health_fleet *fleet, const tg_targets *targets,
                         const tg_circuit_conf *circuit, const char *instance)
{
    size_t total = 0, at = 0;
    *fleet = (tg_health_fleet){.circuit = *circuit, .version = 1};
    snprintf(fleet->instance, sizeof fleet->instance, "%s", instance);
    for (size_t i = 0; i < tg_targets_count(targets); i++)
        total += tg_targets_at(targets, i)->endpoint_count;
    fleet->endpoints = calloc(total + 1, sizeof *fleet->endpoints);
    if (!fleet->endpoints)
        return -ENOMEM;
    for (size_t i = 0; i < tg_targets_count(targets); i++) {
        const tg_target *target = tg_targets_at(targets, i);
        for (size_t j = 0; j < target->endpoint_count; j++, at++) {
            if (tg_health_endpoint_init(&fleet->endpoints[at], target->id,
                                        target->endpoints[j].id) < 0) {
                tg_health_fleet_clear(fleet);
                return -ENOMEM;
            }
            fleet->endpoints[at].changed_version = 1;
            fleet->count = at + 1;
        }
    }
    return 0;
}

void tg_health_fleet_clear(tg_health_fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++)
        tg_health_endpoint_clear(&fleet->endpoints[i]);
    free(fleet->endpoints);
    *fleet = (tg_health_fleet){0};
}

tg_health_endpoint *tg_health_fleet_find(tg_health_fleet *fleet, const char *target,
                                         const char *endpoint)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (strcmp(fleet->endpoints[i].target, target) == 0 &&
            strcmp(fleet->endpoints[i].endpoint, endpoint) == 0)
            return &fleet->endpoints[i];
    return NULL;
}

void tg_health_fleet_touch(tg_health_fleet *fleet, tg_health_endpoint *e)
{
    e->changed_version = ++fleet->version;
}

bool tg_health_fleet_observe(tg_health_fleet *fleet, const Tollgate__V1__Observation *o,
                             uint64_t mono_ms)
{
    tg_health_endpoint *e = tg_health_fleet_find(fleet, o->target, o->endpoint);
    if (!e) {
        fleet->unknown++;
        return false;
    }
    fleet->observations++;
    bool changed = tg_health_endpoint_observe(e, &fleet->circuit, o, mono_ms);
    tg_health_fleet_touch(fleet, e);
    return changed;
}

bool tg_health_fleet_tick(tg_health_fleet *fleet, uint64_t mono_ms)
{
    bool changed = false;
    for (size_t i = 0; i < fleet->count; i++) {
        if (tg_health_endpoint_tick(&fleet->endpoints[i], mono_ms)) {
            tg_health_fleet_touch(fleet, &fleet->endpoints[i]);
            changed = true;
        } else if (tg_health_endpoint_aged(&fleet->endpoints[i], &fleet->circuit, mono_ms)) {
            tg_health_fleet_touch(fleet, &fleet->endpoints[i]);
        }
    }
    return changed;
}

Tollgate__V1__FleetUpdate *tg_health_fleet_update(const tg_health_fleet *fleet,
                                                  uint64_t known_version, uint64_t mono_ms,
                                                  tg_arena *arena)
{
    Tollgate__V1__FleetUpdate *update = tg_arena_alloc(arena, sizeof *update);
    Tollgate__V1__EndpointView *views = tg_arena_zalloc(arena, fleet->count + 1, sizeof *views);
    Tollgate__V1__EndpointView **list = tg_arena_zalloc(arena, fleet->count + 1, sizeof *list);
    Tollgate__V1__RateLimit *limits = tg_arena_zalloc(arena, fleet->count + 1, sizeof *limits);
    size_t n = 0;
    if (!update || !views || !list || !limits)
        return NULL;
    tollgate__v1__fleet_update__init(update);
    for (size_t i = 0; i < fleet->count; i++) {
        if (known_version > 0 && fleet->endpoints[i].changed_version <= known_version)
            continue;
        tg_health_endpoint_view(&fleet->endpoints[i], &fleet->circuit, mono_ms, &views[n],
                                &limits[n]);
        list[n] = &views[n];
        n++;
    }
    update->version = fleet->version;
    update->health_instance = (char *)fleet->instance;
    update->full = known_version == 0;
    update->endpoints = list;
    update->n_endpoints = n;
    return update;
}
