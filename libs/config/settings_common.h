/* The keys that all four settings files share. Internal to libs/config. */
#ifndef TG_CONFIG_SETTINGS_COMMON_H
#define TG_CONFIG_SETTINGS_COMMON_H

#include "libs/config/mesh_file.h"
#include "libs/config/settings.h"

extern const tg_schema tg_tls_schema;
extern const char *const tg_log_level_names[]; /* in the order of tg_log_level */

#define TG_AT(type, member) .offset = offsetof(type, member)
#define TG_COUNT_AT(type, member) .count_offset = offsetof(type, member)

enum { TG_DAY_MS = 86400000 };

#define TG_COMMON_FIELDS(type, name)                                                               \
    {"version",                                                                                    \
     TG_FIELD_U32,                                                                                 \
     TG_AT(type, common.version),                                                                  \
     .required = true,                                                                             \
     .min = 1,                                                                                     \
     .max = 1,                                                                                     \
     .doc = "Version of this file's format."},                                                     \
        {"instance_id", TG_FIELD_ID, TG_AT(type, common.instance_id), .fallback = name,            \
         .doc = "Name of this process in events, logs and metrics; unique among its kind."},       \
        {"log_level",                                                                              \
         TG_FIELD_ENUM,                                                                            \
         TG_AT(type, common.log_level),                                                            \
         .fallback = "info",                                                                       \
         .names = tg_log_level_names,                                                              \
         .doc = "Least level that is logged."},                                                    \
        {"insecure", TG_FIELD_BOOL, TG_AT(type, common.insecure),                                  \
         .doc = "Allows to listen beyond loopback without TLS."},                                  \
        {"tls", TG_FIELD_STRUCT, TG_AT(type, common.tls), .schema = &tg_tls_schema,                \
         .doc = "Certificates of this service; none: plain text, on loopback only."},              \
        {"metrics_listen", TG_FIELD_ADDRESS, TG_AT(type, common.metrics_listen),                   \
         .fallback = "127.0.0.1:0",                                                                \
         .doc =                                                                                    \
             "Address of /metrics, /healthz and /readyz: over HTTP on loopback, HTTPS elsewhere; " \
             "port 0: any free one."},                                                             \
    {                                                                                              \
        "drain_timeout_ms", TG_FIELD_DURATION, TG_AT(type, common.drain_timeout_ms),               \
            .fallback = "30s", .max = TG_DAY_MS,                                                   \
            .doc = "After SIGTERM, longest wait for running requests to end."                      \
    }

/* The keys of a tg_kafka_link but for `brokers`, which only some services need. LINK(member) is the
 * offset. */
#define TG_KAFKA_FIELDS(LINK)                                                                      \
    {"security",                                                                                   \
     TG_FIELD_ENUM,                                                                                \
     LINK(security),                                                                               \
     .fallback = "plaintext",                                                                      \
     .names = tg_kafka_security_names,                                                             \
     .doc = "How brokers are spoken to."},                                                         \
        {"ca_file", TG_FIELD_STRING, LINK(ca_file), .fallback = "",                                \
         .doc = "PEM file of the CA that brokers' certificates must be of; empty: the system's."}, \
        {"cert_file", TG_FIELD_STRING, LINK(cert_file), .fallback = "",                            \
         .doc = "PEM file of our certificate, where brokers ask for one."},                        \
        {"key_file", TG_FIELD_STRING, LINK(key_file), .fallback = "",                              \
         .doc = "PEM file of its private key."},                                                   \
        {"sasl_mechanism",                                                                         \
         TG_FIELD_ENUM,                                                                            \
         LINK(mechanism),                                                                          \
         .fallback = "PLAIN",                                                                      \
         .names = tg_kafka_mechanism_names,                                                        \
         .doc = "How we prove who we are, with sasl_plaintext and sasl_ssl. Kafka 4 takes SCRAM "  \
                "only from librdkafka 2.6.1 or later."},                                           \
        {"sasl_username", TG_FIELD_STRING, LINK(username), .fallback = "",                         \
         .doc = "Our name there."},                                                                \
    {                                                                                              \
        "sasl_password", TG_FIELD_STRING, LINK(password),                                          \
            .fallback = "", .doc = "Its password; from the environment: \"${NAME}\"."              \
    }

#endif
