#include "libs/money/money.h"

#include "libs/base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECIMALS 12    /* of a dollar, in pico-dollars */
#define VERSION_MAX 32 /* with the terminator, as the event stores it */

/* The entries of one target, by ascending date. */
typedef struct dated {
    tg_price *prices;
    size_t count;
} dated;

struct tg_price_book {
    char version[VERSION_MAX];
    tg_map *schedules; /* target id → dated */
};

tg_money_words tg_money_split(tg_picousd_sum sum)
{
    return (tg_money_words){.high = (int64_t)(sum >> 64), .low = (uint64_t)sum};
}

tg_picousd_sum tg_money_join(tg_money_words words)
{
    unsigned __int128 bits = (unsigned __int128)(uint64_t)words.high << 64 | words.low;
    return (tg_picousd_sum)bits;
}

/* Digits of `text` from *at on, appended to *value. Returns how many, or -ERANGE. */
static int take_digits(tg_str text, size_t *at, __int128 *value)
{
    int count = 0;
    for (; *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9'; ++*at, count++) {
        *value = *value * 10 + (text.data[*at] - '0');
        if (*value > (__int128)INT64_MAX + 1)
            return -ERANGE;
    }
    return count;
}

int tg_money_parse_usd(tg_str text, tg_picousd *ret)
{
    size_t at = 0;
    __int128 value = 0;
    int decimals = 0;
    bool negative = text.len > 0 && text.data[0] == '-';
    if (negative)
        at++;
    int whole = take_digits(text, &at, &value);
    if (whole <= 0)
        return whole < 0 ? whole : -EINVAL;
    if (at < text.len && text.data[at] == '.') {
        at++;
        decimals = take_digits(text, &at, &value);
        if (decimals < 0)
            return decimals;
        if (decimals == 0 || decimals > DECIMALS)
            return -EINVAL;
    }
    if (at != text.len)
        return -EINVAL;
    for (; decimals < DECIMALS; decimals++)
        value *= 10;
    if (negative)
        value = -value;
    if (value > INT64_MAX || value < INT64_MIN)
        return -ERANGE;
    *ret = (tg_picousd)value;
    return 0;
}

void tg_money_format_usd(tg_picousd_sum sum, char ret[TG_MONEY_TEXT])
{
    unsigned __int128 rest = (unsigned __int128)sum;
    if (sum < 0)
        rest = -rest;
    char text[TG_MONEY_TEXT];
    size_t at = sizeof text;
    text[--at] = '\0';
    bool significant = false;
    for (int digit = 0; digit < DECIMALS || rest > 0; digit++) {
        char c = (char)('0' + (int)(rest % 10));
        rest /= 10;
        significant = significant || c != '0' || digit >= DECIMALS - 2;
        if (significant)
            text[--at] = c;
        if (digit == DECIMALS - 1) {
            text[--at] = '.';
            if (rest == 0)
                text[--at] = '0';
        }
    }
    text[--at] = '$';
    if (sum < 0)
        text[--at] = '-';
    memcpy(ret, text + at, sizeof text - at);
}

tg_price_book *tg_price_book_new(const char *version)
{
    tg_price_book *book = calloc(1, sizeof *book);
    if (!book)
        return NULL;
    tg_str_copy(book->version, sizeof book->version, tg_str_of(version));
    book->schedules = tg_map_new();
    return book->schedules ? book : tg_price_book_free(book);
}

tg_price_book *tg_price_book_free(tg_price_book *book)
{
    if (!book)
        return NULL;
    if (book->schedules) {
        tg_str key;
        void *value;
        for (size_t at = 0; tg_map_next(book->schedules, &at, &key, &value);) {
            free(((dated *)value)->prices);
            free(value);
        }
    }
    tg_map_free(book->schedules);
    free(book);
    return NULL;
}

const char *tg_price_book_version(const tg_price_book *book) { return book->version; }

/* How many entries of the schedule are in force at or before that time. */
static size_t count_until(const dated *schedule, uint64_t at_unix_ns)
{
    size_t low = 0, high = schedule->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (schedule->prices[middle].effective_unix_ns <= at_unix_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static dated *schedule_of(tg_price_book *book, tg_str target)
{
    dated *found = tg_map_get(book->schedules, target);
    if (found)
        return found;
    found = calloc(1, sizeof *found);
    if (found && tg_map_put(book->schedules, target, found, NULL) < 0) {
        free(found);
        found = NULL;
    }
    return found;
}

int tg_price_book_add(tg_price_book *book, const char *target, const tg_price *price)
{
    if (price->input < 0 || price->cache_read < 0 || price->cache_write_5m < 0 ||
        price->cache_write_1h < 0 || price->output < 0 || price->per_request < 0)
        return -EINVAL;
    dated *schedule = schedule_of(book, tg_str_of(target));
    if (!schedule)
        return -ENOMEM;
    size_t at = count_until(schedule, price->effective_unix_ns);
    if (at > 0 && schedule->prices[at - 1].effective_unix_ns == price->effective_unix_ns)
        return -EEXIST;
    tg_price *prices = realloc(schedule->prices, (schedule->count + 1) * sizeof *prices);
    if (!prices)
        return -ENOMEM;
    memmove(prices + at + 1, prices + at, (schedule->count - at) * sizeof *prices);
    prices[at] = *price;
    schedule->prices = prices;
    schedule->count++;
    return 0;
}

const tg_price *tg_price_book_find(const tg_price_book *book, const char *target,
                                   uint64_t at_unix_ns)
{
    const dated *schedule = tg_map_get(book->schedules, tg_str_of(target));
    size_t count = schedule ? count_until(schedule, at_unix_ns) : 0;
    return count > 0 ? &schedule->prices[count - 1] : NULL;
}

/* sum += tokens × price. A product can need 127 bits, and six of them more than __int128 holds. */
static bool add_product(tg_picousd_sum *sum, uint64_t tokens, tg_picousd price)
{
    tg_picousd_sum product = (tg_picousd_sum)tokens * price;
    return !__builtin_add_overflow(*sum, product, sum);
}

int tg_price_of(const tg_price_book *book, const char *target, uint64_t at_unix_ns,
                const tg_tokens *tokens, tg_picousd *ret)
{
    const tg_price *price = tg_price_book_find(book, target, at_unix_ns);
    if (!price)
        return -ENOENT;
    tg_picousd_sum sum = price->per_request;
    bool fits = add_product(&sum, tokens->input, price->input) &&
                add_product(&sum, tokens->cache_read, price->cache_read) &&
                add_product(&sum, tokens->cache_write_5m, price->cache_write_5m) &&
                add_product(&sum, tokens->cache_write_1h, price->cache_write_1h) &&
                add_product(&sum, tokens->output, price->output);
    if (!fits || sum > INT64_MAX)
        return -ERANGE;
    *ret = (tg_picousd)sum;
    return 0;
}
