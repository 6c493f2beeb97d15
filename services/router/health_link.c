#include "services/router/health_link.h"

#include "libs/base/clock.h"

#include "tollgate/v1/health.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 5000, OBSERVE_DEADLINE_MS = 2000 };

typedef struct pending {
    char target[TG_USAGE_NAME_MAX], endpoint[TG_USAGE_NAME_MAX];
    tg_observation what;
} pending;

struct tg_health_link {
    tg_rpc_loop *loop;
    tg_health_link_conf conf;
    char instance_id[TG_USAGE_NAME_MAX];
    char (*endpoints)[128]; /* copies of conf.endpoints */
    tg_fleet_view *fleet;
    size_t current; /* which endpoint */
    tg_rpc_channel *channel;
    tg_rpc_client *watch;
    bool observing; /* an Observe call is in flight */
    bool closing;
    uv_timer_t retry, batch;
    unsigned handles; /* still open */
    uint32_t backoff_ms;
    pending *ring; /* oldest first from `first` */
    size_t first, count;
    tg_health_link_stats stats;
};

static void connect_next(tg_health_link *link);
static void on_batch(uv_timer_t *timer);

static uint64_t now_ms(void) { return tg_clock_mono_ns() / 1000000u; }

/* ---- the end ---- */

static void release(tg_health_link *link)
{
    if (!link->closing || link->handles > 0 || link->watch || link->observing)
        return;
    tg_rpc_channel_free(link->channel);
    free(link->endpoints);
    free(link->ring);
    free(link);
}

static void on_closed(uv_handle_t *handle)
{
    tg_health_link *link = handle->data;
    link->handles--;
    release(link);
}

/* ---- the view ---- */

static void on_update(void *user, const ProtobufCMessage *message)
{
    tg_health_link *link = user;
    if (link->closing)
        return;
    link->stats.connected = true;
    link->backoff_ms = BACKOFF_FIRST_MS;
    tg_fleet_view_apply(link->fleet, (const Tollgate__V1__FleetUpdate *)message, now_ms());
}

static void on_retry(uv_timer_t *timer) { connect_next(timer->data); }

static void on_watch_done(void *user, tg_rpc_code code, const char *message,
                          const tg_rpc_metadata *trailing, size_t count)
{
    tg_health_link *link = user;
    (void)code, (void)message, (void)trailing, (void)count;
    link->watch = NULL;
    link->stats.connected = false;
    if (link->closing) {
        release(link);
        return;
    }
    link->current = (link->current + 1) % link->conf.endpoint_count;
    link->stats.reconnects++;
    uv_timer_start(&link->retry, on_retry, link->backoff_ms, 0);
    link->backoff_ms =
        link->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : link->backoff_ms * 2;
}

static void connect_next(tg_health_link *link)
{
    Tollgate__V1__WatchFleetRequest request = TOLLGATE__V1__WATCH_FLEET_REQUEST__INIT;
    tg_error err = {""};
    if (!link->observing)
        link->channel = tg_rpc_channel_free(link->channel);
    if (!link->channel &&
        tg_rpc_channel_new(link->loop, link->endpoints[link->current],
                           link->conf.tls, 0, &err, &link->channel) < 0) {
        uv_timer_start(&link->retry, on_retry, link->backoff_ms, 0);
        return;
    }
    request.instance_id = link->instance_id;
    tg_rpc_start start = {
        .method = "/tollgate.v1.Health/WatchFleet",
        .request = &request.base,
        .response = &tollgate__v1__fleet_update__descriptor,
        .on_message = on_update,
        .on_done = on_watch_done,
        .user = link,
    };
    if (tg_rpc_client_start(link->channel, &start, &link->watch) < 0)
        uv_timer_start(&link->retry, on_retry, link->backoff_ms, 0);
}

/* ---- observations ---- */

void tg_health_link_observe(tg_health_link *link, const tg_observation *o)
{
    if (link->conf.endpoint_count == 0)
        return;
    if (link->count == TG_HEALTH_LINK_PENDING_MAX) {
        link->first = (link->first + 1) % TG_HEALTH_LINK_PENDING_MAX;
        link->count--;
        link->stats.dropped++;
    }
    pending *p = &link->ring[(link->first + link->count++) % TG_HEALTH_LINK_PENDING_MAX];
    tg_str_copy(p->target, sizeof p->target, tg_str_of(o->target));
    tg_str_copy(p->endpoint, sizeof p->endpoint, tg_str_of(o->endpoint));
    p->what = *o;
    p->what.target = p->target;
    p->what.endpoint = p->endpoint;
    /* A failure or a probe's end is news: it should not wait for the batch. */
    if ((!o->success || o->probe) && !link->observing && !link->closing)
        uv_timer_start(&link->batch, on_batch, 0, link->conf.observe_interval_ms);
}

static void fill_rate_limit(const tg_rate_limit *in, Tollgate__V1__RateLimit *out)
{
    tollgate__v1__rate_limit__init(out);
    out->has_requests = in->has_requests;
    out->requests_limit = in->requests_limit;
    out->requests_remaining = in->requests_remaining;
    out->requests_reset_ms = in->requests_reset_ms;
    out->has_tokens = in->has_tokens;
    out->tokens_limit = in->tokens_limit;
    out->tokens_remaining = in->tokens_remaining;
    out->tokens_reset_ms = in->tokens_reset_ms;
    out->has_input_tokens = in->has_input_tokens;
    out->input_tokens_remaining = in->input_tokens_remaining;
    out->has_output_tokens = in->has_output_tokens;
    out->output_tokens_remaining = in->output_tokens_remaining;
}

static void fill(const tg_health_link *link, const pending *p, Tollgate__V1__Observation *out,
                 Tollgate__V1__RateLimit *limit)
{
    tollgate__v1__observation__init(out);
    fill_rate_limit(&p->what.rate_limit, limit);
    out->target = (char *)p->target;
    out->endpoint = (char *)p->endpoint;
    out->instance_id = (char *)link->instance_id;
    out->at_unix_ns = (int64_t)p->what.at_unix_ns;
    out->status = p->what.status;
    out->success = p->what.success;
    out->capacity = p->what.capacity;
    out->limited = p->what.quota;
    out->timeout = p->what.timeout;
    out->first_token_us = p->what.first_token_ns / 1000;
    out->total_us = p->what.total_ns / 1000;
    out->output_tokens = p->what.output_tokens;
    out->rate_limit = limit;
    out->retry_after_ms = p->what.rate_limit.retry_after_ms;
}

static void on_observed(void *user, tg_rpc_code code, const char *message,
                        const tg_rpc_metadata *trailing, size_t count)
{
    tg_health_link *link = user;
    (void)message, (void)trailing, (void)count;
    link->observing = false;
    if (code == TG_RPC_OK && link->stats.connected)
        tg_fleet_view_heard(link->fleet, now_ms());
    release(link);
}

static void on_reply(void *user, const ProtobufCMessage *message) { (void)user, (void)message; }

/* Sends one batch, or an empty one as a sign of life: the answer says that health is there. */
static void on_batch(uv_timer_t *timer)
{
    enum { BATCH_MAX = 1024 };
    tg_health_link *link = timer->data;
    size_t n =
        link->count < link->conf.observe_batch_max ? link->count : link->conf.observe_batch_max;
    if (n > BATCH_MAX)
        n = BATCH_MAX;
    if (link->observing || !link->stats.connected)
        return;
    Tollgate__V1__Observation *items = calloc(n + 1, sizeof *items);
    Tollgate__V1__RateLimit *limits = calloc(n + 1, sizeof *limits);
    Tollgate__V1__Observation **pointers = calloc(n + 1, sizeof *pointers);
    Tollgate__V1__ObserveRequest request = TOLLGATE__V1__OBSERVE_REQUEST__INIT;
    tg_rpc_client *client;
    if (items && limits && pointers) {
        for (size_t i = 0; i < n; i++) {
            fill(link, &link->ring[(link->first + i) % TG_HEALTH_LINK_PENDING_MAX], &items[i],
                 &limits[i]);
            pointers[i] = &items[i];
        }
        request.observations = pointers;
        request.n_observations = n;
        tg_rpc_start start = {
            .method = "/tollgate.v1.Health/Observe",
            .request = &request.base,
            .response = &tollgate__v1__observe_response__descriptor,
            .deadline_ms = OBSERVE_DEADLINE_MS,
            .on_message = on_reply,
            .on_done = on_observed,
            .user = link,
        };
        if (tg_rpc_client_start(link->channel, &start, &client) == 0) {
            link->observing = true;
            link->first = (link->first + n) % TG_HEALTH_LINK_PENDING_MAX;
            link->count -= n;
            link->stats.sent += n;
        }
    }
    free(items);
    free(limits);
    free(pointers);
}

/* ---- the face ---- */

int tg_health_link_new(tg_rpc_loop *loop, const tg_health_link_conf *conf, tg_fleet_view *fleet,
                       tg_error *err, tg_health_link **ret)
{
    tg_health_link *link = calloc(1, sizeof *link);
    (void)err;
    if (!link)
        return -ENOMEM;
    link->loop = loop;
    link->conf = *conf;
    link->fleet = fleet;
    link->backoff_ms = BACKOFF_FIRST_MS;
    link->endpoints = calloc(conf->endpoint_count + 1, sizeof *link->endpoints);
    link->ring = calloc(TG_HEALTH_LINK_PENDING_MAX, sizeof *link->ring);
    if (!link->endpoints || !link->ring) {
        free(link->endpoints);
        free(link->ring);
        free(link);
        return -ENOMEM;
    }
    tg_str_copy(link->instance_id, sizeof link->instance_id, tg_str_of(conf->instance_id));
    for (size_t i = 0; i < conf->endpoint_count; i++)
        tg_str_copy(link->endpoints[i], sizeof *link->endpoints, tg_str_of(conf->endpoints[i]));
    uv_timer_init(tg_rpc_loop_uv(loop), &link->retry);
    uv_timer_init(tg_rpc_loop_uv(loop), &link->batch);
    link->retry.data = link->batch.data = link;
    link->handles = 2;
    if (conf->endpoint_count > 0) {
        uv_timer_start(&link->retry, on_retry, 0, 0);
        uv_timer_start(&link->batch, on_batch, conf->observe_interval_ms,
                       conf->observe_interval_ms);
    }
    *ret = link;
    return 0;
}

void tg_health_link_stats_get(const tg_health_link *link, tg_health_link_stats *ret)
{
    *ret = link->stats;
}

void tg_health_link_close(tg_health_link *link)
{
    if (!link)
        return;
    link->closing = true;
    if (link->watch)
        tg_rpc_client_cancel(link->watch);
    uv_close((uv_handle_t *)&link->retry, on_closed);
    uv_close((uv_handle_t *)&link->batch, on_closed);
}
