#include "services/inference/engine/logprobs.h"

#include "services/inference/backend/numerics.h"

#define LANES 16
#define LEAST_EXPONENT (-45.0) /* what lies below it adds less than a rounding error to the sum */

static double sum_of_exponentials(const float *logits, uint32_t vocab, double top)
{
    double lanes[LANES] = {0};
    for (uint32_t i = 0; i < vocab; i++) {
        const double x = (double)logits[i] - top;
        if (x > LEAST_EXPONENT)
            lanes[i % LANES] += tg_exp(x);
    }
    for (uint32_t half = LANES / 2; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* The best `top` in order, by insertion: most logits fail the first comparison. */
static uint32_t find_top(const float *logits, uint32_t vocab, uint32_t top, uint32_t *ret)
{
    uint32_t len = 0;
    for (uint32_t id = 0; id < vocab; id++) {
        if (len == top && (top == 0 || logits[id] <= logits[ret[len - 1]]))
            continue;
        uint32_t at = len < top ? len++ : len - 1;
        for (; at > 0 && logits[ret[at - 1]] < logits[id]; at--)
            ret[at] = ret[at - 1];
        ret[at] = id;
    }
    return len;
}

uint32_t tg_logprobs(const float *logits, uint32_t vocab, uint32_t token, uint32_t top,
                     tg_logprob *ret)
{
    uint32_t best[TG_LOGPROBS_TOP_MAX];
    float largest = logits[0];
    uint32_t broken = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        largest = logits[i] > largest ? logits[i] : largest;
        broken |= logits[i] != logits[i];
    }
    if (broken || !isfinite(largest))
        return 0;
    const double total =
        (double)largest + tg_ln(sum_of_exponentials(logits, vocab, (double)largest));
    const uint32_t len =
        find_top(logits, vocab, top < TG_LOGPROBS_TOP_MAX ? top : TG_LOGPROBS_TOP_MAX, best);
    ret[0] = (tg_logprob){token, (float)((double)logits[token] - total)};
    for (uint32_t i = 0; i < len; i++)
        ret[1 + i] = (tg_logprob){best[i], (float)((double)logits[best[i]] - total)};
    return 1 + len;
}
