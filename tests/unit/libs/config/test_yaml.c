#include "libs/config/yaml.h"

#include "libs/base/buf.h"
#include "tests/unit/libs/config/files.h"

#include <errno.h>

static const char *fake_env(const char *name)
{
    return strcmp(name, "PORT") == 0 ? "8080" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static tg_arena arena;

static const tg_yaml_node *parse(const char *text)
{
    const tg_yaml_node *root = NULL;
    tg_error err = {""};
    if (tg_yaml_parse(&arena, "f.yaml", tg_str_of(text), fake_env, &err, &root) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    return root;
}

static void check_refused(const char *text, size_t len, const char *expected, unsigned line)
{
    const tg_yaml_node *root = NULL;
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_yaml_parse(&arena, "f.yaml", (tg_str){text, len}, fake_env, &err, &root),
                    -EINVAL);
    check_text(err.text, expected, line);
    CU_ASSERT_PTR_NULL(root);
    tg_arena_free(&arena);
}
#define REFUSED(text, expected) check_refused(text, sizeof(text) - 1, expected, __LINE__)

static void test_tree_and_positions(void)
{
    const tg_yaml_node *root = parse("a: 1\nb:\n  - x\n  - {c: \"2\", d: ~}\ne: |\n  t\n");
    CU_ASSERT_EQUAL(root->type, TG_YAML_MAPPING);
    CU_ASSERT_EQUAL(root->count, 3);
    const tg_yaml_node *a = tg_yaml_get(root, "a"), *b = tg_yaml_get(root, "b");
    CU_ASSERT_TRUE(tg_yaml_is(a, "1") && a->plain && a->line == 1 && a->column == 4);
    CU_ASSERT_TRUE(a->key->line == 1 && a->key->column == 1);
    CU_ASSERT_TRUE(b->type == TG_YAML_SEQUENCE && b->count == 2 && b->line == 3 && b->column == 3);
    const tg_yaml_node *inner = b->first->next;
    CU_ASSERT_TRUE(inner->line == 4 && inner->column == 5);
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(inner, "c"), "2") && !tg_yaml_get(inner, "c")->plain);
    CU_ASSERT_TRUE(tg_yaml_get(inner, "d")->null);
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "e"), "t\n"));
    CU_ASSERT_PTR_NULL(tg_yaml_get(root, "z"));
    CU_ASSERT_PTR_NULL(tg_yaml_get(a, "z"));
    CU_ASSERT_PTR_NULL(tg_yaml_get(NULL, "z"));
    tg_arena_free(&arena);
}

static void test_environment(void)
{
    const tg_yaml_node *root =
        parse("a: 127.0.0.1:${PORT}\nb: ${PORT}\nc: \"${NONE:-x y}${EMPTY}\"\n"
              "d: ${EMPTY:-e}\ne: ${NONE:-}\nf: $HOME $${PORT}\n");
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "a"), "127.0.0.1:8080"));
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "b"), "8080") && tg_yaml_get(root, "b")->plain);
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "c"), "x y"));
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "d"), "e"));
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "e"), "") && !tg_yaml_get(root, "e")->null);
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "f"), "$HOME $8080"));
    tg_arena_free(&arena);
    CU_ASSERT_EQUAL(tg_yaml_parse(&arena, "f", TG_STR("a: ${NONE}"), NULL, NULL, &root), 0);
    CU_ASSERT_TRUE(tg_yaml_is(tg_yaml_get(root, "a"), "${NONE}"));
    tg_arena_free(&arena);
}

static void test_refusals(void)
{
    REFUSED("", "f.yaml:1:1: the file is empty");
    REFUSED("# only a comment\n", "f.yaml:1:1: the file is empty");
    REFUSED("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key 'a' was already given at line 1");
    REFUSED("a: &x 1\n", "f.yaml:1:4: anchors, aliases and tags are not allowed");
    REFUSED("a: &x [1]\n", "f.yaml:1:4: anchors, aliases and tags are not allowed");
    REFUSED("a: *x\n", "f.yaml:1:4: anchors, aliases and tags are not allowed");
    REFUSED("a: !!str 1\n", "f.yaml:1:4: anchors, aliases and tags are not allowed");
    REFUSED("a: !x {b: 1}\n", "f.yaml:1:4: anchors, aliases and tags are not allowed");
    REFUSED("&k a: 1\n", "f.yaml:1:1: anchors, aliases and tags are not allowed");
    REFUSED("? [a]\n: 1\n", "f.yaml:1:3: a key must be a plain name");
    REFUSED("*a : 1\n", "f.yaml:1:1: a key must be a plain name");
    REFUSED("a: 1\n---\nb: 1\n", "f.yaml:2:1: a file holds one document; a second one starts here");
    REFUSED("a: \"x\\0y\"\n", "f.yaml:1:4: a value must not hold a NUL byte");
    REFUSED("a: ${NONE}\n", "f.yaml:1:4: the environment variable NONE is not set "
                            "(${NONE:-default} gives a default)");
    REFUSED("a:\n  b: x${PORT\n", "f.yaml:2:6: 'x${PORT': a reference is written ${NAME} or "
                                  "${NAME:-default}");
    REFUSED("a: ${1X}\n",
            "f.yaml:1:4: '${1X}': a reference is written ${NAME} or ${NAME:-default}");
    REFUSED("a: ${}\n", "f.yaml:1:4: '${}': a reference is written ${NAME} or ${NAME:-default}");
    REFUSED("a: [1, 2\n", "f.yaml:2:1: did not find expected ',' or ']'");
    REFUSED("a: 1\n b: 2\n", "f.yaml:2:3: mapping values are not allowed in this context");
    REFUSED("a:\n\t- 1\n", "f.yaml:2:1: found character that cannot start any token");
    REFUSED("a: \"x\n", "f.yaml:2:1: found unexpected end of stream");
}

static void test_bounds(void)
{
    tg_buf buf;
    const tg_yaml_node *root = NULL;
    tg_buf_init(&buf, 0);
    for (int i = 0; i < TG_YAML_DEPTH_MAX + 1; i++)
        tg_buf_add_char(&buf, '[');
    check_refused(buf.data, buf.len, "f.yaml:1:33: nested deeper than 32 levels", __LINE__);
    tg_buf_clear(&buf);
    for (int i = 0; i <= TG_YAML_MEMBERS_MAX; i++)
        tg_buf_printf(&buf, "k%d: 1\n", i);
    check_refused(buf.data, buf.len, "f.yaml:1025:1: more than 1024 keys in one mapping", __LINE__);
    tg_buf_clear(&buf);
    tg_buf_add_char(&buf, '[');
    for (int i = 0; i < TG_YAML_NODES_MAX; i++)
        tg_buf_add_text(&buf, "1,");
    check_refused(buf.data, buf.len, "f.yaml:1:400000: more than 200000 values in one file",
                  __LINE__);
    tg_buf_free(&buf);
    char *large = calloc(1, TG_YAML_BYTES_MAX + 1);
    tg_error err = {""};
    CU_ASSERT_EQUAL(
        tg_yaml_parse(&arena, "f", (tg_str){large, TG_YAML_BYTES_MAX + 1}, NULL, &err, &root),
        -E2BIG);
    free(large);
    tg_arena_free(&arena);
    tg_arena small;
    tg_arena_init(&small, 100);
    CU_ASSERT_EQUAL(tg_yaml_parse(&small, "f", TG_STR("a: [1, 2]"), NULL, &err, &root), -ENOMEM);
    tg_arena_free(&small);
}

static void test_load(void)
{
    const tg_yaml_node *root = NULL;
    tg_error err = {""};
    write_file("a.yaml", "home: ${HOME:-none}\n");
    CU_ASSERT_EQUAL(tg_yaml_load(&arena, "a.yaml", &err, &root), 0);
    CU_ASSERT_EQUAL(tg_yaml_load(&arena, "none.yaml", &err, &root), -ENOENT);
    check_text(err.text, "none.yaml: No such file or directory", __LINE__);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_yaml_load(&arena, ".", &err, &root), -EISDIR);
    check_text(err.text, ".: Is a directory", __LINE__);
    tg_arena_free(&arena);
}

static const tg_test tests[] = {
    {"tree_and_positions", test_tree_and_positions},
    {"environment", test_environment},
    {"refusals", test_refusals},
    {"bounds", test_bounds},
    {"load", test_load},
};
TG_TEST_MAIN("libs_config_yaml", tests)
