/* Greedy pairwise joining: start from single bytes or characters and join the best neighbouring
 * pair until none can be joined. "Best" is the lowest merge rank (BPE) or the highest score of the
 * joined token (SentencePiece); ties go to the leftmost. A heap keeps it at O(n log n). */
#include "libs/tokenizer/internal.h"
#include "libs/tokenizer/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct symbol {
    uint32_t start, len; /* bytes of the word; len 0: joined into its left neighbour */
    uint32_t prev, next; /* indices, or NONE */
    uint32_t id;         /* or TG_TOKEN_NONE */
} symbol;

typedef struct candidate {
    uint64_t order; /* rank, then index of the left symbol: smaller is better */
    uint32_t left, right, len, id;
} candidate;

struct tg_merger {
    const tg_tokenizer *tokenizer;
    symbol *symbols;
    candidate *heap;
    size_t cap; /* symbols that fit */
    size_t heap_len;
};

tg_merger *tg_merger_new(const tg_tokenizer *tokenizer)
{
    tg_merger *merger = calloc(1, sizeof(*merger));
    if (merger)
        merger->tokenizer = tokenizer;
    return merger;
}

tg_merger *tg_merger_free(tg_merger *merger)
{
    if (merger) {
        free(merger->symbols);
        free(merger->heap);
        free(merger);
    }
    return NULL;
}

static int reserve(tg_merger *merger, size_t len)
{
    if (len <= merger->cap)
        return 0;
    size_t cap = len < 64 ? 64 : len + len / 2;
    symbol *symbols = realloc(merger->symbols, cap * sizeof(*symbols));
    if (!symbols)
        return -ENOMEM;
    merger->symbols = symbols;
    /* n − 1 pairs at first; each of n − 1 joins takes one out and puts at most two in. */
    candidate *heap = realloc(merger->heap, 2 * cap * sizeof(*heap));
    if (!heap)
        return -ENOMEM;
    merger->heap = heap;
    merger->cap = cap;
    return 0;
}

static void heap_push(tg_merger *merger, candidate item)
{
    candidate *heap = merger->heap;
    size_t at = merger->heap_len++;
    while (at > 0 && heap[(at - 1) / 2].order > item.order) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
}

static candidate heap_pop(tg_merger *merger)
{
    candidate *heap = merger->heap, best = heap[0], item = heap[--merger->heap_len];
    size_t at = 0, len = merger->heap_len;
    for (size_t child; (child = 2 * at + 1) < len; at = child) {
        if (child + 1 < len && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= item.order)
            break;
        heap[at] = heap[child];
    }
    heap[at] = item;
    return best;
}

/* Unsigned integers that order as negated floats do: the highest score comes first. */
static uint32_t score_order(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof(bits));
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

static const tg_merge_slot *find_merge(const tg_tokenizer *tokenizer, uint32_t left, uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    for (size_t at = (size_t)(hash >> 32);; at++) {
        const tg_merge_slot *slot = &tokenizer->merges[at & tokenizer->merges_mask];
        if (slot->left == TG_TOKEN_NONE)
            return NULL;
        if (slot->left == left && slot->right == right)
            return slot;
    }
}

static void consider(tg_merger *merger, const char *word, uint32_t left, uint32_t right)
{
    const tg_tokenizer *tokenizer = merger->tokenizer;
    if (left == NONE || right == NONE)
        return;
    symbol *a = &merger->symbols[left], *b = &merger->symbols[right];
    candidate item = {0, left, right, a->len + b->len, TG_TOKEN_NONE};
    uint32_t rank = 0;
    if (tokenizer->kind == TG_TOKENIZER_BPE) {
        const tg_merge_slot *slot = NULL;
        if (a->id != TG_TOKEN_NONE && b->id != TG_TOKEN_NONE)
            slot = find_merge(tokenizer, a->id, b->id);
        if (!slot)
            return;
        rank = slot->rank;
        item.id = slot->joined;
    } else {
        item.id = tg_vocab_find(tokenizer, &tokenizer->words, (tg_str){word + a->start, item.len});
        if (item.id == TG_TOKEN_NONE)
            return;
        rank = score_order(tokenizer->scores[item.id]);
    }
    item.order = (uint64_t)rank << 32 | left;
    heap_push(merger, item);
}

static uint32_t split(tg_merger *merger, tg_str word)
{
    const tg_tokenizer *tokenizer = merger->tokenizer;
    uint32_t count = 0;
    for (size_t at = 0; at < word.len;) {
        symbol *s = &merger->symbols[count];
        uint32_t point;
        size_t len = 1;
        if (tokenizer->kind == TG_TOKENIZER_SENTENCEPIECE) {
            len = tg_unicode_next(word.data + at, word.len - at, &point);
            s->id = tg_vocab_find(tokenizer, &tokenizer->words, (tg_str){word.data + at, len});
        } else {
            s->id = tokenizer->byte_ids[(unsigned char)word.data[at]];
        }
        s->start = (uint32_t)at;
        s->len = (uint32_t)len;
        s->prev = count ? count - 1 : NONE;
        s->next = count + 1;
        at += len;
        count++;
    }
    merger->symbols[count - 1].next = NONE;
    return count;
}

/* A symbol without a token: its bytes' tokens, or the unknown token once. */
static int add_bytes(const tg_tokenizer *tokenizer, const char *text, size_t len,
                     tg_token_list *tokens)
{
    for (size_t i = 0; i < len; i++) {
        uint32_t id = tokenizer->byte_ids[(unsigned char)text[i]];
        if (id == TG_TOKEN_NONE)
            return tokenizer->unk == TG_TOKEN_NONE ? 0 : tg_token_list_add(tokens, tokenizer->unk);
        int rc = tg_token_list_add(tokens, id);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int tg_merger_run(tg_merger *merger, tg_str word, tg_token_list *tokens)
{
    if (word.len == 0)
        return 0;
    int rc = reserve(merger, word.len);
    if (rc < 0)
        return rc;
    uint32_t count = split(merger, word);
    merger->heap_len = 0;
    for (uint32_t i = 0; i + 1 < count; i++)
        consider(merger, word.data, i, i + 1);
    while (merger->heap_len > 0) {
        candidate best = heap_pop(merger);
        symbol *left = &merger->symbols[best.left], *right = &merger->symbols[best.right];
        if (left->len == 0 || right->len == 0 || left->len + right->len != best.len)
            continue; /* one of the two has been joined since */
        left->len = best.len;
        left->id = best.id;
        left->next = right->next;
        right->len = 0;
        if (left->next != NONE)
            merger->symbols[left->next].prev = best.left;
        consider(merger, word.data, left->prev, best.left);
        consider(merger, word.data, best.left, left->next);
    }
    for (uint32_t i = 0; i != NONE && rc == 0; i = merger->symbols[i].next) {
        const symbol *s = &merger->symbols[i];
        rc = s->id != TG_TOKEN_NONE
                 ? tg_token_list_add(tokens, s->id)
                 : add_bytes(merger->tokenizer, word.data + s->start, s->len, tokens);
    }
    return rc;
}
