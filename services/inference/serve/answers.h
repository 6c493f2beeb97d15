/* What a generation answers, taken apart: the request's tools on the way in, text, thinking and
 * calls on the way out. */
#ifndef TG_INFERENCE_ANSWERS_H
#define TG_INFERENCE_ANSWERS_H

#include "libs/rpc/rpc.h"
#include "services/inference/answer/answer.h"
#include "services/inference/engine/engine.h"

#include "tollgate/v1/inference.pb-c.h"

typedef struct tg_answers tg_answers;

/* The request's tools and template values, into `out`; *ret says how its answers are read (both
 * formats NONE: as they are). Lies in the call's arena. 0; -EINVAL, -EMSGSIZE or -ENOSYS with a
 * message; -ENOMEM. */
int tg_answers_decode(tg_rpc_call *call, const Tollgate__V1__GenerateRequest *in,
                      const tg_model *model, tg_gen_request *out, tg_answer_conf *ret,
                      tg_error *err);

/* For the choices of a request that was accepted. What was generated elsewhere has been told there.
 * 0 or -ENOMEM. */
int tg_answers_new(const tg_answer_conf *conf, const tg_gen_request *request,
                   const tg_gen_ticket *ticket, const tg_model *model, tg_answers **ret);
tg_answers *tg_answers_free(tg_answers *answers);

/* One event's deltas: `delta` has the token and its log-probabilities, which go with the first of
 * them. The text that is over is ended. 0, or the error of tg_rpc_send or memory. */
int tg_answers_send(tg_answers *answers, tg_rpc_call *call, const tg_engine_event *event,
                    Tollgate__V1__GenerateDelta *delta);

bool tg_answers_called(const tg_answers *answers, uint32_t choice); /* it has called tools */
/* Of the tokens told here, those of its thinking: whose text begins or ends within it. */
uint32_t tg_answers_reasoning_tokens(const tg_answers *answers, uint32_t choice);

/* A text for a message, in `room` or, where that is too small, in the call's arena. protobuf-c's
 * texts end at NUL: one that the model wrote becomes U+FFFD. NULL: out of memory. */
char *tg_answers_text(tg_rpc_call *call, tg_str text, char *room, size_t size);

#endif
