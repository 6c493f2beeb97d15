/* What the three dialects share: reading a chat body, errors, tokens as delayed pieces. */
#ifndef TG_TESTS_PROVIDERS_COMMON_H
#define TG_TESTS_PROVIDERS_COMMON_H

#include "tests/providers/providers.h"

typedef struct chat {
    json_t *root;
    const char *model;
    bool stream;
    int64_t max_tokens; /* -1: not stated */
    text texts;         /* all message texts, one after another */
    fault fault;
    answer answer;
    char id[40];
} chat;

/* Parses the body and fills what all dialects share but max_tokens. False: out is a 400 already. */
bool chat_begin(dialect d, const request *in, reply *out, chat *ret);
/* Texts of a content value: a string, or an array of {"text": …}. */
void chat_collect(chat *c, json_t *content);
/* After max_tokens is known: makes the answer and the log record. */
void chat_answer(dialect d, const request *in, reply *out, chat *c);
void chat_end(chat *c);
const char *chat_model(const chat *c); /* as answered: the fault's or its own */

/* An error in the dialect's own shape. */
void dialect_error(dialect d, reply *out, int status, const char *type, const char *message);
/* The fault's status, if it has one: true when `out` is done. */
bool fault_status(dialect d, const chat *c, reply *out);
/* Rate-limit headers as the provider sends them. */
void rate_headers(dialect d, const chat *c, reply *out, bool exhausted);

/* A stream: pieces with the fault's delays; then cut and stall are applied to what was collected. */
void stream_piece(reply *out, const chat *c, const char *data, size_t len, unsigned tokens_after);
void stream_finish(reply *out, const chat *c);

#endif
