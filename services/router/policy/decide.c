#include "services/router/policy/decide_inside.h"

#include <stdio.h>
#include <string.h>

enum { NAMES_MAX = 512, ATTEMPTS_LIMIT = 16, TRACE_FIRST = 8, LATENCY_RETRY_MS = 1000 };

void tg_decision_trace(tg_decision *d, const char *rule, const char *target, const char *endpoint,
                       bool kept, const char *reason, tg_picousd cost_bound)
{
    tg_plan *plan = d->plan;
    if (plan->trace_count == d->trace_room) {
        size_t room = d->trace_room ? 2 * d->trace_room : TRACE_FIRST;
        tg_candidate *more = tg_arena_zalloc(d->arena, room, sizeof *more);
        if (!more) {
            d->out_of_memory = true;
            return;
        }
        if (plan->trace_count > 0)
            memcpy(more, d->trace, plan->trace_count * sizeof *more);
        plan->trace = d->trace = more;
        d->trace_room = room;
    }
    d->out_of_memory = d->out_of_memory || !reason;
    d->trace[plan->trace_count++] =
        (tg_candidate){rule, target, endpoint, kept, reason, cost_bound};
}

static void refuse(tg_decision *d, tg_refusal_code code, unsigned status, const char *text)
{
    d->plan->refusal = code;
    d->plan->refusal_status = status;
    d->plan->refusal_text = text;
    d->out_of_memory = d->out_of_memory || !text;
}

/* "; did you mean 'x'?", or nothing. */
static const char *hint(tg_decision *d, tg_str name, const char *const *names, size_t count)
{
    char text[64];
    const char *nearest =
        tg_str_copy(text, sizeof text, name) ? tg_str_nearest(text, names, count) : NULL;
    return nearest ? tg_arena_printf(d->arena, "; did you mean '%s'?", nearest) : "";
}

/* ---- the model's name ---- */

static bool means_auto(const tg_decision *d, tg_str model)
{
    if (model.len == 0 || tg_str_is(model, "auto"))
        return true;
    for (size_t i = 0; i < d->snapshot->alias_count; i++)
        if (tg_str_is(model, d->snapshot->aliases[i]))
            return true;
    return false;
}

static void refuse_unknown_model(tg_decision *d, tg_str model)
{
    const char *names[NAMES_MAX] = {"auto"};
    size_t count = 1;
    for (size_t i = 0; i < d->snapshot->alias_count && count < NAMES_MAX; i++)
        names[count++] = d->snapshot->aliases[i];
    for (size_t i = 0; i < tg_targets_count(d->snapshot->targets) && count < NAMES_MAX; i++)
        names[count++] = tg_targets_at(d->snapshot->targets, i)->id;
    refuse(d, TG_REFUSAL_MODEL_NOT_FOUND, 404,
           tg_arena_printf(d->arena, "there is no model '%.*s'%s",
                           model.len < 100 ? (int)model.len : 100, model.data,
                           hint(d, model, names, count)));
}

static bool may_pin(const tg_facts *facts, const char *target)
{
    if (!facts->may_pin)
        return false;
    for (size_t i = 0; i < facts->pin_allowlist_count; i++)
        if (strcmp(facts->pin_allowlist[i], target) == 0)
            return true;
    return facts->pin_allowlist_count == 0;
}

/* ---- the task type ---- */

static bool has_catch_all(const tg_policy *policy)
{
    for (size_t i = 0; i < tg_policy_rule_count(policy); i++)
        if (tg_policy_rule(policy, i)->task_type_count == 0)
            return true;
    return false;
}

static const char *known_task_types(tg_decision *d)
{
    char text[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < tg_policy_task_type_count(d->snapshot->policy) && used < sizeof text;
         i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "",
                                 tg_policy_task_type(d->snapshot->policy, i));
    return tg_arena_strdup(d->arena, tg_str_of(text));
}

/* The type the rules are asked about, "" where only a rule for everything can match; NULL: refused.
 */
static const char *task_type(tg_decision *d)
{
    const tg_policy *policy = d->snapshot->policy;
    tg_str given = d->facts->task_type;
    const char *names[NAMES_MAX];
    size_t count = 0;
    if (given.len == 0) {
        const char *fallback = tg_policy_default_task_type(policy);
        if (fallback || has_catch_all(policy))
            return fallback ? fallback : "";
        refuse(d, TG_REFUSAL_TASK_TYPE_MISSING, 400,
               tg_arena_printf(d->arena, "the header X-Task-Type is missing; known task types: %s",
                               known_task_types(d)));
        return NULL;
    }
    for (size_t i = 0; i < tg_policy_task_type_count(policy); i++) {
        if (tg_str_is(given, tg_policy_task_type(policy, i)))
            return tg_policy_task_type(policy, i);
        if (count < NAMES_MAX)
            names[count++] = tg_policy_task_type(policy, i);
    }
    if (has_catch_all(policy))
        return tg_arena_strdup(d->arena, given);
    refuse(d, TG_REFUSAL_TASK_TYPE_UNKNOWN, 400,
           tg_arena_printf(
               d->arena, "the task type '%.*s' in X-Task-Type is not known%s; known task types: %s",
               given.len < 64 ? (int)given.len : 64, given.data, hint(d, given, names, count),
               known_task_types(d)));
    return NULL;
}

static bool matches(const tg_rule *rule, const char *type)
{
    for (size_t i = 0; i < rule->task_type_count; i++)
        if (strcmp(rule->task_types[i], type) == 0)
            return true;
    return rule->task_type_count == 0;
}

/* ---- refusals of a rule none of whose targets fits ---- */

static void refuse_cap(tg_decision *d, const tg_rule *rule, const tg_fit *fits)
{
    char cap[TG_MONEY_TEXT], estimate[TG_MONEY_TEXT];
    const tg_fit *least = NULL;
    for (size_t i = 0; i < rule->target_count; i++)
        if (fits[i].obstacle == TG_OBSTACLE_CAP && fits[i].priced &&
            (!least || fits[i].cost_bound < least->cost_bound))
            least = &fits[i];
    tg_money_format_usd(rule->cost_cap, cap);
    if (!least) {
        refuse(d, TG_REFUSAL_COST_CAP, 402,
               tg_arena_printf(d->arena,
                               "rule %s caps a request at %s, and its targets have no price",
                               rule->name, cap));
        return;
    }
    tg_money_format_usd(least->cost_bound, estimate);
    uint64_t output = least->clamped ? 1 : least->max_tokens;
    refuse(
        d, TG_REFUSAL_COST_CAP, 402,
        tg_arena_printf(
            d->arena,
            "the request may cost up to %s on %s (up to %llu input and %llu output tokens), over "
            "the cap of %s per request of rule %s; lower max_tokens or shorten the prompt",
            estimate, tg_targets_at(d->snapshot->targets, (size_t)least->target)->id,
            (unsigned long long)tg_fit_input(d, least->target), (unsigned long long)output, cap,
            rule->name));
}

static void refuse_unavailable(tg_decision *d, const tg_rule *rule, const tg_fit *fits)
{
    uint64_t wait_ms = UINT64_MAX;
    for (size_t i = 0; i < rule->target_count; i++)
        if (fits[i].obstacle == TG_OBSTACLE_HEALTH && fits[i].retry_after_ms < wait_ms)
            wait_ms = fits[i].retry_after_ms;
    d->plan->retry_after_ms = wait_ms > 0 && wait_ms < UINT64_MAX ? wait_ms : 1;
    refuse(d, TG_REFUSAL_UNAVAILABLE, 503,
           rule->name[0]
               ? tg_arena_printf(d->arena, "no target of rule %s is available at the moment",
                                 rule->name)
               : "the target is not available at the moment");
}

static void refuse_latency(tg_decision *d, const tg_rule *rule, const tg_fit *fits)
{
    uint64_t least_ms = UINT64_MAX;
    for (size_t i = 0; i < rule->target_count; i++)
        if (fits[i].obstacle == TG_OBSTACLE_LATENCY && fits[i].least_over_ms < least_ms)
            least_ms = fits[i].least_over_ms;
    d->plan->retry_after_ms = LATENCY_RETRY_MS;
    refuse(d, TG_REFUSAL_LATENCY, 503,
           tg_arena_printf(d->arena,
                           "what is available answers too slowly for the latency budget at the "
                           "moment: the fastest "
                           "had a 95th percentile of %llu ms",
                           (unsigned long long)least_ms));
}

static void refuse_rule(tg_decision *d, const tg_rule *rule, const tg_fit *fits)
{
    tg_obstacle told = TG_OBSTACLE_DATA_CLASS;
    d->plan->rule = rule->name;
    for (size_t i = 0; i < rule->target_count; i++)
        if (fits[i].obstacle < told)
            told = fits[i].obstacle;
    switch (told) {
    case TG_OBSTACLE_HEALTH:
        refuse_unavailable(d, rule, fits);
        break;
    case TG_OBSTACLE_LATENCY:
        refuse_latency(d, rule, fits);
        break;
    case TG_OBSTACLE_CAP:
        refuse_cap(d, rule, fits);
        break;
    case TG_OBSTACLE_CONTEXT:
        refuse(d, TG_REFUSAL_CONTEXT, 400,
               "the prompt and max_tokens together are longer than the context of every target "
               "allowed");
        break;
    case TG_OBSTACLE_FORM:
        refuse(d, TG_REFUSAL_FORM, 400,
               d->facts->text_form
                   ? "response_format: no target allowed here can hold its answer to a regular "
                     "expression or a "
                     "choice; a target of the private tier is needed"
                   : "response_format: no target allowed here has a mode for JSON objects without "
                     "a schema; a "
                     "JSON schema or a target of OpenAI's or the private tier is needed");
        break;
    case TG_OBSTACLE_DATA_CLASS:
        refuse(d, TG_REFUSAL_DATA_CLASS, 403,
               tg_arena_printf(d->arena, "no target allowed here may carry data of class '%.*s'",
                               d->facts->data_class.len < 64 ? (int)d->facts->data_class.len : 64,
                               d->facts->data_class.data));
        break;
    case TG_OBSTACLE_NONE:
        break;
    }
}

/* ---- the plan ---- */

static int *alternatives(tg_decision *d, const tg_rule *rule)
{
    int *list = tg_arena_zalloc(d->arena, rule->target_count, sizeof *list);
    if (list)
        memcpy(list, rule->targets, rule->target_count * sizeof *list);
    d->out_of_memory = d->out_of_memory || !list;
    return list;
}

/* Endpoints of the first target, then of the next; but every target that fits gets its turn,
 * however many endpoints those before it have. */
static void make_steps(tg_decision *d, const tg_rule *rule, const tg_fit *fits, size_t fitting)
{
    size_t room = d->snapshot->attempts_max;
    room = room < 1 ? 1 : room > ATTEMPTS_LIMIT ? ATTEMPTS_LIMIT : room;
    tg_step *steps = tg_arena_zalloc(d->arena, room, sizeof *steps);
    size_t count = 0;
    if (!steps) {
        d->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < rule->target_count; i++) {
        const tg_fit *fit = &fits[i];
        if (fit->obstacle != TG_OBSTACLE_NONE)
            continue;
        fitting--;
        for (size_t j = 0; j < fit->endpoint_count && count < room; j++) {
            if (j > 0 && count + fitting >= room)
                break;
            steps[count++] = (tg_step){.target = fit->target,
                                       .endpoint = fit->endpoints[j],
                                       .cost_bound = fit->cost_bound,
                                       .probe = fit->probes[j],
                                       .max_tokens = fit->max_tokens,
                                       .clamped = fit->clamped,
                                       .counted_tokens = tg_fit_count(d, fit->target)};
        }
    }
    d->plan->steps = steps;
    d->plan->step_count = count;
    d->plan->max_tokens = steps[0].max_tokens;
    d->plan->clamped = steps[0].clamped;
}

/* True when the rule settles the request: by steps, or by a refusal. */
static bool try_rule(tg_decision *d, const tg_rule *rule)
{
    tg_fit *fits = tg_arena_zalloc(d->arena, rule->target_count, sizeof *fits);
    bool over_cap = false;
    if (!fits) {
        d->out_of_memory = true;
        return true;
    }
    d->fitting = 0;
    for (size_t i = 0; i < rule->target_count; i++) {
        tg_fit_judge(d, rule, i, &fits[i]);
        d->fitting += fits[i].obstacle == TG_OBSTACLE_NONE;
        over_cap = over_cap || fits[i].obstacle == TG_OBSTACLE_CAP;
    }
    if (d->fitting > 0) {
        d->plan->refusal = TG_REFUSAL_NONE;
        d->plan->rule = rule->name;
        d->plan->alternatives = alternatives(d, rule);
        d->plan->alternative_count = rule->target_count;
        make_steps(d, rule, fits, d->fitting);
        return true;
    }
    refuse_rule(d, rule, fits); /* stands if no later rule takes the request */
    return !(over_cap && rule->on_cap == TG_ON_CAP_NEXT_RULE);
}

static void decide_pinned(tg_decision *d, int target)
{
    const char *id = tg_targets_at(d->snapshot->targets, (size_t)target)->id;
    if (!may_pin(d->facts, id)) {
        refuse(
            d, TG_REFUSAL_MODEL_FORBIDDEN, 403,
            tg_arena_printf(d->arena, "this key may not ask for '%s' by name; ask for 'auto'", id));
        return;
    }
    tg_rule pinned = {.name = "", .targets = {target}, .target_count = 1};
    try_rule(d, &pinned);
}

static void decide_by_policy(tg_decision *d)
{
    const tg_policy *policy = d->snapshot->policy;
    const char *type = task_type(d);
    if (!type)
        return;
    d->plan->task_type = type;
    refuse(d, TG_REFUSAL_NO_RULE, 400, "no rule of the policy is for this request");
    for (size_t i = 0; i < tg_policy_rule_count(policy); i++) {
        const tg_rule *rule = tg_policy_rule(policy, i);
        bool match = matches(rule, type);
        if (!match)
            tg_decision_trace(d, rule->name, "", "", false, "not for this task type", 0);
        if (match && try_rule(d, rule))
            return;
    }
}

const tg_plan *tg_decide(const tg_snapshot *snapshot, const tg_facts *facts, const tg_state *state,
                         tg_now now, tg_arena *arena)
{
    tg_plan *plan = tg_arena_zalloc(arena, 1, sizeof *plan);
    tg_decision d = {.snapshot = snapshot,
                     .facts = facts,
                     .state = state,
                     .now = now,
                     .arena = arena,
                     .plan = plan};
    if (!plan)
        return NULL;
    plan->rule = plan->task_type = plan->refusal_text = "";
    if (means_auto(&d, facts->model)) {
        decide_by_policy(&d);
    } else {
        int target = tg_targets_find(snapshot->targets, facts->model);
        if (target < 0)
            refuse_unknown_model(&d, facts->model);
        else
            decide_pinned(&d, target);
    }
    if (plan->refusal == TG_REFUSAL_NONE && !d.out_of_memory) {
        plan->refusal_status = 0;
        plan->refusal_text = "";
        plan->retry_after_ms = 0;
    }
    return d.out_of_memory ? NULL : plan;
}
