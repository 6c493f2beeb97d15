#include "libs/rpc/internal.h"

#include <string.h>

grpc_byte_buffer *tg_rpc_pack(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(size);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

grpc_slice tg_rpc_flatten(grpc_byte_buffer *bytes)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, bytes))
        return grpc_empty_slice();
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return slice;
}

static void *arena_alloc(void *arena, size_t size) { return tg_arena_alloc(arena, size); }

static void arena_free(void *arena, void *pointer) { (void)arena, (void)pointer; }

ProtobufCMessage *tg_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, tg_arena *arena,
                                grpc_byte_buffer *bytes)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    grpc_slice slice = tg_rpc_flatten(bytes);
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, GRPC_SLICE_LENGTH(slice),
                                                          GRPC_SLICE_START_PTR(slice));
    grpc_slice_unref(slice);
    return message;
}
