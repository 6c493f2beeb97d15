/* One chat request inside the router, whatever edge it came through:
 * authenticate → facts → decide → dispatch.
 *
 * The edge decodes the client's bytes into `request` (strings in `arena`), calls tg_edge_chat_plan,
 * and dispatches with its own callbacks, at once or after a private target has told its count of
 * the prompt's tokens. Problems come back as a value that either edge can encode.
 *
 * Ownership: begin makes it, free releases everything, cancelling what is in flight. Threads: the
 * loop's.
 */
#ifndef TG_ROUTER_EDGE_CHAT_H
#define TG_ROUTER_EDGE_CHAT_H

#include "libs/base/trace.h"
#include "services/router/dispatch/count.h"
#include "services/router/router.h"

/* What the headers (HTTP) or metadata (gRPC) say; slices with data NULL where absent. */
typedef struct tg_edge_headers {
    tg_str authorization; /* "Bearer <key>" */
    tg_str x_api_key;
    tg_str x_tenant;
    tg_str x_task_type;
    tg_str x_data_class;
    tg_str x_latency_budget_ms;
    tg_str x_request_id;  /* the client's own id: carried along */
    tg_str traceparent;   /* W3C: passed on when valid, else a trace begins here */
} tg_edge_headers;

/* Why a request is not served. */
typedef struct tg_edge_problem {
    unsigned status;  /* HTTP */
    const char *type; /* authentication_error, invalid_request_error, not_found_error, … */
    const char *code; /* model_not_found, …, or "" */
    char message[512];
    uint64_t retry_after_ms;
} tg_edge_problem;

typedef struct tg_edge_chat {
    tg_router *router;
    tg_live *live; /* a reference */
    const tg_key *key;
    const tg_tenant *tenant;
    tg_arena arena;
    tg_chat_request request;
    tg_facts facts;
    tg_prompt_count counts[TG_DECIDE_COUNTS_MAX];
    const tg_plan *plan;
    tg_count *count; /* being asked for; what follows is for when it has come */
    void (*on_planned)(void *user, int rc, const tg_edge_problem *problem);
    void *user;
    tg_dispatch *dispatch;
    char request_id[TG_UUID_TEXT];
    char traceparent[TG_TRACEPARENT_TEXT];
    const char *client_request_id, *task_type, *data_class, *latency_budget_ms; /* in the arena */
} tg_edge_chat;

/* Authenticates. -EACCES with *problem; nothing to free then. */
int tg_edge_chat_begin(tg_router *router, const tg_edge_headers *headers, tg_edge_chat *ret,
                       tg_edge_problem *problem);
/* Decides what is done. 0; -EPERM for a refusal and -ENOMEM, with *problem; -EINPROGRESS:
 * on_planned(user) will tell one of the others, never from inside, unless the chat is freed
 * before. */
int tg_edge_chat_plan(tg_edge_chat *chat, void (*on_planned)(void *, int, const tg_edge_problem *),
                      void *user, tg_edge_problem *problem);
/* Decides what would be done, by guesses alone; a refusal is in the plan. 0, or as above. */
int tg_edge_chat_explain(tg_edge_chat *chat, tg_edge_problem *problem);
/* on_done may come from inside. -ENOMEM. */
int tg_edge_chat_dispatch(tg_edge_chat *chat, void (*on_attempt)(void *, const tg_usage_event *),
                          void (*on_event)(void *, const tg_chat_event *),
                          void (*on_done)(void *, const tg_dispatch_result *), void *user);
void tg_edge_chat_free(tg_edge_chat *chat);

/* "target=…; rule=…; attempt=…; cost_usd=…; request=…", cost left out when `with_cost` is false. */
int tg_edge_routing(const tg_usage_event *event, bool with_cost, tg_buf *out);

#endif
