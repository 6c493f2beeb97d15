/* One generation on its way through the engine; internal to engine/. */
#ifndef TG_ENGINE_SEQ_H
#define TG_ENGINE_SEQ_H

#include "services/inference/constrain/constraint.h"
#include "services/inference/engine/engine.h"
#include "services/inference/engine/kv.h"
#include "services/inference/engine/speculate.h"

typedef struct tg_seq tg_seq;
struct tg_seq {
    /* Fixed when submitted. */
    uint64_t id;
    void *user;
    uint32_t priority;
    tg_sampling sampling;
    tg_adjustments adjustments; /* its bias is a copy, owned */
    /* ids that end it, the model's too */
    uint32_t ends[TG_MODEL_STOP_IDS_MAX + TG_ENGINE_STOP_IDS_MAX];
    size_t ends_len;
    bool ignore_end;
    bool echo, logprobs;
    bool marks; /* control tokens that are marks are shown */
    uint32_t top_logprobs;
    bool scores_prompt;   /* echo with log-probabilities: all of the prompt is computed, and gives
                             logits */
    uint64_t deadline_ns; /* monotonic; UINT64_MAX: none */
    uint32_t prompt_len; /* tokens given, without those generated elsewhere */
    uint32_t given_len;  /* with them */
    uint32_t limit;      /* most tokens in all */
    tg_kv_hash salt;
    uint32_t public_blocks; /* leading blocks that all tenants share (public_prompts.h) */
    struct tg_tenant_share *share; /* of its tenant, while it waits or runs */
    bool gave_way;                 /* was preempted */
    uint32_t paid; /* tokens it had computed by then: doing them again costs its tenant nothing */
    struct tg_tenant_account *account; /* of its tenant's time, while it is in the engine */
    tg_seq *leader; /* of the choices of one request the first, while it is here: the others wait
                       for its prompt */
    uint32_t followers; /* that have this one as leader */
    bool counted;                  /* in the totals of what was admitted */
    uint32_t counted_cached;       /* the same, of its cached tokens */
    uint64_t submitted_ns;
    bool cancelled; /* set under the engine's lock at any time */
    tg_seq *prev, *next; /* in the waiting or the running list */

    /* The engine thread's. */
    uint32_t *tokens;  /* room for `limit` */
    uint32_t len;      /* given and sampled */
    uint32_t computed; /* of which keys and values are in the blocks */
    uint32_t *blocks;  /* room for blocks_needed */
    uint32_t blocks_len, blocks_needed;
    uint32_t sealed; /* blocks offered to the prefix cache */
    tg_kv_hash hash; /* of the sealed prefix */
    tg_block_copy copy; /* of the leader's last block, in the next step; from == to: none */
    uint32_t planned; /* tokens in the step in progress, guesses included */
    uint32_t guesses; /* of those: they stand behind `len` */
    uint32_t rows;    /* of logits in the step */
    tg_speculation speculation;
    uint32_t told;    /* echo: tokens of the prompt that have been shown */
    tg_constraint_state *constraint; /* or NULL; behind all tokens that were drawn, some of which
                                        may not be taken in yet */
    tg_constraint_state
        *call; /* or NULL; of the calls in the answer: `constraint` is it while one is under way */
    bool masking; /* the mask of its next token is not finished */
    tg_answer *answer; /* or NULL; it has seen as many */
    tg_detokenizer detokenizer;
    tg_stop stop;
    uint64_t admitted_ns, first_token_ns, last_token_ns;
    tg_gen_usage usage;
};

/* Checks and copies a request; `tokens` is its prompt. Errors as
 * tg_engine_submit's. */
int tg_seq_new(const tg_gen_request *request, const tg_model *model, const tg_kv *kv,
               uint32_t context_limit, uint32_t kv_blocks, const tg_token_list *tokens,
               tg_error *err, tg_seq **ret);
tg_seq *tg_seq_free(tg_seq *seq); /* its blocks must have been given back */

/* Takes one sampled token in: text that may be shown is appended to *text, and the reason to end,
 * if there is one now, returned. -errno when memory ran out. */
int tg_seq_accept(tg_seq *seq, const tg_model *model, uint32_t token, tg_buf *text, tg_finish *ret);

/* A token of the answer is known: constraint and answer keep step with it. *ret_over: nothing can
 * follow, or nothing is to. 0; -EINVAL: the constraint does not allow it; -ENOMEM. */
int tg_seq_follow(tg_seq *seq, const tg_model *model, uint32_t token, bool *ret_over);

/* The text of a prompt token, for echo. */
/* 0 or -ENOMEM */
int tg_seq_show(tg_seq *seq, const tg_model *model, uint32_t token, tg_buf *text);

/* What still waits to be shown at the end. */
int tg_seq_flush(tg_seq *seq, tg_buf *text);

#endif
