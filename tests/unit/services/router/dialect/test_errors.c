/* Upstream errors and rate-limit headers, and errors for clients. */
#include "services/router/dialect/codec.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct error_case {
    tg_provider provider;
    unsigned status;
    const char *body, *type, *flags; /* flags: q quota, c capacity, r retryable, p permanent */
} error_case;

static void test_upstream_errors(void)
{
    static const error_case cases[] = {
        {TG_PROVIDER_OPENAI, 429,
         "{\"error\":{\"message\":\"Rate limit reached\",\"type\":\"requests\",\"param\":null,"
         "\"code\":\"rate_limit_exceeded\"}}",
         "rate_limit_exceeded", "qr"},
        {TG_PROVIDER_OPENAI, 429,
         "{\"error\":{\"message\":\"You exceeded your current "
         "quota\",\"type\":\"insufficient_quota\","
         "\"param\":null,\"code\":\"insufficient_quota\"}}",
         "insufficient_quota", "qrp"},
        {TG_PROVIDER_OPENAI, 400,
         "{\"error\":{\"message\":\"bad\",\"type\":\"invalid_request_error\",\"code\":null}}",
         "invalid_request_error", ""},
        {TG_PROVIDER_OPENAI, 401,
         "{\"error\":{\"message\":\"Incorrect API key\",\"code\":\"invalid_api_key\"}}",
         "invalid_api_key", "rp"},
        {TG_PROVIDER_OPENAI, 404,
         "{\"error\":{\"message\":\"no such model\",\"code\":\"model_not_found\"}}",
         "model_not_found", "rp"},
        {TG_PROVIDER_OPENAI, 500, "<html>oops", "", "r"},
        {TG_PROVIDER_OPENAI, 503, "{\"error\":\"busy\"}", "", "cr"},
        {TG_PROVIDER_ANTHROPIC, 529,
         "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}"
         "}",
         "overloaded_error", "cr"},
        {TG_PROVIDER_ANTHROPIC, 429,
         "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"x\"}}",
         "rate_limit_error", "qr"},
        {TG_PROVIDER_ANTHROPIC, 400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":"
         "\"Your credit balance is too low to access the Anthropic API.\"}}",
         "invalid_request_error", "rp"},
        {TG_PROVIDER_ANTHROPIC, 413,
         "{\"error\":{\"type\":\"request_too_large\",\"message\":\"x\"}}", "request_too_large", ""},
        {TG_PROVIDER_BEDROCK, 429, "{\"message\":\"Too many requests\"}", "ThrottlingException",
         "qr"},
        {TG_PROVIDER_BEDROCK, 429,
         "{\"__type\":\"com.amazon#ModelNotReadyException\",\"message\":\"wait\"}",
         "ModelNotReadyException", "cr"},
        {TG_PROVIDER_BEDROCK, 400, "{\"message\":\"malformed\"}", "ValidationException", ""},
        {TG_PROVIDER_BEDROCK, 400,
         "{\"__type\":\"ServiceQuotaExceededException\",\"message\":\"x\"}",
         "ServiceQuotaExceededException", "qr"},
        {TG_PROVIDER_BEDROCK, 403, "{\"Message\":\"no\"}", "AccessDeniedException", "rp"},
        {TG_PROVIDER_BEDROCK, 408, "{\"message\":\"slow\"}", "ModelTimeoutException", "r"},
        {TG_PROVIDER_BEDROCK, 424, "{\"message\":\"model\"}", "ModelErrorException", "r"},
        {TG_PROVIDER_BEDROCK, 503, "{\"message\":\"x\"}", "ServiceUnavailableException", "cr"},
    };
    tg_json_doc *doc = tg_json_doc_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const error_case *c = &cases[i];
        tg_upstream_error e;
        char flags[8];
        tg_dialect_decode_error(c->provider, c->status, tg_str_of(c->body), doc, &e);
        snprintf(flags, sizeof flags, "%s%s%s%s", e.quota ? "q" : "", e.capacity ? "c" : "",
                 e.retryable ? "r" : "", e.permanent ? "p" : "");
        if (strcmp(e.type, c->type) != 0 || strcmp(flags, c->flags) != 0 || !e.message[0]) {
            printf("# %u %s: type '%s' flags '%s' message '%s'; expected '%s' '%s'\n", c->status,
                   c->body, e.type, flags, e.message, c->type, c->flags);
            CU_FAIL("an error was judged otherwise");
        }
    }
    tg_json_doc_free(doc);
}

/* Nothing that looks like a credential gets into a message. */
static void test_no_credentials(void)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_upstream_error e;
    tg_dialect_decode_error(
        TG_PROVIDER_OPENAI, 401,
        TG_STR("{\"error\":{\"message\":\"Incorrect API key provided: sk-proj-abcd1234.\"}}"), doc,
        &e);
    CU_ASSERT_STRING_EQUAL(e.message, "the provider refused the gateway's credential (HTTP 401)");
    tg_dialect_decode_error(
        TG_PROVIDER_OPENAI, 500,
        TG_STR("{\"error\":{\"message\":\"key sk-proj-abcd1234 and AKIAIOSFODNN7EXAMPLE, "
               "Bearer abc.def (task-force)\"}}"),
        doc, &e);
    CU_ASSERT_PTR_NULL(strstr(e.message, "abcd1234"));
    CU_ASSERT_PTR_NULL(strstr(e.message, "EXAMPLE"));
    CU_ASSERT_PTR_NULL(strstr(e.message, "abc.def"));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.message, "(task-force)"));
    tg_json_doc_free(doc);
}

static void test_long_message_stays_utf8(void)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_upstream_error e;
    tg_buf body;
    tg_buf_init(&body, 0);
    tg_buf_add_text(&body, "{\"error\":{\"message\":\"x");
    for (int i = 0; i < 200; i++)
        tg_buf_add_text(&body, "\xE2\x82\xAC");
    tg_buf_add_text(&body, "\"}}");
    tg_dialect_decode_error(TG_PROVIDER_OPENAI, 500, tg_buf_str(&body), doc, &e);
    CU_ASSERT_TRUE(strlen(e.message) > 250);
    CU_ASSERT_TRUE(tg_utf8_valid(e.message, strlen(e.message)));
    tg_buf_free(&body);
    tg_json_doc_free(doc);
}

static void test_client_errors(void)
{
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_dialect_encode_error(TG_DIALECT_OPENAI, 404, "not_found_error", "model_not_found", "no 'x'",
                            "r", &out);
    CU_ASSERT_STRING_EQUAL(
        out.data, "{\"error\":{\"message\":\"no 'x'\",\"type\":\"not_found_error\",\"param\":null,"
                  "\"code\":\"model_not_found\"}}");
    tg_buf_clear(&out);
    tg_dialect_encode_error(TG_DIALECT_ANTHROPIC, 529, "", "", "later", "req-1", &out);
    CU_ASSERT_STRING_EQUAL(out.data, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                                     "\"message\":\"later\"},\"request_id\":\"req-1\"}");
    tg_buf_clear(&out);
    tg_dialect_encode_error(TG_DIALECT_OPENAI, 500, NULL, "", "x", NULL, &out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\"type\":\"api_error\",\"param\":null,\"code\":null"));
    tg_buf_free(&out);
}

/* ---- rate limits ---- */

#define NOW UINT64_C(1732500000000000000) /* 2024-11-25T02:00:00Z */

static void feed(tg_provider provider, const char *name, const char *value, tg_rate_limit *limit)
{
    tg_dialect_rate_header(provider, tg_str_of(name), tg_str_of(value), NOW, limit);
}

static void test_openai_rate(void)
{
    tg_rate_limit l = {0};
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-limit-requests", "500", &l);
    CU_ASSERT_FALSE(l.has_requests);
    feed(TG_PROVIDER_OPENAI, "X-RateLimit-Remaining-Requests", " 499 ", &l);
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-reset-requests", "120ms", &l);
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-limit-tokens", "30000", &l);
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-remaining-tokens", "0", &l);
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-reset-tokens", "6m0.5s", &l);
    CU_ASSERT_TRUE(l.has_requests && l.has_tokens);
    CU_ASSERT_EQUAL(l.requests_limit, 500);
    CU_ASSERT_EQUAL(l.requests_remaining, 499);
    CU_ASSERT_EQUAL(l.requests_reset_ms, 120);
    CU_ASSERT_EQUAL(l.tokens_remaining, 0);
    CU_ASSERT_EQUAL(l.tokens_reset_ms, 360500);
    l = (tg_rate_limit){0};
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-remaining-tokens", "-1", &l); /* as Azure has sent */
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-reset-tokens", "soon", &l);
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-", "1", &l);
    feed(TG_PROVIDER_OPENAI, "x-ratelimit-remaining-widgets", "1", &l);
    feed(TG_PROVIDER_ANTHROPIC, "x-ratelimit-remaining-requests", "1", &l);
    CU_ASSERT_FALSE(l.has_tokens || l.has_requests);
    CU_ASSERT_EQUAL(l.tokens_reset_ms, 0);
}

static void test_anthropic_rate(void)
{
    tg_rate_limit l = {0};
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-requests-limit", "50", &l);
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-requests-remaining", "49", &l);
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-requests-reset", "2024-11-25T02:00:07Z", &l);
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-tokens-remaining", "1000", &l);
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-tokens-reset", "2024-11-25T01:59:59Z", &l);
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-input-tokens-remaining", "800", &l);
    feed(TG_PROVIDER_ANTHROPIC, "anthropic-ratelimit-output-tokens-remaining", "200", &l);
    CU_ASSERT_TRUE(l.has_requests && l.has_tokens && l.has_input_tokens && l.has_output_tokens);
    CU_ASSERT_EQUAL(l.requests_reset_ms, 7000);
    CU_ASSERT_EQUAL(l.tokens_reset_ms, 0); /* already past */
    CU_ASSERT_EQUAL(l.input_tokens_remaining, 800);
    CU_ASSERT_EQUAL(l.output_tokens_remaining, 200);
}

static void test_retry_after(void)
{
    static const struct {
        const char *first[2], *second[2];
        uint64_t ms;
    } cases[] = {
        {{"retry-after", "3"}, {"x", ""}, 3000},
        {{"Retry-After", "0.25"}, {"x", ""}, 250},
        {{"retry-after", "3"}, {"retry-after-ms", "2750"}, 2750},
        {{"retry-after-ms", "2750"}, {"retry-after", "3"}, 2750},
        {{"retry-after", "Mon, 25 Nov 2024 02:00:30 GMT"}, {"x", ""}, 30000},
        {{"retry-after", "Mon, 25 Nov 2024 01:00:00 GMT"}, {"x", ""}, 0},
        {{"retry-after", "whenever"}, {"retry-after-ms", "-5"}, 0},
        {{"retry-after", "1e9"}, {"x", ""}, 0},
        {{"retry-after", "99999999999999999999"}, {"x", ""}, UINT64_C(31536000000)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tg_rate_limit l = {0};
        feed(TG_PROVIDER_BEDROCK, cases[i].first[0], cases[i].first[1], &l);
        feed(TG_PROVIDER_BEDROCK, cases[i].second[0], cases[i].second[1], &l);
        if (l.retry_after_ms != cases[i].ms)
            printf("# '%s': got %llu\n", cases[i].first[1], (unsigned long long)l.retry_after_ms);
        CU_ASSERT_EQUAL(l.retry_after_ms, cases[i].ms);
    }
}

static const tg_test tests[] = {{"upstream_errors", test_upstream_errors},
                                {"no_credentials", test_no_credentials},
                                {"long_message_stays_utf8", test_long_message_stays_utf8},
                                {"client_errors", test_client_errors},
                                {"openai_rate", test_openai_rate},
                                {"anthropic_rate", test_anthropic_rate},
                                {"retry_after", test_retry_after}};
TG_TEST_MAIN("router_dialect_errors", tests)
