/* YAML → C struct by a table, and the same table as reference documentation.
 *
 * A schema lists the keys of one mapping: name, type, where in the struct the value goes, default,
 * bounds and one line of documentation. tg_schema_read refuses unknown keys (with the nearest known
 * one), wrong types, values out of bounds and missing values, as "file:line:column: reason".
 * tg_schema_print shows every key with its documentation, default and value: what `tollgate config
 * print` prints.
 *
 * Ownership: everything read lives in the arena. Schemas are constant. Threads: any.
 */
#ifndef TG_CONFIG_SCHEMA_H
#define TG_CONFIG_SCHEMA_H

#include "libs/base/buf.h"
#include "libs/config/yaml.h"

#include <stddef.h>

typedef enum tg_field_type {
    TG_FIELD_STRING,  /* const char *; optional without default: NULL when absent or empty */
    TG_FIELD_ID,      /* const char *; 1 to 63 letters, digits, '.', '_', '-' */
    TG_FIELD_ADDRESS, /* const char *; HOST:PORT, port 0 to 65535; may be empty if the default is */
    TG_FIELD_BOOL,    /* bool; true or false */
    TG_FIELD_U32,     /* uint32_t in [min, max] */
    TG_FIELD_U64,     /* uint64_t in [min, max] */
    TG_FIELD_DURATION, /* uint32_t milliseconds in [min, max]: 250ms, 30s, 5m, 2h, or a plain number
                          where the key ends in _ms */
    TG_FIELD_BYTES,    /* uint64_t in [min, max]: 4MiB, 64 KiB, 1GB, or a plain number */
    TG_FIELD_ENUM,     /* int: index into `names` */
    TG_FIELD_STRINGS,  /* const char *const * and a size_t count in [min, max]; a single value is a
                          list  of one */
    TG_FIELD_STRUCT,   /* the nested struct itself; an absent one gets its defaults */
    TG_FIELD_STRUCTS   /* const struct * and a size_t count in [min, max] */
} tg_field_type;

typedef struct tg_schema tg_schema;

typedef struct tg_field {
    const char *name;
    tg_field_type type;
    size_t offset;       /* of the value in the struct */
    size_t count_offset; /* STRINGS, STRUCTS: of the count */
    bool required;
    const char
        *fallback;     /* the default, as it would be written; NULL: zero, NULL or an empty list */
    uint64_t min, max; /* max 0: no bound */
    const char *const *names; /* ENUM: ends with NULL */
    const tg_schema *schema;  /* STRUCT, STRUCTS */
    const char *doc;          /* one line */
} tg_field;

struct tg_schema {
    const char *name; /* what the mapping is, e.g. "router.yaml" or "endpoint" */
    size_t size;      /* of the struct */
    const tg_field *fields;
    size_t count;
};

/* Fills `ret`, schema->size bytes. 0; -EINVAL with the reason; -ENOMEM. On failure ret is
 * undefined. */
int tg_schema_read(const tg_schema *schema, const tg_yaml_node *mapping, tg_arena *arena,
                   tg_error *err, void *ret);
/* Reads the file at `path`; *ret is in the arena. */
int tg_schema_load(const tg_schema *schema, const char *path, tg_arena *arena, tg_error *err,
                   const void **ret);
/* Writes YAML that tg_schema_read accepts. `value` NULL: the defaults. 0, -ENOMEM or -ENOSPC. */
int tg_schema_print(const tg_schema *schema, const void *value, tg_buf *out);

#endif
