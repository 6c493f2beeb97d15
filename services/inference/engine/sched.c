#include "services/inference/engine/sched.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_TOKEN = 1, OUTPUT_TOKEN = 2 }; /* what they count */

/* ---- tenants ---- */

int tg_sched_init(tg_sched *sched)
{
    sched->tenants = tg_map_new();
    return sched->tenants ? 0 : -ENOMEM;
}

void tg_sched_free(tg_sched *sched) { sched->tenants = tg_map_free(sched->tenants); }

static uint64_t least_served(const tg_sched *sched)
{
    uint64_t least = UINT64_MAX;
    tg_str salt;
    void *value;
    for (size_t at = 0; tg_map_next(sched->tenants, &at, &salt, &value);)
        if (((tg_tenant_share *)value)->served < least)
            least = ((tg_tenant_share *)value)->served;
    return least == UINT64_MAX ? 0 : least;
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint32_t smaller32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint64_t credit(const tg_sched *sched)
{
    return (uint64_t)TG_FAIR_CREDIT_STEPS * sched->budget;
}

/* The count from which who is further behind starts. */
static uint64_t least_count(const tg_sched *sched)
{
    return sched->time - smaller(sched->time, credit(sched));
}

static void charge(tg_sched *sched, tg_tenant_share *share, uint64_t cost)
{
    share->served =
        smaller(larger(share->served, least_count(sched)), sched->time + credit(sched)) + cost;
    sched->time_rest += cost;
    sched->time += sched->time_rest / tg_map_count(sched->tenants);
    sched->time_rest %= tg_map_count(sched->tenants);
}

static tg_str key_of(const tg_seq *seq)
{
    return (tg_str){(const char *)&seq->salt, sizeof(seq->salt)};
}

static int join_tenant(tg_sched *sched, tg_seq *seq)
{
    tg_tenant_share *share = tg_map_get(sched->tenants, key_of(seq));
    if (!share) {
        share = calloc(1, sizeof(*share));
        if (!share)
            return -ENOMEM;
        share->served = larger(least_served(sched), least_count(sched));
        if (tg_map_put(sched->tenants, key_of(seq), share, NULL) < 0) {
            free(share);
            return -ENOMEM;
        }
    }
    share->seqs++;
    seq->share = share;
    return 0;
}

static void leave_tenant(tg_sched *sched, tg_seq *seq)
{
    if (--seq->share->seqs == 0)
        free(tg_map_remove(sched->tenants, key_of(seq)));
    seq->share = NULL;
}

/* Of two tenants' oldest, whose goes first: of the one served less; with less running; with less to
 * compute; older. */
static bool goes_before(const tg_seq *a, const tg_seq *b)
{
    if (a->share->served != b->share->served)
        return a->share->served < b->share->served;
    if (a->share->running != b->share->running)
        return a->share->running < b->share->running;
    if (a->len - a->computed != b->len - b->computed)
        return a->len - a->computed < b->len - b->computed;
    return a->id < b->id;
}

/* One of those among whom choose() is to choose. */
static void offer(tg_seq *seq)
{
    if (!seq->share->oldest || seq->id < seq->share->oldest->id)
        seq->share->oldest = seq;
}

/* Each tenant's oldest first, and then among the tenants: a younger one is never compared with
 * another tenant's, or it could win where its elder lost. NULL where none was offered. */
static tg_seq *choose(const tg_sched *sched)
{
    tg_seq *best = NULL;
    tg_str salt;
    void *value;
    for (size_t at = 0; tg_map_next(sched->tenants, &at, &salt, &value);) {
        tg_tenant_share *share = value;
        if (share->oldest && (!best || goes_before(share->oldest, best)))
            best = share->oldest;
        share->oldest = NULL;
    }
    return best;
}

/* ---- waiting ---- */

static void link_waiting(tg_sched *sched, tg_seq *seq, bool in_front)
{
    tg_seq **first = &sched->first[seq->priority], **last = &sched->last[seq->priority];
    seq->prev = in_front ? NULL : *last;
    seq->next = in_front ? *first : NULL;
    *(seq->prev ? &seq->prev->next : first) = seq;
    *(seq->next ? &seq->next->prev : last) = seq;
    sched->waiting_len++;
}

int tg_sched_enqueue(tg_sched *sched, tg_seq *seq)
{
    if (sched->waiting_len >= sched->max_queue)
        return -EAGAIN;
    int rc = join_tenant(sched, seq);
    if (rc == 0)
        link_waiting(sched, seq, false);
    return rc;
}

static void unlink_waiting(tg_sched *sched, tg_seq *seq)
{
    *(seq->prev ? &seq->prev->next : &sched->first[seq->priority]) = seq->next;
    *(seq->next ? &seq->next->prev : &sched->last[seq->priority]) = seq->prev;
    seq->prev = seq->next = NULL;
    sched->waiting_len--;
}

/* ---- choices ---- */

void tg_sched_follow(tg_seq *seq, tg_seq *leader)
{
    seq->leader = leader;
    leader->followers++;
}

void tg_sched_unfollow(tg_seq *seq)
{
    if (seq->leader)
        seq->leader->followers--;
    seq->leader = NULL;
}

static void let_followers_go(tg_sched *sched, tg_seq *leader)
{
    for (uint32_t p = 0; p < TG_PRIORITIES; p++)
        for (tg_seq *seq = sched->first[p]; seq && leader->followers > 0; seq = seq->next)
            if (seq->leader == leader)
                tg_sched_unfollow(seq);
}

/* Tokens of the leader's that another choice needs not compute: all but the last, whose logits are
 * wanted. */
static uint32_t shared_tokens(const tg_seq *seq) { return seq->given_len - 1; }

static bool may_be_admitted(const tg_seq *seq)
{
    return !seq->leader || seq->leader->computed >= shared_tokens(seq);
}

/* Of one priority, who goes first. */
static tg_seq *first_waiting(const tg_sched *sched, uint32_t priority)
{
    for (tg_seq *seq = sched->first[priority]; seq; seq = seq->next)
        if (may_be_admitted(seq))
            offer(seq);
    return choose(sched);
}

static void give_back(tg_sched *sched, tg_seq *seq)
{
    while (seq->blocks_len > 0) /* last first, so that a cached prefix outlives its extensions */
        tg_kv_release(sched->kv, seq->blocks[--seq->blocks_len]);
}

/* Of block `index` of a sequence, of whose blocks before seq->hash is. */
static tg_kv_hash hash_of(const tg_sched *sched, const tg_seq *seq, uint32_t index)
{
    tg_kv_hash prefix = seq->hash;
    if (index == 0 && seq->public_blocks > 0)
        prefix = tg_kv_public(sched->kv);
    else if (index > 0 && index == seq->public_blocks)
        prefix = tg_kv_own(sched->kv, prefix, seq->salt);
    return tg_kv_extend(sched->kv, prefix, seq->tokens + index * TG_KV_BLOCK_TOKENS);
}

static void note_hash(tg_seq *seq, uint32_t index, tg_kv_hash hash)
{
    seq->hash = hash;
    if (index + 1 == seq->prompt_len / TG_KV_BLOCK_TOKENS)
        seq->usage.prompt_block = hash.a;
}

/* Takes the cached blocks that the sequence begins with. Its last token is always computed, since
 * its logits are wanted. */
static void match_prefix(tg_sched *sched, tg_seq *seq)
{
    const uint32_t most = seq->scores_prompt ? 0 : (seq->len - 1) / TG_KV_BLOCK_TOKENS;
    while (seq->blocks_len < most) {
        const tg_kv_hash hash = hash_of(sched, seq, seq->blocks_len);
        if (tg_kv_find(sched->kv, hash, &seq->blocks[seq->blocks_len]) < 0)
            break;
        note_hash(seq, seq->blocks_len++, hash);
    }
    seq->sealed = seq->blocks_len;
    seq->computed = seq->blocks_len * TG_KV_BLOCK_TOKENS;
}

/* The full blocks of the leader's prompt. */
static void share_prefix(tg_sched *sched, tg_seq *seq)
{
    for (; seq->blocks_len < shared_tokens(seq) / TG_KV_BLOCK_TOKENS; seq->blocks_len++) {
        seq->blocks[seq->blocks_len] = seq->leader->blocks[seq->blocks_len];
        tg_kv_share(sched->kv, seq->blocks[seq->blocks_len]);
        note_hash(seq, seq->blocks_len, hash_of(sched, seq, seq->blocks_len));
    }
    seq->sealed = seq->blocks_len;
    seq->computed = seq->blocks_len * TG_KV_BLOCK_TOKENS;
}

static void take_block(tg_sched *sched, tg_seq *seq)
{
    if (tg_kv_take(sched->kv, &seq->blocks[seq->blocks_len]) < 0)
        __builtin_trap(); /* a promise was broken: going on would corrupt another sequence */
    seq->blocks_len++;
    sched->promised--;
}

/* What the leader has of the block that comes next. */
static void copy_rest(tg_sched *sched, tg_seq *seq)
{
    if (seq->computed < shared_tokens(seq)) {
        const uint32_t from = seq->leader->blocks[seq->blocks_len];
        take_block(sched, seq);
        seq->copy = (tg_block_copy){from, seq->blocks[seq->blocks_len - 1]};
        seq->computed = shared_tokens(seq);
    }
    tg_sched_unfollow(seq);
}

static bool admit_one(tg_sched *sched, tg_seq *seq, uint64_t now_ns)
{
    if (seq->leader)
        share_prefix(sched, seq);
    else
        match_prefix(sched, seq);
    const tg_kv_counts counts = tg_kv_count(sched->kv);
    const uint32_t needed = seq->blocks_needed - seq->blocks_len;
    if (counts.free + counts.cached < sched->promised + needed) {
        give_back(sched, seq);
        seq->computed = seq->sealed = 0;
        seq->hash = seq->salt;
        return false;
    }
    sched->promised += needed;
    if (seq->leader)
        copy_rest(sched, seq);
    unlink_waiting(sched, seq);
    sched->running[sched->running_len++] = seq;
    seq->share->running++;
    if (!seq->gave_way) { /* the first time */
        seq->admitted_ns = now_ns;
        seq->usage.queue_ns = now_ns - seq->submitted_ns;
        seq->usage.cached_tokens = seq->computed;
    }
    return true;
}

/* ---- giving way ---- */

static void stop_running(tg_sched *sched, uint32_t index)
{
    tg_seq *seq = sched->running[index];
    sched->running_len--;
    memmove(&sched->running[index], &sched->running[index + 1],
            (sched->running_len - index) * sizeof(sched->running[0]));
    sched->promised -= seq->blocks_needed - seq->blocks_len;
    seq->share->running--;
    seq->copy = (tg_block_copy){0};
    give_back(sched, seq);
}

static bool may_give_way(const tg_seq *seq, const tg_seq *for_whom)
{
    return !seq->gave_way && !seq->cancelled && seq->share->running > 1 &&
           seq->share->served >= for_whom->share->served && seq->priority >= for_whom->priority;
}

/* A tenant's last running sequence stays, and its older ones before its younger ones. */
static bool would_give_way(const tg_sched *sched, const tg_seq *seq, const tg_seq *for_whom)
{
    uint32_t before = 0; /* of the same tenant */
    if (!may_give_way(seq, for_whom))
        return false;
    for (uint32_t i = 0; i < sched->running_len; i++)
        if (sched->running[i]->share == seq->share && sched->running[i]->id > seq->id)
            before += may_give_way(sched->running[i], for_whom);
    return before + 1 < seq->share->running;
}

/* What it holds alone, and what it is promised. */
static uint32_t blocks_freed(const tg_sched *sched, const tg_seq *seq)
{
    uint32_t blocks = seq->blocks_needed - seq->blocks_len;
    for (uint32_t i = 0; i < seq->blocks_len; i++)
        blocks += tg_kv_owners(sched->kv, seq->blocks[i]) == 1;
    return blocks;
}

/* Whether there would be memory enough if all that may give way did: nobody gives way for
 * nothing. */
static bool could_fit(const tg_sched *sched, const tg_seq *for_whom)
{
    const tg_kv_counts counts = tg_kv_count(sched->kv);
    uint64_t blocks = (uint64_t)counts.free + counts.cached;
    for (uint32_t i = 0; i < sched->running_len; i++)
        if (would_give_way(sched, sched->running[i], for_whom))
            blocks += blocks_freed(sched, sched->running[i]);
    return blocks >= (uint64_t)sched->promised + for_whom->blocks_needed;
}

/* Of the tenants with several running, the one served most; of its sequences the youngest that has
 * not given way. */
static bool make_way(tg_sched *sched, const tg_seq *for_whom)
{
    uint32_t victim = UINT32_MAX;
    for (uint32_t i = 0; i < sched->running_len; i++) {
        const tg_seq *seq = sched->running[i],
                     *other = victim == UINT32_MAX ? NULL : sched->running[victim];
        if (!may_give_way(seq, for_whom))
            continue;
        if (!other || seq->share->served > other->share->served ||
            (seq->share == other->share && seq->id > other->id))
            victim = i;
    }
    if (victim == UINT32_MAX)
        return false;
    tg_seq *seq = sched->running[victim];
    stop_running(sched, victim);
    seq->gave_way = true;
    seq->paid = seq->computed;
    sched->preempted++;
    seq->computed = seq->sealed = seq->planned = 0;
    seq->hash = seq->salt;
    link_waiting(sched, seq, true);
    return true;
}

/* Admits one sequence; a tenant that has none running may take another's place. */
static bool admit(tg_sched *sched, tg_seq *seq, uint64_t now_ns)
{
    for (;;) {
        if (sched->running_len < sched->max_seqs && admit_one(sched, seq, now_ns))
            return true;
        if (seq->share->running > 0 || !could_fit(sched, seq) || !make_way(sched, seq))
            return false;
    }
}

uint32_t tg_sched_admit(tg_sched *sched, uint64_t now_ns)
{
    uint32_t admitted = 0;
    for (;;) {
        tg_seq *interactive = first_waiting(sched, 0), *batch = first_waiting(sched, 1);
        const bool batch_first = batch && (!interactive || sched->passed >= TG_BATCH_PATIENCE);
        if ((!interactive && !batch) || !admit(sched, batch_first ? batch : interactive, now_ns))
            return admitted;
        sched->passed = batch && !batch_first ? sched->passed + 1 : 0;
        admitted++;
    }
}

/* ---- a step ---- */

/* Each sequence has one row of logits; `rows` is what is left of the spare ones. */
typedef struct budget {
    uint32_t tokens, rows;
} budget;

uint32_t tg_sched_again(const tg_seq *seq, uint32_t tokens)
{
    return seq->computed < seq->paid ? smaller32(tokens, seq->paid - seq->computed) : 0;
}

static void plan_tokens(tg_sched *sched, tg_seq *seq, uint32_t tokens, budget *left)
{
    const uint32_t again = tg_sched_again(seq, tokens);
    seq->planned += tokens;
    left->tokens -= tokens;
    charge(sched, seq->share,
           (uint64_t)(tokens - again) *
               (seq->computed < seq->prompt_len ? PROMPT_TOKEN : OUTPUT_TOKEN));
    while (seq->blocks_len * TG_KV_BLOCK_TOKENS < seq->computed + seq->planned)
        take_block(sched, seq);
}

/* What another sequence of the tenant has filled since this one was admitted need not be computed
 * again. */
static void match_more(tg_sched *sched, tg_seq *seq)
{
    const uint32_t before = seq->blocks_len;
    if (seq->sealed != before || seq->computed != before * TG_KV_BLOCK_TOKENS)
        return;
    match_prefix(sched, seq);
    sched->promised -= seq->blocks_len - before;
    if (!seq->gave_way)
        seq->usage.cached_tokens += seq->computed - before * TG_KV_BLOCK_TOKENS;
}

static void plan_chunk(tg_sched *sched, tg_seq *seq, budget *left)
{
    match_more(sched, seq);
    uint32_t tokens = seq->len - seq->computed;
    tokens = smaller32(tokens, left->tokens);
    if (seq->scores_prompt && seq->computed < seq->prompt_len) {
        tokens = smaller32(tokens, left->rows + 1);
        left->rows -= tokens - 1;
        seq->rows = tokens;
    } else {
        seq->rows = seq->computed + tokens == seq->len;
    }
    plan_tokens(sched, seq, tokens, left);
}

/* Guesses for a sequence that decodes. A guess that does not pay is kept to learn from. */
static void plan_guesses(tg_sched *sched, tg_seq *seq, float *expected, budget *left)
{
    tg_speculation *s = &seq->speculation;
    const float base = tg_step_cost_base(&sched->cost);
    const uint32_t room = seq->limit - 1 - seq->len,
                   most = smaller32(room, smaller32(left->tokens, left->rows));
    s->len = sched->drafter.guess(sched->drafter.user, seq->tokens, seq->len,
                                  smaller32(room, TG_GUESSES_MAX), s->guesses);
    for (uint32_t i = 0; i < s->len && i < most; i++) {
        const float chance = tg_speculation_chance(s, i + 1),
                    rows = (float)(sched->budget - left->tokens);
        if (!tg_guess_worth(chance, base, rows, *expected))
            break;
        seq->tokens[seq->len + i] = s->guesses[i];
        plan_tokens(sched, seq, 1, left);
        *expected += chance;
        seq->guesses++;
        seq->rows++;
        left->rows--;
    }
}

uint32_t tg_sched_plan(tg_sched *sched)
{
    budget left = {sched->budget, sched->spare_rows};
    for (uint32_t i = 0; i < sched->running_len; i++) {
        tg_seq *seq = sched->running[i];
        seq->planned = seq->guesses = seq->rows = 0;
        if (seq->len - seq->computed == 1 && left.tokens > 0)
            plan_chunk(sched, seq, &left);
    }
    while (left.tokens > 0) {
        for (uint32_t i = 0; i < sched->running_len; i++)
            if (sched->running[i]->planned == 0)
                offer(sched->running[i]);
        tg_seq *next = choose(sched);
        if (!next)
            break;
        plan_chunk(sched, next, &left);
    }
    float expected = (float)(sched->budget - left.tokens);
    for (uint32_t i = 0; i < sched->running_len && sched->drafter.guess; i++)
        if (sched->running[i]->planned == 1 &&
            sched->running[i]->len > sched->running[i]->prompt_len)
            plan_guesses(sched, sched->running[i], &expected, &left);
    return sched->budget - left.tokens;
}

void tg_sched_advance(tg_sched *sched, tg_seq *seq, uint32_t right)
{
    seq->computed += seq->planned - seq->guesses + right;
    seq->planned = 0;
    for (; (seq->sealed + 1) * TG_KV_BLOCK_TOKENS <= seq->computed; seq->sealed++) {
        const tg_kv_hash parent = seq->sealed > 0 ? seq->hash : (tg_kv_hash){0};
        note_hash(seq, seq->sealed, hash_of(sched, seq, seq->sealed));
        tg_kv_seal(sched->kv, seq->blocks[seq->sealed], seq->hash, parent);
    }
}

void tg_sched_remove(tg_sched *sched, tg_seq *seq)
{
    uint32_t i = 0;
    while (i < sched->running_len && sched->running[i] != seq)
        i++;
    if (i < sched->running_len)
        stop_running(sched, i);
    else
        unlink_waiting(sched, seq);
    tg_sched_unfollow(seq);
    let_followers_go(sched, seq);
    leave_tenant(sched, seq);
}

tg_seq *tg_sched_find(const tg_sched *sched, uint64_t id)
{
    for (uint32_t i = 0; i < sched->running_len; i++)
        if (sched->running[i]->id == id)
            return sched->running[i];
    for (uint32_t p = 0; p < TG_PRIORITIES; p++)
        for (tg_seq *seq = sched->first[p]; seq; seq = seq->next)
            if (seq->id == id)
                return seq;
    return NULL;
}
