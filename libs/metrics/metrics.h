/* Counters, gauges and histograms in Prometheus' text format, version 0.0.4.
 *
 * A family is registered once with its label names; a series is found or made by its label values
 * and then kept by the caller, so the hot path is one addition. Histograms are log-linear: 8
 * sub-buckets for each power of two, so a quantile is off by at most 1/16, and two histograms merge
 * by addition.
 *
 * Ownership: the registry owns families and series. Threads: updates are relaxed atomics from any
 * thread; registration and rendering belong to one thread.
 * Bound: TG_METRICS_SERIES_MAX series a family; past it all share one series with every label
 * "other".
 */
#ifndef TG_METRICS_METRICS_H
#define TG_METRICS_METRICS_H

#include "libs/base/buf.h"

#include <stdint.h>

#define TG_METRICS_LABELS_MAX 6 /* labels of one family */
#define TG_METRICS_SERIES_MAX 1000 /* series of one family */

typedef struct tg_metrics tg_metrics;
typedef struct tg_metric_family tg_metric_family;
typedef struct tg_counter tg_counter;
typedef struct tg_gauge tg_gauge;
typedef struct tg_histogram tg_histogram;

tg_metrics *tg_metrics_new(void);
tg_metrics *tg_metrics_free(tg_metrics *metrics);

/* `labels` is a comma-separated list of names, or "". NULL when out of memory or the name is
 * taken. */
tg_metric_family *tg_metrics_counter(tg_metrics *m, const char *name, const char *help,
                                     const char *labels);
tg_metric_family *tg_metrics_gauge(tg_metrics *m, const char *name, const char *help,
                                   const char *labels);
/* Observed in integers; shown multiplied by `scale` (1e-9 shows nanoseconds as seconds). */
tg_metric_family *tg_metrics_histogram(tg_metrics *m, const char *name, const char *help,
                                       const char *labels, double scale);

/* The series with these label values, one per label name in order (NULL where there are no labels).
 * Never NULL: out of memory, or past the bound, it is the shared series. */
tg_counter *tg_counter_of(tg_metric_family *family, const char *const *values);
tg_gauge *tg_gauge_of(tg_metric_family *family, const char *const *values);
tg_histogram *tg_histogram_of(tg_metric_family *family, const char *const *values);

/* A family without labels, and its one series. NULL as above. */
tg_counter *tg_metrics_one_counter(tg_metrics *m, const char *name, const char *help);
tg_gauge *tg_metrics_one_gauge(tg_metrics *m, const char *name, const char *help);
tg_histogram *tg_metrics_one_histogram(tg_metrics *m, const char *name, const char *help,
                                       double scale);

void tg_counter_add(tg_counter *counter, uint64_t n);
uint64_t tg_counter_value(const tg_counter *counter);
void tg_gauge_set(tg_gauge *gauge, int64_t value);
void tg_gauge_add(tg_gauge *gauge, int64_t delta);
int64_t tg_gauge_value(const tg_gauge *gauge);

void tg_histogram_observe(tg_histogram *histogram, uint64_t value);
uint64_t tg_histogram_count(const tg_histogram *histogram);
/* The value below which `permille`/1000 of the observations lie; 0 when empty. */
uint64_t tg_histogram_quantile(const tg_histogram *histogram, unsigned permille);

/* A histogram outside any registry (health keeps windows of them). */
tg_histogram *tg_histogram_new(void);
tg_histogram *tg_histogram_free(tg_histogram *histogram);
void tg_histogram_clear(tg_histogram *histogram);
void tg_histogram_merge(tg_histogram *into, const tg_histogram *from);

int tg_metrics_render(tg_metrics *metrics, tg_buf *out);

#endif
