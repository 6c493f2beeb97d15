/* bench_rpc [SECONDS [ROW]]: our gRPC face against gRPC C++'s asynchronous API, and the two owners
 * of the loop against each other, with and without HTTP on the same loop.
 *
 * Each server is a process of its own; this one is the client of all of them. What counts is the
 * server's CPU time per call, from its process clock. Every cell is the best of ROUNDS interleaved
 * rounds. ROW: only the rows whose name begins so. */
#include "tests/bench/rpc/load.h"

#include "libs/base/clock.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 3, WARM_MS = 200, SERVERS = 3 };
enum { QUEUE, UV, CPP };

typedef struct process {
    const char *name;
    pid_t pid;
    int input;
    int rpc_port, http_port;
} process;

typedef struct row {
    const char *name, *unit;
    unsigned unary, streams, http;
    const char *path;
    bool cpp; /* also by the C++ server */
    struct {
        double cpu_us, per_s, p50_us, p99_us;
    } best[SERVERS];
} row;

static row rows[] = {
    {"unary, 1 in flight", "call", .unary = 1, .cpp = true},
    {"unary, 16 in flight", "call", .unary = 16, .cpp = true},
    {"unary, 64 in flight", "call", .unary = 64, .cpp = true},
    {"stream, 1 at a time", "message", .streams = 1, .cpp = true},
    {"stream, 16 at a time", "message", .streams = 16, .cpp = true},
    {"HTTP, 1 connection", "request", .http = 1, .path = "/plain"},
    {"HTTP, 64 connections", "request", .http = 64, .path = "/plain"},
    {"HTTP 1 + unary 16", "both", .unary = 16, .http = 1, .path = "/plain"},
    {"HTTP 64 + unary 16", "both", .unary = 16, .http = 64, .path = "/plain"},
    {"HTTP 1 over gRPC", "request", .http = 1, .path = "/through"},
    {"HTTP 64 over gRPC", "request", .http = 64, .path = "/through"},
    {"HTTP 1 over HTTP", "request", .http = 1, .path = "/proxy"},
    {"HTTP 64 over HTTP", "request", .http = 64, .path = "/proxy"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static process spawn(const char *folder, const char *name, const char *program, const char *owner,
                     const char *rpc_backend, const char *http_backend)
{
    process p = {.name = name};
    char path[4096], line[64] = "";
    int in[2], out[2];
    snprintf(path, sizeof path, "%s/%s", folder, program);
    if (pipe(in) < 0 || pipe(out) < 0 || (p.pid = fork()) < 0)
        exit(1);
    if (p.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl(path, program, owner, rpc_backend, http_backend, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    if (read(out[0], line, sizeof line - 1) <= 0 ||
        sscanf(line, "%d %d", &p.rpc_port, &p.http_port) != 2) {
        fprintf(stderr, "bench_rpc: %s does not start\n", path);
        exit(1);
    }
    p.input = in[1];
    return p;
}

static uint64_t cpu_ns(pid_t pid)
{
    clockid_t id;
    struct timespec t;
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &t) != 0)
        exit(1);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_ring(uv_timer_t *timer) { tg_rpc_loop_stop(timer->data); }

static void run_for(tg_rpc_loop *loop, uint64_t ms)
{
    uv_timer_t timer;
    uv_timer_init(tg_rpc_loop_uv(loop), &timer);
    timer.data = loop;
    uv_timer_start(&timer, on_ring, ms, 0);
    tg_rpc_loop_run(loop);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(tg_rpc_loop_uv(loop), UV_RUN_NOWAIT);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void measure(row *r, int which, const process *p, uint64_t ms)
{
    tg_rpc_loop *loop;
    tg_error err = {""};
    char address[64];
    load l = {.http_port = (uint16_t)p->http_port,
              .unary = r->unary,
              .streams = r->streams,
              .http = r->http,
              .http_path = r->path};
    snprintf(address, sizeof address, "127.0.0.1:%d", p->rpc_port);
    if (tg_rpc_loop_new(TG_RPC_LOOP_QUEUE, &err, &loop) < 0 ||
        tg_rpc_channel_new(loop, address, NULL, 0, &err, &l.channel) < 0)
        exit(1);
    l.loop = loop;
    load_start(&l);
    run_for(loop, WARM_MS);
    load_reset(&l);
    uint64_t wall = tg_clock_mono_ns(), cpu = cpu_ns(p->pid);
    run_for(loop, ms);
    wall = tg_clock_mono_ns() - wall;
    cpu = cpu_ns(p->pid) - cpu;
    uint64_t done = r->streams ? l.messages : r->unary ? l.calls + l.requests : l.requests;
    double cpu_us = (double)cpu / 1000 / (double)done, per_s = (double)done * 1e9 / (double)wall;
    qsort(l.latencies_us, l.latency_count, sizeof *l.latencies_us, by_value);
    if (r->best[which].cpu_us == 0 || cpu_us < r->best[which].cpu_us) {
        r->best[which].cpu_us = cpu_us;
        if (l.latency_count > 0) {
            r->best[which].p50_us = l.latencies_us[l.latency_count / 2];
            r->best[which].p99_us = l.latencies_us[l.latency_count * 99 / 100];
        }
    }
    if (per_s > r->best[which].per_s)
        r->best[which].per_s = per_s;
    load_stop(&l);
    tg_rpc_channel_free(l.channel);
    tg_rpc_loop_free(loop);
}

static const char *wanted = "";

static bool runs(const row *r, int which)
{
    return strncmp(r->name, wanted, strlen(wanted)) == 0 && (which != CPP || r->cpp);
}

static void print_machine_lines(const process *servers)
{
    for (size_t i = 0; i < ROWS; i++)
        for (int which = 0; which < SERVERS; which++)
            if (runs(&rows[i], which))
                printf("BENCH rpc server=%s unary=%u streams=%u http=%u path=%s cpu_us=%.3f "
                       "per_s=%.0f "
                       "p50_us=%.0f p99_us=%.0f\n",
                       servers[which].name, rows[i].unary, rows[i].streams, rows[i].http,
                       rows[i].path ? rows[i].path : "-", rows[i].best[which].cpu_us,
                       rows[i].best[which].per_s, rows[i].best[which].p50_us,
                       rows[i].best[which].p99_us);
}

static void print_table(void)
{
    printf("server CPU, microseconds            queue owns  libuv owns   gRPC C++   queue/C++  "
           "libuv/C++\n");
    for (size_t i = 0; i < ROWS; i++) {
        const row *r = &rows[i];
        if (!runs(r, QUEUE))
            continue;
        printf("%-22s a %-8s  %10.2f  %10.2f", r->name, r->unit, r->best[QUEUE].cpu_us,
               r->best[UV].cpu_us);
        if (r->cpp)
            printf("  %9.2f  %10.2f %10.2f", r->best[CPP].cpu_us,
                   r->best[QUEUE].cpu_us / r->best[CPP].cpu_us,
                   r->best[UV].cpu_us / r->best[CPP].cpu_us);
        printf("\n");
    }
    printf("\nthousands a second, p50 and p99 us  queue owns              libuv owns              "
           "gRPC C++\n");
    for (size_t i = 0; i < ROWS; i++) {
        if (!runs(&rows[i], QUEUE))
            continue;
        printf("%-34s", rows[i].name);
        for (int which = 0; which < SERVERS; which++)
            if (runs(&rows[i], which))
                printf("  %7.1f %6.0f %7.0f", rows[i].best[which].per_s / 1000,
                       rows[i].best[which].p50_us, rows[i].best[which].p99_us);
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    uint64_t ms = argc > 1 ? strtoull(argv[1], NULL, 10) * 1000 : 1000;
    char self[4096], rpc[64], http[64];
    if (argc > 2)
        wanted = argv[2];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0 || ms == 0)
        return 2;
    self[n] = '\0';
    const char *folder = dirname(self);
    tg_rpc_init();
    process back = spawn(folder, "backend", "bench_rpc_server", "uv", NULL, NULL);
    snprintf(rpc, sizeof rpc, "127.0.0.1:%d", back.rpc_port);
    snprintf(http, sizeof http, "127.0.0.1:%d", back.http_port);
    process servers[SERVERS] = {
        [QUEUE] = spawn(folder, "queue", "bench_rpc_server", "queue", rpc, http),
        [UV] = spawn(folder, "uv", "bench_rpc_server", "uv", rpc, http),
        [CPP] = spawn(folder, "cpp", "bench_rpc_cpp", NULL, NULL, NULL),
    };
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < ROWS; i++)
            for (int which = 0; which < SERVERS; which++)
                if (runs(&rows[i], which))
                    measure(&rows[i], which, &servers[which], ms);
    print_machine_lines(servers);
    print_table();
    for (int i = 0; i < SERVERS; i++)
        close(servers[i].input);
    close(back.input);
    while (wait(NULL) > 0)
        continue;
    return 0;
}
