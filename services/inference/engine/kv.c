#include "services/inference/engine/kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct block {
    uint32_t owners;
    bool sealed;
    tg_kv_hash hash;
    uint32_t chain;      /* next in the same bucket of the index */
    uint32_t prev, next; /* in the list of cached blocks; `next` alone in the free list */
} block;

struct tg_kv {
    uint64_t key[2];
    block *blocks;
    uint32_t *buckets;
    uint32_t mask;
    uint32_t free;             /* head of the free list */
    uint32_t oldest, youngest; /* ends of the cached list */
    tg_kv_counts counts;
    uint64_t events_len; /* ever */
    tg_kv_event events[TG_KV_EVENTS_MAX];
};

/* ---- SipHash-2-4 with 128 bits of output (Aumasson, Bernstein) ---- */

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

static void sip_rounds(uint64_t v[4], int rounds)
{
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1], v[1] = ROTATE(v[1], 13) ^ v[0], v[0] = ROTATE(v[0], 32);
        v[2] += v[3], v[3] = ROTATE(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = ROTATE(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = ROTATE(v[1], 17) ^ v[2], v[2] = ROTATE(v[2], 32);
    }
}

static tg_kv_hash sip_hash(const uint64_t key[2], const void *data, size_t len)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    const uint8_t *p = data;
    uint64_t word;
    for (size_t at = 0; at + 8 <= len; at += 8) {
        memcpy(&word, p + at, 8);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    word = (uint64_t)len << 56;
    for (size_t i = 0; i < len % 8; i++)
        word |= (uint64_t)p[len / 8 * 8 + i] << (8 * i);
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
    v[2] ^= 0xee;
    sip_rounds(v, 4);
    tg_kv_hash hash = {.a = v[0] ^ v[1] ^ v[2] ^ v[3]};
    v[1] ^= 0xdd;
    sip_rounds(v, 4);
    hash.b = v[0] ^ v[1] ^ v[2] ^ v[3];
    return hash;
}

tg_kv_hash tg_kv_salt(const tg_kv *kv, tg_str tenant)
{
    return sip_hash(kv->key, tenant.data, tenant.len);
}

/* Under another key, so that no tenant's name gives the same. */
static tg_kv_hash hash_apart(const tg_kv *kv, const void *data, size_t len)
{
    const uint64_t key[2] = {~kv->key[0], kv->key[1]};
    return sip_hash(key, data, len);
}

tg_kv_hash tg_kv_public(const tg_kv *kv) { return hash_apart(kv, "", 0); }

tg_kv_hash tg_kv_own(const tg_kv *kv, tg_kv_hash public_prefix, tg_kv_hash salt)
{
    const tg_kv_hash both[] = {public_prefix, salt};
    return hash_apart(kv, both, sizeof(both));
}

tg_kv_hash tg_kv_extend(const tg_kv *kv, tg_kv_hash prefix,
                        const uint32_t tokens[TG_KV_BLOCK_TOKENS])
{
    struct {
        tg_kv_hash prefix;
        uint32_t tokens[TG_KV_BLOCK_TOKENS];
    } contents = {.prefix = prefix};
    memcpy(contents.tokens, tokens, sizeof(contents.tokens));
    return sip_hash(kv->key, &contents, sizeof(contents));
}

/* ---- events ---- */

static void tell(tg_kv *kv, tg_kv_event event)
{
    kv->events[kv->events_len++ % TG_KV_EVENTS_MAX] = event;
}

int tg_kv_events(const tg_kv *kv, uint64_t *from, tg_kv_event *ret, uint32_t most)
{
    int len = 0;
    if (*from > kv->events_len || kv->events_len - *from > TG_KV_EVENTS_MAX) {
        const bool begins = *from == UINT64_MAX;
        *from = kv->events_len;
        return begins ? 0 : -EOVERFLOW;
    }
    for (; *from < kv->events_len && (uint32_t)len < most; ++*from)
        ret[len++] = kv->events[*from % TG_KV_EVENTS_MAX];
    return len;
}

/* ---- lists ---- */

static uint32_t *bucket_of(const tg_kv *kv, tg_kv_hash hash)
{
    return &kv->buckets[(uint32_t)hash.a & kv->mask];
}

static uint32_t index_find(const tg_kv *kv, tg_kv_hash hash)
{
    uint32_t at = *bucket_of(kv, hash);
    while (at != NONE && (kv->blocks[at].hash.a != hash.a || kv->blocks[at].hash.b != hash.b))
        at = kv->blocks[at].chain;
    return at;
}

static void index_remove(tg_kv *kv, uint32_t index)
{
    uint32_t *at = bucket_of(kv, kv->blocks[index].hash);
    while (*at != index)
        at = &kv->blocks[*at].chain;
    *at = kv->blocks[index].chain;
    kv->blocks[index].sealed = false;
    tell(kv, (tg_kv_event){.block = kv->blocks[index].hash.a, .removed = true});
}

static void cached_remove(tg_kv *kv, uint32_t index)
{
    block *b = &kv->blocks[index];
    *(b->prev == NONE ? &kv->oldest : &kv->blocks[b->prev].next) = b->next;
    *(b->next == NONE ? &kv->youngest : &kv->blocks[b->next].prev) = b->prev;
    kv->counts.cached--;
}

static void cached_append(tg_kv *kv, uint32_t index)
{
    block *b = &kv->blocks[index];
    b->prev = kv->youngest;
    b->next = NONE;
    *(kv->youngest == NONE ? &kv->oldest : &kv->blocks[kv->youngest].next) = index;
    kv->youngest = index;
    kv->counts.cached++;
}

static void free_push(tg_kv *kv, uint32_t index)
{
    kv->blocks[index].next = kv->free;
    kv->free = index;
    kv->counts.free++;
}

/* ---- the face ---- */

int tg_kv_new(uint32_t blocks, const uint8_t key[16], tg_kv **ret)
{
    tg_kv *kv = calloc(1, sizeof(*kv));
    if (!kv)
        return -ENOMEM;
    uint32_t buckets = 16;
    while (buckets < blocks && buckets < 1u << 30)
        buckets *= 2;
    kv->blocks = calloc(blocks ? blocks : 1, sizeof(*kv->blocks));
    kv->buckets = malloc(buckets * sizeof(*kv->buckets));
    if (!kv->blocks || !kv->buckets) {
        tg_kv_free(kv);
        return -ENOMEM;
    }
    memcpy(kv->key, key, sizeof(kv->key));
    memset(kv->buckets, 0xff, buckets * sizeof(*kv->buckets));
    kv->mask = buckets - 1;
    kv->free = kv->oldest = kv->youngest = NONE;
    kv->counts.total = blocks;
    for (uint32_t i = blocks; i > 0; i--)
        free_push(kv, i - 1);
    *ret = kv;
    return 0;
}

tg_kv *tg_kv_free(tg_kv *kv)
{
    if (kv) {
        free(kv->blocks);
        free(kv->buckets);
        free(kv);
    }
    return NULL;
}

int tg_kv_find(tg_kv *kv, tg_kv_hash hash, uint32_t *ret_block)
{
    uint32_t index = index_find(kv, hash);
    if (index == NONE)
        return -ENOENT;
    if (kv->blocks[index].owners++ == 0) {
        cached_remove(kv, index);
        kv->counts.used++;
    }
    *ret_block = index;
    return 0;
}

int tg_kv_take(tg_kv *kv, uint32_t *ret_block)
{
    uint32_t index = kv->free;
    if (index != NONE) {
        kv->free = kv->blocks[index].next;
        kv->counts.free--;
    } else {
        index = kv->oldest;
        if (index == NONE)
            return -ENOSPC;
        cached_remove(kv, index);
        index_remove(kv, index);
    }
    kv->blocks[index].owners = 1;
    kv->counts.used++;
    *ret_block = index;
    return 0;
}

void tg_kv_seal(tg_kv *kv, uint32_t index, tg_kv_hash hash, tg_kv_hash parent)
{
    block *b = &kv->blocks[index];
    if (b->sealed || index_find(kv, hash) != NONE)
        return;
    uint32_t *bucket = bucket_of(kv, hash);
    b->hash = hash;
    b->sealed = true;
    b->chain = *bucket;
    *bucket = index;
    tell(kv, (tg_kv_event){.block = hash.a, .parent = parent.a});
}

void tg_kv_release(tg_kv *kv, uint32_t index)
{
    block *b = &kv->blocks[index];
    if (--b->owners > 0)
        return;
    kv->counts.used--;
    if (b->sealed)
        cached_append(kv, index);
    else
        free_push(kv, index);
}

void tg_kv_share(tg_kv *kv, uint32_t index) { kv->blocks[index].owners++; }

uint32_t tg_kv_owners(const tg_kv *kv, uint32_t index) { return kv->blocks[index].owners; }

tg_kv_counts tg_kv_count(const tg_kv *kv) { return kv->counts; }

bool tg_kv_check(const tg_kv *kv)
{
    tg_kv_counts seen = {.total = kv->counts.total};
    for (uint32_t at = kv->free; at != NONE && seen.free <= seen.total; at = kv->blocks[at].next) {
        if (kv->blocks[at].owners != 0 || kv->blocks[at].sealed)
            return false;
        seen.free++;
    }
    for (uint32_t at = kv->oldest; at != NONE && seen.cached <= seen.total;
         at = kv->blocks[at].next) {
        if (kv->blocks[at].owners != 0 || index_find(kv, kv->blocks[at].hash) != at)
            return false;
        seen.cached++;
    }
    for (uint32_t i = 0; i < seen.total; i++)
        seen.used += kv->blocks[i].owners > 0;
    return memcmp(&seen, &kv->counts, sizeof(seen)) == 0 &&
           seen.free + seen.used + seen.cached == seen.total;
}
