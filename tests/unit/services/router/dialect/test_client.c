/* Client answers: raw within a dialect, written anew across two, as the official SDKs read them. */
#include "tests/unit/services/router/dialect/answers.h"

#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>

typedef struct sink {
    tg_client_encoder *encoder;
    tg_buf *out;
    tg_tokens tokens;
} sink;

static void on_event(void *user, const tg_chat_event *event)
{
    sink *s = user;
    if (event->type == TG_CHAT_USAGE)
        s->tokens = event->tokens;
    CU_ASSERT_EQUAL(tg_client_encoder_event(s->encoder, event, s->out), 0);
}

/* An upstream's answer through decoder and encoder, to the bytes a client gets. */
static void translate(tg_provider provider, tg_str bytes, const tg_chat_request *request, bool same,
                      const char *comment, tg_buf *out)
{
    tg_client_encoder encoder;
    tg_json_doc *doc = tg_json_doc_new();
    tg_answer_decoder *decoder = tg_answer_decoder_new(provider, request->stream, doc);
    sink s = {&encoder, out, {0}};
    tg_error err = {""};
    tg_client_encoder_init(&encoder, request, same, "R1", 1700000000);
    tg_str_copy(encoder.model, sizeof encoder.model, TG_STR("asked-for"));
    CU_ASSERT_EQUAL(tg_answer_decoder_feed(decoder, bytes, on_event, &s, &err), 0);
    CU_ASSERT_EQUAL(tg_answer_decoder_end(decoder, on_event, &s, &err), 0);
    CU_ASSERT_EQUAL(tg_client_encoder_end(&encoder, &s.tokens, comment, out), 0);
    CU_ASSERT_EQUAL(tg_client_encoder_end(&encoder, &s.tokens, comment, out), -EALREADY);
    tg_answer_decoder_free(decoder);
    tg_json_doc_free(doc);
    tg_client_encoder_free(&encoder);
}

static void expect(tg_provider provider, tg_str bytes, tg_chat_request request, const char *comment,
                   const char *expected)
{
    tg_buf out;
    bool same = (provider == TG_PROVIDER_OPENAI && request.dialect == TG_DIALECT_OPENAI) ||
                (provider == TG_PROVIDER_ANTHROPIC && request.dialect == TG_DIALECT_ANTHROPIC);
    tg_buf_init(&out, 0);
    translate(provider, bytes, &request, same, comment, &out);
    if (strcmp(out.data, expected) != 0)
        printf("#      got %s\n# expected %s\n", out.data, expected);
    CU_ASSERT_STRING_EQUAL(out.data, expected);
    tg_buf_free(&out);
}

static const tg_chat_request openai_streamed = {.dialect = TG_DIALECT_OPENAI, .stream = true};
static const tg_chat_request openai_counted = {
    .dialect = TG_DIALECT_OPENAI, .stream = true, .include_usage = true};
static const tg_chat_request openai_whole = {.dialect = TG_DIALECT_OPENAI};
static const tg_chat_request anthropic_streamed = {.dialect = TG_DIALECT_ANTHROPIC, .stream = true};
static const tg_chat_request anthropic_whole = {.dialect = TG_DIALECT_ANTHROPIC};

/* The text without every occurrence of `cut`, which must be there. */
static void without(const char *text, const char *cut, tg_buf *out)
{
    const char *at;
    CU_ASSERT_PTR_NOT_NULL(strstr(text, cut));
    tg_buf_clear(out);
    while ((at = strstr(text, cut))) {
        tg_buf_add(out, text, (size_t)(at - text));
        text = at + strlen(cut);
    }
    tg_buf_add_text(out, text);
}

static void test_openai_raw(void)
{
    tg_buf shown, hidden;
    tg_buf_init(&shown, 0);
    tg_buf_init(&hidden, 0);
    without(openai_stream, ": keep-alive\n\n", &shown);
    expect(TG_PROVIDER_OPENAI, TG_STR(openai_stream), openai_counted, NULL, shown.data);
    char *usage = strstr(shown.data, "\"choices\":[],"), *end = strstr(usage, "data: [DONE]");
    while (strncmp(usage, "data: ", 6) != 0)
        usage--;
    tg_buf_add(&hidden, shown.data, (size_t)(usage - shown.data));
    tg_buf_add_text(&hidden, ": cost\n\n");
    tg_buf_add_text(&hidden, end);
    expect(TG_PROVIDER_OPENAI, TG_STR(openai_stream), openai_streamed, "cost", hidden.data);
    expect(TG_PROVIDER_OPENAI, TG_STR(openai_plain), openai_whole, "not for plain answers",
           openai_plain);
    tg_buf_free(&shown);
    tg_buf_free(&hidden);
}

static void test_anthropic_raw(void)
{
    tg_buf lf, commented;
    tg_buf_init(&lf, 0);
    tg_buf_init(&commented, 0);
    without(anthropic_stream, "\r", &lf);
    expect(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_stream), anthropic_streamed, NULL, lf.data);
    const char *stop = strstr(lf.data, "event: message_stop");
    tg_buf_add(&commented, lf.data, (size_t)(stop - lf.data));
    tg_buf_add_text(&commented, ": a b\n\n");
    tg_buf_add_text(&commented, stop);
    expect(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_stream), anthropic_streamed, "a\nb",
           commented.data);
    expect(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_plain), anthropic_whole, NULL, anthropic_plain);
    tg_buf_free(&lf);
    tg_buf_free(&commented);
}

#define HEAD(id, object, model)                                                                    \
    "{\"id\":\"" id "\",\"object\":\"" object "\",\"created\":1700000000,\"model\":\"" model "\""
#define CHUNK(delta, finish, tail)                                                                 \
    "data: " HEAD("chatcmpl-R1", "chat.completion.chunk",                                          \
                  "claude-3-haiku-20240307") ",\"choices\":[{\"index\":0,\"delta\":" delta         \
                                             ",\"logprobs\":null,\"finish_reason\":" finish        \
                                             "}]" tail "}\n\n"

static void test_anthropic_to_openai(void)
{
    expect(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_stream), openai_streamed, "note",
           CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null", "")
               CHUNK("{\"content\":\"Hel\"}", "null", "")
                   CHUNK("{\"content\":\"l\xC3\xB6!\"}", "null", "")
                       CHUNK("{}", "\"stop\"", "") ": note\n\ndata: [DONE]\n\n");
#define NO_USAGE ",\"usage\":null"
    expect(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_stream), openai_counted, NULL,
           CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null", NO_USAGE)
               CHUNK("{\"content\":\"Hel\"}", "null", NO_USAGE)
                   CHUNK("{\"content\":\"l\xC3\xB6!\"}", "null", NO_USAGE)
                       CHUNK("{}", "\"stop\"", NO_USAGE) "data: " HEAD(
                           "chatcmpl-R1", "chat.completion.chunk",
                           "claude-3-haiku-20240307") ",\"choices\":[],\"usage\":{\"prompt_"
                                                      "tokens\":2373,\"completion_tokens\":15,"
                                                      "\"total_tokens\":2388,\"prompt_tokens_"
                                                      "details\":{\"cached_tokens\":2048},"
                                                      "\"completion_tokens_details\":{\"reasoning_"
                                                      "tokens\":0}}}\n\ndata: [DONE]\n\n");
    expect(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_plain), openai_whole, NULL,
           HEAD("chatcmpl-R1", "chat.completion",
                "claude-3-5-sonnet-20241022") ",\"choices\":[{\"index\":0,\"message\":{\"role\":"
                                              "\"assistant\",\"content\":\"One. Two.\","
                                              "\"refusal\":null},\"logprobs\":null,\"finish_"
                                              "reason\":\"stop\"}],"
                                              "\"usage\":{\"prompt_tokens\":7,\"completion_"
                                              "tokens\":6,\"total_tokens\":13,"
                                              "\"prompt_tokens_details\":{\"cached_tokens\":0},"
                                              "\"completion_tokens_details\":{\"reasoning_tokens\":"
                                              "0}}}");
}

#define A_DELTA(text)                                                                              \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"             \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"

static void test_openai_to_anthropic(void)
{
    expect(
        TG_PROVIDER_OPENAI, TG_STR(openai_stream), anthropic_streamed, "note",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_R1\","
        "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"gpt-4o-mini-2024-07-18\","
        "\"content\":[],"
        "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,"
        "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":0}}}\n\n"
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" A_DELTA("Gr\xC3\xBC\xC3\x9F"
                                                                           "e ")
            A_DELTA("aus Z\xC3\xBCrich \xF0\x9F\x8F\x94") "event: content_block_stop\ndata: "
                                                          "{\"type\":\"content_block_stop\","
                                                          "\"index\":0}\n\n"
                                                          "event: message_delta\ndata: "
                                                          "{\"type\":\"message_delta\",\"delta\":{"
                                                          "\"stop_reason\":\"end_turn\","
                                                          "\"stop_sequence\":null},\"usage\":{"
                                                          "\"input_tokens\":296,\"cache_creation_"
                                                          "input_tokens\":0,"
                                                          "\"cache_read_input_tokens\":1024,"
                                                          "\"output_tokens\":9}}\n\n"
                                                          ": note\n\nevent: message_stop\ndata: "
                                                          "{\"type\":\"message_stop\"}\n\n");
    expect(
        TG_PROVIDER_OPENAI, TG_STR(openai_plain), anthropic_whole, NULL,
        "{\"id\":\"msg_R1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"gpt-4o-2024-11-"
        "20\","
        "\"content\":[{\"type\":\"text\",\"text\":\"Forty-two.\"}],\"stop_reason\":\"max_tokens\","
        "\"stop_sequence\":null,\"usage\":{\"input_tokens\":12,\"cache_creation_input_tokens\":0,"
        "\"cache_read_input_tokens\":0,\"output_tokens\":0}}");
}

#define BLOCK(index, block, deltas)                                                                \
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":" index         \
    ",\"content_block\":{" block "}}\n\n" deltas                                                   \
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":" index "}\n\n"
#define BLOCK_DELTA(index, delta)                                                                  \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":" index         \
    ",\"delta\":{" delta "}}\n\n"

/* Another target's thinking is a block of its own before the answer, where it was asked for. */
static void test_thinking_to_anthropic(void)
{
    static const char stream[] =
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"h\\\"m\"}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"!\"}}]}\n\n"
        "data: "
        "{\"choices\":[{\"delta\":{\"content\":\"So\"},\"finish_reason\":\"stop\"}]}\n\ndata: "
        "[DONE]\n\n";
    static const char text[] = "\"type\":\"text\",\"text\":\"\"";
    static const char thinking[] =
        BLOCK("0", "\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"",
              BLOCK_DELTA("0", "\"type\":\"thinking_delta\",\"thinking\":\"h\\\"m\"")
                  BLOCK_DELTA("0", "\"type\":\"thinking_delta\",\"thinking\":\"!\""))
            BLOCK("1", "\"type\":\"text\",\"text\":\"\"",
                  BLOCK_DELTA("1", "\"type\":\"text_delta\",\"text\":\"So\""));
    const tg_str plain = TG_STR("{\"choices\":[{\"message\":{\"reasoning_content\":\"hm\","
                                "\"content\":\"So\"},\"finish_reason\":\"stop\"}]}");
    tg_chat_request asked = anthropic_streamed, whole = anthropic_whole;
    tg_buf out;
    tg_buf_init(&out, 0);
    translate(TG_PROVIDER_OPENAI, TG_STR(stream), &asked, false, NULL, &out);
    CU_ASSERT_PTR_NULL(strstr(out.data, "thinking"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, text));
    asked.wants_thoughts = whole.wants_thoughts = true;
    tg_buf_clear(&out);
    translate(TG_PROVIDER_OPENAI, TG_STR(stream), &asked, false, NULL, &out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, thinking));
    tg_buf_clear(&out);
    translate(TG_PROVIDER_OPENAI, plain, &whole, false, NULL, &out);
    CU_ASSERT_PTR_NOT_NULL(strstr(
        out.data, "\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"\"},"
                  "{\"type\":\"text\",\"text\":\"So\"}]"));
    tg_buf_free(&out);
}

/* Bedrock names no model: the one that was asked for is what ran. */
static void test_bedrock_to_both(void)
{
    expect(TG_PROVIDER_BEDROCK, TG_STR(bedrock_plain), openai_whole, NULL,
           HEAD("chatcmpl-R1", "chat.completion",
                "asked-for") ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                             "\"content\":\"Bonjour.\","
                             "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"content_"
                             "filter\"}],"
                             "\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":3,\"total_"
                             "tokens\":17,"
                             "\"prompt_tokens_details\":{\"cached_tokens\":0},"
                             "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}");
    expect(
        TG_PROVIDER_BEDROCK, TG_STR(bedrock_plain), anthropic_whole, NULL,
        "{\"id\":\"msg_R1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"asked-for\","
        "\"content\":[{\"type\":\"text\",\"text\":\"Bonjour.\"}],\"stop_reason\":\"refusal\","
        "\"stop_sequence\":null,\"usage\":{\"input_tokens\":14,\"cache_creation_input_tokens\":0,"
        "\"cache_read_input_tokens\":0,\"output_tokens\":3}}");
}

/* What one dialect's encoder writes, the other side's decoder reads back as the same conversation.
 */
static void test_encoded_answers_decode(void)
{
    tg_buf out, events;
    tg_json_doc *doc = tg_json_doc_new();
    tg_error err = {""};
    tg_buf_init(&out, 0);
    tg_buf_init(&events, 0);
    translate(TG_PROVIDER_ANTHROPIC, TG_STR(anthropic_stream), &openai_counted, false, "c", &out);
    tg_answer_decoder *decoder = tg_answer_decoder_new(TG_PROVIDER_OPENAI, true, doc);
    CU_ASSERT_EQUAL(tg_answer_decoder_feed(decoder, tg_buf_str(&out), print_event, &events, &err),
                    0);
    CU_ASSERT_STRING_EQUAL(events.data,
                           "start(claude-3-haiku-20240307,chatcmpl-R1) text(Hel) text(l\xC3\xB6!) "
                           "stop(1) usage(325/2048/0/0,15/0)! ");
    tg_answer_decoder_free(decoder);
    tg_buf_clear(&out);
    tg_buf_clear(&events);
    translate(TG_PROVIDER_OPENAI, TG_STR(openai_stream), &anthropic_streamed, false, "c", &out);
    decoder = tg_answer_decoder_new(TG_PROVIDER_ANTHROPIC, true, doc);
    CU_ASSERT_EQUAL(tg_answer_decoder_feed(decoder, tg_buf_str(&out), print_event, &events, &err),
                    0);
    CU_ASSERT_EQUAL(tg_answer_decoder_end(decoder, print_event, &events, &err), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(events.data, "stop(1) usage(296/1024/0/0,9/0)'"));
    tg_answer_decoder_free(decoder);
    tg_json_doc_free(doc);
    tg_buf_free(&out);
    tg_buf_free(&events);
}

static void test_broken(void)
{
    tg_client_encoder encoder;
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_client_encoder_init(&encoder, &openai_streamed, true, "R1", 1);
    CU_ASSERT_EQUAL(tg_client_encoder_broken(&encoder, "it \"broke\"", &out), 0);
    CU_ASSERT_STRING_EQUAL(
        out.data, "data: {\"error\":{\"message\":\"it \\\"broke\\\"\",\"type\":\"server_error\","
                  "\"param\":null,\"code\":null}}\n\n");
    tg_client_encoder_free(&encoder);
    tg_buf_clear(&out);
    tg_client_encoder_init(&encoder, &anthropic_streamed, false, "R1", 1);
    CU_ASSERT_EQUAL(tg_client_encoder_broken(&encoder, "gone", &out), 0);
    CU_ASSERT_STRING_EQUAL(
        out.data, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\","
                  "\"message\":\"gone\"}}\n\n");
    tg_client_encoder_free(&encoder);
    tg_buf_free(&out);
}

static void test_empty_answer(void)
{
    expect(
        TG_PROVIDER_OPENAI, TG_STR("data: [DONE]\n\n"), anthropic_streamed, NULL,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_R1\","
        "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"asked-for\",\"content\":[],"
        "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,"
        "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":0}}}\n\n"
        "event: message_delta\ndata: "
        "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
        "\"stop_sequence\":null},\"usage\":{\"input_tokens\":0,\"cache_creation_input_tokens\":0,"
        "\"cache_read_input_tokens\":0,\"output_tokens\":0}}\n\n"
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static const tg_test tests[] = {{"openai_raw", test_openai_raw},
                                {"anthropic_raw", test_anthropic_raw},
                                {"anthropic_to_openai", test_anthropic_to_openai},
                                {"openai_to_anthropic", test_openai_to_anthropic},
                                {"thinking_to_anthropic", test_thinking_to_anthropic},
                                {"bedrock_to_both", test_bedrock_to_both},
                                {"encoded_answers_decode", test_encoded_answers_decode},
                                {"broken", test_broken},
                                {"empty_answer", test_empty_answer}};
TG_TEST_MAIN("router_dialect_client", tests)
