/* WordPiece, as BERT has it: normalise, cut at white space and around punctuation and ideographs,
 * then take the longest piece of the vocabulary again and again; a word that can't be made is
 * unknown. */
#include "libs/tokenizer/internal.h"
#include "libs/tokenizer/unicode.h"

#include <stdlib.h>

/* The blocks BERT calls Chinese: ideographs, not kana or hangul. */
static bool is_ideograph(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_punctuation(uint32_t c)
{
    if (c < 128)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
               (c >= 123 && c <= 126);
    return tg_unicode_class_of(c) == TG_UNICODE_PUNCTUATION;
}

static int add_point(tg_buf *out, uint32_t point)
{
    char bytes[4];
    return tg_buf_add(out, bytes, tg_unicode_write(point, bytes));
}

/* Controls, U+FFFD and bytes that are no UTF-8 go; what stands alone gets spaces around it. Done on
 * the text as written: a compatibility ideograph stands alone even if its canonical form would
 * not. */
static int clean(tg_str text, tg_buf *out)
{
    int rc = 0;
    for (size_t at = 0; at < text.len && rc == 0;) {
        uint32_t c;
        at += tg_unicode_next(text.data + at, text.len - at, &c);
        tg_unicode_class kind = tg_unicode_class_of(c);
        if (c == '\t' || c == '\n' || c == '\r')
            rc = tg_buf_add_char(out, ' ');
        else if (c == 0 || c == TG_UNICODE_INVALID || c == 0x85 || c == 0x0b || c == 0x0c ||
                 kind == TG_UNICODE_CONTROL)
            continue;
        else if (kind == TG_UNICODE_SPACE)
            rc = tg_buf_add_char(out, ' ');
        else if (is_ideograph(c)) {
            rc = tg_buf_add_char(out, ' ');
            if (rc == 0)
                rc = add_point(out, c);
            if (rc == 0)
                rc = tg_buf_add_char(out, ' ');
        } else
            rc = add_point(out, c);
    }
    return rc;
}

static int fold(tg_buf *text) /* lower case without accents */
{
    uint32_t *points;
    size_t len;
    int rc = tg_unicode_nfd(tg_buf_str(text), &points, &len);
    if (rc < 0)
        return rc;
    tg_buf_clear(text);
    for (size_t i = 0; i < len && rc == 0; i++)
        if (points[i] < 128 || tg_unicode_class_of(points[i]) != TG_UNICODE_MARK)
            rc = add_point(text, tg_unicode_lower(points[i]));
    free(points);
    return rc;
}

/* `word` begins with the space that the vocabulary marks a word's first piece with. */
static int add_word(const tg_tokenizer *tokenizer, tg_str word, size_t chars, tg_token_list *tokens)
{
    size_t first = tokens->len;
    bool known = chars <= TG_WORDPIECE_CHARS_MAX;
    for (size_t at = 0; known && at < word.len;) {
        size_t end = word.len - at > tokenizer->longest ? at + tokenizer->longest : word.len;
        uint32_t id = TG_TOKEN_NONE;
        for (; end > at; end--) {
            id = tg_vocab_find(tokenizer, &tokenizer->words, (tg_str){word.data + at, end - at});
            if (id != TG_TOKEN_NONE)
                break;
        }
        known = id != TG_TOKEN_NONE;
        int rc = known ? tg_token_list_add(tokens, id) : 0;
        if (rc < 0)
            return rc;
        at = end;
    }
    if (known)
        return 0;
    tokens->len = first;
    return tokenizer->unk == TG_TOKEN_NONE ? 0 : tg_token_list_add(tokens, tokenizer->unk);
}

static int add_words(const tg_tokenizer *tokenizer, tg_str text, tg_buf *word,
                     tg_token_list *tokens)
{
    size_t chars = 0;
    int rc = 0;
    tg_buf_clear(word);
    for (size_t at = 0; at <= text.len && rc == 0;) {
        uint32_t c = ' ';
        size_t len = at < text.len ? tg_unicode_next(text.data + at, text.len - at, &c) : 1;
        bool space = tg_unicode_class_of(c) == TG_UNICODE_SPACE,
             alone = !space && is_punctuation(c);
        if ((space || alone) && chars > 0) {
            rc = add_word(tokenizer, tg_buf_str(word), chars, tokens);
            chars = 0;
        }
        if (rc == 0 && !space) {
            if (chars++ == 0) {
                tg_buf_clear(word);
                rc = tg_buf_add_char(word, ' ');
            }
            if (rc == 0)
                rc = tg_buf_add(word, text.data + at, len);
            if (rc == 0 && alone) {
                rc = add_word(tokenizer, tg_buf_str(word), 1, tokens);
                chars = 0;
            }
        }
        at += len;
    }
    return rc;
}

int tg_wordpiece_encode(const tg_tokenizer *tokenizer, tg_str text, tg_token_list *tokens)
{
    tg_buf cleaned, word;
    tg_buf_init(&cleaned, 8 * TG_TOKENIZER_TEXT_BYTES_MAX);
    tg_buf_init(&word, 8 * TG_TOKENIZER_TEXT_BYTES_MAX);
    int rc = clean(text, &cleaned);
    if (rc == 0 && !tokenizer->cased)
        rc = fold(&cleaned);
    if (rc == 0)
        rc = add_words(tokenizer, tg_buf_str(&cleaned), &word, tokens);
    tg_buf_free(&word);
    tg_buf_free(&cleaned);
    return rc;
}
