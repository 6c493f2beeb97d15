/* Rate-limit headers. OpenAI gives a reset as a duration (6m0s, 12ms), Anthropic as an RFC 3339
 * time; Bedrock sends none. A negative number, as Azure has sent, says nothing. */
#include "libs/base/clock.h"
#include "services/router/dialect/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS_MAX UINT64_C(31536000000) /* a year: longer waits are nonsense */

static bool starts(tg_str name, const char *start)
{
    size_t len = strlen(start);
    return name.len >= len && tg_str_is_nocase((tg_str){name.data, len}, start);
}

/* Decimal with an optional fraction, as far as it goes. False when there is no digit. */
static bool take_number(tg_str *text, double *ret)
{
    double value = 0, scale = 1;
    size_t digits = 0, i = 0;
    for (; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++, digits++)
        value = value * 10 + (text->data[i] - '0');
    if (i < text->len && text->data[i] == '.') {
        for (i++; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++, digits++)
            value += (text->data[i] - '0') * (scale /= 10);
    }
    *text = (tg_str){text->data + i, text->len - i};
    *ret = value;
    return digits > 0;
}

static uint64_t to_ms(double ms) { return ms < (double)MS_MAX ? (uint64_t)(ms + 0.5) : MS_MAX; }

/* "1h2m3.5s", "12ms", "0": milliseconds. A bare number is in seconds. */
static bool read_duration(tg_str text, uint64_t *ret_ms)
{
    double total = 0, number;
    if (text.len == 0)
        return false;
    while (text.len > 0) {
        if (!take_number(&text, &number))
            return false;
        double unit;
        size_t skip = 1;
        if (text.len == 0)
            unit = 1000, skip = 0;
        else if (tg_str_starts(text, "ms"))
            unit = 1, skip = 2;
        else if (text.data[0] == 's')
            unit = 1000;
        else if (text.data[0] == 'm')
            unit = 60000;
        else if (text.data[0] == 'h')
            unit = 3600000;
        else if (text.data[0] == 'd')
            unit = 86400000;
        else
            return false;
        text = (tg_str){text.data + skip, text.len - skip};
        total += number * unit;
    }
    *ret_ms = to_ms(total);
    return true;
}

static bool until(const char *time, uint64_t now_unix_ns, uint64_t *ret_ms)
{
    uint64_t at;
    if (tg_clock_parse(time, &at) < 0)
        return false;
    *ret_ms = at > now_unix_ns ? to_ms((double)(at - now_unix_ns) / 1e6) : 0;
    return true;
}

static bool read_time(tg_str text, uint64_t now_unix_ns, uint64_t *ret_ms)
{
    char copy[64];
    return tg_str_copy(copy, sizeof copy, text) && until(copy, now_unix_ns, ret_ms);
}

/* RFC 9110's "Sun, 06 Nov 1994 08:49:37 GMT". */
static bool read_http_date(tg_str text, uint64_t now_unix_ns, uint64_t *ret_ms)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char copy[64], name[4], time[9], rfc3339[64];
    unsigned day, year;
    if (!tg_str_copy(copy, sizeof copy, text) ||
        sscanf(copy, "%*3s, %2u %3s %4u %8s GMT", &day, name, &year, time) != 4)
        return false;
    const char *month = strstr(months, name);
    if (!month || strlen(name) != 3 || (month - months) % 3 != 0)
        return false;
    snprintf(rfc3339, sizeof rfc3339, "%04u-%02u-%02uT%sZ", year,
             (unsigned)(month - months) / 3 + 1, day, time);
    return until(rfc3339, now_unix_ns, ret_ms);
}

/* retry-after-ms is the finer of the two and wins, whichever comes first. */
static void read_retry_after(tg_str name, tg_str value, uint64_t now_unix_ns, tg_rate_limit *limit)
{
    double number;
    uint64_t ms;
    tg_str rest = value;
    if (tg_str_is_nocase(name, "retry-after-ms")) {
        if (take_number(&rest, &number) && rest.len == 0)
            limit->retry_after_ms = to_ms(number);
    } else if (limit->retry_after_ms == 0) {
        if (take_number(&rest, &number) && rest.len == 0)
            limit->retry_after_ms = to_ms(number * 1000);
        else if (read_http_date(value, now_unix_ns, &ms))
            limit->retry_after_ms = ms;
    }
}

/* Where the numbers of one kind go; NULL: not kept. */
typedef struct rate_place {
    bool *has;
    uint64_t *limit, *remaining, *reset_ms;
} rate_place;

static bool find_place(tg_str kind, tg_rate_limit *limit, rate_place *ret)
{
    if (tg_str_is_nocase(kind, "requests"))
        *ret = (rate_place){&limit->has_requests, &limit->requests_limit,
                            &limit->requests_remaining, &limit->requests_reset_ms};
    else if (tg_str_is_nocase(kind, "tokens"))
        *ret = (rate_place){&limit->has_tokens, &limit->tokens_limit, &limit->tokens_remaining,
                            &limit->tokens_reset_ms};
    else if (tg_str_is_nocase(kind, "input-tokens"))
        *ret = (rate_place){&limit->has_input_tokens, NULL, &limit->input_tokens_remaining, NULL};
    else if (tg_str_is_nocase(kind, "output-tokens"))
        *ret = (rate_place){&limit->has_output_tokens, NULL, &limit->output_tokens_remaining, NULL};
    else
        return false;
    return true;
}

/* What is left is what makes the rest worth knowing: `has` goes with it. */
static void store_number(const rate_place *to, tg_str what, tg_str value)
{
    uint64_t number;
    if (tg_str_u64(value, &number) < 0)
        return;
    if (tg_str_is_nocase(what, "remaining")) {
        *to->remaining = number;
        *to->has = true;
    } else if (to->limit && tg_str_is_nocase(what, "limit")) {
        *to->limit = number;
    }
}

/* `rest` of x-ratelimit-remaining-tokens: "remaining-tokens". */
static void read_openai(tg_str rest, tg_str value, tg_rate_limit *limit)
{
    rate_place to;
    const char *dash = memchr(rest.data, '-', rest.len);
    if (!dash)
        return;
    tg_str what = {rest.data, (size_t)(dash - rest.data)};
    if (!find_place((tg_str){dash + 1, rest.len - what.len - 1}, limit, &to))
        return;
    if (!tg_str_is_nocase(what, "reset"))
        store_number(&to, what, value);
    else if (to.reset_ms)
        read_duration(value, to.reset_ms);
}

/* `rest` of anthropic-ratelimit-input-tokens-remaining: "input-tokens-remaining". */
static void read_anthropic(tg_str rest, tg_str value, uint64_t now_unix_ns, tg_rate_limit *limit)
{
    rate_place to;
    const char *dash = memrchr(rest.data, '-', rest.len);
    if (!dash)
        return;
    tg_str kind = {rest.data, (size_t)(dash - rest.data)};
    tg_str what = {dash + 1, rest.len - kind.len - 1};
    if (!find_place(kind, limit, &to))
        return;
    if (!tg_str_is_nocase(what, "reset"))
        store_number(&to, what, value);
    else if (to.reset_ms)
        read_time(value, now_unix_ns, to.reset_ms);
}

void tg_dialect_rate_header(tg_provider provider, tg_str name, tg_str value, uint64_t now_unix_ns,
                            tg_rate_limit *limit)
{
    static const char openai[] = "x-ratelimit-", anthropic[] = "anthropic-ratelimit-";
    value = tg_str_trim(value);
    if (tg_str_is_nocase(name, "retry-after") || tg_str_is_nocase(name, "retry-after-ms")) {
        read_retry_after(name, value, now_unix_ns, limit);
    } else if (provider == TG_PROVIDER_OPENAI && starts(name, openai)) {
        tg_str rest = {name.data + sizeof openai - 1, name.len - (sizeof openai - 1)};
        if (rest.len > 0)
            read_openai(rest, value, limit);
    } else if (provider == TG_PROVIDER_ANTHROPIC && starts(name, anthropic)) {
        tg_str rest = {name.data + sizeof anthropic - 1, name.len - (sizeof anthropic - 1)};
        if (rest.len > 0)
            read_anthropic(rest, value, now_unix_ns, limit);
    }
}
