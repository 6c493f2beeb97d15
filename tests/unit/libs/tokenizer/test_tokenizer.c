#include "libs/tokenizer/tokenizer.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_AT 3 /* ids of the 256 bytes, in both vocabularies */

static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static char spelled[256][8];

/* <|end|> (control), <|pad|> (control), <tool> (user-defined), the bytes, then joined words. */
static tg_tokenizer *make_bpe(void)
{
    static const char *const words[] = {"he", "ll", "llo", "hello", "\xc4\xa0w", "<|"};
    static const tg_str merges[] = {{"h e", 3}, {"l l", 3}, {"ll o", 4}, {"he llo", 6},
                                    {"\xc4\xa0 w", 4}, {"< |", 3}};
    tg_str tokens[BYTES_AT + 256 + 6] = {TG_STR("<|end|>"), TG_STR("<|pad|>"), TG_STR("<tool>")};
    int32_t types[BYTES_AT + 256 + 6];
    unsigned next = 256;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool printable =
            (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        unsigned point = printable ? byte : next++;
        if (point < 128)
            snprintf(spelled[byte], sizeof(spelled[byte]), "%c", (char)point);
        else
            snprintf(spelled[byte], sizeof(spelled[byte]), "%c%c", (char)(0xc0 | point >> 6),
                     (char)(0x80 | (point & 63)));
        tokens[BYTES_AT + byte] = tg_str_of(spelled[byte]);
    }
    for (size_t i = 0; i < 6; i++)
        tokens[BYTES_AT + 256 + i] = tg_str_of(words[i]);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        types[i] = i < 2 ? TG_TOKEN_CONTROL : i == 2 ? TG_TOKEN_USER_DEFINED : TG_TOKEN_NORMAL;
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_BPE, .tokens = tokens,
                                    .tokens_len = BYTES_AT + 256 + 6, .types = types,
                                    .merges = merges, .merges_len = 6, .pre = "gpt-2",
                                    .bos = TG_TOKEN_NONE, .eos = 0, .unk = TG_TOKEN_NONE};
    tg_tokenizer *tokenizer = NULL;
    tg_error err = {""};
    if (tg_tokenizer_new(&conf, &err, &tokenizer) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
    return tokenizer;
}

/* <unk>, <s>, </s>, the bytes, then pieces. */
static tg_tokenizer *make_spm(void)
{
    static const char *const pieces[] = {"\xe2\x96\x81",
                                         "a",
                                         "b",
                                         "ab",
                                         "\xe2\x96\x81"
                                         "ab",
                                         "<",
                                         "s",
                                         ">",
                                         "<s",
                                         "\xc3\xa9"};
    enum { COUNT = BYTES_AT + 256 + 10 };
    static tg_str tokens[COUNT];
    static float scores[COUNT];
    static int32_t types[COUNT];
    tokens[0] = TG_STR("<unk>");
    tokens[1] = TG_STR("<s>");
    tokens[2] = TG_STR("</s>");
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(spelled[byte], sizeof(spelled[byte]), "<0x%02X>", byte);
        tokens[BYTES_AT + byte] = tg_str_of(spelled[byte]);
    }
    for (size_t i = 0; i < 10; i++) {
        tokens[BYTES_AT + 256 + i] = tg_str_of(pieces[i]);
        scores[BYTES_AT + 256 + i] = -(float)i;
    }
    for (int i = 0; i < COUNT; i++)
        types[i] = i == 0    ? TG_TOKEN_UNKNOWN
                   : i < 3   ? TG_TOKEN_CONTROL
                   : i < 259 ? TG_TOKEN_BYTE
                             : TG_TOKEN_NORMAL;
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_SENTENCEPIECE, .tokens = tokens,
                                    .tokens_len = COUNT, .scores = scores, .types = types, .bos = 1,
                                    .eos = 2, .unk = 0, .add_bos = true, .add_space_prefix = true};
    tg_tokenizer *tokenizer = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_tokenizer_new(&conf, NULL, &tokenizer), 0);
    return tokenizer;
}

/* The pieces, joined by bars; control tokens in brackets. */
static bool encodes_spans(const tg_tokenizer *t, const tg_token_span *spans, size_t len,
                          const char *want)
{
    tg_token_list tokens = {0};
    tg_buf got;
    tg_buf_init(&got, 0);
    CU_ASSERT_EQUAL(tg_tokenizer_encode(t, spans, len, true, &tokens), 0);
    for (size_t i = 0; i < tokens.len; i++) {
        tg_str piece = tg_tokenizer_piece(t, tokens.ids[i]);
        bool control = tg_tokenizer_is_control(t, tokens.ids[i]);
        tg_buf_printf(&got, control ? "%s[" TG_STR_FMT "]" : "%s" TG_STR_FMT, i ? "|" : "",
                      TG_STR_ARG(piece));
    }
    bool same = tg_str_is(tg_buf_str(&got), want);
    if (!same)
        printf("# %s\n", got.data ? got.data : "");
    tg_buf_free(&got);
    tg_token_list_free(&tokens);
    return same;
}

static bool encodes(const tg_tokenizer *t, const char *text, bool trusted, const char *want)
{
    const tg_token_span span = {tg_str_of(text), trusted};
    return encodes_spans(t, &span, 1, want);
}

static void test_bpe(void)
{
    tg_tokenizer *t = make_bpe();
    CU_ASSERT(encodes(t, "hello hell w", false, "hello| |he|ll| w"));
    CU_ASSERT(encodes(t, "lllo", false, "ll|l|o")); /* leftmost of equal ranks */
    CU_ASSERT(encodes(t, "", false, ""));
    tg_tokenizer_free(t);
}

static void test_sentencepiece(void)
{
    tg_tokenizer *t = make_spm();
    CU_ASSERT(encodes(t, "ab ab", false, "[<s>]| ab| ab"));
    CU_ASSERT(encodes(t, "abb\xc3\xa9", false, "[<s>]| ab|b|\xc3\xa9"));
    CU_ASSERT(encodes(t, "\xe2\x82\xac", false, "[<s>]| |\xe2|\x82|\xac")); /* byte fallback */
    CU_ASSERT(encodes(t, "", false, "[<s>]"));
    tg_tokenizer_free(t);
}

static void test_control_tokens_only_from_trusted_text(void)
{
    tg_tokenizer *t = make_bpe();
    CU_ASSERT(encodes(t, "a<|end|>b", true, "a|[<|end|>]|b"));
    CU_ASSERT(encodes(t, "a<|end|>b", false, "a|<||e|n|d|||>|b"));
    CU_ASSERT(encodes(t, "a<tool>b", false, "a|<tool>|b")); /* user-defined: not a control token */
    const tg_token_span across[] = {{TG_STR("x<|en"), true}, {TG_STR("d|>"), false}};
    CU_ASSERT(encodes_spans(t, across, 2, "x|<||e|n|d|||>"));
    const tg_token_span words[] = {{TG_STR("he"), true}, {TG_STR("llo<|end|>"), false},
                                   {TG_STR("<|end|>"), true}};
    CU_ASSERT(encodes_spans(t, words, 3, "hello|<||e|n|d|||>|[<|end|>]"));
    tg_tokenizer_free(t);
    t = make_spm();
    /* pieces that spell it never join into it */
    CU_ASSERT(encodes(t, "<s>", false, "[<s>]| |<s|>"));
    CU_ASSERT(encodes(t, "<s>a", true, "[<s>]| |a"));    /* and BOS is not doubled */
    tg_tokenizer_free(t);
}

static void round_trip(const tg_tokenizer *t, const char *text, size_t len)
{
    tg_token_list tokens = {0};
    tg_buf got;
    tg_buf_init(&got, 0);
    const tg_token_span span = {{text, len}, false};
    CU_ASSERT_EQUAL(tg_tokenizer_encode(t, &span, 1, true, &tokens), 0);
    tg_detokenizer state = {.at_start = true};
    for (size_t i = 0; i < tokens.len; i++) {
        CU_ASSERT_EQUAL(tg_detokenizer_push(&state, t, tokens.ids[i], &got), 0);
        CU_ASSERT(tg_utf8_valid(got.data, got.len)); /* never half a character */
    }
    CU_ASSERT_EQUAL(tg_detokenizer_end(&state, &got), 0);
    if (tg_utf8_valid(text, len))
        CU_ASSERT(tg_str_eq(tg_buf_str(&got), (tg_str){text, len}));
    CU_ASSERT(tg_utf8_valid(got.data, got.len));
    tg_buf_free(&got);
    tg_token_list_free(&tokens);
}

static void test_round_trip(void)
{
    static const char *const parts[] = {"hello",    " ",        "  ",           "\n",
                                        "ab",       "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x98\x80",
                                        "\xcc\x81", "7",        "<|end|>",      "\xff",
                                        "\xe4\xb8", "'s",       "<tool>"};
    tg_tokenizer *both[] = {make_bpe(), make_spm()};
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(500); round++) {
        char text[256];
        size_t len = 0;
        for (uint64_t n = draw(&random) % 20; n > 0; n--) {
            const char *part = parts[draw(&random) % (sizeof(parts) / sizeof(parts[0]))];
            memcpy(text + len, part, strlen(part));
            len += strlen(part);
        }
        round_trip(both[0], text, len);
        round_trip(both[1], text, len);
    }
    tg_tokenizer_free(both[0]);
    tg_tokenizer_free(both[1]);
}

static void test_broken_bytes_become_replacements(void)
{
    tg_tokenizer *t = make_bpe();
    tg_detokenizer state = {0};
    tg_buf got;
    tg_buf_init(&got, 0);
    const uint8_t bytes[] = {0xe4, 0xb8, 'x', 0xe4, 0xb8, 0xad, 0xf0, 0x9f};
    for (size_t i = 0; i < sizeof(bytes); i++)
        tg_detokenizer_push(&state, t, BYTES_AT + bytes[i], &got);
    CU_ASSERT(tg_str_is(tg_buf_str(&got), "\xef\xbf\xbd\xef\xbf\xbdx\xe4\xb8\xad"));
    tg_detokenizer_end(&state, &got);
    CU_ASSERT(tg_utf8_valid(got.data, got.len));
    CU_ASSERT_EQUAL(tg_detokenizer_push(&state, t, 100000, &got), -EINVAL);
    tg_buf_free(&got);
    tg_tokenizer_free(t);
}

static void test_long_runs(void) /* quadratic time would show as a hang */
{
    enum { LEN = 1 << 20 };
    char *text = malloc(LEN);
    tg_tokenizer *t = make_bpe();
    tg_token_list tokens = {0};
    const tg_token_span span = {{text, LEN}, false};
    const char fills[] = {'l', ' ', '<', '7'};
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(text, fills[i], LEN);
        tokens.len = 0;
        CU_ASSERT_EQUAL(tg_tokenizer_encode(t, &span, 1, true, &tokens), 0);
        CU_ASSERT(tokens.len > 0);
    }
    tg_token_list_free(&tokens);
    tg_tokenizer_free(t);
    free(text);
}

/* A list says how many ids it takes: exactly so many go in. */
static void test_lists_take_so_many(void)
{
    char *text = malloc(1 << 20);
    tg_tokenizer *tokenizers[] = {make_bpe(), make_spm()};
    memset(text, 'z', 1 << 20);
    for (size_t k = 0; k < 2; k++) {
        tg_token_list whole = {0};
        const tg_token_span some = {{text, 100}, false}, all = {{text, 1 << 20}, false};
        CU_ASSERT_EQUAL_FATAL(tg_tokenizer_encode(tokenizers[k], &some, 1, true, &whole), 0);
        for (size_t most = whole.len - 1; most <= whole.len; most++) {
            tg_token_list tokens = {.most = most};
            CU_ASSERT_EQUAL(tg_tokenizer_encode(tokenizers[k], &some, 1, true, &tokens),
                            most < whole.len ? -EMSGSIZE : 0);
            CU_ASSERT_EQUAL(tokens.len, most);
            tg_token_list_free(&tokens);
        }
        tg_token_list tokens = {.most = 200};
        CU_ASSERT_EQUAL(tg_tokenizer_encode(tokenizers[k], &all, 1, true, &tokens), -EMSGSIZE);
        CU_ASSERT_EQUAL(tokens.len, 0); /* it was not begun */
        tg_token_list_free(&whole);
        tg_token_list_free(&tokens);
        tg_tokenizer_free(tokenizers[k]);
    }
    free(text);
}

static void test_refusals(void)
{
    const tg_str tokens[] = {TG_STR("a")};
    tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_BPE,
                              .tokens = tokens,
                              .tokens_len = 1,
                              .pre = "odd",
                              .bos = TG_TOKEN_NONE,
                              .eos = TG_TOKEN_NONE,
                              .unk = TG_TOKEN_NONE};
    tg_tokenizer *t = NULL;
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_tokenizer_new(&conf, &err, &t), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'odd'"));
    conf.pre = NULL;
    conf.eos = 1;
    CU_ASSERT_EQUAL(tg_tokenizer_new(&conf, NULL, &t), -EINVAL);
    conf.eos = 0;
    conf.tokens_len = 0;
    CU_ASSERT_EQUAL(tg_tokenizer_new(&conf, NULL, &t), -EINVAL);
    CU_ASSERT_PTR_NULL(tg_tokenizer_free(NULL));
}

enum { COLLIDING = 1100, PARTS = 700, PLACES = 4096 }; /* an index of as many has so many places */

static int load_bpe(const tg_str *tokens, size_t tokens_len, const tg_str *merges,
                    size_t merges_len, tg_error *err)
{
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_BPE,
                                    .tokens = tokens,
                                    .tokens_len = tokens_len,
                                    .merges = merges,
                                    .merges_len = merges_len,
                                    .pre = "gpt-2",
                                    .bos = TG_TOKEN_NONE,
                                    .eos = TG_TOKEN_NONE,
                                    .unk = TG_TOKEN_NONE};
    tg_tokenizer *t = NULL;
    const int rc = tg_tokenizer_new(&conf, err, &t);
    tg_tokenizer_free(t);
    return rc;
}

/* Texts that a file's author chose so that all of them want the same place. */
static void test_colliding_texts(void)
{
    static char texts[COLLIDING][16];
    tg_str tokens[COLLIDING];
    tg_error err = {""};
    for (uint32_t i = 0, n = 0; n < COLLIDING; i++) {
        uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, as the index has it */
        const int len = snprintf(texts[n], sizeof(texts[n]), "%x", i);
        for (int k = 0; k < len; k++)
            hash = (hash ^ (unsigned char)texts[n][k]) * 0x100000001b3u;
        if (((hash ^ hash >> 32) & (PLACES - 1)) == 0) {
            tokens[n] = tg_str_of(texts[n]);
            n++;
        }
    }
    CU_ASSERT_EQUAL(load_bpe(tokens, 1000, NULL, 0, &err), 0);
    CU_ASSERT_EQUAL(load_bpe(tokens, COLLIDING, NULL, 0, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "token 1024 and 1024 others collide"));
}

/* Merges that fill a run of places, and then some that want its first one. */
static void test_colliding_merges(void)
{
    static char parts[PARTS][4], joined[COLLIDING][8], lines[COLLIDING][8];
    tg_str tokens[PARTS + COLLIDING], merges[COLLIDING];
    tg_error err = {""};
    size_t n = 0;
    for (uint32_t i = 0; i < PARTS; i++) {
        snprintf(parts[i], sizeof(parts[i]), "%03x", i);
        tokens[i] = tg_str_of(parts[i]);
    }
    for (uint64_t place = 10; place-- > 0;)
        for (uint64_t left = 0; left < PARTS; left++)
            for (uint64_t right = 0; right < PARTS && n < COLLIDING; right++) {
                const uint64_t hash = (left << 32 | right) * 0x9e3779b97f4a7c15u;
                if ((hash >> 32 & (PLACES - 1)) != place)
                    continue;
                snprintf(joined[n], sizeof(joined[n]), "%s%s", parts[left], parts[right]);
                snprintf(lines[n], sizeof(lines[n]), "%s %s", parts[left], parts[right]);
                tokens[PARTS + n] = tg_str_of(joined[n]);
                merges[n] = tg_str_of(lines[n]);
                n++;
            }
    CU_ASSERT_EQUAL_FATAL(n, COLLIDING);
    CU_ASSERT_EQUAL(load_bpe(tokens, PARTS + COLLIDING, merges, 1000, &err), 0);
    CU_ASSERT_EQUAL(load_bpe(tokens, PARTS + COLLIDING, merges, COLLIDING, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "and 1024 others collide"));
}

static const tg_test tests[] = {
    {"colliding_texts", test_colliding_texts},
    {"colliding_merges", test_colliding_merges},
    {"bpe", test_bpe},
    {"sentencepiece", test_sentencepiece},
    {"control_tokens_only_from_trusted_text", test_control_tokens_only_from_trusted_text},
    {"round_trip", test_round_trip},
    {"broken_bytes_become_replacements", test_broken_bytes_become_replacements},
    {"long_runs", test_long_runs},
    {"lists_take_so_many", test_lists_take_so_many},
    {"refusals", test_refusals}};
TG_TEST_MAIN("libs_tokenizer_tokenizer", tests)
