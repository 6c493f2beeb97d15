/* What the files of libs/rpc share. gRPC's types stay inside this folder. */
#ifndef TG_RPC_INTERNAL_H
#define TG_RPC_INTERNAL_H

#include "libs/base/list.h"
#include "libs/rpc/rpc.h"
#include "libs/rpc/wire.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <pthread.h>

/* gRPC and its threads are not instrumented: tell the thread sanitizer about the hand-over that the
 * completion queue is. */
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TG_RPC_HANDED_IN(tag) __tsan_release(tag)
#define TG_RPC_HANDED_OUT(tag) __tsan_acquire(tag)
#else
#define TG_RPC_HANDED_IN(tag) ((void)(tag))
#define TG_RPC_HANDED_OUT(tag) ((void)(tag))
#endif

/* ---- loop ---- */

/* One operation in gRPC's hands; `run` is called on the loop when it is through. */
typedef struct tg_rpc_tag tg_rpc_tag;
struct tg_rpc_tag {
    void (*run)(tg_rpc_tag *tag, bool ok);
    tg_rpc_tag *next;
    bool ok;
};

struct tg_rpc_loop {
    uv_loop_t uv;
    tg_rpc_loop_owner owner;
    grpc_completion_queue *queue;
    size_t outstanding; /* tags in gRPC's hands, or deferred */
    bool stop, turning;
    bool interrupted; /* what the pump's caller waits for has happened: no more waiting this turn */
    pthread_t thread; /* drains the queue for libuv, or watches libuv for the queue */
    bool thread_started, wake_open;
    uv_async_t wake;
    uv_idle_t idle;                        /* owner UV: runs while something is deferred */
    tg_rpc_tag *deferred, **deferred_tail; /* to run on the next turn; the loop's thread alone */

    /* Owner UV. */
    pthread_mutex_t mutex;
    tg_rpc_tag *ready, **ready_tail; /* under the mutex */

    /* Owner QUEUE. */
    int watch_fd, end_fd;
    grpc_channel *lame;
    grpc_call *waker;
    tg_rpc_tag wake_tag;
    bool rearm; /* the watcher has fired and waits to be armed again */
};

/* Starts a batch; aborts on misuse, which only a bug here can cause. */
void tg_rpc_batch(tg_rpc_loop *loop, grpc_call *call, const grpc_op *ops, size_t count,
                  tg_rpc_tag *tag);
/* Around the start of an operation that is not a batch. */
void tg_rpc_begin(tg_rpc_loop *loop, tg_rpc_tag *tag);
void tg_rpc_end(tg_rpc_loop *loop);
/* Runs the tag on the loop's next turn. */
void tg_rpc_defer(tg_rpc_loop *loop, tg_rpc_tag *tag);
/* Waits for and runs what is ready. Not from inside a callback: see `turning`. */
void tg_rpc_loop_pump(tg_rpc_loop *loop);

/* mutexes.cpp: turns off abseil's deadlock detector, which Debian's build leaves on: it looks for
 * cycles at every lock, and aborts. */
void tg_rpc_quiet_mutexes(void);

/* ---- bytes ---- */

grpc_byte_buffer *tg_rpc_pack(const ProtobufCMessage *message);
/* As tg_rpc_wire_unpack, in the arena, strings and bytes too. */
ProtobufCMessage *tg_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, tg_arena *arena,
                                grpc_byte_buffer *bytes, tg_error *err);
/* A buffer's bytes in one piece: its own when they are in one, else a copy. Valid until closed. */
typedef struct tg_rpc_view {
    grpc_byte_buffer_reader reader;
    grpc_slice copy;
    bool open;
} tg_rpc_view;
tg_str tg_rpc_view_open(tg_rpc_view *view, grpc_byte_buffer *bytes);
void tg_rpc_view_close(tg_rpc_view *view);

/* What channels and servers have in common. */
enum {
    /* Unread bytes of one stream. gRPC's own probing would let a stream that nobody reads grow to
       16 MiB. */
    TG_RPC_STREAM_WINDOW_BYTES = 256 << 10,
    TG_RPC_COMMON_ARGS = 5
};
grpc_arg tg_rpc_arg(const char *key, int value);
void tg_rpc_common_args(grpc_arg args[TG_RPC_COMMON_ARGS]);

/* ---- credentials ---- */

int tg_rpc_server_credentials(const tg_rpc_tls *tls, tg_error *err, grpc_server_credentials **ret);
int tg_rpc_channel_credentials(const tg_rpc_tls *tls, tg_error *err,
                               grpc_channel_credentials **ret);

/* ---- server ---- */

enum {
    TG_RPC_METADATA_MAX = 16, /* pairs that one side adds to a call */
    TG_RPC_SERVICES_MAX = 8,
    TG_RPC_METHODS_MAX = 64,
    TG_RPC_POOL_MAX = 256, /* finished calls kept for reuse */
    TG_RPC_QUEUE_FIRST = 4 /* messages a call can queue before its queue goes to the heap */
};

typedef struct tg_rpc_bound { /* a method bound to a server */
    const tg_rpc_method *method;
    const ProtobufCMethodDescriptor *descriptor;
    void *user;
    void *registered; /* gRPC's handle */
    bool client_streaming;
    char path[160];
} tg_rpc_bound;

struct tg_rpc_server {
    tg_rpc_loop *loop;
    grpc_server *grpc;
    int port;
    tg_rpc_service services[TG_RPC_SERVICES_MAX];
    size_t service_count;
    tg_rpc_bound bound[TG_RPC_METHODS_MAX];
    size_t bound_count;
    tg_rpc_interceptor *interceptor;
    void *interceptor_user;
    tg_list calls; /* live, and posted for calls to come */
    tg_rpc_call *pool;
    unsigned pool_count;
    bool started, serving, shutting_down;
    bool down; /* gRPC has finished shutting down */
    bool dead; /* freed by its owner; goes when down, without calls and without timer */
    bool *gone;
    tg_list health_watchers, reflection_streams;
    tg_rpc_tag shutdown_tag;
    uv_timer_t drain_timer;
    bool drain_timer_open;
    void (*drain_done)(void *user);
    void *drain_user;
};

struct tg_rpc_call {
    tg_rpc_tag arrive, closed, sent;
    tg_list node; /* in server->calls */
    tg_rpc_call *pool_next;
    tg_rpc_server *server;
    tg_rpc_bound *bound; /* NULL: an unknown method */
    grpc_call *call;
    grpc_call_details details; /* unknown methods */
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload;
    tg_arena arena;
    int cancelled_flag;  /* written by RECV_CLOSE */
    unsigned references; /* operations in flight, and one until finished */
    bool close_posted, cancelled, initial_sent, sending, finish_wanted, finished;
    grpc_status_code code;
    grpc_slice message;
    size_t initial_count, trailing_count;
    grpc_byte_buffer **queue;                      /* a ring; queue_small until that is full */
    unsigned queue_first, queue_count, queue_size; /* size: a power of two */
    grpc_byte_buffer *in_flight;
    void (*on_cancel)(tg_rpc_call *call, void *user);
    void (*on_drain)(tg_rpc_call *call, void *user);
    void *user;
    char *peer;

    /* Client streaming (reflection). */
    tg_rpc_tag received;
    grpc_byte_buffer *incoming;
    void (*on_incoming)(tg_rpc_call *call, void *user,
                        grpc_byte_buffer *bytes); /* NULL: half-closed */

    /* From here on nothing is zeroed between calls. */
    grpc_metadata initial[TG_RPC_METADATA_MAX], trailing[TG_RPC_METADATA_MAX];
    grpc_byte_buffer *queue_small[TG_RPC_QUEUE_FIRST];
};

void tg_rpc_call_request(tg_rpc_server *server, tg_rpc_bound *bound); /* posts one */
void tg_rpc_call_pool_free(tg_rpc_server *server);
void tg_rpc_server_maybe_free(tg_rpc_server *server);
void tg_rpc_call_read(tg_rpc_call *call,
                      void (*on_incoming)(tg_rpc_call *, void *, grpc_byte_buffer *));

/* health.c, reflection.c */
tg_rpc_service tg_rpc_health_service(tg_rpc_server *server);
void tg_rpc_health_changed(tg_rpc_server *server);
void tg_rpc_health_end(tg_rpc_server *server);
tg_rpc_service tg_rpc_reflection_service(tg_rpc_server *server, bool alpha);
void tg_rpc_reflection_end(tg_rpc_server *server);

/* descriptors.c: walks the embedded descriptor set. */
typedef struct tg_rpc_method_shape {
    bool found, client_streaming, server_streaming;
} tg_rpc_method_shape;
tg_rpc_method_shape tg_rpc_descriptor_method(const char *service, const char *method);
bool tg_rpc_descriptor_file(tg_str name, tg_str *ret_file);
bool tg_rpc_descriptor_symbol(tg_str symbol, tg_str *ret_file);

#endif
