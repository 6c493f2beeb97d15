/* An HTTP/1.1 server on a libuv loop: keep-alive, ordered pipelining, chunked bodies, SSE, TLS.
 *
 * A handler gets the whole request, body included (bounded), and answers once: with a complete
 * response, or with a stream of writes. Both may happen later, from the same loop. A request that
 * breaks the protocol never reaches a handler: it is answered 400, 408, 413, 414, 431, 501 or 505
 * and the connection closed. Both Content-Length and Transfer-Encoding: 400 (RFC 9112,
 * section 6.3).
 *
 * Requests of one connection are worked on one after the other; what is pipelined behind them
 * waits, up to one input buffer full. A client that shuts down its sending side while it waits for
 * an answer counts as gone. A refused client gets its answer even while it still sends: what it
 * sends is dropped for 2 s.
 *
 * Ownership: the exchange belongs to the server until answered completely or aborted, and so do the
 * request's slices, which stay valid that long. A handler that answers later sets on_abort to learn
 * that the client went away, and must not touch the exchange after on_abort or after end. Without
 * on_abort the exchange stays until it is answered, into the void (writes give -EPIPE). Threads:
 * the loop's. The process ignores or blocks SIGPIPE.
 */
#ifndef TG_HTTP_SERVER_H
#define TG_HTTP_SERVER_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

typedef struct tg_http_server tg_http_server;
typedef struct tg_http_exchange tg_http_exchange;

typedef struct tg_http_header {
    tg_str name, value;
} tg_http_header;

typedef struct tg_http_request {
    tg_str method;
    tg_str path;  /* without the query; as sent, not decoded */
    tg_str query; /* without '?' */
    const tg_http_header *headers;
    size_t header_count;
    tg_str body;
    const char *peer; /* address for logs */
    bool tls;
} tg_http_request;

/* The first header of that name (any case), or an empty slice with data NULL. */
tg_str tg_http_request_header(const tg_http_request *request, const char *name);

typedef void tg_http_handler(void *user, tg_http_exchange *exchange,
                             const tg_http_request *request);

typedef struct tg_http_server_conf {
    const char *host; /* numeric address */
    uint16_t port;    /* 0: any free one */
    bool reuseport;
    const char *cert_file, *key_file; /* both or neither */
    const char *client_ca_file;       /* require client certificates of this CA, or NULL */
    uint32_t connections_max;         /* default 4096; past it a connection is closed at once */
    uint32_t header_bytes_max;        /* default 32 KiB */
    uint32_t body_bytes_max;          /* default 8 MiB */
    uint32_t header_timeout_ms;       /* default 10000: from the first byte to the header's end */
    uint32_t body_timeout_ms;         /* default 60000: the whole request */
    uint32_t idle_timeout_ms;         /* default 75000: between requests */
    uint32_t write_timeout_ms;        /* default 60000: a client that reads nothing is dropped */
    uint32_t write_buffer_max; /* default 4 MiB per connection; past it a write fails -ENOBUFS */
    uint32_t write_high_water; /* default 256 KiB: tg_http_stream_full() becomes true */
    tg_http_handler *handler;
    void *user;
} tg_http_server_conf;

int tg_http_server_new(uv_loop_t *loop, const tg_http_server_conf *conf, tg_error *err,
                       tg_http_server **ret);
uint16_t tg_http_server_port(const tg_http_server *server);

/* Stops accepting, closes idle connections, answers the last requests with Connection: close;
 * `done` is called when the last connection has gone. */
void tg_http_server_drain(tg_http_server *server, void (*done)(void *user), void *user);
/* Closes everything at once, on_abort of each open exchange included; memory is released on the
 * loop; the pointer is dead after the call. */
void tg_http_server_close(tg_http_server *server);
uint32_t tg_http_server_connections(const tg_http_server *server);

/* A complete answer. Content-Length and Date are added. `headers` are copied; a value is cut where
 * it would break its line. */
void tg_http_reply(tg_http_exchange *x, unsigned status, const char *content_type,
                   const tg_http_header *headers, size_t header_count, tg_str body);

/* A streamed answer (chunked; to an HTTP/1.0 client until close). */
void tg_http_stream_begin(tg_http_exchange *x, unsigned status, const char *content_type,
                          const tg_http_header *headers, size_t header_count);
/* Queues bytes; writes within one loop turn leave in one system call. 0, -ENOBUFS or -EPIPE (client
 * gone). */
int tg_http_stream_write(tg_http_exchange *x, tg_str bytes);
bool tg_http_stream_full(const tg_http_exchange *x); /* more than write_high_water is waiting */
void tg_http_stream_end(tg_http_exchange *x);
/* Breaks the connection so that the client sees an incomplete answer. */
void tg_http_stream_cut(tg_http_exchange *x);

/* on_abort: the client went away before the answer's end (the exchange is dead after the call).
 * on_writable: the queue fell below half of write_high_water after having been full. */
void tg_http_exchange_watch(tg_http_exchange *x, void (*on_abort)(void *user),
                            void (*on_writable)(void *user), void *user);

#endif
