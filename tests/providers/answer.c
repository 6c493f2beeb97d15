/* Deterministic answers: words drawn by a hash of seed and request. */
#include "tests/providers/providers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_add(text *t, const void *data, size_t len)
{
    if (t->len + len + 1 > t->cap) {
        t->cap = (t->len + len + 1) * 2;
        t->data = realloc(t->data, t->cap);
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
}

void text_printf(text *t, const char *format, ...)
{
    char *out;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&out, format, args);
    va_end(args);
    if (len < 0)
        abort();
    text_add(t, out, (size_t)len);
    free(out);
}

void text_free(text *t)
{
    free(t->data);
    *t = (text){0};
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u ^ (seed * 0x9e3779b97f4a7c15u);
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h ^ (h >> 29);
}

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const char *const words[] = {
    "the",   "gate",   "opens",  "for",    "every", "cart",  "that",   "pays",  "its",    "toll",
    "and",   "closes", "behind", "it",     "while", "keeper","counts", "coins", "slowly", "by",
    "light", "of",     "a",      "lantern","until", "morning","when",  "roads", "fill",   "again",
    "with",  "grain",  "wool",   "salt",   "café",  "naïve", "über",   "日本",  "→",      "fine"};

enum { WORDS = sizeof words / sizeof *words, SHORTEST = 12, SPREAD = 24 };

void answer_make(const request *in, const char *texts, size_t texts_len, int64_t max_tokens, const fault *f,
                 answer *ret)
{
    (void)texts;
    memset(ret, 0, sizeof *ret);
    ret->hash = hash_bytes(in->body.data, in->body.len, opt.seed);
    uint64_t state = ret->hash;
    int64_t want = f->tokens >= 0 ? f->tokens : (int64_t)(SHORTEST + next(&state) % SPREAD);
    if (max_tokens >= 0 && want > max_tokens) {
        want = max_tokens;
        ret->cut_by_length = true;
    }
    ret->count = (unsigned)(want > TOKENS_MAX ? TOKENS_MAX : want);
    ret->tokens = calloc(ret->count + 1, sizeof *ret->tokens);
    for (unsigned i = 0; i < ret->count; i++)
        if (asprintf(&ret->tokens[i], "%s%s", i ? " " : "", words[next(&state) % WORDS]) < 0)
            abort();
    ret->input_tokens = (texts_len + 3) / 4;
    int64_t reported = (int64_t)ret->count + f->usage_delta;
    ret->reported_output = reported > 0 ? (uint64_t)reported : 0;
}

void answer_free(answer *a)
{
    for (unsigned i = 0; i < a->count; i++)
        free(a->tokens[i]);
    free(a->tokens);
}
