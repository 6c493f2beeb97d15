/* Event stream framing: lengths, checksums, headers. */
#include "services/router/dialect/eventstream.h"

#include "libs/base/id.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/router/dialect/answers.h"

#include <errno.h>
#include <stdio.h>

static int print_message(void *user, const tg_eventstream_message *m)
{
    return tg_buf_printf(user, "%.*s:%.*s%.*s=%.*s;", TG_STR_ARG(m->message_type),
                         TG_STR_ARG(m->event_type), TG_STR_ARG(m->exception_type),
                         TG_STR_ARG(m->payload));
}

static int feed(tg_str bytes, size_t message_max, tg_buf *out, tg_error *err)
{
    tg_eventstream stream;
    tg_eventstream_init(&stream, message_max);
    int rc = tg_eventstream_feed(&stream, bytes, print_message, out, err);
    if (rc == 0)
        CU_ASSERT_TRUE(tg_eventstream_at_boundary(&stream) || out->len == 0);
    tg_eventstream_free(&stream);
    return rc;
}

static void test_messages(void)
{
    tg_buf frames, out;
    tg_error err = {""};
    tg_buf_init(&frames, 0);
    tg_buf_init(&out, 0);
    put_frame(&frames, ":event-type", "a", "{}");
    put_frame(&frames, ":exception-type", "b", "");
    CU_ASSERT_EQUAL(feed(tg_buf_str(&frames), 1000, &out, &err), 0);
    CU_ASSERT_STRING_EQUAL(out.data, "event:a={};exception:b=;");
    tg_buf_free(&frames);
    tg_buf_free(&out);
}

/* A message of known bytes, so that writer and reader are not wrong in the same way: total length
 * 16, no headers, no payload; its checksums are those of the format's published example. */
static void test_known_bytes(void)
{
    static const char empty[] = "\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff";
    tg_buf out;
    tg_error err = {""};
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(feed((tg_str){empty, 16}, 1000, &out, &err), 0);
    CU_ASSERT_STRING_EQUAL(out.data, ":=;");
    tg_buf_free(&out);
}

/* One flipped bit anywhere is noticed: there is no byte that no checksum covers. */
static void test_any_flipped_bit(void)
{
    tg_buf frame, out;
    tg_buf_init(&frame, 0);
    tg_buf_init(&out, 0);
    put_frame(&frame, ":event-type", "contentBlockDelta", "{\"delta\":{\"text\":\"hello\"}}");
    for (size_t bit = 0; bit < frame.len * 8; bit++) {
        tg_error err = {""};
        frame.data[bit / 8] = (char)(frame.data[bit / 8] ^ (1 << bit % 8));
        tg_buf_clear(&out);
        if (feed(tg_buf_str(&frame), 1000, &out, &err) != -EBADMSG || out.len > 0) {
            printf("# bit %zu\n", bit);
            CU_FAIL_FATAL("a flipped bit went unnoticed");
        }
        frame.data[bit / 8] = (char)(frame.data[bit / 8] ^ (1 << bit % 8));
    }
    tg_buf_free(&frame);
    tg_buf_free(&out);
}

/* A bad prelude is noticed with its last byte, whether its bytes come at once or one by one. */
static void test_prelude_in_pieces(void)
{
    static const char bad[12] = "\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xec";
    tg_eventstream stream;
    tg_buf out;
    tg_error err = {""};
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(feed((tg_str){bad, 12}, 1000, &out, &err), -EBADMSG);
    tg_eventstream_init(&stream, 1000);
    for (size_t i = 0; i < 12; i++)
        CU_ASSERT_EQUAL(
            tg_eventstream_feed(&stream, (tg_str){bad + i, 1}, print_message, &out, &err),
            i < 11 ? 0 : -EBADMSG);
    tg_eventstream_free(&stream);
    tg_buf_free(&out);
}

/* Right checksums over lengths that lie. */
static void put_raw(tg_buf *out, uint32_t total, uint32_t headers, tg_str rest)
{
    size_t from = out->len;
    put_be32(out, total);
    put_be32(out, headers);
    put_be32(out, (uint32_t)crc32(0, (const unsigned char *)out->data + from, 8));
    tg_buf_add_str(out, rest);
    put_be32(out, (uint32_t)crc32(0, (const unsigned char *)out->data + from,
                                  (unsigned)(out->len - from)));
}

static void expect_bad(uint32_t total, uint32_t headers, tg_str rest, const char *reason)
{
    tg_buf frame, out;
    tg_error err = {""};
    tg_buf_init(&frame, 0);
    tg_buf_init(&out, 0);
    put_raw(&frame, total, headers, rest);
    CU_ASSERT_EQUAL(feed(tg_buf_str(&frame), 1000, &out, &err), -EBADMSG);
    if (!strstr(err.text, reason))
        printf("# got '%s', expected '%s'\n", err.text, reason);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, reason));
    tg_buf_free(&frame);
    tg_buf_free(&out);
}

static void test_lengths_that_lie(void)
{
    expect_bad(15, 0, TG_STR(""), "do not fit together");
    expect_bad(16, 1, TG_STR(""), "do not fit together");
    expect_bad(1001, 0, TG_STR(""), "at most 1000");
    expect_bad(17, 1, TG_STR("\x05"), "name is cut off");
    expect_bad(19, 3,
               TG_STR("\x01"
                      "a"
                      "\x07"),
               "value is cut off");
    expect_bad(21, 5,
               TG_STR("\x01"
                      "a"
                      "\x07\x00\x09"),
               "value is cut off");
    expect_bad(19, 3,
               TG_STR("\x01"
                      "a"
                      "\x63"),
               "value is cut off");
}

static int refuse(void *user, const tg_eventstream_message *message)
{
    (void)user;
    (void)message;
    return -ECANCELED;
}

static void test_callback_ends_the_feed(void)
{
    tg_eventstream stream;
    tg_buf frames;
    tg_error err = {""};
    tg_buf_init(&frames, 0);
    put_frame(&frames, ":event-type", "a", "{}");
    tg_eventstream_init(&stream, 1000);
    CU_ASSERT_EQUAL(tg_eventstream_feed(&stream, tg_buf_str(&frames), refuse, NULL, &err),
                    -ECANCELED);
    tg_eventstream_free(&stream);
    tg_buf_free(&frames);
}

static const tg_test tests[] = {{"messages", test_messages},
                                {"known_bytes", test_known_bytes},
                                {"any_flipped_bit", test_any_flipped_bit},
                                {"prelude_in_pieces", test_prelude_in_pieces},
                                {"lengths_that_lie", test_lengths_that_lie},
                                {"callback_ends_the_feed", test_callback_ends_the_feed}};
TG_TEST_MAIN("router_dialect_eventstream", tests)
