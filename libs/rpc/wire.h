/* Messages of protobuf as they stand in their bytes, and the one way to unpack them.
 *
 * protobuf-c keeps texts as C strings, so one with a NUL byte would be cut without a word:
 * tg_rpc_wire_unpack refuses it by its field's name. Nothing else may call protobuf-c's own
 * unpacking, whose types' `_free_unpacked` fits what this gives.
 *
 * Pure: bytes in, messages out. Threads: none shared. Nests as deeply as the message types do.
 */
#ifndef TG_RPC_WIRE_H
#define TG_RPC_WIRE_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

/* One field of a message. */
typedef struct tg_rpc_wire_field {
    unsigned number;
    uint64_t value; /* varints */
    tg_str bytes;   /* length-delimited, and fixed */
} tg_rpc_wire_field;
/* The next field, taken off `in`. False: there is none, or what is there is no field. */
bool tg_rpc_wire_next(tg_str *in, tg_rpc_wire_field *ret);

/* -EINVAL names the first text that holds a NUL byte; 0 too where the bytes are no message, which
 * unpacking says. */
int tg_rpc_wire_check_texts(const ProtobufCMessageDescriptor *descriptor, tg_str message,
                            tg_error *err);

/* The message, by the allocator (NULL: the heap). NULL with a reason: the bytes are no such
 * message, or a text of it holds a NUL byte. */
ProtobufCMessage *tg_rpc_wire_unpack(const ProtobufCMessageDescriptor *descriptor,
                                     ProtobufCAllocator *allocator, tg_str bytes, tg_error *err);

#endif
