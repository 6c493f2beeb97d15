/* What became of one attempt: its counts and times, whether another target may be tried, what the
 * client is told, what health is told. No I/O: dispatch.c feeds it. */
#ifndef TG_ROUTER_DISPATCH_OUTCOME_H
#define TG_ROUTER_DISPATCH_OUTCOME_H

#include "services/router/dispatch/dispatch.h"

typedef struct tg_attempt {
    uint64_t opened_mono_ns, heard_mono_ns, first_token_mono_ns, closed_mono_ns;
    unsigned status; /* HTTP, or gRPC + 1000; 0: no answer */
    uint64_t output_bytes, output_units; /* of text */
    tg_tokens tokens;      /* as reported so far */
    uint64_t counted_tokens; /* of the prompt, by the target's own count before; 0: not known */
    bool has_input, has_output, stopped;
    uint64_t queue_ns, gpu_ns;
    tg_rate_limit rate_limit;
    bool failed, timed_out;
    bool retryable; /* another target may be tried */
    tg_upstream_error error;
} tg_attempt;

void tg_attempt_init(tg_attempt *attempt, uint64_t mono_ns);

/* An event of the answer: counts, first-token time, answered model. */
void tg_attempt_note(tg_attempt *attempt, const tg_chat_event *event, uint64_t mono_ns,
                     tg_usage_event *usage);

/* The ways to fail; each sets failed, retryable and error. */
void tg_attempt_note_error(tg_attempt *attempt, const tg_chat_event *event);
void tg_attempt_note_bad_answer(tg_attempt *attempt, const tg_error *err);
void tg_attempt_note_local(tg_attempt *attempt, const char *message);
void tg_attempt_note_timeout(tg_attempt *attempt, const char *message);
void tg_attempt_note_end(tg_attempt *attempt, tg_provider provider, const tg_upstream_event *event,
                         tg_str body, tg_json_doc *doc);

/* Fills outcome, times and token counts (reported, else estimated) of the usage event. A complete
 * answer's report is learned from. `estimates` may be NULL. */
void tg_attempt_close(const tg_attempt *attempt, tg_outcome outcome, uint64_t wall_ns,
                      const tg_chat_request *chat, tg_estimates *estimates, tg_usage_event *usage);

/* Stamps cost, price book and counterfactuals, by the prices in force when the attempt was
 * opened. */
void tg_attempt_price(tg_usage_event *usage, const tg_snapshot *snapshot, const tg_plan *plan,
                      int target);

void tg_attempt_observe(const tg_attempt *attempt, const tg_step *step, const tg_usage_event *usage,
                        tg_observation *ret);

/* What the client is told when this was the last attempt. Texts live with the attempt. */
void tg_attempt_result(const tg_attempt *attempt, const tg_target *target, bool committed,
                       tg_dispatch_result *ret);

#endif
