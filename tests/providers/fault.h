/* Faults on demand: what the admin port asked the stand-ins to do wrong, and for whom.
 *
 * A rule is {"dialect": "openai" | "anthropic" | "bedrock" | "*", "model": "…" (optional),
 * "count": N (-1, the default: until removed), "percent": 1..100 (default 100), "fault": {…}}.
 * The newest rule that matches and has count left decides. A request's own header
 * `x-standin-fault: {…}` comes before every rule.
 *
 * A fault's fields, any of them together:
 *   status          answer this error (4xx, 5xx) instead
 *   code            the error's code or type instead of the usual one of that status
 *   reset_s         429: seconds in retry-after and in the rate-limit headers (default 1)
 *   retry_after     false: no retry-after header
 *   slow_headers_ms wait before anything is sent
 *   slow_first_ms   wait before the first token (a plain answer: before all of it)
 *   slow_token_ms   wait before each further token (a plain answer: once for all of them)
 *   write           "token" (default): one write per event; "all": as many events as may go
 *   stall_after     after N tokens nothing more, until the client leaves
 *   cut_at_byte     the connection ends after N bytes of the body
 *   error_after     a stream breaks after N tokens with the dialect's error event
 *   usage_delta     added to the reported output tokens; input_delta: to the reported input
 *   no_usage        true: usage is absent
 *   model           the model that the answer names
 *   tier            the service tier that the answer names
 *   tokens          the answer's length
 *   reasoning_tokens, cache_read, cache_write, cache_write_1h
 *                   tokens of these kinds, in truth and in the report
 * A field that is not in this list is refused.
 */
#ifndef PROVIDERS_FAULT_H
#define PROVIDERS_FAULT_H

#include "tests/providers/buf.h"

#include <jansson.h>
#include <stdbool.h>

#define FAULT_RULES_MAX 64
#define FAULT_NAME_BYTES 160
#define FAULT_DELAY_MS_MAX 600000

struct fault {
    uint64_t rule; /* a number of its own for each rule; 0: none; FAULT_OWN: from a header */
    int64_t status;
    char code[64];
    double reset_s;
    bool no_retry_after;
    int64_t slow_headers_ms, slow_first_ms, slow_token_ms;
    bool write_all;
    int64_t stall_after, cut_at_byte, error_after; /* -1: not */
    int64_t usage_delta, input_delta;
    bool no_usage;
    char model[FAULT_NAME_BYTES], tier[32]; /* "": as it is */
    int64_t tokens;                         /* -1: by the request */
    int64_t reasoning_tokens, cache_read, cache_write, cache_write_1h;
};

#define FAULT_OWN UINT64_MAX

void fault_none(struct fault *ret);
int fault_parse(json_t *object, struct fault *ret, char *why, size_t why_size); /* 0 or -1 */

int fault_add(json_t *rule, uint64_t *ret_id, char *why, size_t why_size); /* 0 or -1 */
unsigned fault_clear(void);                                                /* how many there were */
void fault_list(struct buf *out);                                          /* JSON array */

/* The fault for one request; uses up a count. False: none. */
bool fault_pick(const char *dialect, const char *model, uint64_t draw, struct fault *ret);

#endif
