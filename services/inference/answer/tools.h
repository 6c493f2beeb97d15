/* The tools that a request offers, as OpenAI writes them, and whether one of them has to be called.
 *
 *     [{"type": "function", "function": {"name": …, "description": …, "parameters": {a JSON
 *       schema}}}, …]
 *
 * Ownership: all lies in the caller's arena, or in the text. Bounds: TG_TOOLS_MAX, json_tree.h's.
 */
#ifndef TG_INFERENCE_ANSWER_TOOLS_H
#define TG_INFERENCE_ANSWER_TOOLS_H

#include "libs/base/arena.h"
#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>

#define TG_TOOLS_MAX 128 /* tools that one request may offer */

typedef struct tg_tools {
    const tg_str *names;
    const tg_str *parameters; /* their schemas, of no members where a tool has none */
    size_t len;
    bool off;      /* tool_choice none: as if there were none */
    bool required; /* the answer must be a call */
    size_t only;   /* of this tool; len: of any */
} tg_tools;

/* Empty `json`: no tools. `choice`: auto (also when empty), none, required or a tool's name.
 * 0; -EINVAL or -EMSGSIZE with a message that names what is wrong; -ENOMEM. */
int tg_tools_read(tg_str json, tg_str choice, tg_arena *arena, tg_error *err, tg_tools *ret);

#endif
