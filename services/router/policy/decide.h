/* decide(snapshot, facts, state, now, arena) → plan: where a request may go, in which order, and
 * why.
 *
 * Pure: no I/O, no clock, no randomness of its own (`facts.draw`). Live routing, `POST /v1/route`,
 * `tollgate policy explain` and the tests call this one function, so what is explained is what
 * happens.
 *
 * Latency budgets: an endpoint that is up and whose 95th percentile, over health's window, is past
 * a budget of the rule or the request is left out, like one that is down. Fewer than
 * TG_DECIDE_REQUESTS_MIN requests in the window say nothing, so that what is left out gets a few
 * requests a window and comes back when it is fast again. A view that is stale says nothing about
 * latency either.
 *
 * Counts: a prompt's tokens are guessed for a context and bounded by bytes for a cap. Where that
 * leaves open whether the request may go to a private target that would be its first, the plan says
 * which endpoint to ask; with the answer among the facts the decision is made again. It is good
 * without, too.
 *
 * Ownership: the plan and its texts live in the arena; it points into the snapshot.
 */
#ifndef TG_ROUTER_DECIDE_H
#define TG_ROUTER_DECIDE_H

#include "libs/base/arena.h"
#include "services/router/policy/estimates.h"
#include "services/router/policy/policy.h"

/* requests in health's window below which their percentiles are not heeded */
#define TG_DECIDE_REQUESTS_MIN 10

/* a guess may be so many times the tokens that a prompt has, or be that part of them */
#define TG_DECIDE_COUNT_DOUBT 2
#define TG_DECIDE_COUNTS_MAX 2 /* targets that are asked for their count of one prompt */

/* ---- snapshot: what changes only by configuration ---- */

typedef struct tg_snapshot {
    const tg_policy *policy;
    const tg_targets *targets;
    const tg_price_book *prices;
    const char *const *aliases; /* model names that mean "let the policy decide", besides auto */
    size_t alias_count;
    uint32_t attempts_max; /* most steps of a plan, 1..16 */
} tg_snapshot;

/* ---- facts: what this request is ---- */

typedef struct tg_prompt_count { /* a target was asked */
    int target;      /* index */
    uint64_t tokens; /* 0: it did not answer */
} tg_prompt_count;

typedef struct tg_facts {
    const char *tenant;
    const char *key_id;
    bool may_pin;                        /* the key may name a target */
    const char *const *pin_allowlist;    /* of the tenant; count 0: any */
    size_t pin_allowlist_count;
    tg_str model;       /* as asked for; empty means auto */
    tg_str task_type;   /* X-Task-Type; empty: not given */
    tg_str data_class;  /* X-Data-Class; empty: none */
    bool stream;
    bool json_object;          /* the answer has to be JSON of no particular schema */
    bool text_form;            /* it has to match an expression, or be one of some texts */
    uint64_t input_tokens;     /* an upper bound */
    uint64_t input_units;      /* for a guess (estimates.h); 0: none */
    bool input_tokens_exact;   /* counted with the target's tokenizer */
    const tg_prompt_count *counts;
    size_t count_len;
    uint64_t max_tokens;       /* 0: the client stated none */
    uint32_t latency_budget_ms; /* X-Latency-Budget-Ms, for the whole answer; 0: none */
    uint64_t draw;             /* uniform random bits */
    uint64_t sticky_hash;
} tg_facts;

/* ---- state: what changes by the second ---- */

typedef enum tg_endpoint_health {
    TG_ENDPOINT_UP,
    TG_ENDPOINT_HALF_OPEN,
    TG_ENDPOINT_DOWN
} tg_endpoint_health;

typedef struct tg_endpoint_status {
    tg_endpoint_health health;
    uint64_t retry_at_mono_ms; /* DOWN: a probe is allowed from here on */
    uint64_t first_token_p95_us, total_p95_us; /* over health's window; 0: nothing was observed */
    uint64_t requests;         /* in that window */
    uint64_t queue_depth;
    bool probing;              /* HALF_OPEN and a probe is in flight already */
    const char *reason;        /* why it is not up; may be NULL */
} tg_endpoint_status;

/* Indexed [target][endpoint] in the order of the targets document. NULL rows mean: all up. */
typedef struct tg_fleet {
    uint64_t version;
    /* health has not been heard for longer than allowed; the view is the router's own */
    bool stale;
    const tg_endpoint_status *const *rows;
    size_t row_count;
} tg_fleet;

typedef struct tg_state {
    const tg_fleet *fleet;
    const tg_estimates *estimates; /* or NULL */
} tg_state;

typedef struct tg_now {
    uint64_t wall_unix_ns;
    uint64_t mono_ms;
} tg_now;

/* ---- plan ---- */

typedef struct tg_step {
    int target;              /* index */
    int endpoint;            /* index within the target */
    tg_picousd cost_bound; /* input bound × price + max output × price; 0 when there is no price */
    bool probe;              /* goes to a half-open endpoint */
    /* to ask for there: the client's, or what a cap allows; 0: leave it open */
    uint64_t max_tokens;
    bool clamped;            /* the cap lowered it */
    uint64_t counted_tokens; /* of the prompt, by the target's own count; 0: not known */
} tg_step;

typedef enum tg_refusal_code {
    TG_REFUSAL_NONE,
    TG_REFUSAL_MODEL_NOT_FOUND,   /* 404 */
    TG_REFUSAL_MODEL_FORBIDDEN,   /* 403 */
    TG_REFUSAL_TASK_TYPE_MISSING, /* 400 */
    TG_REFUSAL_TASK_TYPE_UNKNOWN, /* 400 */
    TG_REFUSAL_NO_RULE,           /* 400: no rule matches */
    TG_REFUSAL_COST_CAP,          /* 402: says cap and estimate */
    TG_REFUSAL_CONTEXT,           /* 400: input + output exceed every target's context */
    TG_REFUSAL_DATA_CLASS,        /* 403 */
    TG_REFUSAL_LATENCY, /* 503: what is up is slower than the budget; says budget and percentile */
    TG_REFUSAL_FORM,    /* 400: no target can hold its answer to the form asked for */
    TG_REFUSAL_UNAVAILABLE /* 503: every endpoint is down; retry_after_ms says until when */
} tg_refusal_code;

typedef struct tg_candidate { /* one line of the trace */
    const char *rule;     /* or "" */
    const char *target;   /* or "" when the line is about the rule */
    const char *endpoint; /* or "" */
    bool kept;
    const char *reason;
    tg_picousd cost_bound;
} tg_candidate;

typedef struct tg_plan {
    const char *rule;      /* name; "" when pinned */
    const char *task_type; /* as matched; "" when pinned */
    const tg_step *steps;
    size_t step_count;
    uint64_t max_tokens;   /* the first step's */
    bool clamped;          /* the first step's */
    tg_refusal_code refusal;
    unsigned refusal_status; /* HTTP */
    const char *refusal_text;
    uint64_t retry_after_ms;
    bool wants_count;      /* this target's own count of the prompt may change the plan */
    int count_target, count_endpoint;
    const tg_candidate *trace;
    size_t trace_count;
    /* Every target of the rule, for counterfactual costs of an attempt: indexes into the
     * targets. */
    const int *alternatives;
    size_t alternative_count;
} tg_plan;

/* Always gives a plan: with steps, or with a refusal. NULL only when the arena is exhausted. */
const tg_plan *tg_decide(const tg_snapshot *snapshot, const tg_facts *facts, const tg_state *state,
                         tg_now now, tg_arena *arena);

#endif
