#include "libs/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t tg_clock_mono_ns(void) { return read_clock(CLOCK_MONOTONIC); }
uint64_t tg_clock_wall_ns(void) { return read_clock(CLOCK_REALTIME); }

void tg_clock_format(uint64_t wall_ns, char *to, size_t size)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    unsigned ms = (unsigned)(wall_ns / 1000000u % 1000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[21];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(to, size, "%.19s.%03uZ", date, ms % 1000);
}

static int parse_zone(const char *p, int *ret_offset_s)
{
    int hours, minutes, used = 0;
    if (strcmp(p, "Z") == 0 || strcmp(p, "z") == 0) {
        *ret_offset_s = 0;
        return 0;
    }
    if ((*p != '+' && *p != '-') || sscanf(p + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 ||
        used != 5 || p[6] != '\0' || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_offset_s = (*p == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return 0;
}

int tg_clock_parse(const char *text, uint64_t *ret_wall_ns)
{
    struct tm tm = {0};
    uint64_t fraction_ns = 0;
    int offset_s = 0;
    const char *p = strptime(text, "%Y-%m-%d", &tm);
    if (!p)
        return -EINVAL;
    if (*p != '\0') {
        if (*p != 'T' && *p != 't' && *p != ' ')
            return -EINVAL;
        p = strptime(p + 1, "%H:%M:%S", &tm);
        if (!p)
            return -EINVAL;
        if (*p == '.') {
            uint64_t scale = 100000000u;
            for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
                fraction_ns += scale * (uint64_t)(*p - '0');
        }
        if (parse_zone(p, &offset_s) < 0)
            return -EINVAL;
    }
    int64_t seconds = (int64_t)timegm(&tm) - offset_s;
    if (seconds < 0)
        return -EINVAL;
    *ret_wall_ns = (uint64_t)seconds * 1000000000u + fraction_ns;
    return 0;
}
