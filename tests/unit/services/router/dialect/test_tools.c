/* Tools, calls and thoughts from each client to each upstream, and back. */
#include "tests/unit/services/router/dialect/answers.h"

#include "tests/unit/harness.h"

#include <stdio.h>

#define TOOL                                                                                       \
    "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{"   \
    "\"type\":\"object\",\"x\":[1]}}}"
#define TALK                                                                                       \
    "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"     \
    "null,\"reasoning_content\":\"hm\","                                                           \
    "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","           \
    "\"arguments\":\"{\\\"a\\\":1}\"}},"                                                           \
    "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"oops\"}}]}" \
    ","                                                                                            \
    "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"one\"},{\"role\":\"tool\",\"tool_"   \
    "call_id\":\"c2\",\"content\":\"two\"}]"
#define CALLS                                                                                      \
    "[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{"         \
    "\\\"a\\\":1}\"}},"                                                                            \
    "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"oops\"}}]"

static tg_dialect client = TG_DIALECT_OPENAI;

static void encode(const char *body, tg_provider to, bool anew, tg_buf *out)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_arena arena;
    tg_chat_request r;
    tg_error err = {""};
    tg_json root;
    const tg_upstream_ask ask = {
        .model = "m", .max_tokens_default = 9, .tenant = "t", .request_id = "r"};
    tg_arena_init(&arena, 0);
    tg_buf_init(out, 0);
    int rc = tg_dialect_decode_request(client, doc, tg_str_of(body), &arena, &err, &r);
    if (rc < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    if (anew)
        r.body = (tg_str){"", 0};
    CU_ASSERT_EQUAL_FATAL(tg_dialect_encode_upstream(to, &r, &ask, out), 0);
    if (to != TG_PROVIDER_PRIVATE)
        CU_ASSERT_EQUAL(tg_json_parse(doc, tg_buf_str(out), TG_CODEC_BODY_MAX, &err, &root), 0);
    tg_arena_free(&arena);
    tg_json_doc_free(doc);
}

static bool asks(const char *body, tg_provider to, bool anew, const char *want)
{
    tg_buf out;
    encode(body, to, anew, &out);
    const bool same = strcmp(out.data, want) == 0;
    if (!same)
        printf("#      got %s\n# expected %s\n", out.data, want);
    tg_buf_free(&out);
    return same;
}

static void test_to_openai(void)
{
    CU_ASSERT(asks("{\"model\":\"m\"," TALK ",\"tools\":[" TOOL "]}", TG_PROVIDER_OPENAI, false,
                   "{\"model\":\"m\"," TALK ",\"tools\":[" TOOL "]}"));
    CU_ASSERT(asks("{" TALK ",\"tools\":[" TOOL
                   "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
                   "\"parallel_tool_calls\":false}",
                   TG_PROVIDER_OPENAI, true,
                   "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":"
                   "\"assistant\",\"content\":null,\"tool_calls\":" CALLS "},"
                   "{\"role\":\"tool\",\"content\":\"one\",\"tool_call_id\":\"c1\"},{\"role\":"
                   "\"tool\",\"content\":\"two\",\"tool_call_id\":\"c2\"}],"
                   "\"tools\":[" TOOL "],\"tool_choice\":{\"type\":\"function\",\"function\":{"
                                      "\"name\":\"f\"}},\"parallel_tool_calls\":false}"));
}

static void test_to_anthropic(void)
{
    CU_ASSERT(asks(
        "{" TALK ",\"tools\":[" TOOL ",{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],"
                                     "\"tool_choice\":\"required\",\"parallel_tool_calls\":false}",
        TG_PROVIDER_ANTHROPIC, false,
        "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"text\",\"text\":\"q\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\","
        "\"input\":{\"a\":1}},"
        "{\"type\":\"tool_use\",\"id\":\"c2\",\"name\":\"g\",\"input\":{\"arguments\":\"oops\"}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c1\","
        "\"content\":\"one\"},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"c2\",\"content\":\"two\"}]}],"
        "\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\","
        "\"x\":[1]}},"
        "{\"name\":\"g\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}],"
        "\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true}}"));
}

static void test_to_bedrock(void)
{
    CU_ASSERT(asks(
        "{" TALK ",\"tools\":[" TOOL
        "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
        TG_PROVIDER_BEDROCK, false,
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"q\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"toolUse\":{\"toolUseId\":\"c1\",\"name\":\"f\","
        "\"input\":{\"a\":1}}},"
        "{\"toolUse\":{\"toolUseId\":\"c2\",\"name\":\"g\",\"input\":{\"arguments\":\"oops\"}}}]},"
        "{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"c1\",\"content\":[{"
        "\"text\":\"one\"}]}},"
        "{\"toolResult\":{\"toolUseId\":\"c2\",\"content\":[{\"text\":\"two\"}]}}]}],"
        "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"f\",\"description\":\"d\","
        "\"inputSchema\":{\"json\":{\"type\":\"object\",\"x\":[1]}}}}],"
        "\"toolChoice\":{\"tool\":{\"name\":\"f\"}}},\"inferenceConfig\":{}}"));
}

static void test_to_private(void)
{
    tg_buf out;
    encode("{" TALK ",\"tools\":[" TOOL "],\"tool_choice\":\"none\",\"parallel_tool_calls\":false}",
           TG_PROVIDER_PRIVATE, false, &out);
    Tollgate__V1__GenerateRequest *m =
        tollgate__v1__generate_request__unpack(NULL, out.len, (const uint8_t *)out.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_STRING_EQUAL(m->tools_json, "[" TOOL "]");
    CU_ASSERT_STRING_EQUAL(m->tool_choice, "none");
    CU_ASSERT(m->one_tool_call);
    CU_ASSERT_EQUAL_FATAL(m->messages->n_messages, 4);
    CU_ASSERT_STRING_EQUAL(m->messages->messages[1]->tool_calls_json, CALLS);
    CU_ASSERT_STRING_EQUAL(m->messages->messages[1]->reasoning, "hm");
    CU_ASSERT_STRING_EQUAL(m->messages->messages[3]->role, "tool");
    CU_ASSERT_STRING_EQUAL(m->messages->messages[3]->tool_call_id, "c2");
    CU_ASSERT_STRING_EQUAL(m->messages->messages[3]->content, "two");
    tollgate__v1__generate_request__free_unpacked(m, NULL);
    tg_buf_free(&out);
}

/* ---- answers ---- */

typedef struct sink {
    tg_client_encoder encoder;
    tg_buf events, client;
} sink;

static void on_event(void *user, const tg_chat_event *e)
{
    sink *s = user;
    tg_chat_event shown = *e;
    shown.raw_shared = false;
    if (e->type != TG_CHAT_START && e->type != TG_CHAT_USAGE && e->type != TG_CHAT_OTHER)
        print_event(&s->events, &shown);
    CU_ASSERT_EQUAL(tg_client_encoder_event(&s->encoder, e, &s->client), 0);
}

/* The events of an answer, as print_event writes them, and what an OpenAI client gets of it. */
static void answer(tg_provider from, bool stream, const tg_str *bytes, size_t count, sink *s)
{
    const tg_chat_request request = {.dialect = client, .stream = stream};
    const tg_tokens tokens = {0};
    tg_json_doc *doc = tg_json_doc_new();
    tg_answer_decoder *decoder = tg_answer_decoder_new(from, stream, doc);
    tg_error err = {""};
    tg_buf_init(&s->events, 0);
    tg_buf_init(&s->client, 0);
    tg_client_encoder_init(&s->encoder, &request, false, "R", 1);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL(tg_answer_decoder_feed(decoder, bytes[i], on_event, s, &err), 0);
    CU_ASSERT_EQUAL(tg_answer_decoder_end(decoder, on_event, s, &err), 0);
    CU_ASSERT_EQUAL(tg_client_encoder_end(&s->encoder, &tokens, NULL, &s->client), 0);
    tg_client_encoder_free(&s->encoder);
    tg_answer_decoder_free(decoder);
    tg_json_doc_free(doc);
}

static bool says(tg_provider from, bool stream, const tg_str *bytes, size_t count,
                 const char *events, const char *const *shown)
{
    sink s;
    answer(from, stream, bytes, count, &s);
    bool same = strcmp(s.events.data, events) == 0;
    for (const char *at = s.client.data; *shown && same; shown++) {
        at = strstr(at, *shown);
        same = at != NULL;
    }
    if (!same)
        printf("#      got %s\n# expected %s\n#   client %s\n# lacking %s\n", s.events.data, events,
               s.client.data, *shown ? *shown : "");
    tg_buf_free(&s.events);
    tg_buf_free(&s.client);
    return same;
}

static const char *const streamed[] = {
    "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}",
    "\"delta\":{\"reasoning_content\":\"hm\"}",
    "\"delta\":{\"content\":\"See: \"}",
    "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":{"
    "\"name\":\"f\",\"arguments\":\"\"}}]}",
    "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]}",
    "{\"arguments\":\"1}\"}",
    "\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"c2\",",
    "\"index\":1,\"function\":{\"arguments\":\"{}\"}",
    "\"finish_reason\":\"tool_calls\"",
    "data: [DONE]",
    NULL};
static const char *const whole[] = {
    "\"message\":{\"role\":\"assistant\",\"content\":\"See: "
    "\",\"refusal\":null,\"reasoning_content\":\"hm\",\"tool_calls\":[{\"id\":\"c1\",\"type\":"
    "\"function\","
    "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"c2\",\"type\":"
    "\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}",
    "\"finish_reason\":\"tool_calls\"", NULL};
static const char pieces[] = "reasoning(hm) text(See: ) call0(c1,f) arguments0({\"a\":) "
                             "arguments0(1}) call1(c2,g) arguments1({}) stop(5) ";
static const char plain[] = "reasoning(hm) text(See: ) call0(c1,f) arguments0({\"a\":1}) "
                            "call1(c2,g) arguments1({}) stop(5) ";

static void test_from_openai(void)
{
#define DELTA(delta, finish)                                                                       \
    "data: {\"choices\":[{\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"
    const tg_str stream = TG_STR(
        DELTA("{\"role\":\"assistant\",\"reasoning_content\":\"hm\"}", "null") DELTA(
            "{\"content\":\"See: \"}",
            "null") DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\","
                          "\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}",
                          "null")
            DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]}",
                  "null")
                DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}",
                      "null") DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"c2\",\"function\":{"
                                    "\"name\":\"g\",\"arguments\":\"{}\"}}]}",
                                    "null") DELTA("{}", "\"tool_calls\"") "data: [DONE]\n\n");
    const tg_str body =
        TG_STR("{\"choices\":[{\"message\":{\"content\":\"See: "
               "\",\"reasoning_content\":\"hm\",\"tool_calls\":"
               "[{\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{"
               "\"id\":\"c2\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
               "\"finish_reason\":\"tool_calls\"}]}");
    CU_ASSERT(says(TG_PROVIDER_OPENAI, true, &stream, 1, pieces, streamed));
    CU_ASSERT(says(TG_PROVIDER_OPENAI, false, &body, 1, plain, whole));
}

static void test_from_anthropic(void)
{
#define EVENT(data) "data: " data "\n\n"
    const tg_str stream = TG_STR(
        EVENT("{\"type\":\"message_start\",\"message\":{}}")
            EVENT("{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"thinking\","
                  "\"thinking\":\"\"}}") EVENT("{\"type\":\"content_block_delta\",\"delta\":{"
                                               "\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}")
                EVENT("{\"type\":\"content_block_stop\"}")
                    EVENT("{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\","
                          "\"text\":\"\"}}") EVENT("{\"type\":\"content_block_delta\",\"delta\":{"
                                                   "\"type\":\"text_delta\",\"text\":\"See: \"}}")
                        EVENT("{\"type\":\"content_block_stop\"}") EVENT(
                            "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_"
                            "use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{}}}")
                            EVENT("{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_"
                                  "json_delta\",\"partial_json\":\"{\\\"a\\\":\"}}") EVENT(
                                "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_"
                                "json_delta\",\"partial_json\":\"1}\"}}")
                                EVENT("{\"type\":\"content_block_stop\"}") EVENT(
                                    "{\"type\":\"content_block_start\",\"content_block\":{\"type\":"
                                    "\"tool_use\",\"id\":\"c2\",\"name\":\"g\",\"input\":{}}}")
                                    EVENT("{\"type\":\"content_block_stop\"}")
                                        EVENT("{\"type\":\"message_delta\",\"delta\":{\"stop_"
                                              "reason\":\"tool_use\"}}")
                                            EVENT("{\"type\":\"message_stop\"}"));
    const tg_str body = TG_STR(
        "{\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\"},{\"type\":\"text\",\"text\":"
        "\"See: \"},"
        "{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{\"a\":1}},{\"type\":\"tool_"
        "use\",\"id\":\"c2\",\"name\":\"g\",\"input\":{}}],\"stop_reason\":\"tool_use\"}");
    CU_ASSERT(says(TG_PROVIDER_ANTHROPIC, true, &stream, 1, pieces, streamed));
    CU_ASSERT(says(TG_PROVIDER_ANTHROPIC, false, &body, 1, plain, whole));
}

static void test_from_bedrock(void)
{
    const tg_str body = TG_STR(
        "{\"output\":{\"message\":{\"content\":[{\"reasoningContent\":{\"reasoningText\":{\"text\":"
        "\"hm\"}}},{\"text\":\"See: \"},"
        "{\"toolUse\":{\"toolUseId\":\"c1\",\"name\":\"f\",\"input\":{\"a\":1}}},{\"toolUse\":{"
        "\"toolUseId\":\"c2\",\"name\":\"g\",\"input\":{}}}]}},\"stopReason\":\"tool_use\"}");
    CU_ASSERT(says(TG_PROVIDER_BEDROCK, false, &body, 1, plain, whole));
}

static tg_str packed(Tollgate__V1__GenerateEvent *event, uint8_t *to)
{
    return (tg_str){(char *)to, tollgate__v1__generate_event__pack(event, to)};
}

static void test_from_private(void)
{
    static uint8_t bytes[7][128];
    tg_str events[7];
    for (size_t i = 0; i < 7; i++) {
        Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
        Tollgate__V1__GenerateDelta delta = TOLLGATE__V1__GENERATE_DELTA__INIT;
        Tollgate__V1__GenerateEnd end = TOLLGATE__V1__GENERATE_END__INIT;
        Tollgate__V1__ToolCallDelta call = TOLLGATE__V1__TOOL_CALL_DELTA__INIT, *calls = &call;
        static const char *const arguments[] = {"", "", "", "{\"a\":", "1}", "{}"};
        event.event_case = i < 6 ? TOLLGATE__V1__GENERATE_EVENT__EVENT_DELTA
                                 : TOLLGATE__V1__GENERATE_EVENT__EVENT_END;
        delta.reasoning = i == 0 ? (char *)"hm" : delta.reasoning;
        delta.text = i == 1 ? (char *)"See: " : delta.text;
        delta.tool_calls = &calls;
        delta.n_tool_calls = i >= 2;
        call.id = (char *)(i == 2 ? "c1" : i == 5 ? "c2" : "");
        call.name = (char *)(i == 2 ? "f" : i == 5 ? "g" : "");
        call.arguments = (char *)(i < 6 ? arguments[i] : "");
        end.finish = TOLLGATE__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS;
        if (i < 6)
            event.delta = &delta;
        else
            event.end = &end;
        events[i] = packed(&event, bytes[i]);
    }
    CU_ASSERT(says(TG_PROVIDER_PRIVATE, true, events, 7, pieces, streamed));
    CU_ASSERT(says(TG_PROVIDER_PRIVATE, false, events, 7, pieces, whole));
}

/* Anthropic's clients: the same conversation in their words, and the answers of another kind of
 * target in theirs. */
static void test_anthropic_clients(void)
{
    static const char body[] =
        "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{"
        "\"role\":\"assistant\",\"content\":["
        "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},{\"type\":\"text\","
        "\"text\":\"See: \"},"
        "{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{\"a\":1}},{\"type\":\"tool_"
        "use\",\"id\":\"c2\",\"name\":\"g\"}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c1\","
        "\"content\":[{\"type\":\"text\",\"text\":\"one\"}]},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"c2\"},{\"type\":\"text\",\"text\":\"and?\"}]}]"
        ","
        "\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\","
        "\"x\":[1]}}],\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true}}";
    static const char *const stream[] = {
        "content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\"",
        "\"text_delta\",\"text\":\"See: \"",
        "content_block_stop\",\"index\":0",
        "content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c1\","
        "\"name\":\"f\",\"input\":{}}",
        "\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"}",
        "content_block_stop\",\"index\":1",
        "content_block_start\",\"index\":2,",
        "\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}",
        "content_block_stop\",\"index\":2",
        "\"stop_reason\":\"tool_use\"",
        "message_stop",
        NULL};
    static const char *const plainly[] = {
        "\"content\":[{\"type\":\"text\",\"text\":\"See: "
        "\"},{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{\"a\":1}},"
        "{\"type\":\"tool_use\",\"id\":\"c2\",\"name\":\"g\",\"input\":{\"arguments\":\"oops\"}}],"
        "\"stop_reason\":\"tool_use\"",
        NULL};
    const tg_str chunks =
        TG_STR(DELTA("{\"reasoning_content\":\"hm\",\"content\":\"See: \"}", "null") DELTA(
            "{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"f\","
            "\"arguments\":\"{\\\"a\\\":\"}}]}",
            "null") DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}",
                          "null") DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"c2\",\"function\":{"
                                        "\"name\":\"g\",\"arguments\":\"{}\"}}]}",
                                        "\"tool_calls\"") "data: [DONE]\n\n");
    const tg_str whole_answer =
        TG_STR("{\"choices\":[{\"message\":{\"content\":\"See: "
               "\",\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"f\","
               "\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"c2\",\"function\":{\"name\":\"g\","
               "\"arguments\":\"oops\"}}]},\"finish_reason\":\"tool_calls\"}]}");
    client = TG_DIALECT_ANTHROPIC;
    CU_ASSERT(asks(body, TG_PROVIDER_OPENAI, false,
                   "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":"
                   "\"assistant\",\"content\":\"See: \",\"tool_calls\":"
                   "[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                   "\"arguments\":\"{\\\"a\\\":1}\"}},"
                   "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\","
                   "\"arguments\":\"{}\"}}]},"
                   "{\"role\":\"tool\",\"content\":\"one\",\"tool_call_id\":\"c1\"},{\"role\":"
                   "\"tool\",\"content\":\"\",\"tool_call_id\":\"c2\"},"
                   "{\"role\":\"user\",\"content\":\"and?\"}],\"tools\":[" TOOL
                   "],\"tool_choice\":\"required\",\"parallel_tool_calls\":false}"));
    CU_ASSERT(says(TG_PROVIDER_OPENAI, true, &chunks, 1,
                   "reasoning(hm) text(See: ) call0(c1,f) arguments0({\"a\":) arguments0(1}) "
                   "call1(c2,g) arguments1({}) stop(5) ",
                   stream));
    CU_ASSERT(
        says(TG_PROVIDER_OPENAI, false, &whole_answer, 1,
             "text(See: ) call0(c1,f) arguments0({\"a\":1}) call1(c2,g) arguments1(oops) stop(5) ",
             plainly));
    client = TG_DIALECT_OPENAI;
}

/* Thinking that Anthropic did not sign would be refused there: it stays behind, and with it the
 * client's own words. */
static void test_thinking_of_others(void)
{
#define THOUGHT(signature)                                                                         \
    "{\"max_tokens\":9,\"thinking\":{\"type\":\"adaptive\"},\"messages\":[{\"role\":\"user\","     \
    "\"content\":\"q\"},"                                                                          \
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\"" signature    \
    "},{\"type\":\"text\",\"text\":\"So\"}]},"                                                     \
    "{\"role\":\"user\",\"content\":\"and?\"}],\"model\":\"m\"}"
    static const char anew[] =
        "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"text\",\"text\":\"q\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"So\"}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"and?\"}]}]}";
    client = TG_DIALECT_ANTHROPIC;
    CU_ASSERT(asks(THOUGHT(",\"signature\":\"s\""), TG_PROVIDER_ANTHROPIC, false,
                   THOUGHT(",\"signature\":\"s\"")));
    CU_ASSERT(asks(THOUGHT(",\"signature\":\"\""), TG_PROVIDER_ANTHROPIC, false, anew));
    CU_ASSERT(asks(THOUGHT(""), TG_PROVIDER_ANTHROPIC, false, anew));
    client = TG_DIALECT_OPENAI;
}

/* Calls alone: content is null, as OpenAI has it. */
static void test_calls_alone(void)
{
    static const char *const shown[] = {"\"content\":null,\"refusal\":null,\"tool_calls\":[{",
                                        NULL};
    const tg_str body = TG_STR("{\"content\":[{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\","
                               "\"input\":{\"s\":\"\\\"\\u00e9\"}}],\"stop_reason\":\"tool_use\"}");
    CU_ASSERT(says(TG_PROVIDER_ANTHROPIC, false, &body, 1,
                   "call0(c,f) arguments0({\"s\":\"\\\"é\"}) stop(5) ", shown));
}

static const tg_test tests[] = {{"to_openai", test_to_openai},
                                {"to_anthropic", test_to_anthropic},
                                {"to_bedrock", test_to_bedrock},
                                {"to_private", test_to_private},
                                {"from_openai", test_from_openai},
                                {"from_anthropic", test_from_anthropic},
                                {"from_bedrock", test_from_bedrock},
                                {"from_private", test_from_private},
                                {"calls_alone", test_calls_alone},
                                {"anthropic_clients", test_anthropic_clients},
                                {"thinking_of_others", test_thinking_of_others}};
TG_TEST_MAIN("services_router_dialect_tools", tests)
