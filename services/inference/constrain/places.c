/* Where an answer stands: sets of places in the program, and how bytes move them. */
#include "services/inference/constrain/constraint_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { VISITED = UINT16_MAX + 1, VISITS_MIN = 128, FRAMES_KEPT = 256 };

static uint32_t depth_of(const tg_constraint_state *s, uint32_t at)
{
    return at == TG_NO_FRAME ? 0 : s->frames[at].depth;
}

static bool same_frames(const tg_constraint_state *s, uint32_t a, uint32_t b)
{
    while (a != b) {
        if (a == TG_NO_FRAME || b == TG_NO_FRAME || s->frames[a].hash != s->frames[b].hash ||
            s->frames[a].back != s->frames[b].back || s->frames[a].depth != s->frames[b].depth)
            return false;
        a = s->frames[a].parent;
        b = s->frames[b].parent;
    }
    return true;
}

static uint32_t mix(uint32_t hash, uint32_t more)
{
    const uint64_t z = ((uint64_t)hash << 32 | more) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(z >> 32) ^ (uint32_t)z;
}

static uint32_t hash_of(const tg_constraint_state *s, uint32_t at)
{
    return at == TG_NO_FRAME ? 0 : s->frames[at].hash;
}

static uint32_t push_frame(tg_constraint_state *s, uint32_t back, uint32_t parent)
{
    if (s->frames_len == s->frames_cap) {
        const uint32_t cap = s->frames_cap ? 2 * s->frames_cap : 64;
        tg_frame *more = realloc(s->frames, cap * sizeof(*more));
        s->frames = more ? more : s->frames;
        uint32_t *moved = realloc(s->moved, cap * sizeof(*moved));
        s->moved = moved ? moved : s->moved;
        if (!more || !moved) {
            s->broken = true;
            return TG_NO_FRAME;
        }
        s->frames_cap = cap;
    }
    s->frames[s->frames_len] =
        (tg_frame){back, parent, depth_of(s, parent) + 1, mix(hash_of(s, parent), back + 1)};
    return s->frames_len++;
}

/* ---- what the set being made has seen ---- */

static uint32_t slot_of(const tg_constraint_state *s, uint32_t pc, uint32_t frame, uint32_t state)
{
    uint32_t at = mix(mix(hash_of(s, frame), pc), state) & (s->visits_cap - 1);
    for (; s->visits[at].stamp == s->stamp; at = (at + 1) & (s->visits_cap - 1))
        if (s->visits[at].pc == pc && s->visits[at].state == state &&
            same_frames(s, s->visits[at].frame, frame))
            break;
    return at;
}

static bool grow_visits(tg_constraint_state *s)
{
    tg_visit *old = s->visits;
    const uint32_t old_cap = s->visits_cap, cap = old_cap ? 2 * old_cap : VISITS_MIN;
    tg_visit *more = calloc(cap, sizeof(*more));
    if (!more) {
        s->broken = true;
        return false;
    }
    s->visits = more;
    s->visits_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].stamp == s->stamp)
            s->visits[slot_of(s, old[i].pc, old[i].frame, old[i].state)] = old[i];
    free(old);
    return true;
}

/* True: it had not been seen. */
static bool visit(tg_constraint_state *s, uint32_t pc, uint32_t frame, uint32_t state)
{
    if (2 * s->visits_len >= s->visits_cap && !grow_visits(s))
        return false;
    tg_visit *v = &s->visits[slot_of(s, pc, frame, state)];
    if (v->stamp == s->stamp)
        return false;
    *v = (tg_visit){s->stamp, state, pc, frame};
    s->visits_len++;
    return true;
}

static uint32_t begin_set(tg_constraint_state *s)
{
    s->visits_len = 0;
    if (++s->stamp == 0) { /* once in four thousand million sets */
        memset(s->visits, 0, s->visits_cap * sizeof(*s->visits));
        s->stamp = 1;
    }
    return s->places_len;
}

/* ---- sets ---- */

static bool is_full(const tg_constraint_state *s, uint32_t first)
{
    return s->places_len - first >= TG_CONSTRAINT_PLACES_MAX;
}

/* Adds a place to the set that begins at `first`, unless it is there. True: it was added. */
static bool add_place(tg_constraint_state *s, uint32_t first, tg_place p)
{
    if (is_full(s, first) || !visit(s, p.pc, p.frame, p.state))
        return false;
    if (s->places_len == s->places_cap) {
        const uint32_t cap = s->places_cap ? 2 * s->places_cap : 64;
        tg_place *more = realloc(s->places, cap * sizeof(*more));
        if (!more) {
            s->broken = true;
            return false;
        }
        s->places = more;
        s->places_cap = cap;
    }
    s->places[s->places_len++] = p;
    return true;
}

/* Follows the program from pc to lexemes and to the end. A lexeme that may be empty is followed on
 * as well. Where ways meet, one goes on: so the work is bounded by the program's length, however
 * often its alternatives name the same. */
static void enter(tg_constraint_state *s, uint32_t first, uint32_t pc, uint32_t at)
{
    const tg_program *p = &s->constraint->program;
    while (!s->broken && !is_full(s, first) && p->depth[pc] != UINT8_MAX &&
           depth_of(s, at) + p->depth[pc] <= TG_CALL_DEPTH_MAX) {
        const tg_instruction *in = &p->code[pc];
        s->work--;
        switch (in->op) {
        case TG_OP_LEXEME:
            if (!add_place(s, first, (tg_place){pc, at, TG_DFA_START}) ||
                !tg_lexeme_at(s->constraint, pc)->accepts[TG_DFA_START])
                return;
            pc++;
            break;
        case TG_OP_SPLIT:
            if (!visit(s, pc, at, VISITED))
                return;
            enter(s, first, in->a, at);
            pc = in->b;
            break;
        case TG_OP_JUMP: pc = in->a; break;
        case TG_OP_CALL:
            at = push_frame(s, pc + 1, at);
            pc = in->a;
            break;
        case TG_OP_RETURN:
            pc = s->frames[at].back;
            at = s->frames[at].parent;
            break;
        default: add_place(s, first, (tg_place){pc, at, 0}); return;
        }
    }
}

uint32_t tg_places_enter(tg_constraint_state *s, uint32_t pc, uint32_t frame)
{
    const uint32_t first = begin_set(s);
    enter(s, first, pc, frame);
    return first;
}

uint32_t tg_places_step(tg_constraint_state *s, uint32_t from, uint32_t to, uint8_t byte)
{
    const tg_constraint *c = s->constraint;
    const uint32_t first = begin_set(s);
    s->work -= to - from;
    for (uint32_t i = from; i < to; i++) {
        const tg_place p = s->places[i];
        if (c->program.code[p.pc].op != TG_OP_LEXEME)
            continue;
        const tg_dfa *dfa = tg_lexeme_at(c, p.pc);
        const uint32_t next = tg_dfa_next(dfa, p.state, byte);
        if (next == TG_DFA_DEAD || !add_place(s, first, (tg_place){p.pc, p.frame, (uint16_t)next}))
            continue;
        if (dfa->accepts[next])
            enter(s, first, p.pc + 1, p.frame);
    }
    return first;
}

/* ---- states ---- */

void tg_constraint_restart(tg_constraint_state *s, size_t tool)
{
    const tg_constraint *c = s->constraint;
    tg_masking_reset(s);
    s->places_len = s->frames_len = 0;
    tg_places_enter(s,
                    tool < c->calls.tools ? tg_calls_arguments(&c->calls, tool) : c->program.start,
                    TG_NO_FRAME);
    s->len = s->places_len;
}

int tg_constraint_start(tg_constraint *constraint, tg_constraint_state **ret)
{
    tg_constraint_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->constraint = tg_constraint_retain(constraint);
    if (tg_masking_new(s))
        tg_constraint_restart(s, SIZE_MAX);
    if (!s->masking || s->broken) {
        tg_constraint_state_free(s);
        return -ENOMEM;
    }
    *ret = s;
    return 0;
}

tg_constraint_state *tg_constraint_state_free(tg_constraint_state *s)
{
    if (!s)
        return NULL;
    tg_constraint_release(s->constraint);
    tg_masking_free(s);
    free(s->frames);
    free(s->moved);
    free(s->places);
    free(s->visits);
    free(s);
    return NULL;
}

/* Frames that no place needs any more go: they are few again after every token. */
static void compact(tg_constraint_state *s)
{
    tg_frame *frames = s->frames;
    uint32_t *moved = s->moved, len = 0;
    memset(moved, 0xff, s->frames_len * sizeof(*moved)); /* TG_NO_FRAME: needed by none */
    for (uint32_t i = 0; i < s->len; i++)
        for (uint32_t f = s->places[i].frame; f != TG_NO_FRAME && moved[f] == TG_NO_FRAME;
             f = frames[f].parent)
            moved[f] = f;
    for (uint32_t f = 0; f < s->frames_len; f++) { /* a parent stands before its children */
        if (moved[f] == TG_NO_FRAME)
            continue;
        const uint32_t parent = frames[f].parent;
        moved[f] = len;
        frames[len] =
            (tg_frame){frames[f].back, parent == TG_NO_FRAME ? TG_NO_FRAME : moved[parent],
                       frames[f].depth, frames[f].hash};
        len++;
    }
    for (uint32_t i = 0; i < s->len; i++)
        if (s->places[i].frame != TG_NO_FRAME)
            s->places[i].frame = moved[s->places[i].frame];
    s->frames_len = len;
}

bool tg_constraint_advance_text(tg_constraint_state *s, tg_str text)
{
    tg_masking_reset(s);
    for (size_t i = 0; i < text.len && s->len > 0; i++) {
        s->places_len = s->len;
        const uint32_t first = tg_places_step(s, 0, s->len, (uint8_t)text.data[i]);
        s->len = s->places_len - first;
        memmove(s->places, s->places + first, s->len * sizeof(*s->places));
        s->places_len = s->len;
    }
    if (s->len == 0 || s->broken)
        return false;
    if (s->frames_len >= FRAMES_KEPT)
        compact(s);
    return true;
}

bool tg_constraint_advance(tg_constraint_state *s, uint32_t token)
{
    const tg_tokenizer *tokenizer = s->constraint->trie->tokenizer;
    const tg_str bytes =
        token < s->constraint->trie->vocab ? tg_tokenizer_piece(tokenizer, token) : (tg_str){"", 0};
    return bytes.len > 0 && !tg_tokenizer_is_control(tokenizer, token) &&
           tg_constraint_advance_text(s, bytes);
}

bool tg_constraint_may_end(const tg_constraint_state *s)
{
    for (uint32_t i = 0; i < s->len; i++)
        if (s->constraint->program.code[s->places[i].pc].op == TG_OP_DONE)
            return true;
    return false;
}

bool tg_constraint_must_end(const tg_constraint_state *s)
{
    for (uint32_t i = 0; i < s->len; i++) {
        const tg_place *p = &s->places[i];
        if (s->constraint->program.code[p->pc].op != TG_OP_LEXEME)
            continue;
        const tg_dfa *dfa = tg_lexeme_at(s->constraint, p->pc);
        for (uint32_t k = 0; k < dfa->classes; k++)
            if (dfa->next[p->state * dfa->classes + k] != TG_DFA_DEAD)
                return false;
    }
    return tg_constraint_may_end(s);
}
