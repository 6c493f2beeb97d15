#include "libs/tokenizer/internal.h"
#include "libs/tokenizer/unicode.h"

#include <errno.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* Appends bytes that hold whole characters and, between them, bytes that are none. */
static int add_clean(tg_buf *text, const char *bytes, size_t len)
{
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        uint32_t point;
        size_t step = tg_unicode_next(bytes + at, len - at, &point);
        bool broken = step == 1 && (bytes[at] & 0x80);
        rc = broken ? tg_buf_add(text, replacement, 3) : tg_buf_add(text, bytes + at, step);
        at += step;
    }
    return rc;
}

int tg_detokenizer_push(tg_detokenizer *state, const tg_tokenizer *tokenizer, uint32_t id,
                        tg_buf *text)
{
    if (id >= tokenizer->len)
        return -EINVAL;
    if (tokenizer->types[id] == TG_TOKEN_CONTROL)
        return 0;
    tg_str piece = tokenizer->texts[id];
    if (state->at_start &&
        (tokenizer->kind == TG_TOKENIZER_WORDPIECE || tokenizer->add_space_prefix) &&
        tokenizer->kind != TG_TOKENIZER_BPE && piece.len > 0 && piece.data[0] == ' ')
        piece = (tg_str){piece.data + 1, piece.len - 1};
    state->at_start = false;
    /* Finish the character that waits, byte by byte, then take the rest of the piece at once. */
    while (state->waiting_len > 0 && piece.len > 0) {
        state->waiting[state->waiting_len++] = piece.data[0];
        piece = (tg_str){piece.data + 1, piece.len - 1};
        size_t whole = tg_utf8_whole(state->waiting, state->waiting_len);
        int rc = add_clean(text, state->waiting, whole);
        if (rc < 0)
            return rc;
        memmove(state->waiting, state->waiting + whole, state->waiting_len - whole);
        state->waiting_len = (uint8_t)(state->waiting_len - whole);
    }
    size_t whole = tg_utf8_whole(piece.data, piece.len);
    int rc = add_clean(text, piece.data, whole);
    if (rc < 0)
        return rc;
    if (piece.len > whole) {
        memcpy(state->waiting, piece.data + whole, piece.len - whole);
        state->waiting_len = (uint8_t)(piece.len - whole);
    }
    return 0;
}

int tg_detokenizer_end(tg_detokenizer *state, tg_buf *text)
{
    int rc = state->waiting_len ? tg_buf_add(text, replacement, 3) : 0;
    state->waiting_len = 0;
    return rc;
}
