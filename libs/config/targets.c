#include "libs/config/mesh.h"
#include "libs/config/mesh_file.h"
#include "libs/config/scalar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tg_targets {
    tg_arena arena;
    const tg_target *list;
    size_t count;
};

typedef struct document {
    uint32_t version;
    const tg_target *targets;
    size_t target_count;
} document;

static const char *const providers[] = {"openai", "anthropic", "bedrock", "private", NULL};

static const char *const count_whens[] = {"near", "always", "never", NULL};

const char *tg_provider_name(tg_provider provider) { return providers[provider]; }

#define AT(type, member) .offset = offsetof(type, member)
#define COUNT_AT(type, member) .count_offset = offsetof(type, member)

static const tg_field endpoint_fields[] = {
    {"id", TG_FIELD_ID, AT(tg_endpoint, id), .fallback = "default",
     .doc = "Name of the replica, region or credential; unique within the target."},
    {"url", TG_FIELD_STRING, AT(tg_endpoint, url), .required = true,
     .doc = "https://HOST[:PORT][/BASE]; of a private target HOST:PORT of its gRPC server."},
    {"credential_env", TG_FIELD_STRING, AT(tg_endpoint, credential_env),
     .doc = "Environment variable that holds the API key."},
    {"credential_file", TG_FIELD_STRING, AT(tg_endpoint, credential_file),
     .doc = "File that holds the API key, instead."},
    {"access_key_env", TG_FIELD_STRING, AT(tg_endpoint, access_key_env),
     .doc = "Bedrock: environment variable that holds the access key id."},
    {"secret_key_env", TG_FIELD_STRING, AT(tg_endpoint, secret_key_env),
     .doc = "Bedrock: environment variable that holds the secret access key."},
    {"session_token_env", TG_FIELD_STRING, AT(tg_endpoint, session_token_env),
     .doc = "Bedrock: environment variable that holds the session token, if there is one."},
    {"region", TG_FIELD_STRING, AT(tg_endpoint, region),
     .doc = "Bedrock: region the request is signed for."},
    {"ca_file", TG_FIELD_STRING, AT(tg_endpoint, ca_file),
     .doc = "Certificate authority to trust besides the system's."},
    {"weight", TG_FIELD_U32, AT(tg_endpoint, weight), .fallback = "1", .min = 1, .max = 1000,
     .doc = "Share of the target's requests, relative to its other endpoints."},
};
static const tg_schema endpoint_schema = TG_SCHEMA("an endpoint", tg_endpoint, endpoint_fields);

static const tg_field target_fields[] = {
    {"id", TG_FIELD_ID, AT(tg_target, id), .required = true, .doc = "Name that policies route to."},
    {"provider", TG_FIELD_ENUM, AT(tg_target, provider), .required = true, .names = providers,
     .doc = "Whose protocol its endpoints speak."},
    {"model", TG_FIELD_STRING, AT(tg_target, model), .required = true,
     .doc = "Exact model name, as the upstream is asked; pin a dated version."},
    {"serves_as", TG_FIELD_STRING, AT(tg_target, serves_as),
     .doc = "Note shown to people beside the target."},
    {"context_tokens", TG_FIELD_U64, AT(tg_target, context_tokens), .max = 100000000,
     .doc = "Most tokens of input and output together; 0: not limited here."},
    {"max_output_tokens", TG_FIELD_U64, AT(tg_target, max_output_tokens), .fallback = "4096",
     .min = 1, .max = 10000000,
     .doc = "Output assumed for the cost bound when a client states no maximum."},
    {"count_tokens", TG_FIELD_ENUM, AT(tg_target, count_tokens), .fallback = "near",
     .names = count_whens,
     .doc = "Private: ask the target for its own count of a prompt's tokens where the router's "
            "guess is near a limit, always, or never."},
    {"connect_timeout_ms", TG_FIELD_DURATION, AT(tg_target, connect_timeout_ms), .fallback = "2s",
     .min = 1, .max = 60000, .doc = "Longest wait for a connection."},
    {"first_token_timeout_ms", TG_FIELD_DURATION, AT(tg_target, first_token_timeout_ms),
     .fallback = "30s", .min = 1, .max = 3600000, .doc = "Longest wait for the first token."},
    {"idle_timeout_ms", TG_FIELD_DURATION, AT(tg_target, idle_timeout_ms), .fallback = "30s",
     .min = 1, .max = 3600000, .doc = "Longest wait between two tokens."},
    {"total_timeout_ms", TG_FIELD_DURATION, AT(tg_target, total_timeout_ms), .fallback = "10m",
     .min = 1, .max = 86400000, .doc = "Longest time of one attempt."},
    {"data_classes", TG_FIELD_STRINGS, AT(tg_target, data_classes),
     COUNT_AT(tg_target, data_class_count), .max = 64,
     .doc = "Data classes it may carry (X-Data-Class); empty: any."},
    {"endpoints", TG_FIELD_STRUCTS, AT(tg_target, endpoints), COUNT_AT(tg_target, endpoint_count),
     .required = true, .min = 1, .max = 64, .schema = &endpoint_schema,
     .doc = "Places that serve it."},
};
static const tg_schema target_schema = TG_SCHEMA("a target", tg_target, target_fields);

static const tg_field document_fields[] = {
    {"version", TG_FIELD_U32, AT(document, version), .required = true, .min = 1, .max = 1,
     .doc = "Version of this file's format."},
    {"targets", TG_FIELD_STRUCTS, AT(document, targets), COUNT_AT(document, target_count),
     .required = true, .min = 1, .max = 256, .schema = &target_schema,
     .doc = "Models that requests can be sent to."},
};
const tg_schema tg_targets_schema = TG_SCHEMA("targets.yaml", document, document_fields);

static bool url_valid(const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    size_t len = host ? strcspn(host, "/") : 0;
    return len > 0 && host[len - 1] != ':' && !strpbrk(host, "?#@ ") && url[strlen(url) - 1] != '/';
}

static int check_bedrock(const tg_endpoint *endpoint, const tg_yaml_node *item, tg_error *err)
{
    const char *missing = !endpoint->region           ? "region"
                          : !endpoint->access_key_env ? "access_key_env"
                          : !endpoint->secret_key_env ? "secret_key_env"
                                                      : NULL;
    if (missing)
        return tg_yaml_error(item, err,
                             "'%s' is missing: a bedrock endpoint needs region, "
                             "access_key_env and secret_key_env",
                             missing);
    return 0;
}

static int check_endpoint(const tg_target *target, const tg_endpoint *endpoint,
                          const tg_yaml_node *item, tg_error *err)
{
    const tg_yaml_node *url = tg_mesh_node(item, "url");
    if (target->provider == TG_PROVIDER_PRIVATE) {
        if (!tg_scalar_is_address(tg_str_of(endpoint->url)))
            return tg_yaml_error(url, err, "'url' is '%s'; allowed: HOST:PORT of the gRPC server",
                                 endpoint->url);
    } else if (!url_valid(endpoint->url)) {
        return tg_yaml_error(url, err,
                             "'url' is '%s'; allowed: https://HOST[:PORT][/BASE], no '/' "
                             "at its end",
                             endpoint->url);
    }
    if (endpoint->credential_env && endpoint->credential_file)
        return tg_yaml_error(tg_mesh_node(item, "credential_file"), err,
                             "give credential_env or credential_file, not both");
    return target->provider == TG_PROVIDER_BEDROCK ? check_bedrock(endpoint, item, err) : 0;
}

static int check_endpoints(const tg_target *target, const tg_yaml_node *item, tg_error *err)
{
    const tg_yaml_node *node = tg_yaml_get(item, "endpoints")->first;
    tg_map *ids = tg_map_new();
    int rc = ids ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < target->endpoint_count; i++, node = node->next) {
        rc = tg_mesh_index(ids, target->endpoints[i].id, node, &target->endpoints[i], err);
        if (rc == 0)
            rc = check_endpoint(target, &target->endpoints[i], node, err);
    }
    tg_map_free(ids);
    return rc;
}

static int check_targets(const document *doc, const tg_yaml_node *root, tg_error *err)
{
    const tg_yaml_node *item = tg_yaml_get(root, "targets")->first;
    tg_map *ids = tg_map_new();
    int rc = ids ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < doc->target_count; i++, item = item->next) {
        rc = tg_mesh_index(ids, doc->targets[i].id, item, &doc->targets[i], err);
        if (rc == 0 && doc->targets[i].count_tokens == TG_COUNT_ALWAYS &&
            doc->targets[i].provider != TG_PROVIDER_PRIVATE)
            rc = tg_yaml_error(tg_yaml_get(item, "count_tokens"), err,
                               "count_tokens: always needs provider: private");
        if (rc == 0)
            rc = check_endpoints(&doc->targets[i], item, err);
    }
    tg_map_free(ids);
    return rc;
}

int tg_targets_load(const char *path, tg_error *err, tg_targets **ret)
{
    const tg_yaml_node *root = NULL;
    document doc = {0};
    tg_targets *targets = calloc(1, sizeof *targets);
    if (!targets)
        return tg_error_set(err, -ENOMEM, "%s: out of memory", path);
    tg_arena_init(&targets->arena, 0);
    int rc = tg_mesh_read(&tg_targets_schema, path, &targets->arena, err, &root, &doc);
    if (rc == 0)
        rc = check_targets(&doc, root, err);
    if (rc < 0) {
        tg_targets_free(targets);
        return tg_error_set(err, rc, "%s: out of memory", path);
    }
    targets->list = doc.targets;
    targets->count = doc.target_count;
    *ret = targets;
    return 0;
}

tg_targets *tg_targets_free(tg_targets *targets)
{
    if (targets) {
        tg_arena_free(&targets->arena);
        free(targets);
    }
    return NULL;
}

size_t tg_targets_count(const tg_targets *targets) { return targets->count; }

const tg_target *tg_targets_at(const tg_targets *targets, size_t index)
{
    return index < targets->count ? &targets->list[index] : NULL;
}

int tg_targets_find(const tg_targets *targets, tg_str id)
{
    for (size_t i = 0; i < targets->count; i++)
        if (tg_str_is(id, targets->list[i].id))
            return (int)i;
    return -1;
}
