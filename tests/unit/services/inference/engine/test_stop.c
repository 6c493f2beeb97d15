#include "services/inference/engine/stop.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>

/* Pushes the pieces (separated by bars) and returns what was shown; hit tells whether it
 * stopped. */
static bool shows(const tg_str *stops, size_t len, const char *pieces, const char *want,
                  bool want_hit)
{
    tg_stop stop;
    tg_buf out;
    bool hit = false;
    tg_buf_init(&out, 0);
    CU_ASSERT_EQUAL(tg_stop_init(&stop, stops, len, NULL), 0);
    for (const char *at = pieces; *at && !hit;) {
        size_t n = strcspn(at, "|");
        CU_ASSERT_EQUAL(tg_stop_push(&stop, (tg_str){at, n}, &out, &hit), 0);
        at += n + (at[n] == '|');
    }
    if (!hit)
        tg_stop_end(&stop, &out);
    bool good = hit == want_hit && tg_str_is(tg_buf_str(&out), want);
    if (!good)
        printf("# %s: '%s' hit %d\n", pieces, out.data ? out.data : "", hit);
    tg_stop_free(&stop);
    tg_buf_free(&out);
    return good;
}

static void test_across_pieces(void)
{
    const tg_str end = TG_STR("END");
    CU_ASSERT(shows(&end, 1, "one E|N|D two", "one ", true));
    CU_ASSERT(shows(&end, 1, "one EN|E|ND", "one EN", true));
    CU_ASSERT(shows(&end, 1, "one EN", "one EN", false)); /* held, then shown after all */
    CU_ASSERT(shows(&end, 1, "END", "", true));
    CU_ASSERT(shows(NULL, 0, "END|x", "ENDx", false));
}

static void test_several(void)
{
    const tg_str stops[] = {TG_STR("abcX"), TG_STR("bc"), TG_STR("\n\n")};
    CU_ASSERT(shows(stops, 3, "zab|c", "za", true)); /* complete wins over begun */
    CU_ASSERT(shows(stops, 3, "q\n|\nr", "q", true));
    CU_ASSERT(shows(stops, 3, "abX", "abX", false));
}

/* Any split of a text gives what the whole text gives, up to the stop. */
static void test_any_split(void)
{
    const tg_str stops[] = {TG_STR("aba"), TG_STR("bb")};
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(2000); round++) {
        char text[32], pieces[64], want[32];
        size_t len = tiny_random(&random) % 31, n = 0;
        for (size_t i = 0; i < len; i++)
            text[i] = tiny_random(&random) % 3 ? 'a' : tiny_random(&random) % 2 ? 'b' : 'c';
        text[len] = '\0';
        for (size_t i = 0; i < len; i++) { /* one character a piece: what a stream would show */
            pieces[n++] = text[i];
            pieces[n++] = '|';
        }
        pieces[n] = '\0';
        size_t cut = len;
        for (size_t end = 1; end <= len && cut == len; end++) { /* the first stop to be complete */
            if (end >= 2 && memcmp(text + end - 2, "bb", 2) == 0)
                cut = end - 2;
            if (end >= 3 && memcmp(text + end - 3, "aba", 3) == 0)
                cut = end - 3;
        }
        memcpy(want, text, cut);
        want[cut] = '\0';
        CU_ASSERT(shows(stops, 2, pieces, want, cut < len));
    }
}

static void test_refusals(void)
{
    tg_stop stop;
    tg_error err = {""};
    const tg_str empty = {"", 0};
    CU_ASSERT_EQUAL(tg_stop_init(&stop, &empty, 1, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "0 bytes"));
    tg_stop_free(&stop);
    CU_ASSERT_EQUAL(tg_stop_init(&stop, &empty, 1000000, NULL), -EINVAL);
    tg_stop_free(&stop);
}

static const tg_test tests[] = {{"across_pieces", test_across_pieces},
                                {"several", test_several},
                                {"any_split", test_any_split},
                                {"refusals", test_refusals}};
TG_TEST_MAIN("services_inference_engine_stop", tests)
