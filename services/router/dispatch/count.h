/* Asks a private target's endpoint how many tokens a prompt is: Inference.CountTokens, once, with
 * little patience.
 *
 * Ownership: the caller owns the count and frees it in or after `done`, or at any time, which
 * cancels it. Target and endpoint need not outlive the start. Threads: the loop's.
 */
#ifndef TG_ROUTER_DISPATCH_COUNT_H
#define TG_ROUTER_DISPATCH_COUNT_H

#include "libs/http/transport.h"
#include "services/router/dialect/codec.h"

/* then the guess stands: a count saves a wrong turn, and is worth no long wait */
#define TG_COUNT_PATIENCE_MS 200

typedef struct tg_count tg_count;
typedef void tg_count_done(void *user, uint64_t tokens); /* 0: no answer */

/* `done` comes once, never from inside. 0; -ENOMEM; as the transport's start. */
int tg_count_start(tg_transport *rpc, const tg_target *target, const tg_endpoint *endpoint,
                   const tg_chat_request *chat, const char *traceparent, tg_count_done *done,
                   void *user, tg_count **ret);
tg_count *tg_count_free(tg_count *count);

#endif
