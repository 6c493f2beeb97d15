/* The engine's insides, shared by engine.c (the face) and step.c (the engine thread). */
#ifndef TG_ENGINE_STATE_H
#define TG_ENGINE_STATE_H

#include "services/inference/engine/sched.h"

#include <pthread.h>

typedef struct tg_batch_event {
    tg_engine_event event; /* text.data is set when drained */
    size_t text_at;
} tg_batch_event;

typedef struct tg_batch { /* events since the last drain */
    tg_batch_event *events; /* room for TG_ENGINE_EVENTS_MAX */
    size_t len;
    tg_buf text;
} tg_batch;

int tg_batch_init(tg_batch *batch); /* 0 or -ENOMEM */
void tg_batch_free(tg_batch *batch);
void tg_batch_clear(tg_batch *batch);

struct tg_engine {
    tg_engine_conf conf;
    tg_model *model;
    tg_backend *backend;
    uint32_t context_limit;
    pthread_t thread;
    bool started;
    tg_batch draining; /* the draining thread's */

    /* Under the lock. The engine thread lets go of it during the forward pass. */
    pthread_mutex_t lock;
    pthread_cond_t work;    /* something to do, or stop */
    pthread_cond_t drained; /* room for events, or stop */
    bool stop, cancels;
    bool idle; /* the engine thread waits for work since mark_ns */
    uint64_t last_id;
    tg_kv *kv;
    tg_sched sched;
    tg_batch ready;
    bool told; /* the owner has been notified of all that is in `ready` */
    tg_engine_status totals; /* the counters of it */
    uint64_t mark_ns;        /* time is accounted for up to here */

    /* The engine thread's. */
    tg_candidate *scratch; /* for the sampler */
    float *adjusted;       /* vocab logits as a request changes them */
    uint32_t *seen;        /* vocab counts, for that */
    tg_step_seq step_seqs[TG_ENGINE_SEQS_MAX];
    tg_seq *step_owners[TG_ENGINE_SEQS_MAX];
    uint32_t sampled[TG_ENGINE_SEQS_MAX]; /* token, or TG_TOKEN_NONE */
    uint64_t weights[TG_ENGINE_SEQS_MAX], shares[TG_ENGINE_SEQS_MAX];
};

void *tg_engine_main(void *engine);

#endif
