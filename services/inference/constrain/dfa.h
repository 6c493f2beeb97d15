/* Deterministic automata over bytes: what a lexeme (a string, a number, a key) may look like.
 *
 * Text is valid UTF-8 by construction. State 0 is dead, state 1 the start; from every other state
 * an accepting one can be reached, so whoever avoids state 0 can always finish.
 *
 * Bounds: TG_DFA_STATES_MAX, TG_NFA_STATES_MAX, TG_DFA_WORK_MAX. Immutable once made; any thread.
 */
#ifndef TG_INFERENCE_CONSTRAIN_DFA_H
#define TG_INFERENCE_CONSTRAIN_DFA_H

#include "services/inference/constrain/regex.h"

#include <stdint.h>

#define TG_DFA_STATES_MAX 60000   /* of one lexeme's automaton */
#define TG_NFA_STATES_MAX 400000  /* while one is made of a regular expression */
/* steps from that one to an automaton: a few tenths of a second */
#define TG_DFA_WORK_MAX 20000000
#define TG_DFA_MINIMISE_MAX 512   /* states of an automaton that is made as small as it can be */

enum { TG_DFA_DEAD = 0, TG_DFA_START = 1 };

typedef struct tg_dfa {
    uint32_t states, classes;
    uint8_t class_of[256]; /* bytes that no state tells apart */
    uint16_t *next;        /* states × classes */
    bool *accepts;
    uint16_t *alike; /* a state from which the same texts of at most `reach` bytes go on and end, or
                        NULL: tg_dfa_quoted */
    uint64_t work; /* steps that it took to make */
} tg_dfa;

/* 0; -EMSGSIZE past a bound or -EINVAL where nothing matches, with a message; -ENOMEM. */
int tg_dfa_from_regex(const tg_regex *regex, tg_error *err, tg_dfa **ret);
tg_dfa *tg_dfa_free(tg_dfa *dfa);

static inline uint32_t tg_dfa_next(const tg_dfa *dfa, uint32_t state, uint8_t byte)
{
    return dfa->next[state * dfa->classes + dfa->class_of[byte]];
}

int tg_dfa_minimise(tg_dfa *dfa); /* done by all that make one; more than TG_DFA_MINIMISE_MAX states
                                     stay as they are. 0 or -ENOMEM */

/* How many plain characters (trie.h) may follow from this state, at most `most`, if it is the same
 * for all of them: each text of no more stays alive without an end on its way, each longer one
 * dies. -1: it depends on the characters. */
int tg_dfa_plain_room(const tg_dfa *dfa, uint32_t state, uint32_t most);

/* An automaton given by a function: states are numbers other than 0 of the caller's choosing,
 * `start` is one, step gives the next or 0. Bytes of one class must not be told apart. */
typedef struct tg_dfa_rule {
    uint64_t (*step)(const void *user, uint64_t state, uint8_t byte);
    bool (*accepts)(const void *user, uint64_t state);
    const void *user;
    uint64_t start;
    const uint8_t *class_of; /* 256; NULL: every byte by itself */
    uint64_t (*alike)(const void *user, uint64_t state); /* for tg_dfa.alike; NULL: none */
} tg_dfa_rule;

int tg_dfa_explore(const tg_dfa_rule *rule, tg_error *err, tg_dfa **ret); /* errors as above */

/* Texts of both, of a and not b; `least` to `most` texts of a, none of which begins another,
 * between two quotes: states between which only the count tells, and not within `reach` bytes,
 * are noted as alike. */
int tg_dfa_both(const tg_dfa *a, const tg_dfa *b, tg_error *err, tg_dfa **ret);
int tg_dfa_without(const tg_dfa *a, const tg_dfa *b, tg_error *err, tg_dfa **ret);
int tg_dfa_quoted(const tg_dfa *a, uint32_t least, uint32_t most, uint32_t reach, tg_error *err,
                  tg_dfa **ret);

#endif
