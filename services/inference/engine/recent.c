#include "services/inference/engine/recent.h"

enum { LEAST_BITS = 10, STEP_BITS = 3 };

static const uint64_t half_ns = TG_RECENT_HALF_MS * UINT64_C(1000000);

void tg_recent_init(tg_recent *r, uint64_t now_ns)
{
    *r = (tg_recent){.now.begin_ns = now_ns, .before.begin_ns = now_ns};
}

static void roll(tg_recent *r, uint64_t now_ns)
{
    const uint64_t halves = (now_ns - r->now.begin_ns) / half_ns;
    if (halves == 0)
        return;
    const uint64_t begin_ns = r->now.begin_ns + halves * half_ns;
    r->before = halves == 1 ? r->now : (tg_recent_half){.begin_ns = begin_ns - half_ns};
    r->now = (tg_recent_half){.begin_ns = begin_ns};
}

/* ---- waits ---- */

static void add(tg_waits *w, uint64_t ns)
{
    uint32_t at = 0;
    if (ns >> LEAST_BITS) {
        const uint32_t top = 63 - (uint32_t)__builtin_clzll(ns);
        at = (top - LEAST_BITS) << STEP_BITS | (ns >> (top - STEP_BITS) & ((1u << STEP_BITS) - 1));
        at = at < TG_RECENT_BUCKETS ? at : TG_RECENT_BUCKETS - 1;
    }
    w->counts[at]++;
}

static uint64_t middle_of(uint32_t bucket)
{
    const uint32_t shift = (bucket >> STEP_BITS) + LEAST_BITS - STEP_BITS;
    const uint64_t low = (UINT64_C(1) << STEP_BITS) | (bucket & ((1u << STEP_BITS) - 1));
    return (low << shift) + ((UINT64_C(1) << shift) >> 1);
}

static uint64_t percentile(const tg_waits *a, const tg_waits *b, uint64_t total, uint64_t percent)
{
    const uint64_t rank = (total * percent + 99) / 100;
    uint64_t upto = 0;
    for (uint32_t i = 0; i < TG_RECENT_BUCKETS; i++) {
        upto += (uint64_t)a->counts[i] + b->counts[i];
        if (upto >= rank)
            return middle_of(i);
    }
    return 0;
}

static tg_recent_wait wait_of(const tg_waits *a, const tg_waits *b)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < TG_RECENT_BUCKETS; i++)
        total += (uint64_t)a->counts[i] + b->counts[i];
    if (total == 0)
        return (tg_recent_wait){0};
    return (tg_recent_wait){percentile(a, b, total, 50), percentile(a, b, total, 95),
                            percentile(a, b, total, 99)};
}

/* ---- the face ---- */

void tg_recent_admitted(tg_recent *r, uint32_t tokens, uint64_t now_ns)
{
    roll(r, now_ns);
    r->now.tokens_in += tokens;
}

void tg_recent_first_token(tg_recent *r, uint64_t waited_ns, uint64_t now_ns)
{
    roll(r, now_ns);
    r->now.tokens_out++;
    add(&r->now.first, waited_ns);
}

void tg_recent_next_token(tg_recent *r, uint64_t waited_ns, uint64_t now_ns)
{
    roll(r, now_ns);
    r->now.tokens_out++;
    add(&r->now.between, waited_ns);
}

void tg_recent_read(tg_recent *r, uint64_t now_ns, tg_recent_view *ret)
{
    roll(r, now_ns);
    const double s = (double)(now_ns - r->before.begin_ns) / 1e9;
    ret->tokens_in_per_s = s > 0 ? (double)(r->now.tokens_in + r->before.tokens_in) / s : 0;
    ret->tokens_out_per_s = s > 0 ? (double)(r->now.tokens_out + r->before.tokens_out) / s : 0;
    ret->first_token = wait_of(&r->now.first, &r->before.first);
    ret->between = wait_of(&r->now.between, &r->before.between);
}
