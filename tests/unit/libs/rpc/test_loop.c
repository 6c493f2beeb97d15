/* The loop itself: libuv's handles and gRPC's calls share a thread, whoever blocks. */
#include "tests/unit/libs/rpc/world.h"

#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void idle_costs_nothing(world *w)
{
    observe(w, 1, 0, false);
    tg_rpc_loop_run(w->loop);
    double before = cpu_ms();
    run_for(w, 400);
    CU_ASSERT_TRUE(cpu_ms() - before < 100); /* a spinning loop takes 400 */
}

/* Timers come on time while calls keep the queue busy. */
static void on_tick(uv_timer_t *timer) { ((world *)timer->data)->cancelled++; }

static void keep_calling(void *user, tg_rpc_code code, const char *message,
                         const tg_rpc_metadata *trailing, size_t count);

static void call_again(world *w)
{
    Tollgate__V1__ObserveRequest request = TOLLGATE__V1__OBSERVE_REQUEST__INIT;
    tg_rpc_start start = {.method = "/tollgate.v1.Health/Observe",
                          .request = &request.base,
                          .response = &tollgate__v1__observe_response__descriptor,
                          .on_message = on_message,
                          .on_done = keep_calling,
                          .user = w};
    CU_ASSERT_EQUAL(tg_rpc_client_start(w->channel, &start, &w->client), 0);
}

static void keep_calling(void *user, tg_rpc_code code, const char *message,
                         const tg_rpc_metadata *trailing, size_t count)
{
    world *w = user;
    (void)message, (void)trailing, (void)count;
    CU_ASSERT_EQUAL(code, TG_RPC_OK);
    if (w->full == 0)
        call_again(w);
    else
        w->done++;
}

static bool all_done(const world *w) { return w->done == 16; }

static void timers_are_not_starved(world *w)
{
    uv_timer_t timer;
    uv_timer_init(tg_rpc_loop_uv(w->loop), &timer);
    timer.data = w;
    uv_timer_start(&timer, on_tick, 10, 10);
    for (unsigned i = 0; i < 16; i++)
        call_again(w);
    run_for(w, 500);
    CU_ASSERT_TRUE(w->got > 100);
    CU_ASSERT_TRUE(w->cancelled > 15 && w->cancelled <= 51);
    w->full = 1;
    run_until(w, all_done);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(tg_rpc_loop_uv(w->loop), UV_RUN_NOWAIT);
}

/* More bytes than libuv reads at a time come through a socket while calls run: none is left lying.
 */
enum { FLOOD_BYTES = 20 << 20 };

static size_t flooded;

static void on_flood_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bytes[1024];
    (void)handle, (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_flood(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    (void)stream, (void)buf;
    if (got > 0)
        flooded += (size_t)got;
}

static void *flood(void *user)
{
    static const char bytes[64 << 10];
    for (size_t sent = 0; sent < FLOOD_BYTES;) {
        ssize_t n = write(*(int *)user, bytes, sizeof bytes);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    return NULL;
}

static bool flood_over(const world *w)
{
    (void)w;
    return flooded == FLOOD_BYTES;
}

static void descriptors_are_read_to_the_end(world *w)
{
    int ends[2];
    uv_pipe_t pipe;
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    flooded = 0;
    uv_pipe_init(tg_rpc_loop_uv(w->loop), &pipe, 0);
    CU_ASSERT_EQUAL(uv_pipe_open(&pipe, ends[0]), 0);
    uv_read_start((uv_stream_t *)&pipe, on_flood_alloc, on_flood);
    pthread_create(&thread, NULL, flood, &ends[1]);
    run_until(w, flood_over);
    pthread_join(thread, NULL);
    close(ends[1]);
    uv_close((uv_handle_t *)&pipe, NULL);
    uv_run(tg_rpc_loop_uv(w->loop), UV_RUN_NOWAIT);
}

/* A watcher that a gRPC handler sets up is registered, though nothing else wakes libuv. */
static int pair[2];
static uv_pipe_t reader;

static void on_late_byte(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    (void)buf;
    if (got > 0)
        tg_rpc_loop_stop(((world *)stream->data)->loop);
}

static void start_reading(world *w, tg_rpc_call *call, const Tollgate__V1__ObserveRequest *in)
{
    Tollgate__V1__ObserveResponse out = TOLLGATE__V1__OBSERVE_RESPONSE__INIT;
    (void)in;
    reader.data = w;
    uv_read_start((uv_stream_t *)&reader, on_flood_alloc, on_late_byte);
    w->cancelled = 1;
    tg_rpc_reply(call, &out.base);
}

static void *write_late(void *user)
{
    ssize_t n;
    (void)user;
    usleep(200000);
    n = write(pair[1], "x", 1);
    return n == 1 ? NULL : (void *)pair;
}

static void handlers_may_watch(world *w)
{
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    uv_pipe_init(tg_rpc_loop_uv(w->loop), &reader, 0);
    uv_pipe_open(&reader, pair[0]);
    w->observe = start_reading;
    observe(w, 1, 0, false);
    tg_rpc_loop_run(w->loop); /* until the call is done */
    CU_ASSERT_EQUAL(w->cancelled, 1);
    pthread_create(&thread, NULL, write_late, NULL);
    tg_rpc_loop_run(w->loop); /* until the byte is there; the guard stops it otherwise */
    CU_ASSERT_FALSE(w->timed_out);
    pthread_join(thread, NULL);
    close(pair[1]);
    uv_close((uv_handle_t *)&reader, NULL);
    uv_run(tg_rpc_loop_uv(w->loop), UV_RUN_NOWAIT);
}

FOR_BOTH(idle_costs_nothing)
FOR_BOTH(timers_are_not_starved)
FOR_BOTH(descriptors_are_read_to_the_end)
FOR_BOTH(handlers_may_watch)

static const tg_test tests[] = {
    {"idle_costs_nothing", test_idle_costs_nothing},
    {"timers_are_not_starved", test_timers_are_not_starved},
    {"descriptors_are_read_to_the_end", test_descriptors_are_read_to_the_end},
    {"handlers_may_watch", test_handlers_may_watch},
};
TG_TEST_MAIN("libs_rpc_loop", tests)
