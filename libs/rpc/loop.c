#include "libs/rpc/internal.h"

#include <errno.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Measured: see docs/benchmarks.md. */
static const tg_rpc_loop_owner OWNER_DEFAULT = TG_RPC_LOOP_QUEUE;

static void on_idle(uv_idle_t *idle);

enum { BATCH_MAX = 256, DEFERRED_ROUNDS = 64, CLOSE_ROUNDS = 2000, CLOSE_ROUND_US = 1000 };

static void drop_log(gpr_log_func_args *args) { (void)args; }

void tg_rpc_init(void)
{
    signal(SIGPIPE, SIG_IGN);
    tg_rpc_quiet_mutexes();
    if (!getenv("GRPC_VERBOSITY")) /* a library does not log: what matters comes back as an error */
        gpr_set_log_function(drop_log);
    grpc_init();
}

void tg_rpc_shutdown(void) { grpc_shutdown_blocking(); }

grpc_arg tg_rpc_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

void tg_rpc_common_args(grpc_arg args[TG_RPC_COMMON_ARGS])
{
    args[0] = tg_rpc_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)TG_RPC_MESSAGE_MAX);
    args[1] = tg_rpc_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)TG_RPC_MESSAGE_MAX);
    args[2] = tg_rpc_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, TG_RPC_STREAM_WINDOW_BYTES);
    args[3] = tg_rpc_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    args[4] = tg_rpc_arg(GRPC_ARG_ENABLE_CHANNELZ, 0);
}

const char *tg_rpc_code_name(tg_rpc_code code)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "UNKNOWN";
}

/* ---- operations ----
 *
 * An operation that is through before its start returns (a message that fits gRPC's buffer, a call
 * that already waits) would still wake the thread that polls the queue, at microseconds each. gRPC
 * offers to keep one such event for the starting thread instead; it is run from the deferred list.
 */

static void defer(tg_rpc_loop *loop, tg_rpc_tag *tag, bool ok)
{
    tag->ok = ok;
    tag->next = NULL;
    if (!loop->deferred && loop->owner == TG_RPC_LOOP_UV)
        uv_idle_start(&loop->idle, on_idle);
    *loop->deferred_tail = tag;
    loop->deferred_tail = &tag->next;
}

void tg_rpc_defer(tg_rpc_loop *loop, tg_rpc_tag *tag)
{
    loop->outstanding++;
    defer(loop, tag, true);
}

void tg_rpc_begin(tg_rpc_loop *loop, tg_rpc_tag *tag)
{
    loop->outstanding++;
    TG_RPC_HANDED_IN(tag);
    grpc_completion_queue_thread_local_cache_init(loop->queue);
}

void tg_rpc_end(tg_rpc_loop *loop)
{
    void *tag;
    int ok;
    if (grpc_completion_queue_thread_local_cache_flush(loop->queue, &tag, &ok))
        defer(loop, tag, ok != 0);
}

void tg_rpc_batch(tg_rpc_loop *loop, grpc_call *call, const grpc_op *ops, size_t count,
                  tg_rpc_tag *tag)
{
    tg_rpc_begin(loop, tag);
    grpc_call_error error = grpc_call_start_batch(call, ops, count, tag, NULL);
    tg_rpc_end(loop);
    if (error != GRPC_CALL_OK) {
        fprintf(stderr, "tollgate: gRPC refused a batch: %s\n", grpc_call_error_to_string(error));
        abort();
    }
}

static void run_tags(tg_rpc_loop *loop, tg_rpc_tag *tag)
{
    while (tag) {
        tg_rpc_tag *next = tag->next;
        loop->outstanding--;
        tag->run(tag, tag->ok);
        tag = next;
    }
}

/* What was deferred, and what that defers in turn: a stream that fills itself goes on for a while,
 * and the rest has its turn. */
static void run_deferred(tg_rpc_loop *loop)
{
    for (unsigned round = 0; loop->deferred && round < DEFERRED_ROUNDS; round++) {
        tg_rpc_tag *first = loop->deferred;
        loop->deferred = NULL;
        loop->deferred_tail = &loop->deferred;
        run_tags(loop, first);
    }
}

static void on_idle(uv_idle_t *idle)
{
    tg_rpc_loop *loop = idle->data;
    run_deferred(loop);
    if (!loop->deferred)
        uv_idle_stop(idle); /* which otherwise keeps libuv from waiting */
}

/* ---- owner UV ---- */

/* The queue's thread: blocks for the first event, takes what else is ready, wakes libuv once. */
static void *drain_queue(void *user)
{
    tg_rpc_loop *loop = user;
    for (;;) {
        tg_rpc_tag *first = NULL, **tail = &first;
        grpc_event event =
            grpc_completion_queue_next(loop->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        for (unsigned n = 0; event.type == GRPC_OP_COMPLETE;) {
            tg_rpc_tag *tag = event.tag;
            TG_RPC_HANDED_OUT(tag);
            tag->ok = event.success != 0;
            tag->next = NULL;
            *tail = tag;
            tail = &tag->next;
            if (++n == BATCH_MAX)
                break;
            event =
                grpc_completion_queue_next(loop->queue, gpr_inf_past(GPR_CLOCK_MONOTONIC), NULL);
        }
        if (first) {
            pthread_mutex_lock(&loop->mutex);
            bool was_empty = loop->ready == NULL;
            *loop->ready_tail = first;
            loop->ready_tail = tail;
            pthread_mutex_unlock(&loop->mutex);
            if (was_empty)
                uv_async_send(&loop->wake);
        }
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
    }
}

static void run_ready(tg_rpc_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    tg_rpc_tag *tag = loop->ready;
    loop->ready = NULL;
    loop->ready_tail = &loop->ready;
    pthread_mutex_unlock(&loop->mutex);
    run_tags(loop, tag);
}

static void on_wake(uv_async_t *async)
{
    tg_rpc_loop *loop = async->data;
    run_ready(loop);
    on_idle(&loop->idle);
}

static int start_thread(tg_rpc_loop *loop, void *(*run)(void *))
{
    sigset_t all, old;
    sigfillset(&all); /* signals belong to the loop's thread */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = -pthread_create(&loop->thread, NULL, run, loop);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    loop->thread_started = rc == 0;
    return rc;
}

static void stop_uv_owner(tg_rpc_loop *loop)
{
    grpc_completion_queue_shutdown(loop->queue);
    if (loop->thread_started)
        pthread_join(loop->thread, NULL);
}

/* ---- owner QUEUE ---- */

static void on_woken(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_loop *loop = TG_CONTAINER_OF(tag, tg_rpc_loop, wake_tag);
    (void)ok;
    loop->outstanding++; /* the waker's tags are not counted when they go out */
    loop->rearm = true;
}

/* Watches libuv's descriptor and puts an empty batch into the queue when it becomes readable. One
 * shot: the loop arms it again after libuv has run, so that what libuv left unread is seen again.
 */
static void *watch_uv(void *user)
{
    tg_rpc_loop *loop = user;
    struct epoll_event event;
    for (;;) {
        int n = epoll_wait(loop->watch_fd, &event, 1, -1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != 1 || event.data.fd == loop->end_fd)
            return NULL;
        TG_RPC_HANDED_IN(&loop->wake_tag);
        grpc_call_start_batch(loop->waker, NULL, 0, &loop->wake_tag, NULL);
    }
}

static int watch(tg_rpc_loop *loop, int op)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT,
                                .data.fd = uv_backend_fd(&loop->uv)};
    return epoll_ctl(loop->watch_fd, op, event.data.fd, &event) < 0 ? -errno : 0;
}

static int start_queue_owner(tg_rpc_loop *loop)
{
    struct epoll_event end = {.events = EPOLLIN};
    loop->lame = grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "wake");
    loop->waker = grpc_channel_create_call(loop->lame, NULL, 0, loop->queue,
                                           grpc_slice_from_static_string("/wake/wake"), NULL,
                                           gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    loop->wake_tag.run = on_woken;
    loop->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->end_fd = eventfd(0, EFD_CLOEXEC);
    if (loop->watch_fd < 0 || loop->end_fd < 0)
        return -errno;
    end.data.fd = loop->end_fd;
    if (epoll_ctl(loop->watch_fd, EPOLL_CTL_ADD, loop->end_fd, &end) < 0)
        return -errno;
    int rc = watch(loop, EPOLL_CTL_ADD);
    return rc < 0 ? rc : start_thread(loop, watch_uv);
}

static void stop_queue_owner(tg_rpc_loop *loop)
{
    uint64_t one = 1;
    if (loop->thread_started) {
        ssize_t written = write(loop->end_fd, &one, sizeof one);
        (void)written;
        pthread_join(loop->thread, NULL);
    }
    grpc_call_unref(loop->waker);
    grpc_channel_destroy(loop->lame);
    grpc_completion_queue_shutdown(loop->queue);
    while (
        grpc_completion_queue_next(loop->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN)
        continue;
    if (loop->end_fd >= 0)
        close(loop->end_fd);
    if (loop->watch_fd >= 0)
        close(loop->watch_fd);
}

static gpr_timespec after_ms(int ms)
{
    if (ms < 0)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (ms == 0) /* "now" would be rounded up to a wait of a millisecond */
        return gpr_inf_past(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

/* Watchers that handlers started or changed are registered by libuv's next run. libuv has no call
 * to ask for them; the queue's head is two pointers in every 1.x, the first to itself when it is
 * empty. */
static bool has_new_watchers(const uv_loop_t *uv)
{
    const void *const *head = (const void *const *)(const void *)&uv->watcher_queue;
    return head[0] != head;
}

/* One turn: libuv without waiting when it has something to do, then events of the queue until libuv
 * has. A run of libuv costs a system call, so it is not made for every event. */
static void queue_turn(tg_rpc_loop *loop)
{
    uv_loop_t *uv = &loop->uv;
    uv_update_time(uv);
    if (loop->rearm || has_new_watchers(uv) || uv_backend_timeout(uv) == 0) {
        uv_run(uv, UV_RUN_NOWAIT);
        if (loop->rearm) {
            loop->rearm = false;
            watch(loop, EPOLL_CTL_MOD);
        }
    }
    int wait_ms = loop->deferred ? 0 : uv_backend_timeout(uv);
    gpr_timespec until = after_ms(wait_ms);
    for (unsigned n = 0; n < BATCH_MAX && !loop->stop && !loop->interrupted; n++) {
        if (n > 0 && (loop->rearm || has_new_watchers(uv) || uv_backend_timeout(uv) != wait_ms))
            break;
        if (n > 0 &&
            loop->outstanding == 0) /* nothing more can come: tg_rpc_loop_free waits for that */
            break;
        grpc_event event = grpc_completion_queue_next(loop->queue, until, NULL);
        if (event.type != GRPC_OP_COMPLETE)
            break;
        TG_RPC_HANDED_OUT(event.tag);
        loop->outstanding--;
        ((tg_rpc_tag *)event.tag)->run(event.tag, event.success != 0);
        run_deferred(loop);
        if (loop->deferred)
            break;
    }
    run_deferred(loop);
}

/* ---- the face ---- */

static void close_uv(tg_rpc_loop *loop)
{
    if (loop->wake_open) {
        uv_close((uv_handle_t *)&loop->wake, NULL);
        uv_close((uv_handle_t *)&loop->idle, NULL);
    }
    for (int i = 0; i < CLOSE_ROUNDS && uv_loop_close(&loop->uv) == UV_EBUSY; i++) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        usleep(CLOSE_ROUND_US);
    }
}

static void stop_owner(tg_rpc_loop *loop)
{
    if (loop->owner == TG_RPC_LOOP_UV)
        stop_uv_owner(loop);
    else
        stop_queue_owner(loop);
    grpc_completion_queue_destroy(loop->queue);
    pthread_mutex_destroy(&loop->mutex);
    close_uv(loop);
    free(loop);
}

int tg_rpc_loop_new(tg_rpc_loop_owner owner, tg_error *err, tg_rpc_loop **ret)
{
    tg_rpc_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return -ENOMEM;
    loop->owner = owner == TG_RPC_LOOP_DEFAULT ? OWNER_DEFAULT : owner;
    loop->ready_tail = &loop->ready;
    loop->deferred_tail = &loop->deferred;
    loop->end_fd = loop->watch_fd = -1;
    int rc = uv_loop_init(&loop->uv);
    if (rc < 0) {
        free(loop);
        return tg_error_set(err, rc, "the event loop cannot start: %s", uv_strerror(rc));
    }
    pthread_mutex_init(&loop->mutex, NULL);
    loop->queue = grpc_completion_queue_create_for_next(NULL);
    /* Its reference also keeps libuv from taking an idle loop for a finished one. */
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    loop->wake.data = loop;
    loop->wake_open = rc == 0;
    uv_idle_init(&loop->uv, &loop->idle);
    loop->idle.data = loop;
    if (rc == 0)
        rc = loop->owner == TG_RPC_LOOP_UV ? start_thread(loop, drain_queue)
                                           : start_queue_owner(loop);
    if (rc < 0) {
        stop_owner(loop);
        return tg_error_set(err, rc, "the event loop cannot start: %s", strerror(-rc));
    }
    *ret = loop;
    return 0;
}

uv_loop_t *tg_rpc_loop_uv(tg_rpc_loop *loop) { return &loop->uv; }

void tg_rpc_loop_stop(tg_rpc_loop *loop)
{
    loop->stop = true;
    if (loop->owner == TG_RPC_LOOP_UV)
        uv_stop(&loop->uv);
}

void tg_rpc_loop_pump(tg_rpc_loop *loop)
{
    loop->turning = true;
    loop->interrupted = false;
    if (loop->owner == TG_RPC_LOOP_QUEUE)
        queue_turn(loop);
    else
        uv_run(&loop->uv, UV_RUN_ONCE);
    loop->turning = false;
}

int tg_rpc_loop_run(tg_rpc_loop *loop)
{
    loop->stop = false;
    while (!loop->stop)
        tg_rpc_loop_pump(loop);
    loop->stop = false;
    return 0;
}

tg_rpc_loop *tg_rpc_loop_free(tg_rpc_loop *loop)
{
    if (!loop)
        return NULL;
    loop->stop = false;
    while (loop->outstanding > 0)
        tg_rpc_loop_pump(loop);
    stop_owner(loop);
    return NULL;
}
