#include "libs/metrics/histogram.h"

#include <stdlib.h>

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

unsigned tg_histogram_index(uint64_t value)
{
    if (value < TG_HISTOGRAM_SUB)
        return (unsigned)value;
    unsigned power = 63u - (unsigned)__builtin_clzll(value);
    unsigned shift = power - TG_HISTOGRAM_SUB_BITS;
    return (shift + 1) * TG_HISTOGRAM_SUB + ((unsigned)(value >> shift) & (TG_HISTOGRAM_SUB - 1));
}

uint64_t tg_histogram_lower(unsigned index)
{
    if (index < TG_HISTOGRAM_SUB)
        return index;
    unsigned shift = index / TG_HISTOGRAM_SUB - 1;
    return (uint64_t)(TG_HISTOGRAM_SUB + index % TG_HISTOGRAM_SUB) << shift;
}

tg_histogram *tg_histogram_new(void) { return calloc(1, sizeof(tg_histogram)); }

tg_histogram *tg_histogram_free(tg_histogram *histogram)
{
    free(histogram);
    return NULL;
}

void tg_histogram_observe(tg_histogram *histogram, uint64_t value)
{
    add(&histogram->buckets[tg_histogram_index(value)], 1);
    add(&histogram->sum, value);
    add(&histogram->count, 1);
}

uint64_t tg_histogram_count(const tg_histogram *histogram) { return load(&histogram->count); }

/* The middle of the bucket in which the observation of that rank lies. */
uint64_t tg_histogram_quantile(const tg_histogram *histogram, unsigned permille)
{
    uint64_t total = 0, below = 0;
    for (unsigned i = 0; i < TG_HISTOGRAM_BUCKETS; i++)
        total += load(&histogram->buckets[i]);
    if (total == 0)
        return 0;
    if (permille > 1000)
        permille = 1000;
    uint64_t rank = (uint64_t)(((unsigned __int128)total * permille + 999) / 1000);
    if (rank == 0)
        rank = 1;
    for (unsigned i = 0; i < TG_HISTOGRAM_BUCKETS; i++) {
        below += load(&histogram->buckets[i]);
        if (below < rank)
            continue;
        uint64_t lower = tg_histogram_lower(i);
        uint64_t last = i + 1 < TG_HISTOGRAM_BUCKETS ? tg_histogram_lower(i + 1) - 1 : UINT64_MAX;
        return lower + (last - lower) / 2;
    }
    return 0; /* observations came in between; the next call sees them */
}

void tg_histogram_clear(tg_histogram *histogram)
{
    for (unsigned i = 0; i < TG_HISTOGRAM_BUCKETS; i++)
        atomic_store_explicit(&histogram->buckets[i], 0, memory_order_relaxed);
    atomic_store_explicit(&histogram->sum, 0, memory_order_relaxed);
    atomic_store_explicit(&histogram->count, 0, memory_order_relaxed);
}

void tg_histogram_merge(tg_histogram *into, const tg_histogram *from)
{
    for (unsigned i = 0; i < TG_HISTOGRAM_BUCKETS; i++) {
        uint64_t n = load(&from->buckets[i]);
        if (n > 0)
            add(&into->buckets[i], n);
    }
    add(&into->sum, load(&from->sum));
    add(&into->count, load(&from->count));
}
