#include "services/router/dispatch/count.h"

#include "libs/rpc/wire.h"
#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdlib.h>

struct tg_count {
    tg_transport *rpc;
    tg_upstream *upstream; /* NULL: over */
    uint64_t tokens;
    tg_count_done *done;
    void *user;
};

static void on_event(void *user, const tg_upstream_event *event)
{
    tg_count *count = user;
    if (event->type == TG_UPSTREAM_DATA) {
        Tollgate__V1__CountTokensResponse *answer =
            (Tollgate__V1__CountTokensResponse *)tg_rpc_wire_unpack(
                &tollgate__v1__count_tokens_response__descriptor, NULL, event->data, NULL);
        count->tokens = answer ? answer->tokens : 0;
        if (answer)
            tollgate__v1__count_tokens_response__free_unpacked(answer, NULL);
    } else if (event->type == TG_UPSTREAM_END) {
        count->upstream = NULL;
        /* may free it */
        count->done(count->user, event->failure == TG_UPSTREAM_OK ? count->tokens : 0);
    }
}

int tg_count_start(tg_transport *rpc, const tg_target *target, const tg_endpoint *endpoint,
                   const tg_chat_request *chat, const char *traceparent, tg_count_done *done,
                   void *user, tg_count **ret)
{
    tg_buf body;
    const tg_upstream_header trace = {TG_STR("traceparent"), tg_str_of(traceparent)};
    tg_count *count = calloc(1, sizeof *count);
    if (!count)
        return -ENOMEM;
    tg_buf_init(&body, 0);
    *count = (tg_count){.rpc = rpc, .done = done, .user = user};
    int rc = tg_dialect_encode_count(chat, &body);
    const tg_upstream_request request = {.url = endpoint->url,
                                         .method = "/tollgate.v1.Inference/CountTokens",
                                         .headers = &trace,
                                         .header_count = trace.value.len > 0,
                                         .body = tg_buf_str(&body),
                                         .ca_file = endpoint->ca_file,
                                         .connect_timeout_ms = target->connect_timeout_ms,
                                         .total_timeout_ms = TG_COUNT_PATIENCE_MS};
    if (rc == 0)
        rc = rpc->start(rpc, &request, on_event, count, &count->upstream);
    tg_buf_free(&body);
    if (rc < 0)
        free(count);
    else
        *ret = count;
    return rc;
}

tg_count *tg_count_free(tg_count *count)
{
    if (count && count->upstream)
        count->rpc->cancel(count->upstream);
    free(count);
    return NULL;
}
