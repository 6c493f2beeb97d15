#include "tests/providers/sigv4.h"
#include "tests/providers/keys.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNED_HEADERS_BYTES = 1024, CREDENTIAL_BYTES = 300, QUERY_PAIRS_MAX = 32 };

struct authorization {
    char credential[CREDENTIAL_BYTES], signed_headers[SIGNED_HEADERS_BYTES], signature[65];
    char access[128], day[9], region[64], service[32];
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(const char *text, size_t len, char *ret, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++, n++) {
        if (n + 1 >= size)
            return false;
        int high = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        ret[n] = text[i];
        if (low >= 0) {
            ret[n] = (char)(high * 16 + low);
            i += 2;
        }
    }
    ret[n] = '\0';
    return true;
}

static void percent_encode(const char *text, size_t len, bool keep_slash, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || (c && strchr("-_.~", c)) || (keep_slash && c == '/'))
            buf_add(out, text + i, 1);
        else
            buf_printf(out, "%%%02X", c);
    }
}

static void canonical_path(const char *path, size_t len, struct buf *out)
{
    struct buf once = {0};
    char segment[2048];
    for (size_t at = 0; at <= len;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t end = slash ? (size_t)(slash - path) : len;
        if (at > 0)
            buf_add(&once, "/", 1);
        if (percent_decode(path + at, end - at, segment, sizeof segment))
            percent_encode(segment, strlen(segment), false, &once);
        at = end + 1;
    }
    percent_encode(once.data, once.len, true, out);
    buf_free(&once);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Pairs sorted, each with a '='; names and values are taken as encoded on the wire. */
static void canonical_query(const char *query, struct buf *out)
{
    char copy[2048], *pairs[QUERY_PAIRS_MAX], *save = NULL;
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", query);
    for (char *p = strtok_r(copy, "&", &save); p && count < QUERY_PAIRS_MAX;
         p = strtok_r(NULL, "&", &save))
        pairs[count++] = p;
    qsort(pairs, count, sizeof *pairs, compare_text);
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%s%s", i ? "&" : "", pairs[i], strchr(pairs[i], '=') ? "" : "=");
}

/* Outer spaces away, inner runs of spaces to one. */
static void canonical_value(const char *value, struct buf *out)
{
    while (*value == ' ')
        value++;
    size_t len = strlen(value);
    while (len > 0 && value[len - 1] == ' ')
        len--;
    for (size_t i = 0; i < len; i++)
        if (value[i] != ' ' || value[i - 1] != ' ')
            buf_add(out, value + i, 1);
}

static int canonical_request(const struct request *request, const char *signed_headers,
                             struct buf *out)
{
    char names[SIGNED_HEADERS_BYTES], hash[65], *save = NULL;
    const char *url = request_url(request), *query = strchr(url, '?');
    buf_printf(out, "%s\n", request->method);
    canonical_path(url, query ? (size_t)(query - url) : strlen(url), out);
    buf_text(out, "\n");
    canonical_query(query ? query + 1 : "", out);
    buf_text(out, "\n");
    snprintf(names, sizeof names, "%s", signed_headers);
    for (char *name = strtok_r(names, ";", &save); name; name = strtok_r(NULL, ";", &save)) {
        const char *value = request_header(request, name);
        if (!value)
            return -1;
        buf_printf(out, "%s:", name);
        canonical_value(value, out);
        buf_text(out, "\n");
    }
    sha256_hex(request->body.data ? request->body.data : "", request->body.len, hash, 64);
    const char *claimed = request_header(request, "x-amz-content-sha256");
    if (claimed && strcmp(claimed, hash) != 0)
        return -1;
    buf_printf(out, "\n%s\n%s", signed_headers, hash);
    return 0;
}

static bool part(const char *from, const char *name, char *ret, size_t size)
{
    const char *at = strstr(from, name);
    if (!at)
        return false;
    at += strlen(name);
    size_t len = strcspn(at, ", ");
    if (len == 0 || len >= size)
        return false;
    memcpy(ret, at, len);
    ret[len] = '\0';
    return true;
}

static int parse_authorization(const struct request *request, struct authorization *ret,
                               struct problem *why)
{
    const char *value = request_header(request, "authorization");
    char end[16];
    if (!value)
        return refuse(why, 403, "MissingAuthenticationTokenException",
                      "Missing Authentication Token");
    if (strncmp(value, "AWS4-HMAC-SHA256 ", 17) != 0 ||
        !part(value, "Credential=", ret->credential, sizeof ret->credential) ||
        !part(value, "SignedHeaders=", ret->signed_headers, sizeof ret->signed_headers) ||
        !part(value, "Signature=", ret->signature, sizeof ret->signature) ||
        sscanf(ret->credential, "%127[^/]/%8[^/]/%63[^/]/%31[^/]/%15s", ret->access, ret->day,
               ret->region, ret->service, end) != 5 ||
        strcmp(end, "aws4_request") != 0)
        return refuse(why, 403, "IncompleteSignatureException",
                      "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' "
                      "parameters of AWS4-HMAC-SHA256.");
    return 0;
}

bool sigv4_access_key(const struct request *request, char *ret, size_t size)
{
    struct authorization auth;
    struct problem why;
    if (parse_authorization(request, &auth, &why) < 0)
        return false;
    snprintf(ret, size, "%s", auth.access);
    return true;
}

static int check_date(const char *date, const char *day, time_t now, struct problem *why)
{
    struct tm tm = {0};
    const char *end = date ? strptime(date, "%Y%m%dT%H%M%SZ", &tm) : NULL;
    if (!end || *end)
        return refuse(why, 403, "IncompleteSignatureException",
                      "Authorization header requires existence of either a 'X-Amz-Date' or a "
                      "'Date' header.");
    time_t signed_at = timegm(&tm);
    if (strncmp(date, day, 8) != 0)
        return refuse(why, 403, "InvalidSignatureException",
                      "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                      "date from HTTP.");
    if (signed_at < now - SIGV4_SKEW_S)
        return refuse(why, 403, "InvalidSignatureException",
                      "Signature expired: %s is more than 5 minutes ago.", date);
    if (signed_at > now + SIGV4_SKEW_S)
        return refuse(why, 403, "InvalidSignatureException",
                      "Signature not yet current: %s is more than 5 minutes ahead.", date);
    return 0;
}

static bool covers(const char *signed_headers, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = signed_headers; p; p = strchr(p, ';') ? strchr(p, ';') + 1 : NULL)
        if (strncmp(p, name, len) == 0 && (p[len] == ';' || p[len] == '\0'))
            return true;
    return false;
}

static void hmac(const void *key, size_t key_len, const void *data, size_t len,
                 unsigned char ret[32])
{
    unsigned int size = 32;
    if (!HMAC(EVP_sha256(), key, (int)key_len, data, len, ret, &size))
        abort();
}

static void sign(const struct authorization *auth, const char *secret, const char *date,
                 const struct buf *canonical, char ret[65])
{
    unsigned char key[32], next[32];
    char first[300], hash[65];
    struct buf text = {0};
    const char *steps[] = {auth->day, auth->region, auth->service, "aws4_request"};
    sha256_hex(canonical->data, canonical->len, hash, 64);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", date, auth->day,
               auth->region, auth->service, hash);
    int len = snprintf(first, sizeof first, "AWS4%s", secret);
    hmac(first, (size_t)len, steps[0], strlen(steps[0]), key);
    for (size_t i = 1; i < 4; i++) {
        hmac(key, 32, steps[i], strlen(steps[i]), next);
        memcpy(key, next, 32);
    }
    hmac(key, 32, text.data, text.len, next);
    hex_encode(next, 32, ret);
    buf_free(&text);
}

int sigv4_verify(const struct request *request, time_t now, struct problem *why)
{
    struct authorization auth;
    struct buf canonical = {0};
    char expected[65];
    const char *date = request_header(request, "x-amz-date");
    if (parse_authorization(request, &auth, why) < 0 || check_date(date, auth.day, now, why) < 0)
        return -1;
    if (strcmp(auth.service, "bedrock") != 0)
        return refuse(why, 403, "InvalidSignatureException",
                      "Credential should be scoped to correct service: 'bedrock'.");
    if (!covers(auth.signed_headers, "host") || !covers(auth.signed_headers, "x-amz-date"))
        return refuse(why, 403, "InvalidSignatureException",
                      "'Host' and 'X-Amz-Date' must be signed headers.");
    if (!keys_any(BEDROCK))
        return 0;
    const char *secret = keys_secret(auth.access);
    if (!secret)
        return refuse(why, 403, "UnrecognizedClientException",
                      "The security token included in the request is invalid.");
    int err = canonical_request(request, auth.signed_headers, &canonical);
    if (err == 0)
        sign(&auth, secret, date, &canonical, expected);
    buf_free(&canonical);
    if (err < 0 || strlen(auth.signature) != 64 || CRYPTO_memcmp(expected, auth.signature, 64) != 0)
        return refuse(why, 403, "InvalidSignatureException",
                      "The request signature we calculated does not match the signature you "
                      "provided. Check your AWS Secret Access Key and signing method.");
    return 0;
}
