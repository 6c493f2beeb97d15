/* Calls of tools to a program: an object with a tool's name and its arguments, an object that its
 * schema (schema.h) describes.
 *
 *     before {"name": "look", "arguments": {…}} behind        with white space as JSON's brackets
 *                                                             have it
 *
 * A schema that cannot be held to, or that comes when there is no room or work left for it, is left
 * out by itself: any object will do for that tool, whose calls are loose then. References are
 * within a tool's own schema.
 * Bounds: schema.h's, for all tools together.
 */
#ifndef TG_INFERENCE_CONSTRAIN_CALLS_H
#define TG_INFERENCE_CONSTRAIN_CALLS_H

#include "services/inference/constrain/program.h"

typedef struct tg_calls {
    size_t tools;
    uint32_t first; /* where the first one's arguments alone begin */
    uint32_t loose; /* tools whose arguments are any object */
    tg_error why;   /* the first of them is, by its name */
} tg_calls;

/* texts: before, behind, the key of arguments, and for each tool its name and its schema; valid
 * UTF-8. Adds to *ret. 0; -EINVAL with a message where texts are missing; -ENOMEM. */
int tg_program_calls(tg_program *program, const tg_str *texts, size_t len, tg_arena *arena,
                     tg_error *err, tg_calls *ret);

/* where they begin, for a call whose name stands elsewhere */
uint32_t tg_calls_arguments(const tg_calls *calls, size_t tool);

#endif
