/* The tools that a request offers, as OpenAI writes them, and whether one of them has to be called.
 *
 *     [{"type": "function", "function": {"name": …, "description": …, "parameters": {a JSON schema}}}, …]
 *
 * Ownership: all lies in the caller's arena. Bounds: TG_TOOLS_MAX, json_tree.h's.
 */
#ifndef TG_INFERENCE_ANSWER_TOOLS_H
#define TG_INFERENCE_ANSWER_TOOLS_H

#include "libs/base/buf.h"
#include "services/inference/answer/format.h"
#include "services/inference/text/json_tree.h"

#define TG_TOOLS_MAX 128 /* tools that one request may offer */

typedef struct tg_tools {
    const tg_str *names;
    const tg_json_node **parameters; /* NULL where a tool has none */
    size_t len;
    bool off;      /* tool_choice none: as if there were none */
    bool required; /* the answer must be a call */
    size_t only;   /* of this tool; len: of any */
} tg_tools;

/* Empty `json`: no tools. `choice`: auto (also when empty), none, required or a tool's name.
 * 0; -EINVAL or -EMSGSIZE with a message that names what is wrong; -ENOMEM. */
int tg_tools_read(tg_str json, tg_str choice, tg_arena *arena, tg_error *err, tg_tools *ret);

/* Appends the JSON schema of a call, as the format writes the object of one: of the only tool, or of any. `ret` bounds its length.
 * 0, -ENOSPC or -ENOMEM. */
int tg_tools_schema(const tg_tools *tools, tg_tool_format format, tg_buf *ret);

#endif
