#include "libs/config/schema.h"

#include "libs/config/scalar.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FIELDS_MAX = 48 }; /* of one schema; tables are ours, so this is a check on us */

static void *at(void *base, size_t offset) { return (char *)base + offset; }

static const char *field_nearest_name(const tg_field *field, const char *text)
{
    size_t count = 0;
    while (field->names[count])
        count++;
    return tg_str_nearest(text, field->names, count);
}

static int read_enum(const tg_field *field, const tg_yaml_node *node, tg_error *err, void *to)
{
    char list[300];
    size_t used = 0;
    for (int i = 0; field->names[i]; i++) {
        if (tg_str_is(node->text, field->names[i])) {
            *(int *)to = i;
            return 0;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     field->names[i]);
    }
    const char *nearest = field_nearest_name(field, node->text.data);
    return tg_yaml_error(node, err, "'%s' is '%s'; allowed: %s%s%s%s", field->name, node->text.data,
                         list, nearest ? "; did you mean '" : "", nearest ? nearest : "",
                         nearest ? "'?" : "");
}

static int read_number(const tg_field *field, const tg_yaml_node *node, tg_error *err, void *to)
{
    uint64_t value = 0, max = field->max ? field->max : UINT64_MAX;
    bool wide = field->type == TG_FIELD_U64 || field->type == TG_FIELD_BYTES;
    if (!wide && max > UINT32_MAX)
        max = UINT32_MAX;
    int rc = tg_scalar_number(field, node, &value);
    if (rc == 0 && (value < field->min || value > max))
        rc = -ERANGE;
    if (rc < 0) {
        char allowed[160];
        tg_scalar_allowed(field, allowed, sizeof allowed);
        return tg_yaml_error(node, err, "'%s' is '%s'; allowed: %s", field->name, node->text.data,
                             allowed);
    }
    if (wide)
        *(uint64_t *)to = value;
    else
        *(uint32_t *)to = (uint32_t)value;
    return 0;
}

static int read_text(const tg_field *field, const tg_yaml_node *node, tg_error *err, void *to)
{
    bool empty = node->text.len == 0, empty_ok = field->fallback && !*field->fallback;
    if (empty && field->required)
        return tg_yaml_error(node, err, "'%s' is empty", field->name);
    if (field->type == TG_FIELD_ID && !tg_scalar_is_id(node->text))
        return tg_yaml_error(node, err,
                             "'%s' is '%s'; allowed: 1 to 63 letters, digits, '.', '_' and '-'",
                             field->name, node->text.data);
    if (field->type == TG_FIELD_ADDRESS && !(empty && empty_ok) &&
        !tg_scalar_is_address(node->text))
        return tg_yaml_error(node, err, "'%s' is '%s'; allowed: HOST:PORT with a port up to 65535",
                             field->name, node->text.data);
    *(const char **)to = empty && !field->fallback ? NULL : node->text.data;
    return 0;
}

static int read_scalar(const tg_field *field, const tg_yaml_node *node, tg_error *err, void *to)
{
    switch (field->type) {
    case TG_FIELD_BOOL:
        if (!node->plain || !(tg_str_is(node->text, "true") || tg_str_is(node->text, "false")))
            return tg_yaml_error(node, err, "'%s' is '%s'; allowed: true, false", field->name,
                                 node->text.data);
        *(bool *)to = tg_str_is(node->text, "true");
        return 0;
    case TG_FIELD_ENUM:
        return read_enum(field, node, err, to);
    case TG_FIELD_U32:
    case TG_FIELD_U64:
    case TG_FIELD_DURATION:
    case TG_FIELD_BYTES:
        return read_number(field, node, err, to);
    default:
        return read_text(field, node, err, to);
    }
}

static int check_count(const tg_field *field, const tg_yaml_node *node, size_t count, tg_error *err)
{
    if (count < field->min)
        return tg_yaml_error(node, err, "'%s' holds %zu; at least %" PRIu64 " needed", field->name,
                             count, field->min);
    if (field->max && count > field->max)
        return tg_yaml_error(node, err, "'%s' holds %zu; at most %" PRIu64 " allowed", field->name,
                             count, field->max);
    return 0;
}

static int read_strings(const tg_field *field, const tg_yaml_node *node, tg_arena *arena,
                        tg_error *err, void *base)
{
    bool single = node->type == TG_YAML_SCALAR;
    size_t count = single ? 1 : node->count, i = 0;
    const tg_yaml_node *item = single ? node : node->first;
    if (single && node->text.len == 0) /* "${NAME:-}" */
        count = 0;
    int rc = check_count(field, node, count, err);
    const char **list = tg_arena_zalloc(arena, count + 1, sizeof *list);
    if (rc < 0 || !list)
        return rc < 0 ? rc : -ENOMEM;
    for (; i < count; i++, item = item->next) {
        if (item->type != TG_YAML_SCALAR || item->null || item->text.len == 0)
            return tg_yaml_error(item, err, "'%s' must hold names, not %s", field->name,
                                 item->type == TG_YAML_SCALAR ? "an empty value"
                                                              : tg_yaml_type_name(item));
        list[i] = item->text.data;
    }
    *(const char *const **)at(base, field->offset) = list;
    *(size_t *)at(base, field->count_offset) = count;
    return 0;
}

static int read_structs(const tg_field *field, const tg_yaml_node *node, tg_arena *arena,
                        tg_error *err, void *base)
{
    int rc = check_count(field, node, node->count, err);
    if (rc < 0)
        return rc;
    char *list = tg_arena_zalloc(arena, node->count + 1, field->schema->size);
    if (!list)
        return -ENOMEM;
    char *to = list;
    for (const tg_yaml_node *item = node->first; item;
         item = item->next, to += field->schema->size) {
        rc = tg_schema_read(field->schema, item, arena, err, to);
        if (rc < 0)
            return rc;
    }
    *(const void **)at(base, field->offset) = list;
    *(size_t *)at(base, field->count_offset) = node->count;
    return 0;
}

/* The node type that a field wants; strings may be given as one value too. */
static tg_yaml_type wanted_type(const tg_field *field, const tg_yaml_node *node)
{
    if (field->type == TG_FIELD_STRUCT)
        return TG_YAML_MAPPING;
    bool list = field->type == TG_FIELD_STRUCTS ||
                (field->type == TG_FIELD_STRINGS && node->type != TG_YAML_SCALAR);
    return list ? TG_YAML_SEQUENCE : TG_YAML_SCALAR;
}

static int read_field(const tg_field *field, const tg_yaml_node *node, tg_arena *arena,
                      tg_error *err, void *base)
{
    tg_yaml_node empty = *node;
    if (node->null && field->type == TG_FIELD_STRUCT) { /* "tls:" with everything below left out */
        empty.type = TG_YAML_MAPPING;
        node = &empty;
    } else if (node->null) {
        return tg_yaml_error(node, err, "'%s' has no value", field->name);
    }
    if (node->type != wanted_type(field, node)) {
        tg_yaml_node example = {.type = wanted_type(field, node)};
        return tg_yaml_error(node, err, "'%s' must be %s, not %s", field->name,
                             tg_yaml_type_name(&example), tg_yaml_type_name(node));
    }
    switch (field->type) {
    case TG_FIELD_STRINGS:
        return read_strings(field, node, arena, err, base);
    case TG_FIELD_STRUCTS:
        return read_structs(field, node, arena, err, base);
    case TG_FIELD_STRUCT:
        return tg_schema_read(field->schema, node, arena, err, at(base, field->offset));
    default:
        return read_scalar(field, node, err, at(base, field->offset));
    }
}

/* The default is read as if it stood in the file, where the mapping starts. */
static int read_absent(const tg_field *field, const tg_yaml_node *mapping, tg_arena *arena,
                       tg_error *err, void *base)
{
    tg_yaml_node absent = {.path = mapping->path,
                           .line = mapping->line,
                           .column = mapping->column,
                           .type = TG_YAML_SCALAR,
                           .plain = true};
    if (field->required)
        return tg_yaml_error(mapping, err, "'%s' is missing: %s", field->name, field->doc);
    if (field->type == TG_FIELD_STRUCT) {
        absent.type = TG_YAML_MAPPING;
        return tg_schema_read(field->schema, &absent, arena, err, at(base, field->offset));
    }
    if (!field->fallback)
        return 0;
    absent.text = tg_str_of(field->fallback);
    return read_field(field, &absent, arena, err, base);
}

static int check_keys(const tg_schema *schema, const tg_yaml_node *mapping, tg_error *err)
{
    const char *known[FIELDS_MAX];
    size_t count = schema->count;
    assert(count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i++)
        known[i] = schema->fields[i].name;
    for (const tg_yaml_node *member = mapping->first; member; member = member->next) {
        size_t i = 0;
        while (i < count && !tg_str_is(member->key->text, known[i]))
            i++;
        if (i == count)
            return tg_yaml_unknown(member->key, known, count, err);
    }
    return 0;
}

int tg_schema_read(const tg_schema *schema, const tg_yaml_node *mapping, tg_arena *arena,
                   tg_error *err, void *ret)
{
    if (mapping->type != TG_YAML_MAPPING)
        return tg_yaml_error(mapping, err, "%s must be a mapping, not %s", schema->name,
                             tg_yaml_type_name(mapping));
    memset(ret, 0, schema->size);
    int rc = check_keys(schema, mapping, err);
    for (size_t i = 0; rc == 0 && i < schema->count; i++) {
        const tg_field *field = &schema->fields[i];
        const tg_yaml_node *node = tg_yaml_get(mapping, field->name);
        rc = node ? read_field(field, node, arena, err, ret)
                  : read_absent(field, mapping, arena, err, ret);
    }
    return rc;
}

int tg_schema_load(const tg_schema *schema, const char *path, tg_arena *arena, tg_error *err,
                   const void **ret)
{
    const tg_yaml_node *root = NULL;
    void *value = tg_arena_alloc(arena, schema->size);
    int rc = value ? tg_yaml_load(arena, path, err, &root) : -ENOMEM;
    if (rc == 0)
        rc = tg_schema_read(schema, root, arena, err, value);
    if (rc == 0)
        *ret = value;
    return rc < 0 ? tg_error_set(err, rc, "%s: out of memory", path) : 0;
}
