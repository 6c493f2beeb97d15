#include "services/inference/constrain/dfa.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <string.h>

static bool matches(const tg_dfa *dfa, tg_str text)
{
    uint32_t state = TG_DFA_START;
    for (size_t i = 0; i < text.len && state; i++)
        state = tg_dfa_next(dfa, state, (uint8_t)text.data[i]);
    return state != TG_DFA_DEAD && dfa->accepts[state];
}

static bool pattern_matches(const char *pattern, bool whole, const char *text)
{
    tg_arena arena;
    tg_error err = {""};
    tg_dfa *dfa = NULL;
    const tg_regex *regex = NULL;
    tg_arena_init(&arena, 0);
    int rc = tg_regex_parse(tg_str_of(pattern), whole, &arena, &err, &regex);
    if (rc == 0)
        rc = tg_dfa_from_regex(regex, &err, &dfa);
    if (rc < 0)
        printf("# /%s/: %s\n", pattern, err.text);
    CU_ASSERT_EQUAL(rc, 0);
    const bool is = rc == 0 && matches(dfa, tg_str_of(text));
    tg_dfa_free(dfa);
    tg_arena_free(&arena);
    return is;
}

static void test_syntax(void)
{
    static const struct {
        const char *pattern, *yes, *no;
        bool part;
    } cases[] = {{"abc", "abc", "ab", false},
                 {"a|bc|", "", "b", false},
                 {"(?:ab)+c?", "ababc", "abab c", false},
                 {"[a-c]{2,3}", "abc", "abcd", false},
                 {"[^a-c]", "é", "b", false},
                 {"\\d+\\.\\d{2}", "12.50", "12.5", false},
                 {"\\w*\\s\\S", "ab_9 x", "ab x9", false},
                 {".", "😀", "\n", false},
                 {"[\\]\\-x]+", "]-x", "[", false},
                 {"\\u00e9\\x41\\u{1F600}", "éA😀", "éa😀", false},
                 {"b+?", "bbb", "a", false},
                 {"(?<year>[0-9]{4})", "2026", "202", false},
                 {"b", "abc", "ac", true},
                 {"^b", "bc", "ab", true},
                 {"b$", "ab", "ba", true},
                 {"^a|b$", "xb", "xa", true},
                 {"^a$", "a", "aa", true},
                 {"[-a]", "-", "b", false},
                 {"a{0}b", "b", "ab", false},
                 {"[\\d_]+", "1_2", "a", false},
                 {"\\/\\.", "/.", "/x", false},
                 {"[^\\W]", "a", "-", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const bool yes = pattern_matches(cases[i].pattern, !cases[i].part, cases[i].yes);
        const bool no = pattern_matches(cases[i].pattern, !cases[i].part, cases[i].no);
        if (!yes || no)
            printf("# /%s/ on '%s' and '%s': %d, %d\n", cases[i].pattern, cases[i].yes, cases[i].no,
                   yes, no);
        CU_ASSERT(yes && !no);
    }
}

static void test_refusals(void)
{
    static const struct {
        const char *pattern, *says;
    } cases[] = {{"(a", "')'"},
                 {"a)", "')' without"},
                 {"[a", "does not end"},
                 {"a{2,1}", "n ≤ m"},
                 {"*a", "quantifier"},
                 {"a**", "quantifier"},
                 {"\\1", "backreferences"},
                 {"\\bx", "boundaries"},
                 {"(?=a)", "look-around"},
                 {"(?<!a)b", "look-around"},
                 {"a^b", "ends"},
                 {"[z-a]", "backwards"},
                 {"\\q", "no such escape"},
                 {"a{5000}", "4096"},
                 {"\\u{110000}", "code point"},
                 {"\\p{L}", "properties"},
                 {"\\", "at the end"},
                 {"]", "escaped"},
                 {"\xff", "UTF-8"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        tg_arena arena;
        tg_error err = {""};
        const tg_regex *regex;
        tg_arena_init(&arena, 0);
        const int rc = tg_regex_parse(tg_str_of(cases[i].pattern), true, &arena, &err, &regex);
        if (rc >= 0 || !strstr(err.text, cases[i].says))
            printf("# /%s/: %d, %s\n", cases[i].pattern, rc, err.text);
        CU_ASSERT(rc < 0 && strstr(err.text, cases[i].says));
        tg_arena_free(&arena);
    }
}

/* ---- against a matcher that tries everything ---- */

static const tg_regex *random_regex(tg_arena *arena, uint64_t *random, uint32_t depth)
{
    static const uint32_t points[] = {'a',   'b',   '"',    '\\',   '\n',   1,       0xe9,
                                      0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff};
    enum { POINTS = sizeof(points) / sizeof(*points) };
    const uint64_t kind = depth == 0 ? tiny_random(random) % 2 : tiny_random(random) % 6;
    if (kind == 0)
        return tg_regex_text(arena, (tg_str){"", 0});
    if (kind <= 2) {
        tg_points set[3];
        const size_t len = 1 + tiny_random(random) % 3;
        for (size_t i = 0; i < len; i++) {
            const uint32_t x = points[tiny_random(random) % POINTS],
                           y = points[tiny_random(random) % POINTS];
            set[i] = (tg_points){x < y ? x : y, x < y ? y : x};
        }
        return tg_regex_set(arena, set, len);
    }
    const tg_regex *a = random_regex(arena, random, depth - 1),
                   *b = random_regex(arena, random, depth - 1);
    if (kind == 3)
        return tg_regex_cat(arena, a, b);
    if (kind == 4)
        return tg_regex_alt(arena, a, b);
    const uint32_t least = (uint32_t)(tiny_random(random) % 3);
    return tg_regex_repeat(arena, a, least,
                           tiny_random(random) % 2 ? UINT32_MAX
                                                   : least + (uint32_t)(tiny_random(random) % 3));
}

/* Bit i of the result: the expression matches points[at..i). */
static uint32_t ends_of(const tg_regex *r, const uint32_t *points, uint32_t len, uint32_t at)
{
    uint32_t ends = 0, more;
    switch (r->kind) {
    case TG_REGEX_TEXT: return 1u << at;
    case TG_REGEX_SET:
        for (size_t i = 0; i < r->points_len && at < len; i++)
            if (points[at] >= r->points[i].first && points[at] <= r->points[i].last)
                return 1u << (at + 1);
        return 0;
    case TG_REGEX_ALT: return ends_of(r->a, points, len, at) | ends_of(r->b, points, len, at);
    case TG_REGEX_CAT:
        more = ends_of(r->a, points, len, at);
        for (uint32_t i = 0; i <= len; i++)
            ends |= more >> i & 1 ? ends_of(r->b, points, len, i) : 0;
        return ends;
    default: break;
    }
    uint32_t now = 1u << at;
    ends = r->least == 0 ? now : 0;
    for (uint32_t round = 1; round <= (r->most == UINT32_MAX ? r->least + len + 1 : r->most);
         round++) {
        more = 0;
        for (uint32_t i = 0; i <= len; i++)
            more |= now >> i & 1 ? ends_of(r->a, points, len, i) : 0;
        now = more;
        ends |= round >= r->least ? now : 0;
    }
    return ends;
}

static void put_point(tg_buf *text, uint32_t point)
{
    char bytes[4];
    const size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        bytes[i] = (char)(0x80 | (point & 0x3f));
    bytes[0] = (char)((len == 1 ? 0 : len == 2 ? 0xc0 : len == 3 ? 0xe0 : 0xf0) | point);
    tg_buf_add(text, bytes, len);
}

static void put_json(tg_buf *json, tg_str text)
{
    tg_buf_add_char(json, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n')
            tg_buf_add_text(json, "\\n");
        else if (text.data[i] == 1)
            tg_buf_add_text(json, "\\u0001");
        else if (text.data[i] == '"' || text.data[i] == '\\')
            tg_buf_printf(json, "\\%c", text.data[i]);
        else
            tg_buf_add_char(json, text.data[i]);
    }
    tg_buf_add_char(json, '"');
}

static void check_texts(const tg_regex *regex, const tg_dfa *plain, const tg_dfa *quoted,
                        uint64_t *random, uint64_t *found)
{
    static const uint32_t points[] = {'a',   'b',    '"',    '\\',   '\n',    1,        0xe9, 0x7fe,
                                      0x801, 0xd7fe, 0xe001, 0xfffe, 0x10001, 0x10fffe, '^'};
    tg_buf text, json;
    tg_buf_init(&text, 0);
    tg_buf_init(&json, 0);
    for (int i = 0; i < 30; i++) {
        uint32_t list[6];
        const uint32_t len = (uint32_t)(tiny_random(random) % 6);
        tg_buf_clear(&text);
        tg_buf_clear(&json);
        for (uint32_t k = 0; k < len; k++) {
            list[k] = points[tiny_random(random) % (sizeof(points) / sizeof(*points))];
            put_point(&text, list[k]);
        }
        put_json(&json, tg_buf_str(&text));
        const bool want = ends_of(regex, list, len, 0) >> len & 1;
        *found += want;
        CU_ASSERT_EQUAL_FATAL(matches(plain, tg_buf_str(&text)), want);
        CU_ASSERT_EQUAL_FATAL(matches(quoted, tg_buf_str(&json)), want);
    }
    tg_buf_free(&text);
    tg_buf_free(&json);
}

static void test_random_expressions(void)
{
    uint64_t random = tg_test_seed(), found = 0, refused = 0;
    for (size_t round = 0; round < tg_test_rounds(1500); round++) {
        tg_arena arena;
        tg_dfa *plain = NULL, *quoted = NULL;
        tg_arena_init(&arena, 0);
        const tg_regex *regex = random_regex(&arena, &random, 4);
        const tg_regex *quote = tg_regex_text(&arena, TG_STR("\""));
        int rc = tg_dfa_from_regex(regex, NULL, &plain);
        if (rc == 0)
            rc = tg_dfa_from_regex(
                tg_regex_cat(&arena, quote,
                             tg_regex_cat(&arena, tg_regex_in_json(&arena, regex), quote)),
                NULL, &quoted);
        /* TG_DFA_WORK_MAX: repetitions of repetitions */
        CU_ASSERT_FATAL(rc == 0 || rc == -EMSGSIZE);
        refused += rc != 0;
        if (rc == 0)
            check_texts(regex, plain, quoted, &random, &found);
        tg_dfa_free(plain);
        tg_dfa_free(quoted);
        tg_arena_free(&arena);
    }
    CU_ASSERT(found > 100);
    CU_ASSERT(refused * 100 < tg_test_rounds(1500)); /* they are rare */
}

/* ---- of others ---- */

static tg_dfa *dfa_of(const char *pattern)
{
    tg_arena arena;
    tg_dfa *dfa = NULL;
    const tg_regex *regex = NULL;
    tg_arena_init(&arena, 0);
    CU_ASSERT_EQUAL(tg_regex_parse(tg_str_of(pattern), true, &arena, NULL, &regex), 0);
    CU_ASSERT_EQUAL(tg_dfa_from_regex(regex, NULL, &dfa), 0);
    tg_arena_free(&arena);
    return dfa;
}

static void test_combinations(void)
{
    tg_dfa *vowels = dfa_of("[aeiou]*"), *three = dfa_of("...?"), *none = dfa_of("[xyz]+"),
           *unit = dfa_of("[ab]|\\\\n|é"), *made = NULL;
    tg_error err = {""};
    CU_ASSERT_EQUAL_FATAL(tg_dfa_both(vowels, three, NULL, &made), 0);
    CU_ASSERT(matches(made, TG_STR("ae")) && matches(made, TG_STR("aei")) &&
              !matches(made, TG_STR("a")) && !matches(made, TG_STR("ab")));
    made = tg_dfa_free(made);
    CU_ASSERT_EQUAL_FATAL(tg_dfa_without(vowels, three, NULL, &made), 0);
    CU_ASSERT(matches(made, TG_STR("")) && matches(made, TG_STR("a")) &&
              !matches(made, TG_STR("ae")) && matches(made, TG_STR("aeio")));
    made = tg_dfa_free(made);
    CU_ASSERT_EQUAL(tg_dfa_both(vowels, none, &err, &made), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no text"));
    CU_ASSERT_EQUAL_FATAL(tg_dfa_quoted(unit, 1, 3, 8, NULL, &made), 0);
    CU_ASSERT(matches(made, TG_STR("\"a\"")) && matches(made, TG_STR("\"\\néb\"")) &&
              !matches(made, TG_STR("\"\"")) && !matches(made, TG_STR("\"abab\"")) &&
              !matches(made, TG_STR("a")) && !matches(made, TG_STR("\"a")));
    made = tg_dfa_free(made);
    CU_ASSERT_EQUAL_FATAL(tg_dfa_quoted(unit, 2, UINT32_MAX, 8, NULL, &made), 0);
    CU_ASSERT(made->states < 20 && !matches(made, TG_STR("\"a\"")) &&
              matches(made, TG_STR("\"abababababab\"")));
    made = tg_dfa_free(made);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_dfa_quoted(unit, 0, 100000, 8, &err, &made), -EMSGSIZE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "states"));
    tg_dfa_free(vowels);
    tg_dfa_free(three);
    tg_dfa_free(none);
    tg_dfa_free(unit);
}

/* From every state but the dead one an end can be reached. */
static void test_nothing_leads_nowhere(void)
{
    /* a class of nothing matches nothing */
    tg_dfa *dfa = dfa_of("(a|ab)(c|bcd)(d*)[^\\s\\S]?|x[^\\s\\S]y");
    bool reaches[64] = {false};
    CU_ASSERT_FATAL(dfa->states < 64);
    for (uint32_t round = 0; round < dfa->states; round++)
        for (uint32_t s = 1; s < dfa->states; s++) {
            reaches[s] |= dfa->accepts[s];
            for (uint32_t b = 0; b < 256; b++)
                reaches[s] |= reaches[tg_dfa_next(dfa, s, (uint8_t)b)];
        }
    for (uint32_t s = 1; s < dfa->states; s++)
        for (uint32_t b = 0; b < 256; b++) {
            const uint32_t to = tg_dfa_next(dfa, s, (uint8_t)b);
            CU_ASSERT(to == TG_DFA_DEAD || reaches[to]);
        }
    CU_ASSERT_EQUAL(tg_dfa_next(dfa, TG_DFA_START, 'x'), TG_DFA_DEAD);
    tg_dfa_free(dfa);
}

/* Few states of large sets are work all the same: short patterns must not take long. */
static void test_work_is_bounded(void)
{
    static const char *const patterns[] = {"^((a?){200}){200}$", "SS>.\\._>.\\>.{100}_>.",
                                           "^(a?b?){4000}c$"};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
        tg_arena arena;
        tg_error err = {""};
        tg_dfa *dfa = NULL;
        const tg_regex *regex = NULL;
        tg_arena_init(&arena, 0);
        CU_ASSERT_EQUAL_FATAL(tg_regex_parse(tg_str_of(patterns[i]), false, &arena, NULL, &regex),
                              0);
        CU_ASSERT_EQUAL(tg_dfa_from_regex(regex, &err, &dfa), -EMSGSIZE);
        if (!strstr(err.text, "steps"))
            printf("# %s: %s\n", patterns[i], err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "steps"));
        tg_arena_free(&arena);
    }
}

/* Plain characters are those that stand in a JSON string as they are. */
static void test_plain_room(void)
{
    static const struct {
        const char *pattern, *behind;
        int room;
    } cases[] = {
        {"\"[^\"\\x00-\\x1f\\\\]{0,5}\"", "\"", 5},
        {"\"[^\"\\x00-\\x1f\\\\]{0,5}\"", "\"ab", 3},
        {"\"[^\"\\x00-\\x1f\\\\]{0,5}\"", "\"abcde", 0},
        {"\"[^\"\\x00-\\x1f\\\\]*\"", "\"", 16},
        {"\"[^\"\\x00-\\x1f\\\\]*\"", "\"\xc3", 0},
        {"\"[^\"\\x00-\\x1f\\\\]{0,90}\"", "\"", 16},
        {"\"[^\"a]*\"", "\"", -1},
        {"\"[ -~]*\"", "\"", -1},
        {".*", "", -1},
        {"\"(.{3}|x.{9})\"", "\"", -1},
    };
    tg_arena arena;
    tg_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const tg_regex *regex = NULL;
        tg_dfa *dfa = NULL;
        tg_error err = {""};
        uint32_t state = TG_DFA_START;
        CU_ASSERT_EQUAL_FATAL(
            tg_regex_parse(tg_str_of(cases[i].pattern), true, &arena, &err, &regex), 0);
        CU_ASSERT_EQUAL_FATAL(tg_dfa_from_regex(regex, &err, &dfa), 0);
        for (const char *at = cases[i].behind; *at; at++)
            state = tg_dfa_next(dfa, state, (uint8_t)*at);
        const int room = tg_dfa_plain_room(dfa, state, 16);
        if (room != cases[i].room)
            printf("# %s behind %s: %d\n", cases[i].pattern, cases[i].behind, room);
        CU_ASSERT_EQUAL(room, cases[i].room);
        tg_dfa_free(dfa);
    }
    tg_arena_free(&arena);
}

/* As few states as there are different rests of texts, and the dead one. */
static void test_minimal(void)
{
    static const struct {
        const char *pattern;
        uint32_t states;
    } cases[] = {
        {"(a|b)*abb", 5}, {"aaa|a{3}", 5}, {"x?x?x?", 5}, {"[^\"]|\"", 10}, {"(ab|cb|db)*", 3}};
    tg_arena arena;
    tg_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const tg_regex *regex = NULL;
        tg_dfa *dfa = NULL;
        tg_error err = {""};
        CU_ASSERT_EQUAL_FATAL(
            tg_regex_parse(tg_str_of(cases[i].pattern), true, &arena, &err, &regex), 0);
        CU_ASSERT_EQUAL_FATAL(tg_dfa_from_regex(regex, &err, &dfa), 0);
        if (dfa->states != cases[i].states)
            printf("# %s: %u states\n", cases[i].pattern, dfa->states);
        CU_ASSERT_EQUAL(dfa->states, cases[i].states);
        tg_dfa_free(dfa);
    }
    tg_arena_free(&arena);
}

static const tg_test tests[] = {{"syntax", test_syntax},
                                {"refusals", test_refusals},
                                {"random_expressions", test_random_expressions},
                                {"combinations", test_combinations},
                                {"nothing_leads_nowhere", test_nothing_leads_nowhere},
                                {"plain_room", test_plain_room},
                                {"minimal", test_minimal},
                                {"work_is_bounded", test_work_is_bounded}};
TG_TEST_MAIN("services_inference_constrain_dfa", tests)
