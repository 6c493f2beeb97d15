/* The private tier speaks for itself: Inference.WatchStatus tells load, and its end tells that the
 * replica is gone, before any request has to find out. */
#include "services/health/health.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INTERVAL_MS = 250, RETRY_MS = 250 };

struct tg_private_watch {
    tg_health *health;
    const char *address;
    tg_health_endpoint *endpoint;
    tg_rpc_channel *channel;
    tg_rpc_client *call;
    uv_timer_t timer; /* reconnects */
    bool stopping;
};

typedef struct tg_private_watch private_watch;

static void watch(private_watch *w);

static void on_status(void *user, const ProtobufCMessage *message)
{
    private_watch *w = user;
    const Tollgate__V1__InferenceStatus *s = (const Tollgate__V1__InferenceStatus *)message;
    uint64_t blocks = s->kv_blocks_free + s->kv_blocks_used + s->kv_blocks_cached;
    tg_health_load load = {.running = s->running,
                           .queue_depth = s->queue_depth,
                           .kv_used_permille =
                               blocks ? (uint32_t)(s->kv_blocks_used * 1000 / blocks) : 0};
    if (w->stopping)
        return;
    bool moved = memcmp(&load, &w->endpoint->load, sizeof load) != 0;
    w->endpoint->load = load;
    bool changed =
        tg_health_endpoint_reachable(w->endpoint, &w->health->fleet.circuit,
                                     s->draining ? "draining" : NULL, tg_health_now_ms());
    if (moved || changed)
        tg_health_fleet_touch(&w->health->fleet, w->endpoint);
    if (changed)
        tg_health_changed(w->health, w->endpoint);
}

static void on_retry(uv_timer_t *timer) { watch(timer->data); }

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
{
    private_watch *w = user;
    char why[96];
    (void)trailing, (void)count;
    w->call = NULL;
    if (w->stopping)
        return;
    snprintf(why, sizeof why, "its status stream ended: %s (%.40s)", tg_rpc_code_name(code),
             message);
    w->endpoint->load = (tg_health_load){0};
    bool changed = tg_health_endpoint_reachable(w->endpoint, &w->health->fleet.circuit, why,
                                                tg_health_now_ms());
    tg_health_fleet_touch(&w->health->fleet, w->endpoint);
    if (changed)
        tg_health_changed(w->health, w->endpoint);
    uv_timer_start(&w->timer, on_retry, RETRY_MS, 0);
}

static void watch(private_watch *w)
{
    Tollgate__V1__WatchStatusRequest request = TOLLGATE__V1__WATCH_STATUS_REQUEST__INIT;
    request.interval_ms = INTERVAL_MS;
    tg_rpc_start start = {
        .method = "/tollgate.v1.Inference/WatchStatus",
        .request = &request.base,
        .response = &tollgate__v1__inference_status__descriptor,
        .on_message = on_status,
        .on_done = on_done,
        .user = w,
    };
    if (tg_rpc_client_start(w->channel, &start, &w->call) < 0)
        uv_timer_start(&w->timer, on_retry, RETRY_MS, 0);
}

static int start_one(tg_health *health, const tg_target *target, const tg_endpoint *endpoint,
                     tg_error *err)
{
    private_watch *w = &health->privates[health->private_count];
    w->health = health;
    w->address = endpoint->url;
    w->endpoint = tg_health_fleet_find(&health->fleet, target->id, endpoint->id);
    int rc = tg_rpc_channel_new(tg_service_loop(health->service), endpoint->url,
                                tg_service_tls(health->service), 0, err, &w->channel);
    if (rc == 0)
        rc = uv_timer_init(tg_service_uv(health->service), &w->timer);
    if (rc == 0) {
        w->timer.data = w;
        health->private_count++;
        watch(w);
    }
    return rc;
}

int tg_private_watch_start(tg_health *health, tg_error *err)
{
    health->privates = calloc(health->fleet.count + 1, sizeof *health->privates);
    if (!health->privates)
        return -ENOMEM;
    for (size_t i = 0; i < tg_targets_count(health->targets); i++) {
        const tg_target *target = tg_targets_at(health->targets, i);
        for (size_t j = 0; target->provider == TG_PROVIDER_PRIVATE && j < target->endpoint_count;
             j++) {
            int rc = start_one(health, target, &target->endpoints[j], err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

void tg_private_watch_stop(tg_health *health)
{
    for (size_t i = 0; i < health->private_count; i++) {
        private_watch *w = &health->privates[i];
        w->stopping = true;
        if (w->call)
            tg_rpc_client_cancel(w->call);
        uv_close((uv_handle_t *)&w->timer, NULL);
        w->channel = tg_rpc_channel_free(w->channel);
    }
}
