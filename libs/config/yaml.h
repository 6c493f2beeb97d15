/* YAML text → a bounded tree of nodes that remember where they stand.
 *
 * A plain subset on purpose: one document of mappings, sequences and scalars. Anchors, aliases,
 * tags, repeated keys and keys that are not scalars are errors, so a file means what a reader sees.
 * Scalars may refer to the environment, `${NAME}` or `${NAME:-default}` (used when NAME is unset or
 * empty), if the caller passes a lookup. Every error reads "file:line:column: reason".
 *
 * Ownership: nodes live in the arena. Nothing is read but by tg_yaml_load. Threads: none shared.
 */
#ifndef TG_CONFIG_YAML_H
#define TG_CONFIG_YAML_H

#include "libs/base/arena.h"
#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_YAML_BYTES_MAX ((size_t)4 << 20) /* bytes of one document */
#define TG_YAML_DEPTH_MAX 32 /* nesting of mappings and sequences */
#define TG_YAML_NODES_MAX 200000 /* nodes of one document */
#define TG_YAML_MEMBERS_MAX 1024 /* of one mapping */

typedef enum tg_yaml_type { TG_YAML_SCALAR, TG_YAML_SEQUENCE, TG_YAML_MAPPING } tg_yaml_type;

typedef struct tg_yaml_node tg_yaml_node;
struct tg_yaml_node {
    tg_yaml_type type;
    uint32_t line, column; /* from 1; columns count characters */
    const char *path;      /* the file, as errors show it */
    tg_str text;           /* scalar: its value, NUL-terminated; never holds a NUL byte */
    bool plain; /* scalar written without quotes: only such can be a number or a boolean */
    bool null;  /* plain and empty, ~ or null: a value is missing */
    const tg_yaml_node *key;   /* member of a mapping: its key, a scalar */
    const tg_yaml_node *first; /* of the items or members, in order */
    const tg_yaml_node *next;  /* sibling */
    size_t count;              /* items or members */
};

/* Looks an environment variable up; NULL when unset. */
typedef const char *tg_yaml_env(const char *name);

/* `path` only names the text in errors; both are copied. `env` NULL: "${" is ordinary text.
 * 0; -EINVAL with the reason; -ENOMEM. */
int tg_yaml_parse(tg_arena *arena, const char *path, tg_str text, tg_yaml_env *env, tg_error *err,
                  const tg_yaml_node **ret_root);
/* Reads the file, with the process's environment. Also -errno of open and read, and -E2BIG. */
int tg_yaml_load(tg_arena *arena, const char *path, tg_error *err, const tg_yaml_node **ret_root);

/* The member's value; NULL when `mapping` is NULL, is no mapping or has no such key. */
const tg_yaml_node *tg_yaml_get(const tg_yaml_node *mapping, const char *key);
/* A scalar's text is `text`. */
bool tg_yaml_is(const tg_yaml_node *scalar, const char *text);
const char *tg_yaml_type_name(const tg_yaml_node *node); /* "a mapping", "a list", "a value" */

/* Sets "file:line:column: …" and returns -EINVAL. */
int tg_yaml_error(const tg_yaml_node *at, tg_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The error for a key that is none of `known`: the nearest of them, and all of them. */
int tg_yaml_unknown(const tg_yaml_node *key, const char *const *known, size_t count, tg_error *err);

#endif
