/* Shared by the files of the tokenizer; not for others. */
#ifndef TG_TOKENIZER_INTERNAL_H
#define TG_TOKENIZER_INTERNAL_H

#include "libs/tokenizer/pretokenize.h"
#include "libs/tokenizer/tokenizer.h"

#define TG_WORDPIECE_CHARS_MAX 100 /* characters of a word; a longer one is unknown, as in BERT */
/* places of an index that are looked at for one text or merge; a file made so that more collide
 * does not load, as every later look would be as long */
#define TG_VOCAB_PROBES_MAX 1024
#define TG_SPECIAL_LENGTHS_MAX 64 /* different lengths of control and user-defined tokens */

/* Open addressing from a token's bytes to its id; the bytes live in the vocabulary. */
typedef struct tg_vocab_index {
    uint32_t *slots; /* id + 1; 0 is empty */
    size_t mask;
} tg_vocab_index;

typedef struct tg_merge_slot { /* BPE: the pair (left, right) joins into `joined` */
    uint32_t left, right;      /* left == TG_TOKEN_NONE: empty */
    uint32_t rank, joined;
} tg_merge_slot;

struct tg_tokenizer {
    tg_tokenizer_kind kind;
    tg_pretokenizer pre;
    char *bytes;   /* every token's bytes, one after the other */
    tg_str *texts; /* per id, decoded to what it stands for */
    uint8_t *types;
    float *scores;
    size_t len;
    tg_vocab_index words;    /* what plain text may become */
    tg_vocab_index specials; /* control and user-defined */
    uint32_t special_lengths[TG_SPECIAL_LENGTHS_MAX]; /* descending */
    size_t special_lengths_len;
    bool special_first[256]; /* bytes that a special token begins with */
    tg_merge_slot *merges;
    size_t merges_mask;
    uint32_t byte_ids[256]; /* or TG_TOKEN_NONE */
    uint32_t bos, eos, unk;
    bool add_bos, add_eos, add_space_prefix;
    bool cased;     /* WordPiece: case and accents are kept */
    bool hashes;    /* WordPiece: spelled with ## rather than U+2581 */
    size_t longest; /* bytes of the longest plain token */
};

uint32_t tg_vocab_find(const tg_tokenizer *tokenizer, const tg_vocab_index *index, tg_str text);

/* BPE's vocabulary spells bytes as printable characters: the byte a code point stands for, or
 * -1. */
int tg_bpe_byte_of(uint32_t point);
int tg_bpe_load_merges(tg_tokenizer *tokenizer, const tg_tokenizer_conf *conf, tg_error *err);

/* WordPiece for one fragment without special tokens. 0, -ENOMEM or the buffers' error. */
int tg_wordpiece_encode(const tg_tokenizer *tokenizer, tg_str text, tg_token_list *tokens);

/* One run of the greedy pairwise joining that both families share. */
typedef struct tg_merger tg_merger;
tg_merger *tg_merger_new(const tg_tokenizer *tokenizer);
tg_merger *tg_merger_free(tg_merger *merger);
int tg_merger_run(tg_merger *merger, tg_str word, tg_token_list *tokens); /* 0 or -ENOMEM */

#endif
