#include "libs/base/map.h"
#include "libs/base/id.h"
#include "tests/unit/harness.h"

#include <stdio.h>
#include <string.h>

static void test_put_replace_remove(void)
{
    tg_map *map = tg_map_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(map);
    int one = 1, two = 2;
    void *old = &one;
    CU_ASSERT_PTR_NULL(tg_map_get(map, TG_STR("a")));
    CU_ASSERT_EQUAL(tg_map_put(map, TG_STR("a"), &one, &old), 0);
    CU_ASSERT_PTR_NULL(old);
    CU_ASSERT_EQUAL(tg_map_put(map, TG_STR("a"), &two, &old), 0);
    CU_ASSERT_PTR_EQUAL(old, &one);
    CU_ASSERT_EQUAL(tg_map_count(map), 1);
    CU_ASSERT_PTR_NULL(tg_map_get(map, TG_STR("ab")));
    CU_ASSERT_EQUAL(tg_map_put(map, (tg_str){NULL, 0}, &one, NULL), 0); /* the empty key is a key */
    CU_ASSERT_EQUAL(tg_map_put(map, (tg_str){"a\0b", 3}, &one, NULL), 0); /* and so are bytes */
    CU_ASSERT_PTR_EQUAL(tg_map_get(map, TG_STR("a")), &two);
    CU_ASSERT_PTR_EQUAL(tg_map_get(map, (tg_str){"a\0b", 3}), &one);
    CU_ASSERT_PTR_EQUAL(tg_map_remove(map, TG_STR("a")), &two);
    CU_ASSERT_PTR_NULL(tg_map_remove(map, TG_STR("a")));
    CU_ASSERT_EQUAL(tg_map_count(map), 2);
    CU_ASSERT_PTR_NULL(tg_map_free(map));
    CU_ASSERT_PTR_NULL(tg_map_free(NULL));
}

/* Any order of puts and removals against a plain array: removal moves neighbours in the table. */
static void test_agrees_with_an_array(void)
{
    enum { KEYS = 200 };
    static int values[KEYS];
    uint64_t state = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(20); round++) {
        bool there[KEYS] = {false};
        size_t count = 0;
        tg_map *map = tg_map_new();
        CU_ASSERT_PTR_NOT_NULL_FATAL(map);
        for (int step = 0; step < 2000; step++) {
            const size_t i = tg_random_next(&state) % KEYS;
            char key[16];
            snprintf(key, sizeof key, "k%zu", i);
            if (tg_random_next(&state) % 2) {
                void *old;
                CU_ASSERT_EQUAL_FATAL(tg_map_put(map, tg_str_of(key), &values[i], &old), 0);
                CU_ASSERT_EQUAL_FATAL(old != NULL, there[i]);
                count += !there[i];
                there[i] = true;
            } else {
                CU_ASSERT_EQUAL_FATAL(tg_map_remove(map, tg_str_of(key)) != NULL, there[i]);
                count -= there[i];
                there[i] = false;
            }
            CU_ASSERT_EQUAL_FATAL(tg_map_count(map), count);
        }
        size_t seen = 0;
        tg_str key;
        void *value;
        for (size_t at = 0; tg_map_next(map, &at, &key, &value); seen++)
            CU_ASSERT_TRUE_FATAL(there[(int *)value - values]);
        CU_ASSERT_EQUAL_FATAL(seen, count);
        for (size_t i = 0; i < KEYS; i++) {
            char name[16];
            snprintf(name, sizeof name, "k%zu", i);
            CU_ASSERT_PTR_EQUAL_FATAL(tg_map_get(map, tg_str_of(name)),
                                      there[i] ? &values[i] : NULL);
        }
        tg_map_free(map);
    }
}

static const tg_test tests[] = {{"put_replace_remove", test_put_replace_remove},
                                {"agrees_with_an_array", test_agrees_with_an_array}};
TG_TEST_MAIN("libs_base_map", tests)
