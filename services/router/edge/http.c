#include "services/router/edge/http.h"

#include <stdio.h>

void tg_edge_http_headers(const tg_http_request *request, tg_edge_headers *ret)
{
    *ret = (tg_edge_headers){
        .authorization = tg_http_request_header(request, "authorization"),
        .x_api_key = tg_http_request_header(request, "x-api-key"),
        .x_tenant = tg_http_request_header(request, "x-tenant"),
        .x_task_type = tg_http_request_header(request, "x-task-type"),
        .x_data_class = tg_http_request_header(request, "x-data-class"),
        .x_latency_budget_ms = tg_http_request_header(request, "x-latency-budget-ms"),
        .x_request_id = tg_http_request_header(request, "x-request-id"),
        .traceparent = tg_http_request_header(request, "traceparent"),
    };
}

void tg_edge_http_count(tg_router *router, const char *edge, unsigned status)
{
    char text[8];
    snprintf(text, sizeof text, "%u", status);
    const char *const labels[] = {edge, text};
    tg_counter_add(tg_counter_of(router->metrics.requests, labels), 1);
}

void tg_edge_http_problem(tg_router *router, tg_http_exchange *x, tg_dialect dialect,
                          const tg_edge_problem *problem, const char *request_id)
{
    tg_buf body;
    char retry[24];
    tg_http_header headers[2];
    size_t count = 0;
    tg_buf_init(&body, 0);
    tg_dialect_encode_error(dialect, problem->status, problem->type, problem->code,
                            problem->message, request_id, &body);
    if (request_id && *request_id)
        headers[count++] = (tg_http_header){TG_STR("x-request-id"), tg_str_of(request_id)};
    if (problem->retry_after_ms > 0) {
        snprintf(retry, sizeof retry, "%llu",
                 (unsigned long long)((problem->retry_after_ms + 999) / 1000));
        headers[count++] = (tg_http_header){TG_STR("retry-after"), tg_str_of(retry)};
    }
    tg_http_reply(x, problem->status, "application/json", headers, count, tg_buf_str(&body));
    tg_edge_http_count(router, dialect == TG_DIALECT_ANTHROPIC ? "anthropic" : "openai",
                       problem->status);
    tg_buf_free(&body);
}

static void refuse_path(tg_router *router, tg_http_exchange *x, const tg_http_request *request,
                        unsigned status, const char *allowed)
{
    tg_edge_problem problem = {.status = status,
                               .type = status == 404 ? "not_found_error" : "invalid_request_error",
                               .code = status == 404 ? "unknown_path" : "method_not_allowed"};
    snprintf(problem.message, sizeof problem.message, TG_STR_FMT " " TG_STR_FMT ": %s",
             (int)(request->method.len < 16 ? request->method.len : 16), request->method.data,
             (int)(request->path.len < 128 ? request->path.len : 128), request->path.data, allowed);
    tg_edge_http_problem(router, x, TG_DIALECT_OPENAI, &problem, NULL);
}

void tg_edge_http(void *user, tg_http_exchange *x, const tg_http_request *request)
{
    static const struct {
        const char *method, *path;
    } known[] = {{"POST", "/v1/chat/completions"}, {"POST", "/v1/messages"}, {"POST", "/v1/route"},
                 {"GET", "/v1/models"},            {"GET", "/healthz"},      {"GET", "/readyz"},
                 {"GET", "/metrics"}};
    tg_router *router = user;
    bool post = tg_str_is(request->method, "POST");
    if (post && tg_str_is(request->path, "/v1/chat/completions")) {
        tg_edge_http_chat(router, x, request, TG_DIALECT_OPENAI);
    } else if (post && tg_str_is(request->path, "/v1/messages")) {
        tg_edge_http_chat(router, x, request, TG_DIALECT_ANTHROPIC);
    } else if (post && tg_str_is(request->path, "/v1/route")) {
        tg_edge_http_route(router, x, request);
    } else if (tg_str_is(request->method, "GET") && tg_str_is(request->path, "/v1/models")) {
        tg_edge_http_models(router, x, request);
    } else if (!tg_service_ops(router->service, x, request)) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (tg_str_is(request->path, known[i].path)) {
                char allowed[64];
                snprintf(allowed, sizeof allowed, "use %s here", known[i].method);
                refuse_path(router, x, request, 405, allowed);
                return;
            }
        }
        refuse_path(router, x, request, 404,
                    "there is no such path; chat is at /v1/chat/completions and /v1/messages");
    }
}
