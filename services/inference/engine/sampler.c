#include "services/inference/engine/sampler.h"

#include "services/inference/backend/numerics.h"

#include <errno.h>
#include <stdbool.h>

/* What is less than e^-20 (two in a billion) as likely as the best is never drawn. Real models
 * leave most of a vocabulary below that, which saves its exponentials. */
#define LEAST_EXPONENT (-20.0)
#define LANES 16 /* independent maxima, so that the compiler can use vectors */

int tg_sampling_check(const tg_sampling *s, tg_error *err)
{
    if (!(s->temperature >= 0 && s->temperature <= 100))
        return tg_error_set(err, -EINVAL, "temperature is %g; 0 to 100 are allowed",
                            (double)s->temperature);
    if (!(s->top_p >= 0 && s->top_p <= 1))
        return tg_error_set(err, -EINVAL, "top_p is %g; 0 to 1 are allowed", (double)s->top_p);
    if (!(s->min_p >= 0 && s->min_p < 1))
        return tg_error_set(err, -EINVAL, "min_p is %g; 0 to below 1 are allowed",
                            (double)s->min_p);
    return 0;
}

double tg_uniform(uint64_t seed, uint32_t choice, uint32_t position)
{
    uint32_t c[4] = {position, choice, 0, 0};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c[0], p1 = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[1] = (uint32_t)p1;
        c[3] = (uint32_t)p0;
        c[0] = n0;
        c[2] = n2;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    uint64_t bits = ((uint64_t)c[0] << 32 | c[1]) >> 11; /* 53 of them */
    return (double)bits * 0x1p-53;
}

static int find_best(const float *logits, uint32_t vocab, uint32_t *ret_id)
{
    float most[LANES], top;
    uint32_t broken = 0, i = 0;
    for (uint32_t k = 0; k < LANES; k++)
        most[k] = logits[0];
    for (; i + LANES <= vocab; i += LANES)
        for (uint32_t k = 0; k < LANES; k++)
            most[k] = logits[i + k] > most[k] ? logits[i + k] : most[k];
    for (; i < vocab; i++)
        most[0] = logits[i] > most[0] ? logits[i] : most[0];
    top = most[0];
    for (uint32_t k = 1; k < LANES; k++)
        top = most[k] > top ? most[k] : top;
    for (i = 0; i < vocab; i++)
        broken |= logits[i] != logits[i];
    if (broken || !isfinite(top))
        return -EDOM;
    for (i = 0; logits[i] != top;)
        i++;
    *ret_id = i;
    return 0;
}

/* Larger logit first, then lower id. */
static int before(const tg_candidate *a, const tg_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift_down(tg_candidate *heap, uint32_t len, uint32_t at)
{
    tg_candidate item = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < len; at = child) {
        if (child + 1 < len && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &item))
            break;
        heap[at] = heap[child];
    }
    heap[at] = item;
}

/* Moves the best `most` to the front, best first, and stops early once their weights reach
 * `goal`. */
static uint32_t take_best(tg_candidate *list, uint32_t len, uint32_t most, double goal,
                          tg_candidate *to)
{
    double sum = 0;
    uint32_t kept = 0;
    for (uint32_t i = len / 2; i > 0; i--)
        sift_down(list, len, i - 1);
    while (kept < most && len > 0 && sum < goal) {
        to[kept] = list[0];
        sum += list[0].weight;
        kept++;
        list[0] = list[--len];
        if (len > 0)
            sift_down(list, len, 0);
    }
    return kept;
}

/* Fewest of a list, best first, whose weights reach top_p of its total. */
static uint32_t cut_top_p(const tg_candidate *list, uint32_t len, double top_p)
{
    double total = 0, sum = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < len; i++)
        total += list[i].weight;
    while (kept < len && sum < top_p * total)
        sum += list[kept++].weight;
    return kept ? kept : 1;
}

/* Draws from the candidates that are at least min_p times as likely as the best. */
static uint32_t draw(const tg_candidate *list, uint32_t len, double min_p, double uniform)
{
    double total = 0;
    uint32_t last = list[0].id;
    for (uint32_t i = 0; i < len; i++)
        total += list[i].weight >= min_p ? list[i].weight : 0;
    double left = uniform * total;
    for (uint32_t i = 0; i < len; i++) {
        if (list[i].weight <= 0 || list[i].weight < min_p)
            continue;
        last = list[i].id;
        if (left < list[i].weight)
            break;
        left -= list[i].weight;
    }
    return last; /* the last one that counts, should rounding have eaten the end of the total */
}

int tg_sample(const tg_sampling *s, uint32_t position, const float *logits, uint32_t vocab,
              tg_candidate *scratch, uint32_t *ret_id)
{
    uint32_t best = 0, len = 0;
    int rc = find_best(logits, vocab, &best);
    if (rc < 0)
        return rc;
    if (s->temperature <= 0) {
        *ret_id = best;
        return 0;
    }
    double total = 0;
    const double top = (double)logits[best], temperature = (double)s->temperature;
    const float least = (float)(top + LEAST_EXPONENT * temperature);
    for (uint32_t i = 0; i < vocab; i++)
        if (logits[i] >= least)
            scratch[len++] = (tg_candidate){logits[i], i, 0};
    for (uint32_t i = 0; i < len; i++) {
        scratch[i].weight = tg_exp(((double)scratch[i].logit - top) / temperature);
        total += scratch[i].weight;
    }
    const bool nucleus = s->top_p > 0 && s->top_p < 1;
    if (s->top_k > 0 && s->top_k < len) {
        tg_candidate *sorted = scratch + vocab;
        len = take_best(scratch, len, s->top_k, INFINITY, sorted);
        scratch = sorted;
        if (nucleus)
            len = cut_top_p(scratch, len, (double)s->top_p);
    } else if (nucleus) {
        tg_candidate *sorted = scratch + vocab;
        len = take_best(scratch, len, len, (double)s->top_p * total, sorted);
        scratch = sorted;
    }
    *ret_id = draw(scratch, len, (double)s->min_p, tg_uniform(s->seed, s->choice, position));
    return 0;
}
