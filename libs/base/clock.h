/* The two clocks. Only services and I/O libraries call these; pure modules are handed their times.
 */
#ifndef TG_BASE_CLOCK_H
#define TG_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t tg_clock_mono_ns(void); /* CLOCK_MONOTONIC */
uint64_t tg_clock_wall_ns(void); /* CLOCK_REALTIME, since 1970-01-01 UTC */

/* "2026-11-24T12:34:56.789Z"; size must be at least TG_CLOCK_TEXT. */
#define TG_CLOCK_TEXT 25
void tg_clock_format(uint64_t wall_ns, char *to, size_t size);

/* RFC 3339 with Z or an offset, fraction optional, or a bare date; from 1970
 * to 2554. 0 or -EINVAL, for days that no calendar has, too. */
int tg_clock_parse(const char *text, uint64_t *ret_wall_ns);

#endif
