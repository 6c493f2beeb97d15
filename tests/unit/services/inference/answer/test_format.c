#include "services/inference/answer/format.h"
#include "tests/unit/harness.h"

#include <errno.h>

static bool is(const char *chat_template, tg_tool_format tools, tg_reasoning_format reasoning)
{
    const tg_answer_format f = tg_answer_format_of(tg_str_of(chat_template));
    return f.tools == tools && f.reasoning == reasoning;
}

static void test_from_the_template(void)
{
    CU_ASSERT(is("<|im_start|>{{ messages }}", TG_TOOLS_NONE, TG_REASONING_NONE));
    CU_ASSERT(is("{% if tools %}<tool_call>\\n{\"name\": \"{{ n }}\", \"arguments\": {% endif %}",
                 TG_TOOLS_HERMES, TG_REASONING_NONE));
    CU_ASSERT(is("{{- '<tool_call>' }}{{ \"{\\\"name\\\": \" }}{{ c.arguments }}", TG_TOOLS_HERMES,
                 TG_REASONING_NONE));
    CU_ASSERT(is("<tool_call>\\n<function={{ name }}> \"name\": arguments", TG_TOOLS_NONE,
                 TG_REASONING_NONE)); /* not JSON inside */
    CU_ASSERT(
        is("<tool_call>{{ name }}<arg_key> \"name\": arguments", TG_TOOLS_NONE, TG_REASONING_NONE));
    CU_ASSERT(is("{{ c.split('</think>')[-1] }}", TG_TOOLS_NONE, TG_REASONING_THINK));
    CU_ASSERT(
        is("<|start_header_id|>{{ '\"parameters\": ' }}", TG_TOOLS_LLAMA3, TG_REASONING_NONE));
    CU_ASSERT(is("<|start_header_id|>{{ content }}", TG_TOOLS_NONE, TG_REASONING_NONE));
    CU_ASSERT(is("[TOOL_CALLS][[/THINK]", TG_TOOLS_MISTRAL, TG_REASONING_MISTRAL));
    CU_ASSERT(tg_answer_format_of(TG_STR("{% if tools %}")).takes_tools &&
              !tg_answer_format_of(TG_STR("{{ messages }}")).takes_tools);
}

static void test_names(void)
{
    tg_error err = {""};
    for (int i = TG_TOOLS_NONE; i <= TG_TOOLS_MISTRAL; i++) {
        tg_tool_format format = TG_TOOLS_NONE;
        CU_ASSERT_EQUAL(
            tg_tool_format_parse(tg_str_of(tg_tool_format_name((tg_tool_format)i)), NULL, &format),
            0);
        CU_ASSERT_EQUAL((int)format, i);
        CU_ASSERT(tg_tools_open((tg_tool_format)i).len <= TG_ANSWER_MARK_MAX &&
                  tg_tools_close((tg_tool_format)i).len <= TG_ANSWER_MARK_MAX);
    }
    CU_ASSERT_EQUAL(tg_tool_format_parse(TG_STR("openai"), &err, NULL), -EINVAL);
    CU_ASSERT(strstr(err.text, "openai") && strstr(err.text, "hermes"));
}

static const tg_test tests[] = {{"from_the_template", test_from_the_template},
                                {"names", test_names}};
TG_TEST_MAIN("services_inference_answer_format", tests)
