/* The configuration a request starts with and keeps: policy, targets, prices, tenants, keys,
 * credentials.
 *
 * Loaded as one immutable value and counted by reference, so that a reload swaps it while requests
 * in flight go on with theirs. An invalid file changes nothing.
 *
 * Threads: the loop's.
 */
#ifndef TG_ROUTER_LIVE_H
#define TG_ROUTER_LIVE_H

#include "libs/config/settings.h"
#include "services/router/dispatch/dispatch.h"
#include "services/router/policy/decide.h"

typedef struct tg_live {
    tg_snapshot snapshot; /* points into the fields below */
    tg_targets *targets;
    tg_policy *policy;
    tg_price_book *prices;
    tg_tenants *tenants;
    tg_keys *keys;
    tg_arena arena;
    const tg_credential **credentials; /* [target][endpoint] */
    unsigned references;
} tg_live;

/* Reads every document the settings name and the secrets their endpoints name. */
int tg_live_load(const tg_router_settings *settings, tg_error *err, tg_live **ret);
tg_live *tg_live_ref(tg_live *live);
tg_live *tg_live_unref(tg_live *live); /* always NULL */

#endif
