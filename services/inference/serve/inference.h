/* The inference process: one engine behind tollgate.v1.Inference.
 *
 * Threads: the loop's; the engine runs on its own and hands each step's tokens over in one
 * batch. */
#ifndef TG_INFERENCE_INFERENCE_H
#define TG_INFERENCE_INFERENCE_H

#include "libs/base/id.h"
#include "libs/base/list.h"
#include "libs/config/settings.h"
#include "libs/service/service.h"
#include "libs/usage/publisher.h"
#include "services/inference/engine/engine.h"
#include "services/inference/serve/compile.h"
#include "libs/rpc/watch.h"

#define TG_INFERENCE_WATCHERS_MAX 256 /* WatchStatus streams; more are refused */
#define TG_INFERENCE_BLOCK_WATCHERS_MAX 64 /* of WatchBlocks at a time */
#define TG_INFERENCE_TICK_MS 50
#define TG_INFERENCE_RETRY_MIN_MS 50    /* least that it is told */
/* most that a client is told to wait when the queue is full */
#define TG_INFERENCE_RETRY_MAX_MS 30000

typedef struct tg_inference_metrics {
    tg_metrics *registry;
    tg_metric_family *requests;  /* finish */
    tg_metric_family *refusals;  /* reason */
    tg_gauge *queue_depth, *running, *kv_free, *kv_used, *kv_cached, *memory, *prompt_rate,
        *output_rate;
    tg_counter *prompt_tokens, *cached_tokens, *output_tokens, *steps, *preempted, *masks_put_off;
    tg_counter *busy_ns, *overhead_ns, *idle_ns, *engine_time_published, *engine_time_dropped;
    tg_histogram *queue_ns, *first_token_ns, *decode_ns;
} tg_inference_metrics;

typedef struct tg_inference {
    const tg_inference_settings *settings;
    tg_service *service;
    tg_engine *engine;
    tg_compiler compiler;
    struct tg_embedder *embedder; /* NULL: no encoder is configured */
    struct {
        tg_publisher *publisher; /* NULL: not published */
        char engine_id[TG_UUID_TEXT];
        uint64_t published; /* intervals */
        uint64_t due_ms;
    } engine_time;
    const char *model; /* as shown: settings.model_name, or the file's own */
    uv_async_t wake;    /* a batch is ready */
    uv_timer_t tick;    /* status watchers */
    tg_list generations; /* in flight */
    tg_watchers watchers, block_watchers; /* of WatchStatus, of WatchBlocks */
    int log_fd;         /* request log; -1: off */
    /* when a generation ended last, and how long apart they do, lately */
    uint64_t last_end_ns, end_gap_ns;
    uint64_t rng;       /* seeds of requests that state none */
    tg_inference_metrics metrics;
} tg_inference;

/* The gRPC face. */
tg_rpc_service tg_inference_rpc_service(tg_inference *inference);

/* generate.c */
void tg_inference_generate(void *service, tg_rpc_call *call, const ProtobufCMessage *request);
void tg_inference_drain_engine(tg_inference *inference);
/* Cancels those still in flight when the service's loop has stopped, and runs libuv's until the
 * engine has ended them. */
void tg_inference_end_generations(tg_inference *inference);

/* status.c */
void tg_inference_watch(void *service, tg_rpc_call *call, const ProtobufCMessage *request);
void tg_inference_push_status(tg_inference *inference);
/* of both kinds; of status after a last word: draining */
void tg_inference_end_watchers(tg_inference *inference);

/* blocks.c */
void tg_inference_watch_blocks(void *service, tg_rpc_call *call, const ProtobufCMessage *request);
void tg_inference_push_blocks(tg_inference *inference); /* every TG_INFERENCE_TICK_MS */

/* engine_time.c: tollgate.engine-time.v1, where brokers are configured. */
int tg_inference_engine_time_start(tg_inference *inference, tg_error *err);
void tg_inference_engine_time_tick(tg_inference *inference); /* every TG_INFERENCE_TICK_MS */
/* publishes what is left; before the engine is freed */
void tg_inference_engine_time_stop(tg_inference *inference);

int tg_inference_metrics_init(tg_inference_metrics *metrics);
void tg_inference_metrics_collect(tg_inference *inference);

/* For the files of this folder: messages of the request as the engine wants them, in the call's
 * arena. NULL, with a message, when the arena is exhausted. *ret_count may be more than
 * TG_PROMPT_MESSAGES_MAX, of which no more are there: whoever takes them refuses by the count. */
const struct tg_prompt_message *tg_inference_messages(tg_rpc_call *call, const void *chat_messages,
                                                    size_t *ret_count, tg_error *err);

#endif
