/* Inference.WatchBlocks: what comes into the prefix cache and leaves it, for who sends requests
 * where their beginning is cached. */
#include "services/inference/serve/inference.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>

enum { EVENTS_MAX = 512 }; /* in a message, one a tick */

typedef struct watcher {
    tg_watcher base;
    uint64_t from; /* of the engine's events */
    bool began;
} watcher;

static void push(tg_inference *inference, watcher *w)
{
    static tg_kv_event events[EVENTS_MAX]; /* the loop's thread alone comes here */
    static Tollgate__V1__BlockEvent messages[EVENTS_MAX], *pointers[EVENTS_MAX];
    Tollgate__V1__BlockEvents out = TOLLGATE__V1__BLOCK_EVENTS__INIT;
    if (tg_rpc_send_queued(w->base.call) > 0)
        return; /* it has not read the last one; what it misses by that it is told */
    const int len = tg_engine_block_events(inference->engine, &w->from, events, EVENTS_MAX);
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
        tg_rpc_send(w->base.call, &out.base);
}

void tg_inference_watch_blocks(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    tg_inference *inference = service;
    watcher *w = tg_watcher_new(&inference->block_watchers, call, sizeof *w);
    (void)request;
    if (!w)
        return;
    w->from = UINT64_MAX;
    push(inference, w);
}

void tg_inference_push_blocks(tg_inference *inference)
{
    TG_LIST_EACH(node, &inference->block_watchers.list)
        push(inference, TG_CONTAINER_OF(node, watcher, base.node));
}
