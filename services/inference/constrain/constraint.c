#include "services/inference/constrain/constraint.h"

#include "services/inference/constrain/schema.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NO_FRAME UINT32_MAX
#define FEW 128 /* tokens; a mask of no more is kept as a list */

typedef struct exit_way { /* a child of a tree node at which the lexeme may be over */
    uint32_t node;
    uint8_t byte;
} exit_way;

typedef struct walk { /* what the tree says of one lexeme's state */
    uint64_t *bits;   /* by token; NULL: the list below says it */
    uint32_t *tokens;
    uint32_t tokens_len;
    exit_way *exits; /* by byte */
    uint32_t exits_len;
    uint32_t first_exit[257];
} walk;

struct tg_constraint {
    atomic_uint references;
    const tg_vocab_trie *trie;
    tg_program program;
    walk ***walks; /* by lexeme, by state; NULL where not done */
    size_t bytes; /* of the program */
    atomic_size_t walk_bytes;
};

typedef struct frame { /* a call under way */
    uint32_t back, parent, depth;
} frame;

typedef struct place {
    uint32_t pc, frame;
    uint16_t state; /* of the lexeme at pc */
} place;

struct tg_constraint_state {
    tg_constraint *constraint;
    frame *frames;
    uint32_t frames_len, frames_cap;
    place *places; /* the state's own are the first `len`; walks put theirs behind */
    uint32_t len, places_len, places_cap;
    bool broken; /* memory ran out */
};

/* ---- compiling ---- */

static int compile_regex(const tg_regex *regex, tg_program *p, tg_error *err)
{
    tg_dfa *dfa = NULL;
    int rc = tg_dfa_from_regex(regex, err, &dfa);
    if (rc < 0)
        return rc;
    p->start = tg_program_add(p, TG_OP_LEXEME, tg_program_lexeme(p, dfa), 0);
    tg_program_add(p, TG_OP_DONE, 0, 0);
    return tg_program_finish(p, err);
}

/* Balanced, so that a thousand texts nest ten deep. */
static const tg_regex *any_of(const tg_str *texts, size_t len, tg_arena *arena)
{
    if (len == 1)
        return tg_regex_text(arena, texts[0]);
    return tg_regex_alt(arena, any_of(texts, len / 2, arena), any_of(texts + len / 2, len - len / 2, arena));
}

static int compile_choice(const tg_constraint_spec *spec, tg_arena *arena, tg_program *p, tg_error *err)
{
    size_t bytes = 0;
    if (spec->texts_len == 0 || spec->texts_len > TG_CONSTRAINT_CHOICES_MAX)
        return tg_error_set(err, -EINVAL, "a choice of %zu texts; 1 to %d are allowed", spec->texts_len, TG_CONSTRAINT_CHOICES_MAX);
    for (size_t i = 0; i < spec->texts_len; i++) {
        bytes += spec->texts[i].len;
        if (spec->texts[i].len == 0 || !tg_utf8_valid(spec->texts[i].data, spec->texts[i].len))
            return tg_error_set(err, -EINVAL, "text %zu of the choice is empty or not valid UTF-8", i);
    }
    if (bytes > TG_CONSTRAINT_TEXT_BYTES_MAX)
        return tg_error_set(err, -EMSGSIZE, "a choice of %zu bytes; at most %u are allowed", bytes, TG_CONSTRAINT_TEXT_BYTES_MAX);
    return compile_regex(any_of(spec->texts, spec->texts_len, arena), p, err);
}

static int compile(const tg_constraint_spec *spec, tg_arena *arena, tg_program *p, tg_error *err)
{
    const tg_regex *regex = NULL;
    int rc;
    switch (spec->kind) {
    case TG_CONSTRAINT_JSON_OBJECT: return tg_program_json_object(p, arena, err);
    case TG_CONSTRAINT_JSON_SCHEMA:
        if (spec->texts_len != 1 && spec->texts_len != 3)
            return tg_error_set(err, -EINVAL, "one JSON schema is needed, alone or with what stands before and behind it");
        return tg_program_json_schema(p, spec->texts[0], spec->texts_len == 3 ? spec->texts + 1 : NULL, arena, err);
    case TG_CONSTRAINT_REGEX:
        if (spec->texts_len != 1)
            return tg_error_set(err, -EINVAL, "one regular expression is needed");
        rc = tg_regex_parse(spec->texts[0], true, arena, err, &regex);
        return rc < 0 ? rc : compile_regex(regex, p, err);
    case TG_CONSTRAINT_CHOICE: return compile_choice(spec, arena, p, err);
    default: return tg_error_set(err, -EINVAL, "no constraint");
    }
}

int tg_constraint_compile(const tg_constraint_spec *spec, const tg_vocab_trie *trie, tg_error *err, tg_constraint **ret)
{
    tg_arena arena;
    tg_constraint *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    atomic_init(&c->references, 1);
    atomic_init(&c->walk_bytes, 0);
    c->trie = trie;
    tg_arena_init(&arena, 0);
    tg_program_init(&c->program);
    int rc = compile(spec, &arena, &c->program, err);
    tg_arena_free(&arena);
    if (rc == 0) {
        c->walks = calloc(c->program.lexemes_len, sizeof(*c->walks));
        rc = c->walks ? 0 : -ENOMEM;
    }
    c->bytes = c->program.len * sizeof(*c->program.code);
    for (uint32_t i = 0; i < c->program.lexemes_len && rc == 0; i++) {
        const tg_dfa *dfa = c->program.lexemes[i];
        c->bytes += (size_t)dfa->states * (dfa->classes * sizeof(*dfa->next) + sizeof(**c->walks));
        c->walks[i] = calloc(dfa->states, sizeof(**c->walks));
        rc = c->walks[i] ? 0 : -ENOMEM;
    }
    if (rc < 0)
        tg_constraint_release(c);
    else
        *ret = c;
    return rc;
}

static void free_walk(walk *w)
{
    if (!w)
        return;
    free(w->bits);
    free(w->tokens);
    free(w->exits);
    free(w);
}

static void drop_walks(tg_constraint *c)
{
    for (uint32_t i = 0; i < c->program.lexemes_len && c->walks; i++) {
        for (uint32_t s = 0; c->walks[i] && s < c->program.lexemes[i]->states; s++) {
            free_walk(c->walks[i][s]);
            c->walks[i][s] = NULL;
        }
    }
    atomic_store(&c->walk_bytes, 0);
}

size_t tg_constraint_bytes(const tg_constraint *c) { return c->bytes + atomic_load(&c->walk_bytes); }

tg_constraint *tg_constraint_retain(tg_constraint *c)
{
    atomic_fetch_add(&c->references, 1);
    return c;
}

tg_constraint *tg_constraint_release(tg_constraint *c)
{
    if (!c || atomic_fetch_sub(&c->references, 1) > 1)
        return NULL;
    drop_walks(c);
    for (uint32_t i = 0; i < c->program.lexemes_len && c->walks; i++)
        free(c->walks[i]);
    free(c->walks);
    tg_program_free(&c->program);
    free(c);
    return NULL;
}

/* ---- places ---- */

static const tg_dfa *lexeme_at(const tg_constraint *c, uint32_t pc) { return c->program.lexemes[c->program.code[pc].a]; }

static uint32_t depth_of(const tg_constraint_state *s, uint32_t at) { return at == NO_FRAME ? 0 : s->frames[at].depth; }

static bool same_frames(const tg_constraint_state *s, uint32_t a, uint32_t b)
{
    while (a != b) {
        if (a == NO_FRAME || b == NO_FRAME || s->frames[a].back != s->frames[b].back || s->frames[a].depth != s->frames[b].depth)
            return false;
        a = s->frames[a].parent;
        b = s->frames[b].parent;
    }
    return true;
}

static uint32_t push_frame(tg_constraint_state *s, uint32_t back, uint32_t parent)
{
    if (s->frames_len == s->frames_cap) {
        const uint32_t cap = s->frames_cap ? 2 * s->frames_cap : 64;
        frame *more = realloc(s->frames, cap * sizeof(*more));
        if (!more) {
            s->broken = true;
            return NO_FRAME;
        }
        s->frames = more;
        s->frames_cap = cap;
    }
    s->frames[s->frames_len] = (frame){back, parent, depth_of(s, parent) + 1};
    return s->frames_len++;
}

/* Adds a place to the set that begins at `first`, unless it is there. True: it was added. */
static bool add_place(tg_constraint_state *s, uint32_t first, place p)
{
    for (uint32_t i = first; i < s->places_len; i++)
        if (s->places[i].pc == p.pc && s->places[i].state == p.state && same_frames(s, s->places[i].frame, p.frame))
            return false;
    if (s->places_len - first >= TG_CONSTRAINT_PLACES_MAX)
        return false;
    if (s->places_len == s->places_cap) {
        const uint32_t cap = s->places_cap ? 2 * s->places_cap : 64;
        place *more = realloc(s->places, cap * sizeof(*more));
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

/* Follows the program from pc to lexemes and to the end. A lexeme that may be empty is followed on as well. */
static void enter(tg_constraint_state *s, uint32_t first, uint32_t pc, uint32_t at)
{
    const tg_program *p = &s->constraint->program;
    while (!s->broken && p->depth[pc] != UINT8_MAX && depth_of(s, at) + p->depth[pc] <= TG_CALL_DEPTH_MAX) {
        const tg_instruction *in = &p->code[pc];
        switch (in->op) {
        case TG_OP_LEXEME:
            if (!add_place(s, first, (place){pc, at, TG_DFA_START}) || !lexeme_at(s->constraint, pc)->accepts[TG_DFA_START])
                return;
            pc++;
            break;
        case TG_OP_SPLIT:
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
        default: add_place(s, first, (place){pc, at, 0}); return;
        }
    }
}

/* The set behind one byte, put after all places; the set [from, to) stays. Returns where the new one begins. */
static uint32_t step(tg_constraint_state *s, uint32_t from, uint32_t to, uint8_t byte)
{
    const tg_constraint *c = s->constraint;
    const uint32_t first = s->places_len;
    for (uint32_t i = from; i < to; i++) {
        const place p = s->places[i];
        if (c->program.code[p.pc].op != TG_OP_LEXEME)
            continue;
        const tg_dfa *dfa = lexeme_at(c, p.pc);
        const uint32_t next = tg_dfa_next(dfa, p.state, byte);
        if (next == TG_DFA_DEAD || !add_place(s, first, (place){p.pc, p.frame, (uint16_t)next}))
            continue;
        if (dfa->accepts[next])
            enter(s, first, p.pc + 1, p.frame);
    }
    return first;
}

int tg_constraint_start(tg_constraint *constraint, tg_constraint_state **ret)
{
    tg_constraint_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->constraint = tg_constraint_retain(constraint);
    enter(s, 0, constraint->program.start, NO_FRAME);
    s->len = s->places_len;
    if (s->broken) {
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
    free(s->frames);
    free(s->places);
    free(s);
    return NULL;
}

/* Frames that no place needs any more go: they are few again after every token. */
static bool compact(tg_constraint_state *s)
{
    frame *old = s->frames;
    const uint32_t old_len = s->frames_len;
    uint32_t *moved = malloc((old_len + 1) * sizeof(*moved));
    bool *used = calloc(old_len + 1, sizeof(*used));
    uint32_t len = 0;
    for (uint32_t i = 0; i < s->len && moved && used; i++)
        for (uint32_t f = s->places[i].frame; f != NO_FRAME && !used[f]; f = old[f].parent)
            used[f] = true;
    for (uint32_t f = 0; f < old_len && moved && used; f++) { /* a parent stands before its children */
        if (!used[f])
            continue;
        moved[f] = len;
        old[len] = (frame){old[f].back, old[f].parent == NO_FRAME ? NO_FRAME : moved[old[f].parent], old[f].depth};
        len++;
    }
    for (uint32_t i = 0; i < s->len && moved && used; i++)
        if (s->places[i].frame != NO_FRAME)
            s->places[i].frame = moved[s->places[i].frame];
    const bool done = moved && used;
    s->frames_len = done ? len : old_len;
    free(moved);
    free(used);
    return done;
}

bool tg_constraint_advance(tg_constraint_state *s, uint32_t token)
{
    const tg_tokenizer *tokenizer = s->constraint->trie->tokenizer;
    const tg_str bytes = token < s->constraint->trie->vocab ? tg_tokenizer_piece(tokenizer, token) : (tg_str){"", 0};
    if (bytes.len == 0 || tg_tokenizer_is_control(tokenizer, token))
        return false;
    for (size_t i = 0; i < bytes.len && s->len > 0; i++) {
        s->places_len = s->len;
        const uint32_t first = step(s, 0, s->len, (uint8_t)bytes.data[i]);
        s->len = s->places_len - first;
        memmove(s->places, s->places + first, s->len * sizeof(*s->places));
        s->places_len = s->len;
    }
    if (s->len == 0 || s->broken)
        return false;
    return s->frames_len < 256 || compact(s);
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
        const place *p = &s->places[i];
        if (s->constraint->program.code[p->pc].op != TG_OP_LEXEME)
            continue;
        const tg_dfa *dfa = lexeme_at(s->constraint, p->pc);
        for (uint32_t k = 0; k < dfa->classes; k++)
            if (dfa->next[p->state * dfa->classes + k] != TG_DFA_DEAD)
                return false;
    }
    return tg_constraint_may_end(s);
}

/* ---- masks ---- */

static void allow(const tg_vocab_trie *trie, uint32_t token, uint64_t *allowed)
{
    for (; token != TG_TOKEN_NONE; token = trie->same[token])
        allowed[token / 64] |= (uint64_t)1 << (token % 64);
}

typedef struct lists { /* grown while walking */
    uint32_t *tokens;
    exit_way *exits;
    uint32_t tokens_len, tokens_cap, exits_len, exits_cap;
    bool broken;
} lists;

static void note_token(lists *l, uint32_t token)
{
    if (l->tokens_len == l->tokens_cap) {
        const uint32_t cap = l->tokens_cap ? 2 * l->tokens_cap : 64;
        uint32_t *more = realloc(l->tokens, cap * sizeof(*more));
        l->broken |= !more;
        if (!more)
            return;
        l->tokens = more;
        l->tokens_cap = cap;
    }
    l->tokens[l->tokens_len++] = token;
}

static void note_exits(lists *l, const tg_vocab_trie *trie, uint32_t node)
{
    for (uint32_t child = node + 1; child < trie->nodes[node].skip; child = trie->nodes[child].skip) {
        if (l->exits_len == l->exits_cap) {
            const uint32_t cap = l->exits_cap ? 2 * l->exits_cap : 64;
            exit_way *more = realloc(l->exits, cap * sizeof(*more));
            l->broken |= !more;
            if (!more)
                return;
            l->exits = more;
            l->exits_cap = cap;
        }
        l->exits[l->exits_len++] = (exit_way){child, trie->nodes[child].byte};
    }
}

static void walk_tree(const tg_vocab_trie *trie, uint32_t root, const tg_dfa *dfa, uint32_t state, lists *l)
{
    uint32_t states[TG_TRIE_DEPTH_MAX + 1];
    states[0] = state;
    for (uint32_t i = root + 1; i < trie->nodes[root].skip;) {
        const tg_trie_node *node = &trie->nodes[i];
        const uint32_t next = tg_dfa_next(dfa, states[node->depth - 1], node->byte);
        if (next == TG_DFA_DEAD) {
            i = node->skip;
            continue;
        }
        states[node->depth] = next;
        for (uint32_t token = node->token; token != TG_TOKEN_NONE; token = trie->same[token])
            note_token(l, token);
        if (dfa->accepts[next])
            note_exits(l, trie, i);
        i++;
    }
}

static int compare_exits(const void *a, const void *b)
{
    const exit_way *x = a, *y = b;
    return x->byte != y->byte ? (x->byte > y->byte) - (x->byte < y->byte) : (x->node > y->node) - (x->node < y->node);
}

static walk *make_walk(tg_constraint *c, const tg_dfa *dfa, uint32_t state)
{
    const size_t words = (c->trie->vocab + 63) / 64;
    const int room = tg_dfa_plain_room(dfa, state, TG_TRIE_PLAIN_MAX);
    lists l = {0};
    walk *w = calloc(1, sizeof(*w));
    walk_tree(c->trie, room < 0 ? 0 : c->trie->len, dfa, state, &l);
    const bool many = l.tokens_len > FEW || room > 0;
    if (w && many)
        w->bits = calloc(words, sizeof(*w->bits));
    if (!w || l.broken || (many && !w->bits)) {
        free(l.tokens);
        free(l.exits);
        free_walk(w);
        return NULL;
    }
    if (l.exits_len > 0)
        qsort(l.exits, l.exits_len, sizeof(*l.exits), compare_exits);
    w->exits = l.exits;
    w->exits_len = l.exits_len;
    for (uint32_t b = 0, at = 0; b <= 256; b++) {
        while (at < l.exits_len && l.exits[at].byte < b)
            at++;
        w->first_exit[b] = at;
    }
    if (w->bits) {
        if (room > 0)
            memcpy(w->bits, c->trie->plain + (size_t)room * words, words * sizeof(*w->bits));
        for (uint32_t i = 0; i < l.tokens_len; i++)
            w->bits[l.tokens[i] / 64] |= (uint64_t)1 << (l.tokens[i] % 64);
        free(l.tokens);
    } else {
        w->tokens = l.tokens;
        w->tokens_len = l.tokens_len;
    }
    atomic_fetch_add(&c->walk_bytes, sizeof(*w) + (w->bits ? words * sizeof(*w->bits) : w->tokens_len * sizeof(*w->tokens)) +
                                         w->exits_len * sizeof(*w->exits));
    return w;
}

static const walk *walk_of(tg_constraint *c, uint32_t pc, uint32_t state)
{
    walk **kept = &c->walks[c->program.code[pc].a][state];
    if (*kept)
        return *kept;
    if (atomic_load(&c->walk_bytes) > TG_CONSTRAINT_MASK_BYTES_MAX)
        drop_walks(c);
    *kept = make_walk(c, lexeme_at(c, pc), state);
    return *kept;
}

/* The tokens at and below a node that is reached with the set [from, to). */
static void walk_below(tg_constraint_state *s, uint32_t node, uint32_t from, uint32_t to, uint64_t *allowed)
{
    const tg_vocab_trie *trie = s->constraint->trie;
    allow(trie, trie->nodes[node].token, allowed);
    for (uint32_t child = node + 1; child < trie->nodes[node].skip; child = trie->nodes[child].skip) {
        const uint32_t first = step(s, from, to, trie->nodes[child].byte);
        if (s->places_len > first)
            walk_below(s, child, first, s->places_len, allowed);
        s->places_len = first;
    }
}

/* Tokens that end one lexeme and go on with what is behind it. */
static void walk_exits(tg_constraint_state *s, const walk *w, const place *p, uint64_t *allowed)
{
    const uint32_t behind = s->places_len, frames = s->frames_len;
    enter(s, behind, p->pc + 1, p->frame);
    const uint32_t end = s->places_len;
    for (uint32_t byte = 0; byte < 256 && end > behind; byte++) {
        if (w->first_exit[byte] == w->first_exit[byte + 1])
            continue;
        const uint32_t first = step(s, behind, end, (uint8_t)byte);
        for (uint32_t i = w->first_exit[byte]; i < w->first_exit[byte + 1] && s->places_len > first; i++)
            walk_below(s, w->exits[i].node, first, s->places_len, allowed);
        s->places_len = end;
    }
    s->places_len = behind;
    s->frames_len = frames; /* only the walk needed them */
}

int tg_constraint_mask(tg_constraint_state *s, uint64_t *allowed)
{
    const size_t words = (s->constraint->trie->vocab + 63) / 64;
    memset(allowed, 0, words * sizeof(*allowed));
    for (uint32_t i = 0; i < s->len; i++) {
        const place p = s->places[i];
        if (s->constraint->program.code[p.pc].op != TG_OP_LEXEME)
            continue;
        const walk *w = walk_of(s->constraint, p.pc, p.state);
        if (!w)
            return -ENOMEM;
        for (size_t k = 0; w->bits && k < words; k++)
            allowed[k] |= w->bits[k];
        for (uint32_t k = 0; k < w->tokens_len; k++)
            allowed[w->tokens[k] / 64] |= (uint64_t)1 << (w->tokens[k] % 64);
        if (w->exits_len > 0)
            walk_exits(s, w, &p, allowed);
    }
    return s->broken ? -ENOMEM : 0;
}
