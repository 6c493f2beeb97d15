/* The engine: one model, many generations at once.
 *
 * An engine thread runs steps. A step is one forward pass over all running sequences: a token of
 * each that decodes, and prompt chunks of those that do not yet, within a budget of tokens.
 * Sequences join and leave between steps (continuous batching). Requests wait in a bounded queue,
 * batch-priority ones behind interactive ones, and are admitted when KV memory for their longest
 * possible output is certain. Tenants are served fairly: one that fills the engine gives places
 * back (sched.h).
 *
 * Results: after each step the engine thread puts all that the step produced into one batch and
 * calls conf.notify. The owner's thread then calls tg_engine_drain, which hands the events over.
 *
 *     submit ──► queue ──► [engine thread: admit, plan, run, sample] ──► batch ──► notify
 *                                                                          └──► drain(callback)
 *
 * Determinism: a sequence's tokens depend on its own request alone, see numerics.h.
 *
 * Ownership: everything in a request is copied. Every accepted sequence ends with exactly one end
 *            event, cancelled ones too (unless the engine is freed first).
 * Threads:   submit, cancel, status and count_tokens from any thread; drain from one thread at a
 *            time; notify is called on the engine thread and must not call back into the engine.
 */
#ifndef TG_ENGINE_ENGINE_H
#define TG_ENGINE_ENGINE_H

#include "services/inference/answer/answer.h"
#include "services/inference/backend/backend.h"
#include "services/inference/constrain/constraint.h"
#include "services/inference/engine/adjust.h"
#include "services/inference/engine/kv.h"
#include "services/inference/engine/logprobs.h"
#include "services/inference/engine/recent.h"
#include "services/inference/engine/sampler.h"
#include "services/inference/engine/stop.h"
#include "services/inference/model/chat.h"

typedef struct tg_engine tg_engine;

typedef struct tg_engine_conf { /* 0 means the default in brackets */
    const char *model_path;
    const char *chat_template_file; /* in the stead of the model's own; NULL or "": none */
    const char *tool_format;    /* by name, whatever the template says; NULL or "": what it says */
    uint32_t threads;           /* [one per processor] */
    uint32_t max_seqs;          /* running at once [8], at most TG_ENGINE_SEQS_MAX */
    uint32_t max_queue;         /* waiting [64], at most TG_ENGINE_QUEUE_MAX */
    uint32_t kv_tokens; /* KV memory [max_seqs × 2,048, or the model's context if larger; less where
                           memory is short] */
    tg_kv_type kv_type;         /* what keys and values are rounded to [F16] */
    uint32_t step_token_budget; /* tokens in one step [256]; at least max_seqs */
    const tg_str *public_prompts; /* system prompts whose KV blocks all tenants share
                                     (public_prompts.h); copied */
    size_t public_prompts_len;
    bool no_speculation;        /* never guess tokens; the output is the same */
    /* for all of it [what the machine and the cgroup leave, memory.h] */
    uint64_t memory_limit_bytes;
    void (*notify)(void *notify_user); /* a batch is ready to drain; may be NULL */
    void *notify_user;
    int (*open_backend)(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                        tg_backend **ret); /* [the CPU's] */
    /* while loading, on the thread that calls tg_engine_new; may be NULL */
    tg_load_progress_fn progress;
    void *progress_user;
} tg_engine_conf;

#define TG_ENGINE_SEQS_MAX 256 /* sequences computed together */
#define TG_ENGINE_QUEUE_MAX 16384 /* requests waiting behind them; past it they are refused */
#define TG_ENGINE_STEP_TOKENS_MAX 8192 /* tokens of one step, prompts and outputs together */
#define TG_ENGINE_STOP_IDS_MAX 16 /* stop tokens of one request */
#define TG_ENGINE_CHOICES_MAX 32 /* answers to one request */
/* rows of logits in a step besides one a sequence: for guesses and for echo's log-probabilities */
#define TG_ENGINE_SPARE_ROWS_MAX 64
/* steps of masks (constraint.h) in a step; whose mask is not finished sits out: a millisecond or
 * two */
#define TG_ENGINE_MASK_WORK_MAX 500000
#define TG_ENGINE_EVENTS_MAX 65536 /* undrained; then the engine waits for drain */

/* Loads the model and runs a step of one token, so that the first request finds everything warm. 0;
 * -ENOMEM, with the sum, when weights and KV do not fit, before anything is loaded; else as
 * tg_model_open and the backend; each with a message. */
int tg_engine_new(const tg_engine_conf *conf, tg_error *err, tg_engine **ret);
tg_engine *tg_engine_free(tg_engine *engine); /* stops after the step in progress */

typedef struct tg_gen_request {
    /* Exactly one of the three. */
    const tg_prompt_message *messages; /* the model's chat template is applied */
    size_t messages_len;
    bool continue_final; /* the last message is the beginning of the answer, which goes on where it
                            ends */
    tg_str tools, template_args; /* JSON for the template, chat.h; empty: none */
    bool calls; /* the answer is to be a call of a tool: the prompt ends behind the mark that opens
                   one */
    bool marks; /* control tokens that mark parts of the answer come as text, for who takes it
                 * apart */
    const tg_answer_conf *answer; /* how: one_call ends it, and calls are found; NULL: nobody looks.
                                     `thinking` is the prompt's */
    const tg_str *text; /* as it is; control tokens in it are ordinary characters */
    const uint32_t *tokens;
    size_t tokens_len;

    /* answers: as many sequences, with choices 0 to n − 1 and consecutive ids; 0 is 1 */
    uint32_t n;
    bool echo;  /* the prompt's tokens come as events first */
    bool logprobs; /* of every token told; with echo of the prompt's as well, which is then computed
                      whole */
    uint32_t top_logprobs; /* and of so many of the likeliest; at most TG_LOGPROBS_TOP_MAX */
    uint64_t deadline_ns;  /* monotonic; what is not done by then ends; 0: none */
    const uint32_t *generated; /* output produced elsewhere already; generation goes on after it */
    size_t generated_len;
    tg_sampling sampling;
    tg_adjustments adjustments;
    tg_constraint_spec constraint; /* of the answer's text; kind NONE: any */
    bool constrains_calls; /* not of all of it: of each call of its tools that `answer`, with their
                              names in the same order, finds, from behind the mark that opens it */
    tg_constraint *compiled; /* the same from tg_engine_compile, retained meanwhile; NULL: submit
                                compiles it */
    uint32_t max_tokens; /* of output, `generated` included; 0: until the context is full */
    const tg_str *stop;
    size_t stop_len; /* at most TG_STOP_STRINGS_MAX */
    const uint32_t *stop_ids; /* besides the model's own */
    size_t stop_ids_len;
    bool ignore_end;   /* go on after the model's own end tokens; for benches */
    tg_str tenant;     /* salts the prefix cache */
    uint32_t priority; /* 0 interactive, 1 batch */
    void *user;        /* comes back in every event */
} tg_gen_request;

typedef struct tg_gen_ticket {
    uint64_t seq_id; /* of choice 0; never 0, never reused */
    uint32_t prompt_tokens;
    bool thinking; /* the prompt ends within the thinking before the answer */
} tg_gen_ticket;

/* Compiling a constraint can take half a second (TG_DFA_WORK_MAX): whose thread has other things to
 * do as well looks whether it is kept from an earlier request, has it compiled on another thread if
 * not, and submits then. Any thread; the caller releases what it is given
 * (tg_constraint_release). kept: NULL if not. compile: errors as submit's. */
tg_constraint *tg_engine_kept_constraint(tg_engine *engine, const tg_constraint_spec *spec);
int tg_engine_compile(tg_engine *engine, const tg_constraint_spec *spec, tg_error *err,
                      tg_constraint **ret);

/* All of a request's choices are accepted or none. 0; -EAGAIN when the queue is full; -EMSGSIZE
 * when it can never fit; -ETIME when the deadline is past; -EINVAL or -ENOTSUP; -ENOMEM; each
 * with a message. */
int tg_engine_submit(tg_engine *engine, const tg_gen_request *request, tg_error *err,
                     tg_gen_ticket *ret);

/* Takes effect within one step; the end event says cancelled. -ENOENT when the sequence is over. */
int tg_engine_cancel(tg_engine *engine, uint64_t seq_id);

typedef enum tg_finish {
    TG_FINISH_NONE, /* goes on */
    TG_FINISH_STOP, /* an end token or a stop string */
    TG_FINISH_LENGTH,
    TG_FINISH_CANCELLED,
    TG_FINISH_ERROR, /* the logits were not numbers, or memory ran out */
    TG_FINISH_DEADLINE,
} tg_finish;

typedef struct tg_gen_usage {
    uint32_t prompt_tokens; /* without `generated` */
    uint32_t cached_tokens; /* of the prompt and `generated`: taken from the prefix cache */
    uint32_t output_tokens; /* sampled here, an end token included */
    /* computed on a guess; and of those, the ones that were right */
    uint32_t guessed_tokens, right_tokens;
    uint64_t queue_ns;      /* submitted → admitted */
    uint64_t prefill_ns;    /* admitted → first token */
    uint64_t decode_ns;     /* first token → end */
    uint64_t prompt_block;  /* names the prompt's last full block in the prefix cache, as block
                               events do; 0: it has none */
    uint64_t engine_ns;     /* this sequence's share of the steps' wall time (account.h) */
} tg_gen_usage;

typedef struct tg_engine_event { /* valid during the callback */
    uint64_t seq_id;
    void *user;
    uint32_t choice;
    uint32_t token; /* TG_TOKEN_NONE in an end event without a token */
    bool prompt;    /* echo: it is one of the prompt's */
    tg_str text;    /* whole UTF-8 characters; often empty */
    const tg_logprob *logprobs; /* the token's own, then the likeliest; 0 of them where not asked
                                   for, or nothing is before it */
    uint32_t logprobs_len;
    tg_finish finish;
    tg_gen_usage usage; /* set when finish is not NONE */
} tg_engine_event;

typedef void (*tg_engine_event_fn)(void *user, const tg_engine_event *event);

/* Calls `fn` for every event that is ready, in order, and returns how many there were. */
size_t tg_engine_drain(tg_engine *engine, tg_engine_event_fn fn, void *user);

typedef struct tg_engine_status {
    const char *model, *quantisation, *path, *numerics; /* live as long as the engine */
    uint32_t threads;
    uint32_t context_limit; /* tokens of prompt and output together */
    uint32_t queue_depth, queue_limit;
    uint32_t running, running_limit;
    uint32_t kv_blocks_total, kv_blocks_free, kv_blocks_used, kv_blocks_cached;
    uint64_t prompt_tokens_total; /* of admitted sequences; cached ones included */
    uint64_t cached_tokens_total;
    uint64_t output_tokens_total;
    uint64_t steps_total;
    uint64_t guessed_tokens_total, right_tokens_total;
    /* steps that a sequence sat out because its mask was not finished */
    uint64_t masks_put_off_total;
    /* sequences that gave way to another tenant's and were computed anew */
    uint64_t preempted_total;
    /* Where the engine thread's time went (account.h): shared + overhead + idle = age, to the
     * nanosecond. */
    uint64_t age_ns;
    uint64_t shared_ns;   /* steps, divided among their sequences as engine_ns */
    uint64_t overhead_ns; /* between steps; and what was computed anew after giving way */
    uint64_t idle_ns;
    uint64_t memory_bytes; /* weights, KV and scratch */
    tg_recent_view recent;
} tg_engine_status;

void tg_engine_get_status(tg_engine *engine, tg_engine_status *ret);

typedef struct tg_tenant_time { /* what an interval brought one tenant */
    const char *tenant;
    bool others; /* all tenants that could not be told apart (account.h); `tenant` is "" */
    uint64_t engine_ns;
    /* of sequences admitted in it; cached ones are among the prompt's */
    uint64_t prompt_tokens, cached_tokens;
    uint64_t output_tokens;
} tg_tenant_time;

typedef struct tg_engine_interval { /* the tenants' engine_ns + overhead + idle = end − begin,
                                       exactly */
    uint64_t begin_ns, end_ns; /* of the engine's age; it begins where the one before ended */
    uint64_t overhead_ns, idle_ns;
    const tg_tenant_time
        *tenants; /* those with anything in it, in no order; valid until the next is taken */
    size_t tenants_len;
} tg_engine_interval;

/* What happened since it was called last, or since the engine began. From one thread at a time. */
void tg_engine_take_interval(tg_engine *engine, tg_engine_interval *ret);

/* What came into the prefix cache and left it, as tg_kv_events; from any thread. */
int tg_engine_block_events(tg_engine *engine, uint64_t *from, tg_kv_event *ret, uint32_t most);

/* Tokens of a prompt as submit would count them. Exactly one of prompt and text. */
int tg_engine_count_tokens(tg_engine *engine, const tg_prompt *prompt, const tg_str *text,
                           tg_error *err, uint32_t *ret);

const tg_model *tg_engine_model(const tg_engine *engine);

/* Whether this processor can run scalar, avx2, avx512 or amx. */
bool tg_engine_has_path(const char *path);

#endif
