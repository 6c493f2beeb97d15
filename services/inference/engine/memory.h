/* Whether a model fits: what it needs, what there is, and the sum in words when it does not.
 *
 * What there is: the least of the configured limit, of what each cgroup above this process still
 * allows (v2's memory.max or v1's memory.limit_in_bytes, less what is in use and is not page cache,
 * which the kernel gives back), and of /proc/meminfo's MemAvailable. What cannot be read limits
 * nothing.
 *
 * Sources: the kernel's admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst and filesystems/proc.rst.
 */
#ifndef TG_INFERENCE_MEMORY_H
#define TG_INFERENCE_MEMORY_H

#include "libs/base/error.h"
#include "services/inference/backend/backend.h"

/* The program itself, its vocabulary, queues and buffers, beside what the backend takes. */
#define TG_MEMORY_OVERHEAD_BYTES ((uint64_t)48 << 20)

#define TG_MEMORY_KV_TOKENS_LEAST 512 /* what tg_memory_kv_tokens goes down to */

typedef struct tg_memory_room {
    uint64_t bytes;   /* UINT64_MAX: nothing limits it */
    const char *what; /* sets the limit, for a sentence: "MemAvailable" */
} tg_memory_room;

/* `root` is "" but in tests: what stands before /proc and /sys. limit_bytes 0: none is
 * configured. */
void tg_memory_room_find(const char *root, uint64_t limit_bytes, tg_memory_room *ret);

/* 0, or -ENOMEM with the sum spelled out. */
int tg_memory_check(const tg_backend_needs *needs, uint32_t kv_tokens, const tg_memory_room *room,
                    tg_error *err);

/* `wanted` tokens of KV, which take needs->kv_bytes, or as many as fit in three quarters of what
 * the rest leaves; at least TG_MEMORY_KV_TOKENS_LEAST, or wanted. Whole blocks. */
uint32_t tg_memory_kv_tokens(const tg_backend_needs *needs, uint32_t wanted,
                             const tg_memory_room *room);

/* Of a configured limit (0: none is), what is left for a second model beside one that took so much
 * and the program's overhead; nothing left is 1, since 0 is no limit. */
uint64_t tg_memory_left(uint64_t limit_bytes, uint64_t taken_bytes);

uint64_t tg_memory_total(const tg_backend_needs *needs); /* with the overhead */

#endif
