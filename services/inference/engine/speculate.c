#include "services/inference/engine/speculate.h"

#include <string.h>

enum { LONGEST = 3, SHORTEST = 2 }; /* tokens that must have stood before */
#define FIRST_CHANCE 0.4f /* before anything is known */
#define LEARN 0.15f       /* how much of the estimate one observation replaces */

uint32_t tg_lookup_guess(void *user, const uint32_t *tokens, uint32_t len, uint32_t most, uint32_t *ret)
{
    (void)user;
    const uint32_t first = len > TG_LOOKUP_TOKENS_MAX ? len - TG_LOOKUP_TOKENS_MAX : 0;
    for (uint32_t n = LONGEST; n >= SHORTEST && len - first > n; n--) {
        const uint32_t *suffix = tokens + len - n;
        for (uint32_t at = len - n; at-- > first;) {
            if (tokens[at + n - 1] != suffix[n - 1] || memcmp(tokens + at, suffix, n * sizeof(*tokens)) != 0)
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

bool tg_guess_worth(float chance, float base, float rows, float expected)
{
    return chance * (base + rows) > expected; /* (expected + chance) / (base + rows + 1) > expected / (base + rows) */
}
