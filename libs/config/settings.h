/* The settings of the four services: router.yaml, inference.yaml, billing.yaml, health.yaml.
 *
 * The tables in settings_*.c say what each key means, its unit, bounds and default; `tollgate
 * config print` and docs/configuration.md are made from them. Values may refer to the environment
 * (yaml.h).
 *
 * Ownership: a loaded struct and its strings live in the arena. Threads: any, read only.
 */
#ifndef TG_CONFIG_SETTINGS_H
#define TG_CONFIG_SETTINGS_H

#include "libs/config/schema.h"

typedef struct tg_tls_settings {
    const char *cert_file, *key_file, *ca_file; /* NULL: not given */
} tg_tls_settings;

typedef struct tg_common_settings { /* what every service has */
    uint32_t version;
    const char *instance_id;
    int log_level; /* a tg_log_level */
    bool insecure;
    tg_tls_settings tls;
    const char *metrics_listen;
    uint32_t drain_timeout_ms;
} tg_common_settings;

typedef enum tg_kafka_security {
    TG_KAFKA_PLAINTEXT,
    TG_KAFKA_SSL,
    TG_KAFKA_SASL_PLAINTEXT,
    TG_KAFKA_SASL_SSL
} tg_kafka_security;
extern const char *const tg_kafka_security_names[];  /* in that order, then NULL */
extern const char
    *const tg_kafka_mechanism_names[]; /* as tg_kafka_link.mechanism counts, then NULL */

typedef struct tg_kafka_link { /* how Kafka is reached */
    const char *brokers; /* HOST:PORT,…; "": off */
    int security;        /* a tg_kafka_security */
    const char *ca_file, *cert_file, *key_file; /* "": not given */
    int mechanism;       /* of SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 */
    const char *username, *password;
} tg_kafka_link;

typedef enum tg_when_stale { TG_WHEN_STALE_ALLOW, TG_WHEN_STALE_REJECT } tg_when_stale;
typedef enum tg_when_full { TG_WHEN_FULL_ALLOW, TG_WHEN_FULL_REJECT } tg_when_full;

typedef struct tg_router_settings {
    tg_common_settings common;
    const char *listen;
    const char *grpc_listen; /* "": no gRPC edge */
    const char *targets_file, *policy_file, *prices_file, *tenants_file, *keys_file;
    const char *const *model_aliases;
    size_t model_alias_count;
    uint32_t attempts_max;
    uint32_t in_flight_max;
    int on_stale;      /* tg_when_stale */
    int on_spool_full; /* tg_when_full */
    struct {
        const char *const *endpoints;
        size_t endpoint_count;
        uint32_t observe_interval_ms;
        uint32_t observe_batch_max;
        uint32_t stale_after_ms;
    } health;
    struct {
        const char *dir;
        uint32_t sync_ms;
        uint64_t segment_bytes;
        uint64_t limit_bytes;
    } spool;
    struct {
        tg_kafka_link link; /* off: events stay in the spool */
        const char *topic_usage, *topic_decisions;
    } kafka;
    struct { /* as in libs/http/server.h */
        uint32_t connections_max;
        uint64_t header_bytes_max;
        uint64_t body_bytes_max;
        uint32_t header_timeout_ms;
        uint32_t body_timeout_ms;
        uint32_t idle_timeout_ms;
        uint32_t write_timeout_ms;
        uint64_t write_buffer_max;
        uint64_t write_high_water;
    } http;
} tg_router_settings;

typedef struct tg_inference_settings {
    tg_common_settings common;
    const char *grpc_listen;
    const char *model_file;
    const char *model_name;
    const char *chat_template_file, *tool_format; /* "": the model's own */
    const char *embedding_model_file; /* "": none */
    int embedding_pooling; /* 0 auto, 1 mean, 2 first, 3 last */
    uint32_t threads; /* 0: one for each processor */
    uint32_t max_seqs;
    uint32_t max_queue;
    uint32_t kv_tokens;
    int kv_type; /* 0 f16, 1 q8 */
    uint64_t memory_limit_bytes; /* 0: what the machine and the cgroup leave */
    uint32_t step_token_budget;
    uint32_t default_max_tokens;
    const char *request_log; /* "": off */
    const char *const *public_prompts; /* system prompts whose KV blocks all tenants share */
    size_t public_prompt_count;
    uint32_t engine_time_interval_ms;
    struct {
        tg_kafka_link link;
        const char *topic_engine_time;
    } kafka;
} tg_inference_settings;

typedef struct tg_billing_settings {
    tg_common_settings common;
    const char *grpc_listen;
    const char *database;
    const char *prices_file, *tenants_file;
    uint32_t batch_events_max;
    uint32_t batch_wait_ms;
    struct {
        tg_kafka_link link;
        const char *topic_usage, *group, *topic_ledger;
    } kafka;
} tg_billing_settings;

typedef struct tg_health_settings {
    tg_common_settings common;
    const char *grpc_listen;
    const char *targets_file; /* endpoints of targets with provider private are watched directly */
    uint32_t window_ms;
    uint32_t push_interval_ms;
    struct {
        uint32_t error_rate_permille;
        uint32_t min_requests;
        uint32_t open_ms;
        uint32_t half_open_successes;
    } circuit;
    struct {
        tg_kafka_link link;
        const char *topic_observations;
    } kafka;
} tg_health_settings;

extern const tg_schema tg_router_schema, tg_inference_schema, tg_billing_schema, tg_health_schema;

/* 0; -EINVAL, or -errno of reading, with the reason. */
int tg_router_settings_load(const char *path, tg_error *err, tg_arena *arena,
                            const tg_router_settings **ret);
int tg_inference_settings_load(const char *path, tg_error *err, tg_arena *arena,
                               const tg_inference_settings **ret);
int tg_billing_settings_load(const char *path, tg_error *err, tg_arena *arena,
                             const tg_billing_settings **ret);
int tg_health_settings_load(const char *path, tg_error *err, tg_arena *arena,
                            const tg_health_settings **ret);

#endif
