/* A growing byte buffer and JSON string escaping for the stand-ins.
 *
 * The stand-ins share no code with the product: what they log must not depend on what they test.
 * A buffer that would pass BUF_BYTES_MAX, or memory that runs out, stops the process: everything
 * that feeds a buffer has a smaller named bound of its own, so either is a bug here.
 *
 * Ownership: the struct is the caller's; buf_free releases the bytes. Threads: one.
 */
#ifndef PROVIDERS_BUF_H
#define PROVIDERS_BUF_H

#include <stddef.h>
#include <stdint.h>

#define BUF_BYTES_MAX ((size_t)128 << 20)

struct buf {
    char *data; /* [0, len), always followed by a NUL once anything was added */
    size_t len;
    size_t cap;
};

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_text(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_json(struct buf *buf, const char *text, size_t len); /* quoted and escaped */
void buf_json_text(struct buf *buf, const char *text);        /* the same, up to the NUL */
void buf_clear(struct buf *buf);                              /* keeps the memory */
void buf_free(struct buf *buf);

/* Lower-case hex of `len` bytes into `out`, which holds 2 * len + 1 bytes. */
void hex_encode(const unsigned char *bytes, size_t len, char *out);

/* The first `chars` hex digits of SHA-256, and SHA-256 itself; out holds chars + 1 bytes. */
void sha256(const void *data, size_t len, unsigned char out[32]);
void sha256_hex(const void *data, size_t len, char *out, size_t chars);

#endif
