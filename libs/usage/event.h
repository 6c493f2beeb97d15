/* The usage event: what one attempt used and cost. A plain struct here, tollgate.v1.UsageEvent on
 * the wire (see proto/tollgate/v1/usage.proto for the meaning of each field).
 *
 * Strings are bounded and stored inline, so an event can be copied, kept in a slot and packed
 * without allocation. Text that would not fit is cut; identities (request_id, tenant, key_id,
 * target, endpoint) are bounded by configuration and never cut.
 */
#ifndef TG_USAGE_EVENT_H
#define TG_USAGE_EVENT_H

#include "libs/base/buf.h"
#include "libs/base/error.h"
#include "libs/base/id.h"
#include "libs/money/money.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_USAGE_NAME_MAX 64       /* ids, with the terminator */
#define TG_USAGE_MODEL_MAX 160     /* model names and ARNs */
#define TG_USAGE_COUNTERFACTUALS 8 /* other targets of one plan */
#define TG_USAGE_EVENT_BYTES_MAX 8192 /* serialised; a full event of ours takes about 2.5 KB */
/* of one kind in one attempt; keeps every sum in int64 */
#define TG_USAGE_TOKENS_MAX (UINT64_C(1) << 40)

typedef enum tg_count_source {
    TG_COUNT_UNKNOWN,
    TG_COUNT_REPORTED,
    TG_COUNT_ESTIMATED
} tg_count_source;

typedef enum tg_outcome { /* as in usage.proto */
    TG_OUTCOME_UNKNOWN,
    TG_OUTCOME_OK,
    TG_OUTCOME_FAILED,
    TG_OUTCOME_INTERRUPTED,
    TG_OUTCOME_CLIENT_GONE,
    TG_OUTCOME_ABORTED,
    TG_OUTCOME_TIMEOUT
} tg_outcome;

const char *tg_outcome_name(tg_outcome outcome);

typedef struct tg_usage_event {
    char request_id[TG_UUID_TEXT];
    uint32_t attempt;
    char instance_id[TG_USAGE_NAME_MAX];
    char tenant[TG_USAGE_NAME_MAX];
    char key_id[TG_USAGE_NAME_MAX];
    char client_request_id[TG_USAGE_NAME_MAX * 2];
    char task_type[TG_USAGE_NAME_MAX];
    char rule[TG_USAGE_NAME_MAX];
    char policy_version[TG_USAGE_NAME_MAX];
    char target[TG_USAGE_NAME_MAX];
    char endpoint[TG_USAGE_NAME_MAX];
    char provider[16];
    char model_requested[TG_USAGE_MODEL_MAX];
    char model_sent[TG_USAGE_MODEL_MAX];
    char model_answered[TG_USAGE_MODEL_MAX];
    tg_tokens tokens;
    tg_count_source input_source, output_source;
    uint64_t opened_unix_ns, closed_unix_ns;
    uint64_t queue_ns, first_token_ns, total_ns, gpu_ns;
    tg_outcome outcome;
    uint32_t upstream_status;
    bool batch;
    bool stream;
    char price_book[32];
    tg_picousd cost_picousd;
    bool price_assumed;
    struct {
        char target[TG_USAGE_NAME_MAX];
        tg_picousd cost_picousd;
    } counterfactuals[TG_USAGE_COUNTERFACTUALS];
    uint32_t counterfactual_count;
    char traceparent[64];
    char numerics[32];
} tg_usage_event;

/* Appends the serialised tollgate.v1.UsageEvent. Bytes that are not UTF-8 (a provider's model name,
 * text cut in the middle of a character) become '?', since protobuf strings must be UTF-8. 0,
 * -ENOMEM, -ENOSPC. */
int tg_usage_event_encode(const tg_usage_event *event, tg_buf *out);
/* 0; -EBADMSG with a reason for bytes that are no event, lack identity, or exceed a bound. Fields
 * that this version does not know are skipped. Allocates nothing. */
int tg_usage_event_decode(const void *data, size_t len, tg_error *err, tg_usage_event *ret);

#endif
