/* A vocabulary's tokens as a tree of their bytes, laid out in preorder: so a walk that leaves out
 * subtrees is one loop.
 *
 * Most tokens are plain: a few whole characters that may stand in a JSON string as they are. Where
 * a constraint takes all of them the same way, a bitmap says so at once (dfa.h, tg_dfa_plain_room),
 * and only the others need a walk: they have a tree of their own behind the first one.
 *
 * A walk need not look at each node either. Where all kinds of bytes below one take the automaton
 * the same way, its subtree's tokens are allowed; where one kind does and whatever ends a run of it
 * does not lead on, those are that end in the run.
 *
 * Control tokens and tokens without bytes are not in it. Read-only once made; any thread. */
#ifndef TG_INFERENCE_CONSTRAIN_TRIE_H
#define TG_INFERENCE_CONSTRAIN_TRIE_H

#include "libs/tokenizer/tokenizer.h"

#define TG_TRIE_DEPTH_MAX 1024 /* bytes of a token; longer ones are never allowed by a constraint */
#define TG_TRIE_PLAIN_MAX 16   /* characters of a plain token */

typedef struct tg_trie_node {
    uint32_t skip;   /* the next node that is not below this one */
    uint32_t first;  /* of the tokens in `order` that end here or below: the next node's is where
                        those that end here do */
    uint16_t depth;  /* bytes from the root, whose depth is 0 */
    uint16_t kinds;  /* of the bytes below: bits of tg_trie_kind */
    uint16_t after;  /* those of them that end a run of this byte's kind; all kinds where few tokens
                        below end in the run */
    uint8_t height;  /* bytes that may follow at most; UINT8_MAX: as many or more */
    uint8_t byte;
} tg_trie_node;

typedef struct tg_vocab_trie {
    uint32_t vocab; /* ids */
    uint32_t depth; /* bytes of the longest token */
    uint32_t len;   /* nodes of the tree of all tokens; the first is the root */
    /* nodes with those of the tree of tokens that are not plain; its root is at len */
    uint32_t end;
    tg_trie_node *nodes; /* and one at the end, for its `first` */
    uint32_t *order; /* ids as the trees have them, so that those of a subtree are one range */
    uint16_t *runs;  /* by place in `order`: where the last bytes that are all of one kind begin */
    uint64_t *plain; /* bitmaps of the plain tokens of at most 0, 1, … TG_TRIE_PLAIN_MAX characters,
                        behind each other */
    const tg_tokenizer *tokenizer;
} tg_vocab_trie;

/* Bytes that automata mostly take alike: letters of a case, digits, parts of longer characters, and
 * so on. */
#define TG_TRIE_KINDS 15
#define TG_TRIE_KINDS_ALL 0x7fffu
#define TG_TRIE_KINDS_KNOWN 0x8000u /* no kind: free for the users of sets of kinds */

static inline uint32_t tg_trie_kind(uint8_t b)
{
    if (b >= 0x80)
        return b < 0xc0 ? 0 : b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;
    if (b >= 'a' && b <= 'z')
        return 4;
    if (b >= 'A' && b <= 'Z')
        return 5;
    if (b >= '0' && b <= '9')
        return 6;
    switch (b) {
    case ' ': return 7;
    case '"': return 8;
    case '\\': return 9;
    case '-':
    case '_': return 10;
    case '.': return 11;
    case ',': return 12;
    default: return b < 0x20 ? 13 : 14;
    }
}

/* 0 or -ENOMEM. The tokenizer must outlive it */
int tg_vocab_trie_new(const tg_tokenizer *tokenizer, tg_vocab_trie **ret);
tg_vocab_trie *tg_vocab_trie_free(tg_vocab_trie *trie);

#endif
