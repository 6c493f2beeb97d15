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
     TG_AT(type, version),                                                                         \
     .required = true,                                                                             \
     .min = 1,                                                                                     \
     .max = 1,                                                                                     \
     .doc = "Version of this file's format."},                                                     \
        {"instance_id", TG_FIELD_ID, TG_AT(type, instance_id), .fallback = name,                   \
         .doc = "Name of this process in events, logs and metrics; unique among its kind."},       \
        {"log_level",                                                                              \
         TG_FIELD_ENUM,                                                                            \
         TG_AT(type, log_level),                                                                   \
         .fallback = "info",                                                                       \
         .names = tg_log_level_names,                                                              \
         .doc = "Least level that is logged."},                                                    \
        {"insecure", TG_FIELD_BOOL, TG_AT(type, insecure),                                         \
         .doc = "Allows to listen beyond loopback without TLS."},                                  \
        {"tls", TG_FIELD_STRUCT, TG_AT(type, tls), .schema = &tg_tls_schema,                       \
         .doc = "Certificates of this service; none: plain text, on loopback only."},              \
        {"metrics_listen", TG_FIELD_ADDRESS, TG_AT(type, metrics_listen),                          \
         .fallback = "127.0.0.1:0",                                                                \
         .doc = "Address of /metrics, /healthz and /readyz: over HTTP on loopback, HTTPS elsewhere; port 0: any free one."},     \
    {                                                                                              \
        "drain_timeout_ms", TG_FIELD_DURATION, TG_AT(type, drain_timeout_ms),                      \
            .fallback = "30s", .max = TG_DAY_MS,                                                   \
            .doc = "After SIGTERM, longest wait for running requests to end."                      \
    }

#endif
