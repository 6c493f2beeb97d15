/* Client requests: what is read, what is refused, and in which words. */
#include "services/router/dialect/codec.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int decode(tg_dialect dialect, const char *body, tg_arena *arena, tg_error *err,
                  tg_chat_request *ret)
{
    tg_json_doc *doc = tg_json_doc_new();
    int rc = tg_dialect_decode_request(dialect, doc, tg_str_of(body), arena, err, ret);
    tg_json_doc_free(doc); /* everything the request holds is its own */
    return rc;
}

static void test_openai(void)
{
    static const char body[] =
        "{\"model\":\"auto\",\"messages\":[{\"role\":\"developer\",\"content\":\"Be brief.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi \\ud83d\\ude00\"},"
        "{\"type\":\"text\",\"text\":\"there\"}],\"name\":\"ann\"},"
        "{\"role\":\"assistant\",\"content\":\"Yes?\",\"tool_calls\":null}],"
        "\"max_completion_tokens\":77,\"temperature\":1.5,\"top_p\":0.9,\"seed\":-5,\"stop\":"
        "\"END\","
        "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":1,\"logprobs\":false,"
        "\"response_format\":{\"type\":\"text\"},\"tools\":[],\"user\":\"u-1\",\"store\":false}";
    tg_arena arena;
    tg_chat_request r;
    tg_error err = {""};
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL_FATAL(decode(TG_DIALECT_OPENAI, body, &arena, &err, &r), 0);
    CU_ASSERT_TRUE(tg_str_is(r.model, "auto"));
    CU_ASSERT_EQUAL_FATAL(r.message_count, 3);
    CU_ASSERT_EQUAL(r.messages[0].role, TG_ROLE_SYSTEM);
    CU_ASSERT_TRUE(tg_str_is(r.messages[1].text, "Hi \xF0\x9F\x98\x80\nthere"));
    CU_ASSERT_EQUAL(r.messages[2].role, TG_ROLE_ASSISTANT);
    CU_ASSERT_EQUAL(r.max_tokens, 77);
    CU_ASSERT_TRUE(r.has_temperature && r.temperature == 1.5);
    CU_ASSERT_TRUE(r.has_top_p && r.top_p == 0.9);
    CU_ASSERT_TRUE(r.has_seed && (int64_t)r.seed == -5);
    CU_ASSERT_EQUAL(r.stop_count, 1);
    CU_ASSERT_TRUE(tg_str_is(r.stops[0], "END"));
    CU_ASSERT_TRUE(r.stream && r.include_usage);
    CU_ASSERT_EQUAL(r.text_bytes, 9 + 13 + 4);
    CU_ASSERT_TRUE(tg_chat_input_bound(&r) > r.text_bytes);
    CU_ASSERT_PTR_EQUAL(r.body.data, body);
    tg_arena_free(&arena);
}

static void test_anthropic(void)
{
    tg_arena arena;
    tg_chat_request r;
    tg_error err = {""};
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL_FATAL(
        decode(TG_DIALECT_ANTHROPIC,
               "{\"max_tokens\":1024,\"system\":[{\"type\":\"text\",\"text\":\"Be kind.\","
               "\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"user\","
               "\"content\":[{\"type\":\"text\",\"text\":\"Hello\"}]}],\"stop_sequences\":[\"A\","
               "\"B\"],"
               "\"top_k\":40,\"temperature\":1,\"metadata\":{\"user_id\":\"x\"},"
               "\"thinking\":{\"type\":\"disabled\"}}",
               &arena, &err, &r),
        0);
    CU_ASSERT_EQUAL(r.model.len, 0);
    CU_ASSERT_EQUAL_FATAL(r.message_count, 2);
    CU_ASSERT_EQUAL(r.messages[0].role, TG_ROLE_SYSTEM);
    CU_ASSERT_TRUE(tg_str_is(r.messages[0].text, "Be kind."));
    CU_ASSERT_TRUE(tg_str_is(r.messages[1].text, "Hello"));
    CU_ASSERT_EQUAL(r.max_tokens, 1024);
    CU_ASSERT_EQUAL(r.top_k, 40);
    CU_ASSERT_EQUAL(r.stop_count, 2);
    CU_ASSERT_FALSE(r.stream);
    tg_arena_free(&arena);
}

typedef struct refusal {
    const char *body, *reason;
} refusal;

static void expect_refusals(tg_dialect dialect, const refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tg_arena arena;
        tg_chat_request r;
        tg_error err = {""};
        tg_arena_init(&arena, 0);
        int rc = decode(dialect, cases[i].body, &arena, &err, &r);
        if (rc != -EINVAL || !strstr(err.text, cases[i].reason)) {
            printf("# %s\n# rc %d, got '%s', expected '%s'\n", cases[i].body, rc, err.text,
                   cases[i].reason);
            CU_FAIL("a refusal is missing or worded otherwise");
        }
        tg_arena_free(&arena);
    }
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void test_openai_refusals(void)
{
    static const refusal cases[] = {
        {"", "the body is not valid JSON"},
        {"{\"messages\":", "the body is not valid JSON: line 1, column"},
        {"[]", "the body must be a JSON object"},
        {"{}", "`messages` must be an array of at least one message"},
        {"{\"messages\":[]}", "`messages` must be an array"},
        {"{" HI ",\"model\":\"a\",\"model\":\"b\"}", "already given"},
        {"{\"messages\":[\"hi\"]}", "messages[0]: each message must be an object"},
        {"{\"messages\":[{\"content\":\"hi\"}]}", "messages[0]: `role` must be a string"},
        {"{\"messages\":[{\"role\":\"boss\",\"content\":\"hi\"}]}",
         "must be one of system, developer, user"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"hi\"}]}",
         "messages[0]: `tool_call_id` must be a non-empty string"},
        {"{\"messages\":[{\"role\":\"function\",\"content\":\"hi\"}]}",
         "role function is not supported"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}",
         "`content` must be a string or an array"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}",
         "messages[0]: `content[1]` of type image_url is not supported by this gateway version"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]}",
         "input_audio"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[7]}]}", "`content[0]` must be an object"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
         "`content[0].text`"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}]}",
         "messages[0]: `tool_calls[0].id` must be a non-empty string"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"function\":{"
         "\"name\":\"f\",\"arguments\":{}}}]}]}",
         "messages[0]: `tool_calls[0].function.arguments` must be a string"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[]}]}",
         "`content` must be a string or an array"},
        {"{" HI ",\"tools\":{}}", "`tools` must be an array of at most 128 tools"},
        {"{" HI ",\"tools\":[{\"type\":\"custom\"}]}", "`tools[0].type` must be \"function\""},
        {"{" HI ",\"tools\":[{\"type\":\"function\"}]}", "`tools[0].function` must be an object"},
        {"{" HI ",\"tools\":[{\"type\":\"function\",\"function\":{}}]}",
         "`tools[0].function.name` must be"},
        {"{" HI
         ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":[]}}]}",
         "`tools[0].function.parameters` must be an object"},
        {"{" HI ",\"tool_choice\":\"maybe\"}", "`tool_choice` must be auto, none, required or"},
        {"{" HI ",\"tool_choice\":\"required\"}", "there are no `tools`"},
        {"{" HI ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
         "names a tool that is not among"},
        {"{" HI ",\"parallel_tool_calls\":1}", "`parallel_tool_calls` must be true or false"},
        {"{" HI ",\"functions\":[{}]}", "`functions` is not supported"},
        {"{" HI ",\"reasoning_effort\":\"low\"}", "`reasoning_effort` is not supported"},
        {"{" HI ",\"reasoning\":{\"effort\":\"low\"}}", "`reasoning` is not supported"},
        {"{" HI ",\"n\":2}", "`n` above 1 is not supported"},
        {"{" HI ",\"n\":0}", "`n` must be a positive integer"},
        {"{" HI ",\"logprobs\":true}", "`logprobs` is not supported"},
        {"{" HI ",\"top_logprobs\":2}", "`top_logprobs` is not supported"},
        {"{" HI ",\"response_format\":{\"type\":\"xml\"}}",
         "`response_format` must be of type text, json_object or json_schema"},
        {"{" HI ",\"response_format\":\"json_object\"}",
         "`response_format` must be an object with a `type`"},
        {"{" HI ",\"response_format\":{\"type\":\"json_schema\",\"schema\":{}}}",
         "`response_format` must hold a `schema`, an object"},
        {"{" HI ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":[]}}}",
         "`response_format` must hold a `schema`, an object"},
        {"{" HI ",\"modalities\":[\"text\",\"audio\"]}", "`modalities` other than text"},
        {"{" HI ",\"service_tier\":\"flex\"}", "`service_tier` other than auto and default"},
        {"{" HI ",\"model\":7}", "`model` must be a string"},
        {"{" HI ",\"stream\":1}", "`stream` must be true or false"},
        {"{" HI ",\"stream_options\":{\"include_usage\":true}}",
         "only allowed with `stream`: true"},
        {"{" HI ",\"stream\":true,\"stream_options\":[]}", "`stream_options` must be an object"},
        {"{" HI ",\"max_tokens\":0}", "`max_tokens` must be an integer from 1 to 4294967295"},
        {"{" HI ",\"max_tokens\":1.5}", "`max_tokens` must be an integer"},
        {"{" HI ",\"max_tokens\":5,\"max_completion_tokens\":5}", "cannot both be given"},
        {"{" HI ",\"temperature\":2.1}", "`temperature` must be a number from 0 to 2"},
        {"{" HI ",\"temperature\":\"hot\"}", "`temperature` must be a number"},
        {"{" HI ",\"top_p\":-1}", "`top_p` must be a number from 0 to 1"},
        {"{" HI ",\"seed\":0.5}", "`seed` must be an integer"},
        {"{" HI ",\"stop\":7}", "`stop` must be a string or an array of strings"},
        {"{" HI ",\"stop\":[\"\"]}", "`stop` must hold non-empty strings"},
        {"{" HI ",\"stop\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "at most 16"},
    };
    expect_refusals(TG_DIALECT_OPENAI, cases, sizeof cases / sizeof *cases);
}

static void test_anthropic_refusals(void)
{
    static const refusal cases[] = {
        {"{" HI "}", "`max_tokens` is required"},
        {"{" HI ",\"max_tokens\":5,\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"x\"}]}",
         "`tools[0]` of type web_search_20250305"},
        {"{" HI ",\"max_tokens\":5,\"tools\":[{}]}", "`tools[0].name` must be a non-empty string"},
        {"{" HI ",\"max_tokens\":5,\"tools\":[{\"name\":\"x\",\"input_schema\":7}]}",
         "`tools[0].input_schema` must be an object"},
        {"{" HI ",\"max_tokens\":5,\"tool_choice\":{\"type\":\"some\"}}",
         "`tool_choice.type` must be auto, any, tool or none"},
        {"{" HI ",\"max_tokens\":5,\"tool_choice\":{\"type\":\"tool\",\"name\":\"x\"}}",
         "names a tool that is not among `tools`"},
        {"{" HI ",\"max_tokens\":5,\"thinking\":{\"type\":\"always\"}}",
         "`thinking` must be of type enabled, adaptive, between_tools or disabled"},
        {"{" HI ",\"max_tokens\":5,\"thinking\":7}", "`thinking` must be of type enabled"},
        {"{" HI ",\"max_tokens\":5,\"temperature\":1.1}",
         "`temperature` must be a number from 0 to 1"},
        {"{" HI ",\"max_tokens\":5,\"top_k\":-1}", "`top_k` must be a non-negative integer"},
        {"{" HI ",\"max_tokens\":5,\"system\":7}",
         "`system` must be a string or an array of text parts"},
        {"{" HI ",\"max_tokens\":5,\"mcp_servers\":[{}]}", "`mcp_servers` is not supported"},
        {"{\"max_tokens\":5,\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}",
         "messages[0]: `role` must be user or assistant; instructions go into `system`"},
        {"{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}",
         "messages[0]: `content[0]` of type image is not supported"},
        {"{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_"
         "result\"}]}]}",
         "messages[0]: `content[0].tool_use_id` must be a non-empty string"},
        {"{\"max_tokens\":5,\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_"
         "result\"}]}]}",
         "`content[0]` of type tool_result: only in a user's message"},
        {"{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_use\"}]}"
         "]}",
         "`content[0]` of type tool_use: only in an assistant's message"},
        {"{\"max_tokens\":5,\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_"
         "use\",\"id\":\"1\",\"name\":\"f\",\"input\":7}]}]}",
         "`content[0].input` must be an object"},
    };
    expect_refusals(TG_DIALECT_ANTHROPIC, cases, sizeof cases / sizeof *cases);
}

static const tg_test tests[] = {{"openai", test_openai},
                                {"anthropic", test_anthropic},
                                {"openai_refusals", test_openai_refusals},
                                {"anthropic_refusals", test_anthropic_refusals}};
TG_TEST_MAIN("router_dialect_request", tests)
