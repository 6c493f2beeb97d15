#include "libs/metrics/metrics.h"
#include "tests/unit/harness.h"

#include <stdio.h>
#include <string.h>

static void test_counters_and_gauges(void)
{
    tg_metrics *m = tg_metrics_new();
    tg_metric_family *requests = tg_metrics_counter(m, "tollgate_requests_total",
                                                    "Requests\nby \\ tenant.", "tenant,status");
    tg_metric_family *flight = tg_metrics_gauge(m, "tollgate_in_flight", "Now.", "");
    tg_counter *a = tg_counter_of(requests, (const char *[]){"ac\"me\\\n", "200"});
    tg_counter_add(a, 2);
    CU_ASSERT_PTR_EQUAL(tg_counter_of(requests, (const char *[]){"ac\"me\\\n", "200"}), a);
    tg_counter_add(tg_counter_of(requests, (const char *[]){"a", "bc"}), 1);
    tg_counter_add(tg_counter_of(requests, (const char *[]){"ab", "c"}), 5);
    tg_gauge_set(tg_gauge_of(flight, NULL), 3);
    tg_gauge_add(tg_gauge_of(flight, NULL), -5);
    tg_buf out;
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(tg_metrics_render(m, &out), 0);
    CU_ASSERT_STRING_EQUAL(out.data,
                           "# HELP tollgate_requests_total Requests\\nby \\\\ tenant.\n"
                           "# TYPE tollgate_requests_total counter\n"
                           "tollgate_requests_total{tenant=\"ac\\\"me\\\\\\n\",status=\"200\"} 2\n"
                           "tollgate_requests_total{tenant=\"a\",status=\"bc\"} 1\n"
                           "tollgate_requests_total{tenant=\"ab\",status=\"c\"} 5\n"
                           "# HELP tollgate_in_flight Now.\n"
                           "# TYPE tollgate_in_flight gauge\n"
                           "tollgate_in_flight -2\n");
    tg_buf_free(&out);
    tg_metrics_free(m);
}

static void test_names_are_checked(void)
{
    tg_metrics *m = tg_metrics_new();
    CU_ASSERT_PTR_NOT_NULL(tg_metrics_counter(m, "a", "", ""));
    CU_ASSERT_PTR_NULL(tg_metrics_gauge(m, "a", "", ""));
    CU_ASSERT_PTR_NULL(tg_metrics_gauge(m, "1a", "", ""));
    CU_ASSERT_PTR_NULL(tg_metrics_gauge(m, "a-b", "", ""));
    CU_ASSERT_PTR_NULL(tg_metrics_gauge(m, "b", "", "a,b,c,d,e,f,g"));
    CU_ASSERT_PTR_NOT_NULL(tg_metrics_gauge(m, "b", "", "a,b,c,d,e,f"));
    tg_metrics_free(m);
}

static void test_series_are_bounded(void)
{
    tg_metrics *m = tg_metrics_new();
    tg_metric_family *family = tg_metrics_counter(m, "hits", "", "who");
    for (int i = 0; i < TG_METRICS_SERIES_MAX + 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        tg_counter_add(tg_counter_of(family, (const char *[]){name}), 1);
    }
    CU_ASSERT_EQUAL(tg_counter_value(tg_counter_of(family, (const char *[]){"n0"})), 1);
    CU_ASSERT_EQUAL(tg_counter_value(tg_counter_of(family, (const char *[]){"n1005"})), 10);
    char large[2000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    tg_counter_add(tg_counter_of(family, (const char *[]){large}), 1);
    tg_buf out;
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(tg_metrics_render(m, &out), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "hits{who=\"other\"} 11\n"));
    tg_buf_free(&out);
    tg_metrics_free(m);
}

static void test_histogram_text(void)
{
    tg_metrics *m = tg_metrics_new();
    tg_metric_family *family =
        tg_metrics_histogram(m, "ttft_seconds", "First token.", "target", 1e-9);
    tg_histogram *h = tg_histogram_of(family, (const char *[]){"t"});
    tg_histogram_observe(h, 16383); /* the last value of the first bucket shown */
    tg_histogram_observe(h, 16384);
    tg_histogram_observe(h, 500000000000);
    tg_buf out;
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(tg_metrics_render(m, &out), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data,
                                  "# TYPE ttft_seconds histogram\n"
                                  "ttft_seconds_bucket{target=\"t\",le=\"1.6383e-05\"} 1\n"
                                  "ttft_seconds_bucket{target=\"t\",le=\"3.2767e-05\"} 2\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "le=\"274.877906943\"} 2\n"
                                            "ttft_seconds_bucket{target=\"t\",le=\"+Inf\"} 3\n"
                                            "ttft_seconds_sum{target=\"t\"} 500.000032767\n"
                                            "ttft_seconds_count{target=\"t\"} 3\n"));
    tg_buf_free(&out);
    tg_metrics_free(m);
}

static void test_a_full_buffer_is_reported(void)
{
    tg_metrics *m = tg_metrics_new();
    tg_metrics_counter(m, "a", "help", "");
    tg_buf out;
    tg_buf_init(&out, 20);
    CU_ASSERT_TRUE(tg_metrics_render(m, &out) < 0);
    tg_buf_free(&out);
    tg_metrics_free(m);
}

static const tg_test tests[] = {
    {"counters_and_gauges", test_counters_and_gauges},
    {"names_are_checked", test_names_are_checked},
    {"series_are_bounded", test_series_are_bounded},
    {"histogram_text", test_histogram_text},
    {"full_buffer", test_a_full_buffer_is_reported},
};
TG_TEST_MAIN("libs_metrics_metrics", tests)
