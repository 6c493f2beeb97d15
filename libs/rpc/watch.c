#include "libs/rpc/watch.h"

#include <stdlib.h>

void tg_watchers_init(tg_watchers *watchers, size_t most)
{
    tg_list_init(&watchers->list);
    watchers->len = 0;
    watchers->most = most;
}

static void end(tg_watcher *w, tg_rpc_code code, const char *why)
{
    tg_list_remove(&w->node);
    w->among->len--;
    tg_rpc_call_set_user(w->call, NULL);
    tg_rpc_finish(w->call, code, why);
    free(w);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    (void)call;
    if (user)
        end(user, TG_RPC_CANCELLED, "");
}

void *tg_watcher_new(tg_watchers *watchers, tg_rpc_call *call, size_t size)
{
    const bool full = watchers->len >= watchers->most;
    tg_watcher *w = full ? NULL : calloc(1, size);
    if (full)
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "at most %zu watchers", watchers->most);
    else if (!w)
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
    if (!w)
        return NULL;
    w->among = watchers;
    w->call = call;
    tg_list_add_tail(&watchers->list, &w->node);
    watchers->len++;
    tg_rpc_call_set_user(call, w);
    tg_rpc_call_on_cancel(call, on_cancel);
    return w;
}

void tg_watchers_end(tg_watchers *watchers, const char *why)
{
    while (!tg_list_empty(&watchers->list))
        end(TG_CONTAINER_OF(watchers->list.next, tg_watcher, node), TG_RPC_UNAVAILABLE, why);
}
