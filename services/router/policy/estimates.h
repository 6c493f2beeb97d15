/* What is known about each target's tokenizer: a scale (libs/tokenizer/estimate.h) learned from the
 * prompts whose tokens it reported. Kept by id, so that it outlives a reload of the targets.
 *
 * Pure. Bounds: TG_ESTIMATES_TARGETS_MAX targets; past it nothing is learned about another.
 * Threads: the loop's.
 */
#ifndef TG_ROUTER_ESTIMATES_H
#define TG_ROUTER_ESTIMATES_H

#include "libs/tokenizer/estimate.h"

#define TG_ESTIMATES_TARGETS_MAX 4096 /* targets whose tokenizers are learned */

typedef struct tg_estimates tg_estimates;

tg_estimates *tg_estimates_new(void); /* NULL: no memory */
tg_estimates *tg_estimates_free(tg_estimates *estimates);
/* NULL: nothing is known, or `estimates` is NULL. Valid until free. */
const tg_token_scale *tg_estimates_of(const tg_estimates *estimates, const char *target);
void tg_estimates_learn(tg_estimates *estimates, const char *target, uint64_t units,
                        uint64_t tokens);
/* The next target after *at (begin with 0), as tg_map_next. */
bool tg_estimates_next(const tg_estimates *estimates, size_t *at, tg_str *ret_target,
                       const tg_token_scale **ret);

#endif
