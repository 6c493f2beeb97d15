#include "libs/tokenizer/estimate.h"

enum { WORDS = 22, DIGITS = 70, BEYOND_ASCII = 50, MARKS = 55 }; /* hundredths of a token a byte */

static uint8_t weight_of(unsigned char byte)
{
    unsigned char lower = byte | 0x20;
    if (byte >= 0x80)
        return BEYOND_ASCII;
    if ((lower >= 'a' && lower <= 'z') || byte == ' ' || byte == '\n')
        return WORDS;
    return byte >= '0' && byte <= '9' ? DIGITS : MARKS;
}

uint64_t tg_token_units(tg_str text)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < text.len; i++)
        sum += weight_of((unsigned char)text.data[i]);
    return sum;
}

uint64_t tg_token_estimate(const tg_token_scale *scale, uint64_t units)
{
    if (!scale || scale->reports < TG_ESTIMATE_REPORTS_MIN)
        return (units + 99) / 100;
    unsigned __int128 hundredths = (unsigned __int128)units * scale->hundredths / scale->units;
    return (uint64_t)((hundredths + 99) / 100);
}

void tg_token_scale_learn(tg_token_scale *scale, uint64_t units, uint64_t tokens)
{
    uint64_t estimate = tg_token_estimate(scale, units), hundredths = tokens * 100;
    if (units == 0 || tokens == 0)
        return;
    scale->error_tokens += estimate > tokens ? estimate - tokens : tokens - estimate;
    scale->reported_tokens += tokens;
    if (hundredths > units * TG_ESTIMATE_FACTOR_MAX)
        hundredths = units * TG_ESTIMATE_FACTOR_MAX;
    if (hundredths < units / TG_ESTIMATE_FACTOR_MAX)
        hundredths = units / TG_ESTIMATE_FACTOR_MAX;
    scale->units += units - scale->units / TG_ESTIMATE_MEMORY;
    scale->hundredths += hundredths - scale->hundredths / TG_ESTIMATE_MEMORY;
    scale->reports++;
}
