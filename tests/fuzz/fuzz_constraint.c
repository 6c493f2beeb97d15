/* Constraints of any bytes. The first byte says which: regular expressions, refused with a message
 * or an automaton from which every state can be finished, for the plain text and for the text in a
 * JSON string; JSON schemas, taken as they are, or drawn from the bytes by a grammar that
 * reaches deep, alone or of tools' calls, which compile whatever they are; choices. What
 * compiles is walked: whatever is allowed leads on, and a way never ends nowhere. */
#include "services/inference/constrain/dfa.h"
#include "tests/unit/services/inference/constrain/constraint_world.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* ---- regular expressions ---- */

static void check(const tg_regex *regex)
{
    tg_error err = {""};
    tg_dfa *dfa = NULL;
    const int rc = tg_dfa_from_regex(regex, &err, &dfa);
    require(rc == 0 || err.text[0] != '\0');
    if (rc < 0)
        return;
    require(dfa->states > TG_DFA_START && dfa->states <= TG_DFA_STATES_MAX);
    for (size_t i = 0; i < (size_t)dfa->states * dfa->classes; i++)
        require(dfa->next[i] < dfa->states);
    for (uint32_t c = 0; c < dfa->classes; c++)
        require(dfa->next[c] == TG_DFA_DEAD);
    tg_dfa_free(dfa);
}

static void try_regex(tg_str text)
{
    tg_arena arena;
    tg_error err = {""};
    const tg_regex *regex = NULL;
    if (text.len > 200) /* long counts take long, and say nothing new */
        return;
    tg_arena_init(&arena, 0);
    const int rc = tg_regex_parse(text, text.len % 2 == 0, &arena, &err, &regex);
    require(rc == 0 || err.text[0] != '\0');
    if (rc == 0) {
        check(regex);
        check(tg_regex_in_json(&arena, regex));
    }
    tg_arena_free(&arena);
}

/* ---- schemas from a grammar ---- */

typedef struct source {
    const uint8_t *data;
    size_t len;
} source;

static unsigned next(source *s, unsigned below)
{
    if (s->len == 0)
        return 0;
    s->len--;
    return *s->data++ % below;
}

static void add_number(source *s, tg_buf *out)
{
    static const char *const numbers[] = {
        "0", "1", "2", "7", "12", "-3", "1.5", "-0.25", "1e2", "31", "99999", "123456789012345678"};
    tg_buf_add_text(out, numbers[next(s, 12)]);
}

static void add_name(source *s, tg_buf *out)
{
    static const char *const names[] = {"\"a\"",    "\"ab\"",         "\"\"",
                                        "\"a/b~\"", "\"\\u00e9\\n\"", "\"\\\"\""};
    tg_buf_add_text(out, names[next(s, 6)]);
}

static void add_schema(source *s, tg_buf *out, unsigned depth);

static void add_list(source *s, tg_buf *out, unsigned depth)
{
    tg_buf_add_text(out, "[");
    for (unsigned i = 0, len = next(s, 4); i <= len; i++) {
        tg_buf_add_text(out, i ? "," : "");
        add_schema(s, out, depth);
    }
    tg_buf_add_text(out, "]");
}

static void add_members(source *s, tg_buf *out, unsigned depth)
{
    tg_buf_add_text(out, "{\"k0\":");
    add_schema(s, out, depth);
    for (unsigned i = 0, len = next(s, 4); i < len; i++) {
        tg_buf_printf(out, ",\"k%u\":", i + 1);
        add_schema(s, out, depth);
    }
    tg_buf_add_text(out, "}");
}

static void add_keyword(source *s, tg_buf *out, unsigned depth)
{
    static const char *const counts[] = {"minLength",        "maxLength",        "minItems",
                                         "maxItems",         "minimum",          "maximum",
                                         "exclusiveMinimum", "exclusiveMaximum", "multipleOf"};
    static const char *const given[] = {"\"type\":\"object\"",
                                        "\"type\":\"array\"",
                                        "\"type\":\"string\"",
                                        "\"type\":\"integer\"",
                                        "\"type\":\"number\"",
                                        "\"type\":[\"null\",\"boolean\",\"string\"]",
                                        "\"pattern\":\"^[a-c]{2,5}$\"",
                                        "\"pattern\":\"x|y\"",
                                        "\"format\":\"date\"",
                                        "\"format\":\"ipv6\"",
                                        "\"$ref\":\"#\"",
                                        "\"$ref\":\"#/properties/k0\"",
                                        "\"$ref\":\"#/anyOf/1\"",
                                        "\"nullable\":true",
                                        "\"enum\":[1,\"a\",null,{\"a\":[]}]",
                                        "\"const\":\"b\"",
                                        "\"required\":[\"k0\",\"k1\"]",
                                        "\"title\":\"t\"",
                                        "\"additionalProperties\":false"};
    static const char *const one[] = {
        "additionalProperties", "items", "anyOf", "oneOf", "allOf", "prefixItems", "properties"};
    const unsigned kind = next(s, 36);
    if (kind < 19) {
        tg_buf_add_text(out, given[kind]);
    } else if (kind < 28) {
        tg_buf_printf(out, "\"%s\":", counts[kind - 19]);
        add_number(s, out);
    } else if (kind < 35) {
        tg_buf_printf(out, "\"%s\":", one[kind - 28]);
        if (kind < 30)
            add_schema(s, out, depth);
        else if (kind < 34)
            add_list(s, out, depth);
        else
            add_members(s, out, depth);
    } else {
        tg_buf_add_text(out, "\"enum\":[");
        add_name(s, out);
        tg_buf_add_text(out, "]");
    }
}

static void add_schema(source *s, tg_buf *out, unsigned depth)
{
    const unsigned kind = depth == 0 ? 0 : next(s, 8);
    if (s->len == 0 || out->len > 4000 || kind < 2) {
        tg_buf_add_text(out, kind == 1 ? "{\"type\":\"null\"}" : "true");
        return;
    }
    tg_buf_add_text(out, "{");
    for (unsigned i = 0, len = next(s, 4); i <= len; i++) {
        tg_buf_add_text(out, i ? "," : "");
        add_keyword(s, out, depth - 1);
    }
    tg_buf_add_text(out, "}");
}

/* ---- walks ---- */

static world *the_world(void)
{
    static world w;
    static bool made;
    if (!made)
        require(world_make(&w));
    made = true;
    return &w;
}

static void try_constraint(const tg_constraint_spec *spec, uint64_t random)
{
    world *w = the_world();
    world_answer a = {.most = 40};
    tg_error err = {""};
    tg_constraint *c = NULL;
    const int rc = tg_constraint_compile(spec, w->trie, &err, &c);
    require(rc == 0 || (err.text[0] != '\0' && spec->kind != TG_CONSTRAINT_CALL));
    if (rc == 0)
        require(world_draw(w, c, &random, 0, &a));
    tg_buf_free(&a.text);
    tg_constraint_release(c);
}

static void try_text(tg_constraint_kind kind, tg_str text, uint64_t random)
{
    try_constraint(&(tg_constraint_spec){kind, &text, 1}, random);
}

static void try_schemas(tg_str one, tg_str other, uint64_t random)
{
    const tg_str texts[] = {TG_STR(""),  TG_STR("]"), TG_STR("arguments"), TG_STR("f"), one,
                            TG_STR("g"), other};
    if (random & 4)
        try_constraint(&(tg_constraint_spec){TG_CONSTRAINT_CALL, texts, 7}, random);
    else
        try_text(TG_CONSTRAINT_JSON_SCHEMA, one, random);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 2000)
        return 0;
    const tg_str rest = {(const char *)data + 1, size - 1};
    uint64_t random = data[0];
    switch (data[0] % 4) {
    case 0: try_regex(rest); break;
    case 1: try_schemas(rest, TG_STR("{}"), random); break;
    case 2: try_text(TG_CONSTRAINT_CHOICE, rest, random); break;
    default: {
        source s = {data + 1, size - 1};
        tg_buf schema, other;
        tg_buf_init(&schema, 0);
        tg_buf_init(&other, 0);
        add_schema(&s, &schema, 6);
        add_schema(&s, &other, 6);
        try_schemas(tg_buf_str(&schema), tg_buf_str(&other), random);
        tg_buf_free(&schema);
        tg_buf_free(&other);
    }
    }
    return 0;
}
