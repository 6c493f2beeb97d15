/* Regular expressions as trees: from text, or built by hand; dfa.h makes automata of them.
 *
 * The syntax is ECMA-262's with the u flag, without what no finite automaton has or what is not
 * needed: literals, '.', classes, \d \w \s and their opposites, \n \r \t \f \v \0 \xHH \uHHHH
 * \u{H…}, groups (captures mean nothing), alternation, greedy and lazy quantifiers, '^' and '$' at
 * the ends of alternatives. Refused by name: backreferences, look-around, \b, \p, flags.
 *
 * Bounds: TG_REGEX_BYTES_MAX, TG_REGEX_REPEAT_MAX, TG_REGEX_DEPTH_MAX. Ownership: everything lives
 * in the arena.
 */
#ifndef TG_INFERENCE_CONSTRAIN_REGEX_H
#define TG_INFERENCE_CONSTRAIN_REGEX_H

#include "libs/base/arena.h"
#include "libs/base/error.h"

#define TG_REGEX_BYTES_MAX 8192  /* of one regular expression */
#define TG_REGEX_REPEAT_MAX 4096 /* the count of a quantifier */
#define TG_REGEX_DEPTH_MAX 128   /* groups within each other */

typedef struct tg_points { /* code points first..last, surrogates left out when they become bytes */
    uint32_t first, last;
} tg_points;

typedef enum tg_regex_kind {
    TG_REGEX_TEXT,   /* these bytes; none: the empty text */
    TG_REGEX_SET,    /* one character of these */
    TG_REGEX_CAT,    /* a then b */
    TG_REGEX_ALT,    /* a or b */
    TG_REGEX_REPEAT, /* a, least to most times; most UINT32_MAX: without end */
} tg_regex_kind;

typedef struct tg_regex tg_regex;
struct tg_regex {
    tg_regex_kind kind;
    tg_str text;
    const tg_points *points; /* ascending, apart */
    size_t points_len;
    const tg_regex *a, *b;
    uint32_t least, most;
};

/* `whole`: the text as a whole must match; otherwise some part of it, unless '^' and '$' say more.
 * 0; -EINVAL or -ENOTSUP with a message; -ENOMEM. */
int tg_regex_parse(tg_str pattern, bool whole, tg_arena *arena, tg_error *err,
                   const tg_regex **ret);

/* Builders. NULL when out of memory, or when given NULL, so that calls can be nested. */
const tg_regex *tg_regex_text(tg_arena *arena, tg_str bytes);
/* any order; copied */
const tg_regex *tg_regex_set(tg_arena *arena, const tg_points *points, size_t len);
const tg_regex *tg_regex_cat(tg_arena *arena, const tg_regex *a, const tg_regex *b);
const tg_regex *tg_regex_alt(tg_arena *arena, const tg_regex *a, const tg_regex *b);
const tg_regex *tg_regex_repeat(tg_arena *arena, const tg_regex *a, uint32_t least, uint32_t most);

/* The same texts as they are written inside a JSON string: what must be escaped is, in its shortest
 * form. */
const tg_regex *tg_regex_in_json(tg_arena *arena, const tg_regex *regex);

#endif
