/* The inside of a policy, shared by policy.c and warnings.c. */
#ifndef TG_ROUTER_POLICY_INSIDE_H
#define TG_ROUTER_POLICY_INSIDE_H

#include "libs/base/arena.h"
#include "libs/config/yaml.h"
#include "services/router/policy/policy.h"

/* Where a rule stands in its file, for errors and warnings. */
typedef struct tg_rule_place {
    const tg_yaml_node *rule, *route_to;
    const tg_yaml_node *fallback, *cost_cap, *on_cap; /* NULL: not given */
} tg_rule_place;

struct tg_policy {
    tg_arena arena; /* everything below lives in it */
    const char *name, *default_task_type;
    char version[16];
    tg_rule *rules;
    tg_rule_place *places; /* one a rule */
    size_t rule_count;
    const char **task_types;
    size_t task_type_count;
};

#endif
