#include "libs/config/settings_common.h"

#include <errno.h>

const char *const tg_log_level_names[] = {"debug", "info", "warn", "error", NULL};
const char *const tg_kafka_security_names[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl",
                                               NULL};
const char *const tg_kafka_mechanism_names[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", NULL};

static const tg_field tls_fields[] = {
    {"cert_file", TG_FIELD_STRING, TG_AT(tg_tls_settings, cert_file),
     .doc = "Certificate chain, PEM; empty: no TLS."},
    {"key_file", TG_FIELD_STRING, TG_AT(tg_tls_settings, key_file), .doc = "Its private key, PEM."},
    {"ca_file", TG_FIELD_STRING, TG_AT(tg_tls_settings, ca_file),
     .doc = "Authority that the certificates of the other services must come from (mTLS), PEM."},
};
const tg_schema tg_tls_schema = TG_SCHEMA("tls", tg_tls_settings, tls_fields);

/* So that "${NAME:-}" can leave a file out. */
static void forget_empty(const char **file)
{
    if (*file && !**file)
        *file = NULL;
}

/* Every settings struct begins with a tg_common_settings. */
static int load(const tg_schema *schema, const char *path, tg_error *err, tg_arena *arena,
                const void **ret)
{
    const void *value = NULL;
    int rc = tg_schema_load(schema, path, arena, err, &value);
    if (rc < 0)
        return rc;
    /* ours until we return */
    tg_tls_settings *tls = (tg_tls_settings *)&((const tg_common_settings *)value)->tls;
    forget_empty(&tls->cert_file);
    forget_empty(&tls->key_file);
    forget_empty(&tls->ca_file);
    if (!tls->cert_file != !tls->key_file)
        return tg_error_set(
            err, -EINVAL, "%s: tls: cert_file and key_file are given together or not at all", path);
    if (tls->ca_file && !tls->cert_file) /* it would look like TLS and be plain text */
        return tg_error_set(
            err, -EINVAL, "%s: tls: ca_file needs cert_file and key_file beside it", path);
    *ret = value;
    return 0;
}

#define LOADER(name)                                                                               \
    int tg_##name##_settings_load(const char *path, tg_error *err, tg_arena *arena,                \
                                  const tg_##name##_settings **ret)                                \
    {                                                                                              \
        const void *value = NULL;                                                                  \
        int rc = load(&tg_##name##_schema, path, err, arena, &value);                              \
        if (rc == 0)                                                                               \
            *ret = value;                                                                          \
        return rc;                                                                                 \
    }

LOADER(router)
LOADER(inference)
LOADER(billing)
LOADER(health)
