/* Calls from the client's side. Three operations run side by side: the request with what answers
 * its head, a read of the next message, and the final status. The call is over when the status has
 * come and every message before it was read. */
#include "libs/rpc/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_TIMEOUT_MS = 3000,
    RECONNECT_FIRST_MS = 100,
    RECONNECT_MAX_MS = 2000,
    KEEPALIVE_MS = 20000,
    KEEPALIVE_TIMEOUT_MS = 10000
};

struct tg_rpc_channel {
    tg_rpc_loop *loop;
    grpc_channel *grpc;
    tg_list clients; /* in flight */
    bool dead;       /* freed by its owner; goes with its last call */
};

struct tg_rpc_client {
    tg_rpc_tag head, read, status, resume;
    tg_list node;
    tg_rpc_channel *channel;
    tg_rpc_start start;
    grpc_call *call;
    unsigned references;
    bool awaits_head; /* on_initial comes before the first message */
    bool reading, over_read, resuming, paused;
    bool cancelled, status_came;
    tg_error bad_message; /* what was wrong with one */
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    const char *debug;
    grpc_byte_buffer *request, *message; /* message: read, not yet delivered */
    tg_arena arena;
};

int tg_rpc_channel_new(tg_rpc_loop *loop, const char *address, const tg_rpc_tls *tls,
                       uint32_t connect_timeout_ms, tg_error *err, tg_rpc_channel **ret)
{
    grpc_channel_credentials *credentials;
    grpc_arg args[TG_RPC_COMMON_ARGS + 7];
    size_t count = TG_RPC_COMMON_ARGS;
    tg_rpc_common_args(args);
    args[count++] = tg_rpc_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_FIRST_MS);
    args[count++] = tg_rpc_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX_MS);
    args[count++] = tg_rpc_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, /* core's name for it */
                               connect_timeout_ms ? (int)connect_timeout_ms : CONNECT_TIMEOUT_MS);
    args[count++] = tg_rpc_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS);
    args[count++] = tg_rpc_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS);
    args[count++] = tg_rpc_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    if (tls && tls->server_name)
        args[count++] = (grpc_arg){.type = GRPC_ARG_STRING,
                                   .key = (char *)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                                   .value.string = (char *)tls->server_name};
    int rc = tg_rpc_channel_credentials(tls, err, &credentials);
    if (rc < 0)
        return rc;
    tg_rpc_channel *channel = calloc(1, sizeof *channel);
    if (!channel) {
        grpc_channel_credentials_release(credentials);
        return -ENOMEM;
    }
    channel->loop = loop;
    tg_list_init(&channel->clients);
    channel->grpc = grpc_channel_create(address, credentials, &(grpc_channel_args){count, args});
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
    if (c->message)
        grpc_byte_buffer_destroy(c->message);
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

static void read_next(tg_rpc_client *c);

static void maybe_done(tg_rpc_client *c)
{
    tg_rpc_metadata trailing[METADATA_MAX];
    if (!c->status_came || c->reading || c->resuming || c->message || !c->start.on_done)
        return;
    tg_arena_reset(&c->arena);
    size_t count = list_metadata(&c->trailing, &c->arena, trailing);
    const char *message =
        tg_arena_strdup(&c->arena, (tg_str){(const char *)GRPC_SLICE_START_PTR(c->details),
                                            GRPC_SLICE_LENGTH(c->details)});
    void (*done)(void *, tg_rpc_code, const char *, const tg_rpc_metadata *, size_t) =
        c->start.on_done;
    c->start.on_done = NULL;
    if (c->bad_message.text[0]) {
        c->code = GRPC_STATUS_INTERNAL;
        tg_error_prefix(&c->bad_message, "the answer");
        message = c->bad_message.text;
    } else if (c->cancelled) {
        c->code = GRPC_STATUS_CANCELLED;
    }
    done(c->start.user, (tg_rpc_code)c->code, message ? message : "", trailing, count);
    release(c); /* the caller's reference */
}

/* ---- operations ---- */

static void hand_over(tg_rpc_client *c)
{
    if (c->start.response) {
        tg_arena_reset(&c->arena);
        const ProtobufCMessage *message =
            tg_rpc_unpack(c->start.response, &c->arena, c->message, &c->bad_message);
        if (message)
            c->start.on_message(c->start.user, message);
        else
            grpc_call_cancel(c->call, NULL);
    } else {
        tg_rpc_view view;
        tg_str bytes = tg_rpc_view_open(&view, c->message);
        c->start.on_bytes(c->start.user, bytes);
        tg_rpc_view_close(&view);
    }
}

/* Delivers the message that was read, unless it has to wait, and reads the next. */
static void advance(tg_rpc_client *c)
{
    if (c->message) {
        if (!c->cancelled && !c->bad_message.text[0]) {
            if (c->paused || c->awaits_head)
                return;
            hand_over(c);
        }
        grpc_byte_buffer_destroy(c->message);
        c->message = NULL;
    }
    if (!c->paused || c->cancelled)
        read_next(c);
}

static void on_head(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_client *c = TG_CONTAINER_OF(tag, tg_rpc_client, head);
    tg_rpc_metadata initial[METADATA_MAX];
    c->awaits_head = false;
    if (ok && !c->cancelled && c->start.on_done)
        c->start.on_initial(c->start.user, initial, list_metadata(&c->initial, &c->arena, initial));
    if (!c->reading &&
        c->message) /* core fills `message` before its tag comes: on_read hands it over */
        advance(c);
    maybe_done(c);
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

static void on_read(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_client *c = TG_CONTAINER_OF(tag, tg_rpc_client, read);
    c->reading = false;
    if (ok && c->message)
        advance(c);
    else
        c->over_read = true;
    maybe_done(c);
    release(c);
}

static void on_resume(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_client *c = TG_CONTAINER_OF(tag, tg_rpc_client, resume);
    (void)ok;
    c->resuming = false;
    if (!c->reading)
        advance(c);
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
    grpc_slice slice =
        grpc_slice_from_copied_buffer(start->request_bytes.data, start->request_bytes.len);
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

/* The request and the final status are one operation; so is the head, unless somebody asks for it.
 */
static void send_request(tg_rpc_client *c)
{
    grpc_metadata metadata[TG_RPC_METADATA_MAX];
    grpc_op ops[5];
    size_t count = c->start.metadata_count;
    memset(ops, 0, sizeof ops);
    memset(metadata, 0, sizeof metadata);
    for (size_t i = 0; i < count; i++) {
        metadata[i].key = grpc_slice_from_copied_string(c->start.metadata[i].key);
        metadata[i].value = grpc_slice_from_copied_buffer(c->start.metadata[i].value.data,
                                                          c->start.metadata[i].value.len);
    }
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = count;
    ops[0].data.send_initial_metadata.metadata = metadata;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = c->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[3].data.recv_status_on_client.trailing_metadata = &c->trailing;
    ops[3].data.recv_status_on_client.status = &c->code;
    ops[3].data.recv_status_on_client.status_details = &c->details;
    ops[3].data.recv_status_on_client.error_string = &c->debug;
    ops[4].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[4].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    c->references++;
    tg_rpc_batch(c->channel->loop, c->call, ops, c->awaits_head ? 4 : 5, &c->status);
    if (c->awaits_head) {
        c->references++;
        tg_rpc_batch(c->channel->loop, c->call, &ops[4], 1, &c->head);
    }
    for (size_t i = 0; i < count; i++) { /* core has taken its own references */
        grpc_slice_unref(metadata[i].key);
        grpc_slice_unref(metadata[i].value);
    }
}

static void create_call(tg_rpc_client *c)
{
    const tg_rpc_start *start = &c->start;
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (start->deadline_ms > 0)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_millis(start->deadline_ms, GPR_TIMESPAN));
    grpc_slice method = grpc_slice_from_copied_string(start->method);
    c->call = grpc_channel_create_call(c->channel->grpc, start->parent ? start->parent->call : NULL,
                                       GRPC_PROPAGATE_DEFAULTS, c->channel->loop->queue, method,
                                       NULL, deadline, NULL);
    grpc_slice_unref(method);
}

int tg_rpc_client_start(tg_rpc_channel *channel, const tg_rpc_start *start, tg_rpc_client **ret)
{
    if (start->metadata_count > TG_RPC_METADATA_MAX)
        return -E2BIG;
    tg_rpc_client *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->channel = channel;
    c->start = *start;
    c->references = 1; /* until on_done */
    c->awaits_head = start->on_initial != NULL;
    c->head.run = on_head;
    c->read.run = on_read;
    c->status.run = on_status;
    c->resume.run = on_resume;
    c->details = grpc_empty_slice();
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);
    tg_arena_init(&c->arena, 0);
    create_call(c);
    c->request = request_bytes(start);
    tg_list_add_tail(&channel->clients, &c->node);
    send_request(c);
    read_next(c);
    *ret = c;
    return 0;
}

/* Reading goes on from the loop: nothing is delivered from inside the caller's call. */
static void resume(tg_rpc_client *c)
{
    if (c->resuming || c->reading || (!c->message && c->over_read))
        return;
    c->resuming = true;
    c->references++;
    tg_rpc_defer(c->channel->loop, &c->resume);
}

void tg_rpc_client_pause(tg_rpc_client *c, bool paused)
{
    c->paused = paused;
    if (!paused)
        resume(c);
}

void tg_rpc_client_cancel(tg_rpc_client *c)
{
    c->cancelled = true;
    grpc_call_cancel(c->call, NULL);
    resume(c); /* what was read is dropped, so that the end can come */
}
