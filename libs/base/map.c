#include "libs/base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    char *key; /* NULL: empty slot */
    size_t len;
    uint64_t hash;
    void *value;
} entry;

struct tg_map {
    entry *slots;
    size_t cap; /* a power of two */
    size_t count;
};

static uint64_t hash_of(tg_str key)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 0x100000001b3u;
    return hash ^ (hash >> 32);
}

tg_map *tg_map_new(void)
{
    tg_map *map = calloc(1, sizeof *map);
    if (map) {
        map->cap = 8;
        map->slots = calloc(map->cap, sizeof *map->slots);
        if (!map->slots) {
            free(map);
            return NULL;
        }
    }
    return map;
}

tg_map *tg_map_free(tg_map *map)
{
    if (map) {
        for (size_t i = 0; i < map->cap; i++)
            free(map->slots[i].key);
        free(map->slots);
        free(map);
    }
    return NULL;
}

size_t tg_map_count(const tg_map *map) { return map->count; }

/* The slot that holds the key, or the empty one where it belongs. */
static entry *find(entry *slots, size_t cap, tg_str key, uint64_t hash)
{
    for (size_t i = hash & (cap - 1);; i = (i + 1) & (cap - 1)) {
        entry *slot = &slots[i];
        if (!slot->key || (slot->hash == hash && slot->len == key.len &&
                           (key.len == 0 || memcmp(slot->key, key.data, key.len) == 0)))
            return slot;
    }
}

void *tg_map_get(const tg_map *map, tg_str key)
{
    entry *slot = find(map->slots, map->cap, key, hash_of(key));
    return slot->key ? slot->value : NULL;
}

static int grow(tg_map *map)
{
    size_t cap = map->cap * 2;
    entry *slots = calloc(cap, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < map->cap; i++) {
        entry *old = &map->slots[i];
        if (old->key)
            *find(slots, cap, (tg_str){old->key, old->len}, old->hash) = *old;
    }
    free(map->slots);
    map->slots = slots;
    map->cap = cap;
    return 0;
}

int tg_map_put(tg_map *map, tg_str key, void *value, void **ret_old)
{
    uint64_t hash = hash_of(key);
    entry *slot = find(map->slots, map->cap, key, hash);
    void *old = NULL;
    if (slot->key) {
        old = slot->value;
    } else {
        if ((map->count + 1) * 4 > map->cap * 3) {
            if (grow(map) < 0)
                return -ENOMEM;
            slot = find(map->slots, map->cap, key, hash);
        }
        slot->key = malloc(key.len + 1);
        if (!slot->key)
            return -ENOMEM;
        if (key.len > 0)
            memcpy(slot->key, key.data, key.len);
        slot->key[key.len] = '\0';
        slot->len = key.len;
        slot->hash = hash;
        map->count++;
    }
    slot->value = value;
    if (ret_old)
        *ret_old = old;
    return 0;
}

void *tg_map_remove(tg_map *map, tg_str key)
{
    entry *slot = find(map->slots, map->cap, key, hash_of(key));
    if (!slot->key)
        return NULL;
    void *value = slot->value;
    free(slot->key);
    slot->key = NULL;
    map->count--;
    /* Close the gap: move later members of the probe run that would no longer be found. */
    size_t mask = map->cap - 1, hole = (size_t)(slot - map->slots);
    for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            map->slots[i].key = NULL;
            hole = i;
        }
    }
    return value;
}

bool tg_map_next(const tg_map *map, size_t *at, tg_str *ret_key, void **ret_value)
{
    for (; *at < map->cap; (*at)++) {
        entry *slot = &map->slots[*at];
        if (!slot->key)
            continue;
        *ret_key = (tg_str){slot->key, slot->len};
        *ret_value = slot->value;
        (*at)++;
        return true;
    }
    return false;
}
