#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/unicode.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNK, CLS, SEP, PLAY, ING, CAFE, COMMA, SUN, KANJI, BANG };

static tg_tokenizer *make(bool cased, bool hashes)
{
    const tg_str with_hashes[] = {TG_STR("[UNK]"), TG_STR("[CLS]"), TG_STR("[SEP]"), TG_STR("play"),
                                  TG_STR("##ing"), TG_STR("cafe"),  TG_STR(","),     TG_STR("sun"),
                                  TG_STR("\xe6\x97\xa5"), TG_STR("!")};
    const tg_str with_spaces[] = {TG_STR("[UNK]"),
                                  TG_STR("[CLS]"),
                                  TG_STR("[SEP]"),
                                  TG_STR("\xe2\x96\x81play"),
                                  TG_STR("ing"),
                                  TG_STR("\xe2\x96\x81"
                                         "cafe"),
                                  TG_STR("\xe2\x96\x81,"),
                                  TG_STR("\xe2\x96\x81sun"),
                                  TG_STR("\xe2\x96\x81\xe6\x97\xa5"),
                                  TG_STR("\xe2\x96\x81!")};
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_WORDPIECE,
                                    .tokens = hashes ? with_hashes : with_spaces,
                                    .tokens_len = 10,
                                    .bos = CLS,
                                    .eos = SEP,
                                    .unk = UNK,
                                    .add_bos = true,
                                    .add_eos = true,
                                    .cased = cased};
    tg_tokenizer *tokenizer = NULL;
    tg_error err = {""};
    if (tg_tokenizer_new(&conf, &err, &tokenizer) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
    return tokenizer;
}

static void check(const tg_tokenizer *tokenizer, const char *text, const uint32_t *want, size_t len)
{
    tg_token_list got = {0};
    const tg_token_span span = {tg_str_of(text), false};
    CU_ASSERT_EQUAL(tg_tokenizer_encode(tokenizer, &span, 1, true, &got), 0);
    bool equal = got.len == len && memcmp(got.ids, want, len * sizeof(*want)) == 0;
    if (!equal) {
        printf("# '%s' gave", text);
        for (size_t i = 0; i < got.len; i++)
            printf(" %u", got.ids[i]);
        printf("\n");
    }
    CU_ASSERT_TRUE(equal);
    tg_token_list_free(&got);
}
#define IDS(...)                                                                                   \
    (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

static void test_pieces(void)
{
    for (int hashes = 0; hashes < 2; hashes++) {
        tg_tokenizer *t = make(false, hashes);
        check(t, "", IDS(CLS, SEP));
        check(t, "playing", IDS(CLS, PLAY, ING, SEP));
        check(t, "PLAY, play!", IDS(CLS, PLAY, COMMA, PLAY, BANG, SEP));
        check(t, "playingx sun", IDS(CLS, UNK, SUN, SEP)); /* a word is known whole or not at all */
        check(t, "ing", IDS(CLS, UNK, SEP));               /* only inside a word */
        check(t, "Caf\xc3\xa9 cafe\xcc\x81", IDS(CLS, CAFE, CAFE, SEP)); /* composed or not */
        check(t, "sun\xe6\x97\xa5sun", IDS(CLS, SUN, KANJI, SUN, SEP));
        check(t, "su\x01n\xff", IDS(CLS, SUN, SEP)); /* controls and broken bytes go */
        tg_tokenizer_free(t);
    }
}

static void test_case_is_kept_where_it_matters(void)
{
    tg_tokenizer *t = make(true, true);
    check(t, "play Play caf\xc3\xa9", IDS(CLS, PLAY, UNK, UNK, SEP));
    tg_tokenizer_free(t);
}

static void test_control_tokens_are_not_forged(void)
{
    tg_tokenizer *t = make(false, true);
    tg_token_list got = {0};
    const tg_token_span span = {TG_STR("play [SEP] play"), false};
    CU_ASSERT_EQUAL(tg_tokenizer_encode(t, &span, 1, false, &got), 0);
    for (size_t i = 0; i < got.len; i++)
        CU_ASSERT_NOT_EQUAL(got.ids[i], SEP);
    tg_token_list_free(&got);
    tg_tokenizer_free(t);
}

static void check_nfc(const char *text, const char *want)
{
    tg_buf out;
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(tg_unicode_nfc(tg_str_of(text), &out), 0);
    if (!tg_str_is(tg_buf_str(&out), want))
        printf("# NFC of '%s' is '" TG_STR_FMT "'\n", text, TG_STR_ARG(tg_buf_str(&out)));
    CU_ASSERT_TRUE(tg_str_is(tg_buf_str(&out), want));
    tg_buf_free(&out);
}

/* Cases of Unicode's annex 15. */
static void test_nfc(void)
{
    check_nfc("plain", "plain");
    check_nfc("e\xcc\x81", "\xc3\xa9");
    check_nfc("\xe2\x84\xab", "\xc3\x85");                                 /* Angstrom sign */
    check_nfc("q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"); /* marks in their order */
    check_nfc("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81");     /* Hangul */
    check_nfc("\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc");                 /* never composed */
    check_nfc("a\xff\xcc\x81", "a\xff\xcc\x81");                           /* broken bytes stay */
}

static const tg_test tests[] = {
    {"pieces", test_pieces},
    {"case_is_kept_where_it_matters", test_case_is_kept_where_it_matters},
    {"control_tokens_are_not_forged", test_control_tokens_are_not_forged},
    {"nfc", test_nfc}};
TG_TEST_MAIN("libs_tokenizer_wordpiece", tests)
