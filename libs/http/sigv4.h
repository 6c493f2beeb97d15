/* AWS Signature Version 4 for header-signed requests, on OpenSSL's HMAC.
 *
 * Source: AWS "Signature Version 4 signing process". For every service but S3 the path is encoded
 * twice: a model id with ':' is sent as %3A and signed as %253A.
 * Pure: time is given. Secrets are not kept. Bounds: 64 query parameters, 251 bytes of secret key,
 * 128 of scope. Results: 0, -EINVAL (a part is too long), -E2BIG (the query), -ENOMEM, -EIO (no
 * HMAC).
 */
#ifndef TG_HTTP_SIGV4_H
#define TG_HTTP_SIGV4_H

#include "libs/base/buf.h"
#include "libs/base/str.h"

typedef struct tg_sigv4_request {
    const char *method;
    tg_str host;         /* with the port when it is not the scheme's own */
    tg_str path;         /* as it goes on the wire: encoded once */
    tg_str query;        /* without '?', encoded */
    tg_str content_type; /* signed when not empty */
    tg_str body;
    const char *service; /* "bedrock" */
    const char *region;
    const char *access_key;
    const char *secret_key;
    const char *session_token; /* or NULL */
    uint64_t unix_s;
} tg_sigv4_request;

typedef struct tg_sigv4_headers {
    char date[17];           /* X-Amz-Date: 20261124T120000Z */
    char content_sha256[65]; /* X-Amz-Content-Sha256 is not sent by botocore for Bedrock; the hash
                                itself */
    char authorization[512];
} tg_sigv4_headers;

int tg_sigv4_sign(const tg_sigv4_request *request, tg_sigv4_headers *ret);

/* Percent-encodes one path segment: unreserved characters stay (RFC 3986). Appends to buf. */
int tg_sigv4_encode_segment(tg_buf *buf, tg_str segment);

#endif
