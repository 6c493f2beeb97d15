/* bench_ledger [EVENTS [FILE]]: events per second from the bytes of the usage topic to committed
 * rows of SQLite: decode, check the price, post, commit with a synced log. One line for each size
 * of batch, since the cost of a commit is shared by a batch; and what decoding and pricing take
 * alone. FILE (default: below the working directory, on a real disk) is made new and removed. */
#include "libs/base/clock.h"
#include "services/billing/ledger/audit.h"
#include "services/billing/ledger/ledger.h"
#include "services/billing/ledger/store_sqlite.h"
#include "services/billing/pricing/pricing.h"
#include "tests/unit/libs/usage/sample.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EVENTS_DEFAULT = 100000, TENANTS = 50, PARTITIONS = 4, SECONDS_MAX = 5 };

static const size_t batch_sizes[] = {1, 10, 100, 1000, 5000};

typedef struct bench {
    tg_price_book *book;
    tg_buf bytes; /* all events */
    tg_store_message *messages;
    size_t count;
    const char *path;
} bench;

static void must(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "bench_ledger: %s: %s\n", what, strerror(-rc));
        exit(1);
    }
}

static uint64_t cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

/* Events as a router sends them: 50 tenants on two targets, with two counterfactuals each. */
static void make_events(bench *b)
{
    static const char *const targets[] = {"haiku", "mini"};
    uint64_t state = 1;
    b->book = tg_price_book_new("bench");
    tg_price prices[] = {{.input = 250000, .output = 1250000}, {.input = 150000, .output = 600000}};
    for (int i = 0; i < 2; i++)
        must(tg_price_book_add(b->book, targets[i], &prices[i]), "prices");
    b->messages = calloc(b->count, sizeof *b->messages);
    size_t *offsets = calloc(b->count + 1, sizeof *offsets);
    tg_buf_init(&b->bytes, (size_t)4 << 30);
    if (!b->messages || !offsets)
        must(-ENOMEM, "events");
    for (size_t i = 0; i < b->count; i++) {
        tg_usage_event e = sample_event((unsigned)i, 1);
        sample_close(&e);
        uint8_t random[10];
        for (size_t j = 0; j < sizeof random; j++)
            random[j] = (uint8_t)tg_random_next(&state);
        tg_uuid7(1790000000000u + i / 100, random, e.request_id);
        snprintf(e.tenant, sizeof e.tenant, "tenant-%u",
                 (unsigned)(tg_random_next(&state) % TENANTS));
        strcpy(e.target, targets[tg_random_next(&state) % 2]);
        strcpy(e.price_book, "bench");
        strcpy(e.traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        e.tokens = (tg_tokens){.input = tg_random_next(&state) % 4000,
                               .output = tg_random_next(&state) % 800};
        must(tg_price_of(b->book, e.target, e.opened_unix_ns, &e.tokens, &e.cost_picousd), "price");
        for (uint32_t j = 0; j < 2; j++) {
            strcpy(e.counterfactuals[j].target, targets[j]);
            e.counterfactuals[j].cost_picousd = e.cost_picousd;
        }
        e.counterfactual_count = 2;
        must(tg_usage_event_encode(&e, &b->bytes), "encode");
        offsets[i + 1] = b->bytes.len;
    }
    for (size_t i = 0; i < b->count; i++)
        b->messages[i] =
            (tg_store_message){TG_STR("usage"),
                               (int32_t)(i % PARTITIONS),
                               (int64_t)(i / PARTITIONS),
                               {b->bytes.data + offsets[i], offsets[i + 1] - offsets[i]}};
    free(offsets);
}

static void report(const char *what, size_t batch, size_t events, uint64_t wall_ns,
                   uint64_t used_ns)
{
    double rate = (double)events * 1e9 / (double)wall_ns;
    double cpu_us = (double)used_ns / 1e3 / (double)events;
    printf("%-14s %6zu %9zu %12.0f %12.2f\n", what, batch, events, rate, cpu_us);
    printf("BENCH ledger what=%s batch=%zu events=%zu events_per_s=%.0f cpu_us_per_event=%.3f\n",
           what, batch, events, rate, cpu_us);
}

static void bench_decode(const bench *b)
{
    uint64_t wall = tg_clock_mono_ns(), cpu = cpu_ns();
    for (size_t i = 0; i < b->count; i++) {
        tg_usage_event event;
        must(tg_usage_event_decode(b->messages[i].bytes.data, b->messages[i].bytes.len, NULL,
                                   &event),
             "decode");
    }
    report("decode", 0, b->count, tg_clock_mono_ns() - wall, cpu_ns() - cpu);
    tg_usage_event event;
    must(tg_usage_event_decode(b->messages[0].bytes.data, b->messages[0].bytes.len, NULL, &event),
         "decode");
    wall = tg_clock_mono_ns();
    cpu = cpu_ns();
    for (size_t i = 0; i < b->count; i++)
        must(tg_pricing_check(b->book, event.target, event.opened_unix_ns, &event.tokens,
                              event.cost_picousd, NULL),
             "price");
    report("price", 0, b->count, tg_clock_mono_ns() - wall, cpu_ns() - cpu);
}

static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

/* Posts until the events or the time are through; then the ledger must be right. */
static void bench_post(const bench *b, size_t batch)
{
    tg_error err = {""};
    tg_store *store = NULL;
    tg_ledger *ledger = NULL;
    tg_ledger_tally tally;
    tg_audit audit;
    tg_arena arena;
    size_t done = 0;
    remove_database(b->path);
    if (tg_store_sqlite_open(b->path, false, &err, &store) < 0) {
        fprintf(stderr, "bench_ledger: %s\n", err.text);
        exit(1);
    }
    must(tg_ledger_new(store, NULL, NULL, &ledger), "ledger");
    must(tg_ledger_set_prices(ledger, b->book, 1, &tally), "prices");
    uint64_t wall = tg_clock_mono_ns(), cpu = cpu_ns();
    while (done < b->count && tg_clock_mono_ns() - wall < SECONDS_MAX * UINT64_C(1000000000)) {
        size_t n = b->count - done < batch ? b->count - done : batch;
        must(tg_ledger_post(ledger, b->messages + done, n, 1, &err, &tally), err.text);
        if (tally.posted != n)
            must(-EPROTO, "not every event was posted");
        done += n;
    }
    report("post", batch, done, tg_clock_mono_ns() - wall, cpu_ns() - cpu);
    tg_arena_init(&arena, 0);
    must(tg_audit_verify(store, b->book, &arena, &audit), "verify");
    if (audit.problem_count > 0 || audit.counts.transactions != done)
        must(-EPROTO, "the ledger is wrong");
    tg_arena_free(&arena);
    tg_ledger_free(ledger);
    store->ops->close(store);
    remove_database(b->path);
}

int main(int argc, char **argv)
{
    bench b = {.count = argc > 1 ? strtoul(argv[1], NULL, 10) : EVENTS_DEFAULT,
               .path = argc > 2 ? argv[2] : "bench-ledger.db"};
    if (b.count == 0) {
        fprintf(stderr, "usage: bench_ledger [EVENTS [FILE]]\n");
        return 2;
    }
    make_events(&b);
    printf("%-14s %6s %9s %12s %12s\n", "", "batch", "events", "events/s", "CPU us/event");
    bench_decode(&b);
    for (size_t i = 0; i < sizeof batch_sizes / sizeof *batch_sizes; i++)
        bench_post(&b, batch_sizes[i]);
    tg_price_book_free(b.book);
    free(b.messages);
    tg_buf_free(&b.bytes);
    return 0;
}
