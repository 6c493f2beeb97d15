/* TLS over memory BIOs: ciphertext in, plaintext out, and back.
 *
 * Ownership: tls_free(NULL) is a no-op; a context outlives its connections. Threads: one.
 */
#ifndef PROVIDERS_TLS_H
#define PROVIDERS_TLS_H

#include <openssl/ssl.h>
#include <stddef.h>

SSL_CTX *tls_context(const char *cert_file, const char *key_file); /* NULL: said on stderr why */

struct tls;
struct tls *tls_new(SSL_CTX *context);
struct tls *tls_free(struct tls *tls);

void tls_feed(struct tls *tls, const char *cipher, size_t len); /* bytes from the network */
int tls_read(struct tls *tls, char *plain, size_t size);       /* > 0 bytes, 0 none yet, < 0 over */
int tls_write(struct tls *tls, const char *plain, size_t len); /* 0, or < 0: over */
int tls_drain(struct tls *tls, char *cipher, size_t size);     /* > 0 bytes for the network, or 0 */

#endif
