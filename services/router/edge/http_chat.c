/* Chat over HTTP, plain and streamed: the client's bytes in, the client's dialect out. */
#include "services/router/edge/http.h"

#include "libs/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct http_chat {
    tg_edge_chat chat;
    tg_http_exchange *x;
    tg_dialect dialect;
    tg_client_encoder encoder;
    bool encoder_ready;
    tg_buf out;    /* encoded and not yet sent; void when another attempt begins */
    bool begun;    /* the stream's header has left */
    bool in_event; /* inside a dispatch callback: freeing has to wait */
    bool gone;     /* the client left, or cannot keep up */
    tg_list doomed_node;
    tg_usage_event route; /* of the attempt under way */
} http_chat;

static const char *edge_name(const http_chat *h)
{
    return h->dialect == TG_DIALECT_ANTHROPIC ? "anthropic" : "openai";
}

static void http_chat_free(http_chat *h)
{
    tg_list_remove(&h->doomed_node);
    tg_edge_chat_free(&h->chat);
    if (h->encoder_ready)
        tg_client_encoder_free(&h->encoder);
    tg_buf_free(&h->out);
    free(h);
}

static void doom(http_chat *h)
{
    h->gone = true;
    if (h->doomed_node.next == &h->doomed_node)
        tg_list_add_tail(&h->chat.router->doomed, &h->doomed_node);
}

void tg_edge_http_sweep(tg_router *router)
{
    while (!tg_list_empty(&router->doomed))
        http_chat_free(TG_CONTAINER_OF(router->doomed.next, http_chat, doomed_node));
}

/* ---- the client ---- */

static void on_abort(void *user)
{
    http_chat *h = user;
    h->x = NULL;
    if (h->in_event)
        doom(h);
    else
        http_chat_free(h); /* cancels the upstream at once */
}

static void on_writable(void *user)
{
    http_chat *h = user;
    if (!h->gone && h->chat.dispatch)
        tg_dispatch_pause(h->chat.dispatch, false);
}

static void begin_stream(http_chat *h)
{
    tg_buf routing;
    tg_buf_init(&routing, 1024);
    tg_edge_routing(&h->route, false, &routing);
    tg_http_header headers[] = {
        {TG_STR("x-tollgate-routing"), tg_buf_str(&routing)},
        {TG_STR("x-request-id"), tg_str_of(h->chat.request_id)},
        {TG_STR("cache-control"), TG_STR("no-cache")},
    };
    tg_http_stream_begin(h->x, 200, "text/event-stream; charset=utf-8", headers, 3);
    tg_buf_free(&routing);
    h->begun = true;
    tg_edge_http_count(h->chat.router, edge_name(h), 200);
}

static void flush(http_chat *h)
{
    if (h->gone || !h->x || h->out.len == 0)
        return;
    int rc = tg_http_stream_write(h->x, tg_buf_str(&h->out));
    tg_buf_clear(&h->out);
    if (rc == -ENOBUFS && h->x) { /* a client that does not read: its bound is write_buffer_max */
        tg_http_stream_cut(h->x);
        h->x = NULL;
        doom(h);
    } else if (rc == 0 && h->x && tg_http_stream_full(h->x) && h->chat.dispatch) {
        tg_dispatch_pause(h->chat.dispatch, true);
    }
}

/* ---- the dispatch ---- */

static void on_attempt(void *user, const tg_usage_event *event)
{
    http_chat *h = user;
    const tg_edge_chat *chat = &h->chat;
    h->route = *event;
    if (h->encoder_ready)
        tg_client_encoder_free(&h->encoder);
    bool same = (h->dialect == TG_DIALECT_OPENAI && strcmp(event->provider, "openai") == 0) ||
                (h->dialect == TG_DIALECT_ANTHROPIC && strcmp(event->provider, "anthropic") == 0);
    tg_client_encoder_init(&h->encoder, &chat->request, same, chat->request_id,
                           tg_clock_wall_ns() / 1000000000u);
    /* What runs, where the answer does not say it itself (Bedrock). */
    tg_str_copy(h->encoder.model, sizeof h->encoder.model, tg_str_of(event->model_sent));
    h->encoder_ready = true;
    tg_buf_clear(&h->out);
}

static void on_event(void *user, const tg_chat_event *event)
{
    http_chat *h = user;
    if (h->gone)
        return;
    h->in_event = true;
    if (tg_client_encoder_event(&h->encoder, event, &h->out) < 0)
        doom(h);
    if (h->chat.request.stream && !h->gone && h->x) {
        if (!h->begun && tg_chat_is_output(event))
            begin_stream(h);
        if (h->begun)
            flush(h);
    }
    h->in_event = false;
}

static void end_plain(http_chat *h, const tg_usage_event *event)
{
    tg_buf routing;
    tg_buf_init(&routing, 1024);
    tg_edge_routing(event, true, &routing);
    tg_http_header headers[] = {
        {TG_STR("x-tollgate-routing"), tg_buf_str(&routing)},
        {TG_STR("x-request-id"), tg_str_of(h->chat.request_id)},
    };
    tg_buf_clear(&h->out);
    tg_client_encoder_end(&h->encoder, &event->tokens, NULL, &h->out);
    tg_http_reply(h->x, 200, "application/json", headers, 2, tg_buf_str(&h->out));
    tg_edge_http_count(h->chat.router, edge_name(h), 200);
    tg_buf_free(&routing);
}

static void end_stream(http_chat *h, const tg_usage_event *event)
{
    tg_buf routing;
    tg_buf_init(&routing, 1024);
    tg_buf_add_text(&routing, "x-tollgate-routing: ");
    tg_edge_routing(event, true, &routing);
    if (!h->begun)
        begin_stream(h);
    tg_client_encoder_end(&h->encoder, &event->tokens, routing.data, &h->out);
    flush(h);
    if (h->x)
        tg_http_stream_end(h->x);
    tg_buf_free(&routing);
}

static void end_failed(http_chat *h, const tg_dispatch_result *result)
{
    tg_edge_problem problem = {.status = result->status,
                               .type = result->error_type,
                               .code = "upstream_error",
                               .retry_after_ms = result->retry_after_ms};
    if (result->event)
        snprintf(problem.message, sizeof problem.message, "target %s, attempt %u: %s",
                 result->event->target, result->event->attempt, result->message);
    else
        snprintf(problem.message, sizeof problem.message, "%s", result->message);
    tg_edge_http_problem(h->chat.router, h->x, h->dialect, &problem, h->chat.request_id);
}

static void on_done(void *user, const tg_dispatch_result *result)
{
    http_chat *h = user;
    h->in_event = true;
    if (h->x && !h->gone) {
        if (result->end == TG_DISPATCH_OK && h->chat.request.stream) {
            end_stream(h, result->event);
        } else if (result->end == TG_DISPATCH_OK) {
            end_plain(h, result->event);
        } else if (result->end == TG_DISPATCH_FAILED) {
            end_failed(h, result);
        } else {
            tg_client_encoder_broken(&h->encoder, result->message, &h->out);
            flush(h);
            if (h->x)
                tg_http_stream_cut(h->x);
        }
    }
    h->x = NULL;
    http_chat_free(h);
}

/* ---- a request arrives ---- */

static void on_planned(void *user, int rc, const tg_edge_problem *problem)
{
    static const tg_edge_problem memory = {
        .status = 500, .type = "api_error", .code = "", .message = "out of memory"};
    http_chat *h = user;
    if (rc == 0) {
        if (tg_edge_chat_dispatch(&h->chat, on_attempt, on_event, on_done, h) == 0)
            return;
        problem = &memory;
    }
    tg_edge_http_problem(h->chat.router, h->x, h->dialect, problem, h->chat.request_id);
    h->x = NULL;
    http_chat_free(h);
}

void tg_edge_http_chat(tg_router *router, tg_http_exchange *x, const tg_http_request *request,
                       tg_dialect dialect)
{
    tg_edge_headers headers;
    tg_edge_problem problem = {
        .status = 500, .type = "api_error", .code = "", .message = "out of memory"};
    tg_error err = {""};
    http_chat *h = calloc(1, sizeof *h);
    if (!h) {
        tg_edge_http_problem(router, x, dialect, &problem, NULL);
        return;
    }
    h->x = x;
    h->dialect = dialect;
    tg_list_init(&h->doomed_node);
    tg_buf_init(&h->out, 0);
    tg_edge_http_headers(request, &headers);
    if (tg_edge_chat_begin(router, &headers, &h->chat, &problem) < 0) {
        tg_edge_http_problem(router, x, dialect, &problem, NULL);
        free(h);
        return;
    }
    /* The request outlives the handler, the exchange's bytes do not. */
    tg_str body = {tg_arena_strdup(&h->chat.arena, request->body), request->body.len};
    int rc = body.data ? tg_dialect_decode_request(dialect, router->doc, body, &h->chat.arena, &err,
                                                   &h->chat.request)
                       : -ENOMEM;
    if (rc < 0) {
        problem = (tg_edge_problem){.status = rc == -ENOMEM || rc == -E2BIG ? 413 : 400,
                                    .type = "invalid_request_error",
                                    .code = "invalid_request"};
        snprintf(problem.message, sizeof problem.message, "%s",
                 err.text[0] ? err.text : "the request is too large");
    } else {
        tg_http_exchange_watch(x, on_abort, on_writable, h);
        rc = tg_edge_chat_plan(&h->chat, on_planned, h, &problem);
    }
    if (rc != -EINPROGRESS)
        on_planned(h, rc, &problem);
}
