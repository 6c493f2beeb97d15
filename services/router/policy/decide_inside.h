/* The inside of tg_decide: decide.c resolves the model and walks the rules, fit.c asks of one
 * target whether this request may go there. */
#ifndef TG_ROUTER_DECIDE_INSIDE_H
#define TG_ROUTER_DECIDE_INSIDE_H

#include "services/router/policy/decide.h"

typedef struct tg_decision {
    const tg_snapshot *snapshot;
    const tg_facts *facts;
    const tg_state *state;
    tg_now now;
    tg_arena *arena;
    tg_plan *plan;
    tg_candidate *trace;
    size_t trace_room;
    size_t fitting; /* targets of the rule under way that fit so far */
    bool out_of_memory;
} tg_decision;

/* The worst that stands between a request and a target; in the order in which they are told to the
 * client when no target is left: what passes by itself first. */
typedef enum tg_obstacle {
    TG_OBSTACLE_NONE,
    TG_OBSTACLE_HEALTH,
    TG_OBSTACLE_LATENCY,
    TG_OBSTACLE_CAP,
    TG_OBSTACLE_CONTEXT,
    TG_OBSTACLE_FORM,
    TG_OBSTACLE_DATA_CLASS
} tg_obstacle;

/* One target of the rule, judged. */
typedef struct tg_fit {
    int target;
    tg_obstacle obstacle;
    uint64_t max_tokens; /* to ask for; 0: leave it to the upstream */
    bool clamped;
    tg_picousd cost_bound;
    bool priced;
    uint64_t retry_after_ms; /* HEALTH */
    uint64_t least_over_ms;  /* LATENCY: of the percentiles over their budget, the least */
    int endpoints[64];       /* usable ones, in the order they are to be tried */
    bool probes[64];
    size_t endpoint_count;
} tg_fit;

/* Judges target number `index` of the rule and traces why. `cap` 0: none. */
void tg_fit_judge(tg_decision *decision, const tg_rule *rule, size_t index, tg_fit *ret);

/* Adds a line to the trace. Texts must live as long as the plan; NULL (no memory for it) is noted.
 */
void tg_decision_trace(tg_decision *decision, const char *rule, const char *target,
                       const char *endpoint, bool kept, const char *reason, tg_picousd cost_bound);

/* the target's own count of the prompt; 0: not known */
uint64_t tg_fit_count(const tg_decision *decision, int target);
/* The prompt's tokens: as the target counted them, else the bound. */
uint64_t tg_fit_input(const tg_decision *decision, int target);

/* The most the request can cost there with so many output tokens; saturates. False without a price.
 */
bool tg_fit_bound(const tg_decision *decision, int target, uint64_t output_tokens, tg_picousd *ret);

#endif
