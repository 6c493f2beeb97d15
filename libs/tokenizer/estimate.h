/* How many tokens a text is likely to be, for who does not have the model's vocabulary.
 *
 * A text's units are what it has of four kinds of bytes, each weighed with the hundredths of a
 * token that one is in English prose, code and tables under today's BPE vocabularies. What a
 * model's own tokenizer makes of that differs by a factor, which is learned from reports: a scale.
 * Of what was reported lately the newest counts most (TG_ESTIMATE_MEMORY), and one report moves the
 * scale as if it were at most TG_ESTIMATE_FACTOR_MAX times off, since upstreams err too.
 *
 * It is a guess and never a bound: a token a byte is the bound (services/router). Measured with
 * texts of 100 to 3,000 characters, one in six each of prose, code, JSON, numbers, German and
 * Chinese: off by 10% of all tokens for SmolLM2, which takes digits one by one, and by 21% for a
 * vocabulary that takes three at once; a token for every four bytes is off by 52 and 60%. Texts of
 * one kind: by 5% at most (tests/compat/test_estimates.py prints all).
 *
 * Pure; integers only. Threads: a scale belongs to one.
 */
#ifndef TG_TOKENIZER_ESTIMATE_H
#define TG_TOKENIZER_ESTIMATE_H

#include "libs/base/str.h"

#include <stdint.h>

#define TG_ESTIMATE_MEMORY 32 /* each report weighs 1/32 less with every later one */
#define TG_ESTIMATE_REPORTS_MIN 4 /* reports before the scale is used */
#define TG_ESTIMATE_FACTOR_MAX 8 /* most that one report can say the units are off, either way */

typedef struct tg_token_scale { /* all zero: nothing learned */
    uint64_t units, hundredths; /* of what was reported lately: as units, and in fact */
    uint64_t reports;
    /* Of all reports, each against the estimate that would have been made before it: */
    uint64_t error_tokens, reported_tokens;
} tg_token_scale;

/* Hundredths of a token. Any bytes will do. */
uint64_t tg_token_units(tg_str text);
/* Rounded up; `scale` NULL: none. */
uint64_t tg_token_estimate(const tg_token_scale *scale, uint64_t units);
/* A text of so many units was so many tokens. Either 0: nothing is learned. */
void tg_token_scale_learn(tg_token_scale *scale, uint64_t units, uint64_t tokens);

#endif
