/* Builds what one attempt sends: URL, headers and body for a target's provider. */
#ifndef TG_ROUTER_DISPATCH_ASK_H
#define TG_ROUTER_DISPATCH_ASK_H

#include "services/router/dispatch/dispatch.h"

#define TG_ASK_HEADERS_MAX 12 /* headers of one request to an upstream */

typedef struct tg_ask {
    tg_upstream_request request; /* points into the fields below */
    tg_upstream_header headers[TG_ASK_HEADERS_MAX];
    tg_buf url, body, texts; /* texts: header values, one after another */
} tg_ask;

void tg_ask_init(tg_ask *ask);
void tg_ask_free(tg_ask *ask);

/* `event` names request, attempt, tenant and trace. -EINVAL for a missing credential, with a
 * reason. */
int tg_ask_build(tg_ask *ask, const tg_target *target, const tg_endpoint *endpoint,
                 const tg_credential *credential, const tg_chat_request *chat, uint64_t max_tokens,
                 const tg_usage_event *event, uint64_t unix_s, tg_error *err);

#endif
