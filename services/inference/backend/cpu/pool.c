#include "services/inference/backend/cpu/pool.h"

#include "services/inference/backend/numerics.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define SPINS 4000 /* some 20 µs of pauses before a thread sleeps */

typedef struct worker {
    tg_pool *pool;
    pthread_t thread;
    uint32_t index;
} worker;

struct tg_pool {
    uint32_t threads;
    worker *workers; /* threads − 1 of them; the caller is thread 0 */
    uint32_t started;
    /* The loop in progress. Written before `open` is set, read after it is seen. */
    tg_pool_fn fn;
    void *context;
    uint32_t count;
    _Alignas(64) atomic_uint next;       /* next index to hand out */
    _Alignas(64) atomic_uint generation; /* raised once per loop */
    atomic_bool open;                    /* a loop is in progress: workers may enter */
    _Alignas(64) atomic_uint inside;     /* workers that entered, or are about to look at `open` */
    atomic_bool stop;
    pthread_mutex_t lock; /* for sleeping only */
    pthread_cond_t wake;  /* generation changed, or stop */
    pthread_cond_t done;  /* inside reached 0 */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(tg_pool *pool, uint32_t thread)
{
    for (;;) {
        uint32_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (index >= pool->count)
            return;
        pool->fn(pool->context, index, thread);
    }
}

/* Returns the new generation, or `seen` when the pool stops. */
static uint32_t await(tg_pool *pool, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen)
            return now;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->lock);
    uint32_t now = seen;
    while ((now = atomic_load(&pool->generation)) == seen && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return now;
}

static void *worker_main(void *arg)
{
    worker *self = arg;
    tg_pool *pool = self->pool;
    uint32_t seen = 0;
    tg_numerics_enter();
    for (;;) {
        uint32_t now = await(pool, seen);
        if (now == seen)
            return NULL;
        seen = now;
        /* Sequentially consistent on both sides: either this worker sees the loop closed, or the
         * caller sees it inside. One that wakes late is not waited for. */
        atomic_fetch_add(&pool->inside, 1);
        if (atomic_load(&pool->open))
            work(pool, self->index);
        if (atomic_fetch_sub(&pool->inside, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

void tg_pool_run(tg_pool *pool, tg_pool_fn fn, void *context, uint32_t count)
{
    if (pool->started == 0 || count <= 1) {
        for (uint32_t i = 0; i < count; i++)
            fn(context, i, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store(&pool->open, true);
    /* Raised under the lock, so that a worker on its way to sleep can't miss it. */
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    work(pool, 0);
    atomic_store(&pool->open, false);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->inside) == 0)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->inside) != 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

int tg_pool_new(uint32_t threads, tg_pool **ret)
{
    tg_pool *pool = aligned_alloc(64, (sizeof(*pool) + 63) & ~(size_t)63);
    if (!pool)
        return -ENOMEM;
    *pool = (tg_pool){.threads = threads};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    int rc = 0;
    pool->workers = calloc(threads, sizeof(*pool->workers));
    if (!pool->workers)
        rc = -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i + 1 < threads; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].index = i + 1;
        rc = -pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (rc == 0)
            pool->started++;
    }
    if (rc < 0) {
        tg_pool_free(pool);
        return rc;
    }
    *ret = pool;
    return 0;
}

tg_pool *tg_pool_free(tg_pool *pool)
{
    if (!pool)
        return NULL;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
    return NULL;
}

uint32_t tg_pool_threads(const tg_pool *pool) { return pool->threads; }
