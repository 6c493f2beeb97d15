#include "services/billing/billing.h"

#include <errno.h>

int tg_billing_metrics_init(tg_billing_metrics *b)
{
    tg_metrics *m = b->registry = tg_metrics_new();
    if (!m)
        return -ENOMEM;
    b->posted = tg_metrics_one_counter(m, "tollgate_ledger_posted_total",
                                       "Usage events posted to the ledger.");
    b->duplicates = tg_metrics_one_counter(m, "tollgate_ledger_duplicates_total",
                                           "Usage events seen again and not posted.");
    b->quarantined =
        tg_metrics_one_counter(m, "tollgate_ledger_quarantined_total",
                "Messages set aside: no usage event, or a price that is not confirmed.");
    b->batches = tg_metrics_one_counter(m, "tollgate_ledger_transactions_total",
                         "Database transactions, each one batch of messages.");
    b->cost = tg_metrics_one_counter(m, "tollgate_ledger_cost_picousd_total",
                                     "Cost posted, in 10^-12 dollars.");
    b->published = tg_metrics_one_counter(m, "tollgate_ledger_published_total",
                                          "Transactions acknowledged by Kafka.");
    b->publish_failed =
        tg_metrics_one_counter(m, "tollgate_ledger_publish_failures_total",
                               "Rounds of publishing that failed and are tried again.");
    b->unpublished = tg_metrics_one_gauge(m, "tollgate_ledger_unpublished",
                                          "Transactions waiting to be published.");
    b->assigned = tg_metrics_one_gauge(m, "tollgate_ledger_consumer_assigned",
                                       "1 while in the consumer group.");
    b->partitions =
        tg_metrics_one_gauge(m, "tollgate_ledger_partitions", "Partitions read by this process.");
    b->stalled =
        tg_metrics_one_gauge(m, "tollgate_ledger_stalled", "1 while the database refuses a batch.");
    b->lag = tg_metrics_one_gauge(m, "tollgate_ledger_lag",
                                  "Messages not yet read, as of the last batch.");
    b->reload_failed =
        tg_metrics_one_gauge(m, "tollgate_prices_reload_failed", "1 when the last reload failed.");
    tg_metric_family *time = tg_metrics_histogram(m, "tollgate_ledger_post_seconds",
                                                  "Time of one database transaction.", "", 1e-9);
    if (time)
        b->post_time = tg_histogram_of(time, NULL);
    return b->posted && b->duplicates && b->quarantined && b->batches && b->cost && b->assigned &&
                   b->partitions && b->stalled && b->lag && b->reload_failed && b->published &&
                   b->publish_failed && b->unpublished && b->post_time
               ? 0
               : -ENOMEM;
}

void tg_billing_metrics_collect(tg_billing *billing)
{
    tg_consumer_state state = {0};
    tg_billing_metrics *m = &billing->metrics;
    if (billing->consumer)
        tg_consumer_state_get(billing->consumer, &state);
    tg_outbox_stats outbox = {0};
    if (billing->outbox)
        tg_outbox_stats_get(billing->outbox, &outbox);
    tg_counter_add(m->published, outbox.published - tg_counter_value(m->published));
    tg_counter_add(m->publish_failed, outbox.failed - tg_counter_value(m->publish_failed));
    tg_gauge_set(m->unpublished, (int64_t)outbox.waiting);
    tg_gauge_set(m->assigned, state.assigned);
    tg_gauge_set(m->partitions, state.partitions);
    tg_gauge_set(m->stalled, state.stalled);
    tg_gauge_set(m->lag, (int64_t)state.lag);
}
