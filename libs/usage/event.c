#include "libs/usage/event.h"

#include "libs/rpc/wire.h"
#include "tollgate/v1/usage.pb-c.h"

#include <errno.h>
#include <string.h>

/* What one decode may take: the message, its strings (at most the bytes themselves) and
 * submessages. Bytes that ask for more are no event of ours. */
#define DECODE_BYTES_MAX (4 * TG_USAGE_EVENT_BYTES_MAX)

static const char *const outcome_names[] = {"unknown",     "ok",      "failed", "interrupted",
                                            "client_gone", "aborted", "timeout"};

const char *tg_outcome_name(tg_outcome outcome)
{
    size_t count = sizeof outcome_names / sizeof *outcome_names;
    return (size_t)outcome < count ? outcome_names[outcome] : outcome_names[0];
}

/* ---- encode ---- */

/* Puts '?' for every byte that is no part of a character. */
static void make_utf8(char *text)
{
    for (size_t len = strlen(text), at = 0; at < len;) {
        size_t size = 1;
        while (size <= 4 && at + size <= len && !tg_utf8_valid(text + at, size))
            size++;
        if (size > 4 || at + size > len) {
            text[at] = '?';
            size = 1;
        }
        at += size;
    }
}

static bool is_utf8(const char *text) { return tg_utf8_valid(text, strlen(text)); }

/* Identities and names come from configuration, which is UTF-8 by its loader; these come from
 * outside. */
static bool outside_text_is_utf8(const tg_usage_event *e)
{
    return is_utf8(e->client_request_id) && is_utf8(e->task_type) && is_utf8(e->model_requested) &&
           is_utf8(e->model_answered) && is_utf8(e->traceparent) && is_utf8(e->numerics);
}

static void clean_outside_text(tg_usage_event *e)
{
    make_utf8(e->client_request_id);
    make_utf8(e->task_type);
    make_utf8(e->model_requested);
    make_utf8(e->model_answered);
    make_utf8(e->traceparent);
    make_utf8(e->numerics);
}

static void fill_usage(const tg_usage_event *e, Tollgate__V1__TokenUsage *usage)
{
    usage->input_tokens = e->tokens.input;
    usage->cache_read_tokens = e->tokens.cache_read;
    usage->cache_write_5m_tokens = e->tokens.cache_write_5m;
    usage->cache_write_1h_tokens = e->tokens.cache_write_1h;
    usage->output_tokens = e->tokens.output;
    usage->reasoning_tokens = e->tokens.reasoning;
    usage->input_source = (Tollgate__V1__CountSource)e->input_source;
    usage->output_source = (Tollgate__V1__CountSource)e->output_source;
}

/* protobuf-c's strings are not const, but packing only reads them. */
#define TEXT(field) ((char *)(uintptr_t)(field))

static void fill(const tg_usage_event *e, Tollgate__V1__UsageEvent *m)
{
    m->request_id = TEXT(e->request_id);
    m->attempt = e->attempt;
    m->instance_id = TEXT(e->instance_id);
    m->tenant = TEXT(e->tenant);
    m->key_id = TEXT(e->key_id);
    m->client_request_id = TEXT(e->client_request_id);
    m->task_type = TEXT(e->task_type);
    m->rule = TEXT(e->rule);
    m->policy_version = TEXT(e->policy_version);
    m->target = TEXT(e->target);
    m->endpoint = TEXT(e->endpoint);
    m->provider = TEXT(e->provider);
    m->model_requested = TEXT(e->model_requested);
    m->model_sent = TEXT(e->model_sent);
    m->model_answered = TEXT(e->model_answered);
    m->opened_unix_ns = (int64_t)e->opened_unix_ns;
    m->closed_unix_ns = (int64_t)e->closed_unix_ns;
    m->queue_ns = e->queue_ns;
    m->first_token_ns = e->first_token_ns;
    m->total_ns = e->total_ns;
    m->gpu_ns = e->gpu_ns;
    m->outcome = (Tollgate__V1__Outcome)e->outcome;
    m->upstream_status = e->upstream_status;
    m->lane = e->batch ? TOLLGATE__V1__LANE__LANE_BATCH : TOLLGATE__V1__LANE__LANE_INTERACTIVE;
    m->stream = e->stream;
    m->price_book = TEXT(e->price_book);
    m->cost_picousd = e->cost_picousd;
    m->price_assumed = e->price_assumed;
    m->traceparent = TEXT(e->traceparent);
    m->numerics = TEXT(e->numerics);
}

static int pack(const tg_usage_event *e, tg_buf *out)
{
    Tollgate__V1__UsageEvent message = TOLLGATE__V1__USAGE_EVENT__INIT;
    Tollgate__V1__TokenUsage usage = TOLLGATE__V1__TOKEN_USAGE__INIT;
    Tollgate__V1__Counterfactual others[TG_USAGE_COUNTERFACTUALS];
    Tollgate__V1__Counterfactual *others_at[TG_USAGE_COUNTERFACTUALS];
    uint32_t count = e->counterfactual_count;
    if (count > TG_USAGE_COUNTERFACTUALS)
        count = TG_USAGE_COUNTERFACTUALS;
    for (uint32_t i = 0; i < count; i++) {
        tollgate__v1__counterfactual__init(&others[i]);
        others[i].target = TEXT(e->counterfactuals[i].target);
        others[i].cost_picousd = e->counterfactuals[i].cost_picousd;
        others_at[i] = &others[i];
    }
    fill(e, &message);
    fill_usage(e, &usage);
    message.usage = &usage;
    message.n_counterfactuals = count;
    message.counterfactuals = others_at;
    size_t size = protobuf_c_message_get_packed_size(&message.base);
    int rc = tg_buf_reserve(out, size);
    if (rc < 0)
        return rc;
    out->len += protobuf_c_message_pack(&message.base, (uint8_t *)out->data + out->len);
    out->data[out->len] = '\0';
    return 0;
}

int tg_usage_event_encode(const tg_usage_event *event, tg_buf *out)
{
    if (outside_text_is_utf8(event))
        return pack(event, out);
    tg_usage_event clean = *event;
    clean_outside_text(&clean);
    return pack(&clean, out);
}

/* ---- decode ---- */

typedef struct bump {
    size_t used;
    _Alignas(16) char data[DECODE_BYTES_MAX];
} bump;

static void *bump_alloc(void *user, size_t size)
{
    bump *b = user;
    size_t need = (size + 15) & ~(size_t)15;
    if (size > sizeof b->data || need > sizeof b->data - b->used)
        return NULL;
    void *result = b->data + b->used;
    b->used += need;
    return result;
}

static void bump_free(void *user, void *pointer)
{
    (void)user;
    (void)pointer;
}

typedef struct field {
    const char *name, *from;
    char *to;
    size_t size;
} field;

static int copy_fields(const field *fields, size_t count, tg_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const char *from = fields[i].from;
        size_t len = strlen(from);
        if (len >= fields[i].size)
            return tg_error_set(err, -EBADMSG, "%s has %zu bytes; at most %zu are allowed",
                                fields[i].name, len, fields[i].size - 1);
        if (!tg_utf8_valid(from, len))
            return tg_error_set(err, -EBADMSG, "%s is not UTF-8", fields[i].name);
        memcpy(fields[i].to, from, len + 1);
    }
    return 0;
}

#define FIELD(name)                                                                                \
    {                                                                                              \
#name, m->name, ret->name, sizeof ret->name                                                \
    }

static int copy_texts(const Tollgate__V1__UsageEvent *m, tg_error *err, tg_usage_event *ret)
{
    const field fields[] = {
        FIELD(request_id),     FIELD(instance_id), FIELD(tenant),          FIELD(key_id),
        FIELD(task_type),      FIELD(rule),        FIELD(policy_version),  FIELD(target),
        FIELD(endpoint),       FIELD(provider),    FIELD(model_requested), FIELD(model_sent),
        FIELD(model_answered), FIELD(price_book),  FIELD(traceparent),     FIELD(client_request_id),
        FIELD(numerics),
    };
    return copy_fields(fields, sizeof fields / sizeof *fields, err);
}

static int copy_usage(const Tollgate__V1__TokenUsage *usage, tg_error *err, tg_usage_event *ret)
{
    if (!usage)
        return 0;
    ret->tokens = (tg_tokens){.input = usage->input_tokens,
                              .cache_read = usage->cache_read_tokens,
                              .cache_write_5m = usage->cache_write_5m_tokens,
                              .cache_write_1h = usage->cache_write_1h_tokens,
                              .output = usage->output_tokens,
                              .reasoning = usage->reasoning_tokens};
    const uint64_t counts[] = {ret->tokens.input,          ret->tokens.cache_read,
                               ret->tokens.cache_write_5m, ret->tokens.cache_write_1h,
                               ret->tokens.output,         ret->tokens.reasoning};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i] > TG_USAGE_TOKENS_MAX)
            return tg_error_set(err, -EBADMSG, "a token count of %llu; at most %llu are allowed",
                                (unsigned long long)counts[i],
                                (unsigned long long)TG_USAGE_TOKENS_MAX);
    if ((unsigned)usage->input_source > TG_COUNT_ESTIMATED ||
        (unsigned)usage->output_source > TG_COUNT_ESTIMATED)
        return tg_error_set(err, -EBADMSG, "an unknown count source");
    ret->input_source = (tg_count_source)usage->input_source;
    ret->output_source = (tg_count_source)usage->output_source;
    return 0;
}

static int copy_counterfactuals(const Tollgate__V1__UsageEvent *m, tg_error *err,
                                tg_usage_event *ret)
{
    if (m->n_counterfactuals > TG_USAGE_COUNTERFACTUALS)
        return tg_error_set(err, -EBADMSG, "%zu counterfactuals; at most %d are allowed",
                            m->n_counterfactuals, TG_USAGE_COUNTERFACTUALS);
    for (size_t i = 0; i < m->n_counterfactuals; i++) {
        const field target = {"a counterfactual's target", m->counterfactuals[i]->target,
                              ret->counterfactuals[i].target,
                              sizeof ret->counterfactuals[i].target};
        int rc = copy_fields(&target, 1, err);
        if (rc < 0)
            return rc;
        ret->counterfactuals[i].cost_picousd = m->counterfactuals[i]->cost_picousd;
    }
    ret->counterfactual_count = (uint32_t)m->n_counterfactuals;
    return 0;
}

static int copy_numbers(const Tollgate__V1__UsageEvent *m, tg_error *err, tg_usage_event *ret)
{
    if (m->opened_unix_ns < 0 || m->closed_unix_ns < 0)
        return tg_error_set(err, -EBADMSG, "a time before 1970");
    if ((unsigned)m->outcome > TG_OUTCOME_TIMEOUT)
        return tg_error_set(err, -EBADMSG, "an unknown outcome: %u", (unsigned)m->outcome);
    if ((unsigned)m->lane > TOLLGATE__V1__LANE__LANE_BATCH)
        return tg_error_set(err, -EBADMSG, "an unknown lane: %u", (unsigned)m->lane);
    ret->attempt = m->attempt;
    ret->opened_unix_ns = (uint64_t)m->opened_unix_ns;
    ret->closed_unix_ns = (uint64_t)m->closed_unix_ns;
    ret->queue_ns = m->queue_ns;
    ret->first_token_ns = m->first_token_ns;
    ret->total_ns = m->total_ns;
    ret->gpu_ns = m->gpu_ns;
    ret->outcome = (tg_outcome)m->outcome;
    ret->upstream_status = m->upstream_status;
    ret->batch = m->lane == TOLLGATE__V1__LANE__LANE_BATCH;
    ret->stream = m->stream;
    ret->cost_picousd = m->cost_picousd;
    ret->price_assumed = m->price_assumed;
    return 0;
}

static int check_identity(const tg_usage_event *e, tg_error *err)
{
    if (strlen(e->request_id) != TG_UUID_TEXT - 1)
        return tg_error_set(err, -EBADMSG, "request_id is not a UUID");
    if (e->attempt == 0)
        return tg_error_set(err, -EBADMSG, "attempt is 0; the first is 1");
    if (e->tenant[0] == '\0')
        return tg_error_set(err, -EBADMSG, "tenant is missing");
    if (e->target[0] == '\0')
        return tg_error_set(err, -EBADMSG, "target is missing");
    return 0;
}

int tg_usage_event_decode(const void *data, size_t len, tg_error *err, tg_usage_event *ret)
{
    bump memory;
    memory.used = 0;
    ProtobufCAllocator allocator = {bump_alloc, bump_free, &memory};
    if (len == 0 || len > TG_USAGE_EVENT_BYTES_MAX)
        return tg_error_set(err, -EBADMSG, "%zu bytes; an event has 1 to %d", len,
                            TG_USAGE_EVENT_BYTES_MAX);
    Tollgate__V1__UsageEvent *m = (Tollgate__V1__UsageEvent *)tg_rpc_wire_unpack(
        &tollgate__v1__usage_event__descriptor, &allocator, (tg_str){data, len}, err);
    if (!m)
        return -EBADMSG;
    tg_usage_event event;
    memset(&event, 0, sizeof event);
    int rc = copy_texts(m, err, &event);
    if (rc == 0)
        rc = copy_usage(m->usage, err, &event);
    if (rc == 0)
        rc = copy_counterfactuals(m, err, &event);
    if (rc == 0)
        rc = copy_numbers(m, err, &event);
    if (rc == 0)
        rc = check_identity(&event, err);
    if (rc == 0)
        *ret = event;
    return rc;
}
