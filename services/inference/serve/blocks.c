/* Inference.WatchBlocks: what comes into the prefix cache and leaves it, for who sends requests where their beginning
 * is cached. */
#include "services/inference/serve/inference.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdlib.h>

enum { EVENTS_MAX = 512 }; /* in a message, one a tick */

typedef struct watcher {
    tg_list node;
    tg_inference *inference;
    tg_rpc_call *call;
    uint64_t from; /* of the engine's events */
    bool began;
} watcher;

static void watcher_end(watcher *w, tg_rpc_code code, const char *why)
{
    tg_list_remove(&w->node);
    w->inference->block_watcher_count--;
    tg_rpc_call_set_user(w->call, NULL);
    tg_rpc_finish(w->call, code, why);
    free(w);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    (void)call;
    if (user)
        watcher_end(user, TG_RPC_CANCELLED, "");
}

static void push(watcher *w)
{
    static tg_kv_event events[EVENTS_MAX]; /* the loop's thread alone comes here */
    static Tollgate__V1__BlockEvent messages[EVENTS_MAX], *pointers[EVENTS_MAX];
    Tollgate__V1__BlockEvents out = TOLLGATE__V1__BLOCK_EVENTS__INIT;
    if (tg_rpc_send_queued(w->call) > 0)
        return; /* it has not read the last one; what it misses by that it is told */
    const int len = tg_engine_block_events(w->inference->engine, &w->from, events, EVENTS_MAX);
    for (int i = 0; i < len; i++) {
        tollgate__v1__block_event__init(&messages[i]);
        messages[i].block = events[i].block;
        messages[i].parent = events[i].parent;
        messages[i].removed = events[i].removed;
        pointers[i] = &messages[i];
    }
    out.reset = !w->began || len == -EOVERFLOW;
    out.n_events = len > 0 ? (size_t)len : 0;
    out.events = pointers;
    w->began = true;
    if (out.reset || len > 0)
        tg_rpc_send(w->call, &out.base);
}

void tg_inference_watch_blocks(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    tg_inference *inference = service;
    watcher *w = inference->block_watcher_count < TG_INFERENCE_BLOCK_WATCHERS_MAX ? calloc(1, sizeof *w) : NULL;
    (void)request;
    if (!w) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "at most %d watchers", TG_INFERENCE_BLOCK_WATCHERS_MAX);
        return;
    }
    w->inference = inference;
    w->call = call;
    w->from = UINT64_MAX;
    tg_list_add_tail(&inference->block_watchers, &w->node);
    inference->block_watcher_count++;
    tg_rpc_call_set_user(call, w);
    tg_rpc_call_on_cancel(call, on_cancel);
    push(w);
}

void tg_inference_push_blocks(tg_inference *inference)
{
    TG_LIST_EACH(node, &inference->block_watchers)
        push(TG_CONTAINER_OF(node, watcher, node));
}

void tg_inference_end_block_watchers(tg_inference *inference)
{
    while (!tg_list_empty(&inference->block_watchers))
        watcher_end(TG_CONTAINER_OF(inference->block_watchers.next, watcher, node), TG_RPC_UNAVAILABLE, "draining");
}
