#include "libs/json/json.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static tg_json_doc *doc;

static tg_json parse(const char *text)
{
    tg_json root = {NULL, 0};
    tg_error err = {{0}};
    if (!doc)
        doc = tg_json_doc_new();
    if (tg_json_parse(doc, tg_str_of(text), 1 << 20, &err, &root) < 0)
        printf("# %s\n", err.text);
    return root;
}

static void test_values(void)
{
    tg_json root =
        parse("{\"s\":\"a\\n\\u00e9\\ud83d\\ude00\\u0000z\",\"t\":true,\"f\":false,\"n\":null,"
              "\"i\":-5,\"u\":18446744073709551615,\"d\":2.5,\"w\":3.0,\"a\":[1,[2],{}],"
              "\"o\":{\"x\":{\"y\":7}}}");
    tg_str text;
    uint64_t u;
    int64_t i;
    double d;
    bool b;
    CU_ASSERT_EQUAL(tg_json_type_of(root), TG_JSON_OBJECT);
    CU_ASSERT_EQUAL(tg_json_count(root), 10);
    CU_ASSERT_EQUAL(tg_json_str(tg_json_get(root, "s"), &text), 0);
    CU_ASSERT_TRUE(tg_str_eq(text, TG_STR("a\n\xC3\xA9\xF0\x9F\x98\x80\0z")));
    CU_ASSERT_TRUE(tg_json_bool(tg_json_get(root, "t"), &b) == 0 && b);
    CU_ASSERT_TRUE(tg_json_bool(tg_json_get(root, "f"), &b) == 0 && !b);
    CU_ASSERT_EQUAL(tg_json_type_of(tg_json_get(root, "n")), TG_JSON_NULL);
    CU_ASSERT_TRUE(tg_json_i64(tg_json_get(root, "i"), &i) == 0 && i == -5);
    CU_ASSERT_EQUAL(tg_json_u64(tg_json_get(root, "i"), &u), -EINVAL);
    CU_ASSERT_TRUE(tg_json_u64(tg_json_get(root, "u"), &u) == 0 && u == UINT64_MAX);
    CU_ASSERT_EQUAL(tg_json_i64(tg_json_get(root, "u"), &i), -EINVAL);
    CU_ASSERT_TRUE(tg_json_f64(tg_json_get(root, "d"), &d) == 0 && d == 2.5);
    CU_ASSERT_EQUAL(tg_json_u64(tg_json_get(root, "d"), &u), -EINVAL);
    CU_ASSERT_TRUE(tg_json_u64(tg_json_get(root, "w"), &u) == 0 && u == 3);
    CU_ASSERT_TRUE(tg_json_i64(tg_json_get(root, "w"), &i) == 0 && i == 3);
    CU_ASSERT_EQUAL(tg_json_count(tg_json_get(root, "a")), 3);
    CU_ASSERT_TRUE(tg_json_u64(tg_json_at(tg_json_at(tg_json_get(root, "a"), 1), 0), &u) == 0 &&
                   u == 2);
    CU_ASSERT_TRUE(tg_json_u64(tg_json_path(root, "o.x.y"), &u) == 0 && u == 7);
}

static void test_absent_values(void)
{
    tg_json root = parse("{\"a\":[1]}");
    uint64_t u;
    CU_ASSERT_EQUAL(tg_json_type_of(tg_json_get(root, "b")), TG_JSON_NONE);
    CU_ASSERT_EQUAL(tg_json_type_of(tg_json_path(root, "a.b.c")), TG_JSON_NONE);
    CU_ASSERT_EQUAL(tg_json_type_of(tg_json_at(tg_json_get(root, "a"), 1)), TG_JSON_NONE);
    CU_ASSERT_EQUAL(tg_json_type_of(tg_json_at(root, 0)), TG_JSON_NONE);
    CU_ASSERT_EQUAL(tg_json_count(tg_json_get(root, "b")), 0);
    CU_ASSERT_EQUAL(tg_json_u64(tg_json_get(root, "b"), &u), -EINVAL);
    tg_json_iter it = tg_json_iterate(tg_json_get(root, "b"));
    CU_ASSERT_FALSE(tg_json_next(&it));
}

static void test_iteration(void)
{
    tg_json root = parse("{\"a\":{\"k\":[1,2]},\"b\":2.5,\"c\":\"x\",\"d\":[]}");
    char keys[8] = "";
    size_t count = 0;
    for (tg_json_iter it = tg_json_iterate(root); tg_json_next(&it);)
        keys[count++] = it.key.data[0];
    CU_ASSERT_STRING_EQUAL(keys, "abcd");
    count = 0;
    for (tg_json_iter it = tg_json_iterate(tg_json_path(root, "a.k")); tg_json_next(&it);)
        count++;
    CU_ASSERT_EQUAL(count, 2);
}

static void check_refused(tg_str text, const char *reason, unsigned line)
{
    tg_json root = {NULL, 9};
    tg_error err = {{0}};
    tg_json_doc *own = tg_json_doc_new();
    int rc = tg_json_parse(own, text, 1 << 20, &err, &root);
    if (rc != -EINVAL || strcmp(err.text, reason) != 0 || root.at != 9)
        printf("# line %u: %d '%s', expected '%s'\n", line, rc, err.text, reason);
    CU_ASSERT_TRUE(rc == -EINVAL && strcmp(err.text, reason) == 0);
    CU_ASSERT_TRUE(root.doc == NULL && root.at == 9);
    tg_json_doc_free(own);
}
#define REFUSED(text, reason) check_refused(TG_STR(text), reason, __LINE__)

static void test_refusals_name_the_position(void)
{
    REFUSED("", "line 1, column 1: the JSON text is empty");
    REFUSED("  ", "line 1, column 3: the text ends where a value should stand");
    REFUSED("{\"a\" 1}", "line 1, column 6: expected ':' after the key");
    REFUSED("{\"a\":1,}", "line 1, column 8: expected a key in double quotes");
    REFUSED("{'a':1}", "line 1, column 2: expected a key in double quotes");
    REFUSED("[1,\n 2 3]", "line 2, column 4: expected ',' or ']'");
    REFUSED("[1,]", "line 1, column 4: expected a value");
    REFUSED("{\"a\":tru}", "line 1, column 6: expected a value");
    REFUSED("[01]", "line 1, column 2: a number must not start with 0");
    REFUSED("[1.]", "line 1, column 4: a digit is missing after the point");
    REFUSED("[-]", "line 1, column 3: a digit is missing");
    REFUSED("[1e]", "line 1, column 4: a digit is missing in the exponent");
    REFUSED("[18446744073709551616]", "line 1, column 2: number out of range");
    REFUSED("[-9223372036854775809]", "line 1, column 2: number out of range");
    REFUSED("[1e999]", "line 1, column 2: number out of range");
    REFUSED("[\"a]", "line 1, column 2: this string has no end");
    REFUSED("[\"\\x\"]", "line 1, column 3: unknown escape in a string");
    REFUSED("[\"\\u12g4\"]", "line 1, column 3: \\u needs four hexadecimal digits");
    REFUSED("[\"\x01\"]", "line 1, column 3: control character in a string; write it as an escape");
    REFUSED("[\"ab\xC0\xAF\"]", "line 1, column 5: invalid UTF-8 in a string");
    REFUSED("[\"\xED\xA0\x80\"]", "line 1, column 3: invalid UTF-8 in a string");
    REFUSED("[\"\\ud800\"]", "line 1, column 3: the first half of a surrogate pair stands alone");
    REFUSED("[\"\\ud800\\u0041\"]",
            "line 1, column 3: the first half of a surrogate pair stands alone");
    REFUSED("[\"x\\udc00\"]", "line 1, column 4: the second half of a surrogate pair stands alone");
    REFUSED("1 2", "line 1, column 3: something follows the value");
    REFUSED("{} x", "line 1, column 4: something follows the value");
    REFUSED("\xEF\xBB\xBF{}", "line 1, column 1: expected a value");
    REFUSED("{\"a\":1,\n\"b\":{\"c\":1},\"a\":2}",
            "line 2, column 13: this key was already given in the same object");
    REFUSED("{\"a\":[{\"model\":1,\"mod\\u0065l\":2}]}",
            "line 1, column 18: this key was already given in the same object");
}

static void test_large_objects(void)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    for (int variant = 0; variant < 4; variant++) {
        int count = variant == 0 ? 17 : variant == 3 ? TG_JSON_KEYS_MAX + 1 : TG_JSON_KEYS_MAX;
        tg_buf_clear(&buf);
        tg_buf_add_text(&buf, "[{");
        for (int i = 0; i < count; i++)
            tg_buf_printf(&buf, "%s\"key%d\":%d", i ? "," : "",
                          variant == 2 && i == count - 1 ? 5 : i, i);
        tg_buf_add_text(&buf, "}]");
        tg_json root;
        tg_error err = {{0}};
        int rc = tg_json_parse(doc, tg_buf_str(&buf), 1 << 20, &err, &root);
        CU_ASSERT_EQUAL(rc, variant < 2 ? 0 : -EINVAL);
        if (variant == 2)
            CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "already given"));
        if (variant == 3)
            CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more than 4096 members"));
    }
    tg_buf_free(&buf);
}

static void test_bounds(void)
{
    char text[2 * (TG_JSON_DEPTH_MAX + 1) + 1];
    tg_json root;
    tg_error err = {{0}};
    for (size_t depth = TG_JSON_DEPTH_MAX; depth <= TG_JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        CU_ASSERT_EQUAL(tg_json_parse(doc, (tg_str){text, 2 * depth}, 1 << 20, &err, &root),
                        depth == TG_JSON_DEPTH_MAX ? 0 : -EINVAL);
    }
    CU_ASSERT_STRING_EQUAL(err.text, "line 1, column 65: nested deeper than 64 levels");
    CU_ASSERT_EQUAL(tg_json_parse(doc, TG_STR("[1234]"), 5, NULL, &root), -E2BIG);
    CU_ASSERT_EQUAL(tg_json_parse(doc, TG_STR("[1234]"), 6, NULL, &root), 0);
}

static void test_a_large_document_then_a_small_one(void)
{
    tg_buf buf;
    tg_json root;
    tg_buf_init(&buf, 0);
    tg_buf_add_char(&buf, '[');
    for (int i = 0; i < 300000; i++)
        tg_buf_add_text(&buf, "\"abcdef\",");
    tg_buf_add_text(&buf, "1]");
    CU_ASSERT_EQUAL(tg_json_parse(doc, tg_buf_str(&buf), 8 << 20, NULL, &root), 0);
    CU_ASSERT_EQUAL(tg_json_count(root), 300001);
    CU_ASSERT_EQUAL(tg_json_parse(doc, TG_STR("{\"a\":1}"), 100, NULL, &root), 0);
    CU_ASSERT_EQUAL(tg_json_count(root), 1);
    tg_buf_free(&buf);
}

static void test_scalar_roots(void)
{
    uint64_t u;
    tg_str text;
    CU_ASSERT_TRUE(tg_json_u64(parse(" 42 "), &u) == 0 && u == 42);
    CU_ASSERT_TRUE(tg_json_str(parse("\"x\""), &text) == 0 && tg_str_is(text, "x"));
    CU_ASSERT_EQUAL(tg_json_type_of(parse("null")), TG_JSON_NULL);
    tg_json_doc_free(doc); /* the last test of this file lets go of the shared document */
    doc = NULL;
}

static const tg_test tests[] = {
    {"values", test_values},
    {"absent_values", test_absent_values},
    {"iteration", test_iteration},
    {"refusals_name_the_position", test_refusals_name_the_position},
    {"large_objects", test_large_objects},
    {"bounds", test_bounds},
    {"large_then_small", test_a_large_document_then_a_small_one},
    {"scalar_roots", test_scalar_roots},
};
TG_TEST_MAIN("libs_json_json", tests)
