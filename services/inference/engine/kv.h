/* Who owns which KV block: reference counts, a free list, and a prefix cache.
 *
 * A block holds the keys and values of 16 consecutive tokens. When it is full it may be sealed
 * under a hash of everything that decides its contents: the tenant's salt and all tokens up to its
 * end. A later sequence of the same tenant that begins with the same tokens takes the sealed blocks
 * instead of computing them. Two tenants never share a block, since their salts differ: how fast a
 * prompt is answered says nothing about another tenant's prompts. The hash is SipHash-2-4-128 under
 * a key drawn per process, so nobody outside can make two prefixes collide.
 *
 * A sealed block without owners stays cached until its memory is needed; the least recently used
 * goes first, and a sequence gives its blocks back last first, so a prefix outlives its extensions.
 *
 * Public prefixes: a text that the configuration declares public may be shared by all tenants. Its
 * blocks' hashes begin with no tenant's salt, and the first block after it takes the tenant's in,
 * so that what follows is the tenant's own again.
 *
 * Events: each block that comes into the cache or leaves it is told, by half of its hash, which
 * says nothing about its contents or tenant to who has not the key. The last TG_KV_EVENTS_MAX are
 * kept.
 *
 * Pure bookkeeping: no clock, no I/O, no memory but its own tables. Threads: one at a time.
 */
#ifndef TG_ENGINE_KV_H
#define TG_ENGINE_KV_H

#include "libs/base/str.h"
#include "services/inference/backend/backend.h"

/* of blocks, kept for who reads them; a reader further behind is told that it lost some */
#define TG_KV_EVENTS_MAX 4096

typedef struct tg_kv tg_kv;

typedef struct tg_kv_hash {
    uint64_t a, b;
} tg_kv_hash;

int tg_kv_new(uint32_t blocks, const uint8_t key[16], tg_kv **ret); /* 0 or -ENOMEM */
tg_kv *tg_kv_free(tg_kv *kv);

tg_kv_hash tg_kv_salt(const tg_kv *kv, tg_str tenant); /* the hash of an empty prefix */
tg_kv_hash tg_kv_public(const tg_kv *kv); /* the same, of a public prefix: no tenant's */
/* the prefix, as one tenant goes on after it */
tg_kv_hash tg_kv_own(const tg_kv *kv, tg_kv_hash public_prefix, tg_kv_hash salt);
tg_kv_hash tg_kv_extend(const tg_kv *kv, tg_kv_hash prefix,
                        const uint32_t tokens[TG_KV_BLOCK_TOKENS]);

/* The block sealed under this hash, with one more reference; or -ENOENT. */
int tg_kv_find(tg_kv *kv, tg_kv_hash hash, uint32_t *ret_block);

/* A block for new contents, with one reference: a free one, else the least recently used cached
 * one. -ENOSPC when every block has an owner. */
int tg_kv_take(tg_kv *kv, uint32_t *ret_block);

/* The block is full and these are its contents, after those of `parent` ({0}: none). If another
 * block already has them, nothing changes. */
void tg_kv_seal(tg_kv *kv, uint32_t block, tg_kv_hash hash, tg_kv_hash parent);
void tg_kv_share(tg_kv *kv, uint32_t block);   /* one reference more to a block that has some */
void tg_kv_release(tg_kv *kv, uint32_t block); /* one reference less */
uint32_t tg_kv_owners(const tg_kv *kv, uint32_t block); /* its references */

typedef struct tg_kv_counts { /* in blocks; free + used + cached = total */
    uint32_t total, free, used, cached;
} tg_kv_counts;

tg_kv_counts tg_kv_count(const tg_kv *kv);

typedef struct tg_kv_event {
    uint64_t block, parent; /* hashes' first halves; parent 0: it begins a prompt */
    bool removed;           /* else stored */
} tg_kv_event;

/* Events from number *from on, at most `most`; *from moves past them. Their count; or -EOVERFLOW
 * when some are gone: *from is then after the latest, as it is to begin with UINT64_MAX (0
 * events). */
int tg_kv_events(const tg_kv *kv, uint64_t *from, tg_kv_event *ret, uint32_t most);

/* Walks every list and table; false when they contradict each other. For tests. */
bool tg_kv_check(const tg_kv *kv);

#endif
