/* A call, seen from the server.
 *
 * references counts gRPC's operations in flight plus one until the handler has finished the call;
 * at zero it is freed. A unary call that is answered inside its handler costs one batch: metadata,
 * message, status and close together. Any other learns of cancellation by a close operation of its
 * own.
 */
#include "libs/rpc/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t CALL_ARENA_MAX = (size_t)64 << 20;

static void queue_clear(tg_rpc_call *c)
{
    for (; c->queue_count > 0; c->queue_count--, c->queue_first++)
        grpc_byte_buffer_destroy(c->queue[c->queue_first & (c->queue_size - 1)]);
}

static int queue_add(tg_rpc_call *c, grpc_byte_buffer *bytes)
{
    if (c->queue_count == c->queue_size) {
        unsigned size = c->queue_size * 2;
        grpc_byte_buffer **bigger = malloc(size * sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        for (unsigned i = 0; i < c->queue_count; i++)
            bigger[i] = c->queue[(c->queue_first + i) & (c->queue_size - 1)];
        if (c->queue != c->queue_small)
            free(c->queue);
        c->queue = bigger;
        c->queue_size = size;
        c->queue_first = 0;
    }
    c->queue[(c->queue_first + c->queue_count++) & (c->queue_size - 1)] = bytes;
    return 0;
}

static grpc_byte_buffer *queue_take(tg_rpc_call *c)
{
    c->queue_count--;
    return c->queue[c->queue_first++ & (c->queue_size - 1)];
}

static void unref_metadata(grpc_metadata *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        grpc_slice_unref(list[i].key);
        grpc_slice_unref(list[i].value);
    }
}

static void destroy_buffer(grpc_byte_buffer *bytes)
{
    if (bytes)
        grpc_byte_buffer_destroy(bytes);
}

static void release(tg_rpc_call *c)
{
    tg_rpc_server *s = c->server;
    if (--c->references > 0)
        return;
    tg_list_remove(&c->node);
    queue_clear(c);
    if (c->queue != c->queue_small)
        free(c->queue);
    destroy_buffer(c->in_flight);
    destroy_buffer(c->payload);
    destroy_buffer(c->incoming);
    unref_metadata(c->initial, c->initial_count);
    unref_metadata(c->trailing, c->trailing_count);
    grpc_slice_unref(c->message);
    grpc_metadata_array_destroy(&c->metadata);
    if (!c->bound)
        grpc_call_details_destroy(&c->details);
    if (c->call)
        grpc_call_unref(c->call);
    gpr_free(c->peer);
    if (s->pool_count < TG_RPC_POOL_MAX) {
        tg_arena_reset(&c->arena);
        c->pool_next = s->pool;
        s->pool = c;
        s->pool_count++;
    } else {
        tg_arena_free(&c->arena);
        free(c);
    }
    tg_rpc_server_maybe_free(s);
}

void tg_rpc_call_pool_free(tg_rpc_server *s)
{
    while (s->pool) {
        tg_rpc_call *c = s->pool;
        s->pool = c->pool_next;
        tg_arena_free(&c->arena);
        free(c);
    }
}

/* From the pool, or new; zeroed but for the arena. NULL: out of memory. */
static tg_rpc_call *take_call(tg_rpc_server *s)
{
    tg_rpc_call *c = s->pool;
    tg_arena arena;
    tg_arena_init(&arena, CALL_ARENA_MAX);
    if (c) {
        s->pool = c->pool_next;
        s->pool_count--;
        arena = c->arena;
    } else {
        c = malloc(sizeof *c);
        if (!c)
            return NULL;
    }
    memset(c, 0, offsetof(tg_rpc_call, initial)); /* what follows is counted, not read */
    c->arena = arena;
    return c;
}

/* ---- cancellation ---- */

static void on_closed(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_call *c = TG_CONTAINER_OF(tag, tg_rpc_call, closed);
    (void)ok;
    if (c->cancelled_flag && !c->finished && !c->finish_wanted) {
        c->cancelled = true;
        if (c->on_cancel)
            c->on_cancel(c, c->user);
    }
    release(c);
}

static void post_close(tg_rpc_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &c->cancelled_flag;
    c->closed.run = on_closed;
    c->close_posted = true;
    c->references++;
    tg_rpc_batch(c->server->loop, c->call, &op, 1, &c->closed);
}

/* ---- sending ---- */

static void pump_queue(tg_rpc_call *c);

static void on_sent(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_call *c = TG_CONTAINER_OF(tag, tg_rpc_call, sent);
    c->sending = false;
    if (c->in_flight)
        grpc_byte_buffer_destroy(c->in_flight);
    c->in_flight = NULL;
    if (!ok) /* the stream is broken: what waits can never leave */
        queue_clear(c);
    if (!c->finished) {
        pump_queue(c);
        if (!c->sending && !c->finish_wanted && !c->cancelled && c->queue_count == 0 && c->on_drain)
            c->on_drain(c, c->user);
    }
    release(c);
}

static size_t op_initial(tg_rpc_call *c, grpc_op *op)
{
    if (c->initial_sent)
        return 0;
    c->initial_sent = true;
    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    op->data.send_initial_metadata.count = c->initial_count;
    op->data.send_initial_metadata.metadata = c->initial;
    return 1;
}

static size_t op_status(tg_rpc_call *c, grpc_op *op)
{
    op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op->data.send_status_from_server.status = c->code;
    op->data.send_status_from_server.status_details = &c->message;
    op->data.send_status_from_server.trailing_metadata = c->trailing;
    op->data.send_status_from_server.trailing_metadata_count = c->trailing_count;
    return 1;
}

/* Sends the next queued message and, behind the last one, the status. One batch at a time. */
static void pump_queue(tg_rpc_call *c)
{
    grpc_op ops[4];
    size_t n = 0;
    if (c->sending || c->finished)
        return;
    if (c->queue_count == 0 && !c->finish_wanted)
        return;
    memset(ops, 0, sizeof ops);
    n += op_initial(c, &ops[n]);
    bool first = n > 0;
    if (c->queue_count > 0) {
        c->in_flight = queue_take(c);
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n].data.send_message.send_message = c->in_flight;
        /* More follows: one write for all. Not the first: gRPC would hold back the initial metadata
         * with it, and the batch would wait for a write that nothing starts. */
        if (!first && (c->queue_count > 0 || c->finish_wanted))
            ops[n].flags = GRPC_WRITE_BUFFER_HINT;
        n++;
    }
    bool last = c->queue_count == 0 && c->finish_wanted;
    if (last) {
        n += op_status(c, &ops[n]);
        if (!c->close_posted) { /* a unary answer from inside its handler */
            ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
            ops[n].data.recv_close_on_server.cancelled = &c->cancelled_flag;
            c->close_posted = true;
            n++;
        }
    }
    c->sending = true;
    c->references++;
    c->sent.run = on_sent;
    tg_rpc_batch(c->server->loop, c->call, ops, n, &c->sent);
    if (last) {
        c->finished = true;
        release(c); /* the handler's reference; the batch holds its own */
    }
}

int tg_rpc_send(tg_rpc_call *c, const ProtobufCMessage *message)
{
    if (c->finish_wanted || c->cancelled)
        return -EPIPE;
    if (c->queue_count == TG_RPC_SEND_QUEUE_MAX)
        return -ENOBUFS;
    grpc_byte_buffer *bytes = tg_rpc_pack(message);
    int rc = queue_add(c, bytes);
    if (rc < 0) {
        grpc_byte_buffer_destroy(bytes);
        return rc;
    }
    pump_queue(c);
    return 0;
}

size_t tg_rpc_send_queued(const tg_rpc_call *c) { return c->queue_count; }

void tg_rpc_finish(tg_rpc_call *c, tg_rpc_code code, const char *message)
{
    if (c->finish_wanted)
        return;
    c->finish_wanted = true;
    c->code = (grpc_status_code)code;
    grpc_slice_unref(c->message);
    c->message = grpc_slice_from_copied_string(message ? message : "");
    pump_queue(c);
}

void tg_rpc_reply(tg_rpc_call *c, const ProtobufCMessage *message)
{
    if (c->finish_wanted)
        return;
    grpc_byte_buffer *bytes = tg_rpc_pack(message);
    if (queue_add(c, bytes) < 0) {
        grpc_byte_buffer_destroy(bytes);
        tg_rpc_finish(c, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    c->finish_wanted = true;
    c->code = GRPC_STATUS_OK;
    pump_queue(c);
}

void tg_rpc_fail(tg_rpc_call *c, tg_rpc_code code, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tg_rpc_finish(c, code, text);
}

/* ---- reading more than the request (client streaming) ---- */

static void on_received(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_call *c = TG_CONTAINER_OF(tag, tg_rpc_call, received);
    grpc_byte_buffer *bytes = ok ? c->incoming : NULL;
    c->incoming = NULL;
    if (!c->finish_wanted)
        c->on_incoming(c, c->user, bytes);
    if (bytes)
        grpc_byte_buffer_destroy(bytes);
    release(c);
}

void tg_rpc_call_read(tg_rpc_call *c,
                      void (*on_incoming)(tg_rpc_call *, void *, grpc_byte_buffer *))
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &c->incoming;
    c->on_incoming = on_incoming;
    c->received.run = on_received;
    c->references++;
    tg_rpc_batch(c->server->loop, c->call, &op, 1, &c->received);
}

/* ---- arrival ---- */

static void handle(tg_rpc_call *c)
{
    tg_rpc_server *s = c->server;
    const ProtobufCMessage *request = NULL;
    if (!c->bound) {
        tg_rpc_fail(c, TG_RPC_UNIMPLEMENTED, "no such method is served here");
        return;
    }
    if (s->interceptor && !s->interceptor(s->interceptor_user, c, c->bound->path))
        return;
    if (!c->bound->client_streaming) {
        const ProtobufCMessageDescriptor *input = c->bound->descriptor->input;
        tg_error err = {""};
        request = c->payload ? tg_rpc_unpack(input, &c->arena, c->payload, &err) : NULL;
        if (!request) {
            tg_rpc_fail(c, TG_RPC_INVALID_ARGUMENT, "%s",
                        c->payload ? err.text : "there is no request");
            return;
        }
    }
    c->bound->method->start(c->bound->user, c, request);
}

static void on_arrived(tg_rpc_tag *tag, bool ok)
{
    tg_rpc_call *c = TG_CONTAINER_OF(tag, tg_rpc_call, arrive);
    if (!ok) { /* the server shuts down */
        c->call = NULL;
        release(c);
        return;
    }
    if (!c->server->shutting_down)
        tg_rpc_call_request(c->server, c->bound);
    c->references++; /* on_arrived itself */
    if (c->bound && (c->bound->method->server_streaming || c->bound->client_streaming))
        post_close(c);
    handle(c);
    if (!c->close_posted)
        post_close(c);
    release(c);
}

void tg_rpc_call_request(tg_rpc_server *s, tg_rpc_bound *bound)
{
    tg_rpc_call *c = take_call(s);
    grpc_call_error error;
    if (!c)
        abort(); /* without it the method would never be served again */
    c->server = s;
    c->bound = bound;
    c->references = 1;
    c->message = grpc_empty_slice();
    c->arrive.run = on_arrived;
    c->queue = c->queue_small;
    c->queue_size = TG_RPC_QUEUE_FIRST;
    grpc_metadata_array_init(&c->metadata);
    tg_list_add_tail(&s->calls, &c->node);
    if (!bound)
        grpc_call_details_init(&c->details);
    tg_rpc_begin(s->loop, &c->arrive);
    if (bound)
        error = grpc_server_request_registered_call(s->grpc, bound->registered, &c->call,
                                                    &c->deadline, &c->metadata,
                                                    bound->client_streaming ? NULL : &c->payload,
                                                    s->loop->queue, s->loop->queue, &c->arrive);
    else
        error = grpc_server_request_call(s->grpc, &c->call, &c->details, &c->metadata,
                                         s->loop->queue, s->loop->queue, &c->arrive);
    tg_rpc_end(s->loop);
    if (error != GRPC_CALL_OK) {
        s->loop->outstanding--;
        release(c);
    }
}

/* ---- what a handler may ask ---- */

tg_arena *tg_rpc_call_arena(tg_rpc_call *c) { return &c->arena; }

tg_str tg_rpc_call_metadata(tg_rpc_call *c, const char *key)
{
    for (size_t i = 0; i < c->metadata.count; i++) {
        if (grpc_slice_str_cmp(c->metadata.metadata[i].key, key) == 0) {
            const grpc_slice *value = &c->metadata.metadata[i].value;
            return (tg_str){(const char *)GRPC_SLICE_START_PTR(*value), GRPC_SLICE_LENGTH(*value)};
        }
    }
    return (tg_str){NULL, 0};
}

const char *tg_rpc_call_peer(tg_rpc_call *c)
{
    if (!c->peer)
        c->peer = grpc_call_get_peer(c->call);
    return c->peer ? c->peer : "";
}

uint64_t tg_rpc_call_deadline_ms(tg_rpc_call *c)
{
    gpr_timespec deadline = c->bound ? c->deadline : c->details.deadline;
    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
        return UINT64_MAX;
    int64_t left = gpr_time_to_millis(gpr_time_sub(deadline, gpr_now(deadline.clock_type)));
    return left > 0 ? (uint64_t)left : 0;
}

void tg_rpc_call_set_user(tg_rpc_call *c, void *user) { c->user = user; }
void *tg_rpc_call_user(tg_rpc_call *c) { return c->user; }
bool tg_rpc_call_cancelled(const tg_rpc_call *c) { return c->cancelled; }

void tg_rpc_call_on_cancel(tg_rpc_call *c, void (*on_cancel)(tg_rpc_call *, void *))
{
    c->on_cancel = on_cancel;
}

void tg_rpc_call_on_drain(tg_rpc_call *c, void (*on_drain)(tg_rpc_call *, void *))
{
    c->on_drain = on_drain;
}

static int add_metadata(grpc_metadata *list, size_t *count, const char *key, tg_str value)
{
    if (*count == TG_RPC_METADATA_MAX)
        return -E2BIG;
    grpc_metadata *m = &list[(*count)++];
    memset(m, 0, sizeof *m);
    m->key = grpc_slice_from_copied_string(key);
    m->value = grpc_slice_from_copied_buffer(value.data ? value.data : "", value.len);
    return 0;
}

int tg_rpc_call_add_initial(tg_rpc_call *c, const char *key, tg_str value)
{
    return c->initial_sent ? -EALREADY : add_metadata(c->initial, &c->initial_count, key, value);
}

int tg_rpc_call_add_trailing(tg_rpc_call *c, const char *key, tg_str value)
{
    return c->finish_wanted ? -EALREADY : add_metadata(c->trailing, &c->trailing_count, key, value);
}
