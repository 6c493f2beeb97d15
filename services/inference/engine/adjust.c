#include "services/inference/engine/adjust.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* false for NaN */
static bool within(float value, float least, float most) { return value >= least && value <= most; }

int tg_adjustments_check(const tg_adjustments *a, uint32_t vocab, tg_error *err)
{
    if (!within(a->repetition_penalty, 0, 2))
        return tg_error_set(err, -EINVAL, "repetition_penalty is %g; above 0 to 2 is allowed",
                            (double)a->repetition_penalty);
    if (!within(a->presence_penalty, -2, 2))
        return tg_error_set(err, -EINVAL, "presence_penalty is %g; -2 to 2 is allowed",
                            (double)a->presence_penalty);
    if (!within(a->frequency_penalty, -2, 2))
        return tg_error_set(err, -EINVAL, "frequency_penalty is %g; -2 to 2 is allowed",
                            (double)a->frequency_penalty);
    if (a->bias_len > TG_LOGIT_BIAS_MAX)
        return tg_error_set(err, -EINVAL, "logit_bias names %zu tokens; at most %d are allowed",
                            a->bias_len, TG_LOGIT_BIAS_MAX);
    for (size_t i = 0; i < a->bias_len; i++) {
        if (a->bias[i].id >= vocab)
            return tg_error_set(err, -EINVAL, "logit_bias: token %u is not in the vocabulary of %u",
                                a->bias[i].id, vocab);
        if (!within(a->bias[i].bias, -100, 100))
            return tg_error_set(err, -EINVAL,
                                "logit_bias of token %u is %g; -100 to 100 is allowed",
                                a->bias[i].id, (double)a->bias[i].bias);
    }
    return 0;
}

static bool repeats(const tg_adjustments *a)
{
    return a->repetition_penalty > 0 && a->repetition_penalty != 1;
}
static bool counts(const tg_adjustments *a)
{
    return a->presence_penalty != 0 || a->frequency_penalty != 0;
}
static bool bans(const tg_adjust *adjust)
{
    return adjust->len - adjust->prompt_len < adjust->adjustments->min_tokens;
}

bool tg_adjust_wanted(const tg_adjust *adjust)
{
    const tg_adjustments *a = adjust->adjustments;
    return repeats(a) || (counts(a) && adjust->len > adjust->prompt_len) || a->bias_len > 0 ||
           (bans(adjust) && adjust->ends_len > 0);
}

/* Calls for every distinct token of [first, len), with how often it is there. */
typedef void each_fn(const tg_adjustments *a, uint32_t times, float *logit);

static void for_each(const tg_adjust *adjust, uint32_t first, uint32_t *seen, each_fn *fn,
                     float *logits)
{
    for (uint32_t i = first; i < adjust->len; i++)
        seen[adjust->tokens[i]]++;
    for (uint32_t i = first; i < adjust->len; i++) {
        const uint32_t id = adjust->tokens[i];
        if (seen[id] > 0)
            fn(adjust->adjustments, seen[id], &logits[id]);
        seen[id] = 0;
    }
}

static void repeat(const tg_adjustments *a, uint32_t times, float *logit)
{
    (void)times;
    *logit = *logit > 0 ? *logit / a->repetition_penalty : *logit * a->repetition_penalty;
}

static void lower(const tg_adjustments *a, uint32_t times, float *logit)
{
    *logit = *logit - (float)times * a->frequency_penalty;
    *logit = *logit - a->presence_penalty;
}

void tg_adjust_apply(const tg_adjust *adjust, const float *logits, uint32_t *seen, float *ret)
{
    const tg_adjustments *a = adjust->adjustments;
    memcpy(ret, logits, adjust->vocab * sizeof(*ret));
    if (repeats(a))
        for_each(adjust, 0, seen, repeat, ret);
    if (counts(a))
        for_each(adjust, adjust->prompt_len, seen, lower, ret);
    for (size_t i = 0; i < a->bias_len; i++)
        ret[a->bias[i].id] += a->bias[i].bias;
    for (size_t i = 0; bans(adjust) && i < adjust->ends_len; i++)
        ret[adjust->ends[i]] = -INFINITY;
}
