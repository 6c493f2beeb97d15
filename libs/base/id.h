/* Identifiers and randomness. */
#ifndef TG_BASE_ID_H
#define TG_BASE_ID_H

#include <stddef.h>
#include <stdint.h>

#define TG_UUID_TEXT 37 /* 36 characters and the terminator */

/* UUID version 7 (RFC 9562): 48 bits of milliseconds, then 74 random bits. `random` is 10 bytes. */
void tg_uuid7(uint64_t wall_ms, const uint8_t random[10], char ret[TG_UUID_TEXT]);

/* Bytes from the kernel; aborts if there are none, since nothing can go on without them. */
void tg_random_bytes(void *to, size_t len);

/* A seeded generator for jitter, draws and tests (splitmix64); never for secrets. */
uint64_t tg_random_next(uint64_t *state);

void tg_hex(const void *data, size_t len, char *to); /* lower case; `to` holds 2 * len + 1 */

#endif
