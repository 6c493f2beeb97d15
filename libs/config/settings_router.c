#include "libs/config/settings_common.h"

#define AT(member) TG_AT(tg_router_settings, member)
#define COUNT_AT(member) TG_COUNT_AT(tg_router_settings, member)
/* A nested struct has no type name; its fields' offsets count from its own start. */
#define IN(group, member)                                                                          \
    .offset = offsetof(tg_router_settings, group.member) - offsetof(tg_router_settings, group)
#define COUNT_IN(group, member)                                                                    \
    .count_offset = offsetof(tg_router_settings, group.member) - offsetof(tg_router_settings, group)
#define GROUP(what, group, table)                                                                  \
    {                                                                                              \
        .name = (what), .size = sizeof(((tg_router_settings *)0)->group), .fields = (table),       \
        .count = sizeof(table) / sizeof((table)[0])                                                \
    }

static const char *const allow_reject[] = {"allow", "reject", NULL};

static const tg_field health_fields[] = {
    {"endpoints", TG_FIELD_STRINGS, IN(health, endpoints), COUNT_IN(health, endpoint_count),
     .max = 16,
     .doc = "HOST:PORT of health replicas; none: the router knows only what it sees itself."},
    {"observe_interval_ms", TG_FIELD_DURATION, IN(health, observe_interval_ms), .fallback = "200ms",
     .min = 1, .max = 60000, .doc = "How often observations are sent."},
    {"observe_batch_max", TG_FIELD_U32, IN(health, observe_batch_max), .fallback = "1000", .min = 1,
     .max = 100000, .doc = "Observations kept between two sends; more are dropped and counted."},
    {"stale_after_ms", TG_FIELD_DURATION, IN(health, stale_after_ms), .fallback = "10s", .min = 1,
     .max = TG_DAY_MS, .doc = "Silence of health after which its view counts as stale."},
};
static const tg_schema health_schema = GROUP("health", health, health_fields);

static const tg_field spool_fields[] = {
    {"dir", TG_FIELD_STRING, IN(spool, dir), .required = true,
     .doc = "Directory of the usage spool; one process each."},
    {"sync_ms", TG_FIELD_DURATION, IN(spool, sync_ms), .fallback = "50ms", .max = 60000,
     .doc =
         "Time between two fdatasync calls, which is what a power loss can take; 0: every record."},
    {"segment_bytes", TG_FIELD_BYTES, IN(spool, segment_bytes), .fallback = "4MiB", .min = 65536,
     .max = 1 << 30, .doc = "Size of one file of the spool."},
    {"limit_bytes", TG_FIELD_BYTES, IN(spool, limit_bytes), .fallback = "256MiB", .min = 1 << 20,
     .max = UINT64_C(1) << 40, .doc = "Most bytes on disk; past it on_spool_full decides."},
};
static const tg_schema spool_schema = GROUP("spool", spool, spool_fields);

#define LINK(member) IN(kafka, link.member)
static const tg_field kafka_fields[] = {
    {"brokers", TG_FIELD_STRING, LINK(brokers), .fallback = "",
     .doc = "HOST:PORT,…; empty: usage events stay in the spool."},
    TG_KAFKA_FIELDS(LINK),
    {"topic_usage", TG_FIELD_STRING, IN(kafka, topic_usage), .fallback = "tollgate.usage.v1",
     .doc = "Topic of usage events."},
    {"topic_decisions", TG_FIELD_STRING, IN(kafka, topic_decisions),
     .fallback = "tollgate.decisions.v1",
     .doc = "Topic of routing decisions; empty: they are not published."},
};
static const tg_schema kafka_schema = GROUP("kafka", kafka, kafka_fields);

static const tg_field http_fields[] = {
    {"connections_max", TG_FIELD_U32, IN(http, connections_max), .fallback = "4096", .min = 1,
     .max = 1000000, .doc = "Most connections; past it new ones are closed at once."},
    {"header_bytes_max", TG_FIELD_BYTES, IN(http, header_bytes_max), .fallback = "32KiB",
     .min = 1024, .max = 1 << 20, .doc = "Most bytes of a request's header (431 past it)."},
    {"body_bytes_max", TG_FIELD_BYTES, IN(http, body_bytes_max), .fallback = "8MiB", .min = 1024,
     .max = 1 << 30, .doc = "Most bytes of a request's body (413 past it)."},
    {"header_timeout_ms", TG_FIELD_DURATION, IN(http, header_timeout_ms), .fallback = "10s",
     .min = 1, .max = 3600000,
     .doc = "From a request's first byte to its header's end (408 past it)."},
    {"body_timeout_ms", TG_FIELD_DURATION, IN(http, body_timeout_ms), .fallback = "60s", .min = 1,
     .max = 3600000, .doc = "From a request's first byte to its last (408 past it)."},
    {"idle_timeout_ms", TG_FIELD_DURATION, IN(http, idle_timeout_ms), .fallback = "75s", .min = 1,
     .max = 3600000, .doc = "Between two requests of one connection."},
    {"write_timeout_ms", TG_FIELD_DURATION, IN(http, write_timeout_ms), .fallback = "60s", .min = 1,
     .max = 3600000, .doc = "A client that reads nothing for this long is dropped."},
    {"write_buffer_max", TG_FIELD_BYTES, IN(http, write_buffer_max), .fallback = "4MiB",
     .min = 65536, .max = 1 << 30,
     .doc = "Most bytes waiting for one client; past it the answer is cut."},
    {"write_high_water", TG_FIELD_BYTES, IN(http, write_high_water), .fallback = "256KiB",
     .min = 4096, .max = 1 << 30, .doc = "Waiting bytes from which on the upstream is paused."},
};
static const tg_schema http_schema = GROUP("http", http, http_fields);

static const tg_field fields[] = {
    TG_COMMON_FIELDS(tg_router_settings, "router-1"),
    {"listen", TG_FIELD_ADDRESS, AT(listen), .required = true,
     .doc = "Address for clients over HTTP; port 0: any free one."},
    {"grpc_listen", TG_FIELD_ADDRESS, AT(grpc_listen), .fallback = "",
     .doc = "Address for clients over gRPC; empty: none."},
    {"targets_file", TG_FIELD_STRING, AT(targets_file), .required = true,
     .doc = "Path of targets.yaml."},
    {"policy_file", TG_FIELD_STRING, AT(policy_file), .required = true,
     .doc = "Path of policy.yaml."},
    {"prices_file", TG_FIELD_STRING, AT(prices_file), .required = true,
     .doc = "Path of prices.yaml."},
    {"tenants_file", TG_FIELD_STRING, AT(tenants_file), .required = true,
     .doc = "Path of tenants.yaml."},
    {"keys_file", TG_FIELD_STRING, AT(keys_file), .required = true, .doc = "Path of keys.yaml."},
    {"model_aliases", TG_FIELD_STRINGS, AT(model_aliases), COUNT_AT(model_alias_count), .max = 256,
     .doc = "Model names that, like auto, leave the choice to the policy."},
    {"attempts_max", TG_FIELD_U32, AT(attempts_max), .fallback = "4", .min = 1, .max = 16,
     .doc = "Most attempts for one request, fallbacks included."},
    {"in_flight_max", TG_FIELD_U32, AT(in_flight_max), .fallback = "4096", .min = 1, .max = 1000000,
     .doc = "Most attempts running at once; past it requests are refused with 503."},
    {"on_stale", TG_FIELD_ENUM, AT(on_stale), .fallback = "allow", .names = allow_reject,
     .doc = "What happens to requests while the view of the fleet is stale."},
    {"on_spool_full", TG_FIELD_ENUM, AT(on_spool_full), .fallback = "allow", .names = allow_reject,
     .doc = "What happens to requests whose usage cannot be recorded."},
    {"health", TG_FIELD_STRUCT, AT(health), .schema = &health_schema,
     .doc = "Link to the health service."},
    {"spool", TG_FIELD_STRUCT, AT(spool), .schema = &spool_schema,
     .doc = "Usage events on disk until Kafka has them."},
    {"kafka", TG_FIELD_STRUCT, AT(kafka), .schema = &kafka_schema, .doc = "Where events go."},
    {"http", TG_FIELD_STRUCT, AT(http), .schema = &http_schema, .doc = "Bounds of the HTTP edge."},
};
const tg_schema tg_router_schema = TG_SCHEMA("router.yaml", tg_router_settings, fields);
