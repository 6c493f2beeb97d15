/* Usage events for tests: a plain one, and random ones from a seed. */
#ifndef TG_TESTS_UNIT_LIBS_USAGE_SAMPLE_H
#define TG_TESTS_UNIT_LIBS_USAGE_SAMPLE_H

#include "libs/base/id.h"
#include "libs/usage/event.h"

#include <stdio.h>
#include <string.h>

static inline tg_usage_event sample_event(unsigned number, unsigned attempt)
{
    tg_usage_event e;
    memset(&e, 0, sizeof e);
    snprintf(e.request_id, sizeof e.request_id, "01890000-0000-7000-8000-%012x", number);
    e.attempt = attempt;
    strcpy(e.instance_id, "router-0");
    snprintf(e.tenant, sizeof e.tenant, "tenant-%u", number % 3);
    strcpy(e.key_id, "key-1");
    strcpy(e.task_type, "chat");
    strcpy(e.rule, "general-to-haiku");
    strcpy(e.target, "haiku");
    strcpy(e.endpoint, "eu-1");
    strcpy(e.provider, "anthropic");
    strcpy(e.model_requested, "auto");
    strcpy(e.model_sent, "claude-3-haiku-20240307");
    e.tokens.input = 100 + number;
    e.input_source = e.output_source = TG_COUNT_ESTIMATED;
    e.opened_unix_ns = 1790000000000000000u + number;
    strcpy(e.price_book, "2024-11");
    e.cost_picousd = (tg_picousd)(250000 * e.tokens.input);
    return e;
}

static inline void sample_close(tg_usage_event *e)
{
    strcpy(e->model_answered, "claude-3-haiku-20240307");
    e->tokens.output = 40;
    e->input_source = e->output_source = TG_COUNT_REPORTED;
    e->cost_picousd += 40 * 1250000;
    e->outcome = TG_OUTCOME_OK;
    e->upstream_status = 200;
    e->total_ns = 5000000;
    e->closed_unix_ns = e->opened_unix_ns + e->total_ns;
}

static inline void sample_text(uint64_t *state, char *to, size_t size)
{
    size_t len = (size_t)(tg_random_next(state) % size);
    for (size_t i = 0; i < len; i++)
        to[i] = (char)(' ' + tg_random_next(state) % 95);
    to[len] = '\0';
}

/* Every field random within its bounds. */
static inline tg_usage_event sample_random(uint64_t *state)
{
    tg_usage_event e = sample_event((unsigned)tg_random_next(state) & 0xffffff, 0);
    e.attempt = 1 + (uint32_t)(tg_random_next(state) % 9);
    sample_text(state, e.instance_id, sizeof e.instance_id);
    sample_text(state, e.key_id, sizeof e.key_id);
    sample_text(state, e.client_request_id, sizeof e.client_request_id);
    sample_text(state, e.task_type, sizeof e.task_type);
    sample_text(state, e.rule, sizeof e.rule);
    sample_text(state, e.policy_version, sizeof e.policy_version);
    sample_text(state, e.endpoint, sizeof e.endpoint);
    sample_text(state, e.provider, sizeof e.provider);
    sample_text(state, e.model_requested, sizeof e.model_requested);
    sample_text(state, e.model_sent, sizeof e.model_sent);
    sample_text(state, e.model_answered, sizeof e.model_answered);
    sample_text(state, e.price_book, sizeof e.price_book);
    sample_text(state, e.traceparent, sizeof e.traceparent);
    sample_text(state, e.numerics, sizeof e.numerics);
    uint64_t *counts[] = {&e.tokens.input,          &e.tokens.cache_read, &e.tokens.cache_write_5m,
                          &e.tokens.cache_write_1h, &e.tokens.output,     &e.tokens.reasoning};
    for (size_t i = 0; i < 6; i++)
        *counts[i] = tg_random_next(state) % (TG_USAGE_TOKENS_MAX + 1);
    e.input_source = (tg_count_source)(tg_random_next(state) % 3);
    e.output_source = (tg_count_source)(tg_random_next(state) % 3);
    e.closed_unix_ns = e.opened_unix_ns + tg_random_next(state) % 1000000000u;
    e.queue_ns = tg_random_next(state);
    e.first_token_ns = tg_random_next(state);
    e.total_ns = tg_random_next(state);
    e.gpu_ns = tg_random_next(state);
    e.outcome = (tg_outcome)(tg_random_next(state) % 7);
    e.upstream_status = (uint32_t)tg_random_next(state);
    e.batch = tg_random_next(state) & 1;
    e.stream = tg_random_next(state) & 1;
    e.price_assumed = tg_random_next(state) & 1;
    e.cost_picousd = (tg_picousd)tg_random_next(state);
    e.counterfactual_count = (uint32_t)(tg_random_next(state) % (TG_USAGE_COUNTERFACTUALS + 1));
    for (uint32_t i = 0; i < e.counterfactual_count; i++) {
        sample_text(state, e.counterfactuals[i].target, sizeof e.counterfactuals[i].target);
        e.counterfactuals[i].cost_picousd = (tg_picousd)tg_random_next(state);
    }
    return e;
}

/* Field by field: padding and bytes after a string's end may differ. */
static inline int sample_equal(const tg_usage_event *a, const tg_usage_event *b)
{
    int texts = !strcmp(a->request_id, b->request_id) && !strcmp(a->instance_id, b->instance_id) &&
                !strcmp(a->tenant, b->tenant) && !strcmp(a->key_id, b->key_id) &&
                !strcmp(a->client_request_id, b->client_request_id) &&
                !strcmp(a->task_type, b->task_type) && !strcmp(a->rule, b->rule) &&
                !strcmp(a->policy_version, b->policy_version) && !strcmp(a->target, b->target) &&
                !strcmp(a->endpoint, b->endpoint) && !strcmp(a->provider, b->provider) &&
                !strcmp(a->model_requested, b->model_requested) &&
                !strcmp(a->model_sent, b->model_sent) &&
                !strcmp(a->model_answered, b->model_answered) &&
                !strcmp(a->price_book, b->price_book) && !strcmp(a->traceparent, b->traceparent) &&
                !strcmp(a->numerics, b->numerics);
    int numbers =
        a->attempt == b->attempt && !memcmp(&a->tokens, &b->tokens, sizeof a->tokens) &&
        a->input_source == b->input_source && a->output_source == b->output_source &&
        a->opened_unix_ns == b->opened_unix_ns && a->closed_unix_ns == b->closed_unix_ns &&
        a->queue_ns == b->queue_ns && a->first_token_ns == b->first_token_ns &&
        a->total_ns == b->total_ns && a->gpu_ns == b->gpu_ns && a->outcome == b->outcome &&
        a->upstream_status == b->upstream_status && a->batch == b->batch &&
        a->stream == b->stream && a->cost_picousd == b->cost_picousd &&
        a->price_assumed == b->price_assumed && a->counterfactual_count == b->counterfactual_count;
    for (uint32_t i = 0; texts && numbers && i < a->counterfactual_count; i++)
        if (strcmp(a->counterfactuals[i].target, b->counterfactuals[i].target) != 0 ||
            a->counterfactuals[i].cost_picousd != b->counterfactuals[i].cost_picousd)
            return 0;
    return texts && numbers;
}

#endif
