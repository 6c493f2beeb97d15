/* AWS Signature Version 4, verified as Bedrock does.
 *
 * The canonical path is the wire's path, each segment brought to its encoded form once and then
 * encoded again: a model id with ':' is signed as %253A whether the wire says ':' or '%3A'.
 * The signature must cover host and x-amz-date, the date must be within SIGV4_SKEW_S, the
 * scope must be of the same day and of the service "bedrock".
 */
#ifndef PROVIDERS_SIGV4_H
#define PROVIDERS_SIGV4_H

#include "tests/providers/dialect.h"

#include <time.h>

#define SIGV4_SKEW_S 300

int sigv4_verify(const struct request *request, time_t now, struct problem *why); /* 0 or -1 */
bool sigv4_access_key(const struct request *request, char *ret, size_t size);

/* Percent-decodes len bytes into ret (size bytes, NUL-terminated); false if it does not fit. */
bool percent_decode(const char *text, size_t len, char *ret, size_t size);

#endif
