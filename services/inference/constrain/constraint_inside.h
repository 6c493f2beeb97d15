/* Constraints and their states, for the files of this folder that make (constraint.c), move
 * (places.c) and ask them (mask.c). */
#ifndef TG_INFERENCE_CONSTRAIN_CONSTRAINT_INSIDE_H
#define TG_INFERENCE_CONSTRAIN_CONSTRAINT_INSIDE_H

#include "services/inference/constrain/calls.h"
#include "services/inference/constrain/constraint.h"

#include <stdatomic.h>

#define TG_NO_FRAME UINT32_MAX

typedef struct tg_exit { /* a child of a tree node at which the lexeme may be over */
    uint32_t node;
    uint32_t next; /* the first of another byte */
} tg_exit;

typedef struct tg_walk { /* what the tree says of one lexeme's state */
    uint32_t users;      /* its constraint, while it keeps it, and states that read it */
    uint64_t *bits;      /* by token; NULL: the list below says it */
    uint32_t *tokens;
    uint32_t tokens_len;
    tg_exit *exits; /* by byte */
    uint32_t exits_len, exits_cap;
} tg_walk;

typedef struct tg_kinds { /* of bytes (trie.h), as a state takes them */
    uint16_t on, dead;    /* those all of which lead to one state, which most bytes do that lead on;
                             those none of which lead on */
    uint16_t to;       /* that state */
} tg_kinds;

typedef struct tg_class {
    uint16_t kinds, bytes; /* which its bytes are of; how many they are */
} tg_class;

typedef struct tg_lexeme_walks { /* by the automaton's state */
    tg_walk **walks; /* NULL where not done */
    tg_kinds *kinds; /* 0 where not looked at */
    tg_class *classes; /* of the automaton's */
} tg_lexeme_walks;

struct tg_constraint {
    atomic_uint references;
    const tg_vocab_trie *trie;
    tg_program program;
    tg_calls calls;
    tg_lexeme_walks *lexemes;
    bool alone;   /* one lexeme, and nothing behind it */
    size_t bytes; /* of the program */
    atomic_size_t walk_bytes;
};

typedef struct tg_frame { /* a call under way */
    uint32_t back, parent, depth;
    uint32_t hash; /* of all of it */
} tg_frame;

typedef struct tg_place {
    uint32_t pc, frame;
    uint16_t state; /* of the lexeme at pc */
} tg_place;

typedef struct tg_visit { /* a place, or an instruction, that the set being made has seen */
    uint32_t stamp;
    uint32_t state; /* VISITED for an instruction */
    uint32_t pc, frame;
} tg_visit;

typedef struct tg_masking tg_masking; /* mask.c: how far a mask has come */

struct tg_constraint_state {
    tg_constraint *constraint;
    tg_frame *frames;
    uint32_t *moved; /* where each stands when some have gone; room as of frames */
    uint32_t frames_len, frames_cap;
    tg_place *places; /* the state's own are the first `len`; walks put theirs behind */
    uint32_t len, places_len, places_cap;
    tg_visit *visits; /* open addressing; entries of other stamps are free */
    uint32_t visits_len, visits_cap, stamp;
    bool broken;  /* memory ran out */
    int64_t work; /* that may still be done */
    tg_masking *masking;
};

static inline const tg_dfa *tg_lexeme_at(const tg_constraint *c, uint32_t pc)
{
    return c->program.lexemes[c->program.code[pc].a];
}

/* The set behind instruction pc, put after all places; returns where it begins. */
uint32_t tg_places_enter(tg_constraint_state *s, uint32_t pc, uint32_t frame);
/* The set behind one byte, put after all places; the set [from, to) stays. Returns where the new
 * one begins. */
uint32_t tg_places_step(tg_constraint_state *s, uint32_t from, uint32_t to, uint8_t byte);

void tg_walks_drop(tg_constraint *c);
bool tg_masking_new(tg_constraint_state *s); /* with the state: false without memory */
void tg_masking_reset(tg_constraint_state *s); /* the state is another one */
void tg_masking_free(tg_constraint_state *s);

#endif
