/* One file of the spool, and the records in it.
 *
 * A file is the magic TG_SEGMENT_MAGIC and then records:
 *
 *     u32 length    of what follows the crc: 9 bytes and the payload
 *     u32 crc32     (zlib's) of the same bytes
 *     u64 sequence  rising through all files of a spool
 *     u8  type      tg_record_type
 *     payload       OPENED: the event
 *                   CLOSED: u64 sequence of its opened record, u64 closed_unix_ns, u8 length of the
 *                           tenant, the tenant, the event
 *                   CARRIED: u64 sequence of the opened record it replaces, the event
 *
 * Numbers are little-endian. Ownership: a segment owns its descriptor. Threads: one at a time.
 */
#ifndef TG_USAGE_SEGMENT_H
#define TG_USAGE_SEGMENT_H

#include "libs/base/buf.h"
#include "libs/base/list.h"
#include "libs/usage/event.h"

#define TG_SEGMENT_MAGIC "tgspool1"
#define TG_SEGMENT_MAGIC_BYTES 8
#define TG_RECORD_HEADER_BYTES 17
/* one record */
#define TG_RECORD_BYTES_MAX                                                                        \
    (TG_RECORD_HEADER_BYTES + 17 + TG_USAGE_NAME_MAX + TG_USAGE_EVENT_BYTES_MAX)
#define TG_SEGMENT_BYTES_MAX (UINT64_C(1) << 30) /* offsets are 32 bits */

typedef enum tg_record_type {
    TG_RECORD_OPENED = 1,
    TG_RECORD_CLOSED = 2,
    TG_RECORD_CARRIED = 3
} tg_record_type;

typedef struct tg_record {
    tg_record_type type;
    uint64_t sequence;
    size_t bytes; /* header and payload */
    tg_str event;
    /* CLOSED and CARRIED: */
    uint64_t opened_sequence;
    /* CLOSED: */
    uint64_t closed_unix_ns;
    tg_str tenant;
} tg_record;

/* Reads the record at the start of `data`; slices point into it. 0; -EAGAIN when it is cut short;
 * -EBADMSG when it is none. */
int tg_record_parse(const char *data, size_t len, tg_record *ret);
/* Appends the record that `record` describes with `event` encoded into it. 0, -ENOMEM, -ENOSPC. */
int tg_record_build(const tg_record *record, const tg_usage_event *event, tg_buf *out);
/* The same with an event already serialised in record->event. */
int tg_record_build_raw(const tg_record *record, tg_buf *out);

typedef struct tg_segment {
    tg_list node;
    uint64_t number; /* its file is NUMBER in 16 hexadecimal digits and ".seg" */
    int fd;
    uint64_t bytes;   /* where the last whole record ends */
    uint32_t opened;  /* attempts open now whose record is here */
    uint32_t unacked; /* closed records here, not acknowledged */
} tg_segment;

/* A new file, with its magic. 0 or -errno. */
int tg_segment_create(int dir_fd, uint64_t number, tg_segment **ret);
/* An existing file, for reading and for cutting. */
int tg_segment_open(int dir_fd, uint64_t number, tg_segment **ret);
/* All or nothing: what a failed write left is cut off again. 0, -ENOSPC or -EIO. */
int tg_segment_append(tg_segment *segment, tg_str record);
/* Cuts the file at segment->bytes. */
int tg_segment_cut(tg_segment *segment);
int tg_segment_unlink(int dir_fd, const tg_segment *segment);
tg_segment *tg_segment_free(tg_segment *segment);

#define TG_SEGMENT_NAME 32
void tg_segment_name(uint64_t number, char ret[TG_SEGMENT_NAME]);
bool tg_segment_parse_name(const char *name, uint64_t *ret_number);

#endif
