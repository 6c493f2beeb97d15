#include "libs/base/id.h"
#include "libs/config/mesh.h"
#include "libs/config/mesh_file.h"
#include "libs/config/scalar.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "tg_live_"
#define ID_END '~' /* in no id, nor in what follows it, and no client has to quote it */

enum { HASH_BYTES = 32, SECRET_BYTES = 32, SALT_BYTES = 16, PREFIX_LEN = sizeof PREFIX - 1 };

typedef struct entry {
    tg_key key; /* first: what tg_keys_check gives out */
    const char *salt, *sha256;
    bool named; /* the key's text holds its id */
    uint8_t hash[HASH_BYTES];
} entry;

struct tg_keys {
    tg_arena arena;
    /* those not named first, sorted by salt, so that keys with one salt share one hash */
    entry *list;
    size_t unnamed;
    tg_map *named; /* id → entry */
    EVP_MD *sha256;
};

typedef struct document {
    uint32_t version;
    entry *keys;
    size_t key_count;
} document;

#define AT(type, member) .offset = offsetof(type, member)

static const tg_field entry_fields[] = {
    {"id", TG_FIELD_ID, AT(entry, key.id), .required = true,
     .doc = "Public name of the key, in logs, events and errors."},
    {"tenant", TG_FIELD_ID, AT(entry, key.tenant), .required = true,
     .doc = "Tenant that is charged."},
    {"tenants", TG_FIELD_STRINGS, AT(entry, key.tenants),
     .count_offset = offsetof(entry, key.tenant_count), .max = 1000,
     .doc = "Other tenants that a request may name with X-Tenant."},
    {"salt", TG_FIELD_STRING, AT(entry, salt), .required = true,
     .doc = "Text put before the key when it is hashed."},
    {"sha256", TG_FIELD_STRING, AT(entry, sha256), .required = true,
     .doc = "SHA-256 of salt and key, 64 hexadecimal digits."},
    {"named", TG_FIELD_BOOL, AT(entry, named),
     .doc = "Whether the key's text begins with 'tg_live_', its id and a '~': it is then found by "
            "its id, at the "
            "cost of one hash however many keys there are; without it every such key's salt costs "
            "a hash a request."},
    {"pin", TG_FIELD_BOOL, AT(entry, key.pin), .fallback = "true",
     .doc = "Whether a request may name a target instead of leaving the choice to the policy."},
};
static const tg_schema entry_schema = TG_SCHEMA("a key", entry, entry_fields);

static const tg_field document_fields[] = {
    {"version", TG_FIELD_U32, AT(document, version), .required = true, .min = 1, .max = 1,
     .doc = "Version of this file's format."},
    {"keys", TG_FIELD_STRUCTS, AT(document, keys), .count_offset = offsetof(document, key_count),
     .required = true, .max = TG_KEYS_MAX, .schema = &entry_schema, .doc = "API keys, hashed."},
};
const tg_schema tg_keys_schema = TG_SCHEMA("keys.yaml", document, document_fields);

static int parse_hash(const tg_yaml_node *item, entry *e, tg_error *err)
{
    bool valid = strlen(e->sha256) == 2 * HASH_BYTES;
    for (size_t i = 0; valid && i < 2 * HASH_BYTES; i++) {
        char c = e->sha256[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10;
        valid = digit >= 0;
        e->hash[i / 2] = (uint8_t)(e->hash[i / 2] << 4 | (digit & 15));
    }
    return valid ? 0
                 : tg_yaml_error(tg_mesh_node(item, "sha256"), err,
                                 "'sha256' is not 64 hexadecimal digits");
}

static int unknown_tenant(const tg_yaml_node *node, const char *key, const char *name,
                          const tg_tenants *tenants, tg_error *err)
{
    size_t count = tg_tenants_count(tenants);
    const char *nearest = NULL;
    for (size_t i = 0; i < count && !nearest; i++) {
        const char *known = tg_tenants_at(tenants, i)->id;
        nearest = tg_str_nearest(name, &known, 1);
    }
    return tg_yaml_error(node, err, "'%s' names the tenant '%s', which does not exist%s%s%s", key,
                         name, nearest ? "; did you mean '" : "", nearest ? nearest : "",
                         nearest ? "'?" : "");
}

static int check_tenants(const tg_yaml_node *item, const tg_key *key, const tg_tenants *tenants,
                         tg_error *err)
{
    if (!tg_tenants_find(tenants, tg_str_of(key->tenant)))
        return unknown_tenant(tg_mesh_node(item, "tenant"), "tenant", key->tenant, tenants, err);
    const tg_yaml_node *list = tg_yaml_get(item, "tenants");
    const tg_yaml_node *node = list && list->type == TG_YAML_SEQUENCE ? list->first : list;
    for (size_t i = 0; i < key->tenant_count; i++, node = node->next)
        if (!tg_tenants_find(tenants, tg_str_of(key->tenants[i])))
            return unknown_tenant(node, "tenants", key->tenants[i], tenants, err);
    return 0;
}

static int check_keys(const document *doc, const tg_yaml_node *root, const tg_tenants *tenants,
                      tg_error *err)
{
    const tg_yaml_node *item = tg_yaml_get(root, "keys")->first;
    tg_map *ids = tg_map_new();
    int rc = ids ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < doc->key_count; i++, item = item->next) {
        entry *e = &doc->keys[i];
        rc = tg_mesh_index(ids, e->key.id, item, e, err);
        if (rc == 0)
            rc = check_tenants(item, &e->key, tenants, err);
        if (rc == 0)
            rc = parse_hash(item, e, err);
    }
    tg_map_free(ids);
    return rc;
}

static int compare_entries(const void *a, const void *b)
{
    const entry *left = a, *right = b;
    return left->named != right->named ? left->named - right->named
                                       : strcmp(left->salt, right->salt);
}

static int index_keys(tg_keys *keys, entry *list, size_t count)
{
    int rc = 0;
    if (count > 0)
        qsort(list, count, sizeof *list, compare_entries);
    keys->list = list;
    while (keys->unnamed < count && !list[keys->unnamed].named)
        keys->unnamed++;
    for (size_t i = keys->unnamed; rc == 0 && i < count; i++)
        rc = tg_map_put(keys->named, tg_str_of(list[i].key.id), &list[i], NULL);
    return rc;
}

int tg_keys_load(const char *path, const tg_tenants *tenants, tg_error *err, tg_keys **ret)
{
    const tg_yaml_node *root = NULL;
    document doc = {0};
    tg_keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return tg_error_set(err, -ENOMEM, "%s: out of memory", path);
    tg_arena_init(&keys->arena, 0);
    keys->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    keys->named = tg_map_new();
    int rc = keys->sha256 && keys->named ? 0 : -ENOMEM;
    if (rc == 0)
        rc = tg_mesh_read(&tg_keys_schema, path, &keys->arena, err, &root, &doc);
    if (rc == 0)
        rc = check_keys(&doc, root, tenants, err);
    if (rc == 0)
        rc = index_keys(keys, doc.keys, doc.key_count);
    if (rc < 0) {
        tg_keys_free(keys);
        return tg_error_set(err, rc, "%s: out of memory", path);
    }
    *ret = keys;
    return 0;
}

tg_keys *tg_keys_free(tg_keys *keys)
{
    if (keys) {
        EVP_MD_free(keys->sha256);
        tg_map_free(keys->named);
        tg_arena_free(&keys->arena);
        free(keys);
    }
    return NULL;
}

static int hash(EVP_MD_CTX *ctx, const EVP_MD *sha256, const char *salt, tg_str secret,
                uint8_t ret[HASH_BYTES])
{
    bool ok = EVP_DigestInit_ex2(ctx, sha256, NULL) && EVP_DigestUpdate(ctx, salt, strlen(salt)) &&
              EVP_DigestUpdate(ctx, secret.data, secret.len) && EVP_DigestFinal_ex(ctx, ret, NULL);
    return ok ? 0 : -EIO;
}

/* The entry that the key's text names, or NULL: no id in it, or none that exists. Ids are
 * public. */
static const entry *find_named(const tg_keys *keys, tg_str secret)
{
    const char *mark = secret.len > PREFIX_LEN && memcmp(secret.data, PREFIX, PREFIX_LEN) == 0
                           ? memchr(secret.data, ID_END, secret.len)
                           : NULL;
    if (!mark)
        return NULL;
    const char *id = secret.data + PREFIX_LEN;
    return tg_map_get(keys->named, (tg_str){id, (size_t)(mark - id)});
}

/* Every entry is compared, whether one has matched or not: time says nothing about which. */
static const entry *find_unnamed(const tg_keys *keys, EVP_MD_CTX *ctx, tg_str secret)
{
    const entry *found = NULL;
    uint8_t digest[HASH_BYTES];
    for (size_t i = 0; i < keys->unnamed; i++) {
        const entry *e = &keys->list[i];
        if ((i == 0 || strcmp(e[-1].salt, e->salt) != 0) &&
            hash(ctx, keys->sha256, e->salt, secret, digest) < 0)
            return NULL;
        if (tg_equal_constant_time(digest, e->hash, HASH_BYTES))
            found = e;
    }
    return found;
}

const tg_key *tg_keys_check(const tg_keys *keys, tg_str secret)
{
    uint8_t digest[HASH_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const entry *found = ctx ? find_named(keys, secret) : NULL;
    if (found) {
        if (hash(ctx, keys->sha256, found->salt, secret, digest) < 0 ||
            !tg_equal_constant_time(digest, found->hash, HASH_BYTES))
            found = NULL;
    } else if (ctx) {
        found = find_unnamed(keys, ctx, secret);
    }
    EVP_MD_CTX_free(ctx);
    return found ? &found->key : NULL;
}

static void base64url(const uint8_t *data, size_t len, char *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | data[i];
        for (have += 8; have >= 6; have -= 6)
            *to++ = digits[bits >> (have - 6) & 63];
    }
    if (have > 0)
        *to++ = digits[bits << (6 - have) & 63];
    *to = '\0';
}

int tg_keys_make(const char *id, const char *tenant, char ret_secret[TG_KEY_TEXT],
                 char ret_yaml[512])
{
    uint8_t random[SECRET_BYTES], salt[SALT_BYTES], digest[HASH_BYTES];
    char secret[TG_KEY_TEXT], salt_hex[2 * SALT_BYTES + 1], digest_hex[2 * HASH_BYTES + 1];
    if (!tg_scalar_is_id(tg_str_of(id)) || !tg_scalar_is_id(tg_str_of(tenant)))
        return -EINVAL;
    snprintf(secret, sizeof secret, PREFIX "%s%c", id, ID_END);
    tg_random_bytes(random, sizeof random);
    tg_random_bytes(salt, sizeof salt);
    base64url(random, sizeof random, secret + strlen(secret));
    tg_hex(salt, sizeof salt, salt_hex);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = ctx ? hash(ctx, EVP_sha256(), salt_hex, tg_str_of(secret), digest) : -ENOMEM;
    EVP_MD_CTX_free(ctx);
    if (rc < 0)
        return rc;
    tg_hex(digest, sizeof digest, digest_hex);
    memcpy(ret_secret, secret, sizeof secret);
    snprintf(ret_yaml, 512,
             "  - {id: \"%s\", tenant: \"%s\", named: true, salt: \"%s\", sha256: \"%s\"}\n", id,
             tenant, salt_hex, digest_hex);
    return 0;
}
