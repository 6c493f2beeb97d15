/* The witness: one JSON line for each request that the stand-ins answered, refused or saw leave.
 *
 * A line is written by one write(2) to a file opened for appending, before the answer's last byte
 * is handed to the kernel: whoever has the whole answer finds its line, also after kill -9.
 * Prompts and keys are never in it.
 *
 * Fields:
 *   time             end, seconds since 1970 as a decimal number; duration_us: since the request
 * was read seq              number of the request since the start, from 1 dialect, path, model,
 * stream, status finished         the whole answer was handed to the kernel end finished | cut |
 * stalled | error (inside a stream) | client_gone | shutdown error            the error's code
 * where one was chosen on demand, else "" input_tokens, cache_read_tokens, cache_write_5m_tokens,
 * cache_write_1h_tokens what the request held, by kinds that do not overlap; 0 unless status is 200
 *   output_tokens    generated until the end, reasoning_tokens among them
 *   reported_input_tokens, reported_output_tokens
 *                    input_tokens and output_tokens as the usage of the answer says; null: it says
 * none, or did not end tokens_sent, bytes_sent   of the body hash             SHA-256 of the
 * request's body, its first 16 hex digits key              fingerprint of the credential (keys.h)
 *   request_id       what the answer's own id header says
 *   attempt, request, traceparent, client_request_id
 *                    the request's x-tollgate-attempt, x-tollgate-request, traceparent, and
 *                    x-client-request-id or x-request-id, verbatim; "" if absent
 *   fault            whether one was asked for
 */
#ifndef PROVIDERS_LOG_H
#define PROVIDERS_LOG_H

#include "tests/providers/dialect.h"

#define LOG_HEADER_BYTES_MAX 256 /* of a header taken verbatim */

struct record {
    uint64_t seq, duration_us;
    const char *dialect, *path, *model;
    bool stream, fault, told_usage;
    int status;
    const char *end, *error;
    struct usage truth, told; /* told: valid with told_usage */
    uint64_t tokens_sent, bytes_sent;
    char hash[17], key[16], request_id[48];
    char attempt[LOG_HEADER_BYTES_MAX], request[LOG_HEADER_BYTES_MAX];
    char traceparent[LOG_HEADER_BYTES_MAX], client_request_id[LOG_HEADER_BYTES_MAX];
};

int log_open(const char *path); /* NULL: no log. 0, or -1 and said on stderr */
void log_write(const struct record *record);
int log_read(uint64_t from, struct buf *ret); /* at most LOG_READ_BYTES_MAX; -1: no log */

#define LOG_READ_BYTES_MAX ((size_t)16 << 20)

#endif
