#include "services/router/edge/grpc.h"

#include "services/router/edge/chat.h"

#include "tollgate/v1/router.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct grpc_call { /* of a tool, in a plain answer */
    char *id, *name; /* in the chat's arena */
    tg_buf arguments;
} grpc_call;

typedef struct grpc_chat {
    tg_edge_chat chat;
    tg_rpc_call *call;
    bool stream;
    bool begun;    /* the stream's first message has left */
    bool in_event, gone;
    tg_usage_event route;
    tg_buf text;   /* plain: the whole answer; streamed: what came before the first flush */
    tg_buf reasoning; /* plain */
    grpc_call *calls; /* plain: room for TG_CHAT_TOOLS_MAX, in the chat's arena; NULL: none yet */
    size_t call_count;
    tg_stop_reason stop;
} grpc_chat;

static tg_rpc_code code_of(unsigned status)
{
    switch (status) {
    case 400:
    case 402:
    case 413: return status == 402 ? TG_RPC_FAILED_PRECONDITION : TG_RPC_INVALID_ARGUMENT;
    case 401: return TG_RPC_UNAUTHENTICATED;
    case 403: return TG_RPC_PERMISSION_DENIED;
    case 404: return TG_RPC_NOT_FOUND;
    case 429: return TG_RPC_RESOURCE_EXHAUSTED;
    case 504: return TG_RPC_DEADLINE_EXCEEDED;
    case 502:
    case 503: return TG_RPC_UNAVAILABLE;
    default: return TG_RPC_INTERNAL;
    }
}

static void count(tg_router *router, unsigned code)
{
    const char *const labels[] = {"grpc", tg_rpc_code_name((tg_rpc_code)code)};
    tg_counter_add(tg_counter_of(router->metrics.requests, labels), 1);
}

static void fail(tg_router *router, tg_rpc_call *call, const tg_edge_problem *problem)
{
    tg_rpc_code code = code_of(problem->status);
    if (problem->code && *problem->code)
        tg_rpc_call_add_trailing(call, "x-tollgate-error", tg_str_of(problem->code));
    tg_rpc_fail(call, code, "%s", problem->message);
    count(router, code);
}

static void headers_of(tg_rpc_call *call, const Tollgate__V1__ChatRequest *in, tg_edge_headers *ret)
{
    *ret = (tg_edge_headers){
        .authorization = tg_rpc_call_metadata(call, "authorization"),
        .x_api_key = tg_rpc_call_metadata(call, "x-api-key"),
        .x_tenant = tg_rpc_call_metadata(call, "x-tenant"),
        .x_task_type = tg_rpc_call_metadata(call, "x-task-type"),
        .x_data_class = tg_rpc_call_metadata(call, "x-data-class"),
        .x_latency_budget_ms = tg_rpc_call_metadata(call, "x-latency-budget-ms"),
        .x_request_id = tg_rpc_call_metadata(call, "x-request-id"),
        .traceparent = tg_rpc_call_metadata(call, "traceparent"),
    };
    if (in && ret->x_task_type.len == 0)
        ret->x_task_type = tg_str_of(in->task_type);
    if (in && ret->x_request_id.len == 0)
        ret->x_request_id = tg_str_of(in->client_request_id);
}

static int role_of(const char *text, tg_role *ret)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (tg_role)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* A text of the message, copied; what is no UTF-8 is refused by the field's name. */
static int copy_text(const char *text, size_t index, const char *field, tg_arena *arena,
                     tg_error *err, tg_chat_request *out, tg_str *ret)
{
    if (!tg_utf8_valid(text, strlen(text)))
        return tg_error_set(err, -EINVAL, "messages[%zu].%s is not valid UTF-8", index, field);
    *ret = tg_str_of(tg_arena_strdup(arena, tg_str_of(text)));
    if (!ret->data)
        return -ENOMEM;
    tg_chat_count_text(out, *ret);
    return 0;
}

static int decode_message(const Tollgate__V1__ChatMessage *m, size_t i, tg_json_doc *doc,
                          tg_arena *arena, tg_error *err, tg_chat_request *out,
                          tg_chat_message *ret)
{
    if (role_of(m->role, &ret->role) < 0)
        return tg_error_set(err, -EINVAL,
                            "messages[%zu].role: '%s'; allowed are system, user, assistant, tool",
                            i, m->role);
    int rc = copy_text(m->content, i, "content", arena, err, out, &ret->text);
    if (rc == 0 && ret->role == TG_ROLE_TOOL)
        rc = *m->tool_call_id
                 ? copy_text(m->tool_call_id, i, "tool_call_id", arena, err, out, &ret->call_id)
                 : tg_error_set(err, -EINVAL, "messages[%zu].tool_call_id: empty", i);
    if (rc == 0 && ret->role == TG_ROLE_ASSISTANT)
        rc = copy_text(m->reasoning, i, "reasoning", arena, err, out, &ret->reasoning);
    if (rc == 0 && *m->tool_calls_json) {
        rc = tg_dialect_decode_calls(doc, tg_str_of(m->tool_calls_json), arena, err, out, ret);
        if (rc < 0)
            tg_error_prefix(err, "messages[%zu]", i);
    }
    return rc;
}

/* A JSON schema has to be an object here, as over HTTP. */
static int decode_schema(const char *schema, tg_json_doc *doc, tg_error *err, tg_chat_request *ret)
{
    tg_json root;
    int rc = tg_json_parse(doc, tg_str_of(schema), TG_CODEC_BODY_MAX, err, &root);
    if (rc == -ENOMEM)
        return rc;
    if (rc < 0)
        tg_error_prefix(err, "response_format.json_schema is not valid JSON");
    else if (tg_json_type_of(root) != TG_JSON_OBJECT)
        rc = tg_error_set(err, -EINVAL, "response_format.json_schema must be a JSON object");
    ret->form = TG_FORM_JSON_SCHEMA;
    ret->schema = tg_str_of(schema);
    tg_chat_count_text(ret, ret->schema);
    return rc < 0 ? -EINVAL : 0;
}

/* Texts are copied: the message does not outlive the handler. */
static int decode_form(const Tollgate__V1__Constraint *in, tg_json_doc *doc, tg_arena *arena,
                       tg_error *err, tg_chat_request *ret)
{
    const size_t count = in->choice ? in->choice->n_values : 1;
    char *const *texts = in->choice ? in->choice->values : &in->regex;
    if (in->json_object + (*in->json_schema != '\0') + (*in->regex != '\0') +
            (in->choice != NULL) !=
        1)
        return tg_error_set(err, -EINVAL,
                            "response_format: exactly one of json_object, json_schema, regex and "
                            "choice must be given");
    if (in->json_object)
        ret->form = TG_FORM_JSON_OBJECT;
    if (*in->json_schema) {
        const char *copy = tg_arena_strdup(arena, tg_str_of(in->json_schema));
        return copy ? decode_schema(copy, doc, err, ret) : -ENOMEM;
    }
    if (in->json_object)
        return 0;
    if (count == 0 || count > TG_CHAT_CHOICES_MAX)
        return tg_error_set(err, -EINVAL, "response_format.choice: %zu texts; 1 to %d are allowed",
                            count, TG_CHAT_CHOICES_MAX);
    tg_str *copies = tg_arena_zalloc(arena, count, sizeof *copies);
    ret->form = in->choice ? TG_FORM_CHOICE : TG_FORM_REGEX;
    ret->form_texts = copies;
    for (; copies && ret->form_text_count < count; ret->form_text_count++) {
        const char *text = texts[ret->form_text_count];
        if (!tg_utf8_valid(text, strlen(text)))
            return tg_error_set(err, -EINVAL, "response_format.%s is not valid UTF-8",
                                in->choice ? "choice" : "regex");
        copies[ret->form_text_count] = tg_str_of(tg_arena_strdup(arena, tg_str_of(text)));
        if (!copies[ret->form_text_count].data)
            return -ENOMEM;
    }
    return copies ? 0 : -ENOMEM;
}

static int decode(const Tollgate__V1__ChatRequest *in, bool stream, tg_json_doc *doc,
                  tg_arena *arena, tg_error *err, tg_chat_request *ret)
{
    if (in->n_messages == 0 || in->n_messages > TG_CHAT_MESSAGES_MAX)
        return tg_error_set(err, -EINVAL, "messages: %zu given; allowed are 1 to %d",
                            in->n_messages, TG_CHAT_MESSAGES_MAX);
    if (in->n_stop > TG_CHAT_STOPS_MAX)
        return tg_error_set(err, -EINVAL, "stop: at most %d strings", TG_CHAT_STOPS_MAX);
    tg_chat_message *messages = tg_arena_zalloc(arena, in->n_messages, sizeof *messages);
    tg_str *stops = tg_arena_zalloc(arena, in->n_stop + 1, sizeof *stops);
    if (!messages || !stops)
        return -ENOMEM;
    *ret = (tg_chat_request){
        .dialect = TG_DIALECT_TOLLGATE,
        .messages = messages,
        .message_count = in->n_messages,
        .max_tokens = in->max_tokens,
        .has_temperature = in->has_temperature,
        .temperature = (double)in->temperature,
        .has_top_p = in->has_top_p,
        .top_p = (double)in->top_p,
        .has_seed = in->has_seed,
        .seed = in->seed,
        .stops = stops,
        .stop_count = in->n_stop,
        .one_call = in->one_tool_call,
        .stream = stream,
    };
    ret->model.data = tg_arena_strdup(arena, tg_str_of(in->model));
    ret->model.len = strlen(in->model);
    for (size_t i = 0; i < in->n_messages; i++) {
        int rc = decode_message(in->messages[i], i, doc, arena, err, ret, &messages[i]);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < in->n_stop; i++)
        stops[i] = tg_str_of(tg_arena_strdup(arena, tg_str_of(in->stop[i])));
    if (in->response_format) {
        int rc = decode_form(in->response_format, doc, arena, err, ret);
        if (rc < 0)
            return rc;
    }
    return tg_dialect_decode_tools(doc, tg_str_of(in->tools_json), tg_str_of(in->tool_choice),
                                   arena, err, ret);
}

/* ---- messages out ---- */

static Tollgate__V1__FinishReason finish_of(tg_stop_reason stop)
{
    return stop == TG_STOP_TOOLS ? TOLLGATE__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS
           : stop == TG_STOP_LENGTH ? TOLLGATE__V1__FINISH_REASON__FINISH_REASON_LENGTH
                                  : TOLLGATE__V1__FINISH_REASON__FINISH_REASON_STOP;
}

static void fill_route(Tollgate__V1__RouteTaken *route, const tg_usage_event *e)
{
    tollgate__v1__route_taken__init(route);
    route->request_id = (char *)e->request_id;
    route->target = (char *)e->target;
    route->endpoint = (char *)e->endpoint;
    route->rule = (char *)e->rule;
    route->attempt = e->attempt;
    route->cost_picousd = e->cost_picousd;
    route->model = (char *)(e->model_answered[0] ? e->model_answered : e->model_sent);
}

static void fill_usage(Tollgate__V1__TokenUsage *usage, const tg_usage_event *e)
{
    tollgate__v1__token_usage__init(usage);
    usage->input_tokens = e->tokens.input;
    usage->cache_read_tokens = e->tokens.cache_read;
    usage->cache_write_5m_tokens = e->tokens.cache_write_5m;
    usage->cache_write_1h_tokens = e->tokens.cache_write_1h;
    usage->output_tokens = e->tokens.output;
    usage->reasoning_tokens = e->tokens.reasoning;
    usage->input_source = (Tollgate__V1__CountSource)e->input_source;
    usage->output_source = (Tollgate__V1__CountSource)e->output_source;
}

/* What an attempt has said so far is void. */
static void forget(grpc_chat *g)
{
    tg_buf_clear(&g->text);
    tg_buf_clear(&g->reasoning);
    for (size_t i = 0; i < g->call_count; i++)
        tg_buf_free(&g->calls[i].arguments);
    g->call_count = 0;
}

static void grpc_chat_free(grpc_chat *g)
{
    forget(g);
    tg_edge_chat_free(&g->chat);
    tg_buf_free(&g->text);
    tg_buf_free(&g->reasoning);
    free(g);
}

static void send_text(grpc_chat *g)
{
    Tollgate__V1__ChatEvent event = TOLLGATE__V1__CHAT_EVENT__INIT;
    Tollgate__V1__RouteTaken route;
    if (!g->begun) {
        fill_route(&route, &g->route);
        event.event_case = TOLLGATE__V1__CHAT_EVENT__EVENT_START;
        event.start = &route;
        g->begun = true;
        tg_rpc_send(g->call, &event.base);
    }
    if (g->text.len == 0)
        return;
    event.event_case = TOLLGATE__V1__CHAT_EVENT__EVENT_TEXT;
    event.text = g->text.data;
    tg_rpc_send(g->call, &event.base);
    tg_buf_clear(&g->text);
    if (tg_rpc_send_queued(g->call) > TG_RPC_SEND_QUEUE_MAX / 2 && g->chat.dispatch)
        tg_dispatch_pause(g->chat.dispatch, true);
}

static void on_drain(tg_rpc_call *call, void *user)
{
    grpc_chat *g = user;
    (void)call;
    if (g->chat.dispatch && !g->gone)
        tg_dispatch_pause(g->chat.dispatch, false);
}

static void on_attempt(void *user, const tg_usage_event *event)
{
    grpc_chat *g = user;
    g->route = *event;
    g->stop = TG_STOP_NONE;
    forget(g);
}

/* Streamed: thoughts and calls, after what text waits. */
static void send_more(grpc_chat *g, const tg_chat_event *from)
{
    Tollgate__V1__ChatEvent event = TOLLGATE__V1__CHAT_EVENT__INIT;
    Tollgate__V1__ToolCallDelta call = TOLLGATE__V1__TOOL_CALL_DELTA__INIT;
    tg_arena arena;
    tg_arena_init(&arena, TG_RPC_MESSAGE_MAX);
    char *text = tg_arena_strdup(&arena, from->text), *id = tg_arena_strdup(&arena, from->call_id);
    char *name = tg_arena_strdup(&arena, from->call_name);
    send_text(g);
    event.event_case = from->type == TG_CHAT_REASONING ? TOLLGATE__V1__CHAT_EVENT__EVENT_REASONING
                                                       : TOLLGATE__V1__CHAT_EVENT__EVENT_TOOL_CALL;
    if (from->type == TG_CHAT_REASONING) {
        event.reasoning = text;
    } else {
        event.tool_call = &call;
        call.index = from->call;
        call.id = id;
        call.name = name;
        call.arguments = text;
    }
    if (text && id && name)
        tg_rpc_send(g->call, &event.base);
    tg_arena_free(&arena);
}

/* Plain: they wait for the end. Calls past TG_CHAT_TOOLS_MAX are not told. */
static void collect(grpc_chat *g, const tg_chat_event *event)
{
    if (event->type == TG_CHAT_REASONING) {
        tg_buf_add_str(&g->reasoning, event->text);
    } else if (event->type == TG_CHAT_ARGUMENTS) {
        if (event->call < g->call_count)
            tg_buf_add_str(&g->calls[event->call].arguments, event->text);
    } else if (event->call == g->call_count && g->call_count < TG_CHAT_TOOLS_MAX) {
        tg_arena *arena = &g->chat.arena;
        if (!g->calls)
            g->calls = tg_arena_zalloc(arena, TG_CHAT_TOOLS_MAX, sizeof *g->calls);
        if (!g->calls)
            return;
        grpc_call *call = &g->calls[g->call_count];
        *call = (grpc_call){
            tg_arena_strdup(arena, event->call_id), tg_arena_strdup(arena, event->call_name), {0}};
        tg_buf_init(&call->arguments, TG_RPC_MESSAGE_MAX / 2);
        g->call_count += call->id && call->name;
    }
}

static void on_event(void *user, const tg_chat_event *event)
{
    grpc_chat *g = user;
    if (g->gone)
        return;
    g->in_event = true;
    if (event->type == TG_CHAT_START && event->model.len > 0)
        tg_str_copy(g->route.model_answered, sizeof g->route.model_answered, event->model);
    if (event->type == TG_CHAT_STOP)
        g->stop = event->stop;
    if (event->type == TG_CHAT_TEXT && event->text.len > 0) {
        tg_buf_add_str(&g->text, event->text);
        if (g->stream)
            send_text(g);
    } else if (tg_chat_is_output(event)) {
        if (g->stream)
            send_more(g, event);
        else
            collect(g, event);
    }
    g->in_event = false;
}

static void finish_ok(grpc_chat *g, const tg_usage_event *e)
{
    Tollgate__V1__ChatResponse response = TOLLGATE__V1__CHAT_RESPONSE__INIT;
    Tollgate__V1__RouteTaken route;
    Tollgate__V1__TokenUsage usage;
    fill_route(&route, e);
    fill_usage(&usage, e);
    response.route = &route;
    response.usage = &usage;
    response.finish = finish_of(g->stop);
    if (g->stream) {
        Tollgate__V1__ChatEvent event = TOLLGATE__V1__CHAT_EVENT__INIT;
        send_text(g);
        event.event_case = TOLLGATE__V1__CHAT_EVENT__EVENT_END;
        event.end = &response;
        tg_rpc_send(g->call, &event.base);
        tg_rpc_finish(g->call, TG_RPC_OK, "");
    } else {
        response.text = g->text.data ? g->text.data : (char *)"";
        response.reasoning = g->reasoning.data ? g->reasoning.data : (char *)"";
        Tollgate__V1__ToolCallDelta calls[TG_CHAT_TOOLS_MAX], *pointers[TG_CHAT_TOOLS_MAX];
        for (size_t i = 0; i < g->call_count; i++) {
            tollgate__v1__tool_call_delta__init(&calls[i]);
            calls[i].index = (uint32_t)i;
            calls[i].id = g->calls[i].id;
            calls[i].name = g->calls[i].name;
            calls[i].arguments =
                g->calls[i].arguments.data ? g->calls[i].arguments.data : calls[i].arguments;
            pointers[i] = &calls[i];
        }
        response.n_tool_calls = g->call_count;
        response.tool_calls = pointers;
        tg_rpc_reply(g->call, &response.base);
    }
    count(g->chat.router, TG_RPC_OK);
}

static void on_done(void *user, const tg_dispatch_result *result)
{
    grpc_chat *g = user;
    tg_rpc_call_set_user(g->call, NULL);
    if (result->end == TG_DISPATCH_OK) {
        finish_ok(g, result->event);
    } else {
        tg_rpc_code code =
            result->end == TG_DISPATCH_BROKEN ? TG_RPC_UNAVAILABLE : code_of(result->status);
        if (g->stream && g->begun)
            tg_rpc_finish(g->call, code, result->message);
        else
            tg_rpc_fail(g->call, code, "%s", result->message);
        count(g->chat.router, code);
    }
    grpc_chat_free(g);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    grpc_chat *g = user;
    if (!g)
        return;
    tg_rpc_call_set_user(call, NULL);
    g->gone = true;
    tg_rpc_fail(call, TG_RPC_CANCELLED, "cancelled by the client");
    count(g->chat.router, TG_RPC_CANCELLED);
    grpc_chat_free(g); /* cancels the upstream at once; cancellation never comes inside on_event */
}

/* ---- methods ---- */

static void on_planned(void *user, int rc, const tg_edge_problem *problem)
{
    static const tg_edge_problem memory = {
        .status = 500, .type = "api_error", .code = "", .message = "out of memory"};
    grpc_chat *g = user;
    if (rc == 0) {
        if (tg_edge_chat_dispatch(&g->chat, on_attempt, on_event, on_done, g) == 0)
            return;
        problem = &memory;
    }
    tg_rpc_call_set_user(g->call, NULL);
    fail(g->chat.router, g->call, problem);
    grpc_chat_free(g);
}

static void start(tg_router *router, tg_rpc_call *call, const Tollgate__V1__ChatRequest *in,
                  bool stream)
{
    tg_edge_problem problem = {
        .status = 500, .type = "api_error", .code = "", .message = "out of memory"};
    tg_edge_headers headers;
    tg_error err = {""};
    grpc_chat *g = calloc(1, sizeof *g);
    if (!g) {
        fail(router, call, &problem);
        return;
    }
    g->call = call;
    g->stream = stream;
    tg_buf_init(&g->text, TG_RPC_MESSAGE_MAX / 2);
    tg_buf_init(&g->reasoning, TG_RPC_MESSAGE_MAX / 2);
    headers_of(call, in, &headers);
    if (tg_edge_chat_begin(router, &headers, &g->chat, &problem) < 0) {
        fail(router, call, &problem);
        free(g);
        return;
    }
    int rc = decode(in, stream, router->doc, &g->chat.arena, &err, &g->chat.request);
    if (rc < 0) {
        problem = (tg_edge_problem){.status = 400, .code = "invalid_request"};
        tg_str_copy(problem.message, sizeof problem.message,
                    tg_str_of(err.text[0] ? err.text : "the request is too large"));
    } else {
        tg_rpc_call_set_user(call, g);
        tg_rpc_call_on_cancel(call, on_cancel);
        tg_rpc_call_on_drain(call, on_drain);
        rc = tg_edge_chat_plan(&g->chat, on_planned, g, &problem);
    }
    if (rc != -EINPROGRESS)
        on_planned(g, rc, &problem);
}

static void on_chat(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    start(service, call, (const Tollgate__V1__ChatRequest *)request, false);
}

static void on_chat_stream(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    start(service, call, (const Tollgate__V1__ChatRequest *)request, true);
}

static void reply_plan(tg_rpc_call *call, const tg_edge_chat *chat)
{
    const tg_plan *plan = chat->plan;
    tg_arena *arena = tg_rpc_call_arena(call);
    Tollgate__V1__RouteResponse out = TOLLGATE__V1__ROUTE_RESPONSE__INIT;
    Tollgate__V1__RouteCandidate *lines =
        tg_arena_zalloc(arena, plan->trace_count + 1, sizeof *lines);
    Tollgate__V1__RouteCandidate **trace =
        tg_arena_zalloc(arena, plan->trace_count + 1, sizeof *trace);
    char **targets = tg_arena_zalloc(arena, plan->step_count + 1, sizeof *targets);
    if (!lines || !trace || !targets) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    for (size_t i = 0; i < plan->trace_count; i++) {
        tollgate__v1__route_candidate__init(&lines[i]);
        lines[i].target = (char *)plan->trace[i].target;
        lines[i].kept = plan->trace[i].kept;
        lines[i].reason = (char *)plan->trace[i].reason;
        lines[i].max_cost_picousd = plan->trace[i].cost_bound;
        trace[i] = &lines[i];
    }
    for (size_t i = 0; i < plan->step_count; i++)
        targets[i] = (char *)tg_targets_at(chat->live->targets, (size_t)plan->steps[i].target)->id;
    out.rule = (char *)(plan->rule ? plan->rule : "");
    out.n_targets = plan->step_count;
    out.targets = targets;
    out.n_trace = plan->trace_count;
    out.trace = trace;
    out.max_tokens = (uint32_t)plan->max_tokens;
    out.refusal = (char *)(plan->refusal == TG_REFUSAL_NONE ? "" : plan->refusal_text);
    tg_rpc_reply(call, &out.base);
}

static void on_route(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    const Tollgate__V1__RouteRequest *in = (const Tollgate__V1__RouteRequest *)request;
    tg_router *router = service;
    tg_edge_problem problem = {.status = 400, .code = "invalid_request"};
    tg_edge_headers headers;
    tg_edge_chat chat;
    tg_error err = {""};
    if (!in->chat) {
        tg_rpc_fail(call, TG_RPC_INVALID_ARGUMENT, "chat: missing; it is the request to be routed");
        return;
    }
    headers_of(call, in->chat, &headers);
    if (tg_edge_chat_begin(router, &headers, &chat, &problem) < 0) {
        fail(router, call, &problem);
        return;
    }
    int rc = decode(in->chat, false, router->doc, &chat.arena, &err, &chat.request);
    if (rc < 0)
        tg_str_copy(problem.message, sizeof problem.message, tg_str_of(err.text));
    else
        rc = tg_edge_chat_explain(&chat, &problem);
    if (rc < 0)
        fail(router, call, &problem);
    else
        reply_plan(call, &chat);
    tg_edge_chat_free(&chat);
}

tg_rpc_service tg_edge_grpc_service(tg_router *router)
{
    static const tg_rpc_method methods[] = {
        {"Chat", false, on_chat}, {"ChatStream", true, on_chat_stream}, {"Route", false, on_route}};
    return (tg_rpc_service){.descriptor = &tollgate__v1__router__descriptor,
                            .methods = methods,
                            .method_count = sizeof methods / sizeof *methods,
                            .user = router};
}
