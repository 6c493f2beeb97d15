/* JSON Schema (2020-12, a part of it) to a program: the answer is JSON that the schema describes.
 *
 * Exact in one direction: whatever is generated validates. What cannot be held to is refused with
 * its JSON pointer, and so is every keyword that is not known; annotations (title, description,
 * default, examples, $schema, $id, $comment, deprecated, readOnly, writeOnly, discriminator) are
 * passed over. docs/structured-output.md has the table of keywords. Where a schema leaves a choice
 * of how to write, one way is taken:
 *
 *   - members come in the order of `properties`, those that only `required` names behind them,
 *     further ones last;
 *   - where properties are named and additionalProperties is not, no further ones are written;
 *   - a schema without `type` whose keywords speak of one kind of value gives that kind;
 *   - values of enum and const are written without spaces, numbers as the schema writes them,
 *     strings with the shortest escapes.
 *
 * A schema is a conjunction: its own keywords, those of $ref and of allOf, and of one branch of
 * each anyOf or oneOf. Every different conjunction is one subroutine of the program, so references
 * may go round. A oneOf must have branches no two of which can be met by one value: by type, by
 * values, or by a required member's values.
 *
 * Bounds: those below, json_tree.h's, program.h's and dfa.h's. Threads: any.
 */
#ifndef TG_INFERENCE_CONSTRAIN_SCHEMA_H
#define TG_INFERENCE_CONSTRAIN_SCHEMA_H

#include "services/inference/constrain/program.h"

#define TG_SCHEMA_BYTES_MAX (256u << 10) /* of one JSON schema, or of those of all calls together */
/* different conjunctions of subschemas in one JSON schema */
#define TG_SCHEMA_RULES_MAX 4096
/* subschemas that hold for one value together: by allOf, $ref and a branch of anyOf */
#define TG_SCHEMA_PARTS_MAX 16
#define TG_SCHEMA_MEMBERS_MAX 1024       /* members of one object that are known by name */
#define TG_SCHEMA_ITEMS_MAX 4096         /* minItems, maxItems and prefixItems of an array */
#define TG_SCHEMA_LENGTH_MAX 4096        /* minLength and maxLength, in code points */
#define TG_SCHEMA_BRANCHES_MAX 64        /* of one oneOf: each is held against each */
#define TG_SCHEMA_ALTERNATIVES_MAX 256   /* of one anyOf: each is a place to be in at once */
/* steps of making all automata of a constraint: about half a second */
#define TG_SCHEMA_WORK_MAX 40000000u
/* of number bounds together: so many a double tells apart; 18 for integers */
#define TG_SCHEMA_DIGITS_MAX 15
#define TG_SCHEMA_MULTIPLE_MAX 10000     /* multipleOf, its decimal point left out */

/* The arena holds what is needed while compiling. 0; -EINVAL, -ENOTSUP or -EMSGSIZE with a message;
 * -ENOMEM. */
int tg_program_json_schema(tg_program *program, tg_str schema, tg_arena *arena, tg_error *err);

#endif
