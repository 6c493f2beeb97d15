/* Tools offered to a model in one request: what its template is told of them, how its answer is read, and, where a call is
 * required, the form that the answer is held to.
 *
 * Pure. Ownership: all lies in the arena or points to the arguments. Threads: any.
 */
#ifndef TG_INFERENCE_ANSWER_OFFER_H
#define TG_INFERENCE_ANSWER_OFFER_H

#include "services/inference/answer/answer.h"
#include "services/inference/answer/tools.h"
#include "services/inference/engine/engine.h"

/* `json` is what `tools` was read from. Sets of `out` the tools, and for a required call its constraint; of `ret` the format and the
 * names. 0; -EINVAL or -EMSGSIZE with a message; -ENOMEM. */
int tg_tools_offer(const tg_model *model, const tg_tools *tools, tg_str json, tg_arena *arena, tg_gen_request *out, tg_answer_conf *ret,
                   tg_error *err);

#endif
