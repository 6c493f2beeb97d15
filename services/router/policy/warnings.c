#include "services/router/policy/policy_inside.h"

#include <string.h>

typedef struct warner {
    const tg_policy *policy;
    const tg_targets *targets;
    const tg_price_book *prices; /* NULL: not given */
    uint64_t at_unix_ns;
    void (*warn)(void *user, const char *text);
    void *user;
} warner;

#define WARN(w, node, ...)                                                                         \
    do {                                                                                           \
        tg_error text_ = {""};                                                                     \
        tg_yaml_error((node), &text_, __VA_ARGS__);                                                \
        (w)->warn((w)->user, text_.text);                                                          \
    } while (0)

static const char *target_id(const warner *w, int index)
{
    return tg_targets_at(w->targets, (size_t)index)->id;
}

static bool names(const tg_rule *rule, const char *task_type)
{
    for (size_t i = 0; i < rule->task_type_count; i++)
        if (strcmp(rule->task_types[i], task_type) == 0)
            return true;
    return false;
}

/* The earlier rule that takes every request of that type (NULL: any type), or NULL. */
static const tg_rule *taken_by(const tg_policy *policy, size_t before, const char *task_type)
{
    for (size_t i = 0; i < before; i++) {
        const tg_rule *rule = &policy->rules[i];
        if (rule->on_cap == TG_ON_CAP_NEXT_RULE)
            continue; /* what it refuses goes on */
        if (rule->task_type_count == 0 || (task_type && names(rule, task_type)))
            return rule;
    }
    return NULL;
}

static void warn_unreachable(const warner *w, size_t index)
{
    const tg_rule *rule = &w->policy->rules[index], *by = NULL;
    const tg_yaml_node *node = w->policy->places[index].rule;
    size_t taken = 0;
    for (size_t i = 0; i < rule->task_type_count; i++) {
        const tg_rule *earlier = taken_by(w->policy, index, rule->task_types[i]);
        by = earlier ? earlier : by;
        taken += earlier != NULL;
    }
    if (rule->task_type_count == 0)
        by = taken_by(w->policy, index, NULL);
    if (by && taken == rule->task_type_count) {
        WARN(w, node, "rule '%s' is never reached: rule '%s' before it takes all its requests",
             rule->name, by->name);
        return;
    }
    for (size_t i = 0; by && i < rule->task_type_count; i++) {
        const tg_rule *earlier = taken_by(w->policy, index, rule->task_types[i]);
        if (earlier)
            WARN(w, node, "rule '%s' never sees task type '%s': rule '%s' before it takes it",
                 rule->name, rule->task_types[i], earlier->name);
    }
}

/* One input token and one output token: no request costs less. */
static bool cheapest(const warner *w, int target, tg_picousd *ret)
{
    const tg_price *price = tg_price_book_find(w->prices, target_id(w, target), w->at_unix_ns);
    if (!price)
        return false;
    *ret = price->per_request + price->input + price->output;
    return true;
}

static void warn_cap(const warner *w, const tg_rule *rule, const tg_rule_place *place)
{
    bool any_below = false;
    if (rule->cost_cap == 0 || !w->prices)
        return;
    for (size_t i = 0; i < rule->target_count; i++) {
        tg_picousd least = 0;
        if (!cheapest(w, rule->targets[i], &least))
            WARN(w, place->cost_cap,
                 "target '%s' has no price, so rule '%s' with its cap never uses it",
                 target_id(w, rule->targets[i]), rule->name);
        else
            any_below = any_below || least <= rule->cost_cap;
    }
    if (!any_below)
        WARN(w, place->cost_cap, "the cap of rule '%s' is below the cheapest possible request",
             rule->name);
}

/* Vectors of two models do not mix. */
static void warn_embedding(const warner *w, const tg_rule *rule, const tg_rule_place *place)
{
    const tg_target *first = tg_targets_at(w->targets, (size_t)rule->targets[0]);
    if (!names(rule, "embedding"))
        return;
    for (size_t i = 1; i < rule->target_count; i++) {
        const tg_target *other = tg_targets_at(w->targets, (size_t)rule->targets[i]);
        if (strcmp(first->model, other->model) != 0)
            WARN(w, place->fallback,
                 "rule '%s' serves embedding and falls back from %s to %s: vectors of two models "
                 "do not mix",
                 rule->name, first->model, other->model);
    }
}

void tg_policy_warnings(const tg_policy *policy, const tg_targets *targets,
                        const tg_price_book *prices, uint64_t at_unix_ns,
                        void (*warn)(void *user, const char *text), void *user)
{
    warner w = {policy, targets, prices, at_unix_ns, warn, user};
    for (size_t i = 0; i < policy->rule_count; i++) {
        const tg_rule *rule = &policy->rules[i];
        const tg_rule_place *place = &policy->places[i];
        warn_unreachable(&w, i);
        if (rule->target_count == 1)
            WARN(&w, place->route_to,
                 "rule '%s' has no fallback: when %s fails, so does the request", rule->name,
                 target_id(&w, rule->targets[0]));
        warn_cap(&w, rule, place);
        warn_embedding(&w, rule, place);
    }
}
