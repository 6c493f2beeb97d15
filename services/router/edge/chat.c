#include "services/router/edge/chat.h"

#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "services/router/edge/decisions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_MAX = 32 << 20, CLIENT_ID_MAX = 2 * TG_USAGE_NAME_MAX - 1 };

/* ---- authenticate ---- */

static int problem_set(tg_edge_problem *p, unsigned status, const char *type, const char *code,
                       const char *message)
{
    *p = (tg_edge_problem){.status = status, .type = type, .code = code};
    snprintf(p->message, sizeof p->message, "%s", message);
    return -EACCES;
}

static tg_str presented_key(const tg_edge_headers *h)
{
    if (h->x_api_key.len > 0)
        return tg_str_trim(h->x_api_key);
    if (h->authorization.len > 7 && tg_str_is_nocase((tg_str){h->authorization.data, 7}, "Bearer "))
        return tg_str_trim((tg_str){h->authorization.data + 7, h->authorization.len - 7});
    return (tg_str){NULL, 0};
}

static int authenticate(const tg_live *live, const tg_edge_headers *h, const tg_key **ret_key,
                        const tg_tenant **ret_tenant, tg_edge_problem *problem)
{
    tg_str secret = presented_key(h);
    if (secret.len == 0)
        return problem_set(problem, 401, "authentication_error", "missing_api_key",
                           "no API key: send `Authorization: Bearer <key>` or `x-api-key: <key>`");
    const tg_key *key = tg_keys_check(live->keys, secret);
    if (!key)
        return problem_set(problem, 401, "authentication_error", "invalid_api_key",
                           "the API key is not valid");
    tg_str tenant = h->x_tenant.len > 0 ? h->x_tenant : tg_str_of(key->tenant);
    bool listed = tg_str_is(tenant, key->tenant);
    for (size_t i = 0; !listed && i < key->tenant_count; i++)
        listed = tg_str_is(tenant, key->tenants[i]);
    const tg_tenant *found = listed ? tg_tenants_find(live->tenants, tenant) : NULL;
    if (!found)
        return problem_set(problem, 403, "permission_error", "tenant_not_allowed",
                           "this API key may not act for the tenant named in X-Tenant");
    *ret_key = key;
    *ret_tenant = found;
    return 0;
}

static const char *keep(tg_arena *arena, tg_str text, size_t max)
{
    if (text.len > max)
        text.len = max;
    const char *copy = tg_arena_strdup(arena, text);
    return copy ? copy : "";
}

int tg_edge_chat_begin(tg_router *router, const tg_edge_headers *headers, tg_edge_chat *ret,
                       tg_edge_problem *problem)
{
    const tg_key *key;
    const tg_tenant *tenant;
    int rc = authenticate(router->live, headers, &key, &tenant, problem);
    if (rc < 0)
        return rc;
    *ret = (tg_edge_chat){.router = router, .key = key, .tenant = tenant};
    ret->live = tg_live_ref(router->live);
    tg_arena_init(&ret->arena, ARENA_MAX);
    uint8_t random[10 + 24]; /* of the request's id, and of a trace that begins here */
    tg_random_bytes(random, sizeof random);
    tg_uuid7(tg_clock_wall_ns() / 1000000u, random, ret->request_id);
    ret->client_request_id = keep(&ret->arena, headers->x_request_id, CLIENT_ID_MAX);
    tg_traceparent(headers->traceparent, random + 10, ret->traceparent);
    ret->task_type = keep(&ret->arena, tg_str_trim(headers->x_task_type), TG_USAGE_NAME_MAX - 1);
    ret->data_class = keep(&ret->arena, tg_str_trim(headers->x_data_class), TG_USAGE_NAME_MAX - 1);
    ret->latency_budget_ms =
        keep(&ret->arena, tg_str_trim(headers->x_latency_budget_ms), TG_USAGE_NAME_MAX - 1);
    return 0;
}

void tg_edge_chat_free(tg_edge_chat *chat)
{
    chat->count = tg_count_free(chat->count);
    chat->dispatch = tg_dispatch_free(chat->dispatch);
    chat->live = tg_live_unref(chat->live);
    tg_arena_free(&chat->arena);
}

/* ---- decide ---- */

static const struct {
    tg_refusal_code code;
    const char *type, *name;
} refusals[] = {
    {TG_REFUSAL_MODEL_NOT_FOUND, "not_found_error", "model_not_found"},
    {TG_REFUSAL_MODEL_FORBIDDEN, "permission_error", "model_not_allowed"},
    {TG_REFUSAL_TASK_TYPE_MISSING, "invalid_request_error", "task_type_missing"},
    {TG_REFUSAL_TASK_TYPE_UNKNOWN, "invalid_request_error", "task_type_unknown"},
    {TG_REFUSAL_NO_RULE, "invalid_request_error", "no_rule"},
    {TG_REFUSAL_COST_CAP, "invalid_request_error", "cost_cap_exceeded"},
    {TG_REFUSAL_FORM, "invalid_request_error", "unsupported_response_format"},
    {TG_REFUSAL_CONTEXT, "invalid_request_error", "context_length_exceeded"},
    {TG_REFUSAL_DATA_CLASS, "permission_error", "data_class_not_allowed"},
    {TG_REFUSAL_LATENCY, "overloaded_error", "latency_budget_exceeded"},
    {TG_REFUSAL_UNAVAILABLE, "overloaded_error", "no_target_available"},
};

static int refuse(tg_edge_chat *chat, tg_edge_problem *problem)
{
    const tg_plan *plan = chat->plan;
    *problem = (tg_edge_problem){.status = plan->refusal_status,
                                 .type = "invalid_request_error",
                                 .code = "refused",
                                 .retry_after_ms = plan->retry_after_ms};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        if (refusals[i].code == plan->refusal) {
            problem->type = refusals[i].type;
            problem->code = refusals[i].name;
        }
    }
    snprintf(problem->message, sizeof problem->message, "%s", plan->refusal_text);
    const char *const labels[] = {problem->code};
    tg_counter_add(tg_counter_of(chat->router->metrics.refusals, labels), 1);
    return -EPERM;
}

/* The tenant's requests per minute. */
static int keep_pace(tg_edge_chat *chat, uint64_t mono_ns, tg_edge_problem *problem)
{
    const char *const labels[] = {"tenant_rate_limit"};
    const uint32_t rpm = chat->tenant->rate_limit_rpm;
    uint64_t wait_ms = 0;
    if (tg_pace_take(chat->router->pace, chat->tenant->id, rpm, mono_ns, &wait_ms))
        return 0;
    *problem = (tg_edge_problem){.status = 429,
                                 .type = "rate_limit_error",
                                 .code = "rate_limit_exceeded",
                                 .retry_after_ms = wait_ms};
    snprintf(problem->message, sizeof problem->message,
             "tenant '%s' is limited to %u requests per minute; the next is served in %llu ms",
             chat->tenant->id, rpm, (unsigned long long)wait_ms);
    tg_counter_add(tg_counter_of(chat->router->metrics.refusals, labels), 1);
    return -EPERM;
}

static int latency_budget(const tg_edge_chat *chat, uint32_t *ret_ms, tg_edge_problem *problem)
{
    uint64_t ms = 0;
    if (*chat->latency_budget_ms && (tg_str_u64(tg_str_of(chat->latency_budget_ms), &ms) < 0 ||
                                     ms < 1 || ms > TG_POLICY_BUDGET_MS_MAX)) {
        *problem = (tg_edge_problem){
            .status = 400, .type = "invalid_request_error", .code = "invalid_latency_budget"};
        snprintf(problem->message, sizeof problem->message,
                 "X-Latency-Budget-Ms is '%s'; whole milliseconds from 1 to %d are allowed",
                 chat->latency_budget_ms, TG_POLICY_BUDGET_MS_MAX);
        return -EPERM;
    }
    *ret_ms = (uint32_t)ms;
    return 0;
}

static int find_facts(tg_edge_chat *chat, tg_edge_problem *problem)
{
    uint32_t budget_ms;
    if (latency_budget(chat, &budget_ms, problem) < 0)
        return -EPERM;
    chat->facts = (tg_facts){
        .tenant = chat->tenant->id,
        .key_id = chat->key->id,
        .may_pin = chat->key->pin,
        .pin_allowlist = chat->tenant->model_allowlist,
        .pin_allowlist_count = chat->tenant->model_allowlist_count,
        .model = chat->request.model,
        .task_type = tg_str_of(chat->task_type),
        .data_class = tg_str_of(chat->data_class),
        .stream = chat->request.stream,
        .json_object = chat->request.form == TG_FORM_JSON_OBJECT,
        .text_form = chat->request.form == TG_FORM_REGEX || chat->request.form == TG_FORM_CHOICE,
        .input_tokens = tg_chat_input_bound(&chat->request),
        .input_units = tg_chat_input_units(&chat->request),
        .counts = chat->counts,
        .max_tokens = chat->request.max_tokens,
        .latency_budget_ms = budget_ms,
        .draw = tg_random_next(&chat->router->rng),
    };
    return 0;
}

static const tg_fleet *fleet_now(const tg_edge_chat *chat)
{
    return tg_fleet_view_get(chat->router->fleet, tg_clock_mono_ns() / 1000000u);
}

static int decide(tg_edge_chat *chat, tg_edge_problem *problem)
{
    tg_router *router = chat->router;
    const tg_state state = {.fleet = fleet_now(chat), .estimates = router->dispatch.estimates};
    const tg_now now = {.wall_unix_ns = tg_clock_wall_ns(),
                        .mono_ms = tg_clock_mono_ns() / 1000000u};
    if (state.fleet->stale && router->settings->on_stale == TG_WHEN_STALE_REJECT) {
        problem_set(problem, 503, "overloaded_error", "fleet_view_stale",
                    "the health service has not been heard and on_stale is reject");
        problem->retry_after_ms = 1000;
        return -EPERM;
    }
    chat->plan = tg_decide(&chat->live->snapshot, &chat->facts, &state, now, &chat->arena);
    if (chat->plan)
        return 0;
    problem_set(problem, 500, "api_error", "out_of_memory", "the request is too large to plan");
    return -ENOMEM;
}

static int settle(tg_edge_chat *chat, tg_edge_problem *problem)
{
    const tg_now now = {.wall_unix_ns = tg_clock_wall_ns(),
                        .mono_ms = tg_clock_mono_ns() / 1000000u};
    tg_edge_publish_decision(chat, &chat->facts, fleet_now(chat), now);
    return chat->plan->refusal != TG_REFUSAL_NONE ? refuse(chat, problem) : 0;
}

/* ---- a target's own count ---- */

static void on_count(void *user, uint64_t tokens);

/* False: there is nobody to ask, or nothing to ask for. */
static bool ask_count(tg_edge_chat *chat)
{
    const tg_plan *plan = chat->plan;
    if (!plan->wants_count || chat->facts.count_len == TG_DECIDE_COUNTS_MAX)
        return false;
    const tg_target *target = tg_targets_at(chat->live->targets, (size_t)plan->count_target);
    return tg_count_start(chat->router->dispatch.rpc, target,
                          &target->endpoints[plan->count_endpoint], &chat->request,
                          chat->traceparent, on_count, chat, &chat->count) == 0;
}

static void on_count(void *user, uint64_t tokens)
{
    tg_edge_chat *chat = user;
    tg_edge_problem problem = {0};
    const int target = chat->plan->count_target;
    const char *const labels[] = {tg_targets_at(chat->live->targets, (size_t)target)->id,
                                  tokens > 0 ? "answered" : "unanswered"};
    tg_counter_add(tg_counter_of(chat->router->metrics.counts, labels), 1);
    chat->count = tg_count_free(chat->count);
    chat->counts[chat->facts.count_len++] = (tg_prompt_count){target, tokens};
    int rc = decide(chat, &problem);
    if (rc == 0 && ask_count(chat))
        return;
    if (rc == 0)
        rc = settle(chat, &problem);
    chat->on_planned(chat->user, rc, &problem); /* may free it */
}

int tg_edge_chat_plan(tg_edge_chat *chat, void (*on_planned)(void *, int, const tg_edge_problem *),
                      void *user, tg_edge_problem *problem)
{
    int rc = find_facts(chat, problem);
    if (rc == 0)
        rc = keep_pace(chat, tg_clock_mono_ns(), problem);
    if (rc == 0)
        rc = decide(chat, problem);
    if (rc < 0)
        return rc;
    chat->on_planned = on_planned;
    chat->user = user;
    return ask_count(chat) ? -EINPROGRESS : settle(chat, problem);
}

int tg_edge_chat_explain(tg_edge_chat *chat, tg_edge_problem *problem)
{
    int rc = find_facts(chat, problem);
    return rc < 0 ? rc : decide(chat, problem);
}

int tg_edge_chat_dispatch(tg_edge_chat *chat, void (*on_attempt)(void *, const tg_usage_event *),
                          void (*on_event)(void *, const tg_chat_event *),
                          void (*on_done)(void *, const tg_dispatch_result *), void *user)
{
    tg_dispatch_request request = {
        .chat = &chat->request,
        .plan = chat->plan,
        .snapshot = &chat->live->snapshot,
        .credentials = chat->live->credentials,
        .tenant = chat->tenant->id,
        .key_id = chat->key->id,
        .client_request_id = chat->client_request_id,
        .policy_version = tg_policy_version(chat->live->policy),
        .traceparent = chat->traceparent,
        .on_attempt = on_attempt,
        .on_event = on_event,
        .on_done = on_done,
        .user = user,
    };
    memcpy(request.request_id, chat->request_id, sizeof request.request_id);
    int rc = tg_dispatch_new(&chat->router->dispatch, &request, &chat->dispatch);
    if (rc == 0)
        tg_dispatch_run(chat->dispatch);
    return rc;
}

int tg_edge_routing(const tg_usage_event *event, bool with_cost, tg_buf *out)
{
    char cost[TG_MONEY_TEXT];
    int rc = tg_buf_printf(out, "target=%s; rule=%s; attempt=%u; ", event->target,
                           event->rule[0] ? event->rule : "pinned", event->attempt);
    tg_money_format_usd(event->cost_picousd, cost);
    if (rc == 0 && with_cost)
        rc = tg_buf_printf(out, "cost_usd=%s; ", cost[0] == '$' ? cost + 1 : cost);
    return rc < 0 ? rc : tg_buf_printf(out, "request=%s", event->request_id);
}
