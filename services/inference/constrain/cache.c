#include "services/inference/constrain/cache.h"

#include "libs/base/buf.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct entry {
    tg_buf key;
    tg_constraint *constraint;
    uint64_t used; /* when, in lookups */
} entry;

struct tg_constraint_cache {
    const tg_tokenizer *tokenizer;
    pthread_mutex_t compiling; /* held while one is compiled, before `lock` */
    tg_vocab_trie *trie;       /* under `compiling` */
    pthread_mutex_t lock;      /* of what follows */
    entry entries[TG_CONSTRAINT_CACHE_MAX];
    uint32_t len;
    uint64_t lookups;
    size_t bytes_max;
};

int tg_constraint_cache_new(const tg_tokenizer *tokenizer, size_t bytes_max,
                            tg_constraint_cache **ret)
{
    tg_constraint_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return -ENOMEM;
    pthread_mutex_init(&cache->compiling, NULL);
    pthread_mutex_init(&cache->lock, NULL);
    cache->tokenizer = tokenizer;
    cache->bytes_max = bytes_max;
    *ret = cache;
    return 0;
}

tg_constraint_cache *tg_constraint_cache_free(tg_constraint_cache *cache)
{
    if (!cache)
        return NULL;
    for (uint32_t i = 0; i < cache->len; i++) {
        tg_constraint_release(cache->entries[i].constraint);
        tg_buf_free(&cache->entries[i].key);
    }
    tg_vocab_trie_free(cache->trie);
    pthread_mutex_destroy(&cache->lock);
    pthread_mutex_destroy(&cache->compiling);
    free(cache);
    return NULL;
}

/* Lengths stand before texts, so that no two specifications have one key. */
static int make_key(const tg_constraint_spec *spec, tg_buf *key)
{
    int rc = tg_buf_printf(key, "%d", (int)spec->kind);
    for (size_t i = 0; i < spec->texts_len && rc == 0; i++) {
        rc = tg_buf_printf(key, ":%zu:", spec->texts[i].len);
        if (rc == 0)
            rc = tg_buf_add_str(key, spec->texts[i]);
    }
    return rc;
}

static entry *find(tg_constraint_cache *cache, tg_str key)
{
    for (uint32_t i = 0; i < cache->len; i++)
        if (tg_str_eq(tg_buf_str(&cache->entries[i].key), key))
            return &cache->entries[i];
    return NULL;
}

static size_t bytes_of(const tg_constraint_cache *cache)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < cache->len; i++)
        bytes += cache->entries[i].key.len + tg_constraint_bytes(cache->entries[i].constraint);
    return bytes;
}

static void drop_oldest(tg_constraint_cache *cache)
{
    entry *oldest = &cache->entries[0];
    for (uint32_t i = 1; i < cache->len; i++)
        if (cache->entries[i].used < oldest->used)
            oldest = &cache->entries[i];
    tg_constraint_release(oldest->constraint);
    tg_buf_free(&oldest->key);
    *oldest = cache->entries[--cache->len];
}

/* Under the lock. */
static void drop_too_many(tg_constraint_cache *cache)
{
    while (cache->len > 1 && bytes_of(cache) > cache->bytes_max)
        drop_oldest(cache);
}

static tg_constraint *look_up(tg_constraint_cache *cache, tg_str key)
{
    tg_constraint *constraint = NULL;
    pthread_mutex_lock(&cache->lock);
    entry *e = find(cache, key);
    if (e) {
        e->used = ++cache->lookups;
        constraint = tg_constraint_retain(e->constraint);
        drop_too_many(cache);
    }
    pthread_mutex_unlock(&cache->lock);
    return constraint;
}

/* The key is taken over. */
static void keep(tg_constraint_cache *cache, tg_buf *key, tg_constraint *constraint)
{
    pthread_mutex_lock(&cache->lock);
    if (cache->len == TG_CONSTRAINT_CACHE_MAX)
        drop_oldest(cache);
    cache->entries[cache->len++] = (entry){
        .key = *key, .constraint = tg_constraint_retain(constraint), .used = ++cache->lookups};
    tg_buf_init(key, 0);
    drop_too_many(cache);
    pthread_mutex_unlock(&cache->lock);
}

/* Another may have compiled it while this one waited for its turn. */
static int compile(tg_constraint_cache *cache, const tg_constraint_spec *spec, tg_buf *key,
                   tg_error *err, tg_constraint **ret)
{
    int rc = 0;
    pthread_mutex_lock(&cache->compiling);
    *ret = look_up(cache, tg_buf_str(key));
    if (!*ret) {
        rc = cache->trie ? 0 : tg_vocab_trie_new(cache->tokenizer, &cache->trie);
        if (rc == 0)
            rc = tg_constraint_compile(spec, cache->trie, err, ret);
        if (rc == 0)
            keep(cache, key, *ret);
    }
    pthread_mutex_unlock(&cache->compiling);
    return rc;
}

static bool choices_fit(const tg_constraint_spec *spec)
{
    return spec->texts_len <= TG_CONSTRAINT_CHOICES_MAX;
}

tg_constraint *tg_constraint_cache_find(tg_constraint_cache *cache, const tg_constraint_spec *spec)
{
    tg_buf key;
    tg_buf_init(&key, 0);
    tg_constraint *constraint =
        choices_fit(spec) && make_key(spec, &key) == 0 ? look_up(cache, tg_buf_str(&key)) : NULL;
    tg_buf_free(&key);
    return constraint;
}

int tg_constraint_cache_get(tg_constraint_cache *cache, const tg_constraint_spec *spec,
                            tg_error *err, tg_constraint **ret)
{
    tg_buf key;
    if (!choices_fit(spec))
        return tg_error_set(err, -EINVAL, "a choice of %zu texts; 1 to %d are allowed",
                            spec->texts_len, TG_CONSTRAINT_CHOICES_MAX);
    tg_buf_init(&key, 0);
    int rc = make_key(spec, &key);
    if (rc == 0 && !(*ret = look_up(cache, tg_buf_str(&key))))
        rc = compile(cache, spec, &key, err, ret);
    tg_buf_free(&key);
    return rc;
}
