/* What the two engines' drivers share: one command a line on stdin, one answer a line on stdout.
 *
 *     prefill TOKENS          for a prompt of that many tokens: nanoseconds, and those of processor
 *                             time
 *     decode SEQS STEPS       the same for STEPS tokens of each of SEQS sequences at once
 *     greedy TOKENS ID...     "ID:GAP ..." the greedy continuation; GAP: how far the second logit
 *                             is behind
 *     tokenize HEX            the ids of a text
 *     nll ID...               the negative log likelihood of each but the first
 *     memory                  resident bytes, and those of them that are pages of files
 *
 * A driver's first line says how loading went. An error ends the process with a sentence on stderr.
 * Plain libc, so that the same header serves a program that links nothing of ours. */
#ifndef TG_BENCH_DRIVER_H
#define TG_BENCH_DRIVER_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    DRIVER_PROMPT = 17,     /* tokens before the first decode step: a whole KV block and one more */
    DRIVER_SEQS_MAX = 64,   /* at once */
    DRIVER_TOKENS_MAX = 8192, /* of one prompt */
    DRIVER_LINE_MAX = 1 << 17,
};

static inline uint64_t driver_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A moment, or the time between two: on the clock, and of all of the process's threads. */
typedef struct driver_time {
    uint64_t wall_ns, cpu_ns;
} driver_time;

static inline driver_time driver_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (driver_time){driver_now_ns(), (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec};
}

static inline driver_time driver_since(driver_time began)
{
    const driver_time now = driver_now();
    return (driver_time){now.wall_ns - began.wall_ns, now.cpu_ns - began.cpu_ns};
}

static inline void driver_print_time(driver_time t)
{
    printf("%llu %llu", (unsigned long long)t.wall_ns, (unsigned long long)t.cpu_ns);
}

static inline uint32_t driver_random(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

/* The prompt that sequence `index` decodes from: the same in every run. */
static inline uint32_t driver_prompt_token(uint32_t index, uint32_t position, uint32_t vocab)
{
    uint64_t state = (uint64_t)index * 1000003u + position + 1;
    driver_random(&state, vocab);
    return driver_random(&state, vocab);
}

/* Resident bytes, and those of them that are pages of files. */
static inline void driver_print_memory(void)
{
    long size = 0, resident = 0, of_files = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld %ld", &size, &resident, &of_files) != 3)
        exit(1);
    fclose(f);
    printf("%ld %ld", resident * sysconf(_SC_PAGESIZE), of_files * sysconf(_SC_PAGESIZE));
}

/* Numbers of a line from `text` on; how many there were. */
static inline size_t driver_numbers(const char *text, uint32_t *out, size_t most)
{
    size_t n = 0;
    char *end;
    while (n < most) {
        unsigned long value = strtoul(text, &end, 10);
        if (end == text)
            break;
        out[n++] = (uint32_t)value;
        text = end;
    }
    return n;
}

static inline size_t driver_unhex(const char *hex, char *out, size_t most)
{
    size_t n = 0;
    unsigned byte;
    while (n < most && sscanf(hex + 2 * n, "%2x", &byte) == 1)
        out[n++] = (char)byte;
    return n;
}

static inline double driver_nll(const float *logits, uint32_t count, uint32_t token)
{
    double total = 0, most = -INFINITY;
    for (uint32_t t = 0; t < count; t++)
        most = (double)logits[t] > most ? (double)logits[t] : most;
    for (uint32_t t = 0; t < count; t++)
        total += exp((double)logits[t] - most);
    return most + log(total) - (double)logits[token];
}

static inline void driver_fail(const char *what)
{
    fprintf(stderr, "driver: %s\n", what);
    exit(1);
}

typedef struct driver_ops {
    driver_time (*prefill)(void *self, uint32_t tokens);
    driver_time (*decode)(void *self, uint32_t seqs, uint32_t steps);
    void (*greedy)(void *self, const uint32_t *prompt, size_t prompt_len, uint32_t tokens);
    size_t (*tokenize)(void *self, const char *text, size_t text_len, uint32_t *out, size_t most);
    void (*nll)(void *self, const uint32_t *ids, size_t len);
    void *self;
} driver_ops;

static inline void driver_answer(const driver_ops *ops, char *line)
{
    static uint32_t ids[DRIVER_TOKENS_MAX];
    static char text[DRIVER_LINE_MAX];
    char *space = strpbrk(line, " \n");
    char *rest = space ? space + 1 : line;
    if (space)
        *space = '\0';
    if (strcmp(line, "prefill") == 0 && driver_numbers(rest, ids, 1) == 1) {
        driver_print_time(ops->prefill(ops->self, ids[0]));
    } else if (strcmp(line, "decode") == 0 && driver_numbers(rest, ids, 2) == 2) {
        driver_print_time(ops->decode(ops->self, ids[0], ids[1]));
    } else if (strcmp(line, "greedy") == 0) {
        size_t n = driver_numbers(rest, ids, DRIVER_TOKENS_MAX);
        if (n < 2)
            driver_fail("greedy needs a count and a prompt");
        ops->greedy(ops->self, ids + 1, n - 1, ids[0]);
    } else if (strcmp(line, "tokenize") == 0) {
        size_t n = ops->tokenize(ops->self, text, driver_unhex(rest, text, sizeof(text)), ids,
                                 DRIVER_TOKENS_MAX);
        for (size_t i = 0; i < n; i++)
            printf("%u ", ids[i]);
    } else if (strcmp(line, "nll") == 0) {
        ops->nll(ops->self, ids, driver_numbers(rest, ids, DRIVER_TOKENS_MAX));
    } else if (strcmp(line, "memory") == 0) {
        driver_print_memory();
    } else {
        driver_fail("an unknown command");
    }
    printf("\n");
    fflush(stdout);
}

static inline void driver_serve(const driver_ops *ops)
{
    static char line[DRIVER_LINE_MAX];
    while (fgets(line, sizeof(line), stdin))
        driver_answer(ops, line);
}

#endif
