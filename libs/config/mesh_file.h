/* What the loaders of mesh.h have in common. Internal to libs/config. */
#ifndef TG_CONFIG_MESH_FILE_H
#define TG_CONFIG_MESH_FILE_H

#include "libs/base/map.h"
#include "libs/config/schema.h"

/* Where an object of TYPE is described by a field table. */
#define TG_SCHEMA(what, type, table)                                                               \
    {                                                                                              \
        .name = (what), .size = sizeof(type), .fields = (table),                                   \
        .count = sizeof(table) / sizeof((table)[0])                                                \
    }

/* Reads and checks the file; *ret_root lets the caller give positions for what it checks further.
 */
int tg_mesh_read(const tg_schema *schema, const char *path, tg_arena *arena, tg_error *err,
                 const tg_yaml_node **ret_root, void *ret);

/* Puts id → value, where `node` is the item that holds it; "'id' 'x' was already given" otherwise.
 */
int tg_mesh_index(tg_map *map, const char *id, const tg_yaml_node *item, const void *value,
                  tg_error *err);

/* The node at item.key, or the item itself when the key is absent. */
const tg_yaml_node *tg_mesh_node(const tg_yaml_node *item, const char *key);

#endif
