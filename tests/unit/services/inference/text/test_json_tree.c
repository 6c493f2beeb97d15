#include "services/inference/text/json_tree.h"
#include "libs/base/buf.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const tg_json_node *parse(tg_arena *arena, const char *text)
{
    const tg_json_node *root = NULL;
    tg_error err = {""};
    int rc = tg_json_tree_parse(tg_str_of(text), arena, &err, &root);
    if (rc)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return root;
}

static void test_kinds_and_order(void)
{
    tg_arena arena;
    tg_arena_init(&arena, 0);
    static const char text[] = " {\"z\" : [1, -2.5e1, 9223372036854775807, 9223372036854775808],"
                               "\n\"a\": {\"n\":null,\"t\":true,\"f\":false} ,\"s\":\"\"} ";
    const tg_json_node *root = parse(&arena, text);
    CU_ASSERT_EQUAL(root->len, 3);
    CU_ASSERT(tg_str_is(root->first->key, "z"));
    CU_ASSERT(tg_str_is(root->first->next->key, "a"));
    const tg_json_node *n = tg_json_tree_get(root, "z")->first;
    CU_ASSERT(n->is_int && n->integer == 1);
    n = n->next;
    CU_ASSERT(!n->is_int && n->number == -25.0 && tg_str_is(n->text, "-2.5e1"));
    n = n->next;
    CU_ASSERT(n->is_int && n->integer == INT64_MAX);
    n = n->next;
    CU_ASSERT(!n->is_int && n->number == 9223372036854775808.0 && !n->next);
    const tg_json_node *a = tg_json_tree_get(root, "a");
    CU_ASSERT_EQUAL(tg_json_tree_get(a, "n")->kind, TG_JSON_NULL);
    CU_ASSERT(tg_json_tree_get(a, "t")->boolean && !tg_json_tree_get(a, "f")->boolean);
    CU_ASSERT(!tg_json_tree_get(a, "x") && !tg_json_tree_get(NULL, "x"));
    CU_ASSERT(tg_str_is(tg_json_tree_get(root, "s")->text, ""));
    CU_ASSERT(root->from == 1 && root->upto == sizeof(text) - 2 && text[a->at] == '"');
    CU_ASSERT(tg_str_is((tg_str){text + a->from, a->upto - a->from},
                        "{\"n\":null,\"t\":true,\"f\":false}"));
    CU_ASSERT(tg_str_is((tg_str){text + a->first->from, a->first->upto - a->first->from}, "null"));
    tg_arena_free(&arena);
}

static void test_strings_are_decoded(void)
{
    tg_arena arena;
    tg_arena_init(&arena, 0);
    const tg_json_node *root =
        parse(&arena, "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00é\"");
    CU_ASSERT(tg_str_is(root->text, "\"\\/\b\f\n\r\té€😀é"));
    tg_arena_free(&arena);
}

static void test_refusals_say_where(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "1:1: not a JSON value"},
        {"{\"a\":1,\n \"a\":2}", "2:2: a key that the object has already"},
        {"[1,]", "1:4: not a JSON value"},
        {"{\"a\" 1}", "1:6: ':' must follow a key"},
        {"{a:1}", "1:2: a key in quotes must stand here"},
        {"[1 2]", "1:4: ',' or ']' must stand here"},
        {"01", "1:1: not a JSON value"},
        {"1.", "1:3: a digit must follow the point"},
        {"1e+", "1:4: a digit must follow the exponent's sign"},
        {"1e999", "1:1: a number beyond all doubles"},
        {"\"abc", "1:1: a string without its end"},
        {"\"a\\", "1:1: a string without its end"},
        {"\"\\x\"", "1:3: no such escape; allowed: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX"},
        {"\"\\ud800\"", "1:2: a surrogate without its other half is no character"},
        {"\"\\u12\"", "1:6: \\u wants four hexadecimal digits"},
        {"\"a\nb\"", "1:3: a control character in a string; write it as \\uXXXX"},
        {"1 1", "1:3: nothing may follow the value"},
        {"\"0123456789\xff\"", "1:10: bytes that are no UTF-8 begin here or within four bytes"},
    };
    tg_arena arena;
    tg_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tg_json_node *root = NULL;
        tg_error err = {""};
        int rc = tg_json_tree_parse(tg_str_of(cases[i].text), &arena, &err, &root);
        if (rc != -EINVAL || strcmp(err.text, cases[i].want) != 0)
            printf("# %s: %d %s\n", cases[i].text, rc, err.text);
        CU_ASSERT_EQUAL(rc, -EINVAL);
        CU_ASSERT_STRING_EQUAL(err.text, cases[i].want);
        CU_ASSERT_PTR_NULL(root);
    }
    tg_arena_free(&arena);
}

static int parse_repeated(const char *piece, size_t times, const char *end)
{
    tg_arena arena;
    tg_buf text;
    tg_arena_init(&arena, 0);
    tg_buf_init(&text, 0);
    for (size_t i = 0; i < times; i++)
        tg_buf_add_str(&text, tg_str_of(piece));
    tg_buf_add_str(&text, tg_str_of(end));
    if (*end == ']')
        for (size_t i = 1; i < times; i++)
            tg_buf_add_str(&text, tg_str_of(end));
    const tg_json_node *root;
    int rc = tg_json_tree_parse(tg_buf_str(&text), &arena, NULL, &root);
    tg_buf_free(&text);
    tg_arena_free(&arena);
    return rc;
}

static void test_bounds_hold(void)
{
    CU_ASSERT_EQUAL(parse_repeated("[", TG_JSON_TREE_DEPTH_MAX, "]"), 0);
    CU_ASSERT_EQUAL(parse_repeated("[", TG_JSON_TREE_DEPTH_MAX + 1, "]"), -EMSGSIZE);
    CU_ASSERT_EQUAL(parse_repeated(" ", TG_JSON_TREE_BYTES_MAX - 1, "1"), 0);
    CU_ASSERT_EQUAL(parse_repeated(" ", TG_JSON_TREE_BYTES_MAX, "1"), -EMSGSIZE);
    tg_arena arena;
    tg_buf text;
    tg_arena_init(&arena, 0);
    tg_buf_init(&text, 0);
    tg_buf_add_str(&text, TG_STR("[0"));
    for (size_t i = 2; i < TG_JSON_TREE_NODES_MAX; i++)
        tg_buf_add_str(&text, TG_STR(",0"));
    size_t len = text.len;
    tg_buf_add_str(&text, TG_STR("]"));
    const tg_json_node *root;
    CU_ASSERT_EQUAL(tg_json_tree_parse(tg_buf_str(&text), &arena, NULL, &root), 0);
    text.data[len] = ',';
    tg_buf_add_str(&text, TG_STR("0]"));
    CU_ASSERT_EQUAL(tg_json_tree_parse(tg_buf_str(&text), &arena, NULL, &root), -EMSGSIZE);
    tg_buf_free(&text);
    tg_arena_free(&arena);
}

static const tg_test tests[] = {
    {"kinds_and_order", test_kinds_and_order},
    {"strings_are_decoded", test_strings_are_decoded},
    {"refusals_say_where", test_refusals_say_where},
    {"bounds_hold", test_bounds_hold},
};
TG_TEST_MAIN("services_inference_text_json_tree", tests)
