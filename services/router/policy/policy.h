/* The routing policy: a YAML document, checked and compiled to an immutable value.
 *
 * This is the source article's language in full: `routing_policy: {name, default_task_type, rules:
 * [{name, match: {task_type: [...]}, route_to, fallback, cost_cap_usd_per_request, on_cap,
 * ttft_budget_ms, latency_budget_ms}]}`. `fallback` is a target or an ordered list; `match` may be
 * left out (matches everything); `task_type` may be one name or a list. Anything else is an error
 * with file:line:column, the name and the nearest known one.
 *
 * Pure: the text is given, nothing is read. Ownership: tg_policy_free. Threads: any, read only.
 */
#ifndef TG_ROUTER_POLICY_H
#define TG_ROUTER_POLICY_H

#include "libs/base/error.h"
#include "libs/base/str.h"
#include "libs/config/mesh.h"

#define TG_POLICY_RULES_MAX 256 /* rules of one policy */
#define TG_POLICY_FALLBACKS_MAX 8 /* fallbacks of one rule */
/* longest latency budget, of a rule or of a request, in milliseconds */
#define TG_POLICY_BUDGET_MS_MAX 86400000

typedef enum tg_on_cap {
    TG_ON_CAP_DEFAULT, /* reject when the client stated a maximum, else clamp */
    TG_ON_CAP_REJECT,
    TG_ON_CAP_CLAMP,
    TG_ON_CAP_NEXT_RULE
} tg_on_cap;

typedef struct tg_rule {
    const char *name;
    const char *const *task_types; /* count 0: any */
    size_t task_type_count;
    /* indexes into the targets: route_to, then fallbacks */
    int targets[1 + TG_POLICY_FALLBACKS_MAX];
    size_t target_count;
    tg_picousd cost_cap; /* 0: none */
    tg_on_cap on_cap;
    /* Milliseconds that the 95th percentile observed lately may not exceed (decide.h); 0: no
     * budget. */
    uint32_t ttft_budget_ms;    /* to the first token */
    uint32_t latency_budget_ms; /* to the end of the answer */
} tg_rule;

typedef struct tg_policy tg_policy;

/* `file` names the text in errors. Every target named must be in `targets`. */
int tg_policy_parse(const char *file, tg_str text, const tg_targets *targets, tg_error *err,
                    tg_policy **ret);
tg_policy *tg_policy_free(tg_policy *policy);

const char *tg_policy_name(const tg_policy *policy);
/* "p-" and 12 hex digits of the text's SHA-256 */
const char *tg_policy_version(const tg_policy *policy);
const char *tg_policy_default_task_type(const tg_policy *policy); /* NULL: none */
size_t tg_policy_rule_count(const tg_policy *policy);
const tg_rule *tg_policy_rule(const tg_policy *policy, size_t index);
/* Every task type any rule names, in order of appearance. */
size_t tg_policy_task_type_count(const tg_policy *policy);
const char *tg_policy_task_type(const tg_policy *policy, size_t index);

/* What a careful reader would say about a valid policy: one callback per warning, with
 * file:line:column (unreachable rule; a rule without fallback; a cap below the cheapest possible
 * request; a fallback for `embedding` of another model). */
void tg_policy_warnings(const tg_policy *policy, const tg_targets *targets,
                        const tg_price_book *prices, uint64_t at_unix_ns,
                        void (*warn)(void *user, const char *text), void *user);

#endif
