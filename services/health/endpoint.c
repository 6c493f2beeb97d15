#include "services/health/endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int tg_health_endpoint_init(tg_health_endpoint *e, const char *target, const char *endpoint)
{
    memset(e, 0, sizeof *e);
    snprintf(e->target, sizeof e->target, "%s", target);
    snprintf(e->endpoint, sizeof e->endpoint, "%s", endpoint);
    tollgate__v1__rate_limit__init(&e->limit);
    e->open_factor = 1;
    for (size_t i = 0; i < TG_HEALTH_BUCKETS; i++) {
        e->buckets[i].first_token_us = tg_histogram_new();
        e->buckets[i].total_us = tg_histogram_new();
        if (!e->buckets[i].first_token_us || !e->buckets[i].total_us) {
            tg_health_endpoint_clear(e);
            return -ENOMEM;
        }
    }
    return 0;
}

void tg_health_endpoint_clear(tg_health_endpoint *e)
{
    for (size_t i = 0; i < TG_HEALTH_BUCKETS; i++) {
        e->buckets[i].first_token_us = tg_histogram_free(e->buckets[i].first_token_us);
        e->buckets[i].total_us = tg_histogram_free(e->buckets[i].total_us);
    }
}

static uint64_t bucket_index(const tg_circuit_conf *conf, uint64_t mono_ms)
{
    return mono_ms / (conf->window_ms / TG_HEALTH_BUCKETS + 1);
}

static void empty(tg_health_bucket *b, uint64_t index)
{
    b->index = index;
    b->requests = b->errors = 0;
    tg_histogram_clear(b->first_token_us);
    tg_histogram_clear(b->total_us);
}

static tg_health_bucket *bucket_now(tg_health_endpoint *e, const tg_circuit_conf *conf,
                                    uint64_t mono_ms)
{
    uint64_t index = bucket_index(conf, mono_ms);
    tg_health_bucket *b = &e->buckets[index % TG_HEALTH_BUCKETS];
    if (b->index != index)
        empty(b, index);
    return b;
}

static bool fresh(const tg_health_bucket *b, uint64_t index)
{
    return b->index + TG_HEALTH_BUCKETS > index && b->index <= index;
}

static void totals(const tg_health_endpoint *e, uint64_t index, uint64_t *requests,
                   uint64_t *errors)
{
    *requests = *errors = 0;
    for (size_t i = 0; i < TG_HEALTH_BUCKETS; i++) {
        if (fresh(&e->buckets[i], index)) {
            *requests += e->buckets[i].requests;
            *errors += e->buckets[i].errors;
        }
    }
}

static void open_circuit(tg_health_endpoint *e, const tg_circuit_conf *conf, uint64_t mono_ms)
{
    if (e->state == TG_CIRCUIT_HALF_OPEN && e->open_factor < TG_HEALTH_OPEN_FACTOR_MAX)
        e->open_factor *= 2;
    e->state = TG_CIRCUIT_DOWN;
    e->reopen_mono_ms = mono_ms + (uint64_t)conf->open_ms * e->open_factor;
    e->good_probes = 0;
}

static void close_circuit(tg_health_endpoint *e)
{
    e->state = TG_CIRCUIT_UP;
    e->open_factor = 1;
    e->good_probes = 0;
    e->reason[0] = '\0';
    for (size_t i = 0; i < TG_HEALTH_BUCKETS; i++)
        empty(&e->buckets[i], 0);
}

static void copy_limit(tg_health_endpoint *e, const Tollgate__V1__RateLimit *limit)
{
    if (limit && (limit->has_requests || limit->has_tokens || limit->has_input_tokens ||
                  limit->has_output_tokens))
        e->limit = *limit; /* numbers and flags only */
}

bool tg_health_endpoint_observe(tg_health_endpoint *e, const tg_circuit_conf *conf,
                                const Tollgate__V1__Observation *o, uint64_t mono_ms)
{
    tg_circuit_state before = e->state;
    tg_health_bucket *b = bucket_now(e, conf, mono_ms);
    bool error = !o->success && !o->limited;
    uint64_t requests, errors;
    e->heard_mono_ms = mono_ms ? mono_ms : 1;
    copy_limit(e, o->rate_limit);
    b->requests++;
    b->errors += error;
    if (o->first_token_us > 0)
        tg_histogram_observe(b->first_token_us, o->first_token_us);
    if (o->success)
        tg_histogram_observe(b->total_us, o->total_us);
    if (error)
        snprintf(e->reason, sizeof e->reason, "%s (status %u)",
                 o->timeout ? "timed out" : o->capacity ? "out of capacity" : "failing", o->status);
    totals(e, b->index, &requests, &errors);
    switch (e->state) {
    case TG_CIRCUIT_UP:
        if (error && requests >= conf->min_requests &&
            errors * 1000 >= requests * conf->error_rate_permille)
            open_circuit(e, conf, mono_ms);
        break;
    case TG_CIRCUIT_HALF_OPEN:
        if (error)
            open_circuit(e, conf, mono_ms);
        else if (o->success && ++e->good_probes >= conf->half_open_successes)
            close_circuit(e);
        break;
    case TG_CIRCUIT_DOWN: /* attempts that were under way when it opened, or a router's own probe */
        break;
    }
    return e->state != before;
}

bool tg_health_endpoint_reachable(tg_health_endpoint *e, const tg_circuit_conf *conf,
                                  const char *why, uint64_t mono_ms)
{
    tg_circuit_state before = e->state;
    if (why) {
        snprintf(e->reason, sizeof e->reason, "%s", why);
        if (e->state != TG_CIRCUIT_DOWN)
            e->open_factor = 1;
        open_circuit(e, conf, mono_ms);
    } else {
        e->heard_mono_ms = mono_ms ? mono_ms : 1;
        if (e->state != TG_CIRCUIT_UP)
            close_circuit(e);
    }
    return e->state != before;
}

bool tg_health_endpoint_tick(tg_health_endpoint *e, uint64_t mono_ms)
{
    if (e->state != TG_CIRCUIT_DOWN || mono_ms < e->reopen_mono_ms)
        return false;
    e->state = TG_CIRCUIT_HALF_OPEN;
    e->good_probes = 0;
    return true;
}

bool tg_health_endpoint_aged(tg_health_endpoint *e, const tg_circuit_conf *conf, uint64_t mono_ms)
{
    uint64_t before = e->aged_index, index = bucket_index(conf, mono_ms);
    bool aged = false;
    e->aged_index = index;
    for (size_t i = 0; index != before && i < TG_HEALTH_BUCKETS; i++)
        aged = aged || (e->buckets[i].requests > 0 && fresh(&e->buckets[i], before) &&
                        !fresh(&e->buckets[i], index));
    return aged;
}

static Tollgate__V1__EndpointState wire_state(const tg_health_endpoint *e)
{
    switch (e->state) {
    case TG_CIRCUIT_DOWN: return TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN;
    case TG_CIRCUIT_HALF_OPEN: return TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_HALF_OPEN;
    default:
        return e->heard_mono_ms ? TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UP
                                : TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UNKNOWN;
    }
}

void tg_health_endpoint_view(const tg_health_endpoint *e, const tg_circuit_conf *conf,
                             uint64_t mono_ms, Tollgate__V1__EndpointView *view,
                             Tollgate__V1__RateLimit *limit)
{
    uint64_t index = bucket_index(conf, mono_ms);
    tg_histogram *first = tg_histogram_new(), *total = tg_histogram_new();
    tollgate__v1__endpoint_view__init(view);
    for (size_t i = 0; first && total && i < TG_HEALTH_BUCKETS; i++) {
        if (!fresh(&e->buckets[i], index))
            continue;
        tg_histogram_merge(first, e->buckets[i].first_token_us);
        tg_histogram_merge(total, e->buckets[i].total_us);
    }
    if (first && total) {
        view->first_token_p50_us = tg_histogram_quantile(first, 500);
        view->first_token_p95_us = tg_histogram_quantile(first, 950);
        view->first_token_p99_us = tg_histogram_quantile(first, 990);
        view->total_p50_us = tg_histogram_quantile(total, 500);
        view->total_p95_us = tg_histogram_quantile(total, 950);
        view->total_p99_us = tg_histogram_quantile(total, 990);
    }
    tg_histogram_free(first);
    tg_histogram_free(total);
    totals(e, index, &view->requests, &view->errors);
    view->target = (char *)e->target;
    view->endpoint = (char *)e->endpoint;
    view->state = wire_state(e);
    if (e->state == TG_CIRCUIT_DOWN && e->reopen_mono_ms > mono_ms)
        view->retry_in_ms = e->reopen_mono_ms - mono_ms;
    view->in_flight = e->load.running;
    view->queue_depth = e->load.queue_depth;
    view->kv_used_permille = e->load.kv_used_permille;
    view->heard_ago_ms = e->heard_mono_ms ? mono_ms - e->heard_mono_ms : 0;
    view->reason = (char *)(e->state == TG_CIRCUIT_UP ? "" : e->reason);
    *limit = e->limit;
    view->rate_limit = limit;
}
