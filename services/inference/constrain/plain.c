/* Where an automaton takes all plain characters the same way. */
#include "services/inference/constrain/dfa.h"

#include <string.h>

enum { STATES_MAX = 32, FIRSTS = 9, THENS = 5, CONTINUATION = 0 };

/* Bytes that begin a character, which of `thens` comes next, and how many continuations of any kind
 * then. */
static const struct first {
    uint8_t first, last;
    int then; /* -1: nothing */
    uint32_t more;
} firsts[FIRSTS] = {{0x20, 0x7f, -1, 0}, {0xc2, 0xdf, 0, 0}, {0xe0, 0xe0, 1, 1},
                    {0xe1, 0xec, 0, 1},  {0xed, 0xed, 2, 1}, {0xee, 0xef, 0, 1},
                    {0xf0, 0xf0, 3, 2},  {0xf1, 0xf3, 0, 2}, {0xf4, 0xf4, 4, 2}};
static const uint8_t thens[THENS][2] = {
    {0x80, 0xbf}, {0xa0, 0xbf}, {0x80, 0x9f}, {0x90, 0xbf}, {0x80, 0x8f}};

typedef struct samples { /* one byte of each class in a range */
    uint8_t bytes[96];
    uint32_t len;
} samples;

typedef struct plan {
    samples firsts[FIRSTS], thens[THENS];
} plan;

typedef struct set { /* states; whether some texts died on the way to it, or were at an end */
    uint32_t states[STATES_MAX];
    uint32_t len;
    bool died, ended, full;
} set;

static void sample(const tg_dfa *dfa, uint32_t first, uint32_t last, samples *ret)
{
    bool seen[256] = {false};
    ret->len = 0;
    for (uint32_t b = first; b <= last; b++) {
        if (seen[dfa->class_of[b]] || b == '"' || b == '\\')
            continue;
        seen[dfa->class_of[b]] = true;
        ret->bytes[ret->len++] = (uint8_t)b;
    }
}

static void add(set *s, const tg_dfa *dfa, uint32_t state)
{
    s->died |= state == TG_DFA_DEAD;
    s->ended |= dfa->accepts[state];
    for (uint32_t i = 0; i < s->len; i++)
        if (s->states[i] == state)
            return;
    if (state == TG_DFA_DEAD)
        return;
    s->full |= s->len == STATES_MAX;
    if (!s->full)
        s->states[s->len++] = state;
}

static void step(const tg_dfa *dfa, const set *from, const samples *bytes, set *to)
{
    for (uint32_t b = 0; b < bytes->len; b++)
        for (uint32_t i = 0; i < from->len; i++)
            add(to, dfa, tg_dfa_next(dfa, from->states[i], bytes->bytes[b]));
}

static void begin(set *s, const set *before)
{
    s->len = 0;
    s->died = before && before->died;
    s->ended = before && before->ended;
    s->full = before && before->full;
}

/* One plain character. */
static void step_character(const tg_dfa *dfa, const plan *p, const set *from, set *to)
{
    begin(to, NULL);
    for (uint32_t r = 0; r < FIRSTS; r++) {
        set bytes[2];
        uint32_t at = 0;
        begin(&bytes[0], NULL);
        step(dfa, from, &p->firsts[r], &bytes[0]);
        for (uint32_t more = 0; firsts[r].then >= 0 && more <= firsts[r].more;
             more++, at = 1 - at) {
            begin(&bytes[1 - at], &bytes[at]);
            step(dfa, &bytes[at], &p->thens[more == 0 ? firsts[r].then : CONTINUATION],
                 &bytes[1 - at]);
        }
        to->died |= bytes[at].died;
        to->ended |= bytes[at].ended;
        to->full |= bytes[at].full;
        for (uint32_t i = 0; i < bytes[at].len; i++)
            add(to, dfa, bytes[at].states[i]);
    }
}

int tg_dfa_plain_room(const tg_dfa *dfa, uint32_t state, uint32_t most)
{
    set sets[2] = {{.states = {state}, .len = 1}};
    plan p;
    for (uint32_t i = 0; i < FIRSTS; i++)
        sample(dfa, firsts[i].first, firsts[i].last, &p.firsts[i]);
    for (uint32_t i = 0; i < THENS; i++)
        sample(dfa, thens[i][0], thens[i][1], &p.thens[i]);
    for (uint32_t room = 0; room < most; room++) {
        set *next = &sets[(room + 1) % 2];
        step_character(dfa, &p, &sets[room % 2], next);
        if (next->len == 0 && !next->full && !next->ended)
            return (int)room;
        if (next->died || next->ended || next->full)
            return -1;
    }
    return (int)most;
}
