/* What schema.c and the other files of schema_*.c share. */
#ifndef TG_INFERENCE_CONSTRAIN_SCHEMA_INSIDE_H
#define TG_INFERENCE_CONSTRAIN_SCHEMA_INSIDE_H

#include "services/inference/constrain/schema.h"
#include "services/inference/text/json_tree.h"

#include "libs/base/buf.h"

/* A subschema that holds, but for those of anyOf and oneOf that are done: a branch stands beside
 * it. */
typedef struct tg_schema_part {
    const tg_json_node *node;
    bool any_done, one_done;
} tg_schema_part;

/* Subschemas that hold together. None: anything goes. */
typedef struct tg_conjunction {
    tg_schema_part parts[TG_SCHEMA_PARTS_MAX];
    uint32_t len;
    bool never; /* `false` is among them */
} tg_conjunction;

enum { /* types of values; a number is an integer or has a fraction */
    TG_IS_NULL = 1,
    TG_IS_BOOLEAN = 2,
    TG_IS_STRING = 4,
    TG_IS_ARRAY = 8,
    TG_IS_OBJECT = 16,
    TG_IS_INTEGER = 32,
    TG_IS_FRACTION = 64,
    TG_IS_ANY = 127
};

typedef struct tg_schema_rule {
    tg_conjunction k;
    uint64_t hash;
    uint32_t pc;
} tg_schema_rule;

typedef struct tg_schema_lexeme { /* kept under what it was made of */
    tg_str made_of;
    uint32_t number;
} tg_schema_lexeme;

typedef struct tg_schema_fixup { /* an instruction whose `a` is a rule not yet written */
    uint32_t pc, rule;
} tg_schema_fixup;

typedef struct tg_schema_compiler {
    tg_program *p;
    tg_arena *arena;
    tg_error *err;
    const tg_json_node *root;
    tg_json_parts json;
    tg_schema_rule *rules;
    uint32_t rules_len, rules_cap;
    tg_schema_lexeme *lexemes;
    uint32_t lexemes_len, lexemes_cap;
    tg_schema_fixup *fixups;
    uint32_t fixups_len, fixups_cap;
    uint64_t work; /* of the automata so far */
} tg_schema_compiler;

/* ---- schema.c ---- */

/* Sets the message, with the pointer to the keyword or value. Returns rc. */
int tg_schema_refuse(const tg_schema_compiler *c, const tg_json_node *at, int rc, const char *why);
const tg_json_node *tg_schema_get(const tg_json_node *object, tg_str name);

/* Adds a subschema, following $ref and allOf. 0, or an error with its message. */
int tg_schema_add_part(const tg_schema_compiler *c, tg_conjunction *k, const tg_json_node *schema);
/* TG_IS_… */
int tg_schema_types(const tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret);
/* of those; by the keywords where no type is given */
uint32_t tg_schema_types_meant(const tg_conjunction *k, uint32_t types);

/* The values of enum and const that are of these types. *ret is NULL where neither is given. */
int tg_schema_listed(const tg_schema_compiler *c, const tg_conjunction *k, uint32_t types,
                     const tg_json_node ***ret, size_t *ret_len);
/* as JSON Schema compares values */
bool tg_schema_equal(const tg_json_node *a, const tg_json_node *b);

/* A rule's number, which may be written later. */
int tg_schema_rule_of(tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret);
/* adds an instruction whose `a` is the rule */
int tg_schema_to_rule(tg_schema_compiler *c, tg_op op, uint32_t rule);

/* Writes what the conjunction allows, with all rules that it leads to, as a subroutine. 0, or an
 * error with its message; the program's own have none yet. */
int tg_schema_write(tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret);

/* ---- schema_apart.c ---- */

/* Refuses branches of oneOf that one value of the `outer` types could meet both. */
int tg_schema_check_apart(const tg_schema_compiler *c, const tg_json_node *one,
                          const tg_json_node *other, uint32_t outer);

/* ---- schema_shape.c: objects and arrays; written behind each other, to the return ---- */

int tg_schema_object(tg_schema_compiler *c, const tg_conjunction *k);
int tg_schema_array(tg_schema_compiler *c, const tg_conjunction *k);

/* ---- schema_number.c ---- */

/* What a number's automaton is made of, and whether it is bounded at all. 0 or -ENOMEM. */
int tg_schema_number_key(const tg_conjunction *k, bool integer, tg_buf *ret, bool *ret_bounded);
int tg_schema_bounded_number(tg_schema_compiler *c, const tg_conjunction *k, bool integer,
                             tg_dfa **ret);

/* ---- schema_scalar.c: lexemes ---- */

/* A keyword's count, the strictest of all parts; `otherwise` where none has it. */
int tg_schema_count(const tg_schema_compiler *c, const tg_conjunction *k, const char *name,
                    bool least, uint32_t most, uint32_t otherwise, uint32_t *ret);
int tg_schema_string(tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret);
int tg_schema_number(tg_schema_compiler *c, const tg_conjunction *k, bool integer, uint32_t *ret);
int tg_schema_literals(tg_schema_compiler *c, const tg_json_node *const *values, size_t len,
                       uint32_t *ret);
int tg_schema_key(tg_schema_compiler *c, tg_str name, uint32_t *ret); /* with the colon */
/* none of these; without */
int tg_schema_other_key(tg_schema_compiler *c, const tg_str *names, size_t len, uint32_t *ret);

#endif
