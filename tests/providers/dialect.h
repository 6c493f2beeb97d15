/* What the stand-ins' three dialects have in common: facts of a request, what an answer tells,
 * and one face per dialect. Pure: bytes in, bytes out.
 */
#ifndef PROVIDERS_DIALECT_H
#define PROVIDERS_DIALECT_H

#include "tests/providers/answer.h"
#include "tests/providers/fault.h"
#include "tests/providers/reply.h"
#include "tests/providers/request.h"

#include <jansson.h>

enum dialect { OPENAI, ANTHROPIC, BEDROCK, DIALECTS };

#define MODEL_BYTES 256

/* A request that is refused. code NULL: the dialect's usual one for that status. */
struct problem {
    int status;
    const char *code;
    char message[256];
};

/* Facts of one chat request. */
struct chat {
    char model[MODEL_BYTES];
    char tier[32];
    bool stream;
    bool include_usage;  /* OpenAI: the stream ends with a usage chunk */
    int64_t max_tokens;  /* -1: not stated */
    uint64_t text_bytes; /* of all texts */
    uint64_t text_hash;  /* of the same, in their order */
    bool marked;         /* a cache mark was seen; bytes and hash up to the last: */
    bool marked_1h;
    uint64_t marked_bytes, marked_hash;
};

/* Tokens by kind; the kinds do not overlap, but reasoning is part of output. */
struct usage {
    int64_t input, output, cache_read, cache_write_5m, cache_write_1h, reasoning;
};

/* What an answer tells, already as the fault wants it. */
struct telling {
    const char *model;
    const char *tier;
    const char *id; /* 24 hex digits, by seed and body */
    int64_t created_s;
    const struct answer *answer;
    const struct usage *usage; /* NULL: absent */
    bool include_usage;
    int64_t error_after; /* -1: not */
    const struct problem *error;
};

/* One limit: units a minute, units left, seconds until it is full (or, refused, until it fits). */
struct limit_view {
    int64_t limit, left;
    double reset_s;
};

struct limits_view {
    struct limit_view requests, tokens, output;
    double wait_s; /* a refused request may come again after this */
};

struct dialect_face {
    const char *name;
    const char *id_header; /* the response header with the request's id */
    int (*admit)(const struct request *request, struct problem *why);   /* 0 or -1: credentials */
    void (*key)(const struct request *request, char *ret, size_t size); /* fingerprint, or "" */
    int (*parse)(const struct request *request, json_t *body, struct chat *ret,
                 struct problem *why);
    void (*plain)(const struct telling *telling, struct reply *reply);
    void (*stream)(const struct telling *telling, struct reply *reply);
    void (*error)(const struct problem *why, const char *request_id, struct buf *headers,
                  struct reply *reply);
    void (*limits)(const struct limits_view *view, struct buf *headers);
};

extern const struct dialect_face openai_face, anthropic_face, bedrock_face;
extern const struct dialect_face *const dialect_faces[DIALECTS];

/* ---- for the dialects' own use (chat.c) ---- */

int refuse(struct problem *why, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5))); /* fills it and returns -1 */

void chat_text(struct chat *chat, json_t *text);  /* counts one text, if it is one */
void chat_mark(struct chat *chat, bool one_hour); /* a cache mark behind it */
int chat_model(struct chat *chat, json_t *model, struct problem *why);
int chat_max_tokens(struct chat *chat, json_t *value, const char *name, struct problem *why);

/* Input tokens by the counting rule, and the cache's part in them: a marked prefix is written the
 * first time it is seen and read after that. */
void chat_usage(const struct chat *chat, const struct fault *fault, uint32_t output,
                struct usage *ret);
int64_t chat_input_tokens(const struct chat *chat);

#endif
