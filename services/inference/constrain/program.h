/* What a constraint compiles to: a small program over lexemes, run by constraint.c; internal to
 * constrain/.
 *
 * A lexeme is a byte automaton (dfa.h) that takes the longest text it can or any shorter one: where
 * both are possible, both are followed. Calls nest, so a program is as strong as a context-free
 * grammar; their depth is bounded.
 */
#ifndef TG_INFERENCE_CONSTRAIN_PROGRAM_H
#define TG_INFERENCE_CONSTRAIN_PROGRAM_H

#include "services/inference/constrain/dfa.h"

#define TG_PROGRAM_LEN_MAX (1u << 18) /* instructions of one constraint */
#define TG_PROGRAM_LEXEMES_MAX 4096   /* different lexemes of one constraint */
/* arrays and objects within each other in what is generated */
#define TG_CALL_DEPTH_MAX 64

typedef enum tg_op {
    TG_OP_LEXEME, /* a: which; then the next instruction */
    TG_OP_SPLIT,  /* go on at a and at b */
    TG_OP_JUMP,   /* a */
    TG_OP_CALL,   /* a; then the next instruction */
    TG_OP_RETURN,
    TG_OP_DONE,
} tg_op;

typedef struct tg_instruction {
    tg_op op;
    uint32_t a, b;
} tg_instruction;

typedef struct tg_program {
    tg_instruction *code;
    uint32_t len, cap;
    uint32_t start;
    uint8_t *depth; /* calls that must nest from here to the end of the rule; UINT8_MAX: no end can
                       be reached */
    tg_dfa **lexemes;
    uint32_t lexemes_len;
    uint32_t reach; /* bytes of the longest token that is asked about; the caller's to set */
    int rc; /* the first error of the calls below, which do nothing after it */
} tg_program;

void tg_program_init(tg_program *program);
void tg_program_free(tg_program *program);

/* where it stands */
uint32_t tg_program_add(tg_program *program, tg_op op, uint32_t a, uint32_t b);
/* takes it over, NULL too; its number */
uint32_t tg_program_lexeme(tg_program *program, tg_dfa *dfa);
int tg_program_rc(const tg_program *program, tg_error *err); /* the first error, with its message */

/* Back to where it had so many of each: what was added since is gone, and so is the first error if
 * it came of that. */
void tg_program_undo(tg_program *program, uint32_t len, uint32_t lexemes_len);

/* When all is added, and again where jumps were changed: fills `depth`. 0; program->rc; -EINVAL
 * with a message when no text can satisfy it; -ENOMEM. */
int tg_program_finish(tg_program *program, tg_error *err);

/* json.c: what JSON is made of. White space: after '{', '[', ',' and ':' and before '}' and ']'
 * there may be one space, or a line end and up to 32 spaces; nowhere else, so that no answer
 * runs away in it. */
typedef struct tg_json_parts {
    uint32_t space, comma, colon, open, close, open_list, close_list, string, number, integer,
        boolean, null;            /* lexemes */
    uint32_t value, object, list; /* of anything: to be called */
} tg_json_parts;

/* A character of a string, escapes included. */
#define TG_JSON_CHARACTER                                                                          \
    "([^\\x00-\\x1f\"\\\\]|"                                                                       \
    "\\\\([\"\\\\/bfnrt]|u([0-9A-Ca-cE-Fe-f][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}|"               \
    "[Dd][89ABab][0-9A-Fa-f]{2}\\\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})))"

/* errors: program->rc */
void tg_program_json_parts(tg_program *program, tg_arena *arena, tg_error *err, tg_json_parts *ret);

/* A program for any JSON object. 0 or as dfa.h. */
int tg_program_json_object(tg_program *program, tg_arena *arena, tg_error *err);

#endif
