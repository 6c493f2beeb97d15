#include "libs/tokenizer/unicode.h"

static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

uint32_t tg_unicode_lookup(const tg_unicode_range *ranges, size_t count, uint32_t point)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ranges[mid].last < point)
            low = mid + 1;
        else
            high = mid;
    }
    return low < count && ranges[low].first <= point ? ranges[low].value : 0;
}

tg_unicode_class tg_unicode_class_of(uint32_t point)
{
    if (point < 128) {
        if ((point | 32) >= 'a' && (point | 32) <= 'z')
            return TG_UNICODE_LETTER;
        if (point >= '0' && point <= '9')
            return TG_UNICODE_NUMBER;
    }
    if (is_space(point))
        return TG_UNICODE_SPACE;
    return (tg_unicode_class)tg_unicode_lookup(tg_unicode_ranges, tg_unicode_range_count, point);
}

tg_unicode_class tg_unicode_classify(uint32_t point)
{
    tg_unicode_class kind = tg_unicode_class_of(point);
    return kind <= TG_UNICODE_SPACE ? kind : TG_UNICODE_OTHER;
}

uint32_t tg_unicode_lower(uint32_t point)
{
    if (point < 128)
        return point >= 'A' && point <= 'Z' ? point + 32 : point;
    if (point == 0x130)
        return 'i';
    size_t low = 0, high = tg_unicode_lower_run_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (tg_unicode_lower_runs[mid].last < point)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == tg_unicode_lower_run_count)
        return point;
    const tg_unicode_lower_run *run = &tg_unicode_lower_runs[low];
    if (point < run->first || (point - run->first) % run->step)
        return point;
    return (uint32_t)((int32_t)point + run->distance);
}

size_t tg_unicode_next(const char *text, size_t left, uint32_t *ret_point)
{
    const unsigned char *p = (const unsigned char *)text;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80   ? 1
                 : p[0] < 0xc2 ? 0
                 : p[0] < 0xe0 ? 2
                 : p[0] < 0xf0 ? 3
                 : p[0] < 0xf5 ? 4
                               : 0;
    *ret_point = TG_UNICODE_INVALID;
    if (len == 0 || len > left)
        return 1;
    uint32_t point = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        point = point << 6 | (p[i] & 0x3f);
    }
    if (point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
        return 1;
    *ret_point = point;
    return len;
}

size_t tg_unicode_write(uint32_t point, char *to)
{
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (len == 1) {
        to[0] = (char)point;
        return 1;
    }
    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        to[i] = (char)(0x80 | (point & 0x3f));
    to[0] = (char)((0xf00u >> len) | point);
    return len;
}
