#include "services/inference/answer/answer.h"
#include "services/inference/answer/call.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

static const tg_str offered[] = {TG_STR("get_weather"), TG_STR("clock")};

/* What came out, as T[text] R[reasoning] C0[name] A0[arguments]; pieces of one kind are one. */
typedef struct seen {
    tg_buf text;
    int kind;
    uint32_t call;
} seen;

static void on_piece(void *user, const tg_answer_piece *p)
{
    seen *s = user;
    const bool goes_on = s->kind == (int)p->kind && p->kind != TG_ANSWER_CALL && s->call == p->call;
    if (goes_on)
        s->text.len--; /* its closing bracket */
    else if (p->kind < TG_ANSWER_CALL)
        tg_buf_printf(&s->text, "%c[", "TR"[p->kind]);
    else
        tg_buf_printf(&s->text, "%c%u[", "CA"[p->kind - TG_ANSWER_CALL], p->call);
    tg_buf_add_str(&s->text, p->text);
    tg_buf_add_char(&s->text, ']');
    s->kind = (int)p->kind;
    s->call = p->call;
}

/* Parses the text in pieces of random sizes up to `most`. */
static void parse(const tg_answer_conf *conf, tg_str text, size_t most, uint64_t *random,
                  tg_buf *ret)
{
    seen s = {.kind = -1};
    tg_answer *a = NULL;
    tg_buf_init(&s.text, 0);
    CU_ASSERT_EQUAL_FATAL(tg_answer_new(conf, &a), 0);
    for (size_t at = 0; at < text.len;) {
        size_t n = 1 + tiny_random(random) % most;
        n = n < text.len - at ? n : text.len - at;
        CU_ASSERT_EQUAL(tg_answer_push(a, (tg_str){text.data + at, n}, on_piece, &s), 0);
        at += n;
    }
    CU_ASSERT_EQUAL(tg_answer_end(a, on_piece, &s), 0);
    tg_answer_free(a);
    *ret = s.text;
}

static bool comes_as(tg_answer_conf conf, const char *text, const char *want)
{
    uint64_t random = 1;
    bool same = true;
    conf.names = offered;
    conf.names_len = 2;
    for (size_t most = 1; most < 64 && same; most *= 4) {
        tg_buf got;
        parse(&conf, tg_str_of(text), most, &random, &got);
        same = tg_str_is(tg_buf_str(&got), want);
        if (!same)
            printf("# '%s' in pieces up to %zu came as\n# %.*s, not\n# %s\n", text, most,
                   (int)got.len, got.data ? got.data : "", want);
        tg_buf_free(&got);
    }
    return same;
}

#define HERMES ((tg_answer_conf){.tools = TG_TOOLS_HERMES, .reasoning = TG_REASONING_THINK})
#define LLAMA ((tg_answer_conf){.tools = TG_TOOLS_LLAMA3})
#define MISTRAL ((tg_answer_conf){.tools = TG_TOOLS_MISTRAL, .reasoning = TG_REASONING_MISTRAL})

static void test_hermes(void)
{
    CU_ASSERT(comes_as(HERMES, "Just text, 1 < 2 and <tool> or <tool_cal",
                       "T[Just text, 1 < 2 and <tool> or <tool_cal]"));
    CU_ASSERT(comes_as(HERMES,
                       "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
                       "\"Oslo\", \"n\": [1, {}]}}\n</tool_call>",
                       "C0[get_weather]A0[{\"city\": \"Oslo\", \"n\": [1, {}]}]"));
    CU_ASSERT(
        comes_as(HERMES,
                 "Let me "
                 "see.\n\n<tool_call>{\"arguments\":{\"a\":\"</"
                 "tool_call>\\\"\"},\"name\":\"clock\"}</tool_call>\n"
                 "<tool_call>\n{\"name\": \"clock\"}\n</tool_call>\nDone.",
                 "T[Let me see.]C0[clock]A0[{\"a\":\"</tool_call>\\\"\"}]C1[clock]A1[{}]T[Done.]"));
    CU_ASSERT(comes_as(HERMES,
                       "<tool_call>{\"name\":\"x\",\"arguments\":\"{\\\"a\\\":"
                       "\\\"\\u00e9\\ud83d\\ude00\\\"}\"}</tool_call>",
                       "C0[x]A0[{\"a\":\"é😀\"}]"));
    CU_ASSERT(comes_as(HERMES,
                       "<tool_call>{\"id\": 7, \"note\": \"a long \\\"string\\\"\", "
                       "\"name\":\"x\",\"arguments\": {}, \"more\": [1]} </tool_call>",
                       "C0[x]A0[{}]"));
}

static void test_what_is_no_call_is_text(void)
{
    CU_ASSERT(
        comes_as(HERMES, "a<tool_call>\nget_weather(1)\n</tool_call>\nb", "T[a\nget_weather(1)b]"));
    CU_ASSERT(
        comes_as(HERMES, "<tool_call>{\"name\": \"x\", </tool_call>b", "T[{\"name\": \"x\", b]"));
    CU_ASSERT(comes_as(HERMES, "<tool_call>{\"name\": \"get_wea", "T[{\"name\": \"get_wea]"));
    CU_ASSERT(comes_as(HERMES, "<tool_call>{\"name\": \"x\", \"arguments\": {\"a\": 1</tool_call>b",
                       "C0[x]A0[{\"a\": 1]T[b]"));
    CU_ASSERT(comes_as(HERMES, "<tool_call>{\"name\": \"x\", \"arguments\": {}}}</tool_call>b",
                       "C0[x]A0[{}]T[}b]"));
    CU_ASSERT(
        comes_as(HERMES, "<tool_call>{\"name\": \"x\", \"arguments\": {}}\n</tool", "C0[x]A0[{}]"));
    CU_ASSERT(comes_as((tg_answer_conf){0}, "\n<think>a</think><tool_call>{}",
                       "T[\n<think>a</think><tool_call>{}]"));
}

static void test_thinking(void)
{
    tg_answer_conf open = HERMES;
    open.thinking = true;
    CU_ASSERT(comes_as(HERMES, "<think>\nIs <tool_call> right?\n\n</think>\n\nYes: <think> too.",
                       "R[Is <tool_call> right?]T[Yes: <think> too.]"));
    CU_ASSERT(comes_as(HERMES, "\n <think>a\n\n\n\nb</thin", "R[a\n\n\n\nb</thin]"));
    CU_ASSERT(comes_as(HERMES, "\n\n  no <think>", "T[\n\n  no <think>]"));
    CU_ASSERT(comes_as(HERMES, "<think></think>\n\n\n\nx", "T[\n\nx]"));
    CU_ASSERT(comes_as(
        open,
        "\nhm\n</think>\n\n<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>",
        "R[hm]C0[clock]A0[{}]"));
    CU_ASSERT(comes_as(MISTRAL, "[THINK]a[/THINK]b[THINK]", "R[a]T[b[THINK]]"));
}

static void test_llama(void)
{
    CU_ASSERT(comes_as(LLAMA, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}",
                       "C0[get_weather]A0[{\"city\": \"Oslo\"}]"));
    CU_ASSERT(comes_as(LLAMA,
                       "\n{\"type\": \"function\", \"name\": \"clock\", \"parameters\": {}}; "
                       "{\"name\": \"clock\", \"parameters\": {}}",
                       "C0[clock]A0[{}]C1[clock]A1[{}]"));
    CU_ASSERT(comes_as(LLAMA, "<|python_tag|>{\"name\": \"brave\", \"parameters\": {}}",
                       "C0[brave]A0[{}]"));
    CU_ASSERT(comes_as(LLAMA, "<|python_tag|>print(1)", "T[print(1)]"));
    CU_ASSERT(comes_as(LLAMA, " {\"name\": \"Ada\", \"parameters\": 3}",
                       "T[ {\"name\": \"Ada\", \"parameters\": 3}]"));
    CU_ASSERT(comes_as(LLAMA, "{\"name\": \"clock\", \"age\": 36}",
                       "T[{\"name\": \"clock\", \"age\": 36}]"));
    CU_ASSERT(comes_as(LLAMA, "So {\"name\": \"clock\", \"parameters\": {}}",
                       "T[So {\"name\": \"clock\", \"parameters\": {}}]"));
}

static void test_mistral(void)
{
    CU_ASSERT(comes_as(MISTRAL,
                       "[TOOL_CALLS] [{\"name\": \"clock\", \"arguments\": {\"a\": [1]}}, "
                       "{\"name\": \"x\", \"arguments\": {}, \"id\": \"123456789\"}]",
                       "C0[clock]A0[{\"a\": [1]}]C1[x]A1[{}]"));
    CU_ASSERT(comes_as(
        MISTRAL,
        "See [1].[TOOL_CALLS]clock[ARGS]{\"a\": \"}\"}[TOOL_CALLS]x[CALL_ID]abc123[ARGS]{}",
        "T[See [1].]C0[clock]A0[{\"a\": \"}\"}]C1[x]A1[{}]"));
    CU_ASSERT(comes_as(MISTRAL, "[TOOL_CALLS]clock{\"a\": 1}", "C0[clock]A0[{\"a\": 1}]"));
    CU_ASSERT(comes_as(MISTRAL, "[TOOL_CALLS]no call", "T[no call]"));
    CU_ASSERT(comes_as(MISTRAL, "[TOOL_CALLS][1]", "T[1]]"));
}

static void test_begun_by_the_prompt(void)
{
    tg_answer_conf hermes = HERMES, mistral = MISTRAL;
    hermes.calling = mistral.calling = true;
    CU_ASSERT(comes_as(hermes, "{\"name\": \"clock\", \"arguments\": {}}", "C0[clock]A0[{}]"));
    CU_ASSERT(comes_as(mistral, "[{\"name\": \"clock\", \"arguments\": {}}]", "C0[clock]A0[{}]"));
}

/* What stands before the first call comes, and what stands behind it never. */
static void test_one_call(void)
{
    tg_answer_conf hermes = HERMES, llama = LLAMA, mistral = MISTRAL;
    hermes.one_call = llama.one_call = mistral.one_call = true;
    CU_ASSERT(comes_as(hermes,
                       "<think>a</think>So <tool_call>{}</tool_call><tool_call>{\"name\": \"x\", "
                       "\"arguments\": {\"a\": {}}}\n</tool_call>"
                       "<tool_call>{\"name\": \"y\"}</tool_call>b",
                       "R[a]T[So {}]C0[x]A0[{\"a\": {}}]"));
    CU_ASSERT(comes_as(hermes, "<tool_call>{\"name\": \"x\", \"arguments\": {}", "C0[x]A0[{}]"));
    CU_ASSERT(comes_as(hermes,
                       "<tool_call>{\"name\": \"x\", \"arguments\": {\"a\": "
                       "1</tool_call>b<tool_call>{\"name\": \"y\"}</tool_call>",
                       "C0[x]A0[{\"a\": 1]"));
    CU_ASSERT(comes_as(
        llama,
        "{\"name\": \"clock\", \"parameters\": {}}; {\"name\": \"clock\", \"parameters\": {}}",
        "C0[clock]A0[{}]"));
    CU_ASSERT(comes_as(mistral, "[TOOL_CALLS][{\"name\": \"x\", \"arguments\": {}}, {\"na",
                       "C0[x]A0[{}]"));
    CU_ASSERT(comes_as(mistral, "[TOOL_CALLS]x[ARGS]{}[TOOL_CALLS]y[ARGS]{}", "C0[x]A0[{}]"));
}

/* Whether the object of a call is to follow at the carets, or the second tool's arguments at the
 * exclamation marks, neither of which are the text's, and nowhere else. */
static bool awaits(tg_answer_conf conf, const char *text)
{
    tg_answer *a = NULL;
    bool same = true;
    conf.names = offered;
    conf.names_len = 2;
    CU_ASSERT_EQUAL_FATAL(tg_answer_new(&conf, &a), 0);
    for (; *text; text++) {
        const bool caret = *text == '^' || text[1] == '^', second = *text == '!' || text[1] == '!';
        size_t tool = 7;
        CU_ASSERT(*text == '^' || *text == '!' ||
                  tg_answer_push(a, (tg_str){text, 1}, NULL, NULL) == 0);
        same &= tg_answer_awaits_call(a, &tool) == (caret || second) &&
                (!caret || tool == SIZE_MAX) && (!second || tool == 1);
    }
    tg_answer_free(a);
    return same;
}

static void test_awaits_call(void)
{
    CU_ASSERT(awaits(HERMES, "<tool_call>^\n{\"name\": \"x\", \"arguments\": {\"<tool_call>\": "
                             "1}}\n</tool_call><tool_call>^{"));
    CU_ASSERT(awaits(
        HERMES, "<think><tool_call>{</think><tool_call>^x<tool_call></tool_call> <tool_call>^"));
    CU_ASSERT(awaits(MISTRAL, "[TOOL_CALLS] [^{\"name\": \"x\", \"arguments\": {}} ,^{"));
    CU_ASSERT(awaits(MISTRAL, "[TOOL_CALLS]x[ARGS]{}[TOOL_CALLS][^ARGS]{}[TOOL_CALLS]x{}"));
    CU_ASSERT(
        awaits(MISTRAL, "[TOOL_CALLS] clock[ARGS]! "
                        "{\"clock\":1}[TOOL_CALLS]clock[CALL_ID]abc[ARGS]!{}[TOOL_CALLS]clock{}"));
    CU_ASSERT(awaits(LLAMA, "{\"name\": \"clock\", \"parameters\": {}}; {"));
}

/* An answer made of parts: whatever the cuts, the parts come back. */
static void add_part(uint64_t *random, tg_buf *answer, tg_buf *want, uint32_t *calls,
                     bool *was_text)
{
    static const char *const bits[] = {"a",  "<", "tool_cal", ">",        "{", "}",
                                       "\"", " ", "é",        "</think>", "[", "\\"};
    char inner[128] = "", json[256] = "";
    for (size_t n = tiny_random(random) % 6; n > 0; n--)
        strcat(inner, bits[tiny_random(random) % 12]);
    size_t len = 0;
    for (const char *c = inner; *c; c++) { /* as a JSON string has it */
        if (*c == '"' || *c == '\\')
            json[len++] = '\\';
        json[len++] = *c;
    }
    if (tiny_random(random) % 2 && !*was_text) {
        tg_buf_printf(answer, "x%sx", inner);
        tg_buf_printf(want, "T[x%sx]", inner);
        *was_text = true;
        return;
    }
    tg_buf_printf(answer,
                  "\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"%s\": [\"%s\", 1.5e3, "
                  "null]}}\n</tool_call>\n",
                  json, json);
    tg_buf_printf(want, "C%u[f]A%u[{\"%s\": [\"%s\", 1.5e3, null]}]", *calls, *calls, json, json);
    (*calls)++;
    *was_text = false;
}

static void test_any_split(void)
{
    uint64_t random = tg_test_seed();
    const tg_answer_conf conf = {.tools = TG_TOOLS_HERMES, .reasoning = TG_REASONING_THINK};
    for (size_t round = 0; round < tg_test_rounds(3000); round++) {
        tg_buf answer, want, got;
        uint32_t calls = 0;
        bool was_text = false;
        tg_buf_init(&answer, 0);
        tg_buf_init(&want, 0);
        if (tiny_random(&random) % 2) {
            tg_buf_add_text(&answer, "<think>\nhm <tool_call>{\n</think>\n\n");
            tg_buf_add_text(&want, "R[hm <tool_call>{]");
        }
        for (size_t n = 1 + tiny_random(&random) % 4; n > 0; n--)
            add_part(&random, &answer, &want, &calls, &was_text);
        parse(&conf, tg_buf_str(&answer), 1 + round % 20, &random, &got);
        const bool same = tg_str_eq(tg_buf_str(&got), tg_buf_str(&want));
        CU_ASSERT(same);
        if (!same)
            printf("# round %zu: %s\n# came as %s\n# not    %s\n", round, answer.data,
                   got.data ? got.data : "", want.data);
        tg_buf_free(&answer);
        tg_buf_free(&want);
        tg_buf_free(&got);
    }
}

/* Bytes that are mostly pieces of marks and calls: any cuts give the same, and where no mark is,
 * the text itself. */
static void test_any_bytes(void)
{
    static const char *const bits[] = {"<think>",
                                       "</think>",
                                       "<tool_call>",
                                       "</tool_call>",
                                       "[TOOL_CALLS]",
                                       "[ARGS]",
                                       "<|python_tag|>",
                                       "{\"name\": \"clock\"",
                                       ", \"arguments\": {",
                                       "}",
                                       "}",
                                       "\n",
                                       "\n",
                                       " ",
                                       "<",
                                       "[",
                                       "]",
                                       "\"",
                                       ";",
                                       "x",
                                       "[CALL_ID]"};
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(6000); round++) {
        const tg_answer_conf conf = {.tools = (tg_tool_format)(round % 4),
                                     .reasoning = (tg_reasoning_format)(round / 4 % 3),
                                     .thinking = round % 5 == 0,
                                     .calling = round % 7 == 0,
                                     .one_call = round % 3 == 0,
                                     .names = offered,
                                     .names_len = 2};
        tg_buf text, whole, cut;
        tg_buf_init(&text, 0);
        for (size_t n = 1 + tiny_random(&random) % 12; n > 0; n--)
            tg_buf_add_text(&text, bits[tiny_random(&random) % 21]);
        parse(&conf, tg_buf_str(&text), 1, &random, &whole);
        parse(&conf, tg_buf_str(&text), 32, &random, &cut);
        const bool same = tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut));
        CU_ASSERT(same);
        if (!same)
            printf("# round %zu, %s: %s\n# byte by byte %s\n# otherwise    %s\n", round,
                   tg_tool_format_name(conf.tools), text.data, whole.data ? whole.data : "",
                   cut.data ? cut.data : "");
        if (conf.tools == TG_TOOLS_NONE && conf.reasoning == TG_REASONING_NONE)
            CU_ASSERT(whole.len == text.len + 3 &&
                      memcmp(whole.data + 2, text.data, text.len) == 0);
        tg_buf_free(&text);
        tg_buf_free(&whole);
        tg_buf_free(&cut);
    }
}

static void test_bounds(void)
{
    const tg_answer_conf conf = {.tools = TG_TOOLS_HERMES};
    static char deep[2 * TG_CALL_NEST_MAX + 128];
    uint64_t random = 1;
    tg_buf text, got;
    strcpy(deep, "<tool_call>{\"name\":\"f\",\"arguments\":");
    memset(deep + strlen(deep), '[', TG_CALL_NEST_MAX + 1);
    CU_ASSERT(comes_as(conf, "<tool_call>{\"name\":\"f\",\"arguments\":[[]]}</tool_call>",
                       "C0[f]A0[[[]]]"));
    parse(&conf, tg_str_of(deep), 8, &random, &got);
    /* the one too deep is text */
    CU_ASSERT(got.len > 4 && memcmp(got.data + got.len - 4, "T[[]", 4) == 0);
    tg_buf_free(&got);
    tg_buf_init(&text, 0);
    tg_buf_add_text(&text, "<tool_call>{\"arguments\":\"");
    for (size_t i = 0; i < TG_CALL_HELD_MAX + 1000; i++)
        tg_buf_add_char(&text, 'y');
    parse(&conf, tg_buf_str(&text), 1000, &random, &got);
    CU_ASSERT_EQUAL(got.len, text.len - strlen("<tool_call>") + 3); /* all of it, as text */
    tg_buf_free(&text);
    tg_buf_free(&got);
}

static const tg_test tests[] = {{"hermes", test_hermes},
                                {"what_is_no_call_is_text", test_what_is_no_call_is_text},
                                {"thinking", test_thinking},
                                {"llama", test_llama},
                                {"mistral", test_mistral},
                                {"begun_by_the_prompt", test_begun_by_the_prompt},
                                {"one_call", test_one_call},
                                {"awaits_call", test_awaits_call},
                                {"any_split", test_any_split},
                                {"any_bytes", test_any_bytes},
                                {"bounds", test_bounds}};
TG_TEST_MAIN("services_inference_answer_answer", tests)
