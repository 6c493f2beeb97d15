#include "libs/tokenizer/pretokenize.h"
#include "libs/base/buf.h"
#include "tests/unit/harness.h"

#include <stdio.h>

/* The words joined by bars. */
static bool cuts(const char *name, const char *text, const char *want)
{
    tg_pretokenizer kind;
    tg_buf got;
    tg_str word;
    CU_ASSERT_EQUAL_FATAL(tg_pretokenizer_parse(name, &kind), 0);
    tg_words words = tg_words_of(kind, tg_str_of(text));
    tg_buf_init(&got, 0);
    for (bool first = true; tg_words_next(&words, &word); first = false) {
        if (!first)
            tg_buf_add_char(&got, '|');
        tg_buf_add_str(&got, word);
    }
    bool same = tg_str_is(tg_buf_str(&got), want);
    if (!same)
        printf("# %s: %s\n", name, got.data ? got.data : "");
    tg_buf_free(&got);
    return same;
}

static void test_gpt2(void)
{
    CU_ASSERT(cuts("gpt-2", "Hello world's 123 end", "Hello| world|'s| 123| end"));
    CU_ASSERT(cuts("gpt-2", "a  b\n\nc  ", "a| | b|\n|\n|c|  "));
    CU_ASSERT(cuts("gpt-2", "it'll we've 'tis I'M", "it|'ll| we|'ve| '|tis| I|'|M"));
    CU_ASSERT(cuts("gpt-2", "x!!  \t y", "x|!!|  \t| y"));
    CU_ASSERT(cuts("default", "caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87!",
                   "caf\xc3\xa9| \xe4\xb8\xad\xe6\x96\x87|!"));
    CU_ASSERT(cuts("gpt-2", "", ""));
}

static void test_smollm(void)
{
    CU_ASSERT(cuts("smollm", "in 2024, a1b", "in| |2|0|2|4|,| a|1|b"));
    /* the pattern sees the text end before the digit */
    CU_ASSERT(cuts("smollm", "x  7", "x|  |7"));
    CU_ASSERT(cuts("smollm", "77", "7|7"));
    CU_ASSERT(cuts("smollm", "\xc2\xbd!", "\xc2\xbd|!")); /* ½ is a number too */
}

static void test_llama3(void)
{
    CU_ASSERT(cuts("llama-bpe", "I'M 12345 ok", "I|'M| |123|45| ok"));
    CU_ASSERT(cuts("llama-bpe", "(word) !?\n\n  x", "(word|)| !?\n\n| | x"));
    CU_ASSERT(cuts("llama-bpe", " \n \n  y\r\n", " \n \n| | y|\r\n"));
    CU_ASSERT(cuts("qwen2", "123 a", "1|2|3| a"));
}

static void test_unknown(void)
{
    tg_pretokenizer kind;
    CU_ASSERT(tg_pretokenizer_parse("tekken", &kind) < 0);
}

static const tg_test tests[] = {{"gpt2", test_gpt2},
                                {"smollm", test_smollm},
                                {"llama3", test_llama3},
                                {"unknown", test_unknown}};
TG_TEST_MAIN("libs_tokenizer_pretokenize", tests)
