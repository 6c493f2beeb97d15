#include "libs/http/sigv4.h"

#include "libs/base/id.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DIGEST_LEN = 32, CANONICAL_MAX = 64 << 10 };

static bool unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

static int encode(tg_buf *buf, tg_str text, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (unreserved(text.data[i]) || (keep_slash && c == '/')) {
            rc = tg_buf_add_char(buf, text.data[i]);
        } else {
            const char escape[] = {'%', digits[c >> 4], digits[c & 15]};
            rc = tg_buf_add(buf, escape, sizeof escape);
        }
    }
    return rc;
}

int tg_sigv4_encode_segment(tg_buf *buf, tg_str segment) { return encode(buf, segment, false); }

static void sha256_hex(tg_str data, char hex[65])
{
    unsigned char digest[DIGEST_LEN];
    EVP_Digest(data.len ? data.data : "", data.len, digest, NULL, EVP_sha256(), NULL);
    tg_hex(digest, sizeof digest, hex);
}

static void hmac(const void *key, size_t key_len, const char *message, unsigned char out[DIGEST_LEN])
{
    HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)message, strlen(message), out, NULL);
}

/* The headers that are signed, in the order the signature wants: by name. */
static int canonical_headers(const tg_sigv4_request *r, const char *date, tg_buf *out, char *names, size_t size)
{
    int rc = 0;
    names[0] = '\0';
    if (r->content_type.len > 0) {
        rc = tg_buf_printf(out, "content-type:" TG_STR_FMT "\n", TG_STR_ARG(r->content_type));
        snprintf(names, size, "content-type;");
    }
    if (rc == 0)
        rc = tg_buf_printf(out, "host:" TG_STR_FMT "\nx-amz-date:%s\n", TG_STR_ARG(r->host), date);
    strncat(names, "host;x-amz-date", size - strlen(names) - 1);
    if (rc == 0 && r->session_token) {
        rc = tg_buf_printf(out, "x-amz-security-token:%s\n", r->session_token);
        strncat(names, ";x-amz-security-token", size - strlen(names) - 1);
    }
    return rc;
}

static void signing_key(const tg_sigv4_request *r, const char *day, unsigned char key[DIGEST_LEN])
{
    char secret[256];
    int len = snprintf(secret, sizeof secret, "AWS4%s", r->secret_key);
    hmac(secret, (size_t)len < sizeof secret ? (size_t)len : sizeof secret - 1, day, key);
    hmac(key, DIGEST_LEN, r->region, key);
    hmac(key, DIGEST_LEN, r->service, key);
    hmac(key, DIGEST_LEN, "aws4_request", key);
    OPENSSL_cleanse(secret, sizeof secret);
}

int tg_sigv4_sign(const tg_sigv4_request *r, tg_sigv4_headers *ret)
{
    char names[128], day[9], hash[65], signature[65], to_sign[512], scope[128];
    unsigned char key[DIGEST_LEN], digest[DIGEST_LEN];
    tg_sigv4_headers out;
    time_t now = (time_t)r->unix_s;
    struct tm tm;
    tg_buf canonical;
    tg_buf_init(&canonical, CANONICAL_MAX);
    gmtime_r(&now, &tm);
    strftime(out.date, sizeof out.date, "%Y%m%dT%H%M%SZ", &tm);
    strftime(day, sizeof day, "%Y%m%d", &tm);
    sha256_hex(r->body, out.content_sha256);
    int rc = tg_buf_printf(&canonical, "%s\n", r->method);
    if (rc == 0)
        rc = encode(&canonical, r->path, true); /* encoded once on the wire, once more to be signed */
    if (rc == 0)
        rc = tg_buf_printf(&canonical, "\n" TG_STR_FMT "\n", TG_STR_ARG(r->query));
    if (rc == 0)
        rc = canonical_headers(r, out.date, &canonical, names, sizeof names);
    if (rc == 0)
        rc = tg_buf_printf(&canonical, "\n%s\n%s", names, out.content_sha256);
    if (rc == 0) {
        sha256_hex(tg_buf_str(&canonical), hash);
        snprintf(scope, sizeof scope, "%s/%s/%s/aws4_request", day, r->region, r->service);
        snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", out.date, scope, hash);
        signing_key(r, day, key);
        hmac(key, sizeof key, to_sign, digest);
        tg_hex(digest, sizeof digest, signature);
        int len = snprintf(out.authorization, sizeof out.authorization,
                           "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                           r->access_key, scope, names, signature);
        if ((size_t)len >= sizeof out.authorization)
            rc = -ENOSPC;
        OPENSSL_cleanse(key, sizeof key);
    }
    if (rc == 0)
        *ret = out;
    tg_buf_free(&canonical);
    return rc;
}
