#include "libs/base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
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

/* Exactly `digits` decimal digits at *p, which then points past them; -1 when they are not there.
 */
static int number(const char **p, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return -1;
        value = value * 10 + (**p - '0');
    }
    return value;
}

static bool passes(const char **p, const char *any_of)
{
    if (**p == '\0' || !strchr(any_of, **p))
        return false;
    (*p)++;
    return true;
}

static int parse_time(const char **p, struct tm *tm, uint64_t *ret_fraction_ns)
{
    tm->tm_hour = number(p, 2);
    if (tm->tm_hour < 0 || tm->tm_hour > 23 || !passes(p, ":"))
        return -EINVAL;
    tm->tm_min = number(p, 2);
    if (tm->tm_min < 0 || tm->tm_min > 59 || !passes(p, ":"))
        return -EINVAL;
    tm->tm_sec = number(p, 2);
    if (tm->tm_sec < 0 || tm->tm_sec > 60) /* 60: a leap second, counted as the next one */
        return -EINVAL;
    if (passes(p, ".")) {
        uint64_t scale = 100000000u;
        if (**p < '0' || **p > '9')
            return -EINVAL;
        for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10)
            *ret_fraction_ns += scale * (uint64_t)(**p - '0');
    }
    return 0;
}

static int parse_zone(const char **p, int *ret_offset_s)
{
    if (passes(p, "Zz")) {
        *ret_offset_s = 0;
        return 0;
    }
    const int sign = **p == '-' ? -1 : 1;
    if (!passes(p, "+-"))
        return -EINVAL;
    const int hours = number(p, 2);
    if (hours < 0 || hours > 23 || !passes(p, ":"))
        return -EINVAL;
    const int minutes = number(p, 2);
    if (minutes < 0 || minutes > 59)
        return -EINVAL;
    *ret_offset_s = sign * (hours * 3600 + minutes * 60);
    return 0;
}

static bool is_a_day(struct tm date) /* timegm makes 3 March of 31 February */
{
    const int month = date.tm_mon, day = date.tm_mday;
    (void)timegm(&date);
    return date.tm_mon == month && date.tm_mday == day;
}

int tg_clock_parse(const char *text, uint64_t *ret_wall_ns)
{
    struct tm tm = {0};
    uint64_t fraction_ns = 0;
    int offset_s = 0;
    const char *p = text;
    tm.tm_year = number(&p, 4) - 1900;
    if (tm.tm_year < 0 || !passes(&p, "-"))
        return -EINVAL;
    tm.tm_mon = number(&p, 2) - 1;
    if (tm.tm_mon < 0 || !passes(&p, "-"))
        return -EINVAL;
    tm.tm_mday = number(&p, 2);
    if (tm.tm_mday < 0 || !is_a_day(tm))
        return -EINVAL;
    if (*p != '\0' && (!passes(&p, "Tt ") || parse_time(&p, &tm, &fraction_ns) < 0 ||
                       parse_zone(&p, &offset_s) < 0 || *p != '\0'))
        return -EINVAL;
    const int64_t seconds = (int64_t)timegm(&tm) - offset_s;
    if (seconds < 0 || (uint64_t)seconds > UINT64_MAX / 1000000000u - 1)
        return -EINVAL;
    *ret_wall_ns = (uint64_t)seconds * 1000000000u + fraction_ns;
    return 0;
}
