#include "tests/unit/services/inference/constrain/constraint_world.h"

#include "services/inference/text/json_tree.h"
#include "tests/unit/harness.h"

#include <errno.h>

static tg_constraint *compile(const world *w, const char *schema)
{
    const tg_str text = tg_str_of(schema);
    tg_error err = {""};
    tg_constraint *c = NULL;
    if (tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, &text, 1}, w->trie,
                              &err, &c) < 0)
        printf("# %s: %s\n", schema, err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    return c;
}

/* Whether the whole text is of the form. Bytes are tokens of their own. */
static bool takes(const world *w, const char *schema, const char *text)
{
    tg_constraint *c = compile(w, schema);
    tg_constraint_state *s = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(c, &s), 0);
    bool goes = true;
    for (const char *at = text; *at && goes; at++)
        goes = tg_constraint_advance(s, (uint8_t)*at);
    goes = goes && tg_constraint_may_end(s);
    tg_constraint_state_free(s);
    tg_constraint_release(c);
    return goes;
}

typedef struct example {
    const char *schema, *good[6], *bad[8];
} example;

#define AB                                                                                         \
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"}}"

static const example examples[] = {
    {AB "}",
     {"{}", "{\"a\":1}", "{\"b\":null}", "{ \"a\": 1,\n  \"b\":null }"},
     {"{\"b\":null,\"a\":1}", "{\"a\":1,}", "{,\"b\":null}", "{\"c\":1}", "{\"a\":\"1\"}", "[]",
      "{\"a\":1,\"a\":1}"}},
    {AB ",\"required\":[\"b\"]}", {"{\"b\":null}", "{\"a\":1,\"b\":null}"}, {"{}", "{\"a\":1}"}},
    {AB ",\"additionalProperties\":{\"type\":\"boolean\"}}",
     {"{\"c\":true}", "{\"a\":1,\"c\":true,\"d\":false}", "{\"b\":null,\"\":true}"},
     {"{\"c\":1}", "{\"c\":true,\"a\":1}", "{\"a\":true}", "{\"\\u0061\":true}"}},
    {AB ",\"required\":[\"z\"],\"additionalProperties\":true}",
     {"{\"z\":[1]}", "{\"a\":1,\"z\":0,\"y\":{}}"},
     {"{}", "{\"y\":1,\"z\":1}"}},
    {"{\"type\":\"object\"}", {"{}", "{\"x\":[{}]}"}, {"[]", "1"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
     {"[1]", "[1,2]", "[1, 2,\n 3]"},
     {"[]", "[1,2,3,4]", "[\"1\"]", "[1,]"}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"const\":\"x\"},{\"type\":\"null\"}],\"items\":{"
     "\"type\":\"boolean\"}}",
     {"[]", "[\"x\"]", "[\"x\",null]", "[\"x\",null,true,false]"},
     {"[null]", "[\"x\",true]", "[\"x\",null,null]"}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"}],\"items\":false}",
     {"[]", "[null]"},
     {"[null,null]"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]", "[ ]"}, {"[1]"}},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}",
     {"\"a\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\\n\""},
     {"\"\"", "\"abc\"", "\"a", "\"\\ud83d\""}},
    {"{\"type\":\"string\",\"pattern\":\"^a+$\",\"maxLength\":3}",
     {"\"a\"", "\"aaa\""},
     {"\"\"", "\"aaaa\"", "\"b\""}},
    {"{\"type\":\"string\",\"pattern\":\"[0-9]\"}", {"\"1\"", "\"a1\\n\\\"\""}, {"\"a\"", "\"\""}},
    {"{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2024-02-29\"", "\"2000-02-29\"", "\"2023-12-31\""},
     {"\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\"", "\"2023-1-01\""}},
    {"{\"type\":\"string\",\"format\":\"ipv6\"}",
     {"\"::\"", "\"::1\"", "\"fe80::1:2\"", "\"1:2:3:4:5:6:7:8\""},
     {"\"1:2\"", "\"1:2:3:4:5:6:7:8:9\"", "\"1::2::3\""}},
    {"{\"type\":\"integer\",\"minimum\":-3,\"exclusiveMaximum\":12}",
     {"-3", "-0", "0", "11", "9"},
     {"-4", "12", "-10", "100", "1.0", "01"}},
    {"{\"type\":\"integer\",\"minimum\":100}", {"100", "999", "123456"}, {"99", "-100", "0"}},
    {"{\"type\":\"integer\",\"multipleOf\":15}", {"0", "15", "-30", "300"}, {"1", "-5", "20"}},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0.5,\"maximum\":1e1}",
     {"0.51", "0.500000001", "1", "10", "10.0"},
     {"0.5", "0.50", "0.49", "10.01", "-1", "11", "1e0"}},
    {"{\"type\":\"number\",\"minimum\":-1.25,\"maximum\":-0.5}",
     {"-1.25", "-1", "-0.5", "-0.75"},
     {"-1.26", "-2", "-0.49", "0", "1"}},
    {"{\"type\":\"number\",\"multipleOf\":0.25}",
     {"1", "0.25", "-3.5", "7.0"},
     {"0.1", "0.251", "1.125"}},
    {"{\"enum\":[1.50,\"a\\\"\",{\"x\":[null]},true]}",
     {"1.50", "\"a\\\"\"", "{\"x\":[null]}", "true"},
     {"1.5", "false", "{}"}},
    {"{\"type\":\"string\",\"enum\":[1,\"a\"]}", {"\"a\""}, {"1"}},
    {"{\"type\":[\"string\",\"null\"],\"minLength\":1}", {"null", "\"a\""}, {"\"\"", "1"}},
    {"{\"type\":\"string\",\"nullable\":true}", {"null", "\"\""}, {"1"}},
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"const\":\"x\"}]}", {"1", "\"x\""}, {"\"y\"", "null"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
     "\"integer\"}},\"additionalProperties\":false,"
     "\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
     {"{\"a\":1}", "{\"b\":1}", "{\"a\":1,\"b\":2}"},
     {"{}"}},
    {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"},\"n\":{\"type\":"
     "\"integer\"}},\"required\":[\"k\",\"n\"]},"
     "{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"b\"}},\"required\":[\"k\"]}]}",
     {"{\"k\":\"a\",\"n\":1}", "{\"k\":\"b\"}"},
     {"{\"k\":\"a\"}", "{\"k\":\"b\",\"n\":1}"}},
    {"{\"allOf\":[{\"type\":\"integer\",\"minimum\":3},{\"maximum\":5}]}",
     {"3", "5"},
     {"2", "6", "\"3\""}},
    {"{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":3}}},{\"properties\":{\"a\":{\"type\":"
     "\"integer\",\"maximum\":4}}}],\"type\":\"object\"}",
     {"{}", "{\"a\":3}"},
     {"{\"a\":2}", "{\"a\":5}"}},
    {"{\"$defs\":{\"t\":{\"type\":\"object\",\"properties\":{\"l\":{\"$ref\":\"#/$defs/"
     "t\"},\"r\":{\"$ref\":\"#/$defs/t\"}},"
     "\"additionalProperties\":false}},\"$ref\":\"#/$defs/t\",\"description\":\"a tree\"}",
     {"{}", "{\"l\":{},\"r\":{\"l\":{\"r\":{}}}}"},
     {"{\"l\":1}", "{\"r\":{},\"l\":{}}"}},
    {"{\"properties\":{\"a/b~\":{\"type\":\"null\"},\"c\":{\"$ref\":\"#/properties/a~1b~0\"}}}",
     {"{\"c\":null}"},
     {"{\"c\":1}"}},
    {"{\"properties\":{\"a\":false,\"b\":true}}", {"{}", "{\"b\":[1]}"}, {"{\"a\":1}"}},
    {"true", {"1", "[{}]"}, {"[", "nul"}},
};

static void test_examples(void)
{
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    for (size_t i = 0; i < sizeof(examples) / sizeof(*examples); i++) {
        const example *e = &examples[i];
        for (size_t k = 0; k < 6 && e->good[k]; k++) {
            const bool taken = takes(&w, e->schema, e->good[k]);
            if (!taken)
                printf("# %s does not take %s\n", e->schema, e->good[k]);
            CU_ASSERT(taken);
        }
        for (size_t k = 0; k < 8 && e->bad[k]; k++) {
            const bool taken = takes(&w, e->schema, e->bad[k]);
            if (taken)
                printf("# %s takes %s\n", e->schema, e->bad[k]);
            CU_ASSERT(!taken);
        }
    }
    world_free(&w);
}

static void test_refusals(void)
{
    static const struct {
        const char *schema;
        int rc;
        const char *words[2];
    } cases[] = {
        {"{\"properties\":{\"a\":{\"patternProperties\":{}}}}",
         -ENOTSUP,
         {"/properties/a/patternProperties", "not supported"}},
        {"{\"type\":\"array\",\"uniqueItems\":true}", -ENOTSUP, {"/uniqueItems", "not supported"}},
        {"{\"type\":\"text\"}", -EINVAL, {"/type", "integer"}},
        {"{\"type\":\"string\",\"format\":\"iri\"}", -ENOTSUP, {"/format", "date-time"}},
        {"{\"type\":\"string\",\"pattern\":\"(?=a)\"}", -ENOTSUP, {"/pattern", "look-around"}},
        {"{\"type\":\"string\",\"maxLength\":100000}", -ENOTSUP, {"/maxLength", "4096"}},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}",
         -EINVAL,
         {"json_schema", "no text"}},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", -EINVAL, {"minItems", "maxItems"}},
        {"{\"type\":\"number\",\"minimum\":0.12345678901234567}", -ENOTSUP, {"/minimum", "15"}},
        {"{\"type\":\"integer\",\"multipleOf\":0}", -ENOTSUP, {"/multipleOf", "10000"}},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":3}]}", -ENOTSUP, {"/oneOf/1", "anyOf"}},
        {"{\"enum\":[\"a\"],\"maxLength\":3}", -ENOTSUP, {"/maxLength", "enum"}},
        {"{\"enum\":[]}", -EINVAL, {"/enum", "not empty"}},
        {"{\"type\":\"string\",\"const\":1}", -EINVAL, {"no text", ""}},
        {"{\"$ref\":\"#/$defs/x\"}", -EINVAL, {"/$ref", "points to nothing"}},
        {"{\"$ref\":\"http://example.org/s\"}", -ENOTSUP, {"/$ref", "within the document"}},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}",
         -ENOTSUP,
         {"json_schema", "comes back to itself"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
         -EINVAL,
         {"no text", ""}},
        {"{\"type\":", -EINVAL, {"json_schema: 1:9", ""}},
        {"[]", -EINVAL, {"json_schema", "must be a schema"}},
    };
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const tg_str text = tg_str_of(cases[i].schema);
        tg_error err = {""};
        tg_constraint *c = NULL;
        const int rc = tg_constraint_compile(
            &(tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, &text, 1}, w.trie, &err, &c);
        const bool said =
            strstr(err.text, cases[i].words[0]) && strstr(err.text, cases[i].words[1]);
        if (rc != cases[i].rc || !said)
            printf("# %s: %d, %s\n", cases[i].schema, rc, err.text);
        CU_ASSERT(rc == cases[i].rc && said);
        tg_constraint_release(c);
    }
    world_free(&w);
}

/* More alternatives than can be followed at once are refused, not left out. */
static void test_many_branches(void)
{
    static const struct {
        const char *keyword;
        unsigned branches;
        int rc;
    } cases[] = {
        {"anyOf", 256, 0}, {"anyOf", 257, -EMSGSIZE}, {"oneOf", 64, 0}, {"oneOf", 65, -EMSGSIZE}};
    world w;
    CU_ASSERT_FATAL(world_make(&w));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        tg_error err = {""};
        tg_constraint *c = NULL;
        tg_buf schema;
        tg_buf_init(&schema, 0);
        tg_buf_printf(&schema, "{\"%s\":[", cases[i].keyword);
        for (unsigned b = 0; b < cases[i].branches; b++)
            tg_buf_printf(&schema, "%s{\"const\":%u}", b ? "," : "", b);
        tg_buf_add_text(&schema, "]}");
        const tg_str text = tg_buf_str(&schema);
        CU_ASSERT_EQUAL(
            tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, &text, 1},
                                  w.trie, &err, &c),
            cases[i].rc);
        CU_ASSERT(cases[i].rc == 0 || strstr(err.text, "branches allowed"));
        tg_constraint_release(c);
        tg_buf_free(&schema);
    }
    world_free(&w);
}

static const tg_test tests[] = {{"examples", test_examples}, {"refusals", test_refusals},
                                {"many_branches", test_many_branches}};
TG_TEST_MAIN("services_inference_constrain_schema", tests)
