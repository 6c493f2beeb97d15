/* Text to ids: find special tokens, cut what lies between into words, join each word's symbols. */
#include "libs/tokenizer/internal.h"
#include "libs/tokenizer/unicode.h"

#include <errno.h>
#include <string.h>

typedef struct encoder {
    const tg_tokenizer *tokenizer;
    tg_merger *merger;
    tg_token_list *tokens;
    tg_buf scratch; /* the fragment as the vocabulary has it: SentencePiece its spaces, qwen2 NFC */
} encoder;

/* The longest special token at `at`. Control tokens must end at or before `trusted_end`, the end of
 * the trusted span that `at` is in (or `at` itself, when it is in none). */
static uint32_t special_at(const tg_tokenizer *tokenizer, tg_str text, size_t at,
                           size_t trusted_end)
{
    if (!tokenizer->special_first[(unsigned char)text.data[at]])
        return TG_TOKEN_NONE;
    for (size_t i = 0; i < tokenizer->special_lengths_len; i++) {
        size_t len = tokenizer->special_lengths[i];
        if (len > text.len - at)
            continue;
        uint32_t id =
            tg_vocab_find(tokenizer, &tokenizer->specials, (tg_str){text.data + at, len});
        if (id != TG_TOKEN_NONE &&
            (tokenizer->types[id] == TG_TOKEN_USER_DEFINED || at + len <= trusted_end))
            return id;
    }
    return TG_TOKEN_NONE;
}

static int encode_sentencepiece(encoder *e, tg_str text)
{
    tg_buf_clear(&e->scratch);
    int rc = e->tokenizer->add_space_prefix ? tg_buf_add_char(&e->scratch, ' ') : 0;
    for (size_t at = 0; rc == 0 && at < text.len;) {
        uint32_t point;
        size_t len = tg_unicode_next(text.data + at, text.len - at, &point);
        rc = point == 0x2581 ? tg_buf_add_char(&e->scratch, ' ')
                             : tg_buf_add(&e->scratch, text.data + at, len);
        at += len;
    }
    return rc < 0 ? rc : tg_merger_run(e->merger, tg_buf_str(&e->scratch), e->tokens);
}

static int encode_fragment(encoder *e, tg_str text)
{
    if (text.len == 0)
        return 0;
    if (e->tokenizer->kind == TG_TOKENIZER_SENTENCEPIECE)
        return encode_sentencepiece(e, text);
    if (e->tokenizer->kind == TG_TOKENIZER_WORDPIECE)
        return tg_wordpiece_encode(e->tokenizer, text, e->tokens);
    if (e->tokenizer->pre == TG_PRETOKENIZER_QWEN2) {
        tg_buf_clear(&e->scratch);
        int nfc = tg_unicode_nfc(text, &e->scratch);
        if (nfc < 0)
            return nfc;
        text = tg_buf_str(&e->scratch);
    }
    tg_words words = tg_words_of(e->tokenizer->pre, text);
    tg_str word;
    while (tg_words_next(&words, &word)) {
        /* Llama 3 looks the whole word up before any merge. */
        uint32_t id = e->tokenizer->pre == TG_PRETOKENIZER_LLAMA3
                          ? tg_vocab_find(e->tokenizer, &e->tokenizer->words, word)
                          : TG_TOKEN_NONE;
        int rc = id != TG_TOKEN_NONE ? tg_token_list_add(e->tokens, id)
                                     : tg_merger_run(e->merger, word, e->tokens);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int encode_all(encoder *e, tg_str text, const tg_token_span *spans, size_t spans_len)
{
    size_t span = 0, span_end = spans_len ? spans[0].text.len : 0, from = 0;
    int rc = 0;
    for (size_t at = 0; at < text.len && rc == 0;) {
        while (at >= span_end)
            span_end += spans[++span].text.len;
        uint32_t id = special_at(e->tokenizer, text, at, spans[span].trusted ? span_end : at);
        if (id == TG_TOKEN_NONE) {
            at++;
            continue;
        }
        rc = encode_fragment(e, (tg_str){text.data + from, at - from});
        if (rc == 0)
            rc = tg_token_list_add(e->tokens, id);
        at += e->tokenizer->texts[id].len;
        from = at;
    }
    return rc < 0 || from == text.len
               ? rc
               : encode_fragment(e, (tg_str){text.data + from, text.len - from});
}

/* Whether the text must have more tokens than the list takes, whichever they are. WordPiece drops
 * spaces, and makes one token of a word that it does not know, however long. */
static bool is_too_long(const tg_tokenizer *tokenizer, size_t bytes, const tg_token_list *tokens)
{
    const size_t special = tokenizer->special_lengths_len ? tokenizer->special_lengths[0] : 1;
    const size_t longest = tokenizer->longest > special ? tokenizer->longest : special;
    return tokens->most > 0 && tokenizer->kind != TG_TOKENIZER_WORDPIECE &&
           bytes / longest > tokens->most - tokens->len;
}

int tg_tokenizer_encode(const tg_tokenizer *tokenizer, const tg_token_span *spans, size_t spans_len,
                        bool add_bos, tg_token_list *tokens)
{
    encoder e = {.tokenizer = tokenizer, .tokens = tokens};
    tg_buf text;
    int rc = 0;
    tg_buf_init(&text, TG_TOKENIZER_TEXT_BYTES_MAX);
    tg_buf_init(&e.scratch, 4 * TG_TOKENIZER_TEXT_BYTES_MAX);
    for (size_t i = 0; i < spans_len && rc == 0; i++)
        rc = tg_buf_add_str(&text, spans[i].text);
    if (rc < 0) {
        rc = rc == -ENOSPC ? -EMSGSIZE : rc;
        goto out;
    }
    if (is_too_long(tokenizer, text.len, tokens)) {
        rc = -EMSGSIZE;
        goto out;
    }
    e.merger = tg_merger_new(tokenizer);
    if (!e.merger) {
        rc = -ENOMEM;
        goto out;
    }
    size_t first = tokens->len;
    if (add_bos && tokenizer->add_bos)
        rc = tg_token_list_add(tokens, tokenizer->bos);
    if (rc == 0)
        rc = encode_all(&e, tg_buf_str(&text), spans, spans_len);
    if (rc == 0 && add_bos && tokenizer->add_bos && tokens->len > first + 1 &&
        tokens->ids[first + 1] == tokenizer->bos) { /* the template wrote it itself */
        tokens->len--;
        memmove(&tokens->ids[first], &tokens->ids[first + 1],
                (tokens->len - first) * sizeof(tokens->ids[0]));
    }
    if (rc == 0 && add_bos && tokenizer->add_eos)
        rc = tg_token_list_add(tokens, tokenizer->eos);
out:
    tg_merger_free(e.merger);
    tg_buf_free(&e.scratch);
    tg_buf_free(&text);
    return rc;
}
