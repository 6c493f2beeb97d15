#include "libs/http/sigv4.h"

#include "libs/base/id.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUERY_PAIRS_MAX = 64, SCOPE_BYTES = 128 };

/* ---- encoding ---- */

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int tg_sigv4_encode_segment(tg_buf *buf, tg_str segment)
{
    int rc = tg_buf_reserve(buf, segment.len * 3);
    for (size_t i = 0; rc == 0 && i < segment.len; i++) {
        unsigned char c = (unsigned char)segment.data[i];
        rc = is_unreserved(c) ? tg_buf_add_char(buf, (char)c) : tg_buf_printf(buf, "%%%02X", c);
    }
    return rc;
}

/* The wire's path, encoded once more segment by segment, without empty, "." and ".." segments. */
static int add_path(tg_buf *buf, tg_str path)
{
    size_t start = buf->len;
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < path.len;) {
        const char *slash = memchr(path.data + at, '/', path.len - at);
        size_t len = slash ? (size_t)(slash - path.data) - at : path.len - at;
        tg_str segment = {path.data + at, len};
        at += len + 1;
        if (len == 0 || tg_str_is(segment, "."))
            continue;
        if (tg_str_is(segment, "..")) {
            while (buf->len > start && buf->data[--buf->len] != '/')
                ;
            continue;
        }
        rc = tg_buf_add_char(buf, '/');
        if (rc == 0)
            rc = tg_sigv4_encode_segment(buf, segment);
    }
    if (rc == 0 && (buf->len == start || (path.len > 0 && path.data[path.len - 1] == '/')))
        rc = tg_buf_add_char(buf, '/');
    return rc;
}

typedef struct pair {
    tg_str name, value;
} pair;

static int compare_bytes(tg_str a, tg_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_pairs(const void *a, const void *b)
{
    const pair *left = a, *right = b;
    int order = compare_bytes(left->name, right->name);
    return order != 0 ? order : compare_bytes(left->value, right->value);
}

static int add_query(tg_buf *buf, tg_str query)
{
    pair pairs[QUERY_PAIRS_MAX];
    size_t count = 0;
    while (query.len > 0) {
        const char *mark = memchr(query.data, '&', query.len);
        tg_str one = {query.data, mark ? (size_t)(mark - query.data) : query.len};
        query = mark ? (tg_str){mark + 1, query.len - one.len - 1} : (tg_str){NULL, 0};
        const char *equals = one.len > 0 ? memchr(one.data, '=', one.len) : NULL;
        size_t name = equals ? (size_t)(equals - one.data) : one.len;
        if (count == QUERY_PAIRS_MAX)
            return -E2BIG;
        pairs[count++] =
            (pair){{one.data, name}, {equals ? equals + 1 : "", equals ? one.len - name - 1 : 0}};
    }
    qsort(pairs, count, sizeof(pairs[0]), compare_pairs);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = tg_buf_printf(buf, "%s" TG_STR_FMT "=" TG_STR_FMT, i > 0 ? "&" : "",
                           TG_STR_ARG(pairs[i].name), TG_STR_ARG(pairs[i].value));
    return rc;
}

/* ---- hashing ---- */

static void hash_hex(tg_str bytes, char ret[65])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)(bytes.data ? bytes.data : ""), bytes.len, digest);
    tg_hex(digest, sizeof(digest), ret);
}

static int mac(const void *key, size_t key_len, const char *text, size_t len, unsigned char ret[32])
{
    unsigned got = 0;
    if (key_len > INT32_MAX)
        return -EINVAL;
    return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, len, ret, &got)
               ? 0
               : -EIO;
}

/* "AWS4" + secret → date → region → service → "aws4_request". */
static int signing_key(const tg_sigv4_request *request, const char *date, unsigned char ret[32])
{
    char first[256];
    int len = snprintf(first, sizeof(first), "AWS4%s", request->secret_key);
    if (len < 0 || (size_t)len >= sizeof(first))
        return -EINVAL;
    int rc = mac(first, (size_t)len, date, 8, ret);
    const char *parts[] = {request->region, request->service, "aws4_request"};
    for (size_t i = 0; rc == 0 && i < 3; i++)
        rc = mac(ret, 32, parts[i], strlen(parts[i]), ret);
    OPENSSL_cleanse(first, sizeof(first));
    return rc;
}

/* ---- the request ---- */

static const char *signed_names(const tg_sigv4_request *request)
{
    if (request->content_type.len > 0)
        return request->session_token ? "content-type;host;x-amz-date;x-amz-security-token"
                                      : "content-type;host;x-amz-date";
    return request->session_token ? "host;x-amz-date;x-amz-security-token" : "host;x-amz-date";
}

static int add_canonical(tg_buf *buf, const tg_sigv4_request *request, const tg_sigv4_headers *h)
{
    tg_str type = tg_str_trim(request->content_type);
    int rc = tg_buf_printf(buf, "%s\n", request->method);
    if (rc == 0)
        rc = add_path(buf, request->path);
    if (rc == 0)
        rc = tg_buf_add_char(buf, '\n');
    if (rc == 0)
        rc = add_query(buf, request->query);
    if (rc == 0)
        rc = tg_buf_add_char(buf, '\n');
    if (rc == 0 && type.len > 0)
        rc = tg_buf_printf(buf, "content-type:" TG_STR_FMT "\n", TG_STR_ARG(type));
    if (rc == 0)
        rc = tg_buf_printf(buf, "host:" TG_STR_FMT "\nx-amz-date:%s\n", TG_STR_ARG(request->host),
                           h->date);
    if (rc == 0 && request->session_token)
        rc = tg_buf_printf(buf, "x-amz-security-token:%s\n", request->session_token);
    if (rc == 0)
        rc = tg_buf_printf(buf, "\n%s\n%s", signed_names(request), h->content_sha256);
    return rc;
}

static int sign(const tg_sigv4_request *request, const char *canonical_hash, tg_sigv4_headers *h)
{
    char scope[SCOPE_BYTES], text[SCOPE_BYTES + 128], signature[65];
    unsigned char key[32], digest[32];
    int len = snprintf(scope, sizeof(scope), "%.8s/%s/%s/aws4_request", h->date, request->region,
                       request->service);
    if (len < 0 || (size_t)len >= sizeof(scope))
        return -EINVAL;
    len = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", h->date, scope,
                   canonical_hash);
    int rc = signing_key(request, h->date, key);
    if (rc == 0)
        rc = mac(key, sizeof(key), text, (size_t)len, digest);
    OPENSSL_cleanse(key, sizeof(key));
    if (rc < 0)
        return rc;
    tg_hex(digest, sizeof(digest), signature);
    len = snprintf(h->authorization, sizeof(h->authorization),
                   "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                   request->access_key, scope, signed_names(request), signature);
    return len < 0 || (size_t)len >= sizeof(h->authorization) ? -EINVAL : 0;
}

int tg_sigv4_sign(const tg_sigv4_request *request, tg_sigv4_headers *ret)
{
    tg_sigv4_headers h = {{0}, {0}, {0}};
    char canonical_hash[65];
    struct tm tm;
    time_t now = (time_t)request->unix_s;
    if (!gmtime_r(&now, &tm) || strftime(h.date, sizeof(h.date), "%Y%m%dT%H%M%SZ", &tm) != 16)
        return -EINVAL;
    hash_hex(request->body, h.content_sha256);
    tg_buf canonical;
    tg_buf_init(&canonical, 0);
    int rc = add_canonical(&canonical, request, &h);
    if (rc == 0)
        hash_hex(tg_buf_str(&canonical), canonical_hash);
    tg_buf_free(&canonical);
    if (rc == 0)
        rc = sign(request, canonical_hash, &h);
    if (rc == 0)
        *ret = h;
    return rc;
}
