#include "services/inference/answer/tools.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>

#define F(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"parameters\":{\"type\":\"object\"}}}"

static int read(const char *json, const char *choice, tg_error *err, tg_tools *ret)
{
    static tg_arena arena;
    tg_arena_free(&arena);
    tg_arena_init(&arena, 0);
    err->text[0] = '\0';
    return tg_tools_read(tg_str_of(json), tg_str_of(choice), &arena, err, ret);
}

static void test_choices(void)
{
    static const char two[] = "[" F("a") "," F("b") "]";
    tg_error err;
    tg_tools t;
    CU_ASSERT(read("", "", &err, &t) == 0 && t.off && !t.required);
    CU_ASSERT(read("[]", "auto", &err, &t) == 0 && t.off);
    CU_ASSERT(read(two, "", &err, &t) == 0 && !t.off && !t.required && t.len == 2 && tg_str_is(t.names[1], "b"));
    CU_ASSERT(read(two, "none", &err, &t) == 0 && t.off);
    CU_ASSERT(read(two, "required", &err, &t) == 0 && t.required && t.only == 2);
    CU_ASSERT(read(two, "b", &err, &t) == 0 && t.required && t.only == 1 && t.parameters[1]);
}

static void test_refusals(void)
{
    static const struct {
        const char *json, *choice, *word;
    } cases[] = {{"", "required", "no tools"},
                 {"[" F("a") "]", "c", "'c'"},
                 {"{}", "", "array"},
                 {"[1]", "", "tools[0].function"},
                 {"[{\"type\":\"retrieval\"}]", "", "tools[0].type"},
                 {"[" F("a") ",{\"function\":{\"name\":\"\"}}]", "", "tools[1].function.name"},
                 {"[{\"function\":{\"name\":\"a\",\"parameters\":[]}}]", "", "tools[0].function.parameters"},
                 {"[" F("a") "," F("a") "]", "", "tools[1] has the same name"},
                 {"[", "", "tools: 1:2"}};
    tg_error err;
    tg_tools t;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CU_ASSERT_EQUAL(read(cases[i].json, cases[i].choice, &err, &t), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].word));
        if (!strstr(err.text, cases[i].word))
            printf("# %s: %s\n", cases[i].json, err.text);
    }
}

static bool schema_is(const char *json, const char *choice, tg_tool_format format, const char *want)
{
    tg_error err;
    tg_tools t;
    tg_buf schema;
    tg_buf_init(&schema, 0);
    CU_ASSERT_EQUAL_FATAL(read(json, choice, &err, &t), 0);
    CU_ASSERT_EQUAL(tg_tools_schema(&t, format, &schema), 0);
    const bool same = strcmp(schema.data, want) == 0;
    if (!same)
        printf("#      got %s\n# expected %s\n", schema.data, want);
    tg_buf_free(&schema);
    return same;
}

static void test_schema_of_a_call(void)
{
    static const char tools[] = "[{\"function\":{\"name\":\"a\\\"\",\"parameters\":{\"properties\":{\"x\":{\"$ref\":\"#/$defs/e\"},"
                                "\"$ref\":{\"enum\":[1.50,null,\"\\n\"]}},\"$defs\":{\"e\":{\"$ref\":\"#\"}}}}},{\"function\":{\"name\":\"b\"}}]";
    CU_ASSERT(schema_is(tools, "required", TG_TOOLS_HERMES,
                        "{\"$defs\":{\"0\":{\"properties\":{\"x\":{\"$ref\":\"#/$defs/0/$defs/e\"},\"$ref\":{\"enum\":[1.50,null,\"\\u000a\"]}},"
                        "\"$defs\":{\"e\":{\"$ref\":\"#/$defs/0\"}}},\"1\":{\"type\":\"object\",\"properties\":{}}},"
                        "\"anyOf\":[{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"a\\\"\"},\"arguments\":{\"$ref\":\"#/$defs/0\"}},"
                        "\"required\":[\"name\",\"arguments\"],\"additionalProperties\":false},"
                        "{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"b\"},\"arguments\":{\"$ref\":\"#/$defs/1\"}},"
                        "\"required\":[\"name\",\"arguments\"],\"additionalProperties\":false}]}"));
    CU_ASSERT(schema_is(tools, "b", TG_TOOLS_LLAMA3,
                        "{\"$defs\":{\"1\":{\"type\":\"object\",\"properties\":{}}},\"anyOf\":[{\"type\":\"object\",\"properties\":"
                        "{\"name\":{\"const\":\"b\"},\"parameters\":{\"$ref\":\"#/$defs/1\"}},\"required\":[\"name\",\"parameters\"],\"additionalProperties\":false}]}"));
}

static const tg_test tests[] = {{"choices", test_choices}, {"refusals", test_refusals}, {"schema_of_a_call", test_schema_of_a_call}};
TG_TEST_MAIN("services_inference_answer_tools", tests)
