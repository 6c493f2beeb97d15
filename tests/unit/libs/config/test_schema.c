#include "libs/config/schema.h"

#include "tests/unit/libs/config/files.h"

#include <errno.h>

typedef struct part {
    const char *id;
    uint32_t weight;
} part;

typedef struct sample {
    const char *name, *note, *label;
    const char *listen;
    bool flag;
    uint32_t count;
    uint64_t wide;
    uint32_t wait_ms, wait;
    uint64_t size;
    int mode;
    const char *const *tags;
    size_t tag_count;
    const part *parts;
    size_t part_count;
    struct {
        uint32_t depth;
    } inner;
} sample;

#define AT(type, member) .offset = offsetof(type, member)

static const tg_field part_fields[] = {
    {"id", TG_FIELD_ID, AT(part, id), .required = true, .doc = "Its id."},
    {"weight", TG_FIELD_U32, AT(part, weight), .fallback = "1", .min = 1, .max = 9,
     .doc = "Its weight."},
};
static const tg_schema part_schema = {"a part", sizeof(part), part_fields, 2};
static const tg_field inner_fields[] = {
    {"depth", TG_FIELD_U32, .offset = 0, .fallback = "3", .doc = "How deep."},
};
static const tg_schema inner_schema = {"inner", sizeof(uint32_t), inner_fields, 1};
static const char *const modes[] = {"allow", "reject", NULL};
static const tg_field fields[] = {
    {"name", TG_FIELD_STRING, AT(sample, name), .required = true, .doc = "The name."},
    {"note", TG_FIELD_STRING, AT(sample, note), .doc = "A note."},
    {"label", TG_FIELD_STRING, AT(sample, label), .fallback = "", .doc = "A label."},
    {"listen", TG_FIELD_ADDRESS, AT(sample, listen), .fallback = "127.0.0.1:0", .doc = "Where."},
    {"flag", TG_FIELD_BOOL, AT(sample, flag), .doc = "A flag."},
    {"count", TG_FIELD_U32, AT(sample, count), .fallback = "5", .min = 1, .max = 10,
     .doc = "How many."},
    {"wide", TG_FIELD_U64, AT(sample, wide), .doc = "A large number."},
    {"wait_ms", TG_FIELD_DURATION, AT(sample, wait_ms), .fallback = "250ms", .max = 60000,
     .doc = "How long."},
    {"wait", TG_FIELD_DURATION, AT(sample, wait), .fallback = "1s",
     .doc = "How long, with a unit."},
    {"size", TG_FIELD_BYTES, AT(sample, size), .fallback = "4MiB", .min = 1024, .max = 1 << 30,
     .doc = "How large."},
    {"mode", TG_FIELD_ENUM, AT(sample, mode), .fallback = "reject", .names = modes,
     .doc = "What to do."},
    {"tags", TG_FIELD_STRINGS, AT(sample, tags), .count_offset = offsetof(sample, tag_count),
     .max = 2, .doc = "Tags."},
    {"parts", TG_FIELD_STRUCTS, AT(sample, parts), .count_offset = offsetof(sample, part_count),
     .max = 2, .schema = &part_schema, .doc = "Parts."},
    {"inner", TG_FIELD_STRUCT, AT(sample, inner), .schema = &inner_schema, .doc = "Inner."},
};
static const tg_schema schema = {"sample.yaml", sizeof(sample), fields,
                                 sizeof fields / sizeof *fields};

static tg_arena arena;

static int read_text(const char *text, tg_error *err, sample *ret)
{
    const tg_yaml_node *root = NULL;
    int rc = tg_yaml_parse(&arena, "s.yaml", tg_str_of(text), NULL, err, &root);
    return rc < 0 ? rc : tg_schema_read(&schema, root, &arena, err, ret);
}

static void test_defaults(void)
{
    sample s;
    tg_error err = {""};
    CU_ASSERT_EQUAL(read_text("name: n\n", &err, &s), 0);
    CU_ASSERT_STRING_EQUAL(s.name, "n");
    CU_ASSERT_PTR_NULL(s.note);
    CU_ASSERT_STRING_EQUAL(s.label, "");
    CU_ASSERT_STRING_EQUAL(s.listen, "127.0.0.1:0");
    CU_ASSERT_TRUE(!s.flag && s.count == 5 && s.wide == 0 && s.wait_ms == 250 && s.wait == 1000);
    CU_ASSERT_TRUE(s.size == 4 << 20 && s.mode == 1 && s.tag_count == 0 && s.part_count == 0);
    CU_ASSERT_EQUAL(s.inner.depth, 3);
    tg_arena_free(&arena);
}

static void test_values(void)
{
    sample s;
    tg_error err = {""};
    int rc = read_text(
        "name: 'true'\nnote: ''\nlisten: '[::1]:80'\nflag: true\ncount: 10\n"
        "wide: 18446744073709551615\nwait_ms: 60000\nwait: 2h\nsize: 64 KiB\nmode: allow\n"
        "tags: [a, 2]\nparts:\n  - id: p.1\n  - {id: p-2, weight: 9}\ninner: {depth: 7}\n",
        &err, &s);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_STRING_EQUAL(s.name, "true");
    CU_ASSERT_PTR_NULL(s.note);
    CU_ASSERT_TRUE(s.flag && s.count == 10 && s.wide == UINT64_MAX);
    CU_ASSERT_TRUE(s.wait_ms == 60000 && s.wait == 7200000 && s.size == 65536 && s.mode == 0);
    CU_ASSERT_TRUE(s.tag_count == 2 && strcmp(s.tags[1], "2") == 0);
    CU_ASSERT_TRUE(s.part_count == 2 && s.parts[0].weight == 1 && s.parts[1].weight == 9);
    CU_ASSERT_EQUAL(s.inner.depth, 7);
    CU_ASSERT_EQUAL(read_text("name: n\ninner:\n", &err, &s), 0);
    CU_ASSERT_EQUAL(s.inner.depth, 3);
    CU_ASSERT_EQUAL(read_text("name: n\ntags: one\n", &err, &s), 0);
    CU_ASSERT_TRUE(s.tag_count == 1 && strcmp(s.tags[0], "one") == 0);
    tg_arena_free(&arena);
}

static void check_refused(const char *text, const char *expected, unsigned line)
{
    sample s;
    tg_error err = {""};
    CU_ASSERT_EQUAL(read_text(text, &err, &s), -EINVAL);
    check_text(err.text, expected, line);
    tg_arena_free(&arena);
}
#define REFUSED(text, expected) check_refused(text, expected, __LINE__)
#define KNOWN                                                                                      \
    "(known: name, note, label, listen, flag, count, wide, wait_ms, wait, size, mode, tags, "      \
    "parts, inner)"

static void test_refusals(void)
{
    REFUSED("name: n\nlisten2: x\n",
            "s.yaml:2:1: unknown key 'listen2'; did you mean 'listen'? " KNOWN);
    REFUSED("name: n\nzzzzzz: x\n", "s.yaml:2:1: unknown key 'zzzzzz' " KNOWN);
    REFUSED("name: n\ninner:\n  dept: 1\n",
            "s.yaml:3:3: unknown key 'dept'; did you mean 'depth'? (known: depth)");
    REFUSED("flag: true\n", "s.yaml:1:1: 'name' is missing: The name.");
    REFUSED("[a]\n", "s.yaml:1:1: sample.yaml must be a mapping, not a list");
    REFUSED("name:\n", "s.yaml:1:6: 'name' has no value");
    REFUSED("name: ''\n", "s.yaml:1:7: 'name' is empty");
    REFUSED("name: [n]\n", "s.yaml:1:7: 'name' must be a value, not a list");
    REFUSED("name: n\nflag: yes\n", "s.yaml:2:7: 'flag' is 'yes'; allowed: true, false");
    REFUSED("name: n\nflag: 'true'\n", "s.yaml:2:7: 'flag' is 'true'; allowed: true, false");
    REFUSED("name: n\ncount: 11\n",
            "s.yaml:2:8: 'count' is '11'; allowed: a whole number from 1 to 10");
    REFUSED("name: n\ncount: 0\n",
            "s.yaml:2:8: 'count' is '0'; allowed: a whole number from 1 to 10");
    REFUSED("name: n\ncount: -1\n",
            "s.yaml:2:8: 'count' is '-1'; allowed: a whole number from 1 to 10");
    REFUSED("name: n\ncount: '5'\n",
            "s.yaml:2:8: 'count' is '5'; allowed: a whole number from 1 to 10");
    REFUSED("name: n\ncount: 5ms\n",
            "s.yaml:2:8: 'count' is '5ms'; allowed: a whole number from 1 to 10");
    REFUSED("name: n\nwide: 18446744073709551616\n",
            "s.yaml:2:7: 'wide' is '18446744073709551616'; allowed: a whole number");
    REFUSED("name: n\nwait_ms: 61s\n",
            "s.yaml:2:10: 'wait_ms' is '61s'; allowed: a duration such as 250ms "
            "or 30s from 0 to 1m");
    REFUSED("name: n\nwait: 30\n",
            "s.yaml:2:7: 'wait' is '30'; allowed: a duration such as 250ms or 30s");
    REFUSED("name: n\nwait: 30 parsecs\n",
            "s.yaml:2:7: 'wait' is '30 parsecs'; allowed: a duration such as 250ms or 30s");
    REFUSED("name: n\nwait: 2000h\n",
            "s.yaml:2:7: 'wait' is '2000h'; allowed: a duration such as 250ms or 30s");
    REFUSED("name: n\nsize: 1\n",
            "s.yaml:2:7: 'size' is '1'; allowed: a size such as 64KiB or 4MiB from 1KiB to 1GiB");
    REFUSED("name: n\nsize: 99999999999999TiB\n",
            "s.yaml:2:7: 'size' is '99999999999999TiB'; allowed: a "
            "size such as 64KiB or 4MiB from 1KiB to 1GiB");
    REFUSED("name: n\nmode: alow\n",
            "s.yaml:2:7: 'mode' is 'alow'; allowed: allow, reject; did you mean 'allow'?");
    REFUSED("name: n\nmode: x\n", "s.yaml:2:7: 'mode' is 'x'; allowed: allow, reject");
    REFUSED("name: n\nlisten: here\n",
            "s.yaml:2:9: 'listen' is 'here'; allowed: HOST:PORT with a port up to 65535");
    REFUSED("name: n\nlisten: a:65536\n",
            "s.yaml:2:9: 'listen' is 'a:65536'; allowed: HOST:PORT with a port up to 65535");
    REFUSED("name: n\nlisten: http://a:1\n",
            "s.yaml:2:9: 'listen' is 'http://a:1'; allowed: HOST:PORT with a port up to 65535");
    REFUSED("name: n\nlisten: ''\n",
            "s.yaml:2:9: 'listen' is ''; allowed: HOST:PORT with a port up to 65535");
    REFUSED("name: n\ntags: [a, b, c]\n", "s.yaml:2:7: 'tags' holds 3; at most 2 allowed");
    REFUSED("name: n\ntags: [a, {b: 1}]\n", "s.yaml:2:11: 'tags' must hold names, not a mapping");
    REFUSED("name: n\ntags: [a, '']\n", "s.yaml:2:11: 'tags' must hold names, not an empty value");
    REFUSED("name: n\ntags:\n", "s.yaml:2:6: 'tags' has no value");
    REFUSED("name: n\ntags: {a: 1}\n", "s.yaml:2:7: 'tags' must be a list, not a mapping");
    REFUSED("name: n\nparts:\n", "s.yaml:2:7: 'parts' has no value");
    REFUSED("name: n\nparts: x\n", "s.yaml:2:8: 'parts' must be a list, not a value");
    REFUSED("name: n\nparts: [x]\n", "s.yaml:2:9: a part must be a mapping, not a value");
    REFUSED("name: n\nparts:\n  - weight: 2\n", "s.yaml:3:5: 'id' is missing: Its id.");
    REFUSED("name: n\nparts:\n  - id: a b\n",
            "s.yaml:3:9: 'id' is 'a b'; allowed: 1 to 63 letters, digits, "
            "'.', '_' and '-'");
    REFUSED("name: n\ninner: 3\n", "s.yaml:2:8: 'inner' must be a mapping, not a value");
}

static void test_print(void)
{
    tg_buf out;
    tg_error err = {""};
    sample s, again;
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(tg_schema_print(&schema, NULL, &out), 0);
    check_text(
        out.data,
        "# The name. Required.\n# name: \"\"\n"
        "# A note.\n# note: \"\"\n"
        "# A label.\nlabel: \"\"\n"
        "# Where. Default: 127.0.0.1:0.\nlisten: \"127.0.0.1:0\"\n"
        "# A flag.\nflag: false\n"
        "# How many. Default: 5. Allowed: a whole number from 1 to 10.\ncount: 5\n"
        "# A large number. Allowed: a whole number.\nwide: 0\n"
        "# How long. Default: 250ms. Allowed: a duration such as 250ms or 30s from 0 to 1m.\n"
        "wait_ms: 250ms\n"
        "# How long, with a unit. Default: 1s. Allowed: a duration such as 250ms or 30s.\n"
        "wait: 1s\n"
        "# How large. Default: 4MiB. Allowed: a size such as 64KiB or 4MiB from 1KiB to 1GiB.\n"
        "size: 4MiB\n"
        "# What to do. Default: reject. Allowed: allow, reject.\nmode: reject\n"
        "# Tags.\ntags: []\n"
        "# Parts.\nparts: []\n"
        "#   - # Its id. Required.\n#     id: \"\"\n"
        "#     # Its weight. Default: 1. Allowed: a whole number from 1 to 9.\n#     weight: 1\n"
        "# Inner.\ninner:\n  # How deep. Default: 3. Allowed: a whole number.\n  depth: 3\n",
        __LINE__);
    /* What was read, printed, reads back the same. */
    CU_ASSERT_EQUAL(
        read_text("name: \"a\\\"b\\tc\"\nwait_ms: 1500\nsize: 1000\nsize: 2000\n", &err, &s),
        -EINVAL);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(read_text("name: \"a\\\"b\\tc\"\nwait_ms: 1500\nsize: 2000\nmode: allow\n"
                              "tags: [x]\nparts: [{id: p}, {id: q, weight: 3}]\n",
                              &err, &s),
                    0);
    tg_buf_clear(&out);
    CU_ASSERT_EQUAL(tg_schema_print(&schema, &s, &out), 0);
    CU_ASSERT_EQUAL(read_text(out.data, &err, &again), 0);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_STRING_EQUAL(again.name, "a\"b\tc");
    CU_ASSERT_TRUE(again.wait_ms == 1500 && again.size == 2000 && again.mode == 0);
    CU_ASSERT_TRUE(again.tag_count == 1 && again.part_count == 2 && again.parts[1].weight == 3);
    tg_buf_free(&out);
    tg_arena_free(&arena);
}

static const tg_test tests[] = {
    {"defaults", test_defaults},
    {"values", test_values},
    {"refusals", test_refusals},
    {"print", test_print},
};
TG_TEST_MAIN("libs_config_schema", tests)
