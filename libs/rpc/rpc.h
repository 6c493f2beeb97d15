/* gRPC for this codebase: C core behind a face without gRPC's types.
 *
 * One thread runs one loop: libuv's handles and gRPC's completion queue are served by the same
 * thread, and every callback here comes from it. Who blocks (the queue or libuv) is the loop's own
 * business.
 *
 * Messages are protobuf-c messages. What a callback is given lives in the call's arena and dies
 * with the call. A method table says which methods stream, since protoc-gen-c does not; a test
 * checks the tables against the descriptor set. protobuf-c's texts are C strings: a message with a
 * NUL byte in a text is refused by the field's name, a request with INVALID_ARGUMENT.
 *
 * Bounds: TG_RPC_MESSAGE_MAX bytes a message; TG_RPC_SEND_QUEUE_MAX messages queued on a stream.
 */
#ifndef TG_RPC_RPC_H
#define TG_RPC_RPC_H

#include "libs/base/arena.h"
#include "libs/base/error.h"
#include "libs/base/str.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* one message, either way; a larger one ends its call: RESOURCE_EXHAUSTED */
#define TG_RPC_MESSAGE_MAX (16u << 20)
#define TG_RPC_SEND_QUEUE_MAX 1024 /* messages waiting on one stream; past it tg_rpc_send refuses */

/* Status codes of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
typedef enum tg_rpc_code {
    TG_RPC_OK = 0,
    TG_RPC_CANCELLED = 1,
    TG_RPC_UNKNOWN = 2,
    TG_RPC_INVALID_ARGUMENT = 3,
    TG_RPC_DEADLINE_EXCEEDED = 4,
    TG_RPC_NOT_FOUND = 5,
    TG_RPC_ALREADY_EXISTS = 6,
    TG_RPC_PERMISSION_DENIED = 7,
    TG_RPC_RESOURCE_EXHAUSTED = 8,
    TG_RPC_FAILED_PRECONDITION = 9,
    TG_RPC_ABORTED = 10,
    TG_RPC_OUT_OF_RANGE = 11,
    TG_RPC_UNIMPLEMENTED = 12,
    TG_RPC_INTERNAL = 13,
    TG_RPC_UNAVAILABLE = 14,
    TG_RPC_DATA_LOSS = 15,
    TG_RPC_UNAUTHENTICATED = 16
} tg_rpc_code;

const char *tg_rpc_code_name(tg_rpc_code code);

/* ---- process and loop ---- */

/* Once, at the start of main, before any thread: ignores SIGPIPE, starts gRPC and keeps it from
 * logging (unless GRPC_VERBOSITY is set). */
void tg_rpc_init(void);
void tg_rpc_shutdown(void);

typedef struct tg_rpc_loop tg_rpc_loop;
typedef enum tg_rpc_loop_owner {
    TG_RPC_LOOP_DEFAULT, /* QUEUE, the cheaper one for gRPC: `./dev bench rpc` */
    TG_RPC_LOOP_UV,      /* libuv blocks; a thread drains the queue and wakes it once per batch:
                            for a process that lives off HTTP */
    TG_RPC_LOOP_QUEUE    /* the completion queue blocks; a thread watches libuv's descriptor */
} tg_rpc_loop_owner;

int tg_rpc_loop_new(tg_rpc_loop_owner owner, tg_error *err, tg_rpc_loop **ret);
uv_loop_t *tg_rpc_loop_uv(tg_rpc_loop *loop); /* for HTTP, timers, files on the same thread */
int tg_rpc_loop_run(tg_rpc_loop *loop);       /* until tg_rpc_loop_stop */
void tg_rpc_loop_stop(tg_rpc_loop *loop);     /* from the loop's thread */
/* After run returned and servers and channels were freed. Closes remaining gRPC work; libuv handles
 * must be closed by their owners. */
tg_rpc_loop *tg_rpc_loop_free(tg_rpc_loop *loop);

/* ---- credentials ---- */

/* PEM files. For a server: cert and key, and with `ca_file` clients must show a certificate of that
 * CA (mTLS). For a channel: `ca_file` checks the server; cert and key are shown to it. All NULL:
 * plain text. */
typedef struct tg_rpc_tls {
    const char *cert_file, *key_file, *ca_file;
    const char *server_name; /* channel only: the name to expect, when it is not the address */
} tg_rpc_tls;

/* ---- server ---- */

typedef struct tg_rpc_server tg_rpc_server;
typedef struct tg_rpc_call tg_rpc_call;

/* One method. `start` is called once with the request (the first and only client message). Unary:
 * tg_rpc_reply or tg_rpc_fail, now or later. Server streaming: tg_rpc_send…, then tg_rpc_finish. */
typedef struct tg_rpc_method {
    const char *name; /* as in the .proto */
    bool server_streaming;
    void (*start)(void *service, tg_rpc_call *call, const ProtobufCMessage *request);
} tg_rpc_method;

/* Methods of the descriptor that the table leaves out answer UNIMPLEMENTED. */
typedef struct tg_rpc_service {
    const ProtobufCServiceDescriptor *descriptor;
    const tg_rpc_method *methods;
    size_t method_count;
    void *user; /* handed to start as `service` */
} tg_rpc_service;

/* 0 when the table agrees with the .proto about which methods stream; else -1 and the reason. */
int tg_rpc_check_methods(const tg_rpc_service *service, tg_error *err);

/* Runs before start; may refuse by tg_rpc_fail and returning false. */
typedef bool tg_rpc_interceptor(void *user, tg_rpc_call *call, const char *method);

int tg_rpc_server_new(tg_rpc_loop *loop, const char *address /* host:port, port 0: any */,
                      const tg_rpc_tls *tls, tg_error *err, tg_rpc_server **ret);
/* The same on a port that several processes share (SO_REUSEPORT). Without it a port in use is an
 * error. */
int tg_rpc_server_new_shared(tg_rpc_loop *loop, const char *address, const tg_rpc_tls *tls,
                             tg_error *err, tg_rpc_server **ret);
int tg_rpc_server_port(const tg_rpc_server *server);
int tg_rpc_server_add(tg_rpc_server *server, const tg_rpc_service *service); /* before start */
void tg_rpc_server_intercept(tg_rpc_server *server, tg_rpc_interceptor *interceptor, void *user);
/* Adds grpc.health.v1 and reflection (v1 and v1alpha) over the embedded descriptor set. */
int tg_rpc_server_start(tg_rpc_server *server, tg_error *err);
/* What grpc.health.v1 answers for "" and every service; NOT_SERVING until set. */
void tg_rpc_server_set_serving(tg_rpc_server *server, bool serving);
/* No new calls; `done` when the last has finished, or at the deadline with the rest cancelled (and
 * a second later even when a handler holds on to one). */
void tg_rpc_server_drain(tg_rpc_server *server, uint32_t timeout_ms, void (*done)(void *user),
                         void *user);
/* After drain, or cancels everything. Runs the loop until every call was finished by its handler;
 * from inside a callback it returns at once and that happens on the loop. */
tg_rpc_server *tg_rpc_server_free(tg_rpc_server *server);

/* ---- a call, seen from the server ---- */

tg_arena *tg_rpc_call_arena(tg_rpc_call *call);
tg_str tg_rpc_call_metadata(tg_rpc_call *call,
                            const char *key); /* first value; data NULL when absent */
const char *tg_rpc_call_peer(tg_rpc_call *call);
uint64_t
tg_rpc_call_deadline_ms(tg_rpc_call *call); /* left until the client's deadline; UINT64_MAX: none */
void tg_rpc_call_set_user(tg_rpc_call *call, void *user);
void *tg_rpc_call_user(tg_rpc_call *call);
/* The client cancelled, went away or its deadline passed. After it, send and reply are ignored, but
 * finish (or reply or fail) must still be called, once, to release the call. */
void tg_rpc_call_on_cancel(tg_rpc_call *call, void (*on_cancel)(tg_rpc_call *call, void *user));
bool tg_rpc_call_cancelled(const tg_rpc_call *call);
/* Metadata sent before the first message; copied. */
int tg_rpc_call_add_initial(tg_rpc_call *call, const char *key, tg_str value);
int tg_rpc_call_add_trailing(tg_rpc_call *call, const char *key, tg_str value);

void tg_rpc_reply(tg_rpc_call *call, const ProtobufCMessage *message);
void tg_rpc_fail(tg_rpc_call *call, tg_rpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Queues one message of a stream, packed before return. 0, -ENOBUFS past TG_RPC_SEND_QUEUE_MAX,
 * -EPIPE. */
int tg_rpc_send(tg_rpc_call *call, const ProtobufCMessage *message);
size_t tg_rpc_send_queued(const tg_rpc_call *call);
void tg_rpc_call_on_drain(tg_rpc_call *call,
                          void (*on_drain)(tg_rpc_call *call, void *user)); /* queue empty */
void tg_rpc_finish(tg_rpc_call *call, tg_rpc_code code, const char *message);

/* ---- client ---- */

typedef struct tg_rpc_channel tg_rpc_channel;
typedef struct tg_rpc_client tg_rpc_client; /* one call in flight */

/* `connect_timeout_ms`: how long one attempt to connect may take (0: 3 s; least 100 ms). Calls that
 * wait for the first attempt fail with it; while later ones fail too, calls fail at once. */
int tg_rpc_channel_new(tg_rpc_loop *loop, const char *address, const tg_rpc_tls *tls,
                       uint32_t connect_timeout_ms, tg_error *err, tg_rpc_channel **ret);
/* Calls in flight are cancelled; their on_done comes on the loop. */
tg_rpc_channel *tg_rpc_channel_free(tg_rpc_channel *channel);

typedef struct tg_rpc_metadata {
    const char *key;
    tg_str value;
} tg_rpc_metadata;

typedef struct tg_rpc_start {
    const char *method; /* "/tollgate.v1.Health/Observe" */
    const ProtobufCMessage *request;
    tg_str request_bytes;                       /* instead of request: already serialised */
    const ProtobufCMessageDescriptor *response; /* NULL: on_bytes is used instead of on_message */
    uint32_t deadline_ms;                       /* 0: none */
    const tg_rpc_metadata *metadata;
    size_t metadata_count;
    tg_rpc_call *parent; /* propagate its deadline and cancellation, or NULL */
    /* Each message of the stream, or the one reply. Valid during the callback. */
    void (*on_message)(void *user, const ProtobufCMessage *message);
    void (*on_bytes)(void *user, tg_str message);
    void (*on_initial)(void *user, const tg_rpc_metadata *metadata, size_t count); /* may be NULL */
    /* Exactly once, last, never from inside tg_rpc_client_start; also after cancel. */
    void (*on_done)(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count);
    void *user;
} tg_rpc_start;

int tg_rpc_client_start(tg_rpc_channel *channel, const tg_rpc_start *start, tg_rpc_client **ret);
/* Nothing is delivered while paused; the server is held back once about 256 KiB are unread. */
void tg_rpc_client_pause(tg_rpc_client *client, bool paused);
/* No message comes any more; on_done follows, from the loop, with CANCELLED. */
void tg_rpc_client_cancel(tg_rpc_client *client);

#endif
