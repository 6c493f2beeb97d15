/* Tools offered to a model in one request: what its template is told of them, how its answer is
 * read, and the form that the answer is held to where a call is required, or the calls in it where
 * the model may make some.
 *
 * Pure. Ownership: all lies in the arena or points to the arguments, `ret` among them. Threads:
 * any.
 */
#ifndef TG_INFERENCE_ANSWER_OFFER_H
#define TG_INFERENCE_ANSWER_OFFER_H

#include "services/inference/answer/answer.h"
#include "services/inference/answer/tools.h"
#include "services/inference/engine/engine.h"

/* `json` is what `tools` was read from. Sets of `out` the tools, the constraint and who takes the
 * answer apart, where the engine has to; of `ret`, whose one_call is the request's, the format and
 * the names. 0; -EINVAL or -EMSGSIZE with a message; -ENOMEM. */
int tg_tools_offer(const tg_model *model, const tg_tools *tools, tg_str json, tg_arena *arena,
                   tg_gen_request *out, tg_answer_conf *ret, tg_error *err);

#endif
