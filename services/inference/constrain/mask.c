/* Which tokens may come next: walks over the token tree, done once for each state of each lexeme,
 * and what goes past a lexeme's end.
 *
 * All of it can be left off at any point and gone on with: the node reached, and what led there,
 * are kept. */
#include "services/inference/constrain/constraint_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEW 128 /* tokens; a mask of no more is kept as a list */
#define UNBOUNDED ((int64_t)1 << 62)

struct tg_masking {
    bool begun;
    uint32_t place; /* the next of the state's */
    tg_walk *walk;  /* of that place, whole or being made */
    bool made;
    uint32_t node, until; /* being made: of the tree; past its end: in the subtree of an exit */
    uint32_t few[FEW], few_len; /* being made: its tokens, until there are bits */
    uint32_t states[TG_TRIE_DEPTH_MAX + 1]; /* of the lexeme, by depth */
    bool past;            /* at the exits */
    uint32_t kept_frames; /* of before */
    uint32_t exit;        /* the next of the walk's */
    uint32_t behind, behind_end, behind_frames; /* the set behind the lexeme */
    uint32_t out_end, out_frames; /* of the set behind an exit's byte, which stands there */
    uint32_t first[TG_TRIE_DEPTH_MAX + 1], end[TG_TRIE_DEPTH_MAX + 1],
        frames[TG_TRIE_DEPTH_MAX + 1]; /* sets below an exit, by depth */
    uint64_t allowed[];
};

/* ---- walks ---- */

static tg_walk *free_walk(tg_walk *w)
{
    if (!w || --w->users > 0)
        return NULL;
    free(w->bits);
    free(w->tokens);
    free(w->exits);
    free(w);
    return NULL;
}

void tg_walks_drop(tg_constraint *c)
{
    for (uint32_t i = 0; i < c->program.lexemes_len && c->lexemes; i++)
        for (uint32_t s = 0; c->lexemes[i].walks && s < c->program.lexemes[i]->states; s++)
            c->lexemes[i].walks[s] = free_walk(c->lexemes[i].walks[s]);
    atomic_store(&c->walk_bytes, 0);
}

static size_t words_of(const tg_vocab_trie *trie) { return (trie->vocab + 63) / 64; }

static void allow(const uint32_t *tokens, uint32_t len, uint64_t *allowed)
{
    for (uint32_t i = 0; i < len; i++)
        allowed[tokens[i] / 64] |= (uint64_t)1 << (tokens[i] % 64);
}

/* Bits for the walk that is being made, with the few tokens it has. False without memory. */
static bool begin_bits(tg_masking *m, const tg_vocab_trie *trie)
{
    m->walk->bits = calloc(words_of(trie), sizeof(*m->walk->bits));
    if (m->walk->bits)
        allow(m->few, m->few_len, m->walk->bits);
    return m->walk->bits != NULL;
}

/* Adds tokens to it. */
static bool take(tg_masking *m, const tg_vocab_trie *trie, uint32_t first, uint32_t end)
{
    const uint32_t *tokens = trie->order + first, len = end - first;
    if (!m->walk->bits && len <= FEW - m->few_len) {
        memcpy(m->few + m->few_len, tokens, len * sizeof(*tokens));
        m->few_len += len;
        return true;
    }
    if (!m->walk->bits && !begin_bits(m, trie))
        return false;
    allow(tokens, len, m->walk->bits);
    return true;
}

/* Of them those whose last run begins above `depth`. */
static bool take_runs(tg_masking *m, const tg_vocab_trie *trie, uint32_t first, uint32_t end,
                      uint32_t depth)
{
    if (!m->walk->bits && !begin_bits(m, trie))
        return false;
    for (; first < end; first++)
        m->walk->bits[trie->order[first] / 64] |= (uint64_t)(trie->runs[first] < depth)
                                                  << (trie->order[first] % 64);
    return true;
}

static bool note_exit(tg_walk *w, uint32_t node)
{
    if (w->exits_len == w->exits_cap) {
        const uint32_t cap = w->exits_cap ? 2 * w->exits_cap : 64;
        tg_exit *more = realloc(w->exits, cap * sizeof(*more));
        if (!more)
            return false;
        w->exits = more;
        w->exits_cap = cap;
    }
    w->exits[w->exits_len++] = (tg_exit){node, 0};
    return true;
}

/* `exit`: whatever is below is one, and nothing goes on. */
static tg_kinds kinds_of(const tg_dfa *dfa, const tg_class *classes, uint32_t state, bool exit)
{
    const uint16_t *next = dfa->next + (size_t)state * dfa->classes;
    uint32_t to = TG_DFA_DEAD, most = 0, leads = 0;
    for (uint32_t k = 0; k < dfa->classes; k++)
        if (next[k] != TG_DFA_DEAD && classes[k].bytes > most) {
            to = next[k];
            most = classes[k].bytes;
        }
    uint32_t others = exit || to == TG_DFA_DEAD ? TG_TRIE_KINDS_ALL : 0;
    for (uint32_t k = 0; k < dfa->classes; k++) {
        leads |= next[k] != TG_DFA_DEAD ? classes[k].kinds : 0u;
        others |= next[k] != to ? classes[k].kinds : 0u;
    }
    /* TG_TRIE_KINDS_KNOWN in both */
    return (tg_kinds){(uint16_t)~others, (uint16_t)~leads, (uint16_t)to};
}

static const tg_kinds *kinds_at(const tg_constraint *c, const tg_dfa *dfa, const tg_lexeme_walks *l,
                                uint32_t state)
{
    if (l->kinds[state].on == 0)
        l->kinds[state] = kinds_of(dfa, l->classes, state, dfa->accepts[state] && !c->alone);
    return &l->kinds[state];
}

/* Whether all texts of so many bytes of these kinds stay alive behind a state, one state for all of
 * a length. */
static bool goes_on(const tg_constraint *c, const tg_dfa *dfa, const tg_lexeme_walks *l,
                    uint32_t state, uint32_t kinds, uint32_t bytes)
{
    for (; bytes > 0; bytes--) {
        const tg_kinds *k = kinds_at(c, dfa, l, state);
        if ((kinds & ~k->on) != 0 || k->to == state)
            return (kinds & ~k->on) == 0;
        if (bytes == UINT8_MAX)
            return false;
        state = k->to;
    }
    return true;
}

/* What is below a node at which the lexeme is in this state, as far as that can be told at once:
 * the tokens of all of it, or those that go on in bytes of one kind. Returns the node to go on
 * at. */
static uint32_t take_below(tg_constraint_state *s, const tg_dfa *dfa, const tg_lexeme_walks *l,
                           uint32_t i, uint32_t state)
{
    const tg_vocab_trie *trie = s->constraint->trie;
    const tg_trie_node *node = &trie->nodes[i];
    const tg_kinds *kinds = kinds_at(s->constraint, dfa, l, state);
    const bool whole = (node->kinds & ~kinds->on) == 0 &&
                       goes_on(s->constraint, dfa, l, state, node->kinds, node->height);
    const bool run = !whole && kinds->to == state && (kinds->on >> tg_trie_kind(node->byte) & 1) &&
                     (node->after & ~kinds->dead) == 0;
    const uint32_t upto = whole || run ? node->skip : i + 1, end = trie->nodes[upto].first;
    s->work -= (end - node->first) / 8;
    s->broken |= run ? !take_runs(s->masking, trie, node->first, end, node->depth)
                     : !take(s->masking, trie, node->first, end);
    return upto;
}

/* Goes on making the walk. False: the work is used up, or memory is. */
static bool make_some(tg_constraint_state *s, const tg_dfa *dfa, const tg_lexeme_walks *l)
{
    const tg_constraint *c = s->constraint;
    const tg_vocab_trie *trie = c->trie;
    tg_masking *m = s->masking;
    uint32_t i = m->node;
    for (; i < m->until && s->work > 0 && !s->broken; s->work--) {
        const tg_trie_node *node = &trie->nodes[i];
        const uint32_t state = m->states[node->depth - 1],
                       next = tg_dfa_next(dfa, state, node->byte);
        s->broken |= node->depth > 1 && dfa->accepts[state] && !c->alone && !note_exit(m->walk, i);
        if (next == TG_DFA_DEAD) {
            i = node->skip;
            continue;
        }
        m->states[node->depth] = next;
        i = take_below(s, dfa, l, i, next);
    }
    m->node = i;
    return i >= m->until && !s->broken;
}

/* By byte; of a byte they stay as they were found. */
static bool sort_exits(tg_walk *w, const tg_vocab_trie *trie)
{
    uint32_t at[257] = {0}, ends[256];
    tg_exit *sorted = malloc(w->exits_len * sizeof(*sorted));
    if (!sorted)
        return false;
    for (uint32_t i = 0; i < w->exits_len; i++)
        at[trie->nodes[w->exits[i].node].byte + 1]++;
    for (uint32_t b = 0; b < 256; b++)
        ends[b] = at[b + 1] += at[b];
    for (uint32_t i = 0; i < w->exits_len; i++) {
        const uint8_t byte = trie->nodes[w->exits[i].node].byte;
        sorted[at[byte]++] = (tg_exit){w->exits[i].node, ends[byte]};
    }
    free(w->exits);
    w->exits = sorted;
    w->exits_cap = w->exits_len;
    return true;
}

/* False without memory. */
static bool finish_walk(tg_constraint *c, const tg_masking *m, tg_walk *w)
{
    if (w->exits_len > 0 && !sort_exits(w, c->trie))
        return false;
    if (!w->bits) {
        w->tokens = malloc((m->few_len + 1) * sizeof(*w->tokens));
        if (!w->tokens)
            return false;
        memcpy(w->tokens, m->few, m->few_len * sizeof(*w->tokens));
        w->tokens_len = m->few_len;
    }
    if (atomic_load(&c->walk_bytes) > TG_CONSTRAINT_MASK_BYTES_MAX)
        tg_walks_drop(c);
    atomic_fetch_add(&c->walk_bytes, sizeof(*w) +
                                         (w->bits ? words_of(c->trie) * sizeof(*w->bits)
                                                  : w->tokens_len * sizeof(*w->tokens)) +
                                         w->exits_cap * sizeof(*w->exits));
    return true;
}

/* A walk to be made of a state, at its beginning. */
static bool begin_walk(tg_constraint_state *s, const tg_dfa *dfa, uint32_t state)
{
    const tg_vocab_trie *trie = s->constraint->trie;
    const size_t words = words_of(trie);
    const int room = tg_dfa_plain_room(dfa, state, TG_TRIE_PLAIN_MAX);
    tg_masking *m = s->masking;
    const uint32_t root = room < 0 ? 0 : trie->len;
    m->walk = calloc(1, sizeof(*m->walk));
    if (!m->walk)
        return false;
    m->walk->users = 1;
    m->few_len = 0;
    if (room > 0) {
        m->walk->bits = malloc(words * sizeof(*m->walk->bits));
        if (!m->walk->bits)
            return false;
        memcpy(m->walk->bits, trie->plain + (size_t)room * words, words * sizeof(*m->walk->bits));
    }
    m->states[0] = state;
    m->node = root + 1;
    m->until = trie->nodes[root].skip;
    return true;
}

/* The walk of the place's state is there, in masking->walk. False: the work is used up, or memory
 * is. */
static bool find_walk(tg_constraint_state *s, const tg_place *p)
{
    tg_constraint *c = s->constraint;
    tg_masking *m = s->masking;
    const tg_dfa *dfa = tg_lexeme_at(c, p->pc);
    const uint32_t state = dfa->alike ? dfa->alike[p->state] : p->state;
    const tg_lexeme_walks *l = &c->lexemes[c->program.code[p->pc].a];
    if (!m->made && l->walks[state]) { /* maybe made by another sequence meanwhile */
        free_walk(m->walk);
        m->walk = l->walks[state];
        m->walk->users++;
        m->made = true;
    }
    if (m->made)
        return true;
    s->broken |= !m->walk && !begin_walk(s, dfa, state);
    if (s->broken || !make_some(s, dfa, l))
        return false;
    s->broken = !finish_walk(c, m, m->walk);
    if (s->broken)
        return false;
    m->made = true;
    l->walks[state] = m->walk;
    m->walk->users++;
    return true;
}

/* ---- past a lexeme's end ---- */

/* A node is reached with the set that begins at `first`. */
static void reach(tg_constraint_state *s, uint32_t node, uint32_t first)
{
    const tg_vocab_trie *trie = s->constraint->trie;
    tg_masking *m = s->masking;
    const uint32_t depth = trie->nodes[node].depth;
    m->first[depth] = first;
    m->end[depth] = s->places_len;
    m->frames[depth] = s->frames_len;
    m->node = node + 1;
    allow(trie->order + trie->nodes[node].first,
          trie->nodes[node + 1].first - trie->nodes[node].first, m->allowed);
}

/* One more node below an exit. */
static void go_on(tg_constraint_state *s)
{
    tg_masking *m = s->masking;
    const tg_trie_node *node = &s->constraint->trie->nodes[m->node];
    const uint32_t above = node->depth - 1u;
    s->places_len = m->end[above];
    s->frames_len = m->frames[above];
    const uint32_t first = tg_places_step(s, m->first[above], m->end[above], node->byte);
    if (s->places_len > first)
        reach(s, m->node, first);
    else
        m->node = node->skip;
}

/* The next exit; those of the same byte, which come one after the other, have the same set. */
static void go_out(tg_constraint_state *s)
{
    const tg_vocab_trie *trie = s->constraint->trie;
    tg_masking *m = s->masking;
    const tg_exit *e = &m->walk->exits[m->exit];
    if (m->exit == 0 || e[-1].next == m->exit) {
        s->places_len = m->behind_end;
        s->frames_len = m->behind_frames;
        tg_places_step(s, m->behind, m->behind_end, trie->nodes[e->node].byte);
        m->out_end = s->places_len;
        m->out_frames = s->frames_len;
    }
    if (m->out_end == m->behind_end) {
        m->exit = e->next;
        return;
    }
    s->places_len = m->out_end;
    s->frames_len = m->out_frames;
    m->exit++;
    m->until = trie->nodes[e->node].skip;
    reach(s, e->node, m->behind_end);
}

/* Tokens that end the lexeme and go on with what is behind it. False: the work is used up. */
static bool walk_exits(tg_constraint_state *s, const tg_place *p)
{
    tg_masking *m = s->masking;
    if (!m->past) {
        m->past = true;
        m->kept_frames = s->frames_len;
        m->exit = m->node = m->until = 0;
        m->behind = tg_places_enter(s, p->pc + 1, p->frame);
        m->behind_end = s->places_len;
        m->behind_frames = s->frames_len;
    }
    while (m->behind_end > m->behind && (m->node < m->until || m->exit < m->walk->exits_len)) {
        if (s->work <= 0)
            return false;
        if (m->node < m->until)
            go_on(s);
        else
            go_out(s);
    }
    s->places_len = s->len;
    s->frames_len = m->kept_frames; /* only the walk needed more */
    m->past = false;
    return true;
}

/* ---- masks ---- */

void tg_masking_reset(tg_constraint_state *s)
{
    tg_masking *m = s->masking;
    if (!m || !m->begun)
        return;
    free_walk(m->walk);
    if (m->past)
        s->frames_len = m->kept_frames;
    s->places_len = s->len;
    m->walk = NULL;
    m->begun = m->made = m->past = false;
}

void tg_masking_free(tg_constraint_state *s)
{
    tg_masking_reset(s);
    free(s->masking);
    s->masking = NULL;
}

bool tg_masking_new(tg_constraint_state *s)
{
    s->masking = calloc(1, sizeof(*s->masking) + words_of(s->constraint->trie) * sizeof(uint64_t));
    return s->masking != NULL;
}

static void begin_mask(tg_constraint_state *s)
{
    memset(s->masking->allowed, 0, words_of(s->constraint->trie) * sizeof(uint64_t));
    s->masking->begun = true;
    s->masking->place = 0;
}

/* What one place allows. False: the work is used up, or memory is. */
static bool mask_place(tg_constraint_state *s, const tg_place *p)
{
    tg_masking *m = s->masking;
    if (!m->past) {
        if (!find_walk(s, p))
            return false;
        for (size_t k = 0, words = words_of(s->constraint->trie); m->walk->bits && k < words; k++)
            m->allowed[k] |= m->walk->bits[k];
        allow(m->walk->tokens, m->walk->tokens_len, m->allowed);
    }
    if (m->walk->exits_len > 0 && !walk_exits(s, p))
        return false;
    m->walk = free_walk(m->walk);
    m->made = false;
    return true;
}

int tg_constraint_mask(tg_constraint_state *s, int64_t *work, const uint64_t **ret)
{
    if (!s->masking->begun)
        begin_mask(s);
    s->work = work ? *work : UNBOUNDED;
    while (!s->broken && s->masking->place < s->len) {
        const tg_place p = s->places[s->masking->place];
        s->work--;
        if (s->constraint->program.code[p.pc].op == TG_OP_LEXEME && !mask_place(s, &p))
            break;
        s->masking->place++;
    }
    if (work)
        *work = s->work;
    if (s->broken)
        return -ENOMEM;
    if (s->masking->place < s->len)
        return -EAGAIN;
    *ret = s->masking->allowed;
    return 0;
}
