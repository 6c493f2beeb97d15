#include "services/inference/constrain/trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* tokens to look through for one that ends in a run: cheaper than the nodes on the way to it */
enum { RUNS_WORTH = 4 };

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

/* Characters of a plain token, or 0. */
static uint32_t plain_length(tg_str bytes)
{
    uint32_t characters = 0;
    if (!tg_utf8_valid(bytes.data, bytes.len))
        return 0;
    for (size_t i = 0; i < bytes.len; i++) {
        const unsigned char b = (unsigned char)bytes.data[i];
        if (b < 0x20 || b == '"' || b == '\\')
            return 0;
        characters += (b & 0xc0) != 0x80;
    }
    return characters <= TG_TRIE_PLAIN_MAX ? characters : 0;
}

/* Where the last bytes of one kind begin. */
static uint16_t run_of(tg_str bytes)
{
    size_t at = bytes.len - 1;
    while (at > 0 &&
           tg_trie_kind((uint8_t)bytes.data[at - 1]) == tg_trie_kind((uint8_t)bytes.data[at]))
        at--;
    return (uint16_t)at;
}

/* A tree behind the nodes there are. Words in order: each shares a beginning with the one before,
 * and adds the rest. `some`: but for plain ones. */
static uint32_t fill(tg_vocab_trie *trie, uint32_t root, const word *words, uint32_t len, bool some)
{
    uint32_t path[TG_TRIE_DEPTH_MAX + 1] = {root}, depth = 0, end = root + 1,
                                      tokens = trie->nodes[root].first;
    for (uint32_t i = 0; i < len; i++) {
        if (some && plain_length(words[i].bytes) > 0)
            continue;
        const tg_str w = words[i].bytes;
        uint32_t shared = 0;
        while (shared < depth && shared < w.len &&
               trie->nodes[path[shared + 1]].byte == (uint8_t)w.data[shared])
            shared++;
        for (; depth > shared; depth--)
            trie->nodes[path[depth]].skip = end;
        for (; depth < w.len; path[++depth] = end++)
            trie->nodes[end] =
                (tg_trie_node){0, tokens, (uint16_t)(depth + 1), 0, 0, 0, (uint8_t)w.data[depth]};
        trie->runs[tokens] = run_of(w);
        trie->order[tokens++] = words[i].id;
    }
    for (; depth > 0; depth--)
        trie->nodes[path[depth]].skip = end;
    trie->nodes[root].skip = end;
    trie->nodes[end] = (tg_trie_node){.first = tokens};
    return end;
}

typedef struct below { /* a node */
    uint16_t kinds, firsts;        /* of all that is below; of what is right below */
    uint32_t height;               /* bytes that may follow */
    uint16_t after[TG_TRIE_KINDS]; /* of runs of a kind that begin there: what ends them */
    uint32_t runs[TG_TRIE_KINDS];  /* tokens that end in such a run */
} below;

/* From the end: what is below a node comes before it. */
static bool fill_kinds(tg_vocab_trie *trie, uint32_t root, uint32_t end)
{
    below *levels = calloc(trie->depth + 2, sizeof(*levels));
    if (!levels)
        return false;
    for (uint32_t i = end; i-- > root + 1;) {
        tg_trie_node *node = &trie->nodes[i];
        below *here = &levels[node->depth], *above = here - 1;
        const uint32_t kind = tg_trie_kind(node->byte),
                       tokens = trie->nodes[node->skip].first - node->first;
        const uint32_t runs = here->runs[kind] + node[1].first - node->first;
        node->height = (uint8_t)(here->height < UINT8_MAX ? here->height : UINT8_MAX);
        node->kinds = here->kinds;
        node->after = (uint16_t)(here->after[kind] | (here->firsts & ~(1u << kind)));
        above->height = above->height > here->height ? above->height : here->height + 1;
        above->firsts |= (uint16_t)(1u << kind);
        above->kinds |= (uint16_t)(node->kinds | 1u << kind);
        above->after[kind] |= node->after;
        above->runs[kind] += runs;
        if (tokens > RUNS_WORTH * runs)
            node->after = TG_TRIE_KINDS_ALL;
        *here = (below){0};
    }
    trie->nodes[root].kinds = levels[0].kinds;
    free(levels);
    return true;
}

static void fill_plain(tg_vocab_trie *trie, const word *words, uint32_t len)
{
    const size_t stride = (trie->vocab + 63) / 64;
    for (uint32_t i = 0; i < len; i++) {
        const uint32_t characters = plain_length(words[i].bytes), id = words[i].id;
        for (uint32_t most = characters; characters > 0 && most <= TG_TRIE_PLAIN_MAX; most++)
            trie->plain[most * stride + id / 64] |= (uint64_t)1 << (id % 64);
    }
}

int tg_vocab_trie_new(const tg_tokenizer *tokenizer, tg_vocab_trie **ret)
{
    const uint32_t vocab = (uint32_t)tg_tokenizer_vocab_len(tokenizer);
    tg_vocab_trie *trie = calloc(1, sizeof(*trie));
    word *words = malloc((vocab + 1) * sizeof(*words));
    size_t nodes = 3, tokens = 0;
    uint32_t len = 0, longest = 0;
    for (uint32_t id = 0; id < vocab && words; id++) {
        const tg_str piece = tg_tokenizer_piece(tokenizer, id);
        if (piece.len == 0 || piece.len > TG_TRIE_DEPTH_MAX ||
            tg_tokenizer_is_control(tokenizer, id))
            continue;
        words[len++] = (word){piece, id};
        longest = piece.len > longest ? (uint32_t)piece.len : longest;
        const size_t trees = plain_length(piece) > 0 ? 1 : 2;
        nodes += trees * piece.len;
        tokens += trees;
    }
    if (trie) {
        trie->vocab = vocab;
        trie->depth = longest;
        trie->tokenizer = tokenizer;
        trie->nodes = malloc(nodes * sizeof(*trie->nodes));
        trie->order = malloc((tokens + 1) * sizeof(*trie->order));
        trie->runs = malloc((tokens + 1) * sizeof(*trie->runs));
        trie->plain =
            calloc((TG_TRIE_PLAIN_MAX + 1) * (((size_t)vocab + 63) / 64) + 1, sizeof(*trie->plain));
    }
    if (!trie || !words || !trie->nodes || !trie->order || !trie->runs || !trie->plain) {
        free(words);
        tg_vocab_trie_free(trie);
        return -ENOMEM;
    }
    qsort(words, len, sizeof(*words), compare);
    trie->nodes[0] = (tg_trie_node){0};
    trie->len = fill(trie, 0, words, len, false);
    trie->end = fill(trie, trie->len, words, len, true);
    const bool filled = fill_kinds(trie, 0, trie->len) && fill_kinds(trie, trie->len, trie->end);
    fill_plain(trie, words, len);
    free(words);
    if (!filled) {
        tg_vocab_trie_free(trie);
        return -ENOMEM;
    }
    tg_trie_node *fit = realloc(trie->nodes, (trie->end + 1) * sizeof(*fit));
    trie->nodes = fit ? fit : trie->nodes;
    *ret = trie;
    return 0;
}

tg_vocab_trie *tg_vocab_trie_free(tg_vocab_trie *trie)
{
    if (!trie)
        return NULL;
    free(trie->nodes);
    free(trie->order);
    free(trie->runs);
    free(trie->plain);
    free(trie);
    return NULL;
}
