/* What client.c (curl, libuv, the transport's face) and upstream.c (one exchange) share. */
#ifndef TG_HTTP_CLIENT_INTERNAL_H
#define TG_HTTP_CLIENT_INTERNAL_H

#include "libs/base/buf.h"
#include "libs/base/list.h"
#include "libs/http/client.h"

#include <curl/curl.h>
#include <unistd.h>

#define TG_HTTP_CLIENT_SPARE_MAX 256   /* exchanges kept for reuse */
#define TG_HTTP_CLIENT_ROUNDS 8        /* of curl's work at once within one turn */
#define TG_HTTP_CLIENT_HEADERS_MAX 128 /* of a request, and of an answer */
#define TG_HTTP_CLIENT_HEAD_BYTES_MAX ((size_t)64 << 10) /* of an answer's head */

struct tg_upstream {
    tg_http_client *client;
    CURL *easy;
    tg_list all, todo;
    tg_upstream_on_event *on_event;
    void *user;
    bool added;        /* curl has it */
    bool cancelled;    /* no event any more */
    bool paused;       /* by the user */
    bool stalled;      /* curl holds data back */
    bool sent, resent; /* curl began to send; and wanted to again */
    bool head_done, head_too_large;
    unsigned status;
    tg_buf text; /* the request: headers, each terminated, then the body */
    tg_buf head; /* the answer's header lines */
    uint32_t header_count;
    tg_upstream_header headers[TG_HTTP_CLIENT_HEADERS_MAX];
    struct curl_slist nodes[TG_HTTP_CLIENT_HEADERS_MAX + 2];
    char *ca_file, *url; /* as last set on `easy` */
    CURLU *parts;        /* of the URL */
    char error[CURL_ERROR_SIZE];
};

typedef struct tg_http_watch {
    uv_poll_t poll;
    tg_http_client *client;
    curl_socket_t fd;
    int events;
    bool idle; /* curl does not use it now */
} tg_http_watch;

struct tg_http_client {
    tg_transport transport;
    uv_loop_t *loop;
    tg_http_client_conf conf;
    CURLM *multi;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t pending; /* active while there is something to do at the end of the turn */
    unsigned handles;  /* not yet closed; the client is freed at 0 */
    unsigned depth;    /* curl is on the stack */
    bool closed;
    bool kick;             /* curl asked to be called at once */
    uint64_t wanted_ms;    /* when curl wants to be called; UINT64_MAX: not */
    uint64_t timer_due_ms; /* when `timer` fires */
    uint32_t in_flight;
    tg_list all, todo;
    tg_upstream *spare[TG_HTTP_CLIENT_SPARE_MAX];
    unsigned spare_count;
    tg_http_watch **watches; /* by descriptor */
    size_t watch_cap;
};

/* client.c */
void tg_http_client_drop_handle(tg_http_client *client);
int tg_http_client_close_socket(void *user, curl_socket_t fd);

/* upstream.c */
int tg_http_upstream_take(tg_http_client *client, tg_upstream **ret);
int tg_http_upstream_prepare(tg_upstream *u, const tg_upstream_request *request);
void tg_http_upstream_recycle(tg_http_client *client, tg_upstream *u); /* off curl already */
void tg_http_upstream_free(tg_upstream *u);

#endif
