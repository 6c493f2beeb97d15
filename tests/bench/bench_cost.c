/* What a step costs: forward passes of many mixes of prompt chunks and decoding, fitted by
 *
 *     ns = step + token × tokens + row × rows of logits + key × keys that a sequence reads + pair ×
 *       (token, key) pairs
 *
 * by least squares of the relative error, which gives the weights by which engine/account.h divides
 * a step's time.
 *
 *     bench_cost MODEL.gguf [THREADS]
 *
 * Each mix runs TIMES times, all of them in turn, so that what else the machine does meets all; the
 * fastest counts.
 */
#include "libs/base/clock.h"
#include "libs/base/str.h"
#include "services/inference/backend/backend.h"
#include "services/inference/engine/account.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TERMS = 5, TIMES = 5, SEQS = 32, KV_TOKENS = 40960, STEP_TOKENS = 512 };

typedef struct mix {
    /* sequences with one token and a row of logits, after so many */
    uint32_t decoding, decoding_at;
    uint32_t chunk, chunk_at;       /* tokens of a prompt, after so many; no row */
    uint64_t ns[TIMES];
} mix;

static mix mixes[] = {
    {1, 16, 0, 0, {0}},        {1, 1000, 0, 0, {0}},     {1, 3000, 0, 0, {0}},
    {2, 100, 0, 0, {0}},       {4, 16, 0, 0, {0}},       {4, 1000, 0, 0, {0}},
    {8, 16, 0, 0, {0}},        {8, 600, 0, 0, {0}},      {8, 2000, 0, 0, {0}},
    {16, 16, 0, 0, {0}},       {16, 1000, 0, 0, {0}},    {32, 16, 0, 0, {0}},
    {32, 600, 0, 0, {0}},      {32, 1000, 0, 0, {0}},    {0, 0, 32, 0, {0}},
    {0, 0, 64, 500, {0}},      {0, 0, 128, 0, {0}},      {0, 0, 256, 0, {0}},
    {0, 0, 256, 1000, {0}},    {0, 0, 256, 3000, {0}},   {0, 0, 512, 0, {0}},
    {0, 0, 512, 2000, {0}},    {4, 500, 60, 0, {0}},     {8, 100, 120, 300, {0}},
    {8, 1000, 248, 1000, {0}}, {31, 200, 200, 200, {0}},
};
enum { MIXES = sizeof(mixes) / sizeof(*mixes) };

static uint32_t tokens[STEP_TOKENS], blocks[SEQS][KV_TOKENS / TG_KV_BLOCK_TOKENS];

/* Sequences side by side in the KV memory; the chunk's comes first. What is in it does not matter
 * to the time. */
static uint64_t run(tg_backend *backend, const mix *m)
{
    tg_step_seq seqs[SEQS];
    uint32_t len = 0, block = 0;
    const float *logits;
    for (uint32_t i = 0; i < m->decoding + (m->chunk > 0); i++) {
        const bool chunk = m->chunk > 0 && i == 0;
        const uint32_t at = chunk ? m->chunk_at : m->decoding_at, count = chunk ? m->chunk : 1;
        for (uint32_t k = 0; k * TG_KV_BLOCK_TOKENS < at + count; k++)
            blocks[i][k] = block++;
        seqs[len++] = (tg_step_seq){tokens, count, at, blocks[i], !chunk};
    }
    const tg_forward_step step = {.seqs = seqs, .seqs_len = len};
    const uint64_t began = tg_clock_mono_ns();
    if (block > KV_TOKENS / TG_KV_BLOCK_TOKENS || backend->ops->run(backend, &step, &logits) < 0) {
        fprintf(stderr, "bench_cost: a step failed\n");
        exit(1);
    }
    return tg_clock_mono_ns() - began;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void terms_of(const mix *m, double x[TERMS])
{
    x[0] = 1;
    x[1] = m->decoding + m->chunk;
    x[2] = m->decoding;
    x[3] = m->decoding * (m->decoding_at + 1) + (m->chunk > 0 ? m->chunk_at + m->chunk : 0);
    x[4] = m->decoding * (m->decoding_at + 1) + (double)tg_account_pairs(m->chunk_at, m->chunk, 0);
}

/* Gauss-Jordan on the normal equations. A term that comes out negative is taken out and the rest
 * fitted anew. */
static void fit(double ret[TERMS])
{
    bool out[TERMS] = {false};
    for (;;) {
        double a[TERMS][TERMS + 1] = {{0}};
        for (size_t m = 0; m < MIXES; m++) {
            double x[TERMS];
            const double y = (double)mixes[m].ns[0];
            terms_of(&mixes[m], x);
            for (int i = 0; i < TERMS; i++) {
                for (int k = 0; k < TERMS; k++)
                    a[i][k] += out[i] || out[k] ? 0 : x[i] / y * x[k] / y;
                a[i][TERMS] += out[i] ? 0 : x[i] / y;
            }
        }
        for (int i = 0; i < TERMS; i++) {
            a[i][i] += out[i];
            const double pivot = a[i][i];
            for (int k = 0; k <= TERMS; k++)
                a[i][k] /= pivot;
            for (int r = 0; r < TERMS; r++) {
                const double times = a[r][i];
                for (int k = 0; r != i && k <= TERMS; k++)
                    a[r][k] -= times * a[i][k];
            }
        }
        int worst = -1;
        for (int i = 0; i < TERMS; i++) {
            ret[i] = a[i][TERMS];
            if (ret[i] < 0 && (worst < 0 || ret[i] < ret[worst]))
                worst = i;
        }
        if (worst < 0)
            return;
        out[worst] = true;
    }
}

static void print(const tg_model *model, const tg_backend *backend)
{
    double by[TERMS], error = 0, most = 0;
    fit(by);
    for (size_t m = 0; m < MIXES; m++) {
        double x[TERMS], ns = 0;
        terms_of(&mixes[m], x);
        for (int i = 0; i < TERMS; i++)
            ns += by[i] * x[i];
        const double off = fabs(ns / (double)mixes[m].ns[0] - 1);
        error += off / MIXES;
        most = off > most ? off : most;
    }
    const tg_work work = tg_work_of(&model->shape);
    printf("%s %s, %s, %u threads: %d mixes, %d runs each; the fit is off by %.0f%% on average, "
           "%.0f%% at most\n",
           model->name, model->quantisation, backend->path, backend->threads, (int)MIXES,
           (int)TIMES, 100 * error, 100 * most);
    const uint64_t adds[TERMS] = {work.token, work.token, work.row, work.key, work.key};
    static const char *const names[TERMS] = {"step", "token", "row", "key", "pair"};
    printf("  %-6s %12s %24s %14s %12s\n", "", "ns", "of multiply-adds", "ps for each",
           "of a token's");
    for (int i = 0; i < TERMS; i++)
        printf("  %-6s %12.0f %24llu %14.2f %12.2f\n", names[i], by[i], (unsigned long long)adds[i],
               1e3 * by[i] / (double)adds[i], by[i] / (double)adds[i] / (by[1] / (double)adds[1]));
}

int main(int argc, char **argv)
{
    tg_error err = {""};
    tg_model *model = NULL;
    tg_backend *backend = NULL;
    uint64_t threads = 0;
    if (argc < 2 || argc > 3 || (argc == 3 && tg_str_u64(tg_str_of(argv[2]), &threads) < 0) ||
        threads > TG_THREADS_MAX) {
        fprintf(stderr, "usage: bench_cost MODEL.gguf [THREADS]\n");
        return 2;
    }
    const tg_backend_conf conf = {.threads = (uint32_t)threads,
                                  .kv_blocks = KV_TOKENS / TG_KV_BLOCK_TOKENS,
                                  .step_tokens_max = STEP_TOKENS,
                                  .step_logits_max = SEQS};
    int rc = tg_model_open(argv[1], &err, &model);
    if (rc == 0)
        rc = tg_backend_open_cpu(model, &conf, &err, &backend);
    if (rc < 0) {
        fprintf(stderr, "bench_cost: %s\n", err.text[0] ? err.text : strerror(-rc));
        return 1;
    }
    for (uint32_t i = 0; i < STEP_TOKENS; i++)
        tokens[i] = i * 7919u % model->shape.vocab;
    for (int time = -1; time < TIMES; time++) /* once to warm up */
        for (size_t m = 0; m < MIXES; m++)
            mixes[m].ns[time < 0 ? 0 : time] = run(backend, &mixes[m]);
    for (size_t m = 0; m < MIXES; m++)
        qsort(mixes[m].ns, TIMES, sizeof(mixes[m].ns[0]), by_value);
    print(model, backend);
    tg_backend_close(backend);
    tg_model_free(model);
    return 0;
}
