#include "services/inference/engine/speculate.h"

#include <string.h>

enum { LONGEST = 3, SHORTEST = 2 }; /* tokens that must have stood before */
#define FIRST_CHANCE 0.4f /* before anything is known */
#define LEARN 0.15f       /* how much of the estimate one observation replaces */
#define OUTLIER 4.0f      /* means that a step is taken to have lasted at most */
/* the variance of rows at which what steps show weighs as much as what is usual */
#define USUAL_ROWS_ROWS 1.0f

uint32_t tg_lookup_guess(void *user, const uint32_t *tokens, uint32_t len, uint32_t most,
                         uint32_t *ret)
{
    (void)user;
    const uint32_t first = len > TG_LOOKUP_TOKENS_MAX ? len - TG_LOOKUP_TOKENS_MAX : 0;
    for (uint32_t n = LONGEST; n >= SHORTEST && len - first > n; n--) {
        const uint32_t *suffix = tokens + len - n;
        for (uint32_t at = len - n; at-- > first;) {
            if (tokens[at + n - 1] != suffix[n - 1] ||
                memcmp(tokens + at, suffix, n * sizeof(*tokens)) != 0)
                continue;
            const uint32_t left = len - at - n, guesses = left < most ? left : most;
            memcpy(ret, tokens + at + n, guesses * sizeof(*ret));
            return guesses;
        }
    }
    return 0;
}

float tg_speculation_chance(const tg_speculation *s, uint32_t guesses)
{
    const float right = s->known ? s->right : FIRST_CHANCE;
    float chance = 1;
    for (uint32_t i = 0; i < guesses; i++)
        chance *= right;
    return chance;
}

void tg_speculation_learn(tg_speculation *s, const uint32_t *sampled, uint32_t len)
{
    bool right = true;
    if (!s->known && s->len > 0 && len > 0)
        s->right = FIRST_CHANCE;
    for (uint32_t i = 0; i < len && i < s->len && right; i++) {
        right = sampled[i] == s->guesses[i];
        s->right += LEARN * ((right ? 1.0f : 0.0f) - s->right);
        s->known = true;
    }
    s->len = 0;
}

void tg_step_cost_learn(tg_step_cost *c, uint32_t rows, uint64_t ns)
{
    if (c->seen < TG_STEP_COST_STEPS)
        c->seen++;
    const float part = 1.0f / (float)c->seen, most = OUTLIER * c->ns;
    /* the machine did something else meanwhile */
    const float took = c->seen > 1 && (float)ns > most ? most : (float)ns;
    const float d_rows = (float)rows - c->rows, d_ns = took - c->ns;
    c->rows += part * d_rows;
    c->ns += part * d_ns;
    c->rows_rows = (1 - part) * (c->rows_rows + part * d_rows * d_rows);
    c->rows_ns = (1 - part) * (c->rows_ns + part * d_rows * d_ns);
}

float tg_step_cost_base(const tg_step_cost *c)
{
    const float usual = c->ns / (TG_STEP_BASE_ROWS + c->rows);
    const float row_ns = (c->rows_ns + USUAL_ROWS_ROWS * usual) / (c->rows_rows + USUAL_ROWS_ROWS);
    if (c->seen == 0)
        return TG_STEP_BASE_ROWS;
    if (row_ns * (TG_STEP_BASE_ROWS_MAX + c->rows) <= c->ns)
        return TG_STEP_BASE_ROWS_MAX;
    const float base = c->ns / row_ns - c->rows;
    return base > 0 ? base : 0;
}

bool tg_guess_worth(float chance, float base, float rows, float expected)
{
    /* (expected + chance) / (base + rows + 1) > expected / (base + rows) */
    return chance * (base + rows) > expected;
}
