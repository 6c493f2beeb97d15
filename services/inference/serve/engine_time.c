/* Engine time by tenant, one interval after the other, to Kafka: best effort, and a record that is
 * lost leaves a gap in the numbers. */
#include "services/inference/serve/inference.h"

#include "libs/base/clock.h"

#include "tollgate/v1/engine_time.pb-c.h"

#include <stdlib.h>

enum { FLUSH_MS = 1000 }; /* a drain's patience with the broker */

int tg_inference_engine_time_start(tg_inference *inference, tg_error *err)
{
    const tg_inference_settings *s = inference->settings;
    const tg_publisher_conf conf = {.what = "kafka engine time",
                                    .link = &s->kafka.link,
                                    .topic = s->kafka.topic_engine_time,
                                    .client_id = s->common.instance_id,
                                    .header = "inference-instance"};
    uint8_t random[10];
    if (!*s->kafka.link.brokers || !*s->kafka.topic_engine_time)
        return 0;
    tg_random_bytes(random, sizeof random);
    tg_uuid7(tg_clock_wall_ns() / 1000000u, random, inference->engine_time.engine_id);
    inference->engine_time.due_ms = tg_clock_mono_ns() / 1000000u + s->engine_time_interval_ms;
    return tg_publisher_new(&conf, err, &inference->engine_time.publisher);
}

static void fill_tenant(const tg_tenant_time *from, Tollgate__V1__TenantEngineTime *to)
{
    tollgate__v1__tenant_engine_time__init(to);
    to->tenant = (char *)(uintptr_t)from->tenant;
    to->others = from->others;
    to->engine_ns = from->engine_ns;
    to->prompt_tokens = from->prompt_tokens;
    to->cached_tokens = from->cached_tokens;
    to->output_tokens = from->output_tokens;
}

static void publish(tg_inference *inference)
{
    Tollgate__V1__EngineTime record = TOLLGATE__V1__ENGINE_TIME__INIT;
    tg_engine_interval interval;
    tg_engine_status status;
    tg_engine_get_status(inference->engine, &status);
    tg_engine_take_interval(inference->engine, &interval);
    inference->engine_time.published++; /* though it may be lost: then its number is missing */
    Tollgate__V1__TenantEngineTime *tenants = calloc(interval.tenants_len + 1, sizeof *tenants);
    Tollgate__V1__TenantEngineTime **pointers = calloc(interval.tenants_len + 1, sizeof *pointers);
    for (size_t i = 0; tenants && pointers && i < interval.tenants_len; i++) {
        fill_tenant(&interval.tenants[i], &tenants[i]);
        pointers[i] = &tenants[i];
    }
    record.instance_id = (char *)(uintptr_t)inference->settings->common.instance_id;
    record.engine_id = inference->engine_time.engine_id;
    record.number = inference->engine_time.published;
    record.ended_unix_ns = (int64_t)tg_clock_wall_ns();
    record.begin_ns = interval.begin_ns;
    record.end_ns = interval.end_ns;
    record.overhead_ns = interval.overhead_ns;
    record.idle_ns = interval.idle_ns;
    record.tenants = pointers;
    record.n_tenants = interval.tenants_len;
    record.model = (char *)(uintptr_t)inference->model;
    record.quantisation = (char *)(uintptr_t)status.quantisation;
    record.instruction_path = (char *)(uintptr_t)status.path;
    record.numerics = (char *)(uintptr_t)status.numerics;
    if (tenants && pointers)
        tg_publisher_send(inference->engine_time.publisher, tg_str_of(record.instance_id),
                          &record.base);
    free(tenants);
    free(pointers);
}

void tg_inference_engine_time_tick(tg_inference *inference)
{
    const uint64_t now_ms = tg_clock_mono_ns() / 1000000u;
    if (!inference->engine_time.publisher)
        return;
    tg_publisher_poll(inference->engine_time.publisher);
    if (now_ms < inference->engine_time.due_ms)
        return;
    inference->engine_time.due_ms = now_ms + inference->settings->engine_time_interval_ms;
    publish(inference);
}

void tg_inference_engine_time_stop(tg_inference *inference)
{
    if (!inference->engine_time.publisher)
        return;
    publish(inference);
    inference->engine_time.publisher =
        tg_publisher_free(inference->engine_time.publisher, FLUSH_MS);
}
