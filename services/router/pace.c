#include "services/router/pace.h"

#include "libs/base/map.h"

#include <stdlib.h>

struct tg_pace {
    tg_map *due; /* by tenant: uint64_t, when its next request is on schedule */
};

tg_pace *tg_pace_new(void)
{
    tg_pace *pace = calloc(1, sizeof *pace);
    if (pace && !(pace->due = tg_map_new()))
        return tg_pace_free(pace);
    return pace;
}

tg_pace *tg_pace_free(tg_pace *pace)
{
    tg_str tenant;
    void *due;
    if (!pace)
        return NULL;
    for (size_t at = 0; pace->due && tg_map_next(pace->due, &at, &tenant, &due);)
        free(due);
    tg_map_free(pace->due);
    free(pace);
    return NULL;
}

static uint64_t *due_of(tg_pace *pace, tg_str tenant)
{
    uint64_t *due = tg_map_get(pace->due, tenant);
    if (due)
        return due;
    due = calloc(1, sizeof *due);
    if (due && tg_map_put(pace->due, tenant, due, NULL) < 0) {
        free(due);
        return NULL;
    }
    return due;
}

bool tg_pace_take(tg_pace *pace, const char *tenant, uint32_t rpm, uint64_t now_ns,
                  uint64_t *ret_wait_ms)
{
    if (rpm == 0)
        return true;
    const uint64_t each_ns = 60000000000u / rpm;
    const uint64_t at_once = (uint64_t)rpm * TG_PACE_BURST_S / 60;
    const uint64_t ahead_ns = (at_once > 1 ? at_once - 1 : 0) * each_ns;
    uint64_t *due = due_of(pace, tg_str_of(tenant));
    if (!due) /* out of memory: a limit that cannot be kept lets through */
        return true;
    if (*due < now_ns)
        *due = now_ns;
    if (*due - now_ns > ahead_ns) {
        *ret_wait_ms = (*due - now_ns - ahead_ns + 999999) / 1000000;
        return false;
    }
    *due += each_ns;
    return true;
}
