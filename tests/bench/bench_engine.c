/* bench_engine [MODEL [THREADS]]: tokens per second of the engine, through its public face, for every
 * instruction path this processor has: prefill of a 512-token prompt, decoding of one sequence and of
 * eight at once. Medians of interleaved runs; prompts are random and never repeat, so the prefix cache
 * has no part in it. MODEL: $TOLLGATE_MODEL, else the default model in build/models. */
#include "libs/base/clock.h"
#include "services/inference/engine/engine.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

enum { RUNS = 5, PREFILL = 512, PROMPT = 32, OUTPUT = 96, MANY = 8 };

typedef struct bench {
    tg_engine *engine;
    sem_t ready;
    uint32_t vocab;
    uint64_t random;
    size_t open;
    tg_gen_usage usages[MANY];
} bench;

static void on_ready(void *user) { sem_post(&((bench *)user)->ready); }

static void on_event(void *user, const tg_engine_event *event)
{
    bench *b = user;
    if (event->finish == TG_FINISH_NONE)
        return;
    if (event->finish != TG_FINISH_LENGTH) {
        fprintf(stderr, "bench_engine: a generation ended early\n");
        exit(1);
    }
    b->usages[(size_t)(uintptr_t)event->user] = event->usage;
    b->open--;
}

/* `count` sequences at once, from random prompts. Fills usages. */
static void generate(bench *b, uint32_t count, uint32_t prompt_len, uint32_t output_len)
{
    uint32_t prompt[PREFILL];
    tg_error err = {""};
    tg_gen_ticket ticket;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < prompt_len; k++) {
            b->random = b->random * 6364136223846793005u + 1442695040888963407u;
            prompt[k] = (uint32_t)((b->random >> 33) % b->vocab);
        }
        const tg_gen_request request = {.tokens = prompt, .tokens_len = prompt_len,
                                        .max_tokens = output_len, .ignore_end = true,
                                        .user = (void *)(uintptr_t)i};
        if (tg_engine_submit(b->engine, &request, &err, &ticket) < 0) {
            fprintf(stderr, "bench_engine: %s\n", err.text);
            exit(1);
        }
        b->open++;
    }
    while (b->open > 0) {
        while (sem_wait(&b->ready) < 0 && errno == EINTR)
            ;
        tg_engine_drain(b->engine, on_event, b);
    }
}

static double prefill_rate(bench *b)
{
    generate(b, 1, PREFILL, 1);
    return PREFILL * 1e9 / (double)b->usages[0].prefill_ns;
}

static double decode_rate(bench *b, uint32_t count)
{
    uint64_t longest_ns = 1;
    generate(b, count, PROMPT, OUTPUT);
    for (uint32_t i = 0; i < count; i++)
        if (b->usages[i].decode_ns > longest_ns)
            longest_ns = b->usages[i].decode_ns;
    return count * (OUTPUT - 1.0) * 1e9 / (double)longest_ns;
}

static int by_value(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(double *values)
{
    qsort(values, RUNS, sizeof(*values), by_value);
    return values[RUNS / 2];
}

static void measure(const char *model, uint32_t threads)
{
    bench b = {.random = 1};
    tg_error err = {""};
    tg_engine_status s;
    double prefill[RUNS], one[RUNS], many[RUNS];
    sem_init(&b.ready, 0, 0);
    const tg_engine_conf conf = {.model_path = model, .threads = threads, .max_seqs = MANY,
                                 .kv_tokens = 8192, .notify = on_ready, .notify_user = &b};
    uint64_t started_ns = tg_clock_mono_ns();
    if (tg_engine_new(&conf, &err, &b.engine) < 0) {
        fprintf(stderr, "bench_engine: %s\n", err.text);
        exit(1);
    }
    double load_ms = (double)(tg_clock_mono_ns() - started_ns) / 1e6;
    b.vocab = tg_engine_model(b.engine)->shape.vocab;
    decode_rate(&b, 1); /* warm */
    for (size_t i = 0; i < RUNS; i++) {
        one[i] = decode_rate(&b, 1);
        many[i] = decode_rate(&b, MANY);
        prefill[i] = prefill_rate(&b);
    }
    tg_engine_get_status(b.engine, &s);
    double p = median(prefill), d1 = median(one), d8 = median(many);
    printf("%-8s %7u %8.0f %14.0f %14.1f %14.1f %7.2f\n", s.path, s.threads, load_ms, p, d1, d8, d8 / d1);
    printf("BENCH engine model=\"%s\" quantisation=%s path=%s threads=%u load_ms=%.0f "
           "prefill_512_tps=%.1f decode_1_tps=%.1f decode_8_tps=%.1f ratio=%.3f runs=%d\n",
           s.model, s.quantisation, s.path, s.threads, load_ms, p, d1, d8, d8 / d1, RUNS);
    fflush(stdout);
    tg_engine_free(b.engine);
    sem_destroy(&b.ready);
}

int main(int argc, char **argv)
{
    static const char *const paths[] = {"avx512", "avx2"};
    const char *model = argc > 1 ? argv[1] : getenv("TOLLGATE_MODEL");
    const char *forced = getenv("TOLLGATE_CPU");
    const uint32_t threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    size_t measured = 0;
    if (!model)
        model = "build/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    printf("%s, medians of %d runs, tokens/s\n", model, RUNS);
    printf("%-8s %7s %8s %14s %14s %14s %7s\n", "path", "threads", "load ms", "prefill 512",
           "decode, 1 seq", "decode, 8 seqs", "ratio");
    for (size_t i = 0; !forced && i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (!tg_engine_has_path(paths[i]))
            continue;
        setenv("TOLLGATE_CPU", paths[i], 1);
        measure(model, threads);
        measured++;
    }
    if (measured == 0)
        measure(model, threads);
    return 0;
}
