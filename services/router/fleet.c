#include "services/router/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_MAX = 96 };

/* What is known about one endpoint beyond what decide reads. */
typedef struct known {
    char reason[REASON_MAX];
    unsigned failures;      /* in a row, seen by this router */
    unsigned probes;        /* in flight */
    bool ours;              /* `status` is this router's own judgement, not health's */
} known;

struct tg_fleet_view {
    const tg_targets *targets; /* borrowed: the current document */
    size_t row_count;
    tg_endpoint_status **rows;
    known **known;
    tg_fleet fleet;
    uint32_t stale_after_ms;
    uint64_t heard_mono_ms; /* 0: never */
};

static void free_rows(tg_endpoint_status **rows, known **k, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows)
            free(rows[i]);
        if (k)
            free(k[i]);
    }
    free(rows);
    free(k);
}

static bool find(const tg_fleet_view *view, const char *target, const char *endpoint, size_t *ret_t,
                 size_t *ret_e)
{
    int t = view->targets ? tg_targets_find(view->targets, tg_str_of(target)) : -1;
    if (t < 0)
        return false;
    const tg_target *found = tg_targets_at(view->targets, (size_t)t);
    for (size_t e = 0; e < found->endpoint_count; e++) {
        if (strcmp(found->endpoints[e].id, endpoint) == 0) {
            *ret_t = (size_t)t;
            *ret_e = e;
            return true;
        }
    }
    return false;
}

int tg_fleet_view_bind(tg_fleet_view *view, const tg_targets *targets)
{
    size_t count = tg_targets_count(targets);
    tg_endpoint_status **rows = calloc(count + 1, sizeof *rows);
    known **k = calloc(count + 1, sizeof *k);
    for (size_t i = 0; rows && k && i < count; i++) {
        const tg_target *target = tg_targets_at(targets, i);
        rows[i] = calloc(target->endpoint_count, sizeof **rows);
        k[i] = calloc(target->endpoint_count, sizeof **k);
        if (!rows[i] || !k[i]) {
            free_rows(rows, k, count);
            return -ENOMEM;
        }
        for (size_t e = 0; e < target->endpoint_count; e++) {
            size_t old_t, old_e;
            if (find(view, target->id, target->endpoints[e].id, &old_t, &old_e)) {
                rows[i][e] = view->rows[old_t][old_e];
                k[i][e] = view->known[old_t][old_e];
            }
            rows[i][e].reason = k[i][e].reason;
        }
    }
    if (!rows || !k) {
        free(rows);
        free(k);
        return -ENOMEM;
    }
    free_rows(view->rows, view->known, view->row_count);
    view->targets = targets;
    view->rows = rows;
    view->known = k;
    view->row_count = count;
    view->fleet.rows = (const tg_endpoint_status *const *)rows;
    view->fleet.row_count = count;
    return 0;
}

tg_fleet_view *tg_fleet_view_new(const tg_targets *targets, uint32_t stale_after_ms)
{
    tg_fleet_view *view = calloc(1, sizeof *view);
    if (!view)
        return NULL;
    view->stale_after_ms = stale_after_ms;
    return tg_fleet_view_bind(view, targets) == 0 ? view : tg_fleet_view_free(view);
}

tg_fleet_view *tg_fleet_view_free(tg_fleet_view *view)
{
    if (view) {
        free_rows(view->rows, view->known, view->row_count);
        free(view);
    }
    return NULL;
}

static tg_endpoint_health health_of(Tollgate__V1__EndpointState state)
{
    switch (state) {
    case TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN: return TG_ENDPOINT_DOWN;
    case TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_HALF_OPEN: return TG_ENDPOINT_HALF_OPEN;
    default: return TG_ENDPOINT_UP;
    }
}

static void set_up(tg_endpoint_status *status, known *k)
{
    status->health = TG_ENDPOINT_UP;
    k->failures = 0;
    k->ours = false;
    k->reason[0] = '\0';
}

static void forget(tg_endpoint_status *status, known *k)
{
    set_up(status, k);
    status->first_token_p95_us = status->total_p95_us = status->requests = status->queue_depth = 0;
}

void tg_fleet_view_apply(tg_fleet_view *view, const Tollgate__V1__FleetUpdate *update,
                         uint64_t mono_ms)
{
    for (size_t i = 0; update->full && i < view->row_count; i++)
        for (size_t e = 0; e < tg_targets_at(view->targets, i)->endpoint_count; e++)
            forget(&view->rows[i][e], &view->known[i][e]);
    for (size_t i = 0; i < update->n_endpoints; i++) {
        const Tollgate__V1__EndpointView *in = update->endpoints[i];
        size_t t, e;
        if (!find(view, in->target, in->endpoint, &t, &e))
            continue;
        tg_endpoint_status *status = &view->rows[t][e];
        known *k = &view->known[t][e];
        status->health = health_of(in->state);
        status->retry_at_mono_ms = mono_ms + in->retry_in_ms;
        status->first_token_p95_us = in->first_token_p95_us;
        status->total_p95_us = in->total_p95_us;
        status->requests = in->requests;
        status->queue_depth = in->queue_depth;
        k->ours = false;
        k->failures = 0;
        tg_str_copy(k->reason, sizeof k->reason, tg_str_of(in->reason));
    }
    view->fleet.version = update->version;
    tg_fleet_view_heard(view, mono_ms);
}

void tg_fleet_view_heard(tg_fleet_view *view, uint64_t mono_ms)
{
    view->heard_mono_ms = mono_ms ? mono_ms : 1;
}

void tg_fleet_view_observe(tg_fleet_view *view, const tg_observation *o, uint64_t mono_ms)
{
    size_t t, e;
    if (!find(view, o->target, o->endpoint, &t, &e))
        return;
    tg_endpoint_status *status = &view->rows[t][e];
    known *k = &view->known[t][e];
    if (o->success) {
        k->failures = 0;
        if (k->ours)
            set_up(status, k);
        return;
    }
    if (o->quota) /* our quota is no fault of theirs */
        return;
    k->failures++;
    if (!view->fleet.stale || k->failures < TG_FLEET_FAILURES_MAX)
        return;
    k->ours = true;
    status->health = TG_ENDPOINT_DOWN;
    status->retry_at_mono_ms = mono_ms + TG_FLEET_DOWN_MS;
    snprintf(k->reason, sizeof k->reason, "%u failures in a row seen by this router", k->failures);
}

void tg_fleet_view_probe(tg_fleet_view *view, const char *target, const char *endpoint, bool begun)
{
    size_t t, e;
    if (!find(view, target, endpoint, &t, &e))
        return;
    known *k = &view->known[t][e];
    if (begun)
        k->probes++;
    else if (k->probes > 0)
        k->probes--;
    view->rows[t][e].probing = k->probes > 0;
}

const tg_fleet *tg_fleet_view_get(tg_fleet_view *view, uint64_t mono_ms)
{
    view->fleet.stale =
        view->heard_mono_ms == 0 || mono_ms > view->heard_mono_ms + view->stale_after_ms;
    return &view->fleet;
}

uint64_t tg_fleet_view_version(const tg_fleet_view *view) { return view->fleet.version; }
