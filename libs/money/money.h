/* Money: pico-dollars (10^-12 USD) in integers, from the price book to the invoice.
 *
 * $0.15 per million tokens is 150,000 pico-dollars a token, so every published per-token price is a
 * whole number. One event fits int64 (up to $9.2 million); sums are __int128. Nothing here is
 * floating point. Threads: pure functions and immutable books.
 */
#ifndef TG_MONEY_MONEY_H
#define TG_MONEY_MONEY_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_PICOUSD_PER_USD INT64_C(1000000000000)

typedef int64_t tg_picousd;
typedef __int128 tg_picousd_sum;

/* A sum in two words, as SQLite and protobuf store it: value = high * 2^64 + low, two's
 * complement. */
typedef struct tg_money_words {
    int64_t high;
    uint64_t low;
} tg_money_words;

tg_money_words tg_money_split(tg_picousd_sum sum);
tg_picousd_sum tg_money_join(tg_money_words words);

/* "0.15" USD → 150000000000. At most 12 decimals, no exponent. 0, -EINVAL or -ERANGE. */
int tg_money_parse_usd(tg_str text, tg_picousd *ret);

/* "$0.00001234", trailing zeros cut but at least two decimals; exact. */
#define TG_MONEY_TEXT 64
void tg_money_format_usd(tg_picousd_sum sum, char ret[TG_MONEY_TEXT]);

/* Token counts by kind, all disjoint except reasoning (a part of output). See usage.proto. */
typedef struct tg_tokens {
    uint64_t input;
    uint64_t cache_read;
    uint64_t cache_write_5m;
    uint64_t cache_write_1h;
    uint64_t output;
    uint64_t reasoning;
} tg_tokens;

/* Prices of one target from one date on, in pico-dollars a token. */
typedef struct tg_price {
    uint64_t effective_unix_ns; /* valid from here until the target's next entry */
    tg_picousd input;
    tg_picousd cache_read;
    tg_picousd cache_write_5m;
    tg_picousd cache_write_1h;
    tg_picousd output;
    tg_picousd per_request;
    bool assumed; /* an assumption (the private tier), not a provider's list price */
} tg_price;

typedef struct tg_price_book tg_price_book;

/* `version` names the book in every event (at most 31 bytes). */
tg_price_book *tg_price_book_new(const char *version);
tg_price_book *tg_price_book_free(tg_price_book *book);
const char *tg_price_book_version(const tg_price_book *book);

/* 0, -EEXIST when the target has an entry of that date, -EINVAL for a negative price, -ENOMEM. */
int tg_price_book_add(tg_price_book *book, const char *target, const tg_price *price);

/* The entry in force at that time, or NULL. */
const tg_price *tg_price_book_find(const tg_price_book *book, const char *target,
                                   uint64_t at_unix_ns);

/* The one pricing function: the router stamps with it, billing recomputes with it.
 * cost = Σ tokens of a kind × price of that kind + per_request.
 * 0; -ENOENT no price for the target at that time; -ERANGE the cost exceeds int64. */
int tg_price_of(const tg_price_book *book, const char *target, uint64_t at_unix_ns,
                const tg_tokens *tokens, tg_picousd *ret);

#endif
