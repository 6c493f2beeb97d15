/* Upstream requests: kept verbatim within a dialect, written anew across two. */
#include "services/router/dialect/codec.h"
#include "tests/unit/harness.h"
#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static tg_arena arena;

static int encode(tg_dialect from, const char *client, tg_provider to, uint64_t max_tokens,
                  tg_buf *out)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_chat_request r;
    tg_error err = {""};
    int rc = tg_dialect_decode_request(from, doc, tg_str_of(client), &arena, &err, &r);
    if (rc < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    tg_upstream_ask ask = {.model = "model-1",
                           .max_tokens = max_tokens,
                           .max_tokens_default = 4096,
                           .stream = r.stream,
                           .tenant = "acme",
                           .request_id = "r-1",
                           .attempt = 2};
    rc = tg_dialect_encode_upstream(to, &r, &ask, out);
    if (rc == 0 && to != TG_PROVIDER_PRIVATE) { /* whatever is sent is JSON */
        tg_json root;
        CU_ASSERT_EQUAL(tg_json_parse(doc, tg_buf_str(out), TG_CODEC_BODY_MAX, &err, &root), 0);
    }
    tg_json_doc_free(doc);
    return rc;
}

static void expect(tg_dialect from, const char *client, tg_provider to, uint64_t max_tokens,
                   const char *upstream)
{
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL_FATAL(encode(from, client, to, max_tokens, &out), 0);
    if (strcmp(out.data, upstream) != 0)
        printf("#   client %s\n#      got %s\n# expected %s\n", client, out.data, upstream);
    CU_ASSERT_STRING_EQUAL(out.data, upstream);
    tg_buf_free(&out);
    tg_arena_free(&arena);
}

static void test_openai_verbatim(void)
{
    /* Order, spaces, number forms and unknown members stay. */
    expect(
        TG_DIALECT_OPENAI,
        " { \"temperature\" : 1.0e0, \"model\":\"auto\" , \"x_new\": [1, {\"a\" : \"\\u00e9\"}],\n"
        "  \"messages\":[{\"role\":\"user\",\"content\":\"hi\",\"name\":\"ann\"}]  } ",
        TG_PROVIDER_OPENAI, 0,
        " { \"temperature\" : 1.0e0, \"model\":\"model-1\" , \"x_new\": [1, {\"a\" : "
        "\"\\u00e9\"}],\n"
        "  \"messages\":[{\"role\":\"user\",\"content\":\"hi\",\"name\":\"ann\"}]  }");
    /* What is missing is added at the end; the maximum goes where the client put it. */
    expect(
        TG_DIALECT_OPENAI,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":900,\"stream\":"
        "true}",
        TG_PROVIDER_OPENAI, 50,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":50,\"stream\":true,"
        "\"model\":\"model-1\",\"stream_options\":{\"include_usage\":true}}");
    expect(TG_DIALECT_OPENAI,
           "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
           "\"max_completion_tokens\":900,\"stream\":true,"
           "\"stream_options\":{\"include_usage\":false, \"include_obfuscation\" : false}}",
           TG_PROVIDER_OPENAI, 900,
           "{\"model\":\"model-1\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
           "\"max_completion_tokens\":900,\"stream\":true,"
           "\"stream_options\":{\"include_obfuscation\":false,\"include_usage\":true}}");
    expect(TG_DIALECT_OPENAI, /* an escaped key is the key all the same */
           "{\"mod\\u0065l\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
           "\"stream\":null}",
           TG_PROVIDER_OPENAI, 0,
           "{\"mod\\u0065l\":\"model-1\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
           "\"stream\":false}");
}

/* A maximum that a cap sets must hold, whichever of the two names the client mentions. */
static void test_openai_clamp(void)
{
    expect(TG_DIALECT_OPENAI,
           "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
           TG_PROVIDER_OPENAI, 7,
           "{\"model\":\"model-1\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
           "\"max_completion_tokens\":7}");
    expect(TG_DIALECT_OPENAI,
           "{\"model\":\"m\",\"max_tokens\":null,\"max_completion_tokens\":null,"
           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
           TG_PROVIDER_OPENAI, 7,
           "{\"model\":\"model-1\",\"max_tokens\":null,\"max_completion_tokens\":7,"
           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    expect(TG_DIALECT_OPENAI,
           "{\"model\":\"m\",\"max_completion_tokens\":null,\"max_tokens\":9,"
           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
           TG_PROVIDER_OPENAI, 7,
           "{\"model\":\"model-1\",\"max_completion_tokens\":null,\"max_tokens\":7,"
           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
}

static void test_anthropic_verbatim(void)
{
    expect(TG_DIALECT_ANTHROPIC,
           "{\"model\":\"auto\",\"max_tokens\":100,\"system\":[{\"type\":\"text\",\"text\":\"s\","
           "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}}],"
           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
           TG_PROVIDER_ANTHROPIC, 40,
           "{\"model\":\"model-1\",\"max_tokens\":40,\"system\":[{\"type\":\"text\",\"text\":\"s\","
           "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}}],"
           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
}

#define TALK                                                                                       \
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},"                              \
    "{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"user\",\"content\":\"two\"},"             \
    "{\"role\":\"assistant\",\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"three\"},"    \
    "{\"role\":\"developer\",\"content\":\"Be "                                                    \
    "kind.\"},{\"role\":\"user\",\"content\":\"\\\"4\\\"\"}],"                                     \
    "\"temperature\":1.7,\"top_p\":0.5,\"seed\":9,\"stop\":[\"A\",\"B\"],\"stream\":true}"

static void test_openai_to_anthropic(void)
{
    expect(TG_DIALECT_OPENAI, TALK, TG_PROVIDER_ANTHROPIC, 0,
           "{\"model\":\"model-1\",\"max_tokens\":4096,"
           "\"system\":[{\"type\":\"text\",\"text\":\"Be "
           "brief.\"},{\"type\":\"text\",\"text\":\"Be kind.\"}],"
           "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
           "{\"type\":\"text\",\"text\":\"two\"}]},"
           "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"three\"}]},"
           "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\\"4\\\"\"}]}],"
           "\"temperature\":1,\"top_p\":0.5,\"stop_sequences\":[\"A\",\"B\"],\"stream\":true}");
    expect(TG_DIALECT_OPENAI, "{\"messages\":[{\"role\":\"system\",\"content\":\"Say hi.\"}]}",
           TG_PROVIDER_ANTHROPIC, 9,
           "{\"model\":\"model-1\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\","
           "\"content\":[{\"type\":\"text\",\"text\":\"Say hi.\"}]}]}");
}

static void test_openai_to_bedrock(void)
{
    expect(TG_DIALECT_OPENAI, TALK, TG_PROVIDER_BEDROCK, 12,
           "{\"system\":[{\"text\":\"Be brief.\"},{\"text\":\"Be kind.\"}],"
           "\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"one\"},{\"text\":\"two\"}]},"
           "{\"role\":\"assistant\",\"content\":[{\"text\":\"three\"}]},"
           "{\"role\":\"user\",\"content\":[{\"text\":\"\\\"4\\\"\"}]}],"
           "\"inferenceConfig\":{\"maxTokens\":12,\"temperature\":1,\"topP\":0.5,"
           "\"stopSequences\":[\"A\",\"B\"]}}");
}

static void test_anthropic_to_openai(void)
{
    expect(
        TG_DIALECT_ANTHROPIC,
        "{\"max_tokens\":30,\"system\":\"Be "
        "kind.\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
        "\"top_k\":5,\"temperature\":0.25,\"stop_sequences\":[\"Z\"],\"stream\":true}",
        TG_PROVIDER_OPENAI, 30,
        "{\"model\":\"model-1\",\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},"
        "{\"role\":\"user\",\"content\":\"hi\"}],\"max_completion_tokens\":30,\"temperature\":0.25,"
        "\"stop\":[\"Z\"],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
}

#define SCHEMA "{ \"type\":\"object\", \"x\": 1.0e0}"
#define FORMED                                                                                     \
    " {\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"response_format\": "                \
    "{\"type\":\"json_schema\","                                                                   \
    " \"json_\\u0073chema\" : {\"name\":\"it\",\"strict\":true, \"schema\": " SCHEMA " }}}"
#define HI_BLOCK                                                                                   \
    "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]"

/* The schema goes everywhere as the client wrote it. */
static void test_forms(void)
{
    static const char *const anthropic =
        "{\"max_tokens\":30,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
        "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":" SCHEMA "}}}";
    tg_buf out;
    expect(TG_DIALECT_OPENAI, FORMED, TG_PROVIDER_ANTHROPIC, 9,
           "{\"model\":\"model-1\",\"max_tokens\":9," HI_BLOCK
           ",\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":" SCHEMA "}}}");
    expect(TG_DIALECT_OPENAI, FORMED, TG_PROVIDER_BEDROCK, 9,
           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],"
           "\"inferenceConfig\":{\"maxTokens\":9},"
           "\"outputConfig\":{\"textFormat\":{\"type\":\"json_schema\",\"structure\":{"
           "\"jsonSchema\":{\"schema\":"
           "\"{ \\\"type\\\":\\\"object\\\", \\\"x\\\": 1.0e0}\",\"name\":\"it\"}}}}}");
    expect(TG_DIALECT_ANTHROPIC, anthropic, TG_PROVIDER_OPENAI, 30,
           "{\"model\":\"model-1\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_"
           "completion_tokens\":30,"
           "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\","
           "\"schema\":" SCHEMA "}}}");
    for (int i = 0; i < 3; i++) {
        tg_buf_init(&out, 0);
        tg_arena_init(&arena, 0);
        CU_ASSERT_EQUAL_FATAL(encode(i == 1 ? TG_DIALECT_ANTHROPIC : TG_DIALECT_OPENAI,
                                     i == 0 ? FORMED
                                     : i == 1
                                         ? anthropic
                                         : "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                                           "\"response_format\":{\"type\":\"json_object\"}}",
                                     TG_PROVIDER_PRIVATE, 30, &out),
                              0);
        Tollgate__V1__GenerateRequest *r =
            tollgate__v1__generate_request__unpack(NULL, out.len, (const uint8_t *)out.data);
        CU_ASSERT_PTR_NOT_NULL_FATAL(r);
        CU_ASSERT_PTR_NOT_NULL_FATAL(r->constraint);
        CU_ASSERT_STRING_EQUAL(r->constraint->json_schema, i == 2 ? "" : SCHEMA);
        CU_ASSERT_EQUAL(r->constraint->json_object, i == 2);
        tollgate__v1__generate_request__free_unpacked(r, NULL);
        tg_buf_free(&out);
        tg_arena_free(&arena);
    }
}

static void test_private(void)
{
    tg_buf out;
    tg_buf_init(&out, 0);
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL_FATAL(
        encode(TG_DIALECT_OPENAI,
               "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},"
               "{\"role\":\"user\",\"content\":\"a\\u0000b\"}],\"seed\":3,\"top_p\":0.5,"
               "\"stop\":\"X\"}",
               TG_PROVIDER_PRIVATE, 64, &out),
        0);
    Tollgate__V1__GenerateRequest *r =
        tollgate__v1__generate_request__unpack(NULL, out.len, (const uint8_t *)out.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT_EQUAL_FATAL(r->messages->n_messages, 2);
    CU_ASSERT_STRING_EQUAL(r->messages->messages[0]->role, "system");
    CU_ASSERT_STRING_EQUAL(r->messages->messages[1]->role, "user");
    CU_ASSERT_STRING_EQUAL(r->messages->messages[1]->content, "a\xEF\xBF\xBD"
                                                              "b");
    CU_ASSERT_EQUAL(r->sampling->temperature, 1.0f); /* as OpenAI's default */
    CU_ASSERT_EQUAL(r->sampling->top_p, 0.5f);
    CU_ASSERT_TRUE(r->sampling->has_seed && r->sampling->seed == 3);
    CU_ASSERT_EQUAL(r->max_tokens, 64);
    CU_ASSERT_EQUAL(r->n_stop, 1);
    CU_ASSERT_STRING_EQUAL(r->tenant, "acme");
    CU_ASSERT_STRING_EQUAL(r->request_id, "r-1");
    CU_ASSERT_EQUAL(r->attempt, 2);
    tollgate__v1__generate_request__free_unpacked(r, NULL);
    tg_buf_free(&out);
    tg_arena_free(&arena);
}

/* What is written for one provider of a client's dialect reads back as what the client said. */
static void round_trip(tg_dialect from, const char *client, tg_provider to, tg_dialect back)
{
    tg_buf out;
    tg_chat_request a, b;
    tg_error err = {""};
    tg_json_doc *doc = tg_json_doc_new();
    tg_buf_init(&out, 0);
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL_FATAL(encode(from, client, to, 50, &out), 0);
    CU_ASSERT_EQUAL_FATAL(tg_dialect_decode_request(from, doc, tg_str_of(client), &arena, &err, &a),
                          0);
    CU_ASSERT_EQUAL_FATAL(tg_dialect_decode_request(back, doc, tg_buf_str(&out), &arena, &err, &b),
                          0);
    CU_ASSERT_TRUE(tg_str_is(b.model, "model-1"));
    CU_ASSERT_EQUAL(b.max_tokens, 50);
    CU_ASSERT_EQUAL(a.stream, b.stream);
    CU_ASSERT_EQUAL(a.stop_count, b.stop_count);
    CU_ASSERT_EQUAL(a.text_bytes, b.text_bytes);
    CU_ASSERT_EQUAL_FATAL(a.message_count, b.message_count);
    for (size_t i = 0; i < a.message_count; i++) {
        CU_ASSERT_EQUAL(a.messages[i].role, b.messages[i].role);
        CU_ASSERT_TRUE(tg_str_eq(a.messages[i].text, b.messages[i].text));
    }
    tg_json_doc_free(doc);
    tg_buf_free(&out);
    tg_arena_free(&arena);
}

static void test_round_trips(void)
{
    static const char openai[] =
        "{\"model\":\"auto\",\"messages\":[{\"role\":\"system\",\"content\":\"s\\n\\u0000\\u20ac\"}"
        ","
        "{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"},"
        "{\"role\":\"user\",\"content\":\"v\"}],\"stop\":[\"x\",\"y\"],\"stream\":true}";
    static const char anthropic[] =
        "{\"model\":\"auto\",\"max_tokens\":9,\"system\":\"s\",\"messages\":[{\"role\":\"user\","
        "\"content\":\"u\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"}],\"stop_sequences\":[\"x\"]}";
    round_trip(TG_DIALECT_OPENAI, openai, TG_PROVIDER_OPENAI, TG_DIALECT_OPENAI);
    round_trip(TG_DIALECT_OPENAI, openai, TG_PROVIDER_ANTHROPIC, TG_DIALECT_ANTHROPIC);
    round_trip(TG_DIALECT_ANTHROPIC, anthropic, TG_PROVIDER_OPENAI, TG_DIALECT_OPENAI);
    round_trip(TG_DIALECT_ANTHROPIC, anthropic, TG_PROVIDER_ANTHROPIC, TG_DIALECT_ANTHROPIC);
}

static void test_paths(void)
{
    tg_upstream_ask ask = {.model = "meta.llama3-70b-instruct-v1:0", .stream = true};
    tg_buf path;
    tg_buf_init(&path, 0);
    CU_ASSERT_EQUAL(tg_dialect_upstream_path(TG_PROVIDER_OPENAI, &ask, &path), 0);
    CU_ASSERT_EQUAL(tg_dialect_upstream_path(TG_PROVIDER_ANTHROPIC, &ask, &path), 0);
    CU_ASSERT_EQUAL(tg_dialect_upstream_path(TG_PROVIDER_BEDROCK, &ask, &path), 0);
    ask.stream = false;
    CU_ASSERT_EQUAL(tg_dialect_upstream_path(TG_PROVIDER_BEDROCK, &ask, &path), 0);
    CU_ASSERT_STRING_EQUAL(path.data, "/v1/chat/completions/v1/messages"
                                      "/model/meta.llama3-70b-instruct-v1%3A0/converse-stream"
                                      "/model/meta.llama3-70b-instruct-v1%3A0/converse");
    tg_buf_free(&path);
}

static const tg_test tests[] = {{"openai_verbatim", test_openai_verbatim},
                                {"openai_clamp", test_openai_clamp},
                                {"anthropic_verbatim", test_anthropic_verbatim},
                                {"openai_to_anthropic", test_openai_to_anthropic},
                                {"openai_to_bedrock", test_openai_to_bedrock},
                                {"anthropic_to_openai", test_anthropic_to_openai},
                                {"forms", test_forms}, {"private", test_private},
                                {"round_trips", test_round_trips},
                                {"paths", test_paths}};
TG_TEST_MAIN("router_dialect_upstream", tests)
