/* What is known about one (target, endpoint): a sliding window of latencies and errors, the
 * circuit, the last rate limits. Pure: time is given; no I/O.
 *
 * The circuit: UP until, within the window, at least `min_requests` attempts were seen and
 * `error_rate_permille` of them or more failed; then DOWN for `open_ms`; then HALF_OPEN, where
 * `half_open_successes` good probes in a row close it and one bad one opens it again, for twice as
 * long each time (at most TG_HEALTH_OPEN_FACTOR_MAX times open_ms). A 429 is our quota, not its
 * fault, and does not count as an error.
 */
#ifndef TG_HEALTH_ENDPOINT_H
#define TG_HEALTH_ENDPOINT_H

#include "libs/metrics/metrics.h"

#include "tollgate/v1/health.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_HEALTH_BUCKETS 8
/* times open_ms: longest that failed probes keep a circuit open */
#define TG_HEALTH_OPEN_FACTOR_MAX 8

typedef struct tg_circuit_conf {
    uint32_t window_ms;
    uint32_t error_rate_permille;
    uint32_t min_requests;
    uint32_t open_ms;
    uint32_t half_open_successes;
} tg_circuit_conf;

typedef enum tg_circuit_state {
    TG_CIRCUIT_UP,
    TG_CIRCUIT_HALF_OPEN,
    TG_CIRCUIT_DOWN
} tg_circuit_state;

typedef struct tg_health_bucket {
    uint64_t index; /* time / bucket length */
    uint64_t requests, errors;
    tg_histogram *first_token_us, *total_us;
} tg_health_bucket;

/* The private tier's own word, from WatchStatus. */
typedef struct tg_health_load {
    uint64_t running, queue_depth;
    uint32_t kv_used_permille;
} tg_health_load;

typedef struct tg_health_endpoint {
    char target[64], endpoint[64];
    tg_circuit_state state;
    uint64_t reopen_mono_ms; /* DOWN: when HALF_OPEN begins */
    uint32_t open_factor;
    uint32_t good_probes;
    tg_health_bucket buckets[TG_HEALTH_BUCKETS];
    uint64_t heard_mono_ms;  /* 0: never */
    Tollgate__V1__RateLimit limit;
    tg_health_load load;
    char reason[96];
    uint64_t aged_index;      /* of the buckets, when it was last asked whether they age */
    uint64_t changed_version; /* of the fleet, when last changed */
} tg_health_endpoint;

int tg_health_endpoint_init(tg_health_endpoint *e, const char *target, const char *endpoint);
void tg_health_endpoint_clear(tg_health_endpoint *e); /* frees what init took */

/* True when the state changed. */
bool tg_health_endpoint_observe(tg_health_endpoint *e, const tg_circuit_conf *conf,
                                const Tollgate__V1__Observation *o, uint64_t mono_ms);
/* An outside word: the status stream of a private endpoint broke (`why`), or delivers (NULL). */
bool tg_health_endpoint_reachable(tg_health_endpoint *e, const tg_circuit_conf *conf,
                                  const char *why, uint64_t mono_ms);
/* Time passes: DOWN becomes HALF_OPEN. True when the state changed. */
bool tg_health_endpoint_tick(tg_health_endpoint *e, uint64_t mono_ms);

/* True when requests have left the window since it was asked last: the view is another without any
 * word from outside. */
bool tg_health_endpoint_aged(tg_health_endpoint *e, const tg_circuit_conf *conf, uint64_t mono_ms);

/* Fills a view; strings point into `e`, `limit` is a copy that `view` will point to. */
void tg_health_endpoint_view(const tg_health_endpoint *e, const tg_circuit_conf *conf,
                             uint64_t mono_ms, Tollgate__V1__EndpointView *view,
                             Tollgate__V1__RateLimit *limit);

#endif
