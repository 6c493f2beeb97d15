/* Canonical forms: decompose, order the marks, compose. */
#include "libs/tokenizer/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Hangul syllables are arithmetic: 19 leading, 21 vowel, 28 trailing jamo (the first is none). */
#define HANGUL 0xac00u
#define HANGUL_LEN (19u * 21 * 28)
#define LEADING 0x1100u
#define VOWEL 0x1161u
#define TRAILING 0x11a7u
#define FIRST_CHANGING 0xc0u /* below, every character is its own NFD */
#define FIRST_COMBINING 0x300u /* a text of smaller code points is its own NFC */

typedef struct points {
    uint32_t *at;
    size_t len, cap;
} points;

static int add(points *to, uint32_t point)
{
    if (to->len == to->cap) {
        size_t cap = to->cap ? to->cap * 2 : 256;
        uint32_t *grown = realloc(to->at, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        to->at = grown;
        to->cap = cap;
    }
    to->at[to->len++] = point;
    return 0;
}

static const tg_unicode_decomposition *step_of(uint32_t point)
{
    size_t low = 0, high = tg_unicode_decomposition_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (tg_unicode_decompositions[mid].point < point)
            low = mid + 1;
        else
            high = mid;
    }
    const tg_unicode_decomposition *row = &tg_unicode_decompositions[low];
    return low < tg_unicode_decomposition_count && row->point == point ? row : NULL;
}

/* Only the first of a pair decomposes again, a handful of times at most. */
static int add_decomposed(points *to, uint32_t point)
{
    uint32_t tail[8];
    size_t tail_len = 0;
    int rc = 0;
    if (point >= HANGUL && point < HANGUL + HANGUL_LEN) {
        uint32_t index = point - HANGUL;
        rc = add(to, LEADING + index / (21 * 28));
        if (rc == 0)
            rc = add(to, VOWEL + index / 28 % 21);
        return rc == 0 && index % 28 ? add(to, TRAILING + index % 28) : rc;
    }
    const tg_unicode_decomposition *row = NULL;
    while (point >= FIRST_CHANGING && (row = step_of(point))) {
        point = row->first;
        if (row->second && tail_len < 8)
            tail[tail_len++] = row->second;
    }
    rc = add(to, point);
    while (rc == 0 && tail_len > 0)
        rc = add(to, tail[--tail_len]);
    return rc;
}

static uint32_t combining(uint32_t point)
{
    if (point < FIRST_COMBINING)
        return 0;
    return tg_unicode_lookup(tg_unicode_combining, tg_unicode_combining_count, point);
}

/* Stable, by combining class, in time linear in the run: text may hold a million marks. */
static void order_run(uint32_t *run, size_t len, uint32_t *scratch)
{
    size_t first[257] = {0};
    for (size_t i = 0; i < len; i++)
        first[combining(run[i]) + 1]++;
    for (size_t i = 1; i < 257; i++)
        first[i] += first[i - 1];
    for (size_t i = 0; i < len; i++)
        scratch[first[combining(run[i])]++] = run[i];
    memcpy(run, scratch, len * sizeof(*run));
}

static int order_marks(points *text)
{
    uint32_t *scratch = NULL;
    for (size_t at = 0; at < text->len; at++) {
        size_t from = at;
        while (at < text->len && combining(text->at[at]))
            at++;
        if (at - from < 2)
            continue;
        if (!scratch && !(scratch = malloc(text->len * sizeof(*scratch))))
            return -ENOMEM;
        order_run(text->at + from, at - from, scratch);
    }
    free(scratch);
    return 0;
}

int tg_unicode_nfd(tg_str text, uint32_t **ret_points, size_t *ret_len)
{
    points found = {0};
    int rc = 0;
    for (size_t at = 0; at < text.len && rc == 0;) {
        uint32_t point;
        size_t len = tg_unicode_next(text.data + at, text.len - at, &point);
        if (len == 1 && point == TG_UNICODE_INVALID)
            rc = add(&found, TG_UNICODE_BYTE + (unsigned char)text.data[at]);
        else
            rc = add_decomposed(&found, point);
        at += len;
    }
    if (rc == 0)
        rc = order_marks(&found);
    if (rc < 0) {
        free(found.at);
        return rc;
    }
    *ret_points = found.at;
    *ret_len = found.len;
    return 0;
}

static uint32_t compose(uint32_t first, uint32_t second) /* 0: they do not */
{
    if (first >= LEADING && first < LEADING + 19 && second >= VOWEL && second < VOWEL + 21)
        return HANGUL + ((first - LEADING) * 21 + (second - VOWEL)) * 28;
    if (first >= HANGUL && first < HANGUL + HANGUL_LEN && (first - HANGUL) % 28 == 0 &&
        second > TRAILING && second < TRAILING + 28)
        return first + (second - TRAILING);
    size_t low = 0, high = tg_unicode_composition_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const tg_unicode_decomposition *row =
            &tg_unicode_decompositions[tg_unicode_compositions[mid]];
        if (row->first == first && row->second == second)
            return row->point;
        if (row->first < first || (row->first == first && row->second < second))
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

static size_t compose_all(uint32_t *text, size_t len)
{
    size_t kept = 0, starter = SIZE_MAX;
    uint32_t last = 0; /* class of the last mark kept since the starter */
    for (size_t i = 0; i < len; i++) {
        uint32_t class = combining(text[i]);
        bool open = starter != SIZE_MAX && (starter + 1 == kept || (last < class && class));
        uint32_t joined = open ? compose(text[starter], text[i]) : 0;
        if (joined) {
            text[starter] = joined;
            continue;
        }
        if (class == 0)
            starter = kept;
        last = class;
        text[kept++] = text[i];
    }
    return kept;
}

int tg_unicode_nfc(tg_str text, tg_buf *out)
{
    bool plain = true; /* the bytes from which U+0300 on are led are 0xcc and up */
    for (size_t i = 0; i < text.len && plain; i++)
        plain = (unsigned char)text.data[i] < 0xcc;
    if (plain)
        return tg_buf_add_str(out, text);
    uint32_t *found;
    size_t len;
    int rc = tg_unicode_nfd(text, &found, &len);
    if (rc < 0)
        return rc;
    len = compose_all(found, len);
    for (size_t i = 0; i < len && rc == 0; i++) {
        char bytes[4] = {(char)(found[i] & 0xff)};
        size_t n = found[i] >= TG_UNICODE_BYTE ? 1 : tg_unicode_write(found[i], bytes);
        rc = tg_buf_add(out, bytes, n);
    }
    free(found);
    return rc;
}
