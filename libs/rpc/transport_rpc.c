#include "libs/rpc/transport_rpc.h"

#include "libs/base/list.h"
#include "libs/base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADERS_MAX = 16, ADDRESSES_MAX = 256 };

struct tg_rpc_transport {
    tg_transport face;
    tg_rpc_loop *loop;
    const tg_rpc_tls *tls;
    tg_map *channels; /* by address */
    tg_list upstreams; /* in flight */
};

/* Also the type behind the transport's handle: HTTP has its own of the same name in its own file. */
struct tg_upstream {
    tg_list node;
    tg_rpc_client *client;
    tg_upstream_on_event *on_event; /* NULL: cancelled */
    void *user;
    bool head_sent, any_message;
};

static void emit(tg_upstream *u, const tg_upstream_event *event)
{
    if (u->on_event)
        u->on_event(u->user, event);
}

static void head(tg_upstream *u)
{
    if (u->head_sent)
        return;
    u->head_sent = true;
    emit(u, &(tg_upstream_event){.type = TG_UPSTREAM_HEAD, .status = 200});
}

static void on_bytes(void *user, tg_str message)
{
    tg_upstream *u = user;
    head(u);
    u->any_message = true;
    emit(u, &(tg_upstream_event){.type = TG_UPSTREAM_DATA, .data = message});
}

static tg_upstream_failure failure_of(const tg_upstream *u, tg_rpc_code code)
{
    switch (code) {
    case TG_RPC_OK: return TG_UPSTREAM_OK;
    case TG_RPC_UNAVAILABLE: return u->any_message ? TG_UPSTREAM_RESET : TG_UPSTREAM_CONNECT;
    case TG_RPC_DEADLINE_EXCEEDED: return TG_UPSTREAM_TIMEOUT;
    default: return TG_UPSTREAM_REFUSED;
    }
}

static void on_done(void *user, tg_rpc_code code, const char *message, const tg_rpc_metadata *trailing,
                    size_t count)
{
    tg_upstream *u = user;
    tg_upstream_header headers[HEADERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < count && n < HEADERS_MAX; i++)
        headers[n++] = (tg_upstream_header){tg_str_of(trailing[i].key), trailing[i].value};
    tg_upstream_event event = {.type = TG_UPSTREAM_END,
                               .status = (unsigned)code + 1000,
                               .headers = headers,
                               .header_count = n,
                               .failure = failure_of(u, code),
                               .reason = message};
    if (code == TG_RPC_OK) {
        head(u);
        event.status = 0;
    }
    tg_upstream_on_event *on_event = u->on_event;
    void *owner = u->user;
    tg_list_remove(&u->node);
    free(u);
    if (on_event)
        on_event(owner, &event);
}

static tg_rpc_channel *channel_of(tg_rpc_transport *t, const char *address)
{
    tg_rpc_channel *channel = tg_map_get(t->channels, tg_str_of(address));
    tg_error err = {""};
    if (channel || tg_map_count(t->channels) == ADDRESSES_MAX ||
        tg_rpc_channel_new(t->loop, address, t->tls, &err, &channel) < 0)
        return channel;
    if (tg_map_put(t->channels, tg_str_of(address), channel, NULL) < 0)
        channel = tg_rpc_channel_free(channel);
    return channel;
}

static int start(tg_transport *self, const tg_upstream_request *request, tg_upstream_on_event *on_event,
                 void *user, tg_upstream **ret)
{
    tg_rpc_transport *t = TG_CONTAINER_OF(self, tg_rpc_transport, face);
    tg_rpc_channel *channel = channel_of(t, request->url);
    tg_rpc_metadata metadata[HEADERS_MAX];
    char names[HEADERS_MAX][64];
    size_t count = 0;
    tg_upstream *u = channel ? calloc(1, sizeof *u) : NULL;
    if (!u)
        return channel ? -ENOMEM : -EAGAIN;
    for (size_t i = 0; i < request->header_count && count < HEADERS_MAX; i++) {
        tg_str_copy(names[count], sizeof names[count], request->headers[i].name);
        metadata[count] = (tg_rpc_metadata){names[count], request->headers[i].value};
        count++;
    }
    u->on_event = on_event;
    u->user = user;
    tg_rpc_start call = {
        .method = request->method,
        .request_bytes = request->body,
        .deadline_ms = request->total_timeout_ms,
        .metadata = metadata,
        .metadata_count = count,
        .on_bytes = on_bytes,
        .on_done = on_done,
        .user = u,
    };
    int rc = tg_rpc_client_start(channel, &call, &u->client);
    if (rc < 0) {
        free(u);
        return rc;
    }
    tg_list_add_tail(&t->upstreams, &u->node);
    *ret = u;
    return 0;
}

static void pause_upstream(tg_upstream *u, bool paused) { tg_rpc_client_pause(u->client, paused); }

static void cancel(tg_upstream *u)
{
    u->on_event = NULL;
    tg_rpc_client_cancel(u->client); /* on_done frees it */
}

int tg_rpc_transport_new(tg_rpc_loop *loop, const tg_rpc_tls *tls, tg_error *err, tg_rpc_transport **ret)
{
    tg_rpc_transport *t = calloc(1, sizeof *t);
    (void)err;
    if (!t)
        return -ENOMEM;
    t->face = (tg_transport){start, pause_upstream, cancel};
    t->loop = loop;
    t->tls = tls;
    t->channels = tg_map_new();
    tg_list_init(&t->upstreams);
    if (!t->channels) {
        free(t);
        return -ENOMEM;
    }
    *ret = t;
    return 0;
}

tg_transport *tg_rpc_transport_face(tg_rpc_transport *t) { return &t->face; }

tg_rpc_transport *tg_rpc_transport_free(tg_rpc_transport *t)
{
    size_t at = 0;
    tg_str address;
    void *channel;
    if (!t)
        return NULL;
    while (!tg_list_empty(&t->upstreams)) { /* each outlives the transport until its call has ended */
        tg_upstream *u = TG_CONTAINER_OF(t->upstreams.next, tg_upstream, node);
        u->on_event = NULL;
        tg_list_remove(&u->node);
    }
    while (tg_map_next(t->channels, &at, &address, &channel))
        tg_rpc_channel_free(channel); /* cancels; each call ends on the loop */
    tg_map_free(t->channels);
    free(t);
    return NULL;
}
