/* Calls from the client's side. Three operations run side by side: the request with what answers its
 * head, a read of the next message, and the final status. The call is over when the status has come and
 * every message before it was read. */
#include "libs/rpc/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RECONNECT_FIRST_MS = 100, RECONNECT_MAX_MS = 2000, KEEPALIVE_MS = 20000, KEEPALIVE_TIMEOUT_MS = 10000 };

struct tg_rpc_channel {
    tg_rpc_loop *loop;
    grpc_channel *grpc;
    tg_list clients; /* in flight */
    bool dead;       /* freed by its owner; goes with its last call */
};

struct tg_rpc_client {
    tg_rpc_tag head, read, status;
    tg_list node;
    tg_rpc_channel *channel;
    tg_rpc_start start;
    grpc_call *call;
    unsigned references;
    bool reading, paused, status_came, over_read;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    const char *debug;
    grpc_byte_buffer *request, *message;
    tg_arena arena;
};

int tg_rpc_channel_new(tg_rpc_loop *loop, const char *address, const tg_rpc_tls *tls, tg_error *err,
                       tg_rpc_channel **ret)
{
    grpc_channel_credentials *credentials;
    grpc_arg args[8] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = (int)TG_RPC_MESSAGE_MAX},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
         .value.integer = RECONNECT_FIRST_MS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
         .value.integer = RECONNECT_FIRST_MS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
         .value.integer = RECONNECT_MAX_MS},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_KEEPALIVE_TIME_MS, .value.integer = KEEPALIVE_MS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
         .value.integer = KEEPALIVE_TIMEOUT_MS},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0},
    };
    grpc_channel_args channel_args = {7, args};
    int rc = tg_rpc_channel_credentials(tls, err, &credentials);
    if (rc < 0)
        return rc;
    tg_rpc_channel *channel = calloc(1, sizeof *channel);
    if (!channel) {
        grpc_channel_credentials_release(credentials);
        return -ENOMEM;
    }
    if (tls && tls->server_name) {
        args[7] = (grpc_arg){.type = GRPC_ARG_STRING,
                             .key = (char *)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                             .value.string = (char *)tls->server_name};
        channel_args.num_args = 8;
    }
    channel->loop = loop;
    tg_list_init(&channel->clients);
    channel->grpc = grpc_channel_create(address, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    *ret = channel;
    return 0;
}

static void channel_release(tg_rpc_channel *channel)
{
    if (channel->dead && tg_list_empty(&channel->clients)) {
        grpc_channel_destroy(channel->grpc);
        free(channel);
    }
}

tg_rpc_channel *tg_rpc_channel_free(tg_rpc_channel *channel)
{
    if (channel) {
        TG_LIST_EACH(node, &channel->clients)
        tg_rpc_client_cancel(TG_CONTAINER_OF(node, tg_rpc_client, node));
        channel->dead = true;
        channel_release(channel);
    }
    return NULL;
}

/* ---- the end ---- */

static void release(tg_rpc_client *c)
{
    if (--c->references > 0)
        return;
    tg_rpc_channel *channel = c->channel;
    tg_list_remove(&c->node);
    grpc_metadata_array_destroy(&c->initial);
    grpc_metadata_array_destroy(&c->trailing);
    grpc_slice_unref(c->details);
    gpr_free((void *)c->debug);
    if (c->request)
        grpc_byte_buffer_destroy(c->request);
    grpc_call_unref(c->call);
    tg_arena_free(&c->arena);
    free(c);
    channel_release(channel);
}

enum { METADATA_MAX = 32 };

static size_t list_metadata(const grpc_metadata_array *in, tg_arena *arena, tg_rpc_metadata *out)
{
    size_t n = 0;
    for (size_t i = 0; i < in->count && n < METADATA_MAX; i++) {
        const grpc_metadata *m = &in->metadata[i];
        const char *key = tg_arena_strdup(
            arena, (tg_str){(const char *)GRPC_SLICE_START_PTR(m->key), GRPC_SLICE_LENGTH(m->key)});
        if (key)
            out[n++] = (tg_rpc_metadata){
                key, {(const char *)GRPC_SLICE_START_PTR(m->value), GRPC_SLICE_LENGTH(m->value)}};
    }
    return n;
}

static void maybe_done(tg_rpc_client *c)
{
    tg_rpc_metadata trailing[METADATA_MAX];
    if (!c->status_came || c->reading || !c->start.on_done)
        return;
    tg_arena_reset(&c->arena);
    size_t count = list_metadata(&c->trailing, &c->arena, trailing);
    const char *message = tg_arena_strdup(
        &c->arena, (tg_str){(const char *)GRPC_SLICE_START_PTR(c->details), GRPC_SLICE_LENGTH(c->details)});
    void (*done)(void *, tg_rpc_code, const char *, const tg_rpc_metadata *, size_t) = c->start.on_done;
    c->start.on_done = NULL;
    done(c->start.user, (tg_rpc_code)c->code, message ? message : "", trailing, count);
    release(c); /* the caller's reference */
}

/* ---- operations ---- */

static void on_head(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_client *c = TG_CONTAINER_OF(tag, tg_rpc_client, head);
    tg_rpc_metadata initial[METADATA_MAX];
    if (ok && c->start.on_initial && c->start.on_done)
        c->start.on_initial(c->start.user, initial, list_metadata(&c->initial, &c->arena, initial));
    release(c);
}

static void on_status(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_client *c = TG_CONTAINER_OF(tag, tg_rpc_client, status);
    (void)ok;
    c->status_came = true;
    maybe_done(c);
    release(c);
}

static void read_next(tg_rpc_client *c);

static void deliver(tg_rpc_client *c)
{
    if (c->start.response) {
        tg_arena_reset(&c->arena);
        const ProtobufCMessage *message = tg_rpc_unpack(c->start.response, &c->arena, c->message);
        if (message)
            c->start.on_message(c->start.user, message);
        else
            grpc_call_cancel_with_status(c->call, GRPC_STATUS_INTERNAL,
                                         "the answer is not of the promised type", NULL);
    } else {
        grpc_slice slice = tg_rpc_flatten(c->message);
        c->start.on_bytes(c->start.user,
                          (tg_str){(const char *)GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice)});
        grpc_slice_unref(slice);
    }
}

static void on_read(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_client *c = TG_CONTAINER_OF(tag, tg_rpc_client, read);
    c->reading = false;
    if (ok && c->message) {
        if (c->start.on_done)
            deliver(c);
        grpc_byte_buffer_destroy(c->message);
        c->message = NULL;
        if (!c->paused)
            read_next(c);
    } else {
        c->over_read = true;
    }
    maybe_done(c);
    release(c);
}

static void read_next(tg_rpc_client *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    if (c->reading || c->over_read)
        return;
    op.data.recv_message.recv_message = &c->message;
    c->reading = true;
    c->references++;
    tg_rpc_batch(c->channel->loop, c->call, &op, 1, &c->read);
}

static grpc_byte_buffer *request_bytes(const tg_rpc_start *start)
{
    if (start->request)
        return tg_rpc_pack(start->request);
    grpc_slice slice = grpc_slice_from_copied_buffer(start->request_bytes.data, start->request_bytes.len);
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

static void send_request(tg_rpc_client *c)
{
    grpc_metadata metadata[TG_RPC_METADATA_MAX];
    grpc_op ops[4];
    size_t count = c->start.metadata_count < TG_RPC_METADATA_MAX ? c->start.metadata_count
                                                                 : (size_t)TG_RPC_METADATA_MAX;
    memset(ops, 0, sizeof ops);
    memset(metadata, 0, sizeof metadata);
    for (size_t i = 0; i < count; i++) {
        metadata[i].key = grpc_slice_from_copied_string(c->start.metadata[i].key);
        metadata[i].value =
            grpc_slice_from_copied_buffer(c->start.metadata[i].value.data, c->start.metadata[i].value.len);
    }
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = count;
    ops[0].data.send_initial_metadata.metadata = metadata;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = c->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    c->references++;
    tg_rpc_batch(c->channel->loop, c->call, ops, 4, &c->head);
    for (size_t i = 0; i < count; i++) { /* core has taken its own references */
        grpc_slice_unref(metadata[i].key);
        grpc_slice_unref(metadata[i].value);
    }
}

static void await_status(tg_rpc_client *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op.data.recv_status_on_client.trailing_metadata = &c->trailing;
    op.data.recv_status_on_client.status = &c->code;
    op.data.recv_status_on_client.status_details = &c->details;
    op.data.recv_status_on_client.error_string = &c->debug;
    c->references++;
    tg_rpc_batch(c->channel->loop, c->call, &op, 1, &c->status);
}

int tg_rpc_client_start(tg_rpc_channel *channel, const tg_rpc_start *start, tg_rpc_client **ret)
{
    tg_rpc_client *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->channel = channel;
    c->start = *start;
    c->references = 1; /* until on_done */
    c->head.run = on_head;
    c->read.run = on_read;
    c->status.run = on_status;
    c->details = grpc_empty_slice();
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);
    tg_arena_init(&c->arena, 0);
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (start->deadline_ms > 0)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_millis(start->deadline_ms, GPR_TIMESPAN));
    grpc_slice method = grpc_slice_from_copied_string(start->method);
    c->call = grpc_channel_create_call(channel->grpc, start->parent ? start->parent->call : NULL,
                                       GRPC_PROPAGATE_DEFAULTS, channel->loop->queue, method, NULL,
                                       deadline, NULL);
    grpc_slice_unref(method);
    c->request = request_bytes(start);
    tg_list_add_tail(&channel->clients, &c->node);
    await_status(c);
    read_next(c);
    send_request(c);
    *ret = c;
    return 0;
}

void tg_rpc_client_pause(tg_rpc_client *c, bool paused)
{
    c->paused = paused;
    if (!paused)
        read_next(c);
}

void tg_rpc_client_cancel(tg_rpc_client *c)
{
    grpc_call_cancel(c->call, NULL);
    if (c->paused)
        tg_rpc_client_pause(c, false); /* what is buffered is read off, so that the status can come */
}
