#include "libs/base/id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void tg_hex(const void *data, size_t len, char *to)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++) {
        *to++ = digits[p[i] >> 4];
        *to++ = digits[p[i] & 15];
    }
    *to = '\0';
}

void tg_uuid7(uint64_t wall_ms, const uint8_t random[10], char ret[TG_UUID_TEXT])
{
    uint8_t raw[16];
    char hex[33];
    for (unsigned i = 0; i < 6; i++)
        raw[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    memcpy(raw + 6, random, 10);
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x70);
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    tg_hex(raw, sizeof raw, hex);
    snprintf(ret, TG_UUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
}

void tg_random_bytes(void *to, size_t len)
{
    unsigned char *p = to;
    while (len > 0) {
        ssize_t got = getrandom(p, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            abort();
        p += got;
        len -= (size_t)got;
    }
}

uint64_t tg_random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
