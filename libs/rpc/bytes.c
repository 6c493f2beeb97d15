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

tg_str tg_rpc_view_open(tg_rpc_view *view, grpc_byte_buffer *bytes)
{
    grpc_slice *only;
    view->copy = grpc_empty_slice();
    view->open = grpc_byte_buffer_reader_init(&view->reader, bytes) != 0;
    if (!view->open)
        return TG_STR("");
    if (grpc_byte_buffer_reader_peek(&view->reader, &only)) {
        size_t len = GRPC_SLICE_LENGTH(*only);
        if (len == grpc_byte_buffer_length(view->reader.buffer_out))
            return (tg_str){(const char *)GRPC_SLICE_START_PTR(*only), len};
        grpc_byte_buffer_reader_destroy(&view->reader);
        grpc_byte_buffer_reader_init(&view->reader, bytes); /* peek has moved it on */
    }
    view->copy = grpc_byte_buffer_reader_readall(&view->reader);
    return (tg_str){(const char *)GRPC_SLICE_START_PTR(view->copy), GRPC_SLICE_LENGTH(view->copy)};
}

void tg_rpc_view_close(tg_rpc_view *view)
{
    grpc_slice_unref(view->copy);
    if (view->open)
        grpc_byte_buffer_reader_destroy(&view->reader);
}

static void *arena_alloc(void *arena, size_t size) { return tg_arena_alloc(arena, size); }

static void arena_free(void *arena, void *pointer) { (void)arena, (void)pointer; }

ProtobufCMessage *tg_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, tg_arena *arena,
                                grpc_byte_buffer *bytes, tg_error *err)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    tg_rpc_view view;
    ProtobufCMessage *message =
        tg_rpc_wire_unpack(descriptor, &allocator, tg_rpc_view_open(&view, bytes), err);
    tg_rpc_view_close(&view);
    return message;
}
