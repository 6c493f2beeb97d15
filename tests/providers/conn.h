/* Connections: one HTTP/1.1 request after another, answered in pieces.
 *
 * A connection reads a request, hands it to its handler, and reads the next one once conn_done was
 * called. While an answer is under way it goes on reading, so that a client that leaves is
 * noticed at once; what arrives is kept up to CONN_AHEAD_BYTES_MAX, then reading stops.
 *
 * Ownership: a connection frees itself after conn_close; handler->free releases `user`.
 * Threads:   one libuv loop.
 */
#ifndef PROVIDERS_CONN_H
#define PROVIDERS_CONN_H

#include "tests/providers/request.h"
#include "tests/providers/tls.h"

#include <uv.h>

#define CONN_COUNT_MAX 4096
#define CONN_AHEAD_BYTES_MAX ((size_t)64 << 10)    /* pipelined behind a request under way */
#define CONN_BACKLOG_BYTES_MAX ((size_t)256 << 10) /* unwritten: the answer waits above this */
#define CONN_LINGER_MS 2000 /* after the last byte, for the client to close first */
#define NET_LISTENERS_MAX 3
#define NET_GRACE_MS 2000 /* answers under way get this long when the program ends */

struct conn;

struct conn_handler {
    void (*request)(struct conn *conn);                       /* conn->request is complete */
    void (*refuse)(struct conn *conn, enum parse_result why); /* not a request; answer and drop */
    void (*tick)(struct conn *conn);                          /* conn_wait's time is over */
    void (*drained)(struct conn *conn); /* the backlog fell below its bound; may be NULL */
    void (*gone)(struct conn *conn);    /* closed while an answer was under way; may be NULL */
    void (*free)(void *user);           /* may be NULL */
};

struct listener {
    uv_tcp_t tcp;
    struct net *net;
    const struct conn_handler *handler;
    SSL_CTX *tls; /* NULL: plain; borrowed */
};

struct net {
    uv_loop_t *loop;
    struct listener listeners[NET_LISTENERS_MAX];
    size_t listener_count;
    struct conn *first; /* all connections */
    unsigned conn_count;
    unsigned conn_most;    /* highest conn_count so far */
    uint64_t conn_refused; /* beyond CONN_COUNT_MAX */
    bool stopping;
    uv_timer_t grace;
};

struct conn {
    struct request request;
    void *user; /* the handler's */
    struct net *net;

    /* conn.c's own */
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned open_handles;
    struct conn *prev, *next;
    const struct conn_handler *handler;
    struct tls *tls;
    struct parser parser;
    struct buf ahead;
    size_t backlog_bytes;
    bool reading, feeding, answering, continued, dropping, closing;
    uv_shutdown_t shutdown;
};

/* 0 and the port bound, or a negative libuv error. Port 0 takes any. */
int net_listen(struct net *net, const char *bind, int port, bool reuseport, SSL_CTX *tls,
               const struct conn_handler *handler, int *ret_port);
void net_stop(struct net *net); /* no new connections; ends those that are idle; bounded in time */

/* Sends a then b (either may be empty) in one write if the socket takes it. Copies what it does
 * not. */
void conn_send(struct conn *conn, const char *a, size_t a_len, const char *b, size_t b_len);
bool conn_congested(const struct conn *conn);         /* wait for `drained` before sending more */
void conn_wait(struct conn *conn, uint64_t delay_ms); /* calls `tick` later */
void conn_done(struct conn *conn);                    /* the answer is complete */
void conn_drop(struct conn *conn);                    /* flush, then end the connection */
void conn_close(struct conn *conn);                   /* now */

#endif
