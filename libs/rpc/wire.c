#include "libs/rpc/wire.h"

#include <errno.h>
#include <string.h>

static bool varint(tg_str *in, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; in->len > 0 && shift < 64; shift += 7) {
        unsigned char byte = (unsigned char)*in->data++;
        in->len--;
        value |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

bool tg_rpc_wire_next(tg_str *in, tg_rpc_wire_field *ret)
{
    uint64_t tag, length;
    if (in->len == 0 || !varint(in, &tag))
        return false;
    *ret = (tg_rpc_wire_field){.number = (unsigned)(tag >> 3)};
    switch (tag & 7) {
    case 0:
        return varint(in, &ret->value);
    case 1:
        length = 8;
        break;
    case 5:
        length = 4;
        break;
    case 2:
        if (!varint(in, &length))
            return false;
        break;
    default:
        return false;
    }
    if (length > in->len)
        return false;
    ret->bytes = (tg_str){in->data, (size_t)length};
    in->data += length;
    in->len -= (size_t)length;
    return true;
}

static bool has_nul(tg_str bytes)
{
    return bytes.len > 0 && memchr(bytes.data, '\0', bytes.len) != NULL;
}

/* How many of the list's elements come before the one that begins at `at`. */
static size_t index_of(tg_str message, unsigned number, const char *at)
{
    tg_rpc_wire_field f;
    size_t before = 0;
    while (tg_rpc_wire_next(&message, &f) && f.bytes.data != at)
        before += f.number == number;
    return before;
}

static int check(const ProtobufCMessageDescriptor *descriptor, tg_str message, tg_error *err);

static int check_field(const ProtobufCFieldDescriptor *of, tg_str bytes, tg_error *err)
{
    if (of->type == PROTOBUF_C_TYPE_MESSAGE)
        return check(of->descriptor, bytes, err);
    return of->type == PROTOBUF_C_TYPE_STRING
               ? tg_error_set(err, -EINVAL, "a text must not hold a NUL byte")
               : 0;
}

static int check(const ProtobufCMessageDescriptor *descriptor, tg_str message, tg_error *err)
{
    tg_str rest = message;
    tg_rpc_wire_field f;
    while (tg_rpc_wire_next(&rest, &f)) {
        const ProtobufCFieldDescriptor *of =
            has_nul(f.bytes) ? protobuf_c_message_descriptor_get_field(descriptor, f.number) : NULL;
        if (!of || check_field(of, f.bytes, err) == 0)
            continue;
        if (of->label == PROTOBUF_C_LABEL_REPEATED)
            tg_error_prefix(err, "%s[%zu]", of->name, index_of(message, f.number, f.bytes.data));
        else
            tg_error_prefix(err, "%s", of->name);
        return -EINVAL;
    }
    return 0;
}

int tg_rpc_wire_check_texts(const ProtobufCMessageDescriptor *descriptor, tg_str message,
                            tg_error *err)
{
    return has_nul(message) ? check(descriptor, message, err) : 0;
}

ProtobufCMessage *tg_rpc_wire_unpack(const ProtobufCMessageDescriptor *descriptor,
                                     ProtobufCAllocator *allocator, tg_str bytes, tg_error *err)
{
    if (tg_rpc_wire_check_texts(descriptor, bytes, err) < 0)
        return NULL;
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, allocator, bytes.len, (const uint8_t *)bytes.data);
    if (!message)
        tg_error_set(err, -EINVAL, "the message is no %s", descriptor->name);
    return message;
}
