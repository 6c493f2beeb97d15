/* Rate limits as the providers count them: token buckets per (dialect, key, model).
 *
 * What counts against the token limit is data, because the providers differ: the input alone, or
 * the input and all of max_tokens at admission, with the unused rest given back at the end or not.
 * By default nothing is refused and the limits are high; the admin port sets others:
 * POST /limits {"dialect": "openai", "rpm": 500, "tpm": 30000, "otpm": 8000, "enforce": true,
 *               "reserve_output": true, "settle": true}
 *
 * Time: the caller passes a monotonic `now_ms`.
 */
#ifndef PROVIDERS_LIMITS_H
#define PROVIDERS_LIMITS_H

#include "tests/providers/dialect.h"

#include <jansson.h>

#define LIMITS_ACCOUNTS_MAX 256 /* beyond, the one unused for longest starts anew */

/* One request: false if a limit refuses it. Fills the view either way. */
bool limits_admit(enum dialect dialect, const char *key, const char *model, int64_t input,
                  int64_t max_output, uint64_t now_ms, struct limits_view *ret);
/* At the end of an admitted request. */
void limits_settle(enum dialect dialect, const char *key, const char *model, int64_t max_output,
                   int64_t output, uint64_t now_ms);
/* What a 429 on demand tells: nothing left, until reset_s from now. */
void limits_exhaust(struct limits_view *view, double reset_s);

int limits_set(json_t *object, char *why, size_t why_size); /* 0 or -1 */

#endif
