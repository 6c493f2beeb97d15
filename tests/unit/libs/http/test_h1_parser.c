/* The request parser without sockets: any split of the bytes gives the same messages. */
#include "libs/base/buf.h"
#include "libs/base/id.h"
#include "libs/http/h1_parser.h"
#include "tests/unit/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MAX = 2048, BODY_MAX = 4096, STREAM_MAX = 16384 };

static void show(tg_buf *log, const tg_h1_parser *p, const char *data)
{
    tg_buf_printf(log, "%.*s|%.*s|%.*s|1.%u|%s%s%s|", (int)p->method.len, data + p->method.at,
                  (int)p->path.len, data + p->path.at, (int)p->query.len, data + p->query.at,
                  p->minor, p->keep_alive ? "k" : "c", p->expect_continue ? "e" : "",
                  p->chunked ? "t" : "");
    for (uint32_t i = 0; i < p->header_count; i++)
        tg_buf_printf(log, "%.*s=%.*s,", (int)p->headers[i].name.len, data + p->headers[i].name.at,
                      (int)p->headers[i].value.len, data + p->headers[i].value.at);
    tg_buf_add_text(log, "|");
    tg_buf_add(log, data + p->body.at, p->body.len);
    tg_buf_add_text(log, "\n");
}

/* Feeds `bytes` in pieces and writes what comes out into `log`. The data moves to a block of its
 * own size for every feed, so that reading past its end or a stale pointer shows under the
 * sanitizer. */
static void parse(tg_str bytes, uint64_t *random, tg_buf *log)
{
    static tg_h1_parser parser;
    char *data = NULL;
    size_t len = 0;
    tg_h1_init(&parser, HEAD_MAX, BODY_MAX);
    while (bytes.len > 0 || len > 0) {
        size_t take =
            random ? tg_random_next(random) % (tg_random_next(random) % 3 ? 4 : 200) : bytes.len;
        if (take > bytes.len || (take == 0 && !random))
            take = bytes.len;
        char *block = malloc(len + take + 1);
        memcpy(block, data ? data : "", len);
        memcpy(block + len, bytes.data, take);
        free(data);
        data = block;
        len += take;
        bytes = (tg_str){bytes.data + take, bytes.len - take};
        tg_h1_result result;
        while (len > 0 && (result = tg_h1_feed(&parser, data, &len)) != TG_H1_MORE) {
            if (result == TG_H1_BAD) {
                tg_buf_printf(log, "%u\n", parser.status);
                free(data);
                return;
            }
            show(log, &parser, data);
            len -= parser.at;
            memmove(data, data + parser.at, len);
            tg_h1_init(&parser, HEAD_MAX, BODY_MAX);
        }
        if (bytes.len == 0)
            break;
    }
    free(data);
}

static void check(const char *request, const char *expected)
{
    tg_buf log;
    tg_buf_init(&log, 0);
    parse(tg_str_of(request), NULL, &log);
    CU_ASSERT_STRING_EQUAL(log.data ? log.data : "", expected);
    if (strcmp(log.data ? log.data : "", expected) != 0)
        printf("# got      %s# expected %s", log.data ? log.data : "\n", expected);
    tg_buf_free(&log);
}

static void test_messages(void)
{
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET|/||1.1|k|Host=a,|\n");
    check("\r\n\r\nGET /p/q?x=1?2 HTTP/1.0\r\nA:\r\nB: \t b  c \t\r\n\r\n",
          "GET|/p/q|x=1?2|1.0|c|A=,B=b  c,|\n");
    check("POST http://host:80?q HTTP/1.1\r\nHost: a\r\n\r\n", "400\n");
    check("POST http://host?q=/admin HTTP/1.1\r\nHost: a\r\n\r\n", "400\n"); /* not /admin */
    check("POST https://host:80/?q HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabcGET / "
          "HTTP/1.0\r\n\r\n",
          "POST|/|q|1.1|k|Host=a,Content-Length=03,|abc\nGET|/||1.0|c||\n");
    check("PUT /a HTTP/1.1\r\nhOST: a\r\nEXPECT: 100-Continue\r\ntransfer-encoding: CHUNKED\r\n\r\n"
          "3\r\nabc\r\nA;n=v\r\n0123456789\r\n00\r\nT: t\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
          "PUT|/a||1.1|ket|hOST=a,EXPECT=100-Continue,transfer-encoding=CHUNKED,|abc0123456789\n"
          "GET|/b||1.1|k|Host=b,|\n");
    check("GET / HTTP/1.0\r\nConnection: a, keep-alive\r\n\r\n",
          "GET|/||1.0|k|Connection=a, keep-alive,|\n");
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
          "GET|/||1.1|c|Host=a,Connection=keep-alive,Connection=close,|\n");
}

static const char *const pieces[] = {
    "GET / HTTP/1.1\r\n",
    "POST /x?y HTTP/1.1\r\n",
    "PUT /z HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 17\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "X: y\r\n",
    "\r\n",
    "\r\n",
    "hello",
    "5\r\nhello\r\n",
    "11;ext\r\n0123456789abcdefg\r\n",
    "0\r\n\r\n",
    "0\r\nT: t\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "fff\r\n",
    "\n",
    "\r",
    " ",
    ":",
};

static void make_stream(tg_buf *to, uint64_t *random)
{
    tg_buf_clear(to);
    for (uint64_t n = 1 + tg_random_next(random) % 12; n > 0; n--)
        tg_buf_add_text(to, pieces[tg_random_next(random) % (sizeof(pieces) / sizeof(pieces[0]))]);
    if (tg_random_next(random) % 4 == 0)
        to->data[tg_random_next(random) % to->len] = (char)tg_random_next(random);
}

static void test_any_split_gives_the_same(void)
{
    uint64_t random = tg_test_seed();
    tg_buf stream, whole, split;
    tg_buf_init(&stream, STREAM_MAX);
    tg_buf_init(&whole, 0);
    tg_buf_init(&split, 0);
    for (size_t round = 0; round < tg_test_rounds(20000); round++) {
        make_stream(&stream, &random);
        tg_buf_clear(&whole);
        tg_buf_clear(&split);
        parse(tg_buf_str(&stream), NULL, &whole);
        parse(tg_buf_str(&stream), &random, &split);
        bool same = tg_str_eq(tg_buf_str(&whole), tg_buf_str(&split));
        CU_ASSERT_TRUE(same);
        if (!same) {
            printf("# of: %.*s\n# whole: %s\n# split: %s\n", (int)stream.len, stream.data,
                   whole.data ? whole.data : "", split.data ? split.data : "");
            break;
        }
    }
    tg_buf_free(&stream);
    tg_buf_free(&whole);
    tg_buf_free(&split);
}

static const tg_test tests[] = {{"messages", test_messages},
                                {"any_split_gives_the_same", test_any_split_gives_the_same}};
TG_TEST_MAIN("libs_http_h1_parser", tests)
