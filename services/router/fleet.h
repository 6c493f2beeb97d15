/* The router's view of every (target, endpoint): what health pushed, and what this router saw
 * itself.
 *
 * While health is heard, its word decides. When it has been silent for `stale_after_ms`, the view
 * is marked stale and the router's own short memory decides: TG_FLEET_FAILURES_MAX failures in a
 * row take an endpoint down for TG_FLEET_DOWN_MS, then one probe at a time.
 *
 * Rows are indexed as in the targets document. Threads: the loop's. Time is given.
 */
#ifndef TG_ROUTER_FLEET_H
#define TG_ROUTER_FLEET_H

#include "services/router/dispatch/dispatch.h"
#include "services/router/policy/decide.h"

#include "tollgate/v1/health.pb-c.h"

/* failures in a row before an endpoint counts as down, while health is silent */
#define TG_FLEET_FAILURES_MAX 5
#define TG_FLEET_DOWN_MS 5000

typedef struct tg_fleet_view tg_fleet_view;

tg_fleet_view *tg_fleet_view_new(const tg_targets *targets, uint32_t stale_after_ms);
tg_fleet_view *tg_fleet_view_free(tg_fleet_view *view);
/* After a reload: new rows, what is known carried over by id. 0 or -ENOMEM (the view is
 * unchanged). */
int tg_fleet_view_bind(tg_fleet_view *view, const tg_targets *targets);

/* A message of WatchFleet. Unknown ids are ignored. */
void tg_fleet_view_apply(tg_fleet_view *view, const Tollgate__V1__FleetUpdate *update,
                         uint64_t mono_ms);
/* The stream is alive though nothing changed. */
void tg_fleet_view_heard(tg_fleet_view *view, uint64_t mono_ms);
/* Both are of attempts that may be older than the document: ids that it does not have are
 * ignored. */
void tg_fleet_view_observe(tg_fleet_view *view, const tg_observation *observation,
                           uint64_t mono_ms);
void tg_fleet_view_probe(tg_fleet_view *view, const char *target, const char *endpoint, bool begun);

/* For tg_decide: valid until the next call of any function here. */
const tg_fleet *tg_fleet_view_get(tg_fleet_view *view, uint64_t mono_ms);
uint64_t tg_fleet_view_version(const tg_fleet_view *view);

#endif
