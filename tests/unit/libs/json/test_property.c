/* Random documents: what the writer writes the parser reads back the same; raw scanning agrees with
 * parsing; random damage never crashes, and what is refused is refused by both validators. */
#include "libs/base/id.h"
#include "libs/json/json.h"
#include "libs/json/json_check.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint64_t state;

static uint64_t below(uint64_t n) { return tg_random_next(&state) % n; }

static void random_string(tg_json_out *out)
{
    static const char *const parts[] = {
        "a", "\"", "\\", "\n", "\x01", "\xC3\xA9", "\xF0\x9F\x98\x80", "}", "]", ",", " "};
    char text[64];
    size_t len = 0;
    for (uint64_t n = below(12); n > 0; n--) {
        const char *part = parts[below(sizeof parts / sizeof *parts)];
        memcpy(text + len, part, strlen(part));
        len += strlen(part);
    }
    tg_json_out_str(out, (tg_str){text, len});
}

static void random_value(tg_json_out *out, unsigned depth)
{
    union {
        uint64_t bits;
        double value;
    } real;
    switch (below(depth ? 9 : 7)) {
    case 0:
        tg_json_out_null(out);
        break;
    case 1:
        tg_json_out_bool(out, below(2));
        break;
    case 2:
        tg_json_out_u64(out, tg_random_next(&state) >> below(64));
        break;
    case 3:
        tg_json_out_i64(out, (int64_t)tg_random_next(&state) >> below(64));
        break;
    case 4:
        real.bits = tg_random_next(&state);
        tg_json_out_f64(out, (real.bits >> 52 & 0x7FF) == 0x7FF ? 0.5 : real.value);
        break;
    case 5:
    case 6:
        random_string(out);
        break;
    case 7:
        tg_json_out_begin_array(out);
        for (uint64_t n = below(6); n > 0; n--)
            random_value(out, depth - 1);
        tg_json_out_end_array(out);
        break;
    default:
        tg_json_out_begin_object(out);
        for (uint64_t i = 0, n = below(24); i < n; i++) {
            char key[32];
            snprintf(key, sizeof key, "k\"%u\\", (unsigned)i);
            tg_json_out_key(out, key);
            random_value(out, depth - 1);
        }
        tg_json_out_end_object(out);
    }
}

/* Wraps a random value into an object so that the raw scanner has members to find. */
static void random_document(tg_buf *buf)
{
    tg_buf_clear(buf);
    tg_json_out out = tg_json_out_to(buf);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "first");
    random_value(&out, 5);
    tg_json_out_key(&out, "second");
    random_value(&out, 3);
    tg_json_out_end_object(&out);
}

static void check_raw_agrees(tg_str text, tg_json root)
{
    tg_json_doc *part = tg_json_doc_new();
    tg_json_iter it = tg_json_iterate(root);
    size_t at = 0, count = 0;
    tg_buf whole, piece;
    tg_buf_init(&whole, 0);
    tg_buf_init(&piece, 0);
    for (tg_json_member m; tg_json_raw_next(text, &at, &m) && tg_json_next(&it); count++) {
        tg_json value;
        tg_buf_clear(&whole);
        tg_buf_clear(&piece);
        CU_ASSERT_EQUAL(tg_json_parse(part, m.value_raw, 1 << 20, NULL, &value), 0);
        tg_json_out out = tg_json_out_to(&whole);
        tg_json_out_value(&out, it.value);
        out = tg_json_out_to(&piece);
        tg_json_out_value(&out, value);
        CU_ASSERT_TRUE(tg_str_eq(tg_buf_str(&whole), tg_buf_str(&piece)));
    }
    CU_ASSERT_EQUAL(count, tg_json_count(root));
    tg_buf_free(&whole);
    tg_buf_free(&piece);
    tg_json_doc_free(part);
}

static void test_round_trip(void)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_buf text, again;
    tg_buf_init(&text, 0);
    tg_buf_init(&again, 0);
    state = tg_test_seed();
    for (size_t round = tg_test_rounds(500); round > 0; round--) {
        tg_json root;
        tg_error err = {{0}};
        random_document(&text);
        if (tg_json_parse(doc, tg_buf_str(&text), 1 << 24, &err, &root) < 0) {
            printf("# refused: %s\n", err.text);
            CU_FAIL("a written document was refused");
            break;
        }
        CU_ASSERT_EQUAL(tg_json_check(tg_buf_str(&text), &err), 0);
        tg_buf_clear(&again);
        tg_json_out out = tg_json_out_to(&again);
        tg_json_out_value(&out, root);
        CU_ASSERT_TRUE(tg_str_eq(tg_buf_str(&text), tg_buf_str(&again)));
        check_raw_agrees(tg_buf_str(&text), root);
    }
    tg_buf_free(&text);
    tg_buf_free(&again);
    tg_json_doc_free(doc);
}

static void damage(tg_buf *text)
{
    static const char marks[] = "{}[]\",:\\u0dD8e+-.tfn \x01\x80\xFF";
    for (uint64_t n = 1 + below(3); n > 0 && text->len > 1; n--) {
        size_t at = below(text->len);
        if (below(4) == 0)
            text->len = at + 1;
        else
            text->data[at] = marks[below(sizeof marks - 1)];
    }
}

static void test_damage(void)
{
    tg_json_doc *doc = tg_json_doc_new();
    tg_buf text, again;
    tg_buf_init(&text, 0);
    tg_buf_init(&again, 0);
    state = tg_test_seed();
    for (size_t round = tg_test_rounds(5000); round > 0; round--) {
        tg_json root;
        tg_error err = {{0}};
        random_document(&text);
        damage(&text);
        int rc = tg_json_parse(doc, tg_buf_str(&text), 1 << 24, &err, &root);
        CU_ASSERT_TRUE(rc == 0 || (rc == -EINVAL && strncmp(err.text, "line ", 5) == 0));
        if (rc < 0 && strncmp(err.text, "line ", 5) != 0)
            printf("# %s\n", err.text);
        bool repeated = strstr(err.text, "already given") != NULL;
        CU_ASSERT_EQUAL(tg_json_check(tg_buf_str(&text), NULL), repeated ? 0 : rc);
        size_t at = 0;
        for (tg_json_member m; tg_json_raw_next(tg_buf_str(&text), &at, &m);)
            (void)tg_json_raw_key_is(m.key_raw, "first");
        tg_buf_clear(&again);
        tg_json_out out = tg_json_out_to(&again);
        if (rc == 0)
            tg_json_out_value(&out, root);
        CU_ASSERT_EQUAL(out.status, 0);
    }
    tg_buf_free(&text);
    tg_buf_free(&again);
    tg_json_doc_free(doc);
}

static const tg_test tests[] = {{"round_trip", test_round_trip}, {"damage", test_damage}};
TG_TEST_MAIN("libs_json_property", tests)
