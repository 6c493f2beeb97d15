/* What the engine did lately: tokens a second, and how long sequences waited for their tokens;
 * internal to engine/.
 *
 * Two halves of TG_RECENT_HALF_MS are kept, the one that is being filled and the one before: what
 * is read covers the last 30 to 60 s, or all of the engine's life while that is shorter. Waits are
 * counted in a histogram of fixed size: 8 steps for each power of two nanoseconds from 2^10 (1 µs)
 * to 2^40 (18 min), so a percentile is off by at most 1/16; shorter and longer ones count as the
 * ends.
 *
 * The clock is handed in. Threads: one at a time; the engine's lock.
 */
#ifndef TG_ENGINE_RECENT_H
#define TG_ENGINE_RECENT_H

#include <stdint.h>

#define TG_RECENT_HALF_MS 30000
#define TG_RECENT_BUCKETS 240

typedef struct tg_waits {
    uint32_t counts[TG_RECENT_BUCKETS];
} tg_waits;

typedef struct tg_recent_half {
    uint64_t begin_ns;
    uint64_t tokens_in, tokens_out;
    tg_waits first, between;
} tg_recent_half;

typedef struct tg_recent {
    tg_recent_half now, before;
} tg_recent;

typedef struct tg_recent_wait { /* 0: nothing was waited for */
    uint64_t p50_ns, p95_ns, p99_ns;
} tg_recent_wait;

typedef struct tg_recent_view {
    double tokens_in_per_s;  /* of prompts, when their sequence is admitted; cached ones included */
    double tokens_out_per_s;
    tg_recent_wait first_token; /* from submission to the first token */
    tg_recent_wait between; /* from one token to the next of the same sequence; those of one step
                               come together */
} tg_recent_view;

void tg_recent_init(tg_recent *recent, uint64_t now_ns);
void tg_recent_admitted(tg_recent *recent, uint32_t tokens, uint64_t now_ns);
void tg_recent_first_token(tg_recent *recent, uint64_t waited_ns, uint64_t now_ns);
void tg_recent_next_token(tg_recent *recent, uint64_t waited_ns, uint64_t now_ns);
void tg_recent_read(tg_recent *recent, uint64_t now_ns, tg_recent_view *ret);

#endif
