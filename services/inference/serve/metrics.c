#include "services/inference/serve/inference.h"

#include <errno.h>

int tg_inference_metrics_init(tg_inference_metrics *i)
{
    tg_metrics *m = i->registry = tg_metrics_new();
    if (!m)
        return -ENOMEM;
    i->requests =
        tg_metrics_counter(m, "tollgate_generations_total", "Generations ended, by how.", "finish");
    i->refusals = tg_metrics_counter(m, "tollgate_generation_refusals_total",
                                     "Generations refused at the door, by reason.", "reason");
    i->queue_depth =
        tg_metrics_one_gauge(m, "tollgate_engine_queue_depth", "Requests waiting for admission.");
    i->running =
        tg_metrics_one_gauge(m, "tollgate_engine_running", "Sequences in the running batch.");
    i->kv_free = tg_metrics_one_gauge(m, "tollgate_engine_kv_blocks_free", "Free KV blocks.");
    i->kv_used = tg_metrics_one_gauge(m, "tollgate_engine_kv_blocks_used",
                                      "KV blocks of running sequences.");
    i->kv_cached = tg_metrics_one_gauge(m, "tollgate_engine_kv_blocks_cached",
                                        "KV blocks kept for prefix reuse.");
    i->memory = tg_metrics_one_gauge(m, "tollgate_engine_memory_bytes", "Weights, KV and scratch.");
    i->prompt_tokens =
        tg_metrics_one_counter(m, "tollgate_engine_prompt_tokens_total", "Prompt tokens admitted.");
    i->cached_tokens = tg_metrics_one_counter(m, "tollgate_engine_cached_tokens_total",
                               "Prompt tokens taken from the prefix cache.");
    i->output_tokens =
        tg_metrics_one_counter(m, "tollgate_engine_output_tokens_total", "Tokens sampled.");
    i->steps = tg_metrics_one_counter(m, "tollgate_engine_steps_total", "Scheduler steps.");
    i->masks_put_off = tg_metrics_one_counter(m, "tollgate_engine_masks_put_off_total",
                                              "Steps that sequences sat out for a mask.");
    i->preempted = tg_metrics_one_counter(m, "tollgate_engine_preempted_total",
                                          "Sequences that gave way to another tenant's.");
    i->busy_ns = tg_metrics_one_counter(m, "tollgate_engine_busy_nanoseconds_total",
                                        "Wall time of steps, as it is divided among tenants.");
    i->overhead_ns =
        tg_metrics_one_counter(m, "tollgate_engine_overhead_nanoseconds_total",
                               "Wall time between steps, and of what was computed anew "
                               "after giving way.");
    i->idle_ns = tg_metrics_one_counter(m, "tollgate_engine_idle_nanoseconds_total",
                                        "Wall time with nothing to do.");
    i->prompt_rate =
        tg_metrics_one_gauge(m, "tollgate_engine_prompt_tokens_per_second",
                             "Prompt tokens admitted in a second, over the last 30 to 60.");
    i->output_rate = tg_metrics_one_gauge(m, "tollgate_engine_output_tokens_per_second",
                                          "Tokens sampled in a second, over the last 30 to 60.");
    i->engine_time_published =
        tg_metrics_one_counter(m, "tollgate_engine_time_published_total",
                               "Intervals of engine time acknowledged by Kafka.");
    i->engine_time_dropped =
        tg_metrics_one_counter(m, "tollgate_engine_time_dropped_total",
                               "Intervals of engine time dropped because Kafka did not take "
                               "them in time.");
    i->queue_ns = tg_metrics_one_histogram(m, "tollgate_engine_queue_seconds",
                                           "From submission to admission.", 1e-9);
    i->first_token_ns = tg_metrics_one_histogram(m, "tollgate_engine_first_token_seconds",
                                  "From submission to the first token.", 1e-9);
    i->decode_ns = tg_metrics_one_histogram(m, "tollgate_engine_inter_token_seconds",
                                            "Mean time between tokens.", 1e-9);
    return i->requests && i->refusals && i->engine_time_dropped && i->overhead_ns && i->idle_ns &&
                   i->decode_ns && i->queue_ns
               ? 0
               : -ENOMEM;
}

static void set_counter(tg_counter *c, uint64_t value)
{
    tg_counter_add(c, value - tg_counter_value(c));
}

void tg_inference_metrics_collect(tg_inference *inference)
{
    tg_inference_metrics *m = &inference->metrics;
    tg_engine_status s;
    tg_engine_get_status(inference->engine, &s);
    tg_gauge_set(m->queue_depth, s.queue_depth);
    tg_gauge_set(m->running, s.running);
    tg_gauge_set(m->kv_free, s.kv_blocks_free);
    tg_gauge_set(m->kv_used, s.kv_blocks_used);
    tg_gauge_set(m->kv_cached, s.kv_blocks_cached);
    tg_gauge_set(m->memory, (int64_t)s.memory_bytes);
    set_counter(m->prompt_tokens, s.prompt_tokens_total);
    set_counter(m->cached_tokens, s.cached_tokens_total);
    set_counter(m->output_tokens, s.output_tokens_total);
    set_counter(m->steps, s.steps_total);
    set_counter(m->preempted, s.preempted_total);
    set_counter(m->masks_put_off, s.masks_put_off_total);
    set_counter(m->busy_ns, s.shared_ns);
    tg_gauge_set(m->prompt_rate, (int64_t)(s.recent.tokens_in_per_s + 0.5));
    tg_gauge_set(m->output_rate, (int64_t)(s.recent.tokens_out_per_s + 0.5));
    tg_publisher_stats time = {0};
    if (inference->engine_time.publisher)
        tg_publisher_stats_get(inference->engine_time.publisher, &time);
    set_counter(m->engine_time_published, time.published);
    set_counter(m->engine_time_dropped, time.full + time.failed);
    set_counter(m->overhead_ns, s.overhead_ns);
    set_counter(m->idle_ns, s.idle_ns);
}
