/* A hash map from byte strings to pointers: open addressing over FNV-1a.
 *
 * Ownership: keys are copied; values are the caller's. Threads: one at a time.
 * Iteration order is unspecified. Not for keys chosen by an attacker without a bound on their
 * number.
 */
#ifndef TG_BASE_MAP_H
#define TG_BASE_MAP_H

#include "libs/base/str.h"

typedef struct tg_map tg_map;

tg_map *tg_map_new(void);        /* NULL when out of memory */
tg_map *tg_map_free(tg_map *map); /* values are left alone */
size_t tg_map_count(const tg_map *map);

void *tg_map_get(const tg_map *map, tg_str key); /* NULL when absent */

/* Puts or replaces; the old value is returned in *ret_old if given. 0 or -ENOMEM. `value` must not
 * be NULL. */
int tg_map_put(tg_map *map, tg_str key, void *value, void **ret_old);
void *tg_map_remove(tg_map *map, tg_str key); /* the value that was there, or NULL */

/* for (size_t at = 0; tg_map_next(map, &at, &key, &value);) … ; no changes while iterating. */
bool tg_map_next(const tg_map *map, size_t *at, tg_str *ret_key, void **ret_value);

#endif
