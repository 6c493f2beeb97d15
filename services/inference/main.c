/* tollgate-inference: serves one model from this machine's hardware over gRPC. */
#include "libs/base/clock.h"
#include "libs/base/id.h"
#include "libs/base/log.h"
#include "services/inference/engine/memory.h"
#include "services/inference/engine/public_prompts.h"
#include "services/inference/serve/embed.h"
#include "services/inference/serve/inference.h"
#include "services/inference/serve/request_log.h"

#include <string.h>
#include <unistd.h>

static void on_batch_ready(void *user) /* the engine's thread */
{
    tg_inference *inference = user;
    uv_async_send(&inference->wake);
}

static void on_wake(uv_async_t *async) { tg_inference_drain_engine(async->data); }

static void on_tick(uv_timer_t *timer)
{
    tg_inference_push_status(timer->data);
    tg_inference_push_blocks(timer->data);
    tg_inference_engine_time_tick(timer->data);
}

static void on_collect(void *user) { tg_inference_metrics_collect(user); }

static void on_drain(void *user, tg_service *service)
{
    tg_inference_end_watchers(user); /* tells health before anyone has to find out */
    tg_service_drained(service);     /* gRPC's own drain waits for the generations */
}

static int start_service(tg_inference *inference, tg_error *err)
{
    const tg_inference_settings *s = inference->settings;
    tg_service_conf conf = {
        .name = "inference",
        .settings = &s->common,
        .grpc_listen = s->grpc_listen,
        .metrics = inference->metrics.registry,
        .collect = on_collect,
        .drain = on_drain,
        .user = inference,
    };
    int rc = tg_service_new(&conf, err, &inference->service);
    if (rc == 0)
        rc = uv_async_init(tg_service_uv(inference->service), &inference->wake, on_wake);
    if (rc == 0)
        rc = uv_timer_init(tg_service_uv(inference->service), &inference->tick);
    inference->wake.data = inference->tick.data = inference;
    if (rc == 0)
        rc = uv_timer_start(&inference->tick, on_tick, TG_INFERENCE_TICK_MS, TG_INFERENCE_TICK_MS);
    return rc;
}

typedef struct loading {
    uint64_t began_ns, said_ns;
} loading;

#define SAY_LOADING_NS 2000000000u /* between two lines */

static void on_loading(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    loading *l = user;
    const uint64_t now = tg_clock_mono_ns();
    if (l->began_ns == 0)
        l->began_ns = l->said_ns = now;
    if (done_bytes < total_bytes && now - l->said_ns < SAY_LOADING_NS)
        return;
    l->said_ns = now;
    tg_log(TG_LOG_INFO, "model_loading", "done_bytes", "%llu", (unsigned long long)done_bytes,
           "total_bytes", "%llu", (unsigned long long)total_bytes, "elapsed_ms", "%llu",
           (unsigned long long)((now - l->began_ns) / 1000000), NULL);
}

static int start_engine(tg_inference *inference, tg_error *err)
{
    const tg_inference_settings *s = inference->settings;
    tg_str public_prompts[TG_PUBLIC_PROMPTS_MAX];
    loading progress = {0, 0};
    tg_engine_conf conf = {
        .model_path = s->model_file,
        .chat_template_file = s->chat_template_file,
        .tool_format = s->tool_format,
        .threads = s->threads,
        .max_seqs = s->max_seqs,
        .max_queue = s->max_queue,
        .kv_tokens = s->kv_tokens,
        .kv_type = (tg_kv_type)s->kv_type,
        .step_token_budget = s->step_token_budget,
        .memory_limit_bytes = s->memory_limit_bytes,
        .public_prompts = public_prompts,
        .public_prompts_len = s->public_prompt_count,
        .progress = on_loading,
        .progress_user = &progress,
        .notify = on_batch_ready,
        .notify_user = inference,
    };
    for (size_t i = 0; i < s->public_prompt_count && i < TG_PUBLIC_PROMPTS_MAX; i++)
        public_prompts[i] = tg_str_of(s->public_prompts[i]);
    int rc = tg_engine_new(&conf, err, &inference->engine);
    if (rc == 0) {
        tg_engine_status status;
        tg_compiler_init(&inference->compiler, tg_service_uv(inference->service),
                         inference->engine);
        tg_engine_get_status(inference->engine, &status);
        inference->model = s->model_name && *s->model_name ? s->model_name : status.model;
        tg_log(TG_LOG_INFO, "model_loaded", "model", "%s", status.model, "quantisation", "%s",
               status.quantisation, "path", "%s", status.path, "threads", "%u", status.threads,
               NULL);
        const tg_model *model = tg_engine_model(inference->engine);
        if (model->chat == TG_CHAT_UNSUPPORTED)
            tg_log(TG_LOG_WARN, "chat_template_unsupported", "reason", "%s",
                   model->template_problem, "instead", "%s",
                   "chat_template_file names another; until then messages are refused", NULL);
    }
    return rc;
}

static int start_encoder(tg_inference *inference, tg_error *err)
{
    const tg_inference_settings *s = inference->settings;
    tg_engine_status status;
    if (!*s->embedding_model_file)
        return 0;
    tg_engine_get_status(inference->engine, &status);
    const tg_embed_conf conf = {.threads = status.threads,
                                .pooling = (tg_pooling)s->embedding_pooling,
                                .memory_limit_bytes =
                                    tg_memory_left(s->memory_limit_bytes, status.memory_bytes)};
    return tg_embedder_new(tg_service_uv(inference->service), inference->metrics.registry,
                           s->embedding_model_file, &conf, err, &inference->embedder);
}

static int start(tg_inference *inference, tg_arena *arena, const char *config, tg_error *err)
{
    tg_rpc_service service = tg_inference_rpc_service(inference);
    tg_list_init(&inference->generations);
    tg_watchers_init(&inference->watchers, TG_INFERENCE_WATCHERS_MAX);
    tg_watchers_init(&inference->block_watchers, TG_INFERENCE_BLOCK_WATCHERS_MAX);
    tg_random_bytes(&inference->rng, sizeof inference->rng);
    inference->log_fd = -1;
    int rc = tg_inference_settings_load(config, err, arena, &inference->settings);
    if (rc == 0)
        rc = tg_inference_metrics_init(&inference->metrics);
    if (rc == 0)
        rc = tg_request_log_open(inference->settings->request_log, err, &inference->log_fd);
    if (rc == 0)
        rc = start_service(inference, err);
    if (rc == 0)
        rc = start_engine(inference, err);
    if (rc == 0)
        rc = tg_inference_engine_time_start(inference, err);
    if (rc == 0)
        rc = start_encoder(inference, err);
    if (rc == 0)
        rc = tg_service_listen(inference->service, &service, 1, err);
    return rc;
}

static void stop(tg_inference *inference, tg_arena *arena)
{
    while (inference->compiler.running) /* it reads what the engine owns */
        uv_run(tg_service_uv(inference->service), UV_RUN_ONCE);
    tg_inference_end_generations(inference);
    tg_inference_engine_time_stop(inference);
    inference->engine = tg_engine_free(inference->engine);
    uv_close((uv_handle_t *)&inference->wake, NULL);
    uv_close((uv_handle_t *)&inference->tick, NULL);
    inference->service = tg_service_free(inference->service);
    inference->embedder = tg_embedder_free(inference->embedder);
    inference->metrics.registry = tg_metrics_free(inference->metrics.registry);
    if (inference->log_fd >= 0)
        close(inference->log_fd);
    tg_arena_free(arena);
}

int main(int argc, char **argv)
{
    static tg_inference inference;
    static tg_arena arena; /* of the process: a start that fails leaves it to the exit */
    tg_error err = {""};
    const char *config = tg_service_config_argument(argc, argv, "tollgate-inference");
    tg_rpc_init();
    tg_arena_init(&arena, 0);
    int rc = start(&inference, &arena, config, &err);
    if (rc < 0) {
        tg_log(TG_LOG_ERROR, "start_failed", "reason", "%s", err.text[0] ? err.text : strerror(-rc),
               NULL);
        return 1;
    }
    rc = tg_service_run(inference.service);
    stop(&inference, &arena);
    tg_rpc_shutdown();
    return rc < 0 ? 1 : 0;
}
