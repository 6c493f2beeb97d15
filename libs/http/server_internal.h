/* What the files of the server share: server.c (listening, limits, drain), conn.c (reading and
 * parsing), write.c (the way out), response.c (answers).
 *
 * One request at a time is worked on per connection; pipelined ones wait in the input buffer, which
 * bounds them and keeps the answers in order. A connection at rest holds no buffers: they come from
 * the server's small pools and go back when empty.
 */
#ifndef TG_HTTP_SERVER_INTERNAL_H
#define TG_HTTP_SERVER_INTERNAL_H

#include "libs/base/buf.h"
#include "libs/base/list.h"
#include "libs/http/h1_parser.h"
#include "libs/http/server.h"
#include "libs/http/tls.h"

#define TG_HTTP_INPUT_BYTES ((size_t)16 << 10) /* first size of an input buffer */
#define TG_HTTP_SCRATCH_BYTES                                                                      \
    ((size_t)64 << 10) /* read size under TLS, and for bytes to throw away */
#define TG_HTTP_OUTPUT_KEEP_BYTES ((size_t)16 << 10)
#define TG_HTTP_POOL_MAX 64      /* of each kind: inputs, outputs, connections */
#define TG_HTTP_LINGER_MS 2000   /* for the client to read a refusal while it still sends */
#define TG_HTTP_SWEEP_MS_MAX 500 /* how late a deadline may be noticed */

typedef struct tg_http_conn tg_http_conn;

typedef struct tg_http_input {
    struct tg_http_input *next; /* in the pool */
    char *data;
    /* the request under way is data[start, len), with pipelined ones behind it */
    size_t start, len, cap;
    tg_h1_parser parser;
    tg_http_header headers[TG_H1_HEADERS_MAX];
} tg_http_input;

typedef enum tg_http_phase {
    TG_HTTP_IDLE,      /* between requests */
    TG_HTTP_RECEIVING, /* a request has begun */
    TG_HTTP_ANSWERING, /* with the handler */
    TG_HTTP_LINGERING, /* the last answer is on its way; what still comes in is thrown away */
    TG_HTTP_CLOSED     /* the socket is closed or closing */
} tg_http_phase;

struct tg_http_exchange {
    tg_http_request request;
    void (*on_abort)(void *user);
    void (*on_writable)(void *user);
    void *user;
    bool active; /* the handler owes an answer */
    bool begun;  /* a streamed answer's head is queued */
    bool chunked;
    bool bodiless; /* HEAD, 204, 304 */
    bool minor_0;  /* the client speaks HTTP/1.0 */
    bool keep_alive;
    bool was_full;
    bool cut;
};

struct tg_http_conn {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t shutdown;
    tg_http_server *server;
    tg_list all;   /* tg_http_server.conns */
    tg_list dirty; /* tg_http_server.dirty, when there is something to do at the end of the turn */
    tg_http_phase phase;
    bool in_turn; /* conn.c is on the stack and will flush */
    bool reading, writing;
    bool ending; /* close once everything is written */
    bool linger; /* and let the client read it first */
    bool reset;  /* by RST: the only way to tell an HTTP/1.0 client that the answer is incomplete */
    bool orphan; /* the socket is gone, the handler was not told: memory stays until it answers */
    bool awaits_body;           /* the head has been acted on */
    uint64_t deadline_ms;       /* of the phase; 0: none */
    uint64_t request_at_ms;     /* when its first byte came */
    uint64_t write_deadline_ms; /* while writing */
    size_t write_left;          /* at the last look, to see progress */
    tg_http_input *input;       /* NULL at rest */
    tg_buf out;                 /* plain bytes to send */
    tg_buf wire;                /* bytes libuv is writing */
    tg_tls *tls;
    tg_http_exchange x;
    char peer[64];
};

struct tg_http_server {
    uv_loop_t *loop;
    tg_http_server_conf conf;
    uint16_t port;
    tg_tls_context *tls;
    uv_tcp_t listener;
    uv_timer_t sweep;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t pending; /* active while `dirty` is not empty, so that the loop does not block */
    unsigned handles;  /* not yet closed, connections included; the server is freed at 0 */
    uint32_t conn_count;
    uint64_t sweep_ms;
    bool draining, closed, listening;
    void (*on_drained)(void *user);
    void *drained_user;
    tg_list conns, dirty;
    tg_http_input *inputs;
    unsigned input_count;
    tg_buf outputs[TG_HTTP_POOL_MAX];
    unsigned output_count;
    tg_http_conn *spare[TG_HTTP_POOL_MAX];
    unsigned spare_count;
    char *scratch;
    uint64_t date_s;
    char date[32]; /* "Tue, 24 Nov 2026 12:00:00 GMT" */
};

/* server.c */
tg_http_input *tg_http_input_take(tg_http_server *server);
void tg_http_input_give(tg_http_server *server, tg_http_input *input);
void tg_http_output_take(tg_http_server *server, tg_buf *buf); /* unless it has memory already */
void tg_http_output_give(tg_http_server *server, tg_buf *buf);
tg_str tg_http_server_date(tg_http_server *server);
void tg_http_server_forget(tg_http_server *server); /* a connection's socket has closed */

/* conn.c */
void tg_http_conn_accept(tg_http_server *server);
void tg_http_conn_run(
    tg_http_conn *conn); /* finishes an answered exchange, takes the next request */
bool tg_http_conn_has_more(const tg_http_conn *conn); /* a whole request may wait to be taken */
bool tg_http_conn_waits(const tg_http_conn *conn);    /* was held back and need not be any more */
void tg_http_conn_deadline(tg_http_conn *conn, uint64_t now_ms);
void tg_http_conn_fail(tg_http_conn *conn); /* the client is gone, or is to go: tells the handler */
void tg_http_conn_close(tg_http_conn *conn);
void tg_http_conn_release(tg_http_conn *conn); /* recycles a closed connection; frees an orphan */

/* write.c */
void tg_http_conn_dirty(tg_http_conn *conn); /* flush and run at the end of the turn */
void tg_http_conn_flush(tg_http_conn *conn);
size_t tg_http_conn_queued(const tg_http_conn *conn);
void tg_http_server_flush(tg_http_server *server);

/* response.c */
void tg_http_refuse(tg_http_conn *conn, unsigned status, const char *reason);

#endif
