/* An answer as it streams, taken apart: its text, what the model thought before it, and calls of
 * tools.
 *
 * Bytes come in as the model writes them, cut anywhere; what comes out does not depend on the cuts,
 * but for where its pieces end. The marks around the parts (format.h) never come out, nor do up to
 * two line ends directly before and behind them, which templates put there. All else does, in its
 * place: what only looks like the beginning of a mark, and what stands where a call should but is
 * none, is text. A mark to begin thinking counts at the answer's beginning alone, one of a call
 * anywhere in the text; without a mark (llama3) the whole answer has to be an object that calls a
 * tool which was offered.
 *
 * Held back: what may be the beginning of a mark, and a call until its name is known and its
 * arguments begin. Then its name is told, and the arguments in the model's own bytes as they come
 * (call.h).
 *
 * Ownership: what is in the configuration is copied; pieces are valid during the callback. Threads:
 * one at a time.
 * Bounds: TG_ANSWER_MARK_MAX, call.h's; TG_ANSWER_SPACE_MAX.
 */
#ifndef TG_INFERENCE_ANSWER_ANSWER_H
#define TG_INFERENCE_ANSWER_ANSWER_H

#include "services/inference/answer/format.h"

#include <stddef.h>
#include <stdint.h>

/* bytes of white space at an answer's beginning that wait for a mark */
#define TG_ANSWER_SPACE_MAX 64

typedef struct tg_answer_conf {
    tg_tool_format tools;          /* NONE: calls are not looked for */
    tg_reasoning_format reasoning; /* NONE: nor is thinking */
    bool thinking;                 /* the prompt ends within the thinking that it opened */
    bool calling;                  /* the prompt ends behind the mark that opens a call */
    bool one_call; /* the answer is over with its first call, or where that breaks: what comes
                      behind is dropped */
    const tg_str *names;           /* of the tools offered */
    size_t names_len;
} tg_answer_conf;

typedef enum tg_answer_kind {
    TG_ANSWER_TEXT,
    TG_ANSWER_REASONING,
    TG_ANSWER_CALL,      /* a call begins: text is the tool's name */
    TG_ANSWER_ARGUMENTS, /* a piece of that call's arguments */
} tg_answer_kind;

typedef struct tg_answer_piece {
    tg_answer_kind kind;
    uint32_t call; /* CALL and ARGUMENTS: which, from 0 */
    tg_str text;
} tg_answer_piece;

typedef void (*tg_answer_fn)(void *user, const tg_answer_piece *piece);

typedef struct tg_answer tg_answer;

int tg_answer_new(const tg_answer_conf *conf, tg_answer **ret); /* 0 or -ENOMEM */
tg_answer *tg_answer_free(tg_answer *answer);

/* 0 or -ENOMEM. */
int tg_answer_push(tg_answer *answer, tg_str text, tg_answer_fn fn, void *user);
/* what was held is told after all */
int tg_answer_end(tg_answer *answer, tg_answer_fn fn, void *user);

uint32_t tg_answer_calls(const tg_answer *answer); /* so many were told */
bool tg_answer_thinks(const tg_answer *answer);    /* its thinking has begun and not ended */
/* A mark was read last, and an object that names a tool is to follow, or the arguments of the one
 * named before the mark, if that was offered. *ret_tool: its place among the names; SIZE_MAX:
 * none is named yet. */
bool tg_answer_awaits_call(const tg_answer *answer, size_t *ret_tool);
bool tg_answer_over(const tg_answer *answer); /* one_call: the call is whole, or never will be */

#endif
