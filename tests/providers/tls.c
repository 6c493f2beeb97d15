#include "tests/providers/tls.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

struct tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

/* Clients that offer HTTP/2 as well are told that this is HTTP/1.1. */
static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                           const unsigned char *offered, unsigned int len, void *arg)
{
    static const unsigned char http11[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, ret_len, http11, sizeof http11 - 1, offered, len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *tls_context(const char *cert_file, const char *key_file)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
        SSL_CTX_use_certificate_chain_file(context, cert_file) == 1 &&
        SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_check_private_key(context) == 1) {
        SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
        return context;
    }
    fprintf(stderr, "providers: %s and %s: %s\n", cert_file, key_file,
            ERR_reason_error_string(ERR_get_error()));
    SSL_CTX_free(context);
    return NULL;
}

struct tls *tls_new(SSL_CTX *context)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        abort();
    tls->ssl = SSL_new(context);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (!tls->ssl || !tls->in || !tls->out)
        abort();
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

struct tls *tls_free(struct tls *tls)
{
    if (tls)
        SSL_free(tls->ssl);
    free(tls);
    return NULL;
}

void tls_feed(struct tls *tls, const char *cipher, size_t len)
{
    if (BIO_write(tls->in, cipher, (int)len) != (int)len)
        abort();
}

int tls_read(struct tls *tls, char *plain, size_t size)
{
    ERR_clear_error();
    int got = SSL_read(tls->ssl, plain, (int)size);
    if (got > 0)
        return got;
    int why = SSL_get_error(tls->ssl, got);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

int tls_write(struct tls *tls, const char *plain, size_t len)
{
    ERR_clear_error();
    return len == 0 || SSL_write(tls->ssl, plain, (int)len) == (int)len ? 0 : -1;
}

int tls_drain(struct tls *tls, char *cipher, size_t size)
{
    int got = BIO_read(tls->out, cipher, (int)size);
    return got > 0 ? got : 0;
}
