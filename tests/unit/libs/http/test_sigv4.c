/* Signatures byte-equal to botocore's; sigv4_vectors.h says how the table came about. */
#include "libs/http/sigv4.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct vector {
    const char *name, *method, *host, *path, *query, *content_type, *body, *session_token;
    uint64_t unix_s;
    const char *date, *authorization;
} vector;

static const vector vectors[] = {
#include "tests/unit/libs/http/sigv4_vectors.h"
};

static tg_sigv4_request request_of(const vector *v)
{
    return (tg_sigv4_request){.method = v->method,
                              .host = tg_str_of(v->host),
                              .path = tg_str_of(v->path),
                              .query = tg_str_of(v->query),
                              .content_type = tg_str_of(v->content_type),
                              .body = tg_str_of(v->body),
                              .service = "bedrock",
                              .region = "us-east-1",
                              .access_key = "AKIDEXAMPLE",
                              .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                              .session_token = v->session_token,
                              .unix_s = v->unix_s};
}

static void test_botocore(void)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const vector *v = &vectors[i];
        tg_sigv4_request request = request_of(v);
        tg_sigv4_headers headers = {{0}, {0}, {0}};
        CU_ASSERT_EQUAL(tg_sigv4_sign(&request, &headers), 0);
        CU_ASSERT_STRING_EQUAL(headers.date, v->date);
        CU_ASSERT_STRING_EQUAL(headers.authorization, v->authorization);
        if (strcmp(headers.authorization, v->authorization) != 0)
            printf("# %s:\n#   %s\n#   %s\n", v->name, headers.authorization, v->authorization);
    }
}

static void test_segment(void)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    CU_ASSERT_EQUAL(tg_sigv4_encode_segment(&buf, TG_STR("a.b-c_d~e:/+ %\xC3\xA9")), 0);
    CU_ASSERT_TRUE(tg_str_is(tg_buf_str(&buf), "a.b-c_d~e%3A%2F%2B%20%25%C3%A9"));
    tg_buf_free(&buf);
}

static void test_too_long_is_refused(void)
{
    char long_key[400];
    memset(long_key, 'k', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    tg_sigv4_request request = request_of(&vectors[0]);
    tg_sigv4_headers headers = {{0}, "untouched", {0}};
    request.secret_key = long_key;
    CU_ASSERT_EQUAL(tg_sigv4_sign(&request, &headers), -EINVAL);
    request = request_of(&vectors[0]);
    request.region = long_key;
    CU_ASSERT_EQUAL(tg_sigv4_sign(&request, &headers), -EINVAL);
    request = request_of(&vectors[0]);
    request.access_key = long_key;
    CU_ASSERT_EQUAL(tg_sigv4_sign(&request, &headers), -EINVAL);
    CU_ASSERT_STRING_EQUAL(headers.content_sha256, "untouched");
}

static const tg_test tests[] = {{"botocore", test_botocore},
                                {"segment", test_segment},
                                {"too_long_is_refused", test_too_long_is_refused}};
TG_TEST_MAIN("libs_http_sigv4", tests)
