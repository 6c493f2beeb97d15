#include "libs/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tg_arena_block {
    tg_arena_block *next;
    size_t size;
    size_t used;
    size_t unused_padding;
    char data[];
};

enum { BLOCK_SIZE = 4096 - sizeof(tg_arena_block) };

void tg_arena_init(tg_arena *arena, size_t limit) { *arena = (tg_arena){.limit = limit}; }

void tg_arena_free(tg_arena *arena)
{
    for (tg_arena_block *block = arena->head, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (tg_arena){.limit = arena->limit};
}

void tg_arena_reset(tg_arena *arena)
{
    tg_arena_block *keep = arena->head;
    if (!keep)
        return;
    arena->head = keep->next;
    tg_arena_free(arena);
    if (keep->size > BLOCK_SIZE) {
        free(keep);
        return;
    }
    keep->next = NULL;
    keep->used = 0;
    arena->head = keep;
    arena->used = keep->size;
}

void *tg_arena_alloc(tg_arena *arena, size_t size)
{
    size_t limit = arena->limit ? arena->limit : TG_ARENA_LIMIT_DEFAULT;
    if (size > limit)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    tg_arena_block *block = arena->head;
    if (!block || block->size - block->used < size) {
        size_t block_size = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        if (block_size > limit - arena->used || arena->used > limit)
            return NULL;
        block = malloc(sizeof *block + block_size);
        if (!block)
            return NULL;
        block->size = block_size;
        block->used = 0;
        block->next = arena->head;
        arena->head = block;
        arena->used += block_size;
    }
    void *result = block->data + block->used;
    block->used += size;
    return result;
}

void *tg_arena_zalloc(tg_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *result = tg_arena_alloc(arena, bytes);
    return result ? memset(result, 0, bytes) : NULL;
}

char *tg_arena_strdup(tg_arena *arena, tg_str text)
{
    char *copy = text.len < SIZE_MAX ? tg_arena_alloc(arena, text.len + 1) : NULL;
    if (!copy)
        return NULL;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}

char *tg_arena_printf(tg_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    char *text = need < 0 ? NULL : tg_arena_alloc(arena, (size_t)need + 1);
    if (text)
        vsnprintf(text, (size_t)need + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
