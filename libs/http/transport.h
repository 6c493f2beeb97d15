/* The one face through which the router talks to an upstream, whether by HTTP or by gRPC.
 *
 * start → (on_event …)* → exactly one TG_UPSTREAM_END, unless cancel was called, after which no
 * event comes. Events are delivered from the loop, never from inside start, pause or cancel.
 *
 * Dispatch is written against this face alone, so that a simulator can stand in for the network.
 *
 * Ownership: the exchange belongs to the transport and dies with END or cancel; request bytes are
 * copied by start; event bytes are valid during the callback. Threads: the loop's.
 */
#ifndef TG_HTTP_TRANSPORT_H
#define TG_HTTP_TRANSPORT_H

#include "libs/base/str.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tg_upstream tg_upstream; /* one exchange in flight; defined by each transport */

typedef struct tg_upstream_header {
    tg_str name, value;
} tg_upstream_header;

typedef struct tg_upstream_request {
    const char *url;                   /* HTTP: absolute URL; gRPC: "host:port" */
    const char *method;                /* HTTP: POST, GET; gRPC: "/package.Service/Method" */
    const tg_upstream_header *headers; /* or metadata */
    size_t header_count;
    tg_str body;         /* HTTP: the body; gRPC: the serialised message */
    const char *ca_file; /* or NULL */
    uint32_t connect_timeout_ms;
    uint32_t total_timeout_ms;
} tg_upstream_request;

typedef enum tg_upstream_event_type {
    TG_UPSTREAM_HEAD, /* status and headers (gRPC: initial metadata, status 200) */
    TG_UPSTREAM_DATA, /* bytes of the body, or one whole gRPC message */
    TG_UPSTREAM_END   /* the last event */
} tg_upstream_event_type;

typedef enum tg_upstream_failure {
    TG_UPSTREAM_OK = 0,  /* the exchange completed at the protocol level (any status) */
    TG_UPSTREAM_CONNECT, /* never connected, or TLS failed: nothing was sent */
    TG_UPSTREAM_RESET,   /* broke off */
    TG_UPSTREAM_TIMEOUT, /* connect or total timeout */
    TG_UPSTREAM_REFUSED  /* gRPC status other than OK; see status */
} tg_upstream_failure;

typedef struct tg_upstream_event {
    tg_upstream_event_type type;
    unsigned status;                   /* HEAD: HTTP status; END of gRPC: code + 1000 */
    const tg_upstream_header *headers; /* HEAD; END: trailing metadata */
    size_t header_count;
    tg_str data;                 /* DATA */
    tg_upstream_failure failure; /* END */
    const char *reason;          /* END with failure: for logs and errors, no secrets */
} tg_upstream_event;

typedef void tg_upstream_on_event(void *user, const tg_upstream_event *event);

typedef struct tg_transport tg_transport;
struct tg_transport {
    /* 0 and *ret; -EAGAIN when the transport's bound on exchanges in flight is reached; -EINVAL. */
    int (*start)(tg_transport *self, const tg_upstream_request *request,
                 tg_upstream_on_event *on_event, void *user, tg_upstream **ret);
    /* No DATA is delivered while paused; the peer is held back by flow control. */
    void (*pause)(tg_upstream *upstream, bool paused);
    /* Ends it at once; the peer sees the connection or stream reset. No event follows. */
    void (*cancel)(tg_upstream *upstream);
};

#endif
