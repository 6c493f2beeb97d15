/* A small vocabulary, and random walks through what constraints allow. */
#ifndef TG_TESTS_CONSTRAINT_WORLD_H
#define TG_TESTS_CONSTRAINT_WORLD_H

#include "libs/base/buf.h"
#include "services/inference/constrain/constraint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Every byte, and pieces that go past the ends of lexemes in many ways. */
static const char *const world_pieces[] = {
    "{\"",   "\":",      "\": \"",   "\",",      "\", \"", "\"}",   "\"}}",    "},",   "]}",
    "[[",    "],[",      "null",     "true}",    "1,",     "12",    "-0.",     "e+",   ": {",
    " \"",   " {",       "\n  ",     "\n    \"", "ab",     "abc\"", "a\\",     "\\\"", "\\u00",
    "\\ud8", "\xc3\xa9", "\xf0\x9f", "\x98\x80", "yes",    "no",    "yes, no", "0123", "2026-",
    "-11",   "\":[",     "\"]",      "false,\"", "{}",     "{},"};

enum {
    WORLD_PIECES = sizeof(world_pieces) / sizeof(*world_pieces),
    WORLD_VOCAB = 256 + WORLD_PIECES + 2,
    WORLD_WORDS = (WORLD_VOCAB + 63) / 64,
    WORLD_LENGTH_MAX = 400
};

typedef struct world {
    tg_tokenizer *tokenizer;
    tg_vocab_trie *trie;
} world;

static inline uint64_t world_random(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline void world_free(world *w)
{
    tg_vocab_trie_free(w->trie);
    tg_tokenizer_free(w->tokenizer);
}

/* GPT-2's spelling of a byte is not needed: SentencePiece's byte tokens and plain pieces say it. */
static inline bool world_make_of(world *w, const char *const pieces[WORLD_PIECES])
{
    static char names[256][8];
    tg_str texts[WORLD_VOCAB];
    int32_t types[WORLD_VOCAB];
    float scores[WORLD_VOCAB] = {0};
    for (uint32_t i = 0; i < 256; i++) {
        snprintf(names[i], sizeof(names[i]), "<0x%02X>", i);
        texts[i] = tg_str_of(names[i]);
        types[i] = TG_TOKEN_BYTE;
    }
    for (uint32_t i = 0; i < WORLD_PIECES; i++) {
        texts[256 + i] = tg_str_of(pieces[i]);
        types[256 + i] = TG_TOKEN_NORMAL;
    }
    texts[WORLD_VOCAB - 2] = TG_STR("ab"); /* the same bytes twice */
    types[WORLD_VOCAB - 2] = TG_TOKEN_NORMAL;
    texts[WORLD_VOCAB - 1] = TG_STR("</s>");
    types[WORLD_VOCAB - 1] = TG_TOKEN_CONTROL;
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_SENTENCEPIECE,
                                    .tokens = texts,
                                    .tokens_len = WORLD_VOCAB,
                                    .types = types,
                                    .scores = scores,
                                    .bos = TG_TOKEN_NONE,
                                    .eos = WORLD_VOCAB - 1,
                                    .unk = TG_TOKEN_NONE};
    tg_error err = {""};
    *w = (world){.trie = NULL};
    return tg_tokenizer_new(&conf, &err, &w->tokenizer) == 0 &&
           tg_vocab_trie_new(w->tokenizer, &w->trie) == 0;
}

static inline bool world_make(world *w) { return world_make_of(w, world_pieces); }

static inline bool world_allows(const uint64_t *allowed, uint32_t token)
{
    return allowed[token / 64] >> (token % 64) & 1;
}

typedef struct world_answer {
    uint32_t tokens[WORLD_LENGTH_MAX];
    uint32_t len, most, hurry; /* most: tokens at most; behind `hurry` of them what closes is taken
                                  first. 0: as many as there is room for */
    bool ended;
    tg_buf text;
} world_answer;

/* What the mask says against trying every token from the beginning. Prints what is wrong. */
static inline bool world_check(const world *w, tg_constraint *c, const world_answer *a,
                               const uint64_t *allowed)
{
    for (uint32_t token = 0; token < WORLD_VOCAB; token++) {
        tg_constraint_state *s = NULL;
        bool goes = tg_constraint_start(c, &s) == 0;
        for (uint32_t i = 0; i < a->len && goes; i++)
            goes = tg_constraint_advance(s, a->tokens[i]);
        const bool reached = goes;
        goes = goes && tg_constraint_advance(s, token);
        tg_constraint_state_free(s);
        if (!reached || goes != world_allows(allowed, token)) {
            const tg_str piece = tg_tokenizer_piece(w->tokenizer, token);
            printf("# behind '%.*s' token %u, '%.*s', is %s, and the mask says otherwise\n",
                   (int)a->text.len, a->text.data ? a->text.data : "", token, (int)piece.len,
                   piece.data, goes ? "allowed" : "not allowed");
            return false;
        }
    }
    return true;
}

/* One of what is allowed: pieces more often than bytes, most of which only lead on within
 * strings. */
static inline uint32_t world_choose(const uint64_t *allowed, bool hurry, uint64_t *random)
{
    static const char closing[] = "\"}]019tn";
    uint32_t candidates[WORLD_VOCAB], len = 0;
    for (uint32_t token = 0; token < WORLD_VOCAB; token++)
        if (world_allows(allowed, token))
            candidates[len++] = token;
    if (len == 0)
        return TG_TOKEN_NONE;
    for (size_t i = 0; hurry && i < sizeof(closing) - 1; i++)
        if (world_allows(allowed, (uint8_t)closing[i]) && world_random(random) % 8 != 0)
            return (uint8_t)closing[i];
    const uint32_t token = candidates[world_random(random) % len];
    return token >= 256 || world_random(random) % 4 == 0 ? token
                                                         : candidates[world_random(random) % len];
}

/* At once, or bit by bit. */
static inline bool world_mask(tg_constraint_state *s, uint64_t *random, const uint64_t **ret)
{
    int rc = -EAGAIN;
    for (int64_t work = 0; rc == -EAGAIN && world_random(random) % 64 != 0;
         work = (int64_t)(world_random(random) % 16))
        rc = tg_constraint_mask(s, &work, ret);
    return rc == 0 || tg_constraint_mask(s, NULL, ret) == 0;
}

/* Draws from what is allowed until the end, and checks one mask in `check_one_in` (0: none). False:
 * something is wrong, and said. */
static inline bool world_draw(const world *w, tg_constraint *c, uint64_t *random,
                              uint32_t check_one_in, world_answer *a)
{
    const uint64_t *allowed = NULL;
    tg_constraint_state *s = NULL;
    const uint32_t most = a->most ? a->most : WORLD_LENGTH_MAX, hurry = a->hurry ? a->hurry : most;
    bool right = tg_constraint_start(c, &s) == 0;
    a->len = 0;
    a->ended = false;
    tg_buf_clear(&a->text);
    while (right && a->len < most && !tg_constraint_must_end(s)) {
        right = world_mask(s, random, &allowed);
        if (right && check_one_in != 0 && world_random(random) % check_one_in == 0)
            right = world_check(w, c, a, allowed);
        if (!right || (tg_constraint_may_end(s) && world_random(random) % 3 == 0))
            break;
        const uint32_t token = world_choose(allowed, a->len >= hurry, random);
        right = token != TG_TOKEN_NONE && tg_constraint_advance(s, token);
        if (!right) {
            printf("# behind '%.*s' nothing is allowed\n", (int)a->text.len,
                   a->text.data ? a->text.data : "");
            break;
        }
        tg_buf_add_str(&a->text, tg_tokenizer_piece(w->tokenizer, token));
        a->tokens[a->len++] = token;
    }
    a->ended = right && tg_constraint_may_end(s);
    tg_constraint_state_free(s);
    return right;
}

#endif
