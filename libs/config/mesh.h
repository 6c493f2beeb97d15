/* The documents the services share: targets, prices, tenants and keys.
 *
 * Each is a YAML file with `version:`; unknown keys, wrong types and missing values are reported as
 * file:line:column with what is allowed and the nearest known name. A loaded document is immutable.
 *
 * Ownership: each _load gives a document to be freed with its _free; strings live with it.
 * Threads: any, read only.
 */
#ifndef TG_CONFIG_MESH_H
#define TG_CONFIG_MESH_H

#include "libs/base/error.h"
#include "libs/base/str.h"
#include "libs/money/money.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- targets.yaml ---- */

typedef enum tg_provider {
    TG_PROVIDER_OPENAI,    /* OpenAI chat completions over HTTPS */
    TG_PROVIDER_ANTHROPIC, /* Anthropic messages over HTTPS */
    TG_PROVIDER_BEDROCK,   /* Bedrock Converse over HTTPS, SigV4 */
    TG_PROVIDER_PRIVATE    /* our inference service over gRPC */
} tg_provider;

const char *tg_provider_name(tg_provider provider); /* openai, anthropic, bedrock, private */

/* When a private target is asked for its own count of a prompt's tokens before a request goes
 * there. */
typedef enum tg_count_when {
    TG_COUNT_NEAR,   /* where the guess is so near a limit that the count may decide */
    TG_COUNT_ALWAYS,
    TG_COUNT_NEVER
} tg_count_when;

/* One place that serves a target: a replica, a region or a credential. */
typedef struct tg_endpoint {
    const char *id;  /* unique within the target */
    const char *url; /* https://host:port[/base]; for private: host:port of the gRPC server */
    const char *credential_env;    /* environment variable that holds the API key, or NULL */
    const char *credential_file;   /* file that holds it, or NULL */
    const char *access_key_env;    /* Bedrock */
    const char *secret_key_env;    /* Bedrock */
    const char *session_token_env; /* Bedrock, or NULL */
    const char *region;            /* Bedrock */
    const char *ca_file;           /* extra CA for TLS, or NULL for the system's */
    uint32_t weight;               /* default 1 */
} tg_endpoint;

typedef struct tg_target {
    const char *id;
    tg_provider provider;
    const char *model;     /* as the upstream is asked */
    const char *serves_as; /* a note shown to people, e.g. "served by SmolLM2-135M here", or NULL */
    uint64_t context_tokens; /* 0: not limited by us */
    uint64_t
        max_output_tokens; /* used for the cost bound when a client states none; default 4096 */
    tg_count_when count_tokens;      /* default TG_COUNT_NEAR; of private targets only */
    uint32_t connect_timeout_ms;     /* default 2000 */
    uint32_t first_token_timeout_ms; /* default 30000 */
    uint32_t idle_timeout_ms;        /* between two tokens; default 30000 */
    uint32_t total_timeout_ms;       /* default 600000 */
    const char *const *data_classes; /* classes it may carry; count 0: any */
    size_t data_class_count;
    const tg_endpoint *endpoints;
    size_t endpoint_count; /* at least 1 */
} tg_target;

typedef struct tg_targets tg_targets;
int tg_targets_load(const char *path, tg_error *err, tg_targets **ret);
tg_targets *tg_targets_free(tg_targets *targets);
size_t tg_targets_count(const tg_targets *targets);
const tg_target *tg_targets_at(const tg_targets *targets, size_t index);
/* The target's index, or -1. */
int tg_targets_find(const tg_targets *targets, tg_str id);

/* ---- prices.yaml ---- */

/* Dollars per million tokens, effective-dated; gives a price book (libs/money). Exact: a price that
 * is not a whole number of pico-dollars a token is an error. Cache prices that are left out equal
 * input's. */
int tg_prices_load(const char *path, tg_error *err, tg_price_book **ret);

/* ---- tenants.yaml ---- */

typedef struct tg_tenant {
    const char *id;
    const char *name;
    const char *const *model_allowlist; /* target ids it may pin; count 0: any */
    size_t model_allowlist_count;
    uint32_t rate_limit_rpm; /* 0: none */
} tg_tenant;

typedef struct tg_tenants tg_tenants;
int tg_tenants_load(const char *path, tg_error *err, tg_tenants **ret);
tg_tenants *tg_tenants_free(tg_tenants *tenants);
size_t tg_tenants_count(const tg_tenants *tenants);
const tg_tenant *tg_tenants_at(const tg_tenants *tenants, size_t index);
const tg_tenant *tg_tenants_find(const tg_tenants *tenants, tg_str id); /* NULL when unknown */

/* ---- keys.yaml ---- */

/* An API key as stored: its public id, and SHA-256 of (salt || key) in hex; the salt is the text in
 * the file. */
typedef struct tg_key {
    const char *id;             /* public: in logs, events and errors */
    const char *tenant;         /* whose requests it makes */
    const char *const *tenants; /* others it may name with X-Tenant */
    size_t tenant_count;
    bool pin; /* may pin a target by id; default true */
} tg_key;

#define TG_KEYS_MAX 10000 /* keys in one file */
#define TG_KEY_TEXT 128   /* a key that tg_keys_make makes, with the terminator */

typedef struct tg_keys tg_keys;
/* Every tenant named must exist in `tenants`. */
int tg_keys_load(const char *path, const tg_tenants *tenants, tg_error *err, tg_keys **ret);
tg_keys *tg_keys_free(tg_keys *keys);
/* NULL: no such key. A text "tg_live_ID~…" whose ID is that of a `named` key costs one hash (about
 * a microsecond), compared in constant time; any other is compared with every key that is not
 * named, at one hash for each distinct salt among those. */
const tg_key *tg_keys_check(const tg_keys *keys, tg_str secret);
/* A new named key, "tg_live_ID~" and 43 random characters; and the line for the `keys:` list of
 * keys.yaml. 0, -EINVAL for an id or a tenant that is not a name, -ENOMEM. */
int tg_keys_make(const char *id, const char *tenant, char ret_secret[TG_KEY_TEXT],
                 char ret_yaml[512]);

/* The documents' keys as tables (libs/config/schema.h), for `tollgate config print`. */
extern const struct tg_schema tg_targets_schema, tg_prices_schema, tg_tenants_schema,
    tg_keys_schema;

#endif
