/* The stand-ins: one process that plays OpenAI, Anthropic and Bedrock on the wire, with faults on demand.
 *
 * Independent of the product's own code, so that its log is a witness and not an echo. One thread, one
 * libuv loop. Answers depend on (seed, request body) alone.
 *
 * Counting rule, the same in answers and log: input tokens = bytes of all message texts / 4, rounded up;
 * output tokens = words sent, each token being one word with the space before it.
 *
 * Bounds: BODY_MAX bytes a request, CONNECTIONS_MAX connections, TOKENS_MAX tokens an answer.
 */
#ifndef TG_TESTS_PROVIDERS_H
#define TG_TESTS_PROVIDERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum { BODY_MAX = 32 << 20, CONNECTIONS_MAX = 8192, TOKENS_MAX = 100000, HEADERS_MAX = 64 };

typedef enum dialect { OPENAI, ANTHROPIC, BEDROCK, DIALECTS } dialect;
extern const char *const dialect_names[DIALECTS];

/* ---- options ---- */

typedef struct options {
    const char *bind;
    int http_port, https_port, admin_port; /* -1: off; 0: any */
    const char *cert, *key;
    const char *log;
    uint64_t seed;
    const char *openai_key, *anthropic_key, *aws_access_key, *aws_secret_key; /* NULL: any is accepted */
    bool reuseport;
} options;
extern options opt;

/* ---- growing text ---- */

typedef struct text {
    char *data;
    size_t len, cap;
} text;
void text_add(text *t, const void *data, size_t len);
void text_printf(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(text *t);

/* ---- requests and replies (http.c) ---- */

typedef struct request {
    char method[16];
    char *path; /* as on the wire, without the query */
    struct {
        char *name, *value;
    } headers[HEADERS_MAX];
    size_t header_count;
    text body;
} request;
const char *header(const request *r, const char *name); /* NULL when absent */

/* One write to the client, `delay_ms` after the one before. */
typedef struct piece {
    char *data;
    size_t len;
    uint64_t delay_ms;
    unsigned tokens; /* output tokens the client has once this has left */
} piece;

typedef struct record { /* what goes into the log */
    char dialect[16], path[256], model[160], attempt[96], traceparent[64], request_id[64], key[12];
    int status;
    bool stream;
    uint64_t input_tokens, output_tokens;
    uint64_t body_hash;
    bool wanted; /* admin requests are not logged */
} record;

typedef struct reply {
    int status;
    text headers; /* "name: value\r\n" lines */
    const char *content_type;
    bool chunked;
    piece *pieces;
    size_t count, cap;
    bool one_write;      /* all pieces in one */
    bool close_after;    /* drop the connection after the last piece, without the end mark */
    bool stall;          /* never send the rest */
    record log;
} reply;
void reply_piece(reply *r, const char *data, size_t len, uint64_t delay_ms, unsigned tokens);
void reply_free(reply *r);

typedef void handler(const request *in, reply *out);
/* Returns the port bound, or exits with a message. */
int http_listen(uv_loop_t *loop, const char *bind, int port, bool tls, handler *on_request);
unsigned http_connections(void);

/* ---- faults (faults.c) ---- */

typedef struct fault {
    int status;            /* 0: answer normally */
    uint64_t reset_s;      /* of 429 */
    uint64_t slow_first_ms, slow_token_ms;
    bool all_in_one;
    int64_t stall_after;   /* tokens; -1: no */
    int64_t cut_at_byte;   /* of the body; -1: no */
    int64_t usage_delta;   /* added to the reported output tokens */
    bool no_usage;
    char model[160];       /* answered instead; "" no */
    int64_t tokens;        /* -1: by the text */
} fault;

void fault_parse(json_t *object, fault *ret);
/* The fault for this request: its own header, else the first that matches (and counts down). */
fault fault_for(dialect d, const char *model, const request *in);
void admin_handler(const request *in, reply *out);

/* ---- answers (answer.c) ---- */

typedef struct answer {
    char **tokens; /* words, each but the first with a leading space */
    unsigned count;
    bool cut_by_length;
    uint64_t input_tokens, reported_output;
    uint64_t hash;
} answer;
void answer_make(const request *in, const char *texts, size_t texts_len, int64_t max_tokens,
                 const fault *f, answer *ret);
void answer_free(answer *a);
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

/* ---- dialects ---- */

void openai_handler(const request *in, reply *out);
void anthropic_handler(const request *in, reply *out);
void bedrock_handler(const request *in, reply *out);
/* NULL, or why the SigV4 signature is not valid. */
const char *sigv4_check(const request *in);
void public_handler(const request *in, reply *out); /* by path */

/* ---- log (log.c) ---- */

void log_open(const char *path);
void log_write(const record *r, bool finished, unsigned tokens_sent, uint64_t bytes_sent);
extern uint64_t served[DIALECTS], failed[DIALECTS];

#endif
