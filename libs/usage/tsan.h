/* What ThreadSanitizer has to be told about librdkafka, which is not built with it.
 *
 * It does not see librdkafka's locks, so a hand-over through one of its queues is said aloud
 * (TG_HAND_OVER before, TG_TAKE_OVER after). And librdkafka starts its threads by C11's
 * thrd_create, which the sanitizer does not know: such a thread would crash in the first
 * intercepted call. Here thrd_create is pthread_create, in the sanitizer's builds only. */
#ifndef TG_USAGE_TSAN_H
#define TG_USAGE_TSAN_H

#if defined(__SANITIZE_THREAD__)

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TG_HAND_OVER(address) __tsan_release(address)
#define TG_TAKE_OVER(address) __tsan_acquire(address)

typedef struct tg_tsan_start {
    thrd_start_t run;
    void *arg;
} tg_tsan_start;

static void *tg_tsan_run(void *user)
{
    tg_tsan_start start = *(tg_tsan_start *)user;
    free(user);
    return (void *)(intptr_t)start.run(start.arg);
}

__attribute__((weak)) int thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
    tg_tsan_start *start = malloc(sizeof *start);
    if (!start)
        return thrd_nomem;
    *start = (tg_tsan_start){run, arg};
    if (pthread_create(thread, NULL, tg_tsan_run, start) == 0)
        return thrd_success;
    free(start);
    return thrd_error;
}

__attribute__((weak)) int thrd_join(thrd_t thread, int *result)
{
    void *value;
    if (pthread_join(thread, &value) != 0)
        return thrd_error;
    if (result)
        *result = (int)(intptr_t)value;
    return thrd_success;
}

#else

#define TG_HAND_OVER(address) ((void)(address))
#define TG_TAKE_OVER(address) ((void)(address))

#endif
#endif
