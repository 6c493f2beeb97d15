#include "tests/unit/services/inference/constrain/constraint_world.h"

#include "services/inference/text/json_tree.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static tg_constraint *compile(const world *w, tg_constraint_kind kind, const tg_str *texts,
                              size_t len)
{
    tg_error err = {""};
    tg_constraint *c = NULL;
    if (tg_constraint_compile(&(tg_constraint_spec){kind, texts, len}, w->trie, &err, &c) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    return c;
}

static void test_choice(void)
{
    const tg_str texts[] = {TG_STR("yes"), TG_STR("no"), TG_STR("yes, no"), TG_STR("n\xc3\xa9")};
    uint64_t random = tg_test_seed();
    world w;
    world_answer a = {.most = 60};
    bool seen[4] = {false};
    CU_ASSERT_FATAL(world_make(&w));
    tg_buf_init(&a.text, 0);
    tg_constraint *c = compile(&w, TG_CONSTRAINT_CHOICE, texts, 4);
    for (int i = 0; i < 300; i++) {
        CU_ASSERT(world_draw(&w, c, &random, 8, &a));
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
    static const char *const patterns[] = {
        "(yes|no)(, (yes|no)){0,3}", "[0-9]{4}-[01][0-9]-[0-3][0-9]", "\"[a-c\xc3\xa9]*\"[,}]+"};
    uint64_t random = tg_test_seed();
    world w;
    world_answer a = {.most = 60};
    CU_ASSERT_FATAL(world_make(&w));
    tg_buf_init(&a.text, 0);
    for (size_t k = 0; k < 3; k++) {
        tg_constraint *c =
            compile(&w, TG_CONSTRAINT_REGEX, &(tg_str){patterns[k], strlen(patterns[k])}, 1);
        for (int i = 0; i < 60; i++) {
            CU_ASSERT(world_draw(&w, c, &random, 8, &a));
            CU_ASSERT(k == 2 || a.ended);
            CU_ASSERT(tg_utf8_whole(a.text.data ? a.text.data : "", a.text.len) + 4 > a.text.len);
        }
        tg_constraint_release(c);
    }
    tg_buf_free(&a.text);
    world_free(&w);
}

/* Whatever comes out of it whole is an object that a strict reader takes; and what is cut has not
 * gone astray. */
static void test_json_object(void)
{
    uint64_t random = tg_test_seed();
    world w;
    world_answer a = {.most = 60};
    tg_arena arena;
    size_t ended = 0;
    CU_ASSERT_FATAL(world_make(&w));
    tg_arena_init(&arena, 0);
    tg_buf_init(&a.text, 0);
    tg_constraint *c = compile(&w, TG_CONSTRAINT_JSON_OBJECT, NULL, 0);
    for (size_t i = 0; i < tg_test_rounds(400); i++) {
        const tg_json_node *root = NULL;
        tg_error err = {""};
        CU_ASSERT(world_draw(&w, c, &random, 60, &a));
        if (!a.ended)
            continue;
        ended++;
        tg_arena_reset(&arena);
        const int rc = tg_json_tree_parse(tg_buf_str(&a.text), &arena, &err, &root);
        /* keys are not held against each other */
        const bool twice = rc < 0 && strstr(err.text, "has already");
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
    CU_ASSERT_FATAL(world_make(&w));
    tg_constraint *c = compile(&w, TG_CONSTRAINT_JSON_OBJECT, NULL, 0);
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    CU_ASSERT(tg_constraint_advance(s, '{') && tg_constraint_advance(s, '"') &&
              tg_constraint_advance(s, '"') && tg_constraint_advance(s, ':'));
    const uint64_t *allowed = NULL;
    for (; deep < 200; deep++) {
        tg_constraint_mask(s, NULL, &allowed);
        if (!world_allows(allowed, '['))
            break;
        CU_ASSERT_FATAL(tg_constraint_advance(s, '['));
    }
    CU_ASSERT(deep > 20 && deep < 64);
    for (; deep > 0; deep--)
        CU_ASSERT_FATAL(tg_constraint_advance(s, ']'));
    CU_ASSERT(tg_constraint_advance(s, '}') && tg_constraint_must_end(s) &&
              tg_constraint_may_end(s));
    CU_ASSERT(!tg_constraint_advance(s, '}'));
    tg_constraint_state_free(s);
    tg_constraint_release(c);
    world_free(&w);
}

/* In thousands of states of all kinds the mask is what trying every token says. Short texts: each
 * try begins anew. */
static void test_masks(void)
{
    static const struct {
        tg_constraint_kind kind;
        const char *text;
    } forms[] = {
        {TG_CONSTRAINT_JSON_OBJECT, NULL},
        {TG_CONSTRAINT_CHOICE, "yes, no: yes 0123456789"},
        {TG_CONSTRAINT_REGEX, "([a-c]|\\u{e9}|[\\u{1f600}-\\u{1f60f}])*(\"|,|true\\})+"},
        {TG_CONSTRAINT_REGEX, ".{0,20}\"\\}"},
        {TG_CONSTRAINT_JSON_SCHEMA, "{}"},
        {TG_CONSTRAINT_JSON_SCHEMA, "{\"type\":\"string\",\"minLength\":2,\"maxLength\":40}"},
        {TG_CONSTRAINT_JSON_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^[ab]*[^a]{3,9}$\"}"},
        {TG_CONSTRAINT_JSON_SCHEMA,
         "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"minimum\":-11,\"maximum\":123.5}}"},
        {TG_CONSTRAINT_JSON_SCHEMA,
         "{\"properties\":{\"ab\":{\"type\":\"boolean\"},\"a\":{\"type\":[\"null\",\"integer\"]},"
         "\"b\":{\"enum\":[12,\"ab\",[[1]]]}},"
         "\"additionalProperties\":{\"type\":\"string\",\"maxLength\":3}}"},
        {TG_CONSTRAINT_JSON_SCHEMA, "{\"properties\":{\"a\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":"
                                    "\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}},"
                                    "\"required\":[\"a\"]}"},
    };
    enum { FORMS = sizeof(forms) / sizeof(*forms) };
    uint64_t random = tg_test_seed();
    world w;
    world_answer a = {.most = 12};
    size_t states = 0;
    CU_ASSERT_FATAL(world_make(&w));
    for (size_t f = 0; f < FORMS; f++) {
        const tg_str text = tg_str_of(forms[f].text);
        tg_constraint *c = compile(&w, forms[f].kind, &text, forms[f].text != NULL);
        for (size_t began = states; states - began < tg_test_rounds(10000) / FORMS;
             states += a.len + 1)
            CU_ASSERT_FATAL(world_draw(&w, c, &random, 1, &a));
        tg_constraint_release(c);
    }
    tg_buf_free(&a.text);
    world_free(&w);
}

/* Words of two to six bytes, two out of three of which are letters or digits like the one
 * before. */
static void make_words(char words[WORLD_PIECES][8], uint64_t *random)
{
    for (size_t i = 0; i < WORLD_PIECES; i++) {
        const size_t len = 2 + world_random(random) % 5;
        memset(words[i], 0, sizeof(words[i]));
        for (size_t at = 0; at < len; at++) {
            const char letter = at > 0 && world_random(random) % 3
                                    ? words[i][at - 1]
                                    : "abAB12 ,"[world_random(random) % 8];
            words[i][at] = letter < '0'
                               ? letter
                               : (char)(letter / 8 * 8 + 1 + (char)(world_random(random) % 3));
        }
    }
}

/* The same where letters and digits come in runs, with ever other words: subtrees of such words are
 * taken at once. */
static void test_runs(void)
{
    static const char *const patterns[] = {"[A-C][a-c]+(, [A-C][a-c]+)*[.]",
                                           "[a-c]+[0-9]*",
                                           "( [a-c]+| ?[A-C]+)+",
                                           "[0-9]+,[a-c]*",
                                           "([a-c]|[bc]1+[a-c]){2,9}",
                                           "[a-cA-C ]{0,7}[,1]?"};
    enum { PATTERNS = sizeof(patterns) / sizeof(*patterns) };
    uint64_t random = tg_test_seed();
    world_answer a = {.most = 6};
    tg_buf_init(&a.text, 0);
    for (size_t k = 0; k < 8 * PATTERNS; k++) {
        const char *pattern = patterns[k % PATTERNS], *pieces[WORLD_PIECES];
        const bool alone = k / PATTERNS % 2 == 0;
        char words[WORLD_PIECES][8], schema[128];
        world w;
        make_words(words, &random);
        for (size_t i = 0; i < WORLD_PIECES; i++)
            pieces[i] = words[i];
        CU_ASSERT_FATAL(world_make_of(&w, pieces));
        snprintf(schema, sizeof(schema), "{\"type\":\"string\",\"pattern\":\"^(%s)$\"}", pattern);
        const tg_str text = tg_str_of(alone ? pattern : schema);
        tg_constraint *c =
            compile(&w, alone ? TG_CONSTRAINT_REGEX : TG_CONSTRAINT_JSON_SCHEMA, &text, 1);
        for (size_t i = 0; i < tg_test_rounds(10); i++)
            CU_ASSERT_FATAL(world_draw(&w, c, &random, 1, &a));
        tg_constraint_release(c);
        world_free(&w);
    }
    tg_buf_free(&a.text);
}

static void test_refusals(void)
{
    const tg_str empty = TG_STR(""), broken = TG_STR("a(b"), many = TG_STR("([a-z]{4000}){4000}");
    world w;
    tg_error err = {""};
    tg_constraint *c = NULL;
    CU_ASSERT_FATAL(world_make(&w));
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_CHOICE, &empty, 1},
                                          w.trie, &err, &c),
                    -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "text 0"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_CHOICE, NULL, 0},
                                          w.trie, &err, &c),
                    -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "1024"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_REGEX, &broken, 1},
                                          w.trie, &err, &c),
                    -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "')'"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_REGEX, &many, 1},
                                          w.trie, &err, &c),
                    -EMSGSIZE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "too large"));
    world_free(&w);
}

static const tg_test tests[] = {{"choice", test_choice},
                                {"regex", test_regex},
                                {"json_object", test_json_object},
                                {"depth", test_depth},
                                {"masks", test_masks},
                                {"runs", test_runs},
                                {"refusals", test_refusals}};
TG_TEST_MAIN("services_inference_constrain_constraint", tests)
