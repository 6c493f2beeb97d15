/* The credentials that the stand-ins accept. A dialect without any accepts every one, unverified.
 *
 * Keys are compared in constant time, and told apart in the log by a fingerprint: the first 12 hex
 * digits of SHA-256 (of the access key id, for AWS).
 */
#ifndef PROVIDERS_KEYS_H
#define PROVIDERS_KEYS_H

#include "tests/providers/dialect.h"

#define KEYS_MAX 64

int keys_add(enum dialect dialect, const char *key, const char *secret); /* 0 or -1: too many */
int keys_read(const char *path); /* lines: openai KEY | anthropic KEY | aws ACCESS SECRET */

bool keys_any(enum dialect dialect);                            /* is one registered? */
bool keys_accept(enum dialect dialect, const char *key);        /* known, or none is registered */
const char *keys_secret(const char *access_key);                /* AWS; NULL: unknown */
void keys_fingerprint(const char *key, char *ret, size_t size); /* "" for NULL */

#endif
