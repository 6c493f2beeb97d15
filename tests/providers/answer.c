#include "tests/providers/answer.h"

#include <stdlib.h>

/* As JSON: one holds quotes, some are not ASCII, so that every codec in the way shows itself. */
static const char *const vocabulary[] = {
    "a",      "the",    "at",     "by",       "every",   "some",    "no",           "one",
    "gate",   "road",   "bridge", "toll",     "cart",    "rider",   "keeper",       "lantern",
    "market", "river",  "miller", "coin",     "ledger",  "wagon",   "harbour",      "letter",
    "opens",  "waits",  "pays",   "counts",   "crosses", "carries", "turns",        "rests",
    "slowly", "early",  "again",  "twice",    "gladly",  "far",     "quietly",      "later",
    "and",    "but",    "while",  "until",    "because", "where",   "or",           "so",
    "old",    "narrow", "silver", "northern", "quiet",   "crowded", "stone",        "wet",
    "café",   "naïve",  "Straße", "東京",     "→",       "🚏",       "\\\"toll\\\"", "10%"};

enum { WORDS = sizeof vocabulary / sizeof *vocabulary };

uint64_t mix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void answer_make(uint64_t key, int64_t tokens, int64_t max_tokens, struct answer *ret)
{
    uint64_t state = key;
    uint64_t drawn = mix64(&state) % (ANSWER_LONGEST - ANSWER_SHORTEST + 1);
    int64_t count = tokens >= 0 ? tokens : ANSWER_SHORTEST + (int64_t)drawn;
    bool cut = max_tokens >= 0 && count > max_tokens;
    if (cut)
        count = max_tokens;
    if (count > ANSWER_TOKENS_MAX)
        count = ANSWER_TOKENS_MAX;
    uint8_t *words = malloc((size_t)count + 1);
    if (!words)
        abort();
    for (int64_t i = 0; i < count; i++)
        words[i] = (uint8_t)(mix64(&state) % WORDS);
    *ret = (struct answer){words, (uint32_t)count, cut};
}

void answer_word(const struct answer *answer, uint32_t at, struct buf *out)
{
    if (at > 0)
        buf_add(out, " ", 1);
    buf_text(out, vocabulary[answer->words[at]]);
}

void answer_text(const struct answer *answer, struct buf *out)
{
    buf_add(out, "\"", 1);
    for (uint32_t i = 0; i < answer->count; i++)
        answer_word(answer, i, out);
    buf_add(out, "\"", 1);
}

void answer_free(struct answer *answer)
{
    free(answer->words);
    *answer = (struct answer){0};
}
