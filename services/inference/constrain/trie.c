#include "services/inference/constrain/trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct word {
    tg_str bytes;
    uint32_t id;
} word;

static int compare(const void *a, const void *b)
{
    const word *x = a, *y = b;
    const size_t len = x->bytes.len < y->bytes.len ? x->bytes.len : y->bytes.len;
    const int order = memcmp(x->bytes.data, y->bytes.data, len);
    if (order != 0)
        return order;
    if (x->bytes.len != y->bytes.len)
        return x->bytes.len < y->bytes.len ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Words in order: each shares a beginning with the one before, and adds the rest. */
static void fill(tg_vocab_trie *trie, const word *words, uint32_t len)
{
    uint32_t path[TG_TRIE_DEPTH_MAX + 1] = {0}, depth = 0;
    trie->nodes[0] = (tg_trie_node){.token = TG_TOKEN_NONE};
    trie->len = 1;
    for (uint32_t i = 0; i < len; i++) {
        const tg_str w = words[i].bytes;
        uint32_t shared = 0;
        while (shared < depth && shared < w.len && trie->nodes[path[shared + 1]].byte == (uint8_t)w.data[shared])
            shared++;
        for (; depth > shared; depth--)
            trie->nodes[path[depth]].skip = trie->len;
        for (; depth < w.len; path[++depth] = trie->len++)
            trie->nodes[trie->len] = (tg_trie_node){0, TG_TOKEN_NONE, (uint16_t)(depth + 1), (uint8_t)w.data[depth]};
        tg_trie_node *end = &trie->nodes[path[depth]];
        trie->same[words[i].id] = end->token;
        end->token = words[i].id;
    }
    for (; depth > 0; depth--)
        trie->nodes[path[depth]].skip = trie->len;
    trie->nodes[0].skip = trie->len;
}

int tg_vocab_trie_new(const tg_tokenizer *tokenizer, tg_vocab_trie **ret)
{
    const uint32_t vocab = (uint32_t)tg_tokenizer_vocab_len(tokenizer);
    tg_vocab_trie *trie = calloc(1, sizeof(*trie));
    word *words = malloc((vocab + 1) * sizeof(*words));
    size_t bytes = 1;
    uint32_t len = 0;
    for (uint32_t id = 0; id < vocab && words; id++) {
        const tg_str piece = tg_tokenizer_piece(tokenizer, id);
        if (piece.len == 0 || piece.len > TG_TRIE_DEPTH_MAX || tg_tokenizer_is_control(tokenizer, id))
            continue;
        words[len++] = (word){piece, id};
        bytes += piece.len;
    }
    if (trie) {
        trie->vocab = vocab;
        trie->tokenizer = tokenizer;
        trie->nodes = malloc(bytes * sizeof(*trie->nodes));
        trie->same = malloc((vocab + 1) * sizeof(*trie->same));
    }
    if (!trie || !words || !trie->nodes || !trie->same) {
        free(words);
        tg_vocab_trie_free(trie);
        return -ENOMEM;
    }
    qsort(words, len, sizeof(*words), compare);
    fill(trie, words, len);
    free(words);
    tg_trie_node *fit = realloc(trie->nodes, trie->len * sizeof(*fit));
    trie->nodes = fit ? fit : trie->nodes;
    *ret = trie;
    return 0;
}

tg_vocab_trie *tg_vocab_trie_free(tg_vocab_trie *trie)
{
    if (!trie)
        return NULL;
    free(trie->nodes);
    free(trie->same);
    free(trie);
    return NULL;
}
