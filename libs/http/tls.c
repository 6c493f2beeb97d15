#include "libs/http/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

struct tg_tls_context {
    SSL_CTX *ssl;
};

struct tg_tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

static int fail(tg_error *err, const char *what, const char *file)
{
    char reason[256];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    return tg_error_set(err, -EINVAL, "%s '%s': %s", what, file, reason);
}

static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                           const unsigned char *offer, unsigned offer_len, void *user)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)user;
    unsigned char *chosen = NULL;
    int rc = SSL_select_next_proto(&chosen, ret_len, ours, sizeof(ours) - 1, offer, offer_len);
    *ret = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static int load(SSL_CTX *ssl, const char *cert, const char *key, const char *client_ca,
                tg_error *err)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, cert) != 1)
        return fail(err, "cannot use the certificate", cert);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        return fail(err, "cannot use the private key", key);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return fail(err, "the private key does not belong to the certificate", key);
    if (!client_ca)
        return 0;
    if (SSL_CTX_load_verify_locations(ssl, client_ca, NULL) != 1)
        return fail(err, "cannot use the client CA", client_ca);
    SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(client_ca));
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

int tg_tls_context_new(const char *cert_file, const char *key_file, const char *client_ca_file,
                       tg_error *err, tg_tls_context **ret)
{
    if (!cert_file || !key_file)
        return tg_error_set(err, -EINVAL, "TLS needs both a certificate and a private key");
    tg_tls_context *context = calloc(1, sizeof(*context));
    SSL_CTX *ssl = context ? SSL_CTX_new(TLS_server_method()) : NULL;
    if (!ssl) {
        free(context);
        return -ENOMEM;
    }
    context->ssl = ssl;
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    static const unsigned char session_context[] = "tollgate";
    SSL_CTX_set_session_id_context(ssl, session_context, sizeof(session_context) - 1);
    int rc = load(ssl, cert_file, key_file, client_ca_file, err);
    if (rc < 0) {
        tg_tls_context_free(context);
        return rc;
    }
    *ret = context;
    return 0;
}

tg_tls_context *tg_tls_context_free(tg_tls_context *context)
{
    if (context)
        SSL_CTX_free(context->ssl);
    free(context);
    return NULL;
}

tg_tls *tg_tls_new(tg_tls_context *context)
{
    tg_tls *tls = calloc(1, sizeof(*tls));
    SSL *ssl = tls ? SSL_new(context->ssl) : NULL;
    BIO *in = ssl ? BIO_new(BIO_s_mem()) : NULL;
    BIO *out = in ? BIO_new(BIO_s_mem()) : NULL;
    if (!out) {
        BIO_free(in);
        SSL_free(ssl);
        free(tls);
        return NULL;
    }
    SSL_set_bio(ssl, in, out);
    SSL_set_accept_state(ssl);
    *tls = (tg_tls){.ssl = ssl, .in = in, .out = out};
    return tls;
}

tg_tls *tg_tls_free(tg_tls *tls)
{
    if (tls)
        SSL_free(tls->ssl);
    free(tls);
    return NULL;
}

int tg_tls_feed(tg_tls *tls, tg_str cipher)
{
    size_t written = 0;
    int ok = BIO_write_ex(tls->in, cipher.data, cipher.len, &written);
    return ok == 1 && written == cipher.len ? 0 : -ENOMEM;
}

long tg_tls_read(tg_tls *tls, char *to, size_t size)
{
    size_t got = 0;
    ERR_clear_error();
    int ok = SSL_read_ex(tls->ssl, to, size, &got);
    if (ok == 1)
        return (long)got;
    switch (SSL_get_error(tls->ssl, ok)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return -EPIPE;
    default:
        ERR_clear_error();
        return -EPROTO;
    }
}

int tg_tls_write(tg_tls *tls, tg_str plain)
{
    size_t written = 0;
    if (plain.len == 0)
        return 0;
    ERR_clear_error();
    int ok = SSL_write_ex(tls->ssl, plain.data, plain.len, &written);
    return ok == 1 && written == plain.len ? 0 : -EPROTO;
}

void tg_tls_goodbye(tg_tls *tls)
{
    if (SSL_is_init_finished(tls->ssl))
        SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

tg_str tg_tls_pending(tg_tls *tls)
{
    char *data = NULL;
    long len = BIO_get_mem_data(tls->out, &data);
    return (tg_str){data, len > 0 ? (size_t)len : 0};
}

void tg_tls_taken(tg_tls *tls) { (void)BIO_reset(tls->out); }
