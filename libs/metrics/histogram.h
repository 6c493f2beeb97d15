/* The inside of a tg_histogram, for metrics.c to render.
 *
 * Buckets: values 0 to 7 have one each; above, every power of two is cut into 8 equal parts. Bucket
 * i starts at tg_histogram_lower(i) and ends just before tg_histogram_lower(i + 1).
 */
#ifndef TG_METRICS_HISTOGRAM_H
#define TG_METRICS_HISTOGRAM_H

#include "libs/metrics/metrics.h"

#include <stdatomic.h>

#define TG_HISTOGRAM_SUB_BITS 3
#define TG_HISTOGRAM_SUB (1u << TG_HISTOGRAM_SUB_BITS)
#define TG_HISTOGRAM_BUCKETS ((64u - TG_HISTOGRAM_SUB_BITS + 1u) * TG_HISTOGRAM_SUB)

struct tg_histogram {
    _Atomic uint64_t count;
    _Atomic uint64_t sum; /* wraps; 2^64 ns are 584 years */
    _Atomic uint64_t buckets[TG_HISTOGRAM_BUCKETS];
};

unsigned tg_histogram_index(uint64_t value);
uint64_t tg_histogram_lower(unsigned index); /* index < TG_HISTOGRAM_BUCKETS */

#endif
