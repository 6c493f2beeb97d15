#include "libs/tokenizer/pretokenize.h"

#include "libs/tokenizer/unicode.h"

#include <errno.h>

int tg_pretokenizer_parse(const char *name, tg_pretokenizer *ret)
{
    static const struct {
        const char *name;
        tg_pretokenizer kind;
    } known[] = {
        {"default", TG_PRETOKENIZER_GPT2},     {"gpt-2", TG_PRETOKENIZER_GPT2},
        {"gpt2", TG_PRETOKENIZER_GPT2},        {"smollm", TG_PRETOKENIZER_SMOLLM},
        {"llama-bpe", TG_PRETOKENIZER_LLAMA3}, {"llama3", TG_PRETOKENIZER_LLAMA3},
        {"qwen2", TG_PRETOKENIZER_QWEN2},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (tg_str_is(tg_str_of(name), known[i].name)) {
            *ret = known[i].kind;
            return 0;
        }
    }
    return -EINVAL;
}

/* The character at `at`: its class and length, or length 0 at the end. */
typedef struct character {
    tg_unicode_class kind;
    size_t len;
    uint32_t point;
} character;

static character look(const tg_words *words, size_t at)
{
    character c = {TG_UNICODE_OTHER, 0, 0};
    if (at >= words->limit)
        return c;
    c.len = tg_unicode_next(words->text.data + at, words->limit - at, &c.point);
    c.kind = tg_unicode_classify(c.point);
    return c;
}

static size_t run_of(const tg_words *words, size_t at, tg_unicode_class kind, size_t most)
{
    size_t from = at;
    for (size_t n = 0; n < most; n++) {
        character c = look(words, at);
        if (c.len == 0 || c.kind != kind)
            break;
        at += c.len;
    }
    return at - from;
}

static size_t contraction(const tg_words *words, size_t at, bool any_case)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (words->text.data[at] != '\'')
        return 0;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t len = 0;
        for (; endings[i][len]; len++) {
            if (at + 1 + len >= words->limit)
                break;
            char c = words->text.data[at + 1 + len];
            if (any_case && c >= 'A' && c <= 'Z')
                c = (char)(c | 32);
            if (c != endings[i][len])
                break;
        }
        if (!endings[i][len])
            return 1 + len;
    }
    return 0;
}

/* \s+(?!\S)|\s+ : a run of spaces leaves its last one to the word that follows, if it has two. */
static size_t spaces(const tg_words *words, size_t at)
{
    size_t len = 0, last = 0;
    for (character c; (c = look(words, at + len)).len && c.kind == TG_UNICODE_SPACE; len += c.len)
        last = c.len;
    if (at + len < words->limit && len > last)
        len -= last;
    return len;
}

static size_t gpt2_word(const tg_words *words, size_t at)
{
    size_t len = contraction(words, at, false);
    if (len)
        return len;
    character c = look(words, at);
    size_t blank = 0;
    if (c.point == ' ') {
        character after = look(words, at + 1);
        if (after.len && after.kind != TG_UNICODE_SPACE) {
            blank = 1;
            c = after;
        }
    }
    if (c.kind == TG_UNICODE_SPACE)
        return spaces(words, at);
    return blank + run_of(words, at + blank, c.kind, SIZE_MAX);
}

/* \s*[\r\n]+ : white space up to its last line end, or 0 if there is none in it. */
static size_t line_ends(const tg_words *words, size_t at)
{
    size_t len = 0, upto = 0;
    for (character c; (c = look(words, at + len)).len && c.kind == TG_UNICODE_SPACE;) {
        len += c.len;
        if (c.point == '\r' || c.point == '\n')
            upto = len;
    }
    return upto;
}

static size_t llama3_word(const tg_words *words, size_t at, size_t digits)
{
    size_t len = contraction(words, at, true);
    if (len)
        return len;
    character c = look(words, at);
    character after = look(words, at + c.len);
    if (c.kind == TG_UNICODE_LETTER)
        return run_of(words, at, TG_UNICODE_LETTER, SIZE_MAX);
    if (c.kind != TG_UNICODE_NUMBER && c.point != '\r' && c.point != '\n' && after.len &&
        after.kind == TG_UNICODE_LETTER)
        return c.len + run_of(words, at + c.len, TG_UNICODE_LETTER, SIZE_MAX);
    if (c.kind == TG_UNICODE_NUMBER)
        return run_of(words, at, TG_UNICODE_NUMBER, digits);
    size_t blank = c.point == ' ' && after.len && after.kind == TG_UNICODE_OTHER;
    if (blank || c.kind == TG_UNICODE_OTHER) {
        len = blank + run_of(words, at + blank, TG_UNICODE_OTHER, SIZE_MAX);
        while (at + len < words->limit &&
               (words->text.data[at + len] == '\r' || words->text.data[at + len] == '\n'))
            len++;
        return len;
    }
    len = line_ends(words, at);
    return len ? len : spaces(words, at);
}

/* SmolLM: the pattern sees the text end before every number, and a number is a word by itself. */
static size_t smollm_word(tg_words *words)
{
    if (words->at == words->limit) {
        size_t at = words->at;
        words->limit = words->text.len;
        character c = look(words, at);
        if (c.kind == TG_UNICODE_NUMBER) {
            words->limit = at + c.len;
            return c.len;
        }
        while ((c = look(words, at)).len && c.kind != TG_UNICODE_NUMBER)
            at += c.len;
        words->limit = at;
    }
    return gpt2_word(words, words->at);
}

tg_words tg_words_of(tg_pretokenizer kind, tg_str text)
{
    return (tg_words){kind, text, 0, kind == TG_PRETOKENIZER_SMOLLM ? 0 : text.len};
}

bool tg_words_next(tg_words *words, tg_str *ret_word)
{
    size_t len = 0;
    if (words->at >= words->text.len)
        return false;
    switch (words->kind) {
    case TG_PRETOKENIZER_GPT2:
        len = gpt2_word(words, words->at);
        break;
    case TG_PRETOKENIZER_SMOLLM:
        len = smollm_word(words);
        break;
    case TG_PRETOKENIZER_LLAMA3:
        len = llama3_word(words, words->at, 3);
        break;
    case TG_PRETOKENIZER_QWEN2:
        len = llama3_word(words, words->at, 1);
        break;
    }
    *ret_word = (tg_str){words->text.data + words->at, len};
    words->at += len;
    return true;
}
