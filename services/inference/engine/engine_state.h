/* The engine's insides, shared by engine.c (the face) and step.c (the engine thread). */
#ifndef TG_ENGINE_STATE_H
#define TG_ENGINE_STATE_H

#include "services/inference/constrain/cache.h"
#include "services/inference/engine/account.h"
#include "services/inference/engine/public_prompts.h"
#include "services/inference/engine/sched.h"

#include <pthread.h>

typedef struct tg_batch_event {
    tg_engine_event event; /* text.data is set when drained */
    size_t text_at, logprobs_at;
} tg_batch_event;

typedef struct tg_batch { /* events since the last drain */
    tg_batch_event *events; /* room for TG_ENGINE_EVENTS_MAX */
    size_t len;
    tg_buf text;
    tg_buf logprobs; /* tg_logprob, one after the other */
} tg_batch;

int tg_batch_init(tg_batch *batch); /* 0 or -ENOMEM */
void tg_batch_free(tg_batch *batch);
void tg_batch_clear(tg_batch *batch);

typedef struct tg_row_result { /* of a row of logits */
    /* what comes next: sampled, or given; TG_TOKEN_NONE: the logits are not numbers */
    uint32_t token;
    /* else nothing is known: a guess before it was wrong, or its mask is not finished */
    bool drawn;
    bool complete;  /* with it the answer is: nothing can follow, or nothing is to */
    uint32_t logprobs_len;
    tg_logprob logprobs[1 + TG_LOGPROBS_TOP_MAX];
} tg_row_result;

struct tg_engine {
    tg_engine_conf conf;
    tg_model *model;
    tg_backend *backend;
    uint32_t context_limit;
    tg_constraint_cache *constraints;
    tg_public_prompts *public_prompts;
    pthread_t thread;
    bool started;
    tg_batch draining; /* the draining thread's */

    /* Under the lock. The engine thread lets go of it during the forward pass. */
    pthread_mutex_t lock;
    pthread_cond_t work;    /* something to do, or stop */
    pthread_cond_t drained; /* room for events, or stop */
    bool stop, cancels;
    uint32_t deadlines; /* sequences that have one */
    uint64_t last_id;
    tg_kv *kv;
    tg_sched sched;
    tg_batch ready;
    bool told; /* the owner has been notified of all that is in `ready` */
    tg_engine_status totals; /* the counters of it */
    tg_account account;
    tg_recent recent;

    /* The engine thread's. */
    tg_candidate *scratch; /* for the sampler */
    float *adjusted;       /* vocab logits as a request changes them */
    const uint64_t *allowed; /* vocab bits, of a constraint */
    uint32_t *seen;        /* vocab counts, for that */
    tg_step_seq step_seqs[TG_ENGINE_SEQS_MAX];
    tg_seq *step_owners[TG_ENGINE_SEQS_MAX];
    uint32_t first_row[TG_ENGINE_SEQS_MAX]; /* of a sequence, in what follows */
    tg_row_result *rows; /* room for rows_max */
    uint32_t rows_max;   /* of logits in a step */
    tg_seq *sitting[TG_ENGINE_SEQS_MAX]; /* that take no part in the step: their masks are not
                                            finished */
    uint32_t sitting_len;
    tg_block_copy copies[TG_ENGINE_SEQS_MAX];
    uint32_t copies_len;
    tg_account_part parts[TG_ENGINE_SEQS_MAX];
};

void *tg_engine_main(void *engine);

#endif
