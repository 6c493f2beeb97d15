/* Where the engine thread's time goes, to the nanosecond; internal to engine/.
 *
 * At any moment the thread runs a step, which its sequences pay; does its own work between steps,
 * which is overhead; or waits, which is idle. tg_account_upto books the time since it was called
 * last on the one of the three that lasts, so at any moment, in the middle of a step too, what was
 * ever shared + overhead + idle is the account's age, exactly. It is so over any interval between
 * two moments, as all that is kept are sums.
 *
 * A step's time is divided among its sequences by what they have the backend compute, with weights
 * that were measured:
 *
 *     step ÷ sequences + token × tokens + row × rows of logits + key × keys that it reads + pair ×
 *       (token, key) pairs
 *
 * What each of these has to multiply and add follows from the model's shape (tg_work_of); how long
 * a multiply-add takes beside one of a token's way through the matrices is TG_COST_…, from `./dev
 * bench cost`, which fits forward passes of 26 mixes. A decoding sequence reads all its keys for
 * one token, a prompt's chunk for many at once: so length weighs on the first more. What is divided
 * is whole: shares are integers and sum to the step's time. Guesses that proved wrong are paid by
 * whom they were made for; what a sequence that gave way computes anew is paid by nobody, it is
 * overhead: the tenant has paid it once.
 *
 * Each tenant's sums are kept by interval. At most TG_ACCOUNT_TENANTS_MAX have their own in one;
 * further ones, names longer than TG_ACCOUNT_NAME_MAX and names with a zero byte share one that
 * says so.
 *
 * Pure bookkeeping: the clock is handed in. Threads: one at a time; the engine's lock.
 */
#ifndef TG_ENGINE_ACCOUNT_H
#define TG_ENGINE_ACCOUNT_H

#include "libs/base/map.h"
#include "services/inference/engine/engine.h"

/* tenants of one interval that are told apart; the others are told as one */
#define TG_ACCOUNT_TENANTS_MAX 1024
/* bytes of a tenant's name by which it is told; a longer one is among the others */
#define TG_ACCOUNT_NAME_MAX 128

/* How long a multiply-add takes beside one of a token's way through the matrices, and a step
 * besides its tokens, in whole numbers between what two threads gave on AVX-512 and AVX2 with
 * SmolLM2-135M Q4_1 (docs/benchmarks.md, cost). */
#define TG_COST_STEP_TOKENS 4
#define TG_COST_TOKEN 1
#define TG_COST_ROW 1
#define TG_COST_KEY 3
#define TG_COST_PAIR 2

typedef struct tg_work { /* multiply-adds */
    uint64_t token; /* through all matrices of all layers */
    uint64_t row;   /* of logits */
    uint64_t key;   /* of one token with a key and its value, on all layers */
} tg_work;

tg_work tg_work_of(const tg_model_shape *shape);

/* Pairs of a token and a key that it looks at, for `tokens` tokens after `before` others; each sees
 * `window` keys at most, 0: all. */
uint64_t tg_account_pairs(uint64_t before, uint64_t tokens, uint64_t window);

typedef struct tg_tenant_account { /* while it has sequences, or sums that were not taken */
    tg_tenant_time time;
    uint32_t seqs;
    char name[TG_ACCOUNT_NAME_MAX + 1];
} tg_tenant_account;

typedef enum tg_account_state {
    TG_ACCOUNT_OVERHEAD,
    TG_ACCOUNT_IDLE,
    TG_ACCOUNT_STEP
} tg_account_state;

typedef struct tg_account {
    tg_work work;
    uint32_t window; /* of attention, in keys */
    tg_account_state state;
    uint64_t born_ns, mark_ns; /* the clock's; booked up to here */
    uint64_t shared_ns, overhead_ns, idle_ns; /* ever */
    /* age and sums when an interval was taken last */
    uint64_t taken_ns, taken_overhead_ns, taken_idle_ns;

    /* The step that runs. The last weight is nobody's. */
    uint32_t parts_len;
    struct { tg_tenant_account *tenant; uint64_t *engine_ns; } parts[TG_ENGINE_SEQS_MAX];
    uint64_t weights[TG_ENGINE_SEQS_MAX + 1], shares[TG_ENGINE_SEQS_MAX + 1];

    tg_map *tenants; /* by name: tg_tenant_account */
    tg_tenant_account others;
    tg_tenant_account *taken; /* the last interval's, room for all and the others */
    tg_tenant_time *taken_times;
} tg_account;

/* 0 or -ENOMEM */
int tg_account_init(tg_account *account, const tg_model_shape *shape, uint64_t now_ns);
void tg_account_free(tg_account *account);

/* A sequence of this tenant comes; every other call about it takes what this returns. Without
 * memory it is one of the others. */
tg_tenant_account *tg_account_join(tg_account *account, tg_str tenant);
void tg_account_leave(tg_account *account, tg_tenant_account *tenant);

void tg_account_upto(tg_account *account, uint64_t now_ns);
/* and from now on it is this */
void tg_account_enter(tg_account *account, tg_account_state state, uint64_t now_ns);

typedef struct tg_account_part { /* of a step, a sequence's */
    tg_tenant_account *tenant;
    uint64_t *engine_ns; /* to which its shares are added as time is booked; valid until the state
                            changes */
    uint32_t before, tokens, rows;
    uint32_t again; /* the first of the tokens, computed for the second time */
} tg_account_part;

/* Enters TG_ACCOUNT_STEP. */
void tg_account_begin_step(tg_account *account, const tg_account_part *parts, uint32_t parts_len,
                           uint64_t now_ns);

/* What was booked since this was called last, up to now. */
void tg_account_take(tg_account *account, uint64_t now_ns, tg_engine_interval *ret);

/* Divides `total` by weights in whole numbers that sum to it exactly. */
void tg_share(uint64_t total, const uint64_t *weights, uint32_t len, uint64_t *ret_shares);

#endif
