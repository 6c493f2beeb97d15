#include "libs/config/mesh.h"
#include "libs/config/mesh_file.h"

#include <errno.h>
#include <stdlib.h>

struct tg_tenants {
    tg_arena arena;
    const tg_tenant *list;
    size_t count;
    tg_map *by_id;
};

typedef struct document {
    uint32_t version;
    tg_tenant *tenants;
    size_t tenant_count;
} document;

#define AT(type, member) .offset = offsetof(type, member)
#define COUNT_AT(type, member) .count_offset = offsetof(type, member)

static const tg_field tenant_fields[] = {
    {"id", TG_FIELD_ID, AT(tg_tenant, id), .required = true,
     .doc = "Name in keys, events and ledgers."},
    {"name", TG_FIELD_STRING, AT(tg_tenant, name), .doc = "Name for people; left out: the id."},
    {"model_allowlist", TG_FIELD_STRINGS, AT(tg_tenant, model_allowlist),
     COUNT_AT(tg_tenant, model_allowlist_count), .max = 256,
     .doc = "Targets its keys may pin by name; empty: any."},
    {"rate_limit_rpm", TG_FIELD_U32, AT(tg_tenant, rate_limit_rpm), .max = 100000000,
     .doc = "Requests per minute in each router process, of which ten seconds' worth may come at "
            "once; 429 past it; 0: no limit."},
};
static const tg_schema tenant_schema = TG_SCHEMA("a tenant", tg_tenant, tenant_fields);

static const tg_field document_fields[] = {
    {"version", TG_FIELD_U32, AT(document, version), .required = true, .min = 1, .max = 1,
     .doc = "Version of this file's format."},
    {"tenants", TG_FIELD_STRUCTS, AT(document, tenants), COUNT_AT(document, tenant_count),
     .required = true, .min = 1, .max = 10000, .schema = &tenant_schema,
     .doc = "Who is charged for requests."},
};
const tg_schema tg_tenants_schema = TG_SCHEMA("tenants.yaml", document, document_fields);

static int index_tenants(tg_tenants *tenants, document *doc, const tg_yaml_node *root,
                         tg_error *err)
{
    const tg_yaml_node *item = tg_yaml_get(root, "tenants")->first;
    for (size_t i = 0; i < doc->tenant_count; i++, item = item->next) {
        tg_tenant *tenant = &doc->tenants[i];
        if (!tenant->name)
            tenant->name = tenant->id;
        int rc = tg_mesh_index(tenants->by_id, tenant->id, item, tenant, err);
        if (rc < 0)
            return rc;
    }
    tenants->list = doc->tenants;
    tenants->count = doc->tenant_count;
    return 0;
}

int tg_tenants_load(const char *path, tg_error *err, tg_tenants **ret)
{
    const tg_yaml_node *root = NULL;
    document doc = {0};
    tg_tenants *tenants = calloc(1, sizeof *tenants);
    if (!tenants)
        return tg_error_set(err, -ENOMEM, "%s: out of memory", path);
    tg_arena_init(&tenants->arena, 0);
    tenants->by_id = tg_map_new();
    int rc = tenants->by_id ? 0 : -ENOMEM;
    if (rc == 0)
        rc = tg_mesh_read(&tg_tenants_schema, path, &tenants->arena, err, &root, &doc);
    if (rc == 0)
        rc = index_tenants(tenants, &doc, root, err);
    if (rc < 0) {
        tg_tenants_free(tenants);
        return tg_error_set(err, rc, "%s: out of memory", path);
    }
    *ret = tenants;
    return 0;
}

tg_tenants *tg_tenants_free(tg_tenants *tenants)
{
    if (tenants) {
        tg_map_free(tenants->by_id);
        tg_arena_free(&tenants->arena);
        free(tenants);
    }
    return NULL;
}

size_t tg_tenants_count(const tg_tenants *tenants) { return tenants->count; }

const tg_tenant *tg_tenants_at(const tg_tenants *tenants, size_t index)
{
    return index < tenants->count ? &tenants->list[index] : NULL;
}

const tg_tenant *tg_tenants_find(const tg_tenants *tenants, tg_str id)
{
    return tg_map_get(tenants->by_id, id);
}
