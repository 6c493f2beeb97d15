/* Server-sent events, cut anywhere. */
#include "libs/http/sse.h"

#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_event(void *user, tg_str name, tg_str data)
{
    return tg_buf_printf(user, "[%.*s|%.*s]", TG_STR_ARG(name), TG_STR_ARG(data));
}

static void expect(const char *bytes, const char *expected)
{
    tg_sse_parser parser;
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_buf_add_text(&out, "");
    tg_sse_parser_init(&parser, 1000);
    CU_ASSERT_EQUAL(tg_sse_parser_feed(&parser, tg_str_of(bytes), print_event, &out), 0);
    if (strcmp(out.data, expected) != 0)
        printf("# got %s, expected %s\n", out.data, expected);
    CU_ASSERT_STRING_EQUAL(out.data, expected);
    tg_sse_parser_free(&parser);
    tg_buf_free(&out);
}

static void test_fields(void)
{
    expect("data: a\n\n", "[|a]");
    expect("data:a\n\n", "[|a]");
    expect("data:  a\n\n", "[| a]");
    expect("event: x\ndata: a\ndata\ndata: b\n\n", "[x|a\n\nb]");
    expect("data: a\nevent: x\nevent: y\n\ndata: b\n\n", "[y|a][|b]");
    expect(": comment\nid: 7\nretry: 10\nother: z\ndata: a\n\n", "[|a]");
    expect("event: x\n\ndata:\n\ndata\n\n", ""); /* without data there is no event */
    expect("data: never ended\n", "");
    expect("\xEF\xBB\xBF"
           "data: a\n\n",
           "[|a]");
    expect("data: \xEF\xBB\xBF\n\n", "[|\xEF\xBB\xBF]");
}

static void test_line_ends(void)
{
    expect("data: a\r\n\r\ndata: b\r\rdata: c\n\n", "[|a][|b][|c]");
    expect("data: a\r\ndata: b\n\r\n", "[|a\nb]");
}

static void test_bound(void)
{
    tg_sse_parser parser;
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_sse_parser_init(&parser, 8);
    CU_ASSERT_EQUAL(tg_sse_parser_feed(&parser, TG_STR("data: 12345678\n\n"), print_event, &out),
                    0);
    CU_ASSERT_STRING_EQUAL(out.data, "[|12345678]");
    CU_ASSERT_EQUAL(tg_sse_parser_feed(&parser, TG_STR("data: 123456789\n\n"), print_event, &out),
                    -ENOSPC);
    tg_sse_parser_free(&parser);
    tg_sse_parser_init(&parser, 8);
    CU_ASSERT_EQUAL(
        tg_sse_parser_feed(&parser, TG_STR("data: 1234\ndata: 5678\n"), print_event, &out),
        -ENOSPC);
    tg_sse_parser_free(&parser);
    tg_sse_parser_init(&parser, 8);
    CU_ASSERT_EQUAL(
        tg_sse_parser_feed(&parser, TG_STR(":2345678901234567890123456789"), print_event, &out),
        -ENOSPC);
    tg_sse_parser_free(&parser);
    tg_buf_free(&out);
}

static int refuse(void *user, tg_str name, tg_str data)
{
    (void)user;
    (void)name;
    (void)data;
    return -ECANCELED;
}

static void test_callback_ends_the_feed(void)
{
    tg_sse_parser parser;
    tg_sse_parser_init(&parser, 8);
    CU_ASSERT_EQUAL(tg_sse_parser_feed(&parser, TG_STR("data: a\n\ndata: b\n\n"), refuse, NULL),
                    -ECANCELED);
    tg_sse_parser_free(&parser);
}

/* Random streams of the characters that matter: cut anywhere, they give the same events. */
static void test_any_split(void)
{
    static const char *const pieces[] = {"data", "event", ":", " ",    "\n",
                                         "\r",   "\r\n",  "x", "\n\n", "data: "};
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(2000); round++) {
        tg_sse_parser parser;
        tg_buf bytes, whole, cut;
        tg_buf_init(&bytes, 0);
        tg_buf_init(&whole, 0);
        tg_buf_init(&cut, 0);
        for (size_t i = tg_random_next(&random) % 60; i > 0; i--)
            tg_buf_add_text(&bytes,
                            pieces[tg_random_next(&random) % (sizeof pieces / sizeof *pieces)]);
        tg_sse_parser_init(&parser, 1000);
        tg_sse_parser_feed(&parser, tg_buf_str(&bytes), print_event, &whole);
        tg_sse_parser_free(&parser);
        tg_sse_parser_init(&parser, 1000);
        for (size_t at = 0; at < bytes.len;) {
            size_t len = 1 + tg_random_next(&random) % 9;
            len = len < bytes.len - at ? len : bytes.len - at;
            char *piece = malloc(len); /* of its own, so that a pointer kept too long is noticed */
            memcpy(piece, bytes.data + at, len);
            CU_ASSERT_EQUAL_FATAL(
                tg_sse_parser_feed(&parser, (tg_str){piece, len}, print_event, &cut), 0);
            free(piece);
            at += len;
        }
        tg_sse_parser_free(&parser);
        if (!tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut))) {
            printf("# round %zu: whole %s, cut %s\n", round, whole.data, cut.data);
            CU_FAIL_FATAL("the events depend on how the bytes are cut");
        }
        tg_buf_free(&bytes);
        tg_buf_free(&whole);
        tg_buf_free(&cut);
    }
}

static const tg_test tests[] = {{"fields", test_fields},
                                {"line_ends", test_line_ends},
                                {"bound", test_bound},
                                {"callback_ends_the_feed", test_callback_ends_the_feed},
                                {"any_split", test_any_split}};
TG_TEST_MAIN("libs_http_sse", tests)
