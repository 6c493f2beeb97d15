/* The client's side of `bench_rpc`: keeps a number of calls, streams or HTTP requests in flight. */
#ifndef TG_TESTS_BENCH_RPC_LOAD_H
#define TG_TESTS_BENCH_RPC_LOAD_H

#include "libs/rpc/rpc.h"

#include <stdint.h>

typedef struct load {
    tg_rpc_loop *loop;
    tg_rpc_channel *channel;
    uint16_t http_port;
    unsigned unary;   /* unary calls in flight */
    unsigned streams; /* streams in flight */
    unsigned http;    /* HTTP connections, each with one request in flight */
    const char *http_path;

    uint64_t calls, messages, requests; /* done since load_reset */
    uint32_t *latencies_us;             /* of HTTP requests if there are any, else of calls */
    size_t latency_count;
    unsigned live;
    bool stopping;
} load;

enum { LATENCIES_MAX = 1 << 20 };

void load_start(load *l);
void load_reset(load *l);
void load_stop(load *l); /* runs the loop until nothing is in flight */

#endif
