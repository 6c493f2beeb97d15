#include "services/router/edge/decisions.h"

#include "tollgate/v1/decisions.pb-c.h"

/* protobuf-c's strings are not const, but packing only reads them. */
static char *text(const char *value) { return (char *)(uintptr_t)(value ? value : ""); }

/* What clients say may be any bytes, and protobuf's strings are UTF-8: what is not is left out. */
static char *outside(tg_arena *arena, tg_str value)
{
    return text(tg_utf8_valid(value.data, value.len) ? tg_arena_strdup(arena, value) : NULL);
}

static const char *endpoint_id(const tg_target *target, int endpoint)
{
    return target->endpoints[endpoint].id;
}

static void fill_step(Tollgate__V1__DecisionStep *to, const tg_step *step,
                      const tg_targets *targets)
{
    const tg_target *target = tg_targets_at(targets, (size_t)step->target);
    tollgate__v1__decision_step__init(to);
    to->target = text(target->id);
    to->endpoint = text(endpoint_id(target, step->endpoint));
    to->cost_bound_picousd = step->cost_bound;
    to->max_tokens = step->max_tokens;
    to->clamped = step->clamped;
    to->probe = step->probe;
    to->counted_tokens = step->counted_tokens;
}

static void fill_candidate(Tollgate__V1__DecisionCandidate *to, const tg_candidate *candidate)
{
    tollgate__v1__decision_candidate__init(to);
    to->rule = text(candidate->rule);
    to->target = text(candidate->target);
    to->endpoint = text(candidate->endpoint);
    to->kept = candidate->kept;
    to->reason = text(candidate->reason);
    to->cost_bound_picousd = candidate->cost_bound;
}

/* false: out of memory. */
static bool fill_plan(Tollgate__V1__Decision *out, const tg_plan *plan, const tg_targets *targets,
                      tg_arena *arena)
{
    Tollgate__V1__DecisionStep *steps = tg_arena_zalloc(arena, plan->step_count + 1, sizeof *steps);
    Tollgate__V1__DecisionCandidate *lines =
        tg_arena_zalloc(arena, plan->trace_count + 1, sizeof *lines);
    out->steps = tg_arena_zalloc(arena, plan->step_count + 1, sizeof *out->steps);
    out->candidates = tg_arena_zalloc(arena, plan->trace_count + 1, sizeof *out->candidates);
    if (!steps || !lines || !out->steps || !out->candidates)
        return false;
    for (; out->n_steps < plan->step_count; out->n_steps++) {
        fill_step(&steps[out->n_steps], &plan->steps[out->n_steps], targets);
        out->steps[out->n_steps] = &steps[out->n_steps];
    }
    for (; out->n_candidates < plan->trace_count; out->n_candidates++) {
        fill_candidate(&lines[out->n_candidates], &plan->trace[out->n_candidates]);
        out->candidates[out->n_candidates] = &lines[out->n_candidates];
    }
    out->rule = text(plan->rule);
    if (plan->refusal != TG_REFUSAL_NONE) {
        out->refusal_status = plan->refusal_status;
        out->refusal = outside(arena, tg_str_of(plan->refusal_text));
    }
    return true;
}

void tg_edge_publish_decision(tg_edge_chat *chat, const tg_facts *facts, const tg_fleet *fleet,
                              tg_now now)
{
    tg_publisher *publisher = chat->router->decisions;
    Tollgate__V1__Decision out = TOLLGATE__V1__DECISION__INIT;
    if (!publisher || !fill_plan(&out, chat->plan, chat->live->targets, &chat->arena))
        return;
    out.request_id = chat->request_id;
    out.instance_id = text(chat->router->settings->common.instance_id);
    out.tenant = text(chat->tenant->id);
    out.key_id = text(chat->key->id);
    out.client_request_id = outside(&chat->arena, tg_str_of(chat->client_request_id));
    out.traceparent = chat->traceparent;
    out.decided_unix_ns = (int64_t)now.wall_unix_ns;
    out.policy_version = text(tg_policy_version(chat->live->policy));
    out.model_requested = outside(&chat->arena, facts->model);
    out.task_type = outside(&chat->arena, facts->task_type);
    out.data_class = outside(&chat->arena, facts->data_class);
    out.stream = facts->stream;
    out.latency_budget_ms = facts->latency_budget_ms;
    out.input_tokens = facts->input_tokens;
    out.max_tokens = facts->max_tokens;
    out.fleet_version = fleet->version;
    out.fleet_stale = fleet->stale;
    tg_publisher_send(publisher, tg_str_of(chat->tenant->id), &out.base);
}
