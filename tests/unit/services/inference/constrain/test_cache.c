#include "services/inference/constrain/cache.h"

#include "tests/unit/harness.h"
#include "tests/unit/services/inference/constrain/constraint_world.h"

#include <errno.h>
#include <pthread.h>

static tg_constraint *get(tg_constraint_cache *cache, tg_constraint_kind kind, const tg_str *texts,
                          size_t len)
{
    tg_error err = {""};
    tg_constraint *c = NULL;
    const int rc =
        tg_constraint_cache_get(cache, &(tg_constraint_spec){kind, texts, len}, &err, &c);
    if (rc < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return c;
}

static tg_constraint *get_number(tg_constraint_cache *cache, unsigned number)
{
    char text[16];
    const tg_str one = {text, (size_t)snprintf(text, sizeof(text), "n%u", number)};
    return get(cache, TG_CONSTRAINT_REGEX, &one, 1);
}

static void test_the_same_again(void)
{
    const tg_str call[] = {TG_STR(""), TG_STR(""), TG_STR("arguments"), TG_STR("f"),
                           TG_STR("{\"not\":{}}")}; /* loose: kept as well */
    const tg_str text = TG_STR("{}"), two[] = {TG_STR("a"), TG_STR("b")}, one = TG_STR("a:1:b"),
                 joined = TG_STR("ab");
    world w;
    tg_constraint_cache *cache = NULL;
    CU_ASSERT_FATAL(world_make(&w));
    CU_ASSERT_EQUAL_FATAL(
        tg_constraint_cache_new(w.tokenizer, TG_CONSTRAINT_CACHE_BYTES_MAX, &cache), 0);
    tg_constraint *made[] = {get(cache, TG_CONSTRAINT_JSON_SCHEMA, &text, 1),
                             get(cache, TG_CONSTRAINT_CHOICE, &text, 1),
                             get(cache, TG_CONSTRAINT_CHOICE, two, 2),
                             get(cache, TG_CONSTRAINT_CHOICE, &one, 1),
                             get(cache, TG_CONSTRAINT_CHOICE, &joined, 1),
                             get(cache, TG_CONSTRAINT_JSON_OBJECT, NULL, 0),
                             get(cache, TG_CONSTRAINT_CALL, call, 5)};
    enum { MADE = sizeof(made) / sizeof(*made) };
    for (size_t i = 0; i < MADE; i++)
        for (size_t k = 0; k < i; k++)
            CU_ASSERT_PTR_NOT_EQUAL(made[i], made[k]);
    tg_constraint *again = get(cache, TG_CONSTRAINT_CHOICE, two, 2);
    CU_ASSERT_PTR_EQUAL(again, made[2]);
    tg_constraint_release(again);
    again = get(cache, TG_CONSTRAINT_CALL, call, 5);
    CU_ASSERT_PTR_EQUAL(again, made[6]);
    tg_constraint_release(again);
    for (size_t i = 0; i < MADE; i++)
        tg_constraint_release(made[i]);
    tg_constraint_cache_free(cache);
    world_free(&w);
}

/* The one unused for longest goes; a constraint in use lives on without the cache. */
static void test_bound(void)
{
    world w;
    tg_constraint_cache *cache = NULL;
    tg_constraint_state *s = NULL;
    tg_constraint *made[TG_CONSTRAINT_CACHE_MAX];
    CU_ASSERT_FATAL(world_make(&w));
    CU_ASSERT_EQUAL_FATAL(
        tg_constraint_cache_new(w.tokenizer, TG_CONSTRAINT_CACHE_BYTES_MAX, &cache), 0);
    for (unsigned i = 0; i < TG_CONSTRAINT_CACHE_MAX; i++)
        made[i] = get_number(cache, i);
    tg_constraint_release(get_number(cache, 0)); /* used again, so number 1 is the oldest */
    tg_constraint_release(get_number(cache, 1000));
    tg_constraint *first = get_number(cache, 0), *second = get_number(cache, 1);
    CU_ASSERT_PTR_EQUAL(first, made[0]);
    /* made[1] is still held, so the new one stands elsewhere */
    CU_ASSERT_PTR_NOT_EQUAL(second, made[1]);
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(made[1], &s), 0);
    CU_ASSERT(tg_constraint_advance(s, 'n') && tg_constraint_advance(s, '1') &&
              tg_constraint_must_end(s));
    tg_constraint_state_free(s);
    tg_constraint_release(first);
    tg_constraint_release(second);
    for (unsigned i = 0; i < TG_CONSTRAINT_CACHE_MAX; i++)
        tg_constraint_release(made[i]);
    tg_constraint_cache_free(cache);
    world_free(&w);
}

/* So many bytes are kept, and the latest constraint however large it is; what is used is counted
 * with what it has learnt. */
static void test_bytes(void)
{
    world w;
    tg_constraint_cache *cache = NULL;
    tg_constraint_state *s = NULL;
    const uint64_t *allowed = NULL;
    CU_ASSERT_FATAL(world_make(&w));
    CU_ASSERT_EQUAL_FATAL(tg_constraint_cache_new(w.tokenizer, 0, &cache), 0);
    tg_constraint *one = get_number(cache, 1), *again = get_number(cache, 1);
    const size_t bytes = tg_constraint_bytes(one);
    CU_ASSERT_PTR_EQUAL(one, again);
    tg_constraint_release(again);
    CU_ASSERT_EQUAL_FATAL(tg_constraint_start(one, &s), 0);
    CU_ASSERT(tg_constraint_mask(s, NULL, &allowed) == 0 && tg_constraint_bytes(one) > bytes);
    const size_t grown = tg_constraint_bytes(one);
    CU_ASSERT(tg_constraint_mask(s, NULL, &allowed) == 0 && tg_constraint_bytes(one) == grown);
    tg_constraint_state_free(s);
    /* pushes the first out, which is still held here */
    tg_constraint_release(get_number(cache, 2));
    again = get_number(cache, 1);
    CU_ASSERT_PTR_NOT_EQUAL(one, again);
    tg_constraint_release(again);
    tg_constraint_release(one);
    tg_constraint_cache_free(cache);
    world_free(&w);
}

/* What cannot be compiled pushes nothing out, and says why each time. */
static void test_refusals(void)
{
    const tg_str broken = TG_STR("a(b"), texts = TG_STR("a");
    world w;
    tg_constraint_cache *cache = NULL;
    CU_ASSERT_FATAL(world_make(&w));
    CU_ASSERT_EQUAL_FATAL(
        tg_constraint_cache_new(w.tokenizer, TG_CONSTRAINT_CACHE_BYTES_MAX, &cache), 0);
    tg_constraint *kept = get_number(cache, 7), *c = NULL;
    for (int i = 0; i < 2 * TG_CONSTRAINT_CACHE_MAX; i++) {
        tg_error err = {""};
        CU_ASSERT_EQUAL(
            tg_constraint_cache_get(cache, &(tg_constraint_spec){TG_CONSTRAINT_REGEX, &broken, 1},
                                    &err, &c),
            -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "')'"));
    }
    tg_error err = {""};
    CU_ASSERT_EQUAL(
        tg_constraint_cache_get(cache, &(tg_constraint_spec){TG_CONSTRAINT_CHOICE, &texts, 1000000},
                                &err, &c),
        -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "1024"));
    tg_constraint *again = get_number(cache, 7);
    CU_ASSERT_PTR_EQUAL(again, kept);
    tg_constraint_release(again);
    tg_constraint_release(kept);
    tg_constraint_cache_free(cache);
    world_free(&w);
}

static void *many_lookups(void *user)
{
    tg_constraint_cache *cache = user;
    for (unsigned i = 0; i < 400; i++) {
        char text[16];
        const tg_str one = {text, (size_t)snprintf(text, sizeof(text), "n%u", i * 7 % 100)};
        tg_error err = {""};
        tg_constraint *c = NULL;
        if (tg_constraint_cache_get(cache, &(tg_constraint_spec){TG_CONSTRAINT_REGEX, &one, 1},
                                    &err, &c) < 0)
            return cache;
        tg_constraint_release(c);
    }
    return NULL;
}

static void test_threads(void)
{
    world w;
    tg_constraint_cache *cache = NULL;
    pthread_t threads[4];
    CU_ASSERT_FATAL(world_make(&w));
    CU_ASSERT_EQUAL_FATAL(
        tg_constraint_cache_new(w.tokenizer, TG_CONSTRAINT_CACHE_BYTES_MAX, &cache), 0);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, many_lookups, cache), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = cache;
        pthread_join(threads[i], &failed);
        CU_ASSERT_PTR_NULL(failed);
    }
    tg_constraint_cache_free(cache);
    world_free(&w);
}

static const tg_test tests[] = {{"the_same_again", test_the_same_again},
                                {"bound", test_bound},
                                {"bytes", test_bytes},
                                {"refusals", test_refusals},
                                {"threads", test_threads}};
TG_TEST_MAIN("services_inference_constrain_cache", tests)
