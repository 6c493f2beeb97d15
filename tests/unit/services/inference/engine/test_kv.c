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
    tg_kv_seal(kv, block, ours, (tg_kv_hash){0});
    CU_ASSERT_EQUAL(tg_kv_find(kv, theirs, &found), -ENOENT);
    CU_ASSERT_EQUAL(tg_kv_find(kv, ours, &found), 0);
    CU_ASSERT_EQUAL(found, block);
    tokens[15] = 1;
    CU_ASSERT_EQUAL(
        tg_kv_find(kv, tg_kv_extend(kv, tg_kv_salt(kv, TG_STR("acme")), tokens), &found), -ENOENT);
    tg_kv_free(kv);
}

static void test_least_recently_used_goes_first(void)
{
    tg_kv *kv = NULL;
    uint32_t blocks[3], found;
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(3, key, &kv), 0);
    for (uint32_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(tg_kv_take(kv, &blocks[i]), 0);
        tg_kv_seal(kv, blocks[i], (tg_kv_hash){i, i}, (tg_kv_hash){0});
    }
    CU_ASSERT_EQUAL(tg_kv_take(kv, &found), -ENOSPC);
    for (uint32_t i = 0; i < 3; i++)
        tg_kv_release(kv, blocks[i]);
    CU_ASSERT_EQUAL(tg_kv_count(kv).cached, 3);
    /* used again: now the youngest */
    CU_ASSERT_EQUAL(tg_kv_find(kv, (tg_kv_hash){0, 0}, &found), 0);
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
                tg_kv_seal(kv, held[tiny_random(&random) % len], hash, (tg_kv_hash){0});
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

/* A public prefix is the same for all and nobody's by name; after it each goes on alone. */
static void test_public_prefixes(void)
{
    tg_kv *kv = NULL;
    const uint32_t tokens[TG_KV_BLOCK_TOKENS] = {7};
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(4, key, &kv), 0);
    const tg_kv_hash a = tg_kv_salt(kv, TG_STR("acme")), b = tg_kv_salt(kv, TG_STR("bell")),
                     nobody = tg_kv_salt(kv, TG_STR(""));
    const tg_kv_hash shared = tg_kv_extend(kv, tg_kv_public(kv), tokens);
    const tg_kv_hash all[] = {tg_kv_public(kv),
                              nobody,
                              a,
                              b,
                              shared,
                              tg_kv_extend(kv, nobody, tokens),
                              tg_kv_extend(kv, a, tokens),
                              tg_kv_extend(kv, shared, tokens),
                              tg_kv_extend(kv, tg_kv_own(kv, shared, a), tokens),
                              tg_kv_extend(kv, tg_kv_own(kv, shared, b), tokens),
                              tg_kv_own(kv, shared, a),
                              tg_kv_own(kv, shared, b)};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        for (size_t k = 0; k < i; k++)
            CU_ASSERT(all[i].a != all[k].a && all[i].b != all[k].b);
    tg_kv_free(kv);
}

/* Told of every block that comes and goes, a reader knows what is cached; one that is too late is
 * told that. */
static void test_events(void)
{
    enum { BLOCKS = 8, NAMES = 64 };
    uint64_t random = tg_test_seed(), from = UINT64_MAX, late = UINT64_MAX;
    bool known[NAMES] = {false};
    tg_kv_event events[16];
    tg_kv *kv = NULL;
    uint32_t block, found;
    int len;
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(BLOCKS, key, &kv), 0);
    CU_ASSERT_EQUAL(tg_kv_events(kv, &late, events, 16), 0);
    for (uint32_t i = 0; i < 6000; i++) {
        const uint64_t name = tiny_random(&random) % NAMES, parent = tiny_random(&random) % NAMES;
        CU_ASSERT_EQUAL_FATAL(tg_kv_take(kv, &block), 0);
        tg_kv_seal(kv, block, (tg_kv_hash){name, 1}, (tg_kv_hash){parent, 1});
        tg_kv_release(kv, block);
        if (i == 0)
            CU_ASSERT(tg_kv_events(kv, &from, events, 16) == 0 &&
                      from == 1); /* from now on: not that one */
        while ((len = tg_kv_events(kv, &from, events, 1 + i % 16)) > 0) {
            for (int k = 0; k < len; k++) {
                CU_ASSERT_FATAL(events[k].block < NAMES &&
                                (events[k].removed || events[k].parent == parent));
                CU_ASSERT_EQUAL(known[events[k].block], events[k].removed);
                known[events[k].block] = !events[k].removed;
            }
        }
        CU_ASSERT_EQUAL(len, 0);
        if (i == 0)
            known[name] = true;
    }
    for (uint32_t name = 0; name < NAMES; name++) {
        const bool cached = tg_kv_find(kv, (tg_kv_hash){name, 1}, &found) == 0;
        CU_ASSERT_EQUAL(known[name], cached);
        if (cached)
            tg_kv_release(kv, found);
    }
    CU_ASSERT_EQUAL(tg_kv_events(kv, &late, events, 16), -EOVERFLOW);
    CU_ASSERT_EQUAL(late, from);
    CU_ASSERT_EQUAL(tg_kv_events(kv, &late, events, 16), 0);
    tg_kv_free(kv);
}

static const tg_test tests[] = {
    {"tenants_never_meet", test_tenants_never_meet},
    {"least_recently_used_goes_first", test_least_recently_used_goes_first},
    {"books_balance", test_books_balance},
    {"public_prefixes", test_public_prefixes},
    {"events", test_events}};
TG_TEST_MAIN("services_inference_engine_kv", tests)
