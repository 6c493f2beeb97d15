#include "services/router/policy/estimates.h"

#include "libs/base/map.h"

#include <stdlib.h>

struct tg_estimates {
    tg_map *scales; /* by target id */
};

tg_estimates *tg_estimates_new(void)
{
    tg_estimates *estimates = calloc(1, sizeof *estimates);
    if (estimates && !(estimates->scales = tg_map_new())) {
        free(estimates);
        return NULL;
    }
    return estimates;
}

tg_estimates *tg_estimates_free(tg_estimates *estimates)
{
    size_t at = 0;
    tg_str key;
    void *scale;
    if (!estimates)
        return NULL;
    while (tg_map_next(estimates->scales, &at, &key, &scale))
        free(scale);
    tg_map_free(estimates->scales);
    free(estimates);
    return NULL;
}

const tg_token_scale *tg_estimates_of(const tg_estimates *estimates, const char *target)
{
    return estimates ? tg_map_get(estimates->scales, tg_str_of(target)) : NULL;
}

void tg_estimates_learn(tg_estimates *estimates, const char *target, uint64_t units,
                        uint64_t tokens)
{
    if (!estimates)
        return;
    tg_token_scale *scale = tg_map_get(estimates->scales, tg_str_of(target));
    if (!scale) {
        if (tg_map_count(estimates->scales) == TG_ESTIMATES_TARGETS_MAX ||
            !(scale = calloc(1, sizeof *scale)))
            return;
        if (tg_map_put(estimates->scales, tg_str_of(target), scale, NULL) < 0) {
            free(scale);
            return;
        }
    }
    tg_token_scale_learn(scale, units, tokens);
}

bool tg_estimates_next(const tg_estimates *estimates, size_t *at, tg_str *ret_target,
                       const tg_token_scale **ret)
{
    void *scale;
    if (!tg_map_next(estimates->scales, at, ret_target, &scale))
        return false;
    *ret = scale;
    return true;
}
