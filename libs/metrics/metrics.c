#include "libs/metrics/metrics.h"

#include "libs/base/map.h"
#include "libs/metrics/histogram.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Histograms are rendered with one `le` per power of two, a fixed range of them so that the set of
 * series never changes: 16 µs to 275 s for times kept in nanoseconds, 0 to 16 Mi for counts and
 * bytes. */
enum { SHOWN_POWERS = 25, FIRST_POWER_TIME = 14, FIRST_POWER_COUNT = 0 };

typedef enum kind { COUNTER, GAUGE, HISTOGRAM } kind;

struct tg_counter {
    _Atomic uint64_t value;
};

struct tg_gauge {
    _Atomic int64_t value;
};

typedef struct series {
    struct series *next;
    char *labels; /* rendered: a="x",b="y" */
    tg_counter counter;
    tg_gauge gauge;
    tg_histogram *histogram;
} series;

struct tg_metric_family {
    tg_metric_family *next;
    kind kind;
    char *name, *help, *labels; /* labels: names, each NUL-terminated in place of its comma */
    const char *label_names[TG_METRICS_LABELS_MAX];
    size_t label_count;
    double scale;
    tg_map *by_values;
    series *first, **last; /* in order of creation */
    series *overflow;      /* what every further combination shares */
};

struct tg_metrics {
    tg_metric_family *first, **last;
};

static series *series_free(series *s)
{
    if (s) {
        tg_histogram_free(s->histogram);
        free(s->labels);
        free(s);
    }
    return NULL;
}

static tg_metric_family *family_free(tg_metric_family *family)
{
    if (!family)
        return NULL;
    for (series *s = family->first, *next; s; s = next) {
        next = s->next;
        series_free(s);
    }
    series_free(family->overflow);
    tg_map_free(family->by_values);
    free(family->name);
    free(family->help);
    free(family->labels);
    free(family);
    return NULL;
}

tg_metrics *tg_metrics_new(void)
{
    tg_metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        metrics->last = &metrics->first;
    return metrics;
}

tg_metrics *tg_metrics_free(tg_metrics *metrics)
{
    if (!metrics)
        return NULL;
    for (tg_metric_family *family = metrics->first, *next; family; family = next) {
        next = family->next;
        family_free(family);
    }
    free(metrics);
    return NULL;
}

/* Appends text with what the format escapes: a quote only inside label values. */
static int add_escaped(tg_buf *out, const char *text, bool quote)
{
    int rc = 0;
    for (; rc == 0 && *text; text++) {
        if (*text == '\n')
            rc = tg_buf_add_text(out, "\\n");
        else if (*text == '\\' || (quote && *text == '"'))
            rc = tg_buf_printf(out, "\\%c", *text);
        else
            rc = tg_buf_add_char(out, *text);
    }
    return rc;
}

static series *series_new(const tg_metric_family *family, const char *const *values)
{
    tg_buf labels;
    tg_buf_init(&labels, 0);
    series *s = calloc(1, sizeof *s);
    int rc = s ? tg_buf_reserve(&labels, 0) : -1;
    for (size_t i = 0; rc == 0 && i < family->label_count; i++) {
        rc = tg_buf_printf(&labels, "%s%s=\"", i ? "," : "", family->label_names[i]);
        if (rc == 0)
            rc = add_escaped(&labels, values ? values[i] : "other", true);
        if (rc == 0)
            rc = tg_buf_add_char(&labels, '"');
    }
    if (rc == 0)
        s->labels = strdup(labels.len > 0 ? labels.data : "");
    if (rc == 0 && family->kind == HISTOGRAM)
        s->histogram = tg_histogram_new();
    if (rc == 0 && (!s->labels || (family->kind == HISTOGRAM && !s->histogram)))
        rc = -1;
    tg_buf_free(&labels);
    return rc == 0 ? s : series_free(s);
}

static bool name_valid(const char *name)
{
    if (!*name || (*name >= '0' && *name <= '9'))
        return false;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:")] ==
           '\0';
}

static bool split_labels(tg_metric_family *family)
{
    char *save = NULL;
    for (char *name = strtok_r(family->labels, ", ", &save); name;
         name = strtok_r(NULL, ", ", &save)) {
        if (!name_valid(name) || family->label_count == TG_METRICS_LABELS_MAX)
            return false;
        family->label_names[family->label_count++] = name;
    }
    return true;
}

static series *series_of(tg_metric_family *family, kind wanted, const char *const *values)
{
    assert(family->kind == wanted);
    char key_bytes[1024];
    tg_str key = {key_bytes, 0};
    for (size_t i = 0; i < family->label_count; i++) {
        size_t len = strlen(values[i]) + 1; /* the terminator separates */
        if (len > sizeof key_bytes - key.len)
            return family->overflow;
        memcpy(key_bytes + key.len, values[i], len);
        key.len += len;
    }
    series *s = tg_map_get(family->by_values, key);
    if (s)
        return s;
    if (tg_map_count(family->by_values) >= TG_METRICS_SERIES_MAX)
        return family->overflow;
    s = series_new(family, values);
    if (!s || tg_map_put(family->by_values, key, s, NULL) < 0) {
        series_free(s);
        return family->overflow;
    }
    *family->last = s;
    family->last = &s->next;
    return s;
}

static tg_metric_family *family_new(tg_metrics *m, kind which, const char *name, const char *help,
                                    const char *labels, double scale)
{
    for (tg_metric_family *other = m->first; other; other = other->next)
        if (strcmp(other->name, name) == 0)
            return NULL;
    tg_metric_family *family = calloc(1, sizeof *family);
    if (!family)
        return NULL;
    family->kind = which;
    family->scale = scale;
    family->last = &family->first;
    family->name = strdup(name);
    family->help = strdup(help);
    family->labels = strdup(labels);
    family->by_values = tg_map_new();
    if (!family->name || !family->help || !family->labels || !family->by_values ||
        !name_valid(name) || !split_labels(family))
        return family_free(family);
    family->overflow = series_new(family, NULL);
    if (!family->overflow)
        return family_free(family);
    if (family->label_count == 0) /* one series only: shown from the start */
        series_of(family, which, NULL);
    *m->last = family;
    m->last = &family->next;
    return family;
}

tg_metric_family *tg_metrics_counter(tg_metrics *m, const char *name, const char *help,
                                     const char *labels)
{
    return family_new(m, COUNTER, name, help, labels, 1);
}

tg_metric_family *tg_metrics_gauge(tg_metrics *m, const char *name, const char *help,
                                   const char *labels)
{
    return family_new(m, GAUGE, name, help, labels, 1);
}

tg_metric_family *tg_metrics_histogram(tg_metrics *m, const char *name, const char *help,
                                       const char *labels, double scale)
{
    return family_new(m, HISTOGRAM, name, help, labels, scale);
}

tg_counter *tg_counter_of(tg_metric_family *family, const char *const *values)
{
    return &series_of(family, COUNTER, values)->counter;
}

tg_gauge *tg_gauge_of(tg_metric_family *family, const char *const *values)
{
    return &series_of(family, GAUGE, values)->gauge;
}

tg_histogram *tg_histogram_of(tg_metric_family *family, const char *const *values)
{
    return series_of(family, HISTOGRAM, values)->histogram;
}

tg_counter *tg_metrics_one_counter(tg_metrics *m, const char *name, const char *help)
{
    tg_metric_family *family = tg_metrics_counter(m, name, help, "");
    return family ? tg_counter_of(family, NULL) : NULL;
}

tg_gauge *tg_metrics_one_gauge(tg_metrics *m, const char *name, const char *help)
{
    tg_metric_family *family = tg_metrics_gauge(m, name, help, "");
    return family ? tg_gauge_of(family, NULL) : NULL;
}

tg_histogram *tg_metrics_one_histogram(tg_metrics *m, const char *name, const char *help,
                                       double scale)
{
    tg_metric_family *family = tg_metrics_histogram(m, name, help, "", scale);
    return family ? tg_histogram_of(family, NULL) : NULL;
}

void tg_counter_add(tg_counter *counter, uint64_t n)
{
    atomic_fetch_add_explicit(&counter->value, n, memory_order_relaxed);
}

uint64_t tg_counter_value(const tg_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

void tg_gauge_set(tg_gauge *gauge, int64_t value)
{
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

void tg_gauge_add(tg_gauge *gauge, int64_t delta)
{
    atomic_fetch_add_explicit(&gauge->value, delta, memory_order_relaxed);
}

int64_t tg_gauge_value(const tg_gauge *gauge)
{
    return atomic_load_explicit(&gauge->value, memory_order_relaxed);
}

/* Values are integers, so "below 2^k" is exactly `le` 2^k - 1. The total is taken from the buckets,
 * so that a scrape during updates is consistent in itself. */
static int render_histogram(const tg_metric_family *family, const series *s, tg_buf *out)
{
    const tg_histogram *h = s->histogram;
    const char *comma = *s->labels ? "," : "";
    unsigned power = family->scale < 1e-6 ? FIRST_POWER_TIME : FIRST_POWER_COUNT, index = 0;
    uint64_t below = 0;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < SHOWN_POWERS; i++, power++) {
        unsigned end = tg_histogram_index((uint64_t)1 << power);
        for (; index < end; index++)
            below += atomic_load_explicit(&h->buckets[index], memory_order_relaxed);
        double le = (double)(((uint64_t)1 << power) - 1) * family->scale;
        rc = tg_buf_printf(out, "%s_bucket{%s%sle=\"%.12g\"} %" PRIu64 "\n", family->name,
                           s->labels, comma, le, below);
    }
    for (; index < TG_HISTOGRAM_BUCKETS; index++)
        below += atomic_load_explicit(&h->buckets[index], memory_order_relaxed);
    const char *open = *s->labels ? "{" : "", *close = *s->labels ? "}" : "";
    if (rc == 0)
        rc = tg_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", family->name, s->labels,
                           comma, below);
    if (rc == 0)
        rc = tg_buf_printf(out, "%s_sum%s%s%s %.15g\n", family->name, open, s->labels, close,
                           (double)atomic_load_explicit(&h->sum, memory_order_relaxed) *
                               family->scale);
    if (rc == 0)
        rc = tg_buf_printf(out, "%s_count%s%s%s %" PRIu64 "\n", family->name, open, s->labels,
                           close, below);
    return rc;
}

static int render_series(const tg_metric_family *family, const series *s, tg_buf *out)
{
    if (family->kind == HISTOGRAM)
        return render_histogram(family, s, out);
    const char *open = *s->labels ? "{" : "", *close = *s->labels ? "}" : "";
    int rc = tg_buf_printf(out, "%s%s%s%s ", family->name, open, s->labels, close);
    if (rc < 0)
        return rc;
    if (family->kind == COUNTER)
        return tg_buf_printf(out, "%" PRIu64 "\n", tg_counter_value(&s->counter));
    return tg_buf_printf(out, "%" PRId64 "\n", tg_gauge_value(&s->gauge));
}

/* The shared series appears once something has been put into it. */
static bool overflow_used(const tg_metric_family *family)
{
    const series *s = family->overflow;
    return tg_map_count(family->by_values) >= TG_METRICS_SERIES_MAX ||
           tg_counter_value(&s->counter) > 0 || tg_gauge_value(&s->gauge) != 0 ||
           (s->histogram && tg_histogram_count(s->histogram) > 0);
}

int tg_metrics_render(tg_metrics *metrics, tg_buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    int rc = 0;
    for (tg_metric_family *family = metrics->first; rc == 0 && family; family = family->next) {
        rc = tg_buf_printf(out, "# HELP %s ", family->name);
        if (rc == 0)
            rc = add_escaped(out, family->help, false);
        if (rc == 0)
            rc = tg_buf_printf(out, "\n# TYPE %s %s\n", family->name, types[family->kind]);
        for (series *s = family->first; rc == 0 && s; s = s->next)
            rc = render_series(family, s, out);
        if (rc == 0 && overflow_used(family))
            rc = render_series(family, family->overflow, out);
    }
    return rc;
}
