/* A persistent pool of threads for loops whose iterations are independent.
 *
 * tg_pool_run hands out indices 0..count−1; the calling thread works too and returns when all are
 * done. Between loops a worker spins for a few microseconds, since the next loop of a step follows
 * at once, and then sleeps.
 *
 * Threads: one thread at a time calls tg_pool_run. Nothing is allocated there.
 */
#ifndef TG_CPU_POOL_H
#define TG_CPU_POOL_H

#include <stdint.h>

typedef struct tg_pool tg_pool;

/* thread: 0..threads−1, for scratch memory of one's own. */
typedef void (*tg_pool_fn)(void *context, uint32_t index, uint32_t thread);

int tg_pool_new(uint32_t threads, tg_pool **ret); /* 0, -ENOMEM or -EAGAIN */
tg_pool *tg_pool_free(tg_pool *pool);
void tg_pool_run(tg_pool *pool, tg_pool_fn fn, void *context, uint32_t count);
uint32_t tg_pool_threads(const tg_pool *pool);

#endif
