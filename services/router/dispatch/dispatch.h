/* Dispatch: carries a plan out. Attempts one after another, timeouts, fallback until the first
 * token has left for the client, cancellation, and exactly one usage event per attempt.
 *
 * Everything it touches is handed in (transports, clocks, the event sink, the observer), so a
 * simulator can stand in for network, disk and time.
 *
 *     tg_dispatch_new → tg_dispatch_run → on_attempt (on_event…) … → on_done, exactly once
 *
 * on_attempt starts an attempt: whatever on_event delivered before is void (it has not been shown
 * to the client). The first event with text commits: a streaming client has seen it, so there is no
 * fallback any more. For a client that wants one whole answer nothing is shown before on_done, so
 * falling back stays possible to the end. *closed* is written before on_done, so before the
 * answer's last byte.
 *
 * Ownership: the caller owns the dispatch and frees it in or after on_done, or at any time, which
 * cancels it and closes its event as CLIENT_GONE. Request, plan and configuration must outlive it.
 * Threads: the loop's. on_done may come from inside tg_dispatch_run.
 * Bounds: plan->step_count attempts; TG_DISPATCH_ERROR_BODY_MAX bytes of an error answer are kept.
 */
#ifndef TG_ROUTER_DISPATCH_H
#define TG_ROUTER_DISPATCH_H

#include "libs/base/list.h"
#include "libs/http/transport.h"
#include "libs/usage/event.h"
#include "services/router/dialect/codec.h"
#include "services/router/policy/decide.h"

/* bytes of an upstream's error answer that are kept */
#define TG_DISPATCH_ERROR_BODY_MAX ((size_t)64 << 10)
#define TG_DISPATCH_TICK_MS 50 /* how exactly timeouts are kept */
#define TG_NO_SLOT UINT64_MAX  /* an attempt served without a spool record (on_spool_full: allow) */

/* The secrets of one endpoint; empty strings where it needs none. */
typedef struct tg_credential {
    const char *api_key;
    const char *access_key, *secret_key, *session_token;
} tg_credential;

/* How an attempt looked, for health. Rate limits as the answer's headers said. */
typedef struct tg_observation {
    const char *target, *endpoint; /* ids: the documents may have changed since the attempt began */
    uint64_t at_unix_ns;
    uint32_t status; /* HTTP status; gRPC code + 1000; 0: no answer */
    bool success, capacity, quota, timeout, probe;
    uint64_t first_token_ns, total_ns, output_tokens;
    tg_rate_limit rate_limit;
} tg_observation;

/* What dispatch needs from the world. One per process. */
typedef struct tg_dispatch_env {
    tg_transport *http, *rpc;
    uint64_t (*mono_ns)(void);
    uint64_t (*wall_ns)(void);
    void *user; /* handed to the four below */
    /* As tg_spool_opened and tg_spool_closed; `opened` may give TG_NO_SLOT. An error refuses the
     * attempt. */
    int (*opened)(void *user, const tg_usage_event *event, uint64_t *ret_slot);
    int (*closed)(void *user, uint64_t slot, const tg_usage_event *event);
    void (*observe)(void *user, const tg_observation *observation);
    void (*probe)(void *user, const char *target, const char *endpoint, bool begun);
    const char *instance_id;
    tg_json_doc *doc; /* scratch for answers */
    tg_estimates *estimates; /* learns from complete answers, guesses where nothing was reported;
                                may be NULL */
    tg_list active;   /* dispatches in flight; initialised by tg_dispatch_env_init */
    size_t active_count;
} tg_dispatch_env;

void tg_dispatch_env_init(tg_dispatch_env *env);
/* Every TG_DISPATCH_TICK_MS: ends attempts that are past a timeout. */
void tg_dispatch_tick(tg_dispatch_env *env);

typedef enum tg_dispatch_end {
    TG_DISPATCH_OK,
    TG_DISPATCH_FAILED, /* nothing was committed: answer with `status` and `message` */
    TG_DISPATCH_BROKEN  /* the answer broke off after its first token */
} tg_dispatch_end;

typedef struct tg_dispatch_result {
    tg_dispatch_end end;
    unsigned status;         /* FAILED: the HTTP status for the client */
    const char *error_type;  /* FAILED: rate_limit_error, overloaded_error, api_error, … */
    const char *message;
    uint64_t retry_after_ms; /* 0: not said */
    const tg_usage_event *event; /* the last attempt's, closed; NULL when there was none */
} tg_dispatch_result;

typedef struct tg_dispatch_request {
    const tg_chat_request *chat;
    const tg_plan *plan;
    const tg_snapshot *snapshot;
    const tg_credential *const *credentials; /* [target][endpoint] */
    const char *tenant, *key_id, *client_request_id, *policy_version;
    char request_id[TG_UUID_TEXT];
    const char *traceparent; /* the client's, or NULL */
    void (*on_attempt)(void *user, const tg_usage_event *event);
    void (*on_event)(void *user, const tg_chat_event *event);
    void (*on_done)(void *user, const tg_dispatch_result *result);
    void *user;
} tg_dispatch_request;

typedef struct tg_dispatch tg_dispatch;

int tg_dispatch_new(tg_dispatch_env *env, const tg_dispatch_request *request, tg_dispatch **ret);
void tg_dispatch_run(tg_dispatch *dispatch);
void tg_dispatch_pause(tg_dispatch *dispatch, bool paused); /* the client reads slowly */
tg_dispatch *tg_dispatch_free(tg_dispatch *dispatch);

#endif
