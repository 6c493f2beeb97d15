/* What a request changes about the model's logits before a token is drawn from them. Pure.
 *
 * In this order, on a copy:
 *   repetition penalty   of every token in prompt or output: a positive logit is divided by it, any
 *                        other multiplied (Keskar et al. 2019, as Hugging Face's library has it)
 *   frequency, presence  of every token in the output: less frequency × how often, less presence
 *   bias                 of the tokens it names: plus so much
 *   ban                  end tokens before the output has min_tokens: −∞
 */
#ifndef TG_ENGINE_ADJUST_H
#define TG_ENGINE_ADJUST_H

#include "libs/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_LOGIT_BIAS_MAX 1024 /* tokens whose logits one request may move */

typedef struct tg_logit_bias {
    uint32_t id;
    float bias; /* −100 to 100 */
} tg_logit_bias;

typedef struct tg_adjustments { /* zeros: nothing is changed */
    float repetition_penalty; /* above 0, at most 2; 0 or 1: off */
    float presence_penalty;   /* −2 to 2 */
    float frequency_penalty;  /* −2 to 2 */
    const tg_logit_bias *bias;
    size_t bias_len;
    uint32_t min_tokens; /* of output, before an end token may be drawn */
} tg_adjustments;

/* 0, or -EINVAL with a sentence. */
int tg_adjustments_check(const tg_adjustments *adjustments, uint32_t vocab, tg_error *err);

typedef struct tg_adjust {
    const tg_adjustments *adjustments;
    const uint32_t *tokens; /* prompt and output */
    uint32_t prompt_len, len;
    const uint32_t *ends; /* end tokens, banned before min_tokens */
    size_t ends_len;
    uint32_t vocab;
} tg_adjust;

/* Whether tg_adjust_apply would change anything for the next token. */
bool tg_adjust_wanted(const tg_adjust *adjust);

/* ret: vocab floats. seen: scratch, vocab counts, all zero before and after. */
void tg_adjust_apply(const tg_adjust *adjust, const float *logits, uint32_t *seen, float *ret);

#endif
