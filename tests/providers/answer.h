/* The words of an answer: drawn by a key alone, so the same request gets the same answer.
 *
 * Counting rule of the stand-ins, the same in usage and log:
 *   output: one word is one token; in a stream, one content event.
 *   input:  UTF-8 bytes of all texts (system, and every message's text parts) / 4, rounded up.
 */
#ifndef PROVIDERS_ANSWER_H
#define PROVIDERS_ANSWER_H

#include "tests/providers/buf.h"

#include <stdbool.h>

#define ANSWER_TOKENS_MAX 20000
#define ANSWER_SHORTEST 24
#define ANSWER_LONGEST 64

struct answer {
    uint8_t *words; /* places in the vocabulary */
    uint32_t count;
    bool cut; /* max_tokens ended it */
};

/* `tokens` fixes the length, -1: by the key. `max_tokens`: -1 if the request has none. */
void answer_make(uint64_t key, int64_t tokens, int64_t max_tokens, struct answer *ret);
void answer_word(const struct answer *answer, uint32_t at, struct buf *out); /* JSON-escaped */
void answer_text(const struct answer *answer, struct buf *out);              /* all of it, quoted */
void answer_free(struct answer *answer);

uint64_t mix64(uint64_t *state); /* splitmix64: the next number of a sequence */

#endif
