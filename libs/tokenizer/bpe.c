/* What only byte-level BPE needs: GPT-2's alphabet of bytes, and the table of merges. */
#include "libs/tokenizer/internal.h"
#include "libs/tokenizer/unicode.h"

#include <errno.h>
#include <stdlib.h>

/* Printable Latin-1 stands for itself; the other 68 bytes, in order, for U+0100 and up. */
static bool is_printable(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
           (byte >= 0xae && byte <= 0xff);
}

int tg_bpe_byte_of(uint32_t point)
{
    if (point < 256)
        return is_printable(point) ? (int)point : -1;
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++)
        if (!is_printable(byte) && next++ == point)
            return (int)byte;
    return -1;
}

/* The id of a merge's half, spelled in the alphabet. */
static uint32_t find_spelled(const tg_tokenizer *tokenizer, tg_str spelled, char *bytes,
                             size_t size, size_t *io_len)
{
    size_t from = *io_len;
    for (size_t at = 0; at < spelled.len;) {
        uint32_t point;
        at += tg_unicode_next(spelled.data + at, spelled.len - at, &point);
        int byte = tg_bpe_byte_of(point);
        if (byte < 0 || *io_len >= size)
            return TG_TOKEN_NONE;
        bytes[(*io_len)++] = (char)byte;
    }
    return tg_vocab_find(tokenizer, &tokenizer->words, (tg_str){bytes + from, *io_len - from});
}

static int put_merge(tg_tokenizer *tokenizer, tg_merge_slot merge, tg_error *err)
{
    const uint64_t hash = ((uint64_t)merge.left << 32 | merge.right) * 0x9e3779b97f4a7c15u;
    const size_t first = (size_t)(hash >> 32);
    for (size_t at = first; at - first < TG_VOCAB_PROBES_MAX; at++) {
        tg_merge_slot *slot = &tokenizer->merges[at & tokenizer->merges_mask];
        if (slot->left == TG_TOKEN_NONE)
            *slot = merge;
        if (slot->left == merge.left && slot->right == merge.right)
            return 0; /* of a pair listed twice the first, better rank stays */
    }
    return tg_error_set(err, -EINVAL, "merge %u and %d others collide", merge.rank,
                        TG_VOCAB_PROBES_MAX);
}

int tg_bpe_load_merges(tg_tokenizer *tokenizer, const tg_tokenizer_conf *conf, tg_error *err)
{
    size_t slots = 16;
    while (slots < conf->merges_len * 2)
        slots *= 2;
    tokenizer->merges = malloc(slots * sizeof(*tokenizer->merges));
    if (!tokenizer->merges)
        return -ENOMEM;
    tokenizer->merges_mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        tokenizer->merges[i].left = TG_TOKEN_NONE;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < conf->merges_len; i++) {
        tg_str line = conf->merges[i];
        size_t cut = 0, len = 0;
        while (cut < line.len && line.data[cut] != ' ')
            cut++;
        if (cut == 0 || cut + 1 >= line.len)
            return tg_error_set(err, -EINVAL, "merge %zu is not two parts with a space between", i);
        char bytes[1024];
        tg_merge_slot merge = {.rank = (uint32_t)i};
        merge.left = find_spelled(tokenizer, (tg_str){line.data, cut}, bytes, sizeof(bytes), &len);
        merge.right = find_spelled(tokenizer, (tg_str){line.data + cut + 1, line.len - cut - 1},
                                   bytes, sizeof(bytes), &len);
        merge.joined = tg_vocab_find(tokenizer, &tokenizer->words, (tg_str){bytes, len});
        /* A merge of tokens that the vocabulary lacks can never apply. */
        if (merge.left != TG_TOKEN_NONE && merge.right != TG_TOKEN_NONE &&
            merge.joined != TG_TOKEN_NONE)
            rc = put_merge(tokenizer, merge, err);
    }
    return rc;
}
