/* Who runs in the next step: a state machine without clock, locks or I/O; internal to engine/.
 *
 * Admission: interactive sequences before batch ones, each in order of arrival, while there is a place
 * and the KV blocks for the sequence's longest possible output can be promised. Blocks are taken one
 * by one as tokens come; the promise is what keeps a running sequence from ever running out.
 * Plan: one token for every sequence that decodes, then prompt chunks in order of admission, within the
 * budget. Decoding never waits for somebody's long prompt.
 *
 * Threads: one at a time; the engine's lock.
 */
#ifndef TG_ENGINE_SCHED_H
#define TG_ENGINE_SCHED_H

#include "services/inference/engine/seq.h"

#define TG_PRIORITIES 2

typedef struct tg_sched {
    tg_kv *kv;
    uint32_t max_seqs, max_queue, budget;
    tg_seq *first[TG_PRIORITIES], *last[TG_PRIORITIES]; /* waiting */
    uint32_t waiting_len;
    tg_seq *running[TG_ENGINE_SEQS_MAX]; /* in order of admission */
    uint32_t running_len;
    uint32_t promised; /* blocks that running sequences may still take */
} tg_sched;

int tg_sched_enqueue(tg_sched *sched, tg_seq *seq); /* 0 or -EAGAIN: the queue is full */

/* Admits what fits now; returns how many. The prefix cache is asked for each. */
uint32_t tg_sched_admit(tg_sched *sched, uint64_t now_ns);

/* Sets `planned` of every running sequence, takes their blocks, and returns the sum of tokens. */
uint32_t tg_sched_plan(tg_sched *sched);

/* The planned tokens of this sequence are computed: full blocks go to the prefix cache. */
void tg_sched_advance(tg_sched *sched, tg_seq *seq);

/* Takes a sequence out, waiting or running, and gives its blocks back. The caller frees it. */
void tg_sched_remove(tg_sched *sched, tg_seq *seq);

tg_seq *tg_sched_find(const tg_sched *sched, uint64_t id); /* or NULL */

/* Divides `total` by weights in whole numbers that sum to it exactly. */
void tg_share(uint64_t total, const uint64_t *weights, uint32_t len, uint64_t *ret_shares);

#endif
