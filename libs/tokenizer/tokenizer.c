#include "libs/tokenizer/internal.h"
#include "libs/tokenizer/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t hash_of(tg_str text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

uint32_t tg_vocab_find(const tg_tokenizer *tokenizer, const tg_vocab_index *index, tg_str text)
{
    for (size_t at = hash_of(text);; at++) {
        uint32_t slot = index->slots[at & index->mask];
        if (slot == 0)
            return TG_TOKEN_NONE;
        if (tg_str_eq(tokenizer->texts[slot - 1], text))
            return slot - 1;
    }
}

static int index_new(size_t len, tg_vocab_index *ret)
{
    size_t slots = 16;
    while (slots < len * 2)
        slots *= 2;
    ret->slots = calloc(slots, sizeof(*ret->slots));
    ret->mask = slots - 1;
    return ret->slots ? 0 : -ENOMEM;
}

static int index_put(const tg_tokenizer *tokenizer, tg_vocab_index *index, uint32_t id,
                     tg_error *err)
{
    const tg_str text = tokenizer->texts[id];
    const size_t first = hash_of(text);
    for (size_t at = first; at - first < TG_VOCAB_PROBES_MAX; at++) {
        uint32_t *slot = &index->slots[at & index->mask];
        if (*slot == 0)
            *slot = id + 1;
        else if (!tg_str_eq(tokenizer->texts[*slot - 1], text))
            continue;
        return 0; /* of two tokens with the same text the lower id stays */
    }
    return tg_error_set(err, -EINVAL, "the texts of token %u and %d others collide", id,
                        TG_VOCAB_PROBES_MAX);
}

static bool is_special(uint8_t type)
{
    return type == TG_TOKEN_CONTROL || type == TG_TOKEN_USER_DEFINED || type == TG_TOKEN_UNKNOWN;
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* WordPiece: a word's first piece stands for itself and the space before it. */
static size_t decode_wordpiece(const tg_tokenizer *tokenizer, tg_str spelled, uint8_t type,
                               char *to)
{
    size_t skip = 0, len = 0;
    bool first = false;
    if (!is_special(type) && tokenizer->hashes) {
        first = spelled.len <= 2 || !tg_str_starts(spelled, "##");
        skip = first ? 0 : 2;
    } else if (!is_special(type) && spelled.len > 3 &&
               tg_str_starts(spelled, "\xe2\x96\x81")) {
        first = true;
        skip = 3;
    }
    if (first)
        to[len++] = ' ';
    memcpy(to + len, spelled.data + skip, spelled.len - skip);
    return len + spelled.len - skip;
}

static bool is_bracketed(tg_str spelled)
{
    return spelled.len > 2 && spelled.data[0] == '[' && spelled.data[spelled.len - 1] == ']';
}

/* Writes what a token stands for, at most one byte longer than its spelling, and returns the
 * length. */
static size_t decode_spelling(const tg_tokenizer *tokenizer, tg_str spelled, uint8_t type, char *to)
{
    size_t len = 0;
    if (tokenizer->kind == TG_TOKENIZER_WORDPIECE)
        return decode_wordpiece(tokenizer, spelled, type, to);
    if (type == TG_TOKEN_BYTE && spelled.len == 6 && memcmp(spelled.data, "<0x", 3) == 0 &&
        hex_of(spelled.data[3]) >= 0 && hex_of(spelled.data[4]) >= 0) {
        to[0] = (char)(hex_of(spelled.data[3]) * 16 + hex_of(spelled.data[4]));
        return 1;
    }
    for (size_t at = 0; at < spelled.len;) {
        uint32_t point;
        size_t step = tg_unicode_next(spelled.data + at, spelled.len - at, &point);
        if (tokenizer->kind == TG_TOKENIZER_BPE && !is_special(type)) {
            int byte = tg_bpe_byte_of(point);
            if (byte < 0) { /* not spelled in the alphabet: taken as it stands */
                memcpy(to, spelled.data, spelled.len);
                return spelled.len;
            }
            to[len++] = (char)byte;
        } else if (tokenizer->kind == TG_TOKENIZER_SENTENCEPIECE && point == 0x2581) {
            to[len++] = ' ';
        } else {
            memmove(to + len, spelled.data + at, step);
            len += step;
        }
        at += step;
    }
    return len;
}

static int load_texts(tg_tokenizer *tokenizer, const tg_tokenizer_conf *conf, tg_error *err)
{
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < conf->tokens_len; i++)
        bytes += conf->tokens[i].len + 1;
    tokenizer->bytes = malloc(bytes + 1);
    tokenizer->texts = calloc(conf->tokens_len, sizeof(*tokenizer->texts));
    tokenizer->types = calloc(conf->tokens_len, sizeof(*tokenizer->types));
    tokenizer->scores = calloc(conf->tokens_len, sizeof(*tokenizer->scores));
    if (!tokenizer->bytes || !tokenizer->texts || !tokenizer->types || !tokenizer->scores)
        return -ENOMEM;
    for (size_t i = 0; i < conf->tokens_len && !tokenizer->hashes; i++)
        tokenizer->hashes = conf->tokens[i].len > 2 && tg_str_starts(conf->tokens[i], "##");
    for (size_t i = 0; i < conf->tokens_len; i++) {
        int32_t type = conf->types ? conf->types[i] : TG_TOKEN_NORMAL;
        if (type < 0 || type > TG_TOKEN_BYTE)
            return tg_error_set(err, -EINVAL, "token %zu has the unknown type %d", i, type);
        tokenizer->types[i] = (uint8_t)(type ? type : TG_TOKEN_NORMAL);
        if (conf->kind == TG_TOKENIZER_WORDPIECE && is_bracketed(conf->tokens[i]))
            tokenizer->types[i] = TG_TOKEN_CONTROL;
        tokenizer->scores[i] = conf->scores ? conf->scores[i] : 0;
        size_t len = decode_spelling(tokenizer, conf->tokens[i], tokenizer->types[i],
                                     tokenizer->bytes + used);
        tokenizer->texts[i] = (tg_str){tokenizer->bytes + used, len};
        used += len;
    }
    return 0;
}

static int add_special(tg_tokenizer *tokenizer, uint32_t id, tg_error *err)
{
    tg_str text = tokenizer->texts[id];
    size_t at = 0, len = tokenizer->special_lengths_len;
    const int rc = index_put(tokenizer, &tokenizer->specials, id, err);
    if (rc < 0)
        return rc;
    tokenizer->special_first[(unsigned char)text.data[0]] = true;
    while (at < len && tokenizer->special_lengths[at] > text.len)
        at++;
    if (at < len && tokenizer->special_lengths[at] == text.len)
        return 0;
    if (len == TG_SPECIAL_LENGTHS_MAX)
        return tg_error_set(err, -EINVAL, "special tokens of more than %d different lengths",
                            TG_SPECIAL_LENGTHS_MAX);
    memmove(&tokenizer->special_lengths[at + 1], &tokenizer->special_lengths[at],
            (len - at) * sizeof(tokenizer->special_lengths[0]));
    tokenizer->special_lengths[at] = (uint32_t)text.len;
    tokenizer->special_lengths_len++;
    return 0;
}

static int build_indices(tg_tokenizer *tokenizer, tg_error *err)
{
    int rc = index_new(tokenizer->len, &tokenizer->words);
    if (rc == 0)
        rc = index_new(tokenizer->len, &tokenizer->specials);
    memset(tokenizer->byte_ids, 0xff, sizeof(tokenizer->byte_ids));
    for (uint32_t id = 0; rc == 0 && id < tokenizer->len; id++) {
        uint8_t type = tokenizer->types[id];
        tg_str text = tokenizer->texts[id];
        if (text.len == 0)
            continue;
        if (type == TG_TOKEN_BYTE)
            tokenizer->byte_ids[(unsigned char)text.data[0]] = id;
        else if (is_special(type))
            rc = add_special(tokenizer, id, err);
        else if (type != TG_TOKEN_UNUSED) {
            rc = index_put(tokenizer, &tokenizer->words, id, err);
            if (text.len > tokenizer->longest)
                tokenizer->longest = text.len;
        }
    }
    if (rc == 0 && tokenizer->kind == TG_TOKENIZER_BPE) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char c = (char)byte;
            tokenizer->byte_ids[byte] =
                tg_vocab_find(tokenizer, &tokenizer->words, (tg_str){&c, 1});
        }
    }
    return rc;
}

static int check_conf(const tg_tokenizer_conf *conf, tg_error *err)
{
    if (conf->tokens_len == 0 || conf->tokens_len > TG_TOKENIZER_VOCAB_MAX)
        return tg_error_set(err, -EINVAL, "a vocabulary of %zu tokens; 1 to %zu are allowed",
                            conf->tokens_len, TG_TOKENIZER_VOCAB_MAX);
    if (conf->kind == TG_TOKENIZER_SENTENCEPIECE && !conf->scores)
        return tg_error_set(err, -EINVAL, "a SentencePiece vocabulary needs scores");
    const uint32_t ids[] = {conf->bos, conf->eos, conf->unk};
    for (size_t i = 0; i < 3; i++)
        if (ids[i] != TG_TOKEN_NONE && ids[i] >= conf->tokens_len)
            return tg_error_set(err, -EINVAL, "special token id %u is not in the vocabulary of %zu",
                                ids[i], conf->tokens_len);
    return 0;
}

int tg_tokenizer_new(const tg_tokenizer_conf *conf, tg_error *err, tg_tokenizer **ret)
{
    int rc = check_conf(conf, err);
    if (rc < 0)
        return rc;
    tg_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer)
        return -ENOMEM;
    tokenizer->kind = conf->kind;
    tokenizer->len = conf->tokens_len;
    tokenizer->bos = conf->bos;
    tokenizer->eos = conf->eos;
    tokenizer->unk = conf->unk;
    tokenizer->add_bos = conf->add_bos && conf->bos != TG_TOKEN_NONE;
    tokenizer->add_eos = conf->add_eos && conf->eos != TG_TOKEN_NONE;
    tokenizer->add_space_prefix = conf->add_space_prefix;
    tokenizer->cased = conf->cased;
    const char *pre = conf->pre ? conf->pre : "default";
    if (conf->kind == TG_TOKENIZER_BPE && tg_pretokenizer_parse(pre, &tokenizer->pre) < 0)
        rc = tg_error_set(err, -EINVAL, "the pre-tokenizer '%s' is not supported; default, gpt-2, "
                          "smollm, llama-bpe and qwen2 are", pre);
    if (rc == 0)
        rc = load_texts(tokenizer, conf, err);
    if (rc == 0)
        rc = build_indices(tokenizer, err);
    if (rc == 0 && conf->kind == TG_TOKENIZER_BPE)
        rc = tg_bpe_load_merges(tokenizer, conf, err);
    if (rc < 0) {
        tg_tokenizer_free(tokenizer);
        return rc;
    }
    *ret = tokenizer;
    return 0;
}

tg_tokenizer *tg_tokenizer_free(tg_tokenizer *tokenizer)
{
    if (!tokenizer)
        return NULL;
    free(tokenizer->bytes);
    free(tokenizer->texts);
    free(tokenizer->types);
    free(tokenizer->scores);
    free(tokenizer->words.slots);
    free(tokenizer->specials.slots);
    free(tokenizer->merges);
    free(tokenizer);
    return NULL;
}

size_t tg_tokenizer_vocab_len(const tg_tokenizer *tokenizer) { return tokenizer->len; }
uint32_t tg_tokenizer_bos(const tg_tokenizer *tokenizer) { return tokenizer->bos; }
uint32_t tg_tokenizer_eos(const tg_tokenizer *tokenizer) { return tokenizer->eos; }

bool tg_tokenizer_is_control(const tg_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->len && tokenizer->types[id] == TG_TOKEN_CONTROL;
}

uint32_t tg_tokenizer_find_control(const tg_tokenizer *tokenizer, tg_str text)
{
    uint32_t id = tg_vocab_find(tokenizer, &tokenizer->specials, text);
    return tg_tokenizer_is_control(tokenizer, id) ? id : TG_TOKEN_NONE;
}

tg_str tg_tokenizer_piece(const tg_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->len ? tokenizer->texts[id] : (tg_str){NULL, 0};
}

int tg_token_list_add(tg_token_list *tokens, uint32_t id)
{
    if (tokens->most > 0 && tokens->len >= tokens->most)
        return -EMSGSIZE;
    if (tokens->len == tokens->cap) {
        size_t cap = tokens->cap ? tokens->cap * 2 : 64;
        uint32_t *ids = realloc(tokens->ids, cap * sizeof(*ids));
        if (!ids)
            return -ENOMEM;
        tokens->ids = ids;
        tokens->cap = cap;
    }
    tokens->ids[tokens->len++] = id;
    return 0;
}

void tg_token_list_free(tg_token_list *tokens)
{
    free(tokens->ids);
    *tokens = (tg_token_list){0};
}
