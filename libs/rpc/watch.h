/* Streams that clients watch until they leave or the service drains: WatchStatus, WatchBlocks,
 * WatchFleet. Threads: the loop's. */
#ifndef TG_RPC_WATCH_H
#define TG_RPC_WATCH_H

#include "libs/base/list.h"
#include "libs/rpc/rpc.h"

typedef struct tg_watchers {
    tg_list list; /* of tg_watcher */
    size_t len, most;
} tg_watchers;

typedef struct tg_watcher { /* the first member of whatever watches */
    tg_list node;
    tg_watchers *among;
    tg_rpc_call *call;
} tg_watcher;

void tg_watchers_init(tg_watchers *watchers, size_t most);

/* A watcher of `size` bytes, all zero but for its first member. It ends with its call. NULL: there
 * are too many, which the call has been told. */
void *tg_watcher_new(tg_watchers *watchers, tg_rpc_call *call, size_t size);

/* Everybody is told UNAVAILABLE, and why: the service drains. */
void tg_watchers_end(tg_watchers *watchers, const char *why);

#endif
