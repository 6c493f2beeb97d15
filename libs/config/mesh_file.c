#include "libs/config/mesh_file.h"

#include <errno.h>

int tg_mesh_read(const tg_schema *schema, const char *path, tg_arena *arena, tg_error *err,
                 const tg_yaml_node **ret_root, void *ret)
{
    const tg_yaml_node *root = NULL;
    int rc = tg_yaml_load(arena, path, err, &root);
    if (rc == 0)
        rc = tg_schema_read(schema, root, arena, err, ret);
    if (rc < 0)
        return tg_error_set(err, rc, "%s: out of memory", path);
    *ret_root = root;
    return 0;
}

const tg_yaml_node *tg_mesh_node(const tg_yaml_node *item, const char *key)
{
    const tg_yaml_node *node = tg_yaml_get(item, key);
    return node ? node : item;
}

int tg_mesh_index(tg_map *map, const char *id, const tg_yaml_node *item, const void *value,
                  tg_error *err)
{
    if (tg_map_get(map, tg_str_of(id)))
        return tg_yaml_error(tg_mesh_node(item, "id"), err, "'id' '%s' was already given", id);
    return tg_map_put(map, tg_str_of(id), (void *)(uintptr_t)value, NULL);
}
