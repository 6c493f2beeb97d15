#include "libs/base/arena.h"
#include "tests/unit/harness.h"

#include <string.h>

static void test_what_is_handed_out_is_aligned_and_apart(void)
{
    enum { PIECES = 500 };
    tg_arena arena;
    tg_arena_init(&arena, 0);
    unsigned char *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = tg_arena_alloc(&arena, i + 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(pieces[i]);
        CU_ASSERT_EQUAL((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i % 251), i + 1);
    }
    for (size_t i = 0; i < PIECES; i++)
        for (size_t j = 0; j <= i; j++)
            CU_ASSERT_FATAL(pieces[i][j] == i % 251);
    tg_arena_free(&arena);
    CU_ASSERT_EQUAL(arena.used, 0);
}

static void test_the_limit_holds(void)
{
    tg_arena arena;
    tg_arena_init(&arena, 10000);
    CU_ASSERT_PTR_NULL(tg_arena_alloc(&arena, 10001));
    CU_ASSERT_PTR_NULL(tg_arena_alloc(&arena, SIZE_MAX));
    CU_ASSERT_PTR_NULL(tg_arena_zalloc(&arena, SIZE_MAX / 2, 3)); /* the product overflows */
    size_t got = 0;
    while (got < 100 && tg_arena_alloc(&arena, 1000))
        got++;
    CU_ASSERT(got >= 8);
    CU_ASSERT(got <= 10);
    CU_ASSERT(arena.used <= 10000);
    tg_arena_free(&arena);
    CU_ASSERT_PTR_NOT_NULL(tg_arena_alloc(&arena, 1000)); /* usable again, under the same limit */
    CU_ASSERT_PTR_NULL(tg_arena_alloc(&arena, 10001));
    tg_arena_free(&arena);
}

static void test_reset_keeps_one_block(void)
{
    tg_arena arena;
    tg_arena_init(&arena, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tg_arena_alloc(&arena, 100));
    const size_t one = arena.used;
    for (int i = 0; i < 1000; i++)
        CU_ASSERT_PTR_NOT_NULL_FATAL(tg_arena_alloc(&arena, 100));
    tg_arena_reset(&arena);
    CU_ASSERT_EQUAL(arena.used, one);
    char *again = tg_arena_zalloc(&arena, 10, 10);
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL_FATAL(again[i], 0);
    CU_ASSERT_EQUAL(arena.used, one);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tg_arena_alloc(&arena, 100000));
    tg_arena_reset(&arena); /* a large block is not worth keeping */
    CU_ASSERT(arena.used <= one);
    tg_arena_free(&arena);
}

static void test_texts(void)
{
    tg_arena arena;
    tg_arena_init(&arena, 0);
    CU_ASSERT_STRING_EQUAL(tg_arena_strdup(&arena, TG_STR("toll")), "toll");
    CU_ASSERT_STRING_EQUAL(tg_arena_strdup(&arena, (tg_str){NULL, 0}), "");
    CU_ASSERT_STRING_EQUAL(tg_arena_printf(&arena, "%s-%d", "gate", 7), "gate-7");
    tg_arena_free(&arena);
}

static const tg_test tests[] = {
    {"what_is_handed_out_is_aligned_and_apart", test_what_is_handed_out_is_aligned_and_apart},
    {"the_limit_holds", test_the_limit_holds},
    {"reset_keeps_one_block", test_reset_keeps_one_block},
    {"texts", test_texts},
};
TG_TEST_MAIN("libs_base_arena", tests)
