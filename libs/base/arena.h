/* A bump allocator: many small allocations, freed together.
 *
 * Ownership: tg_arena_free releases every block. Threads: one at a time.
 * Bound: `limit` bytes in all; past it, tg_arena_alloc returns NULL.
 */
#ifndef TG_BASE_ARENA_H
#define TG_BASE_ARENA_H

#include "libs/base/str.h"

#include <stddef.h>

typedef struct tg_arena_block tg_arena_block;

typedef struct tg_arena {
    tg_arena_block *head;
    size_t used;  /* bytes handed out by malloc so far */
    size_t limit; /* 0 means TG_ARENA_LIMIT_DEFAULT */
} tg_arena;

#define TG_ARENA_LIMIT_DEFAULT ((size_t)64 << 20)

void tg_arena_init(tg_arena *arena, size_t limit);
void tg_arena_free(tg_arena *arena);  /* leaves an empty, usable arena */
void tg_arena_reset(tg_arena *arena); /* keeps one block for reuse */

void *tg_arena_alloc(tg_arena *arena, size_t size);               /* 16-byte aligned, not zeroed */
void *tg_arena_zalloc(tg_arena *arena, size_t count, size_t size); /* zeroed; overflow-safe */
char *tg_arena_strdup(tg_arena *arena, tg_str text);               /* NUL-terminated copy */
char *tg_arena_printf(tg_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
