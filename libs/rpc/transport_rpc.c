#include "libs/rpc/transport_rpc.h"

#include "libs/base/list.h"
#include "libs/base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADERS_MAX = 16,
    NAME_MAX_BYTES = 64,
    CHANNELS_MAX = 256,
    ADDRESS_MAX_BYTES = 512,
    UPSTREAMS_MAX = 4096
};

struct tg_rpc_transport {
    tg_transport face;
    tg_rpc_loop *loop;
    tg_rpc_tls tls;
    tg_map *channels;  /* by connect timeout and address */
    tg_list upstreams; /* in flight */
    unsigned upstream_count;
};

/* Also the type behind the transport's handle: HTTP has its own of the same name in its own file.
 */
struct tg_upstream {
    tg_list node;
    tg_rpc_transport *transport; /* NULL: freed before this */
    tg_rpc_client *client;
    tg_upstream_on_event *on_event; /* NULL: cancelled */
    void *user;
    bool head_sent, any_message;
    tg_arena arena; /* the initial metadata, until the head is told */
    tg_upstream_header initial[HEADERS_MAX];
    size_t initial_count;
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
    emit(u, &(tg_upstream_event){.type = TG_UPSTREAM_HEAD,
                                 .status = 200,
                                 .headers = u->initial,
                                 .header_count = u->initial_count});
}

/* A call that fails at once has a head too, an empty one: the event waits for the first message. */
static void on_initial(void *user, const tg_rpc_metadata *metadata, size_t count)
{
    tg_upstream *u = user;
    for (size_t i = 0; i < count && u->initial_count < HEADERS_MAX; i++) {
        const char *name = tg_arena_strdup(&u->arena, tg_str_of(metadata[i].key));
        const char *value = tg_arena_strdup(&u->arena, metadata[i].value);
        if (name && value)
            u->initial[u->initial_count++] =
                (tg_upstream_header){tg_str_of(name), {value, metadata[i].value.len}};
    }
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
    case TG_RPC_OK:
        return TG_UPSTREAM_OK;
    case TG_RPC_UNAVAILABLE:
        return u->any_message ? TG_UPSTREAM_RESET : TG_UPSTREAM_CONNECT;
    case TG_RPC_DEADLINE_EXCEEDED:
        return TG_UPSTREAM_TIMEOUT;
    default:
        return TG_UPSTREAM_REFUSED;
    }
}

static void drop(tg_upstream *u)
{
    tg_list_remove(&u->node);
    if (u->transport)
        u->transport->upstream_count--;
    tg_arena_free(&u->arena);
    free(u);
}

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
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
    if (code == TG_RPC_OK)
        head(u);
    tg_upstream_on_event *on_event = u->on_event;
    void *owner = u->user;
    drop(u);
    if (on_event)
        on_event(owner, &event);
}

/* How long connecting may take is a property of the channel, so each timeout that is asked for has
 * its own. */
static tg_rpc_channel *channel_of(tg_rpc_transport *t, const char *address,
                                  uint32_t connect_timeout_ms)
{
    char key[ADDRESS_MAX_BYTES];
    tg_error err = {""};
    int len = snprintf(key, sizeof key, "%u %s", connect_timeout_ms, address);
    if (len >= (int)sizeof key)
        return NULL;
    tg_str name = {key, (size_t)len};
    tg_rpc_channel *channel = tg_map_get(t->channels, name);
    if (channel || tg_map_count(t->channels) == CHANNELS_MAX ||
        tg_rpc_channel_new(t->loop, address, &t->tls, connect_timeout_ms, &err, &channel) < 0)
        return channel;
    if (tg_map_put(t->channels, name, channel, NULL) < 0)
        channel = tg_rpc_channel_free(channel);
    return channel;
}

static int start(tg_transport *self, const tg_upstream_request *request,
                 tg_upstream_on_event *on_event, void *user, tg_upstream **ret)
{
    tg_rpc_transport *t = TG_CONTAINER_OF(self, tg_rpc_transport, face);
    tg_rpc_metadata metadata[HEADERS_MAX];
    char names[HEADERS_MAX][NAME_MAX_BYTES];
    if (request->header_count > HEADERS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < request->header_count; i++) {
        if (request->headers[i].name.len >= NAME_MAX_BYTES)
            return -EINVAL;
        tg_str_copy(names[i], sizeof names[i], request->headers[i].name);
        metadata[i] = (tg_rpc_metadata){names[i], request->headers[i].value};
    }
    tg_rpc_channel *channel = t->upstream_count < UPSTREAMS_MAX
                                  ? channel_of(t, request->url, request->connect_timeout_ms)
                                  : NULL;
    if (!channel)
        return -EAGAIN;
    tg_upstream *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    tg_arena_init(&u->arena, 0);
    u->on_event = on_event;
    u->user = user;
    tg_rpc_start call = {
        .method = request->method,
        .request_bytes = request->body,
        .deadline_ms = request->total_timeout_ms,
        .metadata = metadata,
        .metadata_count = request->header_count,
        .on_initial = on_initial,
        .on_bytes = on_bytes,
        .on_done = on_done,
        .user = u,
    };
    int rc = tg_rpc_client_start(channel, &call, &u->client);
    if (rc < 0) {
        free(u);
        return rc;
    }
    u->transport = t;
    t->upstream_count++;
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

int tg_rpc_transport_new(tg_rpc_loop *loop, const tg_rpc_tls *tls, tg_error *err,
                         tg_rpc_transport **ret)
{
    tg_rpc_transport *t = calloc(1, sizeof *t);
    (void)err;
    if (!t)
        return -ENOMEM;
    t->face = (tg_transport){start, pause_upstream, cancel};
    t->loop = loop;
    if (tls)
        t->tls = *tls;
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
    while (
        !tg_list_empty(&t->upstreams)) { /* each outlives the transport until its call has ended */
        tg_upstream *u = TG_CONTAINER_OF(t->upstreams.next, tg_upstream, node);
        u->on_event = NULL;
        u->transport = NULL;
        tg_list_remove(&u->node);
    }
    while (tg_map_next(t->channels, &at, &address, &channel))
        tg_rpc_channel_free(channel); /* cancels; each call ends on the loop */
    tg_map_free(t->channels);
    free(t);
    return NULL;
}
