/* TLS on memory: bytes from the socket go in, bytes for the socket come out; sockets are not
 * touched.
 *
 * TLS 1.2 and later; ALPN answers http/1.1. Ownership: the caller's. Threads: one at a time.
 */
#ifndef TG_HTTP_TLS_H
#define TG_HTTP_TLS_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>

typedef struct tg_tls_context tg_tls_context;
typedef struct tg_tls tg_tls;

/* PEM files. With `client_ca_file` a client must show a certificate of that CA. 0, -EINVAL or
 * -ENOMEM. */
int tg_tls_context_new(const char *cert_file, const char *key_file, const char *client_ca_file,
                       tg_error *err, tg_tls_context **ret);
tg_tls_context *tg_tls_context_free(tg_tls_context *context);

/* The server's side of one connection; NULL when memory is short. */
tg_tls *tg_tls_new(tg_tls_context *context);
tg_tls *tg_tls_free(tg_tls *tls);

int tg_tls_feed(tg_tls *tls, tg_str cipher); /* 0 or -ENOMEM */

/* Plain bytes read; 0 when more must be fed first; -EPIPE when the peer said goodbye; -EPROTO.
 * Drives the handshake, so look at tg_tls_pending afterwards, also after an error (it may hold an
 * alert). */
long tg_tls_read(tg_tls *tls, char *to, size_t size);
int tg_tls_write(tg_tls *tls, tg_str plain); /* 0 or -EPROTO */
void tg_tls_goodbye(tg_tls *tls);            /* close_notify */

tg_str tg_tls_pending(tg_tls *tls); /* for the socket; valid until the next call */
void tg_tls_taken(tg_tls *tls);     /* all of it was taken */

#endif
