/* Who runs in the next step: a state machine without clock, locks or I/O; internal to engine/.
 *
 * Fairness: each tenant has a count of what it was served, prompt tokens once and output tokens
 * twice, since they cost about so much more (the virtual token counter of Sheng et al. 2024). Who
 * was served least goes first, and among a tenant's own sequences the oldest. A tenant that comes
 * anew starts at the least count of those that are there: it has saved nothing up. So a tenant's
 * 10,000-token prompt or 200 waiting requests delay nobody else's short one. A virtual time (Parekh
 * and Gallager 1993) moves on by what is served, divided by the tenants that are there, and no
 * count is charged further than TG_FAIR_CREDIT_STEPS budgets from it, behind or ahead. So it passes
 * any count soon: ever new tenants with short requests cannot keep a long one waiting for ever, who
 * asked for little for long cannot have it all at once later, and who used what nobody wanted does
 * not pay for it later.
 *
 * Admission: interactive sequences before batch ones, but at most TG_BATCH_PATIENCE of them past a
 * batch one that waits. A sequence is admitted when there is a place and the KV blocks for its
 * longest possible output can be promised; the promise is what keeps a running sequence from ever
 * running out. Preemption: a tenant without a running sequence does not wait for a full engine. A
 * sequence of the tenant that was served most, and has others running, gives way: its blocks go
 * back (full ones stay cached for it), it waits again as the first of its tenant, and what it had
 * is computed anew. It gives way once at most while it lives, so nothing thrashes, and only where
 * the memory of those who may give way, without what others share of it, is certain to be enough.
 * What it had is not counted to its tenant again, nor charged (account.h). Plan: one token for
 * every sequence that decodes, then prompt chunks of those who were served least, then guesses
 * (speculate.h) as far as they pay, within the budget of tokens and of rows of logits. Decoding
 * never waits for somebody's long prompt. The prefix cache is asked when a sequence is admitted and
 * again before each chunk of its prompt: of two equal prompts that come together the second waits
 * for the first's blocks rather than compute its own, where it would have had to wait anyway.
 * Choices: of the n sequences of one request the first leads; the others are admitted when its
 * prompt is computed, share its full blocks, and get a copy of the last one, which they go on
 * writing.
 *
 * Threads: one at a time; the engine's lock.
 */
#ifndef TG_ENGINE_SCHED_H
#define TG_ENGINE_SCHED_H

#include "libs/base/map.h"
#include "services/inference/engine/seq.h"

#define TG_PRIORITIES 2
#define TG_BATCH_PATIENCE 16 /* interactive sequences admitted past a batch one that waits */
#define TG_FAIR_CREDIT_STEPS 4 /* budgets that a tenant's count may be from the virtual time */

typedef struct tg_tenant_share { /* while it has a sequence here */
    uint64_t served;         /* virtual tokens */
    uint32_t seqs, running;
    tg_seq *oldest;          /* of those among whom is being chosen; NULL between choices */
} tg_tenant_share;

typedef struct tg_sched {
    tg_kv *kv;
    tg_map *tenants; /* by salt: tg_tenant_share */
    uint64_t time, time_rest; /* virtual; and what has not been divided among the tenants yet */
    uint32_t passed; /* interactive sequences admitted since a batch one began to wait */
    uint32_t max_seqs, max_queue, budget;
    uint32_t spare_rows; /* of logits in a step, besides one for each sequence */
    tg_drafter drafter;  /* guess NULL: no speculation */
    tg_step_cost cost;   /* of steps so far; whoever runs them tells it */
    tg_seq *first[TG_PRIORITIES], *last[TG_PRIORITIES]; /* waiting */
    uint32_t waiting_len;
    tg_seq *running[TG_ENGINE_SEQS_MAX]; /* in order of admission */
    uint32_t running_len;
    uint64_t preempted; /* sequences that gave way, ever */
    uint32_t promised; /* blocks that running sequences may still take */
} tg_sched;

int tg_sched_init(tg_sched *sched); /* the rest is the caller's to set. 0 or -ENOMEM */
void tg_sched_free(tg_sched *sched); /* when no sequence is left */

int tg_sched_enqueue(tg_sched *sched, tg_seq *seq); /* 0; -EAGAIN: the queue is full; -ENOMEM */

/* Before any of them is enqueued: this sequence is another choice of the leader's request. */
void tg_sched_follow(tg_seq *seq, tg_seq *leader);
void tg_sched_unfollow(tg_seq *seq); /* also where it follows nobody */

/* Admits what fits now, after taking places from those who must give way; returns how many. The
 * prefix cache is asked for each. */
uint32_t tg_sched_admit(tg_sched *sched, uint64_t now_ns);

/* Sets `planned`, `guesses` and `rows` of every running sequence, takes their blocks, and returns
 * the sum of tokens. */
uint32_t tg_sched_plan(tg_sched *sched);

/* Of the next `tokens` of a sequence, those that it had computed before it gave way. */
uint32_t tg_sched_again(const tg_seq *seq, uint32_t tokens);

/* The planned tokens of this sequence are computed, and the first `right` of its guesses came true:
 * they are tokens now, though not counted in `len` yet. Full blocks go to the prefix cache. */
void tg_sched_advance(tg_sched *sched, tg_seq *seq, uint32_t right);

/* Takes a sequence out, waiting or running, and gives its blocks back. The caller frees it. */
void tg_sched_remove(tg_sched *sched, tg_seq *seq);

tg_seq *tg_sched_find(const tg_sched *sched, uint64_t id); /* or NULL */

#endif
