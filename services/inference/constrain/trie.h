/* A vocabulary's tokens as a tree of their bytes, laid out in preorder: so a walk that leaves out subtrees is one loop.
 *
 * Control tokens and tokens without bytes are not in it. Read-only once made; any thread. */
#ifndef TG_INFERENCE_CONSTRAIN_TRIE_H
#define TG_INFERENCE_CONSTRAIN_TRIE_H

#include "libs/tokenizer/tokenizer.h"

#define TG_TRIE_DEPTH_MAX 1024 /* bytes of a token; longer ones are never allowed by a constraint */

typedef struct tg_trie_node {
    uint32_t skip;   /* the next node that is not below this one */
    uint32_t token;  /* that ends here, or TG_TOKEN_NONE */
    uint16_t depth;  /* bytes from the root, whose depth is 0 */
    uint8_t byte;
} tg_trie_node;

typedef struct tg_vocab_trie {
    uint32_t vocab; /* ids */
    uint32_t len;   /* nodes; the first is the root */
    tg_trie_node *nodes;
    uint32_t *same; /* by id: the next token of the same bytes, or TG_TOKEN_NONE */
    const tg_tokenizer *tokenizer;
} tg_vocab_trie;

int tg_vocab_trie_new(const tg_tokenizer *tokenizer, tg_vocab_trie **ret); /* 0 or -ENOMEM. The tokenizer must outlive it */
tg_vocab_trie *tg_vocab_trie_free(tg_vocab_trie *trie);

#endif
