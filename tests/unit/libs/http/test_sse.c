/* The event stream parser: the standard's own examples, its bounds, and any split of the bytes. */
#include "libs/base/id.h"
#include "libs/http/sse.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENT_MAX = 256 };

static int log_event(void *user, tg_str name, tg_str data)
{
    tg_buf *log = user;
    return tg_buf_printf(log, "[%.*s|%.*s]", (int)name.len, name.data, (int)data.len, data.data);
}

/* Feeds in pieces, each in a block of its own that is gone before the next comes. */
static int parse(tg_str bytes, uint64_t *random, tg_buf *log)
{
    tg_sse_parser parser;
    int rc = 0;
    tg_sse_parser_init(&parser, EVENT_MAX);
    while (rc == 0 && bytes.len > 0) {
        size_t take =
            random ? tg_random_next(random) % (tg_random_next(random) % 3 ? 3 : 40) : bytes.len;
        take = take < bytes.len ? take : bytes.len;
        char *block = malloc(take + 1);
        memcpy(block, bytes.data, take);
        rc = tg_sse_parser_feed(&parser, (tg_str){block, take}, log_event, log);
        free(block);
        bytes = (tg_str){bytes.data + take, bytes.len - take};
    }
    tg_sse_parser_free(&parser);
    return rc;
}

static void check(const char *bytes, const char *expected)
{
    tg_buf log;
    tg_buf_init(&log, 0);
    CU_ASSERT_EQUAL(parse(tg_str_of(bytes), NULL, &log), 0);
    CU_ASSERT_STRING_EQUAL(log.data ? log.data : "", expected);
    if (strcmp(log.data ? log.data : "", expected) != 0)
        printf("# got      %s\n# expected %s\n", log.data ? log.data : "", expected);
    tg_buf_free(&log);
}

static void test_streams(void)
{
    check("data: one\n\ndata: two\n\n", "[|one][|two]");
    check("data: YHOO\ndata: +2\ndata: 10\n\n", "[|YHOO\n+2\n10]");
    check(
        ": comment\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        "[|first event][|second event][| third event]");
    check("data:test\n\ndata: test\n\n", "[|test][|test]");
    check("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: x\n\n",
          "[add|73857293][remove|2153][|x]");
    check("event: a\nevent: b\ndata: x\n\n", "[b|x]");
    check("event: lost\n\ndata: x\n\n", "[|x]"); /* no data, no event, and its name is forgotten */
    check("data: crlf\r\n\r\ndata: cr\r\rdata: lf\n\ndata: mixed\r\n\ndata: x\n\r\n",
          "[|crlf][|cr][|lf][|mixed][|x]");
    check("\xEF\xBB\xBF"
          "data: after the mark\n\n\xEF\xBB\xBF"
          "data: not a field\n\n",
          "[|after the mark]");
    check("DATA: x\ndatax: y\nretry: 10\ndata : z\nunknown\n\n", "");
    check("data: never ended", "");
    check("data: never ended\n", "");
    check("data\ndata\n\n", "[|\n]");
    check("data: {\"a\": \"b:c\"}\n\ndata: [DONE]\n\n", "[|{\"a\": \"b:c\"}][|[DONE]]");
}

static void test_bounds(void)
{
    tg_buf stream, log;
    tg_buf_init(&stream, 0);
    for (unsigned extra = 0; extra < 2; extra++) {
        tg_buf_init(&log, 0);
        tg_buf_clear(&stream);
        tg_buf_add_text(&stream, "data: ");
        for (unsigned i = 0; i < EVENT_MAX + extra; i++)
            tg_buf_add_char(&stream, 'x');
        tg_buf_add_text(&stream, "\n\n");
        CU_ASSERT_EQUAL(parse(tg_buf_str(&stream), NULL, &log), extra ? -ENOSPC : 0);
        CU_ASSERT_EQUAL(log.len, extra ? 0 : EVENT_MAX + 3);
        tg_buf_clear(&stream); /* the same over several lines, each of which is short */
        for (unsigned i = 0; i < EVENT_MAX / 2 + 1; i++)
            tg_buf_add_text(&stream, extra || i < 2 ? "data: x\n" : "\n");
        CU_ASSERT_EQUAL(parse(tg_buf_str(&stream), NULL, &log), extra ? -ENOSPC : 0);
        tg_buf_free(&log);
    }
    tg_buf_free(&stream);
}

static int refuse(void *user, tg_str name, tg_str data)
{
    (void)name;
    (void)data;
    return ++*(int *)user == 2 ? -ECANCELED : 0;
}

static void test_callback_ends_the_feed(void)
{
    tg_sse_parser parser;
    int calls = 0;
    tg_sse_parser_init(&parser, EVENT_MAX);
    CU_ASSERT_EQUAL(
        tg_sse_parser_feed(&parser, TG_STR("data: 1\n\ndata: 2\n\ndata: 3\n\n"), refuse, &calls),
        -ECANCELED);
    CU_ASSERT_EQUAL(calls, 2);
    tg_sse_parser_free(&parser);
}

static const char *const pieces[] = {
    "data: ",
    "data:",
    "data",
    "event: name",
    "event:",
    "id: 7",
    ":comment",
    "\n",
    "\n",
    "\n\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\xEF\xBB\xBF",
    "{\"delta\":\"h\xC3\xA9llo\"}",
    "x",
    " ",
    ":",
    "\xE4\xB8\x96",
    "0123456789012345678901234567890123456789012345678901234567890123456789",
};

static void test_any_split_gives_the_same(void)
{
    uint64_t random = tg_test_seed();
    tg_buf stream, whole, split;
    tg_buf_init(&stream, 0);
    tg_buf_init(&whole, 0);
    tg_buf_init(&split, 0);
    for (size_t round = 0; round < tg_test_rounds(20000); round++) {
        tg_buf_clear(&stream);
        for (uint64_t n = 1 + tg_random_next(&random) % 30; n > 0; n--)
            tg_buf_add_text(&stream,
                            pieces[tg_random_next(&random) % (sizeof(pieces) / sizeof(pieces[0]))]);
        tg_buf_clear(&whole);
        tg_buf_clear(&split);
        int rc = parse(tg_buf_str(&stream), NULL, &whole);
        int again = parse(tg_buf_str(&stream), &random, &split);
        bool same = rc == again && tg_str_eq(tg_buf_str(&whole), tg_buf_str(&split));
        CU_ASSERT_TRUE(same);
        if (!same) {
            printf("# of: %s\n# whole (%d): %s\n# split (%d): %s\n", stream.data, rc,
                   whole.data ? whole.data : "", again, split.data ? split.data : "");
            break;
        }
    }
    tg_buf_free(&stream);
    tg_buf_free(&whole);
    tg_buf_free(&split);
}

static const tg_test tests[] = {{"streams", test_streams},
                                {"bounds", test_bounds},
                                {"callback_ends_the_feed", test_callback_ends_the_feed},
                                {"any_split_gives_the_same", test_any_split_gives_the_same}};
TG_TEST_MAIN("libs_http_sse", tests)
