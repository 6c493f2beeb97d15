/* inference.yaml, billing.yaml and health.yaml. */
#include "libs/config/settings_common.h"

#define IN(type, group, member) .offset = offsetof(type, group.member) - offsetof(type, group)
#define GROUP(what, type, group, table)                                                            \
    {                                                                                              \
        .name = (what), .size = sizeof(((type *)0)->group), .fields = (table),                     \
        .count = sizeof(table) / sizeof((table)[0])                                                \
    }

/* ---- inference ---- */

#define LINK(member) IN(tg_inference_settings, kafka, link.member)
static const tg_field inference_kafka_fields[] = {
    {"brokers", TG_FIELD_STRING, LINK(brokers), .fallback = "",
     .doc = "HOST:PORT,…; empty: engine time is not published."},
    TG_KAFKA_FIELDS(LINK),
    {"topic_engine_time", TG_FIELD_STRING, IN(tg_inference_settings, kafka, topic_engine_time),
     .fallback = "tollgate.engine-time.v1",
     .doc = "Topic of engine time by tenant; empty: it is not published."},
};
#undef LINK
static const tg_schema inference_kafka_schema =
    GROUP("kafka", tg_inference_settings, kafka, inference_kafka_fields);

static const char *const kv_types[] = {"f16", "q8", NULL};
static const char *const poolings[] = {"auto", "mean", "first", "last", NULL};

#define AT(member) TG_AT(tg_inference_settings, member)
static const tg_field inference_fields[] = {
    TG_COMMON_FIELDS(tg_inference_settings, "inference-1"),
    {"grpc_listen", TG_FIELD_ADDRESS, AT(grpc_listen), .required = true,
     .doc = "Address of the gRPC server; port 0: any free one."},
    {"model_file", TG_FIELD_STRING, AT(model_file), .required = true,
     .doc = "Path of the GGUF model."},
    {"model_name", TG_FIELD_STRING, AT(model_name), .fallback = "",
     .doc = "Name shown for the model; empty: the one in the file."},
    {"chat_template_file", TG_FIELD_STRING, AT(chat_template_file), .fallback = "",
     .doc = "Path of a chat template to use instead of the model's own; empty: its own."},
    {"tool_format", TG_FIELD_STRING, AT(tool_format), .fallback = "",
     .doc = "How the model writes calls of tools: none, hermes, llama3 or mistral; empty: as its "
            "chat template has it."},
    {"embedding_model_file", TG_FIELD_STRING, AT(embedding_model_file), .fallback = "",
     .doc = "Path of the GGUF model that answers Embed, an encoder (BERT family) or a decoder; "
            "empty: none."},
    {"embedding_pooling", TG_FIELD_ENUM, AT(embedding_pooling), .fallback = "auto",
     .names = poolings,
     .doc = "What of a text's last hidden states is its vector; auto: what the model's file says, "
            "else the mean. The first one is for encoders only."},
    {"threads", TG_FIELD_U32, AT(threads), .max = 256,
     .doc = "Threads of the forward pass; 0: one for each processor."},
    {"max_seqs", TG_FIELD_U32, AT(max_seqs), .fallback = "8", .min = 1, .max = 256,
     .doc = "Sequences computed together."},
    {"max_queue", TG_FIELD_U32, AT(max_queue), .fallback = "64", .min = 1, .max = 16384,
     .doc = "Requests waiting behind them; past it RESOURCE_EXHAUSTED."},
    {"kv_tokens", TG_FIELD_U32, AT(kv_tokens), .fallback = "16384", .min = 64, .max = 1 << 30,
     .doc = "Tokens whose keys and values fit in memory, over all sequences."},
    {"kv_type", TG_FIELD_ENUM, AT(kv_type), .fallback = "f16", .names = kv_types,
     .doc = "What keys and values are rounded to; q8 takes little more than half the memory of f16 "
            "and gives slightly other output (docs/numerics.md)."},
    {"memory_limit_bytes", TG_FIELD_BYTES, AT(memory_limit_bytes), .fallback = "0",
     .doc = "Memory the model, its KV and scratch may take, and beside them the embedding model; "
            "0: what the cgroup and "
            "MemAvailable leave."},
    {"step_token_budget", TG_FIELD_U32, AT(step_token_budget), .fallback = "256", .min = 1,
     .max = 8192,
     .doc = "Tokens computed in one step, prompts and outputs together; at least max_seqs."},
    {"default_max_tokens", TG_FIELD_U32, AT(default_max_tokens), .fallback = "512", .min = 1,
     .max = 1 << 20, .doc = "Output limit of a request that states none."},
    {"request_log", TG_FIELD_STRING, AT(request_log), .fallback = "",
     .doc = "File to which each served request is appended, counts only; empty: off."},
    {"public_prompts", TG_FIELD_STRINGS, AT(public_prompts),
     TG_COUNT_AT(tg_inference_settings, public_prompt_count), .max = 64,
     .doc = "System prompts that are no secret: whole KV blocks of a conversation's beginning that "
            "lie in one are shared between tenants."},
    {"engine_time_interval_ms", TG_FIELD_DURATION, AT(engine_time_interval_ms), .fallback = "1s",
     .min = 100, .max = 3600000, .doc = "Time that one record of engine time covers."},
    {"kafka", TG_FIELD_STRUCT, AT(kafka), .schema = &inference_kafka_schema,
     .doc = "Where engine time goes."},
};
#undef AT
const tg_schema tg_inference_schema =
    TG_SCHEMA("inference.yaml", tg_inference_settings, inference_fields);

/* ---- billing ---- */

#define LINK(member) IN(tg_billing_settings, kafka, link.member)
static const tg_field billing_kafka_fields[] = {
    {"brokers", TG_FIELD_STRING, LINK(brokers), .required = true, .doc = "HOST:PORT,…"},
    TG_KAFKA_FIELDS(LINK),
    {"topic_usage", TG_FIELD_STRING, IN(tg_billing_settings, kafka, topic_usage),
     .fallback = "tollgate.usage.v1", .doc = "Topic of usage events."},
    {"group", TG_FIELD_STRING, IN(tg_billing_settings, kafka, group),
     .fallback = "tollgate-billing",
     .doc = "Consumer group; its members share the topic's partitions."},
    {"topic_ledger", TG_FIELD_STRING, IN(tg_billing_settings, kafka, topic_ledger),
     .fallback = "tollgate.ledger.v1",
     .doc = "Topic of ledger transactions; empty: they stay in the outbox."},
};
#undef LINK
static const tg_schema billing_kafka_schema =
    GROUP("kafka", tg_billing_settings, kafka, billing_kafka_fields);

#define AT(member) TG_AT(tg_billing_settings, member)
static const tg_field billing_fields[] = {
    TG_COMMON_FIELDS(tg_billing_settings, "billing-1"),
    {"grpc_listen", TG_FIELD_ADDRESS, AT(grpc_listen), .required = true,
     .doc = "Address of the gRPC server; port 0: any free one."},
    {"database", TG_FIELD_STRING, AT(database), .required = true,
     .doc = "Path of the SQLite ledger."},
    {"prices_file", TG_FIELD_STRING, AT(prices_file), .required = true,
     .doc = "Path of prices.yaml."},
    {"tenants_file", TG_FIELD_STRING, AT(tenants_file), .required = true,
     .doc = "Path of tenants.yaml."},
    {"batch_events_max", TG_FIELD_U32, AT(batch_events_max), .fallback = "1000", .min = 1,
     .max = 100000, .doc = "Events posted in one transaction."},
    {"batch_wait_ms", TG_FIELD_DURATION, AT(batch_wait_ms), .fallback = "100ms", .min = 1,
     .max = 60000, .doc = "Longest wait for a transaction to fill."},
    {"kafka", TG_FIELD_STRUCT, AT(kafka), .required = true, .schema = &billing_kafka_schema,
     .doc = "Where usage events come from."},
};
#undef AT
const tg_schema tg_billing_schema = TG_SCHEMA("billing.yaml", tg_billing_settings, billing_fields);

/* ---- health ---- */

static const tg_field circuit_fields[] = {
    {"error_rate_permille", TG_FIELD_U32, IN(tg_health_settings, circuit, error_rate_permille),
     .fallback = "500", .min = 1, .max = 1000,
     .doc = "Share of failures within the window that opens an endpoint's circuit."},
    {"min_requests", TG_FIELD_U32, IN(tg_health_settings, circuit, min_requests), .fallback = "3",
     .min = 1, .max = 100000, .doc = "Requests within the window below which it stays closed."},
    {"open_ms", TG_FIELD_DURATION, IN(tg_health_settings, circuit, open_ms), .fallback = "5s",
     .min = 1, .max = TG_DAY_MS, .doc = "Time an open circuit lets nothing through."},
    {"half_open_successes", TG_FIELD_U32, IN(tg_health_settings, circuit, half_open_successes),
     .fallback = "2", .min = 1, .max = 1000, .doc = "Successful probes that close it again."},
};
static const tg_schema circuit_schema =
    GROUP("circuit", tg_health_settings, circuit, circuit_fields);

#define LINK(member) IN(tg_health_settings, kafka, link.member)
static const tg_field health_kafka_fields[] = {
    {"brokers", TG_FIELD_STRING, LINK(brokers), .fallback = "",
     .doc = "HOST:PORT,…; empty: this replica shares nothing."},
    TG_KAFKA_FIELDS(LINK),
    {"topic_observations", TG_FIELD_STRING, IN(tg_health_settings, kafka, topic_observations),
     .fallback = "tollgate.observations.v1",
     .doc = "Topic by which replicas share observations; empty: this replica shares nothing."},
};
#undef LINK
static const tg_schema health_kafka_schema =
    GROUP("kafka", tg_health_settings, kafka, health_kafka_fields);

#define AT(member) TG_AT(tg_health_settings, member)
static const tg_field health_fields[] = {
    TG_COMMON_FIELDS(tg_health_settings, "health-1"),
    {"grpc_listen", TG_FIELD_ADDRESS, AT(grpc_listen), .required = true,
     .doc = "Address of the gRPC server; port 0: any free one."},
    {"targets_file", TG_FIELD_STRING, AT(targets_file), .required = true,
     .doc = "Path of targets.yaml; private endpoints are also watched directly."},
    {"window_ms", TG_FIELD_DURATION, AT(window_ms), .fallback = "30s", .min = 1000,
     .max = TG_DAY_MS, .doc = "Time over which latencies and error rates are taken."},
    {"push_interval_ms", TG_FIELD_DURATION, AT(push_interval_ms), .fallback = "100ms", .min = 1,
     .max = 60000,
     .doc = "Shortest time between two pushes of the fleet view; state changes go at once."},
    {"circuit", TG_FIELD_STRUCT, AT(circuit), .schema = &circuit_schema,
     .doc = "When an endpoint is taken out and put back."},
    {"kafka", TG_FIELD_STRUCT, AT(kafka), .schema = &health_kafka_schema,
     .doc = "How replicas share what they hear."},
};
#undef AT
const tg_schema tg_health_schema = TG_SCHEMA("health.yaml", tg_health_settings, health_fields);
