#include "services/inference/engine/sched.h"

#include <errno.h>
#include <string.h>

int tg_sched_enqueue(tg_sched *sched, tg_seq *seq)
{
    if (sched->waiting_len >= sched->max_queue)
        return -EAGAIN;
    tg_seq **last = &sched->last[seq->priority];
    seq->next = NULL;
    seq->prev = *last;
    *(*last ? &(*last)->next : &sched->first[seq->priority]) = seq;
    *last = seq;
    sched->waiting_len++;
    return 0;
}

static void unlink_waiting(tg_sched *sched, tg_seq *seq)
{
    *(seq->prev ? &seq->prev->next : &sched->first[seq->priority]) = seq->next;
    *(seq->next ? &seq->next->prev : &sched->last[seq->priority]) = seq->prev;
    seq->prev = seq->next = NULL;
    sched->waiting_len--;
}

static void give_back(tg_sched *sched, tg_seq *seq)
{
    while (seq->blocks_len > 0) /* last first, so that a cached prefix outlives its extensions */
        tg_kv_release(sched->kv, seq->blocks[--seq->blocks_len]);
}

/* Takes the cached blocks that the sequence begins with. Its last token is always computed, since its
 * logits are wanted. */
static void match_prefix(tg_sched *sched, tg_seq *seq)
{
    const uint32_t most = (seq->len - 1) / TG_KV_BLOCK_TOKENS;
    while (seq->blocks_len < most) {
        tg_kv_hash hash = tg_kv_extend(sched->kv, seq->hash,
                                       seq->tokens + seq->blocks_len * TG_KV_BLOCK_TOKENS);
        if (tg_kv_find(sched->kv, hash, &seq->blocks[seq->blocks_len]) < 0)
            break;
        seq->hash = hash;
        seq->blocks_len++;
    }
    seq->sealed = seq->blocks_len;
    seq->computed = seq->blocks_len * TG_KV_BLOCK_TOKENS;
}

static bool admit_one(tg_sched *sched, tg_seq *seq, uint64_t now_ns)
{
    match_prefix(sched, seq);
    const tg_kv_counts counts = tg_kv_count(sched->kv);
    const uint32_t needed = seq->blocks_needed - seq->blocks_len;
    if (counts.free + counts.cached < sched->promised + needed) {
        give_back(sched, seq);
        seq->hash = seq->salt;
        return false;
    }
    sched->promised += needed;
    unlink_waiting(sched, seq);
    sched->running[sched->running_len++] = seq;
    seq->admitted_ns = now_ns;
    seq->usage.queue_ns = now_ns - seq->submitted_ns;
    seq->usage.cached_tokens = seq->computed;
    return true;
}

uint32_t tg_sched_admit(tg_sched *sched, uint64_t now_ns)
{
    uint32_t admitted = 0;
    while (sched->running_len < sched->max_seqs) {
        tg_seq *seq = sched->first[0] ? sched->first[0] : sched->first[1];
        if (!seq || !admit_one(sched, seq, now_ns))
            break;
        admitted++;
    }
    return admitted;
}

static void plan_one(tg_sched *sched, tg_seq *seq, uint32_t tokens)
{
    seq->planned = tokens;
    while (seq->blocks_len * TG_KV_BLOCK_TOKENS < seq->computed + tokens) {
        if (tg_kv_take(sched->kv, &seq->blocks[seq->blocks_len]) < 0)
            __builtin_trap(); /* a promise was broken: going on would corrupt another sequence */
        seq->blocks_len++;
        sched->promised--;
    }
}

uint32_t tg_sched_plan(tg_sched *sched)
{
    uint32_t left = sched->budget;
    for (uint32_t i = 0; i < sched->running_len; i++) {
        tg_seq *seq = sched->running[i];
        seq->planned = 0;
        if (seq->len - seq->computed == 1 && left > 0) {
            plan_one(sched, seq, 1);
            left--;
        }
    }
    for (uint32_t i = 0; i < sched->running_len && left > 0; i++) {
        tg_seq *seq = sched->running[i];
        uint32_t missing = seq->len - seq->computed;
        if (seq->planned > 0)
            continue;
        plan_one(sched, seq, missing < left ? missing : left);
        left -= seq->planned;
    }
    return sched->budget - left;
}

void tg_sched_advance(tg_sched *sched, tg_seq *seq)
{
    seq->computed += seq->planned;
    seq->planned = 0;
    for (; (seq->sealed + 1) * TG_KV_BLOCK_TOKENS <= seq->computed; seq->sealed++) {
        seq->hash = tg_kv_extend(sched->kv, seq->hash, seq->tokens + seq->sealed * TG_KV_BLOCK_TOKENS);
        tg_kv_seal(sched->kv, seq->blocks[seq->sealed], seq->hash);
    }
}

void tg_sched_remove(tg_sched *sched, tg_seq *seq)
{
    for (uint32_t i = 0; i < sched->running_len; i++) {
        if (sched->running[i] != seq)
            continue;
        sched->running_len--;
        memmove(&sched->running[i], &sched->running[i + 1],
                (sched->running_len - i) * sizeof(sched->running[0]));
        sched->promised -= seq->blocks_needed - seq->blocks_len;
        give_back(sched, seq);
        return;
    }
    unlink_waiting(sched, seq);
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

void tg_share(uint64_t total, const uint64_t *weights, uint32_t len, uint64_t *ret_shares)
{
    __extension__ typedef unsigned __int128 wide;
    wide sum = 0, upto = 0;
    uint64_t given = 0;
    for (uint32_t i = 0; i < len; i++)
        sum += weights[i];
    for (uint32_t i = 0; i < len; i++) {
        upto += weights[i];
        uint64_t edge = sum ? (uint64_t)(upto * total / sum) : total;
        ret_shares[i] = edge - given;
        given = edge;
    }
}
