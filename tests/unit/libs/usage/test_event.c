#include "libs/usage/event.h"
#include "tests/unit/harness.h"
#include "tests/unit/libs/usage/sample.h"
#include "tollgate/v1/usage.pb-c.h"

#include <errno.h>

static int reencode(const tg_usage_event *event, tg_usage_event *ret, tg_error *err)
{
    tg_buf bytes;
    tg_buf_init(&bytes, 0);
    int rc = tg_usage_event_encode(event, &bytes);
    if (rc == 0)
        rc = tg_usage_event_decode(bytes.data, bytes.len, err, ret);
    tg_buf_free(&bytes);
    return rc;
}

static void test_any_event_survives(void)
{
    uint64_t state = tg_test_seed();
    for (size_t i = 0; i < tg_test_rounds(3000); i++) {
        tg_usage_event event = sample_random(&state), back;
        tg_error err = {""};
        CU_ASSERT_EQUAL_FATAL(reencode(&event, &back, &err), 0);
        CU_ASSERT_FATAL(sample_equal(&event, &back));
    }
}

static void test_largest_event_fits(void)
{
    tg_usage_event e = sample_event(1, 1);
    char *texts[] = {e.instance_id, e.tenant,         e.key_id, e.task_type,
                     e.rule,        e.policy_version, e.target, e.endpoint};
    for (size_t i = 0; i < 8; i++)
        memset(texts[i], 'x', TG_USAGE_NAME_MAX - 1);
    memset(e.client_request_id, 'x', sizeof e.client_request_id - 1);
    memset(e.model_requested, 'x', sizeof e.model_requested - 1);
    memset(e.model_sent, 'x', sizeof e.model_sent - 1);
    memset(e.model_answered, 'x', sizeof e.model_answered - 1);
    e.counterfactual_count = TG_USAGE_COUNTERFACTUALS;
    for (int i = 0; i < TG_USAGE_COUNTERFACTUALS; i++) {
        memset(e.counterfactuals[i].target, 'x', TG_USAGE_NAME_MAX - 1);
        e.counterfactuals[i].cost_picousd = -1;
    }
    tg_usage_event back;
    CU_ASSERT_EQUAL(reencode(&e, &back, NULL), 0);
    CU_ASSERT(sample_equal(&e, &back));
}

static void test_text_becomes_utf8(void)
{
    tg_usage_event e = sample_event(1, 1), back;
    strcpy(e.client_request_id, "caf\xc3\xa9 \xff\xc3=\xf0\x9f\x98\x80\xf0\x9f");
    CU_ASSERT_EQUAL(reencode(&e, &back, NULL), 0);
    CU_ASSERT_STRING_EQUAL(back.client_request_id, "caf\xc3\xa9 \?\?=\xf0\x9f\x98\x80\?\?");
}

static void expect_refused(const tg_usage_event *event, const char *reason)
{
    tg_usage_event back;
    tg_error err = {""};
    memset(&back, 0x5a, sizeof back);
    CU_ASSERT_EQUAL(reencode(event, &back, &err), -EBADMSG);
    if (!strstr(err.text, reason))
        printf("# wanted '%s', got '%s'\n", reason, err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, reason));
    CU_ASSERT_EQUAL(back.attempt, 0x5a5a5a5a); /* untouched */
}

static void test_refusals(void)
{
    tg_usage_event e = sample_event(1, 1);
    e.request_id[5] = '\0';
    expect_refused(&e, "request_id");
    e = sample_event(1, 0);
    expect_refused(&e, "attempt");
    e = sample_event(1, 1);
    e.tenant[0] = '\0';
    expect_refused(&e, "tenant");
    e = sample_event(1, 1);
    e.target[0] = '\0';
    expect_refused(&e, "target");
    e = sample_event(1, 1);
    e.tokens.output = TG_USAGE_TOKENS_MAX + 1;
    expect_refused(&e, "token count");
    e = sample_event(1, 1);
    e.outcome = (tg_outcome)99;
    expect_refused(&e, "outcome");
    e = sample_event(1, 1);
    e.opened_unix_ns = UINT64_C(1) << 63;
    expect_refused(&e, "1970");
}

/* What another writer could send and our struct cannot hold. */
static void test_foreign_messages(void)
{
    Tollgate__V1__UsageEvent m = TOLLGATE__V1__USAGE_EVENT__INIT;
    Tollgate__V1__Counterfactual other = TOLLGATE__V1__COUNTERFACTUAL__INIT;
    Tollgate__V1__Counterfactual *others[TG_USAGE_COUNTERFACTUALS + 1];
    uint8_t bytes[TG_USAGE_EVENT_BYTES_MAX];
    char long_name[TG_USAGE_NAME_MAX + 1];
    tg_usage_event event;
    tg_error err = {""};
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    for (size_t i = 0; i <= TG_USAGE_COUNTERFACTUALS; i++)
        others[i] = &other;
    m.request_id = (char[]){"01890000-0000-7000-8000-000000000001"};
    m.attempt = 1;
    m.tenant = (char[]){"a"};
    m.target = (char[]){"b"};
    size_t len = tollgate__v1__usage_event__pack(&m, bytes);
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, len, &err, &event),
                    0); /* no usage: zero, unknown */
    CU_ASSERT_EQUAL(event.input_source, TG_COUNT_UNKNOWN);
    m.n_counterfactuals = TG_USAGE_COUNTERFACTUALS + 1;
    m.counterfactuals = others;
    len = tollgate__v1__usage_event__pack(&m, bytes);
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, len, &err, &event), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "counterfactuals"));
    m.n_counterfactuals = 0;
    m.tenant = long_name;
    err.text[0] = '\0';
    len = tollgate__v1__usage_event__pack(&m, bytes);
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, len, &err, &event), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "tenant has 64 bytes"));
    m.tenant = (char[]){"a\xff"};
    len = tollgate__v1__usage_event__pack(&m, bytes);
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, len, NULL, &event), -EBADMSG);
    /* Two bytes a submessage on the wire: thousands of them must not be thousands of allocations.
     */
    for (size_t i = 0; i + 1 < sizeof bytes; i += 3)
        memcpy(bytes + i, "\xea\x01\x00", sizeof bytes - i < 3 ? sizeof bytes - i : 3);
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, sizeof bytes, NULL, &event), -EBADMSG);
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, 0, NULL, &event), -EBADMSG);
}

/* protobuf-c would cut the tenant there, and bill another one. */
static void test_nul_bytes(void)
{
    static const char bytes[] = "\x22\x03" "a\0b", inside[] = "\xea\x01\x04\x0a\x02" "t\0";
    tg_usage_event event;
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_usage_event_decode(bytes, sizeof bytes - 1, &err, &event), -EBADMSG);
    CU_ASSERT_STRING_EQUAL(err.text, "tenant: a text must not hold a NUL byte");
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_usage_event_decode(inside, sizeof inside - 1, &err, &event), -EBADMSG);
    CU_ASSERT_STRING_EQUAL(err.text, "counterfactuals[0]: target: a text must not hold a NUL byte");
}

/* Cut anywhere or with any byte changed: an answer, never a crash; a cut one never decodes to the
 * whole. */
static void test_damaged_bytes(void)
{
    uint64_t state = tg_test_seed();
    tg_usage_event e = sample_random(&state), back;
    tg_buf bytes;
    tg_buf_init(&bytes, 0);
    CU_ASSERT_EQUAL_FATAL(tg_usage_event_encode(&e, &bytes), 0);
    for (size_t len = 0; len < bytes.len; len++)
        if (tg_usage_event_decode(bytes.data, len, NULL, &back) == 0)
            CU_ASSERT_FALSE(sample_equal(&e, &back) && e.traceparent[0]);
    for (size_t i = 0; i < tg_test_rounds(20000); i++) {
        size_t at = (size_t)(tg_random_next(&state) % bytes.len);
        char was = bytes.data[at];
        bytes.data[at] = (char)tg_random_next(&state);
        tg_usage_event_decode(bytes.data, bytes.len, NULL, &back);
        bytes.data[at] = was;
    }
    tg_buf_free(&bytes);
}

static void test_names(void)
{
    CU_ASSERT_STRING_EQUAL(tg_outcome_name(TG_OUTCOME_OK), "ok");
    CU_ASSERT_STRING_EQUAL(tg_outcome_name(TG_OUTCOME_TIMEOUT), "timeout");
    CU_ASSERT_STRING_EQUAL(tg_outcome_name((tg_outcome)1000), "unknown");
}

static const tg_test tests[] = {
    {"any_event_survives", test_any_event_survives},
    {"largest_event_fits", test_largest_event_fits},
    {"text_becomes_utf8", test_text_becomes_utf8},
    {"refusals", test_refusals},
    {"foreign_messages", test_foreign_messages},
    {"nul_bytes", test_nul_bytes},
    {"damaged_bytes", test_damaged_bytes},
    {"names", test_names},
};
TG_TEST_MAIN("libs_usage_event", tests)
