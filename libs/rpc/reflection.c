/* grpc.reflection v1 and v1alpha over the descriptor set that the build embeds. The two versions
 * have the same messages on the wire, so v1's serve both. */
#include "libs/rpc/internal.h"

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"

#include <stdlib.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

typedef struct stream {
    tg_list node;
    tg_rpc_server *server;
    tg_rpc_call *call;
} stream;

static void stream_end(stream *r, tg_rpc_code code, const char *message)
{
    tg_list_remove(&r->node);
    tg_rpc_call_set_user(r->call, NULL);
    tg_rpc_finish(r->call, code, message);
    free(r);
}

static void send_error(stream *r, reflection_response *out, const char *what)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = TG_RPC_NOT_FOUND;
    error.error_message = (char *)what;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    out->error_response = &error;
    tg_rpc_send(r->call, &out->base);
}

static void send_file(stream *r, reflection_response *out, bool found, tg_str file)
{
    Grpc__Reflection__V1__FileDescriptorResponse files =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData data = {file.len, (uint8_t *)file.data};
    if (!found) {
        send_error(r, out, "not found");
        return;
    }
    files.n_file_descriptor_proto = 1;
    files.file_descriptor_proto = &data;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    out->file_descriptor_response = &files;
    tg_rpc_send(r->call, &out->base);
}

static void send_services(stream *r, reflection_response *out)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse names[TG_RPC_SERVICES_MAX];
    Grpc__Reflection__V1__ServiceResponse *pointers[TG_RPC_SERVICES_MAX];
    for (size_t i = 0; i < r->server->service_count; i++) {
        grpc__reflection__v1__service_response__init(&names[i]);
        names[i].name = (char *)r->server->services[i].descriptor->name;
        pointers[i] = &names[i];
    }
    list.n_service = r->server->service_count;
    list.service = pointers;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    out->list_services_response = &list;
    tg_rpc_send(r->call, &out->base);
}

static void answer(stream *r, reflection_request *in)
{
    reflection_response out = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    tg_str file = {NULL, 0};
    bool found;
    out.valid_host = in->host;
    out.original_request = in;
    switch (in->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        send_services(r, &out);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        found = tg_rpc_descriptor_file(tg_str_of(in->file_by_filename), &file);
        send_file(r, &out, found, file);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        found = tg_rpc_descriptor_symbol(tg_str_of(in->file_containing_symbol), &file);
        send_file(r, &out, found, file);
        break;
    default:
        send_error(r, &out, "there are no extensions here");
        break;
    }
}

static void on_request(tg_rpc_call *call, void *user, grpc_byte_buffer *bytes)
{
    stream *r = user;
    tg_error err = {""};
    if (!r)
        return;
    if (!bytes) { /* the client has asked all it wanted */
        stream_end(r, TG_RPC_OK, "");
        return;
    }
    tg_arena_reset(tg_rpc_call_arena(call));
    ProtobufCMessage *message =
        tg_rpc_unpack(&grpc__reflection__v1__server_reflection_request__descriptor,
                      tg_rpc_call_arena(call), bytes, &err);
    if (!message) {
        stream_end(r, TG_RPC_INVALID_ARGUMENT, err.text);
        return;
    }
    answer(r, (reflection_request *)message);
    tg_rpc_call_read(call, on_request);
}

static void on_cancel(tg_rpc_call *call, void *user)
{
    (void)call;
    if (user)
        stream_end(user, TG_RPC_CANCELLED, "");
}

static void on_info(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    stream *r = calloc(1, sizeof *r);
    (void)request;
    if (!r) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    r->server = service;
    r->call = call;
    tg_list_add_tail(&r->server->reflection_streams, &r->node);
    tg_rpc_call_set_user(call, r);
    tg_rpc_call_on_cancel(call, on_cancel);
    tg_rpc_call_read(call, on_request);
}

void tg_rpc_reflection_end(tg_rpc_server *s)
{
    while (!tg_list_empty(&s->reflection_streams))
        stream_end(TG_CONTAINER_OF(s->reflection_streams.next, stream, node), TG_RPC_UNAVAILABLE,
                   "draining");
}

tg_rpc_service tg_rpc_reflection_service(tg_rpc_server *server, bool alpha)
{
    static const tg_rpc_method methods[] = {{"ServerReflectionInfo", true, on_info}};
    return (tg_rpc_service){
        .descriptor = alpha ? &grpc__reflection__v1alpha__server_reflection__descriptor
                            : &grpc__reflection__v1__server_reflection__descriptor,
        .methods = methods,
        .method_count = 1,
        .user = server,
    };
}
