/* Inference.WatchStatus: what the engine is doing, for health and for people. */
#include "services/inference/serve/inference.h"
#include "services/inference/serve/embed.h"

#include "libs/base/clock.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>

enum { INTERVAL_DEFAULT_MS = 1000, INTERVAL_MIN_MS = 100 };

typedef struct watcher {
    tg_watcher base;
    uint32_t interval_ms;
    uint64_t due_ms;
} watcher;

typedef struct status_message {
    Tollgate__V1__InferenceStatus status;
    Tollgate__V1__Percentiles first_token, inter_token;
} status_message;

static void fill_percentiles(const tg_recent_wait *from, Tollgate__V1__Percentiles *to)
{
    tollgate__v1__percentiles__init(to);
    to->p50_ns = from->p50_ns;
    to->p95_ns = from->p95_ns;
    to->p99_ns = from->p99_ns;
}

static void fill(tg_inference *inference, status_message *message)
{
    Tollgate__V1__InferenceStatus *out = &message->status;
    tg_engine_status s;
    tg_engine_get_status(inference->engine, &s);
    tollgate__v1__inference_status__init(out);
    fill_percentiles(&s.recent.first_token, &message->first_token);
    fill_percentiles(&s.recent.between, &message->inter_token);
    out->first_token = &message->first_token;
    out->inter_token = &message->inter_token;
    out->model = (char *)inference->model;
    out->quantisation = (char *)s.quantisation;
    out->instruction_path = (char *)s.path;
    out->numerics = (char *)s.numerics;
    out->context_limit = s.context_limit;
    out->queue_depth = s.queue_depth;
    out->queue_limit = s.queue_limit;
    out->running = s.running;
    out->running_limit = s.running_limit;
    out->kv_blocks_free = s.kv_blocks_free;
    out->kv_blocks_used = s.kv_blocks_used;
    out->kv_blocks_cached = s.kv_blocks_cached;
    out->prompt_tokens_total = s.prompt_tokens_total;
    out->output_tokens_total = s.output_tokens_total;
    out->draining = tg_service_draining(inference->service);
    out->kv_blocks_total = s.kv_blocks_total;
    out->cached_tokens_total = s.cached_tokens_total;
    out->steps_total = s.steps_total;
    out->preempted_total = s.preempted_total;
    out->prompt_tokens_per_second = s.recent.tokens_in_per_s;
    out->output_tokens_per_second = s.recent.tokens_out_per_s;
    out->age_ns = s.age_ns;
    out->shared_ns = s.shared_ns;
    out->overhead_ns = s.overhead_ns;
    out->idle_ns = s.idle_ns;
}

static void send_status(tg_inference *inference, watcher *w)
{
    status_message message;
    if (tg_rpc_send_queued(w->base.call) > 0)
        return; /* it has not read the last one */
    fill(inference, &message);
    tg_rpc_send(w->base.call, &message.status.base);
}

void tg_inference_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    tg_inference *inference = service;
    const Tollgate__V1__WatchStatusRequest *in = (const Tollgate__V1__WatchStatusRequest *)request;
    uint32_t interval = in->interval_ms ? in->interval_ms : INTERVAL_DEFAULT_MS;
    if (interval < INTERVAL_MIN_MS) {
        tg_rpc_fail(call, TG_RPC_INVALID_ARGUMENT, "interval_ms: %u; at least %d", interval,
                    INTERVAL_MIN_MS);
        return;
    }
    watcher *w = tg_watcher_new(&inference->watchers, call, sizeof *w);
    if (!w)
        return;
    w->interval_ms = interval;
    w->due_ms = tg_clock_mono_ns() / 1000000u + interval;
    send_status(inference, w);
}

void tg_inference_push_status(tg_inference *inference)
{
    uint64_t now_ms = tg_clock_mono_ns() / 1000000u;
    TG_LIST_EACH(node, &inference->watchers.list)
    {
        watcher *w = TG_CONTAINER_OF(node, watcher, base.node);
        if (now_ms < w->due_ms)
            continue;
        w->due_ms = now_ms + w->interval_ms;
        send_status(inference, w);
    }
}

void tg_inference_end_watchers(tg_inference *inference)
{
    TG_LIST_EACH(node, &inference->watchers.list)
        send_status(inference, TG_CONTAINER_OF(node, watcher, base.node));
    tg_watchers_end(&inference->watchers, "draining");
    tg_watchers_end(&inference->block_watchers, "draining");
}

static int count_tokens(tg_inference *inference, tg_rpc_call *call,
                        const Tollgate__V1__CountTokensRequest *in, tg_error *err, uint32_t *ret)
{
    tg_str text = tg_str_of(in->text);
    size_t count = 0;
    const tg_prompt_message *messages =
        in->messages ? tg_inference_messages(call, in->messages, &count, err) : NULL;
    if ((in->messages != NULL) == (text.len > 0))
        return tg_error_set(err, -EINVAL, "exactly one of messages and text must be given");
    if (in->messages && !messages)
        return -ENOMEM;
    const tg_prompt prompt = {.messages = messages,
                              .messages_len = count,
                              .tools = tg_str_of(in->tools_json),
                              .args = tg_str_of(in->template_args_json)};
    return tg_engine_count_tokens(inference->engine, messages ? &prompt : NULL,
                                  messages ? NULL : &text, err, ret);
}

static void on_count(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    Tollgate__V1__CountTokensResponse out = TOLLGATE__V1__COUNT_TOKENS_RESPONSE__INIT;
    tg_error err = {""};
    uint32_t tokens = 0;
    int rc = count_tokens(service, call, (const Tollgate__V1__CountTokensRequest *)request, &err,
                          &tokens);
    out.tokens = tokens;
    if (rc < 0)
        tg_rpc_fail(call, rc == -ENOMEM ? TG_RPC_RESOURCE_EXHAUSTED : TG_RPC_INVALID_ARGUMENT, "%s",
                    err.text);
    else
        tg_rpc_reply(call, &out.base);
}

static void on_embed(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    tg_embedder_serve(((tg_inference *)service)->embedder, call, request);
}

tg_rpc_service tg_inference_rpc_service(tg_inference *inference)
{
    static const tg_rpc_method methods[] = {{"Generate", true, tg_inference_generate},
                                            {"CountTokens", false, on_count},
                                            {"Embed", false, on_embed},
                                            {"WatchStatus", true, tg_inference_watch},
                                            {"WatchBlocks", true, tg_inference_watch_blocks}};
    return (tg_rpc_service){.descriptor = &tollgate__v1__inference__descriptor,
                            .methods = methods,
                            .method_count = sizeof methods / sizeof *methods,
                            .user = inference};
}
