/* Structured output: which tokens may come next so that the whole answer will be what was asked
 * for.
 *
 * A constraint is compiled once from a request's text, for one vocabulary, and shared by all
 * sequences that have it. A sequence's state says where its answer stands: a set of places in the
 * program (program.h), since a text can be on its way to several ends. The tokens allowed are those
 * all of whose bytes lead on from some place:
 *
 *   - within a lexeme that is a walk over the token tree (trie.h) beside the lexeme's automaton; it
 *     depends on the automaton's state alone, so it is done once and kept;
 *   - tokens that go past a lexeme's end depend on what comes behind it; those walks start at the
 *     ends only, and few bytes fit.
 *
 * Both can be left off anywhere and gone on with, so that no constraint holds up whoever else is in
 * a step (tg_constraint_mask).
 *
 * Whatever is allowed can be finished, but for the bound on nesting in what is generated.
 *
 * Bounds: program.h's and dfa.h's, TG_CONSTRAINT_PLACES_MAX, TG_CONSTRAINT_MASK_BYTES_MAX,
 * TG_CONSTRAINT_CHOICES_MAX.
 * Threads: compile, retain and release on any thread; states and masks
 * on one at a time for all states of one constraint.
 */
#ifndef TG_INFERENCE_CONSTRAIN_CONSTRAINT_H
#define TG_INFERENCE_CONSTRAIN_CONSTRAINT_H

#include "services/inference/constrain/trie.h"

/* places of one state at once; further ones are not followed */
#define TG_CONSTRAINT_PLACES_MAX 256
/* of kept walks, per constraint; then they are all dropped */
#define TG_CONSTRAINT_MASK_BYTES_MAX (12u << 20)
#define TG_CONSTRAINT_CHOICES_MAX 1024            /* texts of a choice */
#define TG_CONSTRAINT_TEXT_BYTES_MAX (256u << 10) /* of a choice's texts together */

typedef struct tg_constraint tg_constraint;

typedef enum tg_constraint_kind {
    TG_CONSTRAINT_NONE,
    TG_CONSTRAINT_JSON_OBJECT, /* any JSON object */
    TG_CONSTRAINT_JSON_SCHEMA, /* JSON that texts[0] describes (schema.h) */
    TG_CONSTRAINT_CALL,        /* a call of a tool (calls.h) */
    TG_CONSTRAINT_REGEX,       /* texts[0], which must match the whole answer */
    TG_CONSTRAINT_CHOICE,      /* one of texts */
} tg_constraint_kind;

typedef struct tg_constraint_spec {
    tg_constraint_kind kind;
    const tg_str *texts;
    size_t texts_len;
} tg_constraint_spec;

/* More texts than TG_CONSTRAINT_CHOICES_MAX are not looked at, and like no others. */
bool tg_constraint_spec_eq(const tg_constraint_spec *a, const tg_constraint_spec *b);

/* The trie must outlive it. 0; -EINVAL, -ENOTSUP or -EMSGSIZE with a message; -ENOMEM. */
int tg_constraint_compile(const tg_constraint_spec *spec, const tg_vocab_trie *trie, tg_error *err,
                          tg_constraint **ret);
/* about what it takes now; any thread */
size_t tg_constraint_bytes(const tg_constraint *constraint);
/* Tools whose arguments cannot be held to their schemas; *ret_why: why the first cannot, "" where
 * all can. */
uint32_t tg_constraint_loose(const tg_constraint *constraint, const char **ret_why);
tg_constraint *tg_constraint_retain(tg_constraint *constraint);
tg_constraint *tg_constraint_release(tg_constraint *constraint); /* NULL is a no-op; returns NULL */

typedef struct tg_constraint_state tg_constraint_state;

/* retains it. 0 or -ENOMEM */
int tg_constraint_start(tg_constraint *constraint, tg_constraint_state **ret);
tg_constraint_state *tg_constraint_state_free(tg_constraint_state *state);

/* For another answer; of a call, for the arguments of this tool alone; past the last tool: for a
 * whole one. */
void tg_constraint_restart(tg_constraint_state *state, size_t tool);

/* Bit id of (*ret)[id / 64] says whether the token may come next; the state's own, until it
 * advances. `work`: steps of some nanoseconds that may be done, from which those that were are
 * taken; NULL: as many as it takes. 0; -EAGAIN: they are used up, and the next call goes on;
 * -ENOMEM. */
int tg_constraint_mask(tg_constraint_state *state, int64_t *work, const uint64_t **ret);

/* The token came. False when it is not allowed, or memory ran out; the state is of no use then. */
bool tg_constraint_advance(tg_constraint_state *state, uint32_t token);
/* likewise; of a token that began before the state did */
bool tg_constraint_advance_text(tg_constraint_state *state, tg_str text);

bool tg_constraint_may_end(const tg_constraint_state *state);  /* the answer may be over */
bool tg_constraint_must_end(const tg_constraint_state *state); /* nothing can follow */

#endif
