/* Credentials from PEM files. */
#include "libs/base/buf.h"
#include "libs/rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PEM_BYTES_MAX = 1 << 20 };

static int read_pem(const char *path, tg_buf *out, tg_error *err)
{
    tg_buf_init(out, PEM_BYTES_MAX);
    if (!path)
        return 0;
    FILE *file = fopen(path, "re");
    int rc = file ? 0 : -errno;
    while (rc == 0) {
        char chunk[4096];
        size_t got = fread(chunk, 1, sizeof chunk, file);
        if (got == 0)
            break;
        rc = tg_buf_add(out, chunk, got);
    }
    if (file)
        fclose(file);
    if (rc == 0 && out->len == 0)
        rc = -ENODATA;
    if (rc < 0) {
        tg_buf_free(out);
        tg_error_set(err, rc, "%s: %s", path, strerror(-rc));
    }
    return rc;
}

static int read_all(const tg_rpc_tls *tls, tg_buf *cert, tg_buf *key, tg_buf *ca, tg_error *err)
{
    int rc = read_pem(tls->cert_file, cert, err);
    tg_buf_init(key, 0);
    tg_buf_init(ca, 0);
    if (rc == 0)
        rc = read_pem(tls->key_file, key, err);
    if (rc == 0)
        rc = read_pem(tls->ca_file, ca, err);
    return rc;
}

int tg_rpc_server_credentials(const tg_rpc_tls *tls, tg_error *err, grpc_server_credentials **ret)
{
    tg_buf cert, key, ca;
    if (!tls || (!tls->cert_file && !tls->key_file && !tls->ca_file)) {
        *ret = grpc_insecure_server_credentials_create();
        return 0;
    }
    if (!tls->cert_file || !tls->key_file)
        return tg_error_set(err, -EINVAL, "a TLS server needs a certificate and its key");
    int rc = read_all(tls, &cert, &key, &ca, err);
    if (rc == 0) {
        grpc_ssl_pem_key_cert_pair pair = {key.data, cert.data};
        *ret = grpc_ssl_server_credentials_create_ex(
            ca.data, &pair, 1,
            ca.data ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            NULL);
    }
    tg_buf_free(&cert);
    tg_buf_free(&key);
    tg_buf_free(&ca);
    return rc;
}

int tg_rpc_channel_credentials(const tg_rpc_tls *tls, tg_error *err, grpc_channel_credentials **ret)
{
    tg_buf cert, key, ca;
    if (!tls || (!tls->cert_file && !tls->key_file && !tls->ca_file)) {
        *ret = grpc_insecure_credentials_create();
        return 0;
    }
    if (!tls->cert_file != !tls->key_file)
        return tg_error_set(err, -EINVAL,
                            "a client certificate needs its key, and a key its certificate");
    int rc = read_all(tls, &cert, &key, &ca, err);
    if (rc == 0) {
        grpc_ssl_pem_key_cert_pair pair = {key.data, cert.data};
        *ret = grpc_ssl_credentials_create_ex(ca.data, cert.data ? &pair : NULL, NULL, NULL);
    }
    tg_buf_free(&cert);
    tg_buf_free(&key);
    tg_buf_free(&ca);
    return rc;
}
