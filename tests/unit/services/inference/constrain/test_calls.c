#include "services/inference/constrain/calls.h"

#include "services/inference/constrain/schema.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/constrain/constraint_world.h"

#include <stdlib.h>

enum { TEXTS_MAX = 32 };

/* `texts` as calls.h has them, to NULL. */
static tg_constraint *compile(const world *w, const char *const *texts)
{
    tg_str all[TEXTS_MAX];
    size_t len = 0;
    tg_error err = {""};
    tg_constraint *c = NULL;
    for (; texts[len]; len++)
        all[len] = tg_str_of(texts[len]);
    if (tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_CALL, all, len}, w->trie, &err,
                              &c) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    return c;
}

/* Whether the whole text is a call, and nothing can follow it. */
static bool takes(tg_constraint *c, const char *text)
{
    tg_constraint_state *s = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    const bool goes = tg_constraint_advance_text(s, tg_str_of(text)) && tg_constraint_must_end(s);
    tg_constraint_state_free(s);
    return goes;
}

static void check(tg_constraint *c, bool good, const char *const *texts)
{
    for (; *texts; texts++) {
        const bool taken = takes(c, *texts);
        if (taken != good)
            printf("# %s: %s\n", taken ? "is taken" : "is not taken", *texts);
        CU_ASSERT_EQUAL(taken, good);
    }
}

static const char *why(const tg_constraint *c)
{
    const char *text = "";
    return tg_constraint_loose(c, &text), text;
}

/* Names and arguments go together; references are each tool's own. */
static void test_form(void)
{
    static const char *const texts[] = {
        "",
        "",
        "arguments",
        "look",
        "{\"properties\":{\"n\":{\"$ref\":\"#/$defs/n\"}},\"required\":[\"n\"],"
        "\"$defs\":{\"n\":{\"type\":\"integer\",\"minimum\":3,\"maximum\":12}}}",
        "a\"b",
        "{\"properties\":{\"n\":{\"$ref\":\"#/$defs/"
        "n\"},\"self\":{\"$ref\":\"#\"}},\"required\":[\"n\"],"
        "\"$defs\":{\"n\":{\"const\":true}}}",
        "any",
        "{}",
        NULL};
    static const char *const good[] = {
        "{\"name\":\"look\",\"arguments\":{\"n\":12}}",
        "\n{\"name\": \"look\", \"arguments\": {\"n\":7}}",
        "{\n  \"name\": \"a\\\"b\",\n  \"arguments\": {\"n\":true,\"self\":{\"n\":true}}\n}",
        "{\"name\":\"any\",\"arguments\":{\"x\":[1]}}", NULL};
    static const char *const bad[] = {"{\"name\":\"look\",\"arguments\":{\"n\":13}}",
                                      "{\"name\":\"look\",\"arguments\":{\"n\":true}}",
                                      "{\"name\":\"other\",\"arguments\":{}}",
                                      "{\"name\":\"look\",\"parameters\":{\"n\":12}}",
                                      "{\"arguments\":{},\"name\":\"any\"}",
                                      "{\"name\":\"look\"}",
                                      "{\"name\":\"any\",\"arguments\":1}",
                                      "{\"name\":\"any\",\"arguments\":{},\"x\":1}",
                                      "  {\"name\":\"any\",\"arguments\":{}}",
                                      NULL};
    static const char *const wrong[] = {"", "", "arguments", "f", NULL};
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    tg_constraint *c = compile(&w, texts), *none = NULL;
    CU_ASSERT_STRING_EQUAL(why(c), "");
    check(c, true, good);
    check(c, false, bad);
    tg_constraint_release(c);
    for (size_t len = 3; len < 5; len++) { /* no tool, or one without a schema */
        tg_str few[4];
        for (size_t i = 0; i < len && i < 4; i++)
            few[i] = tg_str_of(wrong[i]);
        tg_error err = {""};
        const tg_constraint_spec spec = {TG_CONSTRAINT_CALL, few, len};
        CU_ASSERT_EQUAL(tg_constraint_compile(&spec, w.trie, &err, &none), -EINVAL);
    }
    world_free(&w);
}

/* Arguments alone, of each tool its own; behind the last one comes the whole call. */
static void test_arguments(void)
{
    static const char *const texts[] = {
        "",
        "]",
        "arguments",
        "f",
        "{\"properties\":{\"n\":{\"const\":1}},\"required\":[\"n\"]}",
        "g",
        "{\"not\":{}}",
        "h",
        "{\"properties\":{\"n\":{\"const\":3}},\"required\":[\"n\"]}",
        NULL};
    static const char *const taken[] = {" {\"n\":1}", "{\"x\":[]}", "{\"n\":3}",
                                        "{\"name\":\"f\",\"arguments\":{\"n\":1}}]"};
    tg_constraint_state *s = NULL;
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    tg_constraint *c = compile(&w, texts);
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    for (size_t tool = 0; tool < 4; tool++) {
        for (size_t i = 0; i < 4; i++) {
            tg_constraint_restart(s, tool);
            const bool all =
                tg_constraint_advance_text(s, tg_str_of(taken[i])) && tg_constraint_must_end(s);
            CU_ASSERT_EQUAL(all, i == tool || (tool == 1 && i != 3));
        }
    }
    tg_constraint_state_free(s);
    tg_constraint_release(c);
    world_free(&w);
}

/* As families of models write calls: between two marks, white space between them once. */
static void test_around(void)
{
    static const char *const texts[] = {"<call>\n",
                                        "\n</call>",
                                        "parameters",
                                        "f",
                                        "{\"properties\":{\"a\":{\"type\":\"integer\"}}}",
                                        NULL};
    static const char *const good[] = {
        "<call>\n{\"name\":\"f\",\"parameters\":{\"a\":12}}\n</call>",
        "<call>\n {\"name\":\"f\",\"parameters\":{}} \n</call>",
        "<call>\n\n  {\"name\":\"f\",\"parameters\":{}}\n \n</call>", NULL};
    static const char *const bad[] = {"<call>\n  {\"name\":\"f\",\"parameters\":{}}\n</call>",
                                      "{\"name\":\"f\",\"parameters\":{}}",
                                      "<call>\n{\"name\":\"f\",\"parameters\":{}}  \n</call>",
                                      "<call>\n{\"name\":\"f\",\"parameters\":{}}", NULL};
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    tg_constraint *c = compile(&w, texts);
    check(c, true, good);
    check(c, false, bad);
    tg_constraint_release(c);
    world_free(&w);
}

/* What cannot be held to makes its own tool's calls loose, in any place among others. */
static void test_loose(void)
{
    static const struct {
        const char *schema, *words[3];
    } odd[] = {
        {"{\"properties\":{\"n\":{\"enum\":[1,2]},\"x\":{\"not\":{}}}}",
         {"'odd'", "/properties/x/not", "not supported"}},
        {"{\"type\":\"string\"}", {"'odd'", "no text can satisfy"}},
        {"{\"required\":[\"x\"],\"properties\":{\"x\":false}}", {"'odd'", "no text can satisfy"}},
        {"{\"properties\":{\"s\":{\"pattern\":\"(a|b)*a(a|b){20}\"}}}", {"'odd'", "/properties/s"}},
        {"{\"$ref\":\"#/$defs/n\"}", {"'odd'", "points to nothing"}}};
    static const char *const fine =
        "{\"properties\":{\"n\":{\"enum\":[1,2]}},\"required\":[\"n\"]}";
    static const char *const good[] = {"{\"name\":\"a\",\"arguments\":{\"n\":1}}",
                                       "{\"name\":\"odd\",\"arguments\":{\"x\":[{\"y\":3}]}}",
                                       "{\"name\":\"odd\",\"arguments\":{}}",
                                       "{\"name\":\"b\",\"arguments\":{\"n\":2}}", NULL};
    static const char *const bad[] = {"{\"name\":\"a\",\"arguments\":{\"n\":3}}",
                                      "{\"name\":\"odd\",\"arguments\":[]}",
                                      "{\"name\":\"b\",\"arguments\":{}}", NULL};
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        const char *const texts[3][10] = {
            {"", "", "arguments", "odd", odd[i].schema, "a", fine, "b", fine, NULL},
            {"", "", "arguments", "a", fine, "odd", odd[i].schema, "b", fine, NULL},
            {"", "", "arguments", "a", fine, "b", fine, "odd", odd[i].schema, NULL}};
        for (size_t place = 0; place < 3; place++) {
            const char *text;
            tg_constraint *c = compile(&w, texts[place]);
            CU_ASSERT_EQUAL(tg_constraint_loose(c, &text), 1);
            for (size_t k = 0; k < 3 && odd[i].words[k]; k++) {
                CU_ASSERT_PTR_NOT_NULL(strstr(text, odd[i].words[k]));
                if (!strstr(text, odd[i].words[k]))
                    printf("# %s: %s\n", odd[i].schema, text);
            }
            check(c, true, good);
            check(c, false, bad);
            tg_constraint_release(c);
        }
    }
    world_free(&w);
}

/* Only tools that cannot be called as they say: they can be called all the same. */
static void test_all_loose(void)
{
    static const char *const texts[] = {
        "", "", "arguments", "f", "{\"type\":\"null\"}", "g", "{\"type\":\"array\"}", NULL};
    static const char *const good[] = {"{\"name\":\"f\",\"arguments\":{}}",
                                       "{\"name\":\"g\",\"arguments\":{\"a\":1}}", NULL};
    const char *text;
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    tg_constraint *c = compile(&w, texts);
    CU_ASSERT_EQUAL(tg_constraint_loose(c, &text), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "'f'"));
    check(c, true, good);
    tg_constraint_release(c);
    world_free(&w);
}

/* Bounds are those of all tools together: who comes when they are used up is loose, and the others
 * are held. */
static void test_bounds(void)
{
    static const char *const held = "{\"name\":\"a\",\"arguments\":{\"n\":3}}",
                             *const first = "{\"properties\":{\"n\":{\"const\":1}}}";
    /* 2^21 states, which are too many */
    static const char dear[] = "{\"properties\":{\"s\":{\"pattern\":\"(a|b)*a(a|b){20}\"}}}";
    const char *texts[] = {"",  "",   "arguments", "a",  first, "b",   dear,
                           "c", dear, "d",         dear, "e",   first, NULL},
               *text;
    char *large = malloc(TG_SCHEMA_BYTES_MAX + 1);
    world w;
    CU_ASSERT_FATAL(world_make(&w) && large);
    tg_constraint *c = compile(&w, texts);
    CU_ASSERT_EQUAL(tg_constraint_loose(c, &text), 4); /* e as well: there is no work left */
    CU_ASSERT(!takes(c, held) && takes(c, "{\"name\":\"e\",\"arguments\":{\"n\":3}}"));
    tg_constraint_release(c);
    size_t len = (size_t)sprintf(large, "{\"properties\":{");
    for (int i = 0; i < 64; i++)
        len += (size_t)sprintf(large + len, "\"%d\":{\"type\":\"array\",\"minItems\":4096},", i);
    strcpy(large + len - 1, "}}");
    const char *const wide[] = {"", "", "arguments", "b", large, "a", first, NULL};
    c = compile(&w, wide);
    CU_ASSERT(tg_constraint_loose(c, &text) == 1 && strstr(text, "'b'") &&
              strstr(text, "too large") && !takes(c, held));
    tg_constraint_release(c);
    snprintf(large, TG_SCHEMA_BYTES_MAX + 1, "{\"title\":\"%*s\"}", (int)TG_SCHEMA_BYTES_MAX - 12,
             "x");
    CU_ASSERT_EQUAL(strlen(large), TG_SCHEMA_BYTES_MAX);
    texts[6] = large;
    texts[7] = NULL;
    c = compile(&w, texts); /* b */
    CU_ASSERT(tg_constraint_loose(c, &text) == 1 && strstr(text, "'b'") &&
              strstr(text, "bytes together") && !takes(c, held));
    tg_constraint_release(c);
    texts[4] = large;
    texts[5] = NULL;
    c = compile(&w, texts);
    CU_ASSERT_EQUAL(tg_constraint_loose(c, &text), 0);
    tg_constraint_release(c);
    world_free(&w);
    free(large);
}

static const tg_test tests[] = {{"form", test_form},
                                {"arguments", test_arguments},
                                {"around", test_around},
                                {"loose", test_loose},
                                {"all_loose", test_all_loose},
                                {"bounds", test_bounds}};
TG_TEST_MAIN("services_inference_constrain_calls", tests)
