/* Log-probabilities of the model's own logits. Pure, and the same bits on every machine
 * (numerics.h, 8). */
#ifndef TG_ENGINE_LOGPROBS_H
#define TG_ENGINE_LOGPROBS_H

#include <stdint.h>

#define TG_LOGPROBS_TOP_MAX 20 /* alternatives told with a token */

typedef struct tg_logprob {
    uint32_t id;
    float logprob; /* natural logarithm of its probability; −∞ to 0 */
} tg_logprob;

/* ret[0] is the token's own; then the `top` likeliest ones, likeliest first, of equals the lower
 * id; the token may be one of them. ret: room for 1 + TG_LOGPROBS_TOP_MAX. Returns how many; 0
 * where a logit is NaN or the largest is not finite. */
uint32_t tg_logprobs(const float *logits, uint32_t vocab, uint32_t token, uint32_t top,
                     tg_logprob *ret);

#endif
