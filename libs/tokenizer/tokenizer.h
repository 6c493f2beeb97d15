/* Text to token ids and back: SentencePiece (scores and byte fallback), byte-level BPE (merges) and
 * WordPiece (BERT).
 *
 * A tokenizer is made from plain arrays, so that whoever holds a vocabulary can feed it: the engine
 * from a model file, the router from its configuration.
 *
 * Special tokens can't be forged: a control token such as <|im_end|> is recognised only inside
 * spans the caller marked trusted (its own template text). In any other span the same characters
 * become ordinary text tokens.
 *
 * Bytes that are no UTF-8 are never lost in SentencePiece and BPE: each becomes its own byte token,
 * and for the patterns it is one U+FFFD. WordPiece drops them, as it drops U+FFFD and controls.
 * Text for qwen2 is brought to NFC first, as its reference does; the other families take it as it
 * is.
 *
 * Ownership: the arrays are copied; tg_tokenizer_free releases all.
 * Threads:   a tokenizer is read-only once made and may be shared.
 * Bounds:    TG_TOKENIZER_VOCAB_MAX tokens, TG_TOKENIZER_TEXT_BYTES_MAX bytes a call. Encoding
 *            takes O(n log n) time in the length of the text, whatever the text.
 * Sources:   Sennrich et al. 2016 (BPE), Kudo and Richardson 2018 (SentencePiece), and the
 *            vocabulary fields that GGUF files carry under tokenizer.ggml.
 */
#ifndef TG_TOKENIZER_TOKENIZER_H
#define TG_TOKENIZER_TOKENIZER_H

#include "libs/base/buf.h"
#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* tokens of a vocabulary; a larger one does not load */
#define TG_TOKENIZER_VOCAB_MAX ((size_t)1 << 20)
/* one text to encode; a longer one is refused */
#define TG_TOKENIZER_TEXT_BYTES_MAX ((size_t)16 << 20)
#define TG_TOKEN_NONE UINT32_MAX

typedef struct tg_tokenizer tg_tokenizer;

typedef enum tg_tokenizer_kind {
    TG_TOKENIZER_SENTENCEPIECE,
    TG_TOKENIZER_BPE,
    TG_TOKENIZER_WORDPIECE
} tg_tokenizer_kind;

typedef enum tg_token_type { /* GGUF's numbers */
    TG_TOKEN_NORMAL = 1,
    TG_TOKEN_UNKNOWN = 2,
    TG_TOKEN_CONTROL = 3,
    TG_TOKEN_USER_DEFINED = 4, /* matched whole in any text, before anything else */
    TG_TOKEN_UNUSED = 5,
    TG_TOKEN_BYTE = 6, /* "<0x0A>" */
} tg_token_type;

typedef struct tg_tokenizer_conf {
    tg_tokenizer_kind kind;
    const tg_str *tokens; /* as files spell them: U+2581 for a space, GPT-2's byte alphabet, or,
                           * for WordPiece, U+2581 before a word's first piece or ## before the
                           * others; there [NAMES] are control tokens whatever their type */
    size_t tokens_len;
    const float *scores;  /* SentencePiece: one per token */
    const int32_t *types; /* tg_token_type, one per token; NULL: all normal */
    const tg_str *merges; /* BPE: "left right", best first */
    size_t merges_len;
    const char *pre;       /* BPE: default, gpt-2, smollm, llama-bpe or qwen2; NULL: default */
    uint32_t bos, eos, unk; /* or TG_TOKEN_NONE */
    bool add_bos;          /* the model wants BOS before a prompt; WordPiece: [CLS] */
    bool add_eos;          /* and EOS after it; WordPiece: [SEP] */
    bool add_space_prefix; /* SentencePiece: a space before the first word */
    bool cased;            /* WordPiece: keep case and accents */
} tg_tokenizer_conf;

/* 0; -EINVAL with a message; -ENOMEM. */
int tg_tokenizer_new(const tg_tokenizer_conf *conf, tg_error *err, tg_tokenizer **ret);
tg_tokenizer *tg_tokenizer_free(tg_tokenizer *tokenizer);

typedef struct tg_token_list {
    uint32_t *ids;
    size_t len, cap;
    size_t most; /* ids it takes; 0: any number */
} tg_token_list;

/* 0, -EMSGSIZE past `most`, or -ENOMEM */
int tg_token_list_add(tg_token_list *tokens, uint32_t id);
void tg_token_list_free(tg_token_list *tokens);            /* leaves an empty, usable list */

typedef struct tg_token_span {
    tg_str text;
    bool trusted; /* control tokens in it are meant */
} tg_token_span;

/* Appends the ids of the spans' concatenation: words may cross spans, control tokens may not. BOS
 * comes first when `add_bos` and the model wants it, unless the text begins with it; then EOS comes
 * last where the model wants that.
 * 0, -EMSGSIZE past TG_TOKENIZER_TEXT_BYTES_MAX or what the list takes, or -ENOMEM. A text with
 * more bytes than so many of the vocabulary's longest tokens is refused before any work, but for
 * WordPiece, where spaces and unknown words can be that long. */
int tg_tokenizer_encode(const tg_tokenizer *tokenizer, const tg_token_span *spans, size_t spans_len,
                        bool add_bos, tg_token_list *tokens);

size_t tg_tokenizer_vocab_len(const tg_tokenizer *tokenizer);
uint32_t tg_tokenizer_bos(const tg_tokenizer *tokenizer);
uint32_t tg_tokenizer_eos(const tg_tokenizer *tokenizer);
bool tg_tokenizer_is_control(const tg_tokenizer *tokenizer, uint32_t id);
/* or TG_TOKEN_NONE */
uint32_t tg_tokenizer_find_control(const tg_tokenizer *tokenizer, tg_str text);
tg_str tg_tokenizer_piece(const tg_tokenizer *tokenizer, uint32_t id); /* the bytes it stands for */

/* Ids to text, one at a time. Bytes of a character that is not complete yet wait in the state, so
 * what comes out is always whole UTF-8; bytes that can't become a character come out as U+FFFD.
 * Control tokens have no text. The state is a plain value. */
typedef struct tg_detokenizer {
    char waiting[4];
    uint8_t waiting_len;
    bool at_start; /* SentencePiece: the space put before the first word is taken off again */
} tg_detokenizer;

int tg_detokenizer_push(
    tg_detokenizer *state, const tg_tokenizer *tokenizer, uint32_t id,
    tg_buf *text); /* appends; 0, -EINVAL for an unknown id, or the buffer's error */
int tg_detokenizer_end(tg_detokenizer *state, tg_buf *text); /* what still waits becomes U+FFFD */

#endif
