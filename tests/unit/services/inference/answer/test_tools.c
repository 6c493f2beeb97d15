#include "services/inference/answer/tools.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>

#define F(name)                                                                                    \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name                                        \
    "\",\"parameters\":{\"type\":\"object\"}}}"

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
    CU_ASSERT(read(two, "", &err, &t) == 0 && !t.off && !t.required && t.len == 2 &&
              tg_str_is(t.names[1], "b"));
    CU_ASSERT(read(two, "none", &err, &t) == 0 && t.off);
    CU_ASSERT(read(two, "required", &err, &t) == 0 && t.required && t.only == 2);
    CU_ASSERT(read(two, "b", &err, &t) == 0 && t.required && t.only == 1 &&
              tg_str_is(t.parameters[1], "{\"type\":\"object\"}"));
}

static void test_refusals(void)
{
    static const struct {
        const char *json, *choice, *word;
    } cases[] = {
        {"", "required", "no tools"},
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

/* The schemas are those of the text, byte for byte. */
static void test_parameters(void)
{
    static const char tools[] = "[{\"function\":{\"name\":\"a\\\"\",\"parameters\": "
                                "{\"properties\": {\"x\":[1.50, \"\\n}\"]} } }},{\"function\":"
                                "{\"parameters\":null,\"name\":\"b\"}}]";
    tg_error err;
    tg_tools t;
    CU_ASSERT_EQUAL_FATAL(read(tools, "", &err, &t), 0);
    CU_ASSERT(tg_str_is(t.names[0], "a\"") &&
              tg_str_is(t.parameters[0], "{\"properties\": {\"x\":[1.50, \"\\n}\"]} }"));
    CU_ASSERT(tg_str_is(t.names[1], "b") &&
              tg_str_is(t.parameters[1], "{\"type\":\"object\",\"properties\":{}}"));
}

static const tg_test tests[] = {
    {"choices", test_choices}, {"refusals", test_refusals}, {"parameters", test_parameters}};
TG_TEST_MAIN("services_inference_answer_tools", tests)
