#include "services/inference/engine/stop.h"

#include <errno.h>
#include <string.h>

#define PIECE_BYTES 256 /* of text that comes at once; few tokens have more */

int tg_stop_init(tg_stop *stop, const tg_str *strings, size_t strings_len, tg_error *err)
{
    size_t longest = 0;
    *stop = (tg_stop){0};
    tg_buf_init(&stop->strings, TG_STOP_STRINGS_MAX * TG_STOP_BYTES_MAX);
    tg_buf_init(&stop->held, 0);
    if (strings_len > TG_STOP_STRINGS_MAX)
        return tg_error_set(err, -EINVAL, "%zu stop strings; at most %d are allowed", strings_len,
                            TG_STOP_STRINGS_MAX);
    for (size_t i = 0; i < strings_len; i++) {
        if (strings[i].len == 0 || strings[i].len > TG_STOP_BYTES_MAX)
            return tg_error_set(err, -EINVAL, "stop string %zu has %zu bytes; 1 to %d are allowed",
                                i, strings[i].len, TG_STOP_BYTES_MAX);
        int rc = tg_buf_add_str(&stop->strings, strings[i]);
        if (rc < 0)
            return rc;
        stop->lengths[stop->len++] = (uint16_t)strings[i].len;
        longest = longest > strings[i].len ? longest : strings[i].len;
    }
    return strings_len > 0 ? tg_buf_reserve(&stop->held, longest + PIECE_BYTES) : 0;
}

void tg_stop_free(tg_stop *stop)
{
    tg_buf_free(&stop->strings);
    tg_buf_free(&stop->held);
}

/* Where the first complete stop string in `text` begins (*ret_hit); without one, where the first
 * that the end of the text cuts off begins; text.len when there is neither. */
static size_t first_stop(const tg_stop *stop, tg_str text, bool *ret_hit)
{
    size_t begun = text.len;
    *ret_hit = false;
    for (size_t at = 0; at < text.len; at++) {
        const char *string = stop->strings.data;
        for (size_t i = 0; i < stop->len; string += stop->lengths[i++]) {
            size_t left = text.len - at, len = stop->lengths[i];
            if (memcmp(text.data + at, string, left < len ? left : len) != 0)
                continue;
            if (left >= len) {
                *ret_hit = true;
                return at;
            }
            begun = begun < at ? begun : at;
        }
    }
    return begun;
}

tg_buf *tg_stop_place(tg_stop *stop, tg_buf *out) { return stop->len > 0 ? &stop->held : out; }

int tg_stop_look(tg_stop *stop, tg_buf *out, bool *ret_hit)
{
    *ret_hit = false;
    if (stop->held.len == 0)
        return 0;
    size_t safe = first_stop(stop, tg_buf_str(&stop->held), ret_hit);
    int rc = tg_buf_add(out, stop->held.data, safe);
    if (*ret_hit)
        tg_buf_clear(&stop->held);
    else
        tg_buf_consume(&stop->held, safe);
    return rc;
}

int tg_stop_push(tg_stop *stop, tg_str text, tg_buf *out, bool *ret_hit)
{
    *ret_hit = false;
    int rc = tg_buf_add_str(tg_stop_place(stop, out), text);
    return rc < 0 ? rc : tg_stop_look(stop, out, ret_hit);
}

int tg_stop_end(tg_stop *stop, tg_buf *out)
{
    int rc = tg_buf_add_str(out, tg_buf_str(&stop->held));
    tg_buf_clear(&stop->held);
    return rc;
}
