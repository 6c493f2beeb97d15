/* Walks the embedded FileDescriptorSet: which file holds a symbol, which methods stream.
 *
 * Field numbers are those of google/protobuf/descriptor.proto. The bytes are our own build's, yet
 * every length is checked. */
#include "libs/rpc/internal.h"

#include <string.h>

extern const unsigned char tg_protoset[];
extern const unsigned long tg_protoset_len;

enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    ANY_NAME = 1, /* of messages, enums, services and methods */
    SERVICE_METHOD = 2,
    METHOD_CLIENT_STREAMING = 5,
    METHOD_SERVER_STREAMING = 6
};

static tg_str find(tg_str in, unsigned number)
{
    tg_rpc_wire_field f;
    while (tg_rpc_wire_next(&in, &f))
        if (f.number == number)
            return f.bytes;
    return (tg_str){NULL, 0};
}

static tg_str whole_set(void)
{
    return (tg_str){(const char *)tg_protoset, (size_t)tg_protoset_len};
}

bool tg_rpc_descriptor_file(tg_str name, tg_str *ret_file)
{
    tg_str set = whole_set();
    tg_rpc_wire_field f;
    while (tg_rpc_wire_next(&set, &f)) {
        if (f.number == SET_FILE && tg_str_eq(find(f.bytes, FILE_NAME), name)) {
            *ret_file = f.bytes;
            return true;
        }
    }
    return false;
}

/* "package.Name" is the symbol itself or what it lies in ("package.Name.Inner",
 * "package.Service.Method"). */
static bool holds(tg_str symbol, tg_str package, tg_str name)
{
    if (package.len > 0) {
        if (symbol.len <= package.len || memcmp(symbol.data, package.data, package.len) != 0 ||
            symbol.data[package.len] != '.')
            return false;
        symbol.data += package.len + 1;
        symbol.len -= package.len + 1;
    }
    return symbol.len >= name.len && memcmp(symbol.data, name.data, name.len) == 0 &&
           (symbol.len == name.len || symbol.data[name.len] == '.');
}

bool tg_rpc_descriptor_symbol(tg_str symbol, tg_str *ret_file)
{
    tg_str set = whole_set();
    tg_rpc_wire_field f, part;
    while (tg_rpc_wire_next(&set, &f)) {
        tg_str package = find(f.bytes, FILE_PACKAGE), file = f.bytes;
        while (f.number == SET_FILE && tg_rpc_wire_next(&file, &part)) {
            bool named = part.number == FILE_MESSAGE || part.number == FILE_ENUM ||
                         part.number == FILE_SERVICE;
            if (named && holds(symbol, package, find(part.bytes, ANY_NAME))) {
                *ret_file = f.bytes;
                return true;
            }
        }
    }
    return false;
}

static tg_rpc_method_shape shape_of(tg_str method)
{
    tg_rpc_method_shape shape = {.found = true};
    tg_rpc_wire_field f;
    while (tg_rpc_wire_next(&method, &f)) {
        if (f.number == METHOD_CLIENT_STREAMING)
            shape.client_streaming = f.value != 0;
        else if (f.number == METHOD_SERVER_STREAMING)
            shape.server_streaming = f.value != 0;
    }
    return shape;
}

tg_rpc_method_shape tg_rpc_descriptor_method(const char *service, const char *method)
{
    tg_str file, name = tg_str_of(service);
    tg_rpc_wire_field part, m;
    if (!tg_rpc_descriptor_symbol(name, &file))
        return (tg_rpc_method_shape){0};
    tg_str package = find(file, FILE_PACKAGE);
    while (tg_rpc_wire_next(&file, &part)) {
        tg_str in = part.bytes;
        if (part.number != FILE_SERVICE || !holds(name, package, find(part.bytes, ANY_NAME)))
            continue;
        while (tg_rpc_wire_next(&in, &m))
            if (m.number == SERVICE_METHOD && tg_str_is(find(m.bytes, ANY_NAME), method))
                return shape_of(m.bytes);
    }
    return (tg_rpc_method_shape){0};
}

int tg_rpc_check_methods(const tg_rpc_service *service, tg_error *err)
{
    for (size_t i = 0; i < service->method_count; i++) {
        const tg_rpc_method *m = &service->methods[i];
        tg_rpc_method_shape shape = tg_rpc_descriptor_method(service->descriptor->name, m->name);
        if (!shape.found)
            return tg_error_set(err, -1, "%s has no method %s", service->descriptor->name, m->name);
        if (shape.server_streaming != m->server_streaming)
            return tg_error_set(err, -1, "%s.%s: the table says %s, the .proto says %s",
                                service->descriptor->name, m->name,
                                m->server_streaming ? "stream" : "unary",
                                shape.server_streaming ? "stream" : "unary");
    }
    return 0;
}
