/* An answer together with what it was made from, shared by all requests that get the same one.
 *
 * Benchmarks send one body over and over: the last answers are kept, by body, so that the
 * stand-in costs little beside what is measured. What differs between two requests (their ids,
 * limits, dates) is in the headers and not in here.
 *
 * Ownership: counted; told_free gives a reference back.
 */
#ifndef PROVIDERS_TOLD_H
#define PROVIDERS_TOLD_H

#include "tests/providers/dialect.h"

#define TOLD_KEPT_MAX 64
#define TOLD_KEPT_REQUEST_BYTES_MAX ((size_t)16 << 10) /* larger ones are not kept */
#define TOLD_KEPT_REPLY_BYTES_MAX ((size_t)256 << 10)  /* the same */

struct told {
    unsigned references;
    /* the request */
    enum dialect dialect;
    bool http10;
    struct buf url, body;
    struct chat chat;
    uint64_t key; /* by seed and body */
    /* the answer */
    struct fault fault;
    struct usage truth, reported;
    bool reports; /* usage is in the answer */
    uint32_t tokens;
    struct reply reply;
};

/* The answer to a request. Parses it unless the same one is kept; *ret_fault is the fault the
 * answer is under, set also where the result is -1. -1: a problem (the fault's own included). */
int told_get(enum dialect dialect, const struct request *request, const unsigned char sha[32],
             uint64_t draw, struct told **ret, struct fault *ret_fault, struct chat *ret_chat,
             struct problem *why);

struct told *told_problem(const struct dialect_face *face, const struct problem *why,
                          const char *request_id, struct buf *headers); /* an error as an answer */
struct told *told_new(void); /* an empty one, to write a reply into */
struct told *told_free(struct told *told);
void told_end(void); /* forgets all */

struct told_conf {
    uint64_t seed;
    int64_t created_s;
    int64_t tokens; /* length of every answer; -1: by the request */
    bool write_all;
};
extern struct told_conf told_conf;

#endif
