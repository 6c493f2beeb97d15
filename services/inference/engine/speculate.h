/* Guessing the next tokens, so that one step can check several: prompt lookup.
 *
 * What a text repeats of itself (an extraction quotes its source, an edit keeps most of it) can be
 * guessed: where the last tokens stood before, the same will follow. The step computes the guesses
 * behind the last token; each position is sampled as it would be without them, and guesses count
 * while they equal what was sampled. So the output does not depend on them, at any temperature;
 * only the time does (Leviathan et al. 2023; lookup: Saxena 2023).
 *
 * How many: the next guess is worth its row as long as it raises the tokens expected per time
 * (tg_guess_worth). How often guesses were right is learned per sequence, and for nothing: a guess
 * is made at every step, and compared with what came even where none was computed. What a further
 * row costs is learned from the steps themselves (tg_step_cost): one row or two wait for the same
 * weights, but eight may keep the processor busy already, and where that turns depends on
 * processor, model, weight type and the length of attention.
 *
 * Pure. Threads: one at a time.
 */
#ifndef TG_ENGINE_SPECULATE_H
#define TG_ENGINE_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

#define TG_GUESSES_MAX 8         /* tokens guessed for one sequence and step */
#define TG_LOOKUP_TOKENS_MAX 16384 /* the latest tokens of a sequence that are searched */
/* what a step costs besides its rows, in rows, until steps have shown it */
#define TG_STEP_BASE_ROWS 6.0f
#define TG_STEP_BASE_ROWS_MAX 32.0f /* a base that steps show is taken as this at most */
/* what is known of steps' cost forgets a part in so many with each step */
#define TG_STEP_COST_STEPS 48

/* What guesses: up to `most` tokens that may follow `tokens`; returns how many. A draft model would
 * be another one. */
typedef struct tg_drafter {
    uint32_t (*guess)(void *user, const uint32_t *tokens, uint32_t len, uint32_t most,
                      uint32_t *ret);
    void *user;
} tg_drafter;

/* Prompt lookup: what followed the last three tokens, or two, where they stood last. `user` is
 * unused. */
uint32_t tg_lookup_guess(void *user, const uint32_t *tokens, uint32_t len, uint32_t most,
                         uint32_t *ret);

typedef struct tg_speculation { /* of one sequence; zeros at first */
    float right;      /* estimate: a guess is right */
    bool known;       /* `right` has been observed */
    uint32_t guesses[TG_GUESSES_MAX]; /* the last */
    uint32_t len;
} tg_speculation;

/* The chance that all of the first `guesses` are right, as far as is known. */
float tg_speculation_chance(const tg_speculation *speculation, uint32_t guesses);

/* What was sampled after the last guesses: the first `len` of the tokens that followed. */
void tg_speculation_learn(tg_speculation *speculation, const uint32_t *sampled, uint32_t len);

/* What a step that decodes costs: time ≈ (base + rows) × time of a row. A straight line through the
 * latest steps, by least squares with exponential forgetting. While they had much the same number
 * of rows they say nothing of a row's cost, and it is drawn towards what TG_STEP_BASE_ROWS says;
 * so guessing is tried again now and then where it did not pay. */
typedef struct tg_step_cost { /* zeros at first */
    float ns, rows;             /* means */
    float rows_rows, rows_ns;   /* variance and covariance */
    uint32_t seen;              /* up to TG_STEP_COST_STEPS */
} tg_step_cost;

/* of a step whose rows are a token each */
void tg_step_cost_learn(tg_step_cost *cost, uint32_t rows, uint64_t ns);

/* What a step costs besides its rows, in rows: 0 to TG_STEP_BASE_ROWS_MAX. */
float tg_step_cost_base(const tg_step_cost *cost);

/* Whether one more row, which brings a token with this chance, raises the tokens per time of a step
 * that has `rows` rows and is expected to bring `expected` tokens. A step costs as much as its
 * rows and `base` more. */
bool tg_guess_worth(float chance, float base, float rows, float expected);

#endif
