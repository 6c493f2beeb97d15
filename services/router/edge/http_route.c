/* POST /v1/route: where would this request go, and why? GET /v1/models: what may be asked for. */
#include "services/router/edge/http.h"

#include <errno.h>
#include <stdio.h>

static void money(tg_json_out *out, const char *key, tg_picousd amount)
{
    char text[TG_MONEY_TEXT];
    tg_money_format_usd(amount, text);
    tg_json_out_key(out, key);
    tg_json_out_text(out, text[0] == '$' ? text + 1 : text);
}

static void trace(tg_json_out *out, const tg_plan *plan)
{
    tg_json_out_key(out, "trace");
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < plan->trace_count; i++) {
        const tg_candidate *c = &plan->trace[i];
        tg_json_out_begin_object(out);
        tg_json_out_key(out, "rule");
        tg_json_out_text(out, c->rule);
        tg_json_out_key(out, "target");
        tg_json_out_text(out, c->target);
        tg_json_out_key(out, "endpoint");
        tg_json_out_text(out, c->endpoint);
        tg_json_out_key(out, "kept");
        tg_json_out_bool(out, c->kept);
        tg_json_out_key(out, "reason");
        tg_json_out_text(out, c->reason);
        money(out, "max_cost_usd", c->cost_bound);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
}

static void encode_plan(const tg_edge_chat *chat, tg_buf *body)
{
    const tg_plan *plan = chat->plan;
    tg_json_out out = tg_json_out_to(body);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "object");
    tg_json_out_text(&out, "tollgate.route");
    tg_json_out_key(&out, "policy");
    tg_json_out_text(&out, tg_policy_name(chat->live->policy));
    tg_json_out_key(&out, "policy_version");
    tg_json_out_text(&out, tg_policy_version(chat->live->policy));
    tg_json_out_key(&out, "rule");
    tg_json_out_text(&out, plan->rule ? plan->rule : "");
    tg_json_out_key(&out, "task_type");
    tg_json_out_text(&out, plan->task_type ? plan->task_type : "");
    tg_json_out_key(&out, "steps");
    tg_json_out_begin_array(&out);
    for (size_t i = 0; i < plan->step_count; i++) {
        const tg_step *step = &plan->steps[i];
        const tg_target *target = tg_targets_at(chat->live->targets, (size_t)step->target);
        tg_json_out_begin_object(&out);
        tg_json_out_key(&out, "target");
        tg_json_out_text(&out, target->id);
        tg_json_out_key(&out, "endpoint");
        tg_json_out_text(&out, target->endpoints[step->endpoint].id);
        money(&out, "max_cost_usd", step->cost_bound);
        tg_json_out_end_object(&out);
    }
    tg_json_out_end_array(&out);
    tg_json_out_key(&out, "max_tokens");
    tg_json_out_u64(&out, plan->max_tokens);
    tg_json_out_key(&out, "refusal");
    if (plan->refusal == TG_REFUSAL_NONE)
        tg_json_out_null(&out);
    else
        tg_json_out_text(&out, plan->refusal_text);
    trace(&out, plan);
    tg_json_out_end_object(&out);
}

void tg_edge_http_route(tg_router *router, tg_http_exchange *x, const tg_http_request *request)
{
    tg_edge_headers headers;
    tg_edge_problem problem = {0};
    tg_edge_chat chat;
    tg_error err = {""};
    tg_edge_http_headers(request, &headers);
    if (tg_edge_chat_begin(router, &headers, &chat, &problem) < 0) {
        tg_edge_http_problem(router, x, TG_DIALECT_OPENAI, &problem, NULL);
        return;
    }
    int rc = tg_dialect_decode_request(TG_DIALECT_OPENAI, router->doc, request->body, &chat.arena,
                                       &err, &chat.request);
    if (rc < 0) {
        problem = (tg_edge_problem){
            .status = 400, .type = "invalid_request_error", .code = "invalid_request"};
        snprintf(problem.message, sizeof problem.message, "%s", err.text);
    } else {
        rc = tg_edge_chat_explain(&chat, &problem);
    }
    if (rc < 0) {
        tg_edge_http_problem(router, x, TG_DIALECT_OPENAI, &problem, chat.request_id);
    } else {
        tg_buf body;
        tg_buf_init(&body, 0);
        encode_plan(&chat, &body);
        tg_http_reply(x, 200, "application/json", NULL, 0, tg_buf_str(&body));
        tg_edge_http_count(router, "route", 200);
        tg_buf_free(&body);
    }
    tg_edge_chat_free(&chat);
}

static void model(tg_json_out *out, const char *id, const char *owner)
{
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "id");
    tg_json_out_text(out, id);
    tg_json_out_key(out, "object");
    tg_json_out_text(out, "model");
    tg_json_out_key(out, "created");
    tg_json_out_u64(out, 0);
    tg_json_out_key(out, "owned_by");
    tg_json_out_text(out, owner);
    tg_json_out_end_object(out);
}

static bool may_pin(const tg_edge_chat *chat, const char *id)
{
    if (!chat->key->pin)
        return false;
    if (chat->tenant->model_allowlist_count == 0)
        return true;
    for (size_t i = 0; i < chat->tenant->model_allowlist_count; i++)
        if (tg_str_is(tg_str_of(chat->tenant->model_allowlist[i]), id))
            return true;
    return false;
}

void tg_edge_http_models(tg_router *router, tg_http_exchange *x, const tg_http_request *request)
{
    tg_edge_headers headers;
    tg_edge_problem problem = {0};
    tg_edge_chat chat;
    tg_edge_http_headers(request, &headers);
    if (tg_edge_chat_begin(router, &headers, &chat, &problem) < 0) {
        tg_edge_http_problem(router, x, TG_DIALECT_OPENAI, &problem, NULL);
        return;
    }
    tg_buf body;
    tg_buf_init(&body, 0);
    tg_json_out out = tg_json_out_to(&body);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "object");
    tg_json_out_text(&out, "list");
    tg_json_out_key(&out, "data");
    tg_json_out_begin_array(&out);
    model(&out, "auto", "tollgate");
    for (size_t i = 0; i < chat.live->snapshot.alias_count; i++)
        model(&out, chat.live->snapshot.aliases[i], "tollgate");
    for (size_t i = 0; i < tg_targets_count(chat.live->targets); i++) {
        const tg_target *target = tg_targets_at(chat.live->targets, i);
        if (may_pin(&chat, target->id))
            model(&out, target->id, tg_provider_name(target->provider));
    }
    tg_json_out_end_array(&out);
    tg_json_out_end_object(&out);
    tg_http_reply(x, 200, "application/json", NULL, 0, tg_buf_str(&body));
    tg_edge_http_count(router, "models", 200);
    tg_buf_free(&body);
    tg_edge_chat_free(&chat);
}
