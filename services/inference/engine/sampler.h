/* From logits to a token. Pure: the draw depends on (seed, choice, position) and the logits alone,
 * so a stream that goes on at another replica goes on as if it had not moved.
 *
 * Temperature 0 takes the largest logit; ties go to the lower id. Otherwise, in this order: divide
 * by the temperature, keep the top_k largest, of those the fewest that hold top_p of their
 * probability, of those the ones at least min_p times as likely as the likeliest; then draw.
 */
#ifndef TG_ENGINE_SAMPLER_H
#define TG_ENGINE_SAMPLER_H

#include "libs/base/error.h"

#include <stdint.h>

typedef struct tg_sampling {
    float temperature; /* 0: greedy; at most 100 */
    float top_p;       /* 0 or 1: off */
    float min_p;       /* 0: off; below 1 */
    uint32_t top_k;    /* 0: off */
    uint64_t seed;
    uint32_t choice; /* which of n answers to one request */
} tg_sampling;

int tg_sampling_check(const tg_sampling *sampling, tg_error *err); /* 0 or -EINVAL with a message */

typedef struct tg_candidate {
    float logit;
    uint32_t id;
    double weight;
} tg_candidate;

/* scratch: room for 2 × vocab candidates. 0; -EDOM when a logit is not a number or the largest is
 * not finite. */
int tg_sample(const tg_sampling *sampling, uint32_t position, const float *logits, uint32_t vocab,
              tg_candidate *scratch, uint32_t *ret_id);

/* The generator behind it: uniform in [0, 1), Philox4x32-10 (Salmon et al. 2011). */
double tg_uniform(uint64_t seed, uint32_t choice, uint32_t position);

#endif
