#include "services/inference/constrain/constraint.h"
#include "services/inference/text/json_tree.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <string.h>

/* A vocabulary of every byte, and of pieces that go past the ends of lexemes in many ways. */
static const char *const pieces[] = {"{\"", "\":", "\": \"", "\",", "\", \"", "\"}", "\"}}", "},", "]}", "[[", "],[", "null", "true}", "1,", "12",
                                     "-0.", "e+", ": {", " \"", " {", "\n  ", "\n    \"", "ab", "abc\"", "a\\", "\\\"", "\\u00", "\\ud8", "\xc3\xa9",
                                     "\xf0\x9f", "\x98\x80", "yes", "no", "yes, no", "0123", "2026-", "-11", "\":[", "\"]", "false,\"", "{}", "{},"};
enum { PIECES = sizeof(pieces) / sizeof(*pieces), VOCAB = 256 + PIECES + 2, WORDS = (VOCAB + 63) / 64 };

typedef struct world {
    char bytes[256][4];
    tg_tokenizer *tokenizer;
    tg_vocab_trie *trie;
} world;

/* GPT-2's spelling of a byte is not needed: SentencePiece's byte tokens and plain pieces say it. */
static void world_make(world *w)
{
    static char names[256][8];
    tg_str texts[VOCAB];
    int32_t types[VOCAB];
    float scores[VOCAB] = {0};
    for (uint32_t i = 0; i < 256; i++) {
        snprintf(names[i], sizeof(names[i]), "<0x%02X>", i);
        texts[i] = tg_str_of(names[i]);
        types[i] = TG_TOKEN_BYTE;
    }
    for (uint32_t i = 0; i < PIECES; i++) {
        texts[256 + i] = tg_str_of(pieces[i]);
        types[256 + i] = TG_TOKEN_NORMAL;
    }
    texts[VOCAB - 2] = TG_STR("ab"); /* the same bytes twice */
    types[VOCAB - 2] = TG_TOKEN_NORMAL;
    texts[VOCAB - 1] = TG_STR("</s>");
    types[VOCAB - 1] = TG_TOKEN_CONTROL;
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_SENTENCEPIECE, .tokens = texts, .tokens_len = VOCAB, .types = types, .scores = scores,
                                    .bos = TG_TOKEN_NONE, .eos = VOCAB - 1, .unk = TG_TOKEN_NONE};
    tg_error err = {""};
    *w = (world){.trie = NULL};
    if (tg_tokenizer_new(&conf, &err, &w->tokenizer) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->tokenizer);
    CU_ASSERT_EQUAL_FATAL(tg_vocab_trie_new(w->tokenizer, &w->trie), 0);
}

static void world_free(world *w)
{
    tg_vocab_trie_free(w->trie);
    tg_tokenizer_free(w->tokenizer);
}

static tg_constraint *compile(const world *w, tg_constraint_kind kind, const tg_str *texts, size_t len)
{
    tg_error err = {""};
    tg_constraint *c = NULL;
    if (tg_constraint_compile(&(tg_constraint_spec){kind, texts, len}, w->trie, &err, &c) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    return c;
}

static bool allows(const uint64_t *allowed, uint32_t token) { return allowed[token / 64] >> (token % 64) & 1; }

/* Whether the token leads on: the history and the token, from the beginning. */
static bool leads_on(tg_constraint *c, const uint32_t *history, uint32_t len, uint32_t token)
{
    tg_constraint_state *s = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    bool goes = true;
    for (uint32_t i = 0; i < len && goes; i++)
        goes = tg_constraint_advance(s, history[i]);
    CU_ASSERT(goes);
    goes = tg_constraint_advance(s, token);
    tg_constraint_state_free(s);
    return goes;
}

enum { LENGTH_MAX = 60 };

typedef struct answer {
    uint32_t tokens[LENGTH_MAX];
    uint32_t len;
    bool ended;
    tg_buf text;
} answer;

/* Draws from what is allowed until the end; compares some masks with trying every token. */
static void draw(const world *w, tg_constraint *c, uint64_t *random, uint32_t check_one_in, answer *a)
{
    uint64_t allowed[WORDS];
    tg_constraint_state *s = NULL;
    a->len = 0;
    a->ended = false;
    tg_buf_clear(&a->text);
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    while (a->len < LENGTH_MAX && !tg_constraint_must_end(s)) {
        uint32_t candidates[VOCAB], len = 0;
        CU_ASSERT_EQUAL_FATAL(tg_constraint_mask(s, allowed), 0);
        const bool check = tiny_random(random) % check_one_in == 0;
        for (uint32_t token = 0; token < VOCAB; token++) {
            if (check && allows(allowed, token) != leads_on(c, a->tokens, a->len, token))
                printf("# after '%.*s': token %u\n", (int)a->text.len, a->text.data, token);
            if (check)
                CU_ASSERT_EQUAL_FATAL(allows(allowed, token), leads_on(c, a->tokens, a->len, token));
            if (allows(allowed, token))
                candidates[len++] = token;
        }
        CU_ASSERT_FATAL(len > 0); /* whatever is allowed can be finished */
        if (tg_constraint_may_end(s) && tiny_random(random) % 3 == 0)
            break;
        /* Pieces more often than bytes: most bytes only lead on within strings. */
        uint32_t token = candidates[tiny_random(random) % len];
        if (token < 256 && tiny_random(random) % 4 != 0)
            token = candidates[tiny_random(random) % len];
        CU_ASSERT_FATAL(tg_constraint_advance(s, token));
        tg_buf_add_str(&a->text, tg_tokenizer_piece(w->tokenizer, token));
        a->tokens[a->len++] = token;
    }
    a->ended = tg_constraint_may_end(s);
    tg_constraint_state_free(s);
}

static void test_choice(void)
{
    const tg_str texts[] = {TG_STR("yes"), TG_STR("no"), TG_STR("yes, no"), TG_STR("n\xc3\xa9")};
    uint64_t random = tg_test_seed();
    world w;
    answer a;
    bool seen[4] = {false};
    world_make(&w);
    tg_buf_init(&a.text, 0);
    tg_constraint *c = compile(&w, TG_CONSTRAINT_CHOICE, texts, 4);
    for (int i = 0; i < 300; i++) {
        draw(&w, c, &random, 8, &a);
        CU_ASSERT(a.ended);
        bool known = false;
        for (size_t k = 0; k < 4; k++)
            if (tg_str_eq(tg_buf_str(&a.text), texts[k]))
                known = seen[k] = true;
        CU_ASSERT(known);
    }
    CU_ASSERT(seen[0] && seen[1] && seen[2] && seen[3]);
    tg_constraint_release(c);
    tg_buf_free(&a.text);
    world_free(&w);
}

static void test_regex(void)
{
    static const char *const patterns[] = {"(yes|no)(, (yes|no)){0,3}", "[0-9]{4}-[01][0-9]-[0-3][0-9]", "\"[a-c\xc3\xa9]*\"[,}]+"};
    uint64_t random = tg_test_seed();
    world w;
    answer a;
    world_make(&w);
    tg_buf_init(&a.text, 0);
    for (size_t k = 0; k < 3; k++) {
        tg_constraint *c = compile(&w, TG_CONSTRAINT_REGEX, &(tg_str){patterns[k], strlen(patterns[k])}, 1);
        for (int i = 0; i < 60; i++) {
            draw(&w, c, &random, 8, &a);
            CU_ASSERT(k == 2 || a.ended);
            CU_ASSERT(tg_utf8_whole(a.text.data ? a.text.data : "", a.text.len) + 4 > a.text.len);
        }
        tg_constraint_release(c);
    }
    tg_buf_free(&a.text);
    world_free(&w);
}

/* Whatever comes out of it whole is an object that a strict reader takes; and what is cut has not gone astray. */
static void test_json_object(void)
{
    uint64_t random = tg_test_seed();
    world w;
    answer a;
    tg_arena arena;
    size_t ended = 0;
    world_make(&w);
    tg_arena_init(&arena, 0);
    tg_buf_init(&a.text, 0);
    tg_constraint *c = compile(&w, TG_CONSTRAINT_JSON_OBJECT, NULL, 0);
    for (size_t i = 0; i < tg_test_rounds(400); i++) {
        const tg_json_node *root = NULL;
        tg_error err = {""};
        draw(&w, c, &random, 60, &a);
        if (!a.ended)
            continue;
        ended++;
        tg_arena_reset(&arena);
        const int rc = tg_json_tree_parse(tg_buf_str(&a.text), &arena, &err, &root);
        const bool twice = rc < 0 && strstr(err.text, "has already"); /* keys are not held against each other */
        if (rc < 0 && !twice)
            printf("# %.*s: %s\n", (int)a.text.len, a.text.data, err.text);
        CU_ASSERT(twice || (rc == 0 && root->kind == TG_JSON_OBJECT));
    }
    CU_ASSERT(ended > 20);
    tg_constraint_release(c);
    tg_buf_free(&a.text);
    tg_arena_free(&arena);
    world_free(&w);
}

/* As deep as is allowed, and not one deeper. */
static void test_depth(void)
{
    world w;
    tg_constraint_state *s = NULL;
    uint32_t deep = 0;
    world_make(&w);
    tg_constraint *c = compile(&w, TG_CONSTRAINT_JSON_OBJECT, NULL, 0);
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    CU_ASSERT(tg_constraint_advance(s, '{') && tg_constraint_advance(s, '"') && tg_constraint_advance(s, '"') && tg_constraint_advance(s, ':'));
    uint64_t allowed[WORDS];
    for (; deep < 200; deep++) {
        tg_constraint_mask(s, allowed);
        if (!allows(allowed, '['))
            break;
        CU_ASSERT_FATAL(tg_constraint_advance(s, '['));
    }
    CU_ASSERT(deep > 20 && deep < 64);
    for (; deep > 0; deep--)
        CU_ASSERT_FATAL(tg_constraint_advance(s, ']'));
    CU_ASSERT(tg_constraint_advance(s, '}') && tg_constraint_must_end(s) && tg_constraint_may_end(s));
    CU_ASSERT(!tg_constraint_advance(s, '}'));
    tg_constraint_state_free(s);
    tg_constraint_release(c);
    world_free(&w);
}

static void test_refusals(void)
{
    const tg_str empty = TG_STR(""), broken = TG_STR("a(b"), many = TG_STR("([a-z]{4000}){4000}");
    world w;
    tg_error err = {""};
    tg_constraint *c = NULL;
    world_make(&w);
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_CHOICE, &empty, 1}, w.trie, &err, &c), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "text 0"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_CHOICE, NULL, 0}, w.trie, &err, &c), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "1024"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_REGEX, &broken, 1}, w.trie, &err, &c), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "')'"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_REGEX, &many, 1}, w.trie, &err, &c), -EMSGSIZE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "too large"));
    world_free(&w);
}

static const tg_test tests[] = {{"choice", test_choice},
                                {"regex", test_regex},
                                {"json_object", test_json_object},
                                {"depth", test_depth},
                                {"refusals", test_refusals}};
TG_TEST_MAIN("services_inference_constrain_constraint", tests)
