/* Encodes texts with a vocabulary, both from standard input, for comparison with other tokenizers.
 *
 * Input, little-endian: u32 kind, flags (1 space prefix, 2 cased, 4 BOS, 8 EOS), bos, eos, unk; the
 * pre-tokenizer's name; u32 count of tokens, each a string, f32 score and i32 type; u32 count of
 * merges, each a string; then texts until the end. A string is u32 length and bytes.
 * Output per text: u32 count and the ids, then as a string what incremental detokenisation gives.
 * Exits 1 with a message when a piece of that is not whole UTF-8. */
#include "libs/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static bool get(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

static uint32_t get_u32(void)
{
    uint32_t value = 0;
    return get(&value, sizeof(value)) ? value : 0;
}

static bool get_str(tg_str *ret)
{
    uint32_t len;
    if (!get(&len, sizeof(len)))
        return false;
    char *data = calloc((size_t)len + 1, 1);
    if (!data || !get(data, len)) {
        free(data);
        return false;
    }
    *ret = (tg_str){data, len};
    return true;
}

static void drop_str(tg_str text) { free((void *)(uintptr_t)text.data); }

static int load(tg_tokenizer **ret)
{
    tg_tokenizer_conf conf = {.kind = (tg_tokenizer_kind)get_u32()};
    uint32_t flags = get_u32();
    conf.add_space_prefix = flags & 1;
    conf.cased = flags & 2;
    conf.add_bos = flags & 4;
    conf.add_eos = flags & 8;
    conf.bos = get_u32();
    conf.eos = get_u32();
    conf.unk = get_u32();
    tg_str pre = {NULL, 0};
    get_str(&pre);
    conf.pre = pre.len ? pre.data : NULL;
    conf.tokens_len = get_u32();
    tg_str *tokens = calloc(conf.tokens_len + 1, sizeof(*tokens));
    float *scores = calloc(conf.tokens_len + 1, sizeof(*scores));
    int32_t *types = calloc(conf.tokens_len + 1, sizeof(*types));
    for (size_t i = 0; i < conf.tokens_len; i++)
        if (!get_str(&tokens[i]) || !get(&scores[i], 4) || !get(&types[i], 4))
            return 1;
    conf.merges_len = get_u32();
    tg_str *merges = calloc(conf.merges_len + 1, sizeof(*merges));
    for (size_t i = 0; i < conf.merges_len; i++)
        if (!get_str(&merges[i]))
            return 1;
    conf.tokens = tokens;
    conf.scores = scores;
    conf.types = types;
    conf.merges = merges;
    tg_error err = {""};
    int rc = tg_tokenizer_new(&conf, &err, ret);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    for (size_t i = 0; i < conf.tokens_len; i++)
        drop_str(tokens[i]);
    for (size_t i = 0; i < conf.merges_len; i++)
        drop_str(merges[i]);
    drop_str(pre);
    free(tokens);
    free(scores);
    free(types);
    free(merges);
    return rc < 0;
}

static int answer(const tg_tokenizer *tokenizer, tg_str text, tg_token_list *ids, tg_buf *out)
{
    tg_detokenizer state = {.at_start = true};
    tg_token_span span = {text, false};
    ids->len = 0;
    tg_buf_clear(out);
    int rc = tg_tokenizer_encode(tokenizer, &span, 1, true, ids);
    for (size_t i = 0; i < ids->len && rc == 0; i++) {
        size_t before = out->len;
        rc = tg_detokenizer_push(&state, tokenizer, ids->ids[i], out);
        if (rc == 0 && !tg_utf8_valid(out->data + before, out->len - before)) {
            fprintf(stderr, "token %u of a text came out as part of a character\n", ids->ids[i]);
            return 1;
        }
    }
    if (rc == 0)
        rc = tg_detokenizer_end(&state, out);
    uint32_t count = (uint32_t)ids->len, len = (uint32_t)out->len;
    fwrite(&count, 4, 1, stdout);
    if (count > 0) /* before the first token there is no array */
        fwrite(ids->ids, 4, count, stdout);
    fwrite(&len, 4, 1, stdout);
    if (len > 0)
        fwrite(out->data, 1, len, stdout);
    return rc < 0;
}

int main(void)
{
    tg_tokenizer *tokenizer = NULL;
    tg_token_list ids = {0};
    tg_buf out;
    tg_str text;
    tg_buf_init(&out, 0);
    int rc = load(&tokenizer);
    while (rc == 0 && get_str(&text)) {
        rc = answer(tokenizer, text, &ids, &out);
        drop_str(text);
    }
    tg_buf_free(&out);
    tg_token_list_free(&ids);
    tg_tokenizer_free(tokenizer);
    return rc;
}
