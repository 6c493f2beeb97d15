/* Verifies AWS Signature Version 4 as Bedrock would: the path encoded twice, a date within five minutes. */
#include "tests/providers/providers.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SKEW_S = 300 };

static void hex(const unsigned char *in, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        sprintf(out + 2 * i, "%02x", in[i]);
}

static void sha256_hex(const void *data, size_t len, char out[65])
{
    unsigned char digest[32];
    EVP_Digest(data ? data : "", len, digest, NULL, EVP_sha256(), NULL);
    hex(digest, 32, out);
}

static void hmac(const void *key, size_t key_len, const char *message, unsigned char out[32])
{
    HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)message, strlen(message), out, NULL);
}

/* The wire's path once more percent-encoded. */
static void canonical_path(text *out, const char *path)
{
    for (const char *p = path; *p; p++) {
        bool plain = (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ||
                     strchr("-_.~/", *p);
        if (plain)
            text_add(out, p, 1);
        else
            text_printf(out, "%%%02X", (unsigned char)*p);
    }
}

static bool part(const char *from, const char *name, char *out, size_t size)
{
    const char *at = strstr(from, name);
    if (!at)
        return false;
    at += strlen(name);
    size_t len = strcspn(at, ", ");
    if (len >= size)
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

static void canonical_request(const request *in, const char *signed_headers, text *out)
{
    char names[512], hash[65], *save;
    text_printf(out, "%s\n", in->method);
    canonical_path(out, in->path);
    text_printf(out, "\n\n");
    snprintf(names, sizeof names, "%s", signed_headers);
    for (char *name = strtok_r(names, ";", &save); name; name = strtok_r(NULL, ";", &save)) {
        const char *value = header(in, name);
        text_printf(out, "%s:%s\n", name, value ? value : "");
    }
    sha256_hex(in->body.data, in->body.len, hash);
    text_printf(out, "\n%s\n%s", signed_headers, hash);
}

const char *sigv4_check(const request *in)
{
    const char *authorization = header(in, "authorization"), *date = header(in, "x-amz-date");
    char credential[256], headers[512], signature[128], hash[65], expected[65];
    char *access, *day, *region, *service, *save;
    unsigned char key[32], digest[32];
    struct tm tm = {0};
    text canonical = {0}, to_sign = {0};
    if (!authorization || !date || strncmp(authorization, "AWS4-HMAC-SHA256 ", 17) != 0)
        return "Missing Authentication Token";
    if (!part(authorization, "Credential=", credential, sizeof credential) ||
        !part(authorization, "SignedHeaders=", headers, sizeof headers) ||
        !part(authorization, "Signature=", signature, sizeof signature))
        return "the Authorization header is incomplete";
    if (!strptime(date, "%Y%m%dT%H%M%SZ", &tm) || labs((long)(timegm(&tm) - time(NULL))) > SKEW_S)
        return "Signature expired";
    char scope[256];
    snprintf(scope, sizeof scope, "%s", strchr(credential, '/') ? strchr(credential, '/') + 1 : "");
    access = strtok_r(credential, "/", &save);
    day = strtok_r(NULL, "/", &save);
    region = strtok_r(NULL, "/", &save);
    service = strtok_r(NULL, "/", &save);
    if (!access || !day || !region || !service || strncmp(date, day, 8) != 0 || strcmp(service, "bedrock") != 0)
        return "Credential should be scoped to the service: 'bedrock'";
    if (!strstr(headers, "host") || !strstr(headers, "x-amz-date"))
        return "host and x-amz-date must be signed";
    if (opt.aws_access_key && strcmp(access, opt.aws_access_key) != 0)
        return "The security token included in the request is invalid.";
    if (!opt.aws_secret_key)
        return NULL;
    canonical_request(in, headers, &canonical);
    sha256_hex(canonical.data, canonical.len, hash);
    text_printf(&to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hash);
    char secret[256];
    snprintf(secret, sizeof secret, "AWS4%s", opt.aws_secret_key);
    hmac(secret, strlen(secret), day, key);
    hmac(key, 32, region, key);
    hmac(key, 32, service, key);
    hmac(key, 32, "aws4_request", key);
    hmac(key, 32, to_sign.data, digest);
    hex(digest, 32, expected);
    text_free(&canonical);
    text_free(&to_sign);
    return strcmp(expected, signature) == 0 ? NULL
                                            : "The request signature we calculated does not match the "
                                              "signature you provided.";
}
