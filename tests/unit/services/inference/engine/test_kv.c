#include "services/inference/engine/kv.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>

static const uint8_t key[16] = {1, 2, 3};

static void test_tenants_never_meet(void)
{
    tg_kv *kv = NULL;
    uint32_t block, found, tokens[TG_KV_BLOCK_TOKENS] = {7, 8, 9};
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(4, key, &kv), 0);
    tg_kv_hash ours = tg_kv_extend(kv, tg_kv_salt(kv, TG_STR("acme")), tokens);
    tg_kv_hash theirs = tg_kv_extend(kv, tg_kv_salt(kv, TG_STR("bell")), tokens);
    CU_ASSERT_EQUAL(tg_kv_take(kv, &block), 0);
    tg_kv_seal(kv, block, ours);
    CU_ASSERT_EQUAL(tg_kv_find(kv, theirs, &found), -ENOENT);
    CU_ASSERT_EQUAL(tg_kv_find(kv, ours, &found), 0);
    CU_ASSERT_EQUAL(found, block);
    tokens[15] = 1;
    CU_ASSERT_EQUAL(tg_kv_find(kv, tg_kv_extend(kv, tg_kv_salt(kv, TG_STR("acme")), tokens), &found),
                    -ENOENT);
    tg_kv_free(kv);
}

static void test_least_recently_used_goes_first(void)
{
    tg_kv *kv = NULL;
    uint32_t blocks[3], found;
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(3, key, &kv), 0);
    for (uint32_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(tg_kv_take(kv, &blocks[i]), 0);
        tg_kv_seal(kv, blocks[i], (tg_kv_hash){i, i});
    }
    CU_ASSERT_EQUAL(tg_kv_take(kv, &found), -ENOSPC);
    for (uint32_t i = 0; i < 3; i++)
        tg_kv_release(kv, blocks[i]);
    CU_ASSERT_EQUAL(tg_kv_count(kv).cached, 3);
    CU_ASSERT_EQUAL(tg_kv_find(kv, (tg_kv_hash){0, 0}, &found), 0); /* used again: now the youngest */
    tg_kv_release(kv, found);
    CU_ASSERT_EQUAL(tg_kv_take(kv, &found), 0);
    CU_ASSERT_EQUAL(found, blocks[1]);
    CU_ASSERT_EQUAL(tg_kv_find(kv, (tg_kv_hash){1, 1}, &found), -ENOENT);
    CU_ASSERT_EQUAL(tg_kv_find(kv, (tg_kv_hash){2, 2}, &found), 0);
    CU_ASSERT(tg_kv_check(kv));
    tg_kv_free(kv);
}

/* Random takes, seals, finds and releases: the books always balance. */
static void test_books_balance(void)
{
    enum { BLOCKS = 24, HELD = 200 };
    uint32_t held[HELD], len = 0;
    uint64_t random = tg_test_seed();
    tg_kv *kv = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(BLOCKS, key, &kv), 0);
    for (size_t round = 0; round < tg_test_rounds(20000); round++) {
        const uint64_t name = tiny_random(&random) % 40;
        const tg_kv_hash hash = {name, name * 3};
        switch (tiny_random(&random) % 4) {
        case 0:
            if (len < HELD && tg_kv_take(kv, &held[len]) == 0)
                len++;
            break;
        case 1:
            if (len < HELD && tg_kv_find(kv, hash, &held[len]) == 0)
                len++;
            break;
        case 2:
            if (len > 0)
                tg_kv_seal(kv, held[tiny_random(&random) % len], hash);
            break;
        default:
            if (len > 0) {
                uint32_t at = (uint32_t)(tiny_random(&random) % len);
                tg_kv_release(kv, held[at]);
                held[at] = held[--len];
            }
        }
        CU_ASSERT(tg_kv_check(kv));
    }
    while (len > 0)
        tg_kv_release(kv, held[--len]);
    CU_ASSERT_EQUAL(tg_kv_count(kv).used, 0);
    CU_ASSERT(tg_kv_check(kv));
    tg_kv_free(kv);
}

static const tg_test tests[] = {{"tenants_never_meet", test_tenants_never_meet},
                                {"least_recently_used_goes_first", test_least_recently_used_goes_first},
                                {"books_balance", test_books_balance}};
TG_TEST_MAIN("services_inference_engine_kv", tests)
