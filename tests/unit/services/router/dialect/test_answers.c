/* Upstream answers: what their payloads mean, however the bytes are cut. */
#include "tests/unit/services/router/dialect/answers.h"

#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>

static tg_json_doc *doc;

/* Feeds all of it in one piece and compares the events. */
static int decode(tg_provider provider, bool stream, tg_str bytes, tg_buf *events, tg_error *err)
{
    tg_answer_decoder *decoder = tg_answer_decoder_new(provider, stream, doc);
    int rc = tg_answer_decoder_feed(decoder, bytes, print_event, events, err);
    if (rc == 0)
        rc = tg_answer_decoder_end(decoder, print_event, events, err);
    CU_ASSERT_TRUE(rc < 0 || tg_answer_decoder_complete(decoder));
    tg_answer_decoder_free(decoder);
    return rc;
}

static void expect(tg_provider provider, bool stream, tg_str bytes, const char *expected)
{
    tg_buf events;
    tg_error err = {""};
    tg_buf_init(&events, 0);
    tg_buf_add_text(&events, "");
    int rc = decode(provider, stream, bytes, &events, &err);
    if (rc < 0 || strcmp(events.data, expected) != 0)
        printf("# rc %d (%s)\n#      got %s\n# expected %s\n", rc, err.text, events.data, expected);
    CU_ASSERT_EQUAL(rc, 0);
    CU_ASSERT_STRING_EQUAL(events.data, expected);
    tg_buf_free(&events);
}

static void expect_bad(tg_provider provider, bool stream, tg_str bytes, const char *reason)
{
    tg_buf events;
    tg_error err = {""};
    tg_buf_init(&events, 0);
    CU_ASSERT_EQUAL(decode(provider, stream, bytes, &events, &err), -EBADMSG);
    if (!strstr(err.text, reason))
        printf("# got '%s', expected '%s'\n", err.text, reason);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, reason));
    tg_buf_free(&events);
}

static void test_openai(void)
{
    expect(TG_PROVIDER_OPENAI, true, TG_STR(openai_stream), openai_stream_events);
    expect(TG_PROVIDER_OPENAI, false, TG_STR(openai_plain), openai_plain_events);
}

static void test_anthropic(void)
{
    expect(TG_PROVIDER_ANTHROPIC, true, TG_STR(anthropic_stream), anthropic_stream_events);
    expect(TG_PROVIDER_ANTHROPIC, false, TG_STR(anthropic_plain), anthropic_plain_events);
}

static void test_bedrock(void)
{
    tg_buf stream;
    tg_buf_init(&stream, 0);
    bedrock_stream(&stream);
    expect(TG_PROVIDER_BEDROCK, true, tg_buf_str(&stream), bedrock_stream_events);
    expect(TG_PROVIDER_BEDROCK, false, TG_STR(bedrock_plain), bedrock_plain_events);
    tg_buf_free(&stream);
}

static void test_private(void)
{
    tg_buf message, events;
    tg_error err = {""};
    tg_buf_init(&message, 0);
    tg_buf_init(&events, 0);
    tg_answer_decoder *decoder = tg_answer_decoder_new(TG_PROVIDER_PRIVATE, true, doc);
    for (size_t i = 0; private_message(i, &message); i++) {
        CU_ASSERT_FALSE(tg_answer_decoder_complete(decoder));
        CU_ASSERT_EQUAL(
            tg_answer_decoder_feed(decoder, tg_buf_str(&message), print_event, &events, &err), 0);
    }
    CU_ASSERT_TRUE(tg_answer_decoder_complete(decoder));
    CU_ASSERT_EQUAL(tg_answer_decoder_end(decoder, print_event, &events, &err), 0);
    CU_ASSERT_STRING_EQUAL(events.data, private_events);
    tg_answer_decoder_free(decoder);
    expect_bad(TG_PROVIDER_PRIVATE, true, TG_STR("\xff\xff"), "GenerateEvent");
    expect_bad(TG_PROVIDER_PRIVATE, true, TG_STR("\x12\x05\x0a\x03" "a\0b"), /* delta { text } */
               "delta: text: a text must not hold a NUL byte");
    tg_buf_free(&message);
    tg_buf_free(&events);
}

/* A count that is zero was reported; one that is missing was not. */
static void test_zero_is_not_absent(void)
{
    expect(
        TG_PROVIDER_OPENAI, false,
        TG_STR("{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":0}}"),
        "start(,) text(x)' usage(0/0/0/0,?0/0)' ");
    expect(TG_PROVIDER_OPENAI, false, TG_STR("{\"choices\":[{\"message\":{\"content\":\"x\"}}]}"),
           "start(,) text(x)' ");
    expect(TG_PROVIDER_ANTHROPIC, false,
           TG_STR("{\"type\":\"message\",\"content\":[],\"usage\":{\"output_tokens\":0}}"),
           "start(,) usage(?0/0/0/0,0/0)' ");
    expect(TG_PROVIDER_BEDROCK, false,
           TG_STR("{\"output\":{\"message\":{\"content\":[]}},\"usage\":{}}"), "start(,) ");
    expect(TG_PROVIDER_OPENAI, false,
           TG_STR("{\"choices\":[{\"message\":{\"content\":null}}],\"usage\":{\"prompt_tokens\":3,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":9}}}"),
           "start(,) usage(0/3/0/0,?0/0)' "); /* no part is more than the whole */
}

static void test_usage_chunk_with_choices_is_shown(void)
{
    expect(
        TG_PROVIDER_OPENAI, true,
        TG_STR(
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1,"
            "\"completion_tokens\":1}}\n\ndata:[DONE]\n\n"),
        "start(,) text(x)' usage(1/0/0/0,1/0)' ");
}

static void test_errors_inside_streams(void)
{
    tg_buf frames, events;
    tg_error err = {""};
    tg_buf_init(&frames, 0);
    tg_buf_init(&events, 0);
    put_frame(&frames, ":event-type", "messageStart", "{\"role\":\"assistant\"}");
    put_frame(&frames, ":exception-type", "throttlingException",
              "{\"message\":\"Too many tokens\"}");
    CU_ASSERT_EQUAL(decode(TG_PROVIDER_BEDROCK, true, tg_buf_str(&frames), &events, &err),
                    -EBADMSG);
    CU_ASSERT_STRING_EQUAL(events.data, "start(,) error(throttlingException,Too many tokens) ");
    tg_buf_clear(&events);
    decode(
        TG_PROVIDER_ANTHROPIC, true,
        TG_STR("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
               "\"message\":\"Overloaded\"}}\n\n"),
        &events, &err);
    CU_ASSERT_STRING_EQUAL(events.data, "error(overloaded_error,Overloaded) ");
    tg_buf_clear(&events);
    decode(
        TG_PROVIDER_OPENAI, true,
        TG_STR(
            "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\","
            "\"param\":null,\"code\":null}}\n\n"),
        &events, &err);
    CU_ASSERT_STRING_EQUAL(events.data, "error(server_error,The server had an error) ");
    tg_buf_free(&frames);
    tg_buf_free(&events);
}

static void test_broken_answers(void)
{
    tg_buf frames;
    tg_buf_init(&frames, 0);
    bedrock_stream(&frames);
    expect_bad(TG_PROVIDER_OPENAI, true, TG_STR("data: {\"choices\":[]}\n\n"),
               "ended without [DONE]");
    expect_bad(TG_PROVIDER_OPENAI, true, TG_STR("data: {\"choices\":\n\n"), "cannot be read");
    expect_bad(TG_PROVIDER_OPENAI, true, TG_STR("data: 7\n\n"), "no JSON object");
    expect_bad(TG_PROVIDER_OPENAI, false, TG_STR("{\"choices\":[]}"), "`choices`");
    expect_bad(TG_PROVIDER_OPENAI, false, TG_STR("<html>"), "cannot be read");
    expect_bad(TG_PROVIDER_OPENAI, false, TG_STR(""), "cannot be read");
    expect_bad(TG_PROVIDER_ANTHROPIC, true, TG_STR("data: {\"type\":\"ping\"}\n\n"),
               "without message_stop");
    expect_bad(TG_PROVIDER_ANTHROPIC, true, TG_STR("data: {}\n\n"), "no `type`");
    expect_bad(TG_PROVIDER_ANTHROPIC, false, TG_STR("{\"type\":\"message\"}"), "`content`");
    expect_bad(TG_PROVIDER_BEDROCK, true, (tg_str){frames.data, frames.len - 40},
               "without metadata");
    expect_bad(TG_PROVIDER_BEDROCK, false, TG_STR("{}"), "output.message.content");
    expect_bad(TG_PROVIDER_PRIVATE, true, TG_STR(""), "empty");
    tg_buf_free(&frames);
}

static void test_bounds(void)
{
    tg_buf big;
    tg_buf_init(&big, 0);
    tg_buf_add_text(&big, "data: ");
    while (big.len <= TG_CODEC_EVENT_MAX + 64)
        tg_buf_add_text(&big, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    expect_bad(TG_PROVIDER_OPENAI, true, tg_buf_str(&big), "exceeds");
    tg_buf_free(&big);
}

/* ---- any way of cutting the bytes gives the same events ---- */

static void decode_cut(tg_provider provider, bool stream, tg_str bytes, uint64_t *random,
                       tg_buf *events)
{
    tg_answer_decoder *decoder = tg_answer_decoder_new(provider, stream, doc);
    tg_error err = {""};
    size_t at = 0, longest = 1 + tg_random_next(random) % 60;
    while (at < bytes.len) {
        size_t len = 1 + tg_random_next(random) % longest;
        if (len > bytes.len - at)
            len = bytes.len - at;
        char *piece = malloc(len); /* of its own, so that reading past it is noticed */
        memcpy(piece, bytes.data + at, len);
        int rc =
            tg_answer_decoder_feed(decoder, (tg_str){piece, len}, print_event_raw, events, &err);
        free(piece);
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        at += len;
    }
    CU_ASSERT_EQUAL(tg_answer_decoder_end(decoder, print_event_raw, events, &err), 0);
    tg_answer_decoder_free(decoder);
}

static void split_one(tg_provider provider, bool stream, tg_str bytes, uint64_t *random)
{
    tg_buf whole, cut;
    tg_error err = {""};
    tg_buf_init(&whole, 0);
    tg_buf_init(&cut, 0);
    tg_answer_decoder *decoder = tg_answer_decoder_new(provider, stream, doc);
    tg_answer_decoder_feed(decoder, bytes, print_event_raw, &whole, &err);
    tg_answer_decoder_end(decoder, print_event_raw, &whole, &err);
    tg_answer_decoder_free(decoder);
    CU_ASSERT_TRUE_FATAL(whole.len > 0);
    for (size_t i = 0; i < tg_test_rounds(300); i++) {
        tg_buf_clear(&cut);
        decode_cut(provider, stream, bytes, random, &cut);
        if (!tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut))) {
            printf("# round %zu of %s\n# whole %s\n#   cut %s\n", i, tg_provider_name(provider),
                   whole.data, cut.data);
            CU_FAIL_FATAL("the events depend on how the bytes are cut");
        }
    }
    tg_buf_free(&whole);
    tg_buf_free(&cut);
}

static void test_any_split(void)
{
    uint64_t random = tg_test_seed();
    tg_buf frames;
    tg_buf_init(&frames, 0);
    bedrock_stream(&frames);
    split_one(TG_PROVIDER_OPENAI, true, TG_STR(openai_stream), &random);
    split_one(TG_PROVIDER_OPENAI, false, TG_STR(openai_plain), &random);
    split_one(TG_PROVIDER_ANTHROPIC, true, TG_STR(anthropic_stream), &random);
    split_one(TG_PROVIDER_ANTHROPIC, false, TG_STR(anthropic_plain), &random);
    split_one(TG_PROVIDER_BEDROCK, true, tg_buf_str(&frames), &random);
    split_one(TG_PROVIDER_BEDROCK, false, TG_STR(bedrock_plain), &random);
    tg_buf_free(&frames);
}

static void with_doc(void (*test)(void))
{
    doc = tg_json_doc_new();
    test();
    doc = tg_json_doc_free(doc);
}

#define WITH_DOC(name)                                                                             \
    static void run_##name(void) { with_doc(test_##name); }
WITH_DOC(openai)
WITH_DOC(anthropic)
WITH_DOC(bedrock)
WITH_DOC(private)
WITH_DOC(zero_is_not_absent)
WITH_DOC(usage_chunk_with_choices_is_shown)
WITH_DOC(errors_inside_streams)
WITH_DOC(broken_answers)
WITH_DOC(bounds)
WITH_DOC(any_split)

static const tg_test tests[] = {{"openai", run_openai},
                                {"anthropic", run_anthropic},
                                {"bedrock", run_bedrock},
                                {"private", run_private},
                                {"zero_is_not_absent", run_zero_is_not_absent},
                                {"usage_chunk_with_choices", run_usage_chunk_with_choices_is_shown},
                                {"errors_inside_streams", run_errors_inside_streams},
                                {"broken_answers", run_broken_answers},
                                {"bounds", run_bounds},
                                {"any_split", run_any_split}};
TG_TEST_MAIN("router_dialect_answers", tests)
