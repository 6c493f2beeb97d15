/* Self-signed certificates for 127.0.0.1, made afresh in a directory of their own. */
#ifndef TG_TESTS_UNIT_LIBS_HTTP_TLS_FILES_H
#define TG_TESTS_UNIT_LIBS_HTTP_TLS_FILES_H

#include "tests/unit/harness.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct tls_files {
    char dir[64], cert[96], key[96];
} tls_files;

static inline void tls_add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
}

static inline void tls_files_make(tls_files *files)
{
    snprintf(files->dir, sizeof(files->dir), "/tmp/tg-test-tls-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(files->dir));
    snprintf(files->cert, sizeof(files->cert), "%s/cert.pem", files->dir);
    snprintf(files->key, sizeof(files->key), "%s/key.pem", files->dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)files->dir, -1, -1,
                               0);
    X509_set_issuer_name(cert, name);
    tls_add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    tls_add_extension(cert, NID_subject_alt_name, "IP:127.0.0.1");
    X509_sign(cert, key, EVP_sha256());
    FILE *file = fopen(files->cert, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    PEM_write_X509(file, cert);
    fclose(file);
    file = fopen(files->key, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void tls_files_remove(const tls_files *files)
{
    unlink(files->cert);
    unlink(files->key);
    rmdir(files->dir);
}

#endif
