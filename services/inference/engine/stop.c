#include "services/inference/engine/stop.h"

#include <errno.h>
#include <string.h>

int tg_stop_init(tg_stop *stop, const tg_str *strings, size_t strings_len, tg_error *err)
{
    *stop = (tg_stop){0};
    tg_buf_init(&stop->strings, TG_STOP_STRINGS_MAX * TG_STOP_BYTES_MAX);
    tg_buf_init(&stop->held, 0);
    if (strings_len > TG_STOP_STRINGS_MAX)
        return tg_error_set(err, -EINVAL, "%zu stop strings; at most %d are allowed", strings_len,
                            TG_STOP_STRINGS_MAX);
    for (size_t i = 0; i < strings_len; i++) {
        if (strings[i].len == 0 || strings[i].len > TG_STOP_BYTES_MAX)
            return tg_error_set(err, -EINVAL, "stop string %zu has %zu bytes; 1 to %d are allowed", i,
                                strings[i].len, TG_STOP_BYTES_MAX);
        int rc = tg_buf_add_str(&stop->strings, strings[i]);
        if (rc < 0)
            return rc;
        stop->lengths[stop->len++] = (uint16_t)strings[i].len;
    }
    return 0;
}

void tg_stop_free(tg_stop *stop)
{
    tg_buf_free(&stop->strings);
    tg_buf_free(&stop->held);
}

/* Where the first complete stop string in `text` begins (*ret_hit); without one, where the first that
 * the end of the text cuts off begins; text.len when there is neither. */
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

int tg_stop_push(tg_stop *stop, tg_str text, tg_buf *out, bool *ret_hit)
{
    *ret_hit = false;
    if (stop->len == 0)
        return tg_buf_add_str(out, text);
    int rc = tg_buf_add_str(&stop->held, text);
    if (rc < 0 || stop->held.len == 0)
        return rc;
    size_t safe = first_stop(stop, tg_buf_str(&stop->held), ret_hit);
    rc = tg_buf_add(out, stop->held.data, safe);
    if (*ret_hit)
        tg_buf_clear(&stop->held);
    else
        tg_buf_consume(&stop->held, safe);
    return rc;
}

int tg_stop_end(tg_stop *stop, tg_buf *out)
{
    int rc = tg_buf_add_str(out, tg_buf_str(&stop->held));
    tg_buf_clear(&stop->held);
    return rc;
}
