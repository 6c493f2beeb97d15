#include "services/inference/constrain/dfa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int too_large(tg_error *err)
{
    return tg_error_set(
        err, -EMSGSIZE,
        "this needs an automaton of more than %d states; smaller counts or lengths are needed",
        TG_DFA_STATES_MAX);
}

tg_dfa *tg_dfa_free(tg_dfa *dfa)
{
    if (!dfa)
        return NULL;
    free(dfa->next);
    free(dfa->accepts);
    free(dfa->alike);
    free(dfa);
    return NULL;
}

/* ---- growing ---- */

static uint32_t add_state(tg_dfa *dfa, bool accepts) /* the new state, or 0 when out of memory */
{
    const uint32_t state = dfa->states;
    if ((state & (state - 1)) == 0) { /* full: twice the room */
        const size_t room = state ? 2 * (size_t)state : 1;
        uint16_t *next = realloc(dfa->next, room * dfa->classes * sizeof(*next));
        dfa->next = next ? next : dfa->next;
        bool *flags = realloc(dfa->accepts, room * sizeof(*flags));
        dfa->accepts = flags ? flags : dfa->accepts;
        if (!next || !flags)
            return 0;
    }
    memset(dfa->next + (size_t)state * dfa->classes, 0, dfa->classes * sizeof(*dfa->next));
    dfa->accepts[state] = accepts;
    dfa->states++;
    return state;
}

static tg_dfa *new_dfa(const uint8_t *class_of)
{
    tg_dfa *dfa = calloc(1, sizeof(*dfa));
    for (uint32_t i = 0; i < 256 && dfa; i++) {
        dfa->class_of[i] = class_of ? class_of[i] : (uint8_t)i;
        dfa->classes = dfa->class_of[i] + 1u > dfa->classes ? dfa->class_of[i] + 1u : dfa->classes;
    }
    if (!dfa)
        return NULL;
    add_state(dfa, false); /* the dead one */
    return dfa->states == 1 ? dfa : tg_dfa_free(dfa);
}

/* Leads to the dead state whatever can't be finished. */
static int prune(tg_dfa *dfa, tg_error *err)
{
    bool *alive = malloc(dfa->states * sizeof(*alive));
    bool changed = alive != NULL;
    if (!alive)
        return -ENOMEM;
    memcpy(alive, dfa->accepts, dfa->states * sizeof(*alive));
    while (changed) { /* states were numbered as they were found: backwards few rounds are needed */
        changed = false;
        for (uint32_t s = dfa->states; s-- > 1;)
            for (uint32_t c = 0; c < dfa->classes && !alive[s]; c++)
                if (alive[dfa->next[(size_t)s * dfa->classes + c]])
                    alive[s] = changed = true;
    }
    const bool empty = dfa->states < 2 || !alive[TG_DFA_START];
    for (size_t i = 0; i < (size_t)dfa->states * dfa->classes; i++)
        if (!alive[dfa->next[i]])
            dfa->next[i] = TG_DFA_DEAD;
    free(alive);
    return empty ? tg_error_set(err, -EINVAL, "no text can satisfy this") : 0;
}

/* ---- exploring ---- */

typedef struct found { /* states by the caller's numbers: open addressing */
    uint64_t *keys;
    uint16_t *states;
    size_t cap;
} found;

static size_t slot_of(const found *f, uint64_t key)
{
    size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (f->cap - 1);
    while (f->keys[at] != 0 && f->keys[at] != key)
        at = (at + 1) & (f->cap - 1);
    return at;
}

static int explore(const tg_dfa_rule *rule, tg_dfa *dfa, found *f, uint64_t *queue, tg_error *err)
{
    uint8_t sample[256];
    for (uint32_t b = 256; b-- > 0;)
        sample[dfa->class_of[b]] = (uint8_t)b;
    queue[TG_DFA_START] = rule->start;
    if (!add_state(dfa, rule->accepts(rule->user, rule->start)))
        return -ENOMEM;
    size_t slot = slot_of(f, rule->start);
    f->keys[slot] = rule->start;
    f->states[slot] = TG_DFA_START;
    for (uint32_t s = TG_DFA_START; s < dfa->states; s++) {
        for (uint32_t c = 0; c < dfa->classes; c++) {
            const uint64_t to = rule->step(rule->user, queue[s], sample[c]);
            if (to == 0)
                continue;
            slot = slot_of(f, to);
            if (f->keys[slot] == 0) {
                if (dfa->states >= TG_DFA_STATES_MAX)
                    return too_large(err);
                queue[dfa->states] = to;
                f->keys[slot] = to;
                f->states[slot] = (uint16_t)dfa->states;
                if (!add_state(dfa, rule->accepts(rule->user, to)))
                    return -ENOMEM;
            }
            dfa->next[(size_t)s * dfa->classes + c] = f->states[slot];
        }
    }
    return 0;
}

static int note_alike(const tg_dfa_rule *rule, tg_dfa *dfa, const found *f, const uint64_t *queue)
{
    if (dfa->states <= TG_DFA_MINIMISE_MAX) /* they get other numbers */
        return 0;
    dfa->alike = calloc(dfa->states, sizeof(*dfa->alike));
    for (uint32_t s = TG_DFA_START; s < dfa->states && dfa->alike; s++)
        dfa->alike[s] = f->states[slot_of(f, rule->alike(rule->user, queue[s]))];
    return dfa->alike ? 0 : -ENOMEM;
}

int tg_dfa_explore(const tg_dfa_rule *rule, tg_error *err, tg_dfa **ret)
{
    found f = {.cap = 1u << 17};
    uint64_t *queue = malloc((TG_DFA_STATES_MAX + 1) * sizeof(*queue));
    tg_dfa *dfa = new_dfa(rule->class_of);
    f.keys = calloc(f.cap, sizeof(*f.keys));
    f.states = malloc(f.cap * sizeof(*f.states));
    int rc = queue && dfa && f.keys && f.states ? explore(rule, dfa, &f, queue, err) : -ENOMEM;
    if (rc == 0 && rule->alike)
        rc = note_alike(rule, dfa, &f, queue);
    free(queue);
    free(f.keys);
    free(f.states);
    if (rc == 0)
        rc = prune(dfa, err);
    if (rc == 0)
        dfa->work = (uint64_t)dfa->states * dfa->classes;
    if (rc == 0)
        rc = tg_dfa_minimise(dfa);
    if (rc < 0)
        tg_dfa_free(dfa);
    else
        *ret = dfa;
    return rc;
}

/* ---- of others ---- */

typedef struct two {
    const tg_dfa *a, *b;
} two;

/* Classes that neither tells apart. */
static void join_classes(const tg_dfa *a, const tg_dfa *b, uint8_t class_of[256])
{
    uint32_t classes = 0;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t same = 0;
        while (same < i &&
               (a->class_of[same] != a->class_of[i] || b->class_of[same] != b->class_of[i]))
            same++;
        class_of[i] = same < i ? class_of[same] : (uint8_t)classes++;
    }
}

static uint64_t step_two(const void *user, uint64_t state, uint8_t byte)
{
    const two *t = user;
    const uint32_t a = tg_dfa_next(t->a, (uint32_t)(state >> 32), byte),
                   b = tg_dfa_next(t->b, (uint32_t)state, byte);
    return a ? (uint64_t)a << 32 | b : 0;
}

static bool accepts_both(const void *user, uint64_t state)
{
    const two *t = user;
    return t->a->accepts[state >> 32] && t->b->accepts[(uint32_t)state];
}

static bool accepts_first(const void *user, uint64_t state)
{
    const two *t = user;
    return t->a->accepts[state >> 32] && !t->b->accepts[(uint32_t)state];
}

static int combine(const tg_dfa *a, const tg_dfa *b, bool (*accepts)(const void *, uint64_t),
                   tg_error *err, tg_dfa **ret)
{
    uint8_t class_of[256];
    const two t = {a, b};
    join_classes(a, b, class_of);
    return tg_dfa_explore(&(tg_dfa_rule){step_two, accepts, &t,
                                         (uint64_t)TG_DFA_START << 32 | TG_DFA_START, class_of,
                                         NULL},
                          err, ret);
}

int tg_dfa_both(const tg_dfa *a, const tg_dfa *b, tg_error *err, tg_dfa **ret)
{
    return combine(a, b, accepts_both, err, ret);
}
int tg_dfa_without(const tg_dfa *a, const tg_dfa *b, tg_error *err, tg_dfa **ret)
{
    return combine(a, b, accepts_first, err, ret);
}

typedef struct quoted {
    const tg_dfa *unit;
    uint32_t least, most, reach;
} quoted;

/* the quotes; between them count + 1 in the upper half, the unit's state in the lower */
enum { BEFORE = 1, AFTER = 2 };

static uint64_t step_quoted(const void *user, uint64_t state, uint8_t byte)
{
    const quoted *q = user;
    const uint32_t at = (uint32_t)state;
    uint32_t count = (uint32_t)(state >> 32);
    if (count == 0)
        return at == BEFORE && byte == '"' ? (uint64_t)1 << 32 | TG_DFA_START : 0;
    if (at == TG_DFA_START && byte == '"')
        return count > q->least ? AFTER : 0;
    if (at == TG_DFA_START && q->most != UINT32_MAX && count > q->most)
        return 0;
    const uint32_t to = tg_dfa_next(q->unit, at, byte);
    if (to == TG_DFA_DEAD)
        return 0;
    if (!q->unit->accepts[to])
        return (uint64_t)count << 32 | to;
    /* beyond it counting says nothing new */
    const uint32_t end = q->most == UINT32_MAX ? q->least + 1 : q->most + 1;
    count = count < end ? count + 1 : count;
    return (uint64_t)count << 32 | TG_DFA_START;
}

static bool accepts_quoted(const void *user, uint64_t state)
{
    (void)user;
    return state == AFTER;
}

/* Too few characters to end, or enough of them and room for more, whatever the next `reach` bytes
 * are. */
static uint64_t alike_quoted(const void *user, uint64_t state)
{
    const quoted *q = user;
    const uint32_t count = (uint32_t)(state >> 32);
    if (count > 0 && count + q->reach <= q->least + 1)
        return (uint64_t)1 << 32 | (uint32_t)state;
    if (count > q->least && q->most != UINT32_MAX && count + q->reach <= q->most + 1)
        return (uint64_t)(q->least + 1) << 32 | (uint32_t)state;
    return state;
}

int tg_dfa_quoted(const tg_dfa *a, uint32_t least, uint32_t most, uint32_t reach, tg_error *err,
                  tg_dfa **ret)
{
    const quoted q = {a, least, most, reach};
    uint8_t class_of[256];
    memcpy(class_of, a->class_of, sizeof(class_of));
    /* there are fewer than 256: a unit of UTF-8 never has them all */
    class_of['"'] = (uint8_t)a->classes;
    return tg_dfa_explore(
        &(tg_dfa_rule){step_quoted, accepts_quoted, &q, BEFORE, class_of, alike_quoted}, err, ret);
}

/* ---- from a regular expression: Thompson's construction, then sets of its states ---- */

#define NONE UINT32_MAX

typedef struct nfa_state { /* either a byte range to `a`, or (first > last) free ways to a and b */
    uint32_t a, b;
    uint8_t first, last;
} nfa_state;

typedef struct nfa {
    nfa_state *states;
    uint32_t len, cap;
    int rc;
} nfa;

static uint32_t add_nfa(nfa *n, uint8_t first, uint8_t last, uint32_t a, uint32_t b)
{
    if (n->len == n->cap && n->rc == 0) {
        const uint32_t cap = n->cap ? 2 * n->cap : 256;
        nfa_state *more =
            n->len < TG_NFA_STATES_MAX ? realloc(n->states, cap * sizeof(*more)) : NULL;
        if (!more)
            n->rc = n->len < TG_NFA_STATES_MAX ? -ENOMEM : -EMSGSIZE;
        else
            n->states = more, n->cap = cap;
    }
    if (n->rc < 0)
        return 0;
    n->states[n->len] = (nfa_state){a, b, first, last};
    return n->len++;
}

static uint32_t add_free(nfa *n, uint32_t a, uint32_t b) { return add_nfa(n, 1, 0, a, b); }

static size_t encode(uint32_t point, uint8_t to[4])
{
    if (point < 0x80) {
        to[0] = (uint8_t)point;
        return 1;
    }
    const size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        to[i] = (uint8_t)(0x80 | (point & 0x3f));
    to[0] = (uint8_t)((len == 2 ? 0xc0 : len == 3 ? 0xe0 : 0xf0) | point);
    return len;
}

/* Points of one encoded length; cut so that each byte's range is independent of the others. Adds an
 * alternative. */
static uint32_t add_points(nfa *n, uint32_t first, uint32_t last, uint32_t next, uint32_t other)
{
    uint8_t low[4], high[4];
    const size_t len = encode(first, low);
    for (size_t i = 1; i < len; i++) {
        const uint32_t mask = (1u << (6 * i)) - 1;
        if ((first & ~mask) == (last & ~mask))
            continue;
        if ((first & mask) != 0)
            return add_points(n, first, first | mask, next,
                              add_points(n, (first | mask) + 1, last, next, other));
        if ((last & mask) != mask)
            return add_points(n, first, (last & ~mask) - 1, next,
                              add_points(n, last & ~mask, last, next, other));
    }
    encode(last, high);
    for (size_t i = len; i-- > 0;)
        next = add_nfa(n, low[i], high[i], next, NONE);
    return other == NONE ? next : add_free(n, next, other);
}

static uint32_t add_set(nfa *n, const tg_regex *set, uint32_t next)
{
    static const tg_points lengths[] = {
        {0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    uint32_t all = NONE;
    for (size_t i = set->points_len; i-- > 0;) {
        for (size_t k = sizeof(lengths) / sizeof(*lengths); k-- > 0;) {
            const uint32_t first =
                set->points[i].first > lengths[k].first ? set->points[i].first : lengths[k].first;
            const uint32_t last =
                set->points[i].last < lengths[k].last ? set->points[i].last : lengths[k].last;
            if (first <= last)
                all = add_points(n, first, last, next, all);
        }
    }
    return all == NONE ? add_nfa(n, 1, 0, NONE, NONE) : all; /* of nothing: a way to nowhere */
}

/* Built from the end: the state from which the expression, and then `next`, matches. */
static uint32_t add_regex(nfa *n, const tg_regex *r, uint32_t next)
{
    if (n->rc < 0)
        return 0;
    switch (r->kind) {
    case TG_REGEX_TEXT:
        for (size_t i = r->text.len; i-- > 0;)
            next = add_nfa(n, (uint8_t)r->text.data[i], (uint8_t)r->text.data[i], next, NONE);
        return next;
    case TG_REGEX_SET: return add_set(n, r, next);
    case TG_REGEX_CAT: return add_regex(n, r->a, add_regex(n, r->b, next));
    case TG_REGEX_ALT: {
        const uint32_t b = add_regex(n, r->b, next);
        return add_free(n, add_regex(n, r->a, next), b);
    }
    default: break;
    }
    uint32_t at = next;
    if (r->most == UINT32_MAX) {
        const uint32_t loop = add_free(n, NONE, next);
        const uint32_t body = add_regex(n, r->a, loop);
        if (n->rc == 0)
            n->states[loop].a = body;
        at = loop;
    } else {
        for (uint32_t i = r->least; i < r->most && n->rc == 0; i++)
            at = add_free(n, add_regex(n, r->a, at), next);
    }
    for (uint32_t i = 0; i < r->least && n->rc == 0; i++)
        at = add_regex(n, r->a, at);
    return at;
}

/* The set of states that can be reached without a byte: those that take one, and the end. In
 * ascending order. */
typedef struct closure {
    const nfa *n;
    uint32_t *stack, *set, *seen; /* seen: by state, the round in which it was */
    uint32_t len, round;
    uint64_t work; /* states looked at so far */
} closure;

static void close_over(closure *c, uint32_t state)
{
    uint32_t depth = 0;
    c->stack[depth++] = state;
    while (depth > 0) {
        const uint32_t at = c->stack[--depth];
        c->work++;
        if (at == NONE || c->seen[at] == c->round)
            continue;
        c->seen[at] = c->round;
        const nfa_state *s = &c->n->states[at];
        if (s->first <= s->last || at == 0) { /* 0 is the end */
            c->set[c->len++] = at;
            continue;
        }
        c->stack[depth++] = s->b;
        c->stack[depth++] = s->a;
    }
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

typedef struct subsets { /* the DFA's states as sets, one after the other in `pool`, found again by
                            their hash */
    uint32_t *pool;
    size_t len, cap;
    size_t *at;      /* by DFA state: where its set begins; the next one's is its end */
    uint32_t *table; /* open addressing; 0: free */
} subsets;

enum { TABLE = 1 << 17 };

static int keep_set(subsets *s, tg_dfa *dfa, const closure *c, tg_error *err, uint32_t *ret)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < c->len; i++)
        hash = (hash ^ c->set[i]) * 0x100000001b3u;
    size_t slot = (size_t)(hash ^ hash >> 29) & (TABLE - 1);
    for (; s->table[slot] != 0; slot = (slot + 1) & (TABLE - 1)) {
        const uint32_t state = s->table[slot];
        const size_t len = s->at[state + 1] - s->at[state];
        if (len == c->len && memcmp(s->pool + s->at[state], c->set, len * sizeof(*c->set)) == 0) {
            *ret = state;
            return 0;
        }
    }
    if (dfa->states >= TG_DFA_STATES_MAX)
        return too_large(err);
    if (!s->pool || s->len + c->len > s->cap) {
        const size_t cap = 2 * (s->len + c->len) + 1024;
        uint32_t *more = cap < (64u << 20) ? realloc(s->pool, cap * sizeof(*more)) : NULL;
        if (!more)
            return cap < (64u << 20) ? -ENOMEM : too_large(err);
        s->pool = more;
        s->cap = cap;
    }
    const uint32_t state = add_state(dfa, c->len > 0 && c->set[0] == 0);
    if (state == 0)
        return -ENOMEM;
    memcpy(s->pool + s->len, c->set, c->len * sizeof(*c->set));
    s->at[state] = s->len;
    s->len += c->len;
    s->at[state + 1] = s->len;
    s->table[slot] = state;
    *ret = state;
    return 0;
}

/* Bytes between which no state's range begins or ends are one class. */
static void find_classes(const nfa *n, uint8_t class_of[256])
{
    bool begins[257] = {true};
    for (uint32_t i = 0; i < n->len; i++)
        if (n->states[i].first <= n->states[i].last && i != 0)
            begins[n->states[i].first] = begins[n->states[i].last + 1] = true;
    for (uint32_t b = 0, c = 0; b < 256; b++) {
        c += b > 0 && begins[b];
        class_of[b] = (uint8_t)c;
    }
}

static int determinise(const nfa *n, uint32_t start, tg_dfa *dfa, subsets *s, closure *c,
                       tg_error *err)
{
    uint32_t state = 0;
    c->round = 1;
    close_over(c, start);
    qsort(c->set, c->len, sizeof(*c->set), compare_u32);
    int rc = keep_set(s, dfa, c, err, &state);
    for (uint32_t from = TG_DFA_START; from < dfa->states && rc == 0; from++) {
        uint8_t byte = 0;
        for (uint32_t k = 0; k < dfa->classes && rc == 0; k++) {
            while (dfa->class_of[byte] != k)
                byte++;
            c->len = 0;
            c->round++;
            c->work += s->at[from + 1] - s->at[from];
            if (c->work > TG_DFA_WORK_MAX)
                return tg_error_set(
                    err, -EMSGSIZE,
                    "this regular expression takes more than %d million steps to compile; smaller "
                    "counts, or parts that cannot match the same text, are needed",
                    TG_DFA_WORK_MAX / 1000000);
            for (size_t i = s->at[from]; i < s->at[from + 1]; i++) {
                const nfa_state *t = &n->states[s->pool[i]];
                if (s->pool[i] != 0 && t->first <= byte && byte <= t->last)
                    close_over(c, t->a);
            }
            if (c->len == 0)
                continue;
            qsort(c->set, c->len, sizeof(*c->set), compare_u32);
            rc = keep_set(s, dfa, c, err, &state);
            dfa->next[(size_t)from * dfa->classes + k] = (uint16_t)state;
        }
    }
    return rc;
}

int tg_dfa_from_regex(const tg_regex *regex, tg_error *err, tg_dfa **ret)
{
    nfa n = {0};
    subsets s = {0};
    closure c = {.n = &n};
    uint8_t class_of[256];
    tg_dfa *dfa = NULL;
    if (!regex)
        return -ENOMEM;
    add_nfa(&n, 1, 0, NONE, NONE); /* 0: the end */
    const uint32_t start = add_regex(&n, regex, 0);
    int rc =
        n.rc == -EMSGSIZE
            ? tg_error_set(err, n.rc,
                           "this regular expression is too large: its counts come to more than "
                           "%d states",
                           TG_NFA_STATES_MAX)
            : n.rc;
    if (rc == 0) {
        find_classes(&n, class_of);
        dfa = new_dfa(class_of);
        c.stack = malloc((2 * (size_t)n.len + 2) * sizeof(*c.stack));
        c.set = malloc((n.len + 1) * sizeof(*c.set));
        c.seen = calloc(n.len + 1, sizeof(*c.seen));
        s.at = malloc((TG_DFA_STATES_MAX + 2) * sizeof(*s.at));
        s.table = calloc(TABLE, sizeof(*s.table));
        rc = dfa && c.stack && c.set && c.seen && s.at && s.table
                 ? determinise(&n, start, dfa, &s, &c, err)
                 : -ENOMEM;
    }
    if (rc == 0)
        rc = prune(dfa, err);
    if (rc == 0)
        dfa->work = c.work;
    if (rc == 0)
        rc = tg_dfa_minimise(dfa);
    free(n.states);
    free(c.stack);
    free(c.set);
    free(c.seen);
    free(s.pool);
    free(s.at);
    free(s.table);
    if (rc < 0)
        tg_dfa_free(dfa);
    else
        *ret = dfa;
    return rc;
}
