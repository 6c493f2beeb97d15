/* Cutting text into words before BPE, as each model family's regular expression does.
 *
 *   gpt-2, default   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   smollm           every \p{N} alone, then gpt-2 on what lies between
 *   llama-bpe        (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *                     ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *   qwen2            the same with \p{N} for \p{N}{1,3}
 *
 * Pure; a word is a slice of the text, and the words together are the text.
 */
#ifndef TG_TOKENIZER_PRETOKENIZE_H
#define TG_TOKENIZER_PRETOKENIZE_H

#include "libs/base/str.h"

typedef enum tg_pretokenizer {
    TG_PRETOKENIZER_GPT2,
    TG_PRETOKENIZER_SMOLLM,
    TG_PRETOKENIZER_LLAMA3,
    TG_PRETOKENIZER_QWEN2,
} tg_pretokenizer;

int tg_pretokenizer_parse(const char *name, tg_pretokenizer *ret); /* 0 or -EINVAL */

typedef struct tg_words {
    tg_pretokenizer kind;
    tg_str text;
    size_t at;    /* where the next word begins */
    size_t limit; /* where the pattern sees the text end */
} tg_words;

tg_words tg_words_of(tg_pretokenizer kind, tg_str text);
bool tg_words_next(tg_words *words, tg_str *ret_word); /* false at the end */

#endif
