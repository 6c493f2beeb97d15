#include "libs/usage/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { CHECKED_AT = 8, REST_MIN = TG_RECORD_HEADER_BYTES - CHECKED_AT };

static void put_u32(char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(value >> (8 * i));
}

static void put_u64(char *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (char)(value >> (8 * i));
}

static uint64_t get(const char *from, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | (unsigned char)from[i];
    return value;
}

static uint32_t checksum(const char *data, size_t len)
{
    return (uint32_t)crc32(crc32(0, NULL, 0), (const Bytef *)data, (uInt)len);
}

/* ---- records ---- */

static int parse_payload(tg_str payload, tg_record *record)
{
    size_t at = 0;
    if (record->type != TG_RECORD_OPENED) {
        if (payload.len < 8)
            return -EBADMSG;
        record->opened_sequence = get(payload.data, 8);
        at = 8;
    }
    if (record->type == TG_RECORD_CLOSED) {
        if (payload.len < 17)
            return -EBADMSG;
        record->closed_unix_ns = get(payload.data + 8, 8);
        record->tenant = (tg_str){payload.data + 17, (unsigned char)payload.data[16]};
        at = 17 + record->tenant.len;
        if (at > payload.len)
            return -EBADMSG;
    }
    record->event = (tg_str){payload.data + at, payload.len - at};
    return 0;
}

int tg_record_parse(const char *data, size_t len, tg_record *ret)
{
    if (len < TG_RECORD_HEADER_BYTES)
        return -EAGAIN;
    uint64_t rest = get(data, 4);
    if (rest < REST_MIN || rest > TG_RECORD_BYTES_MAX - CHECKED_AT)
        return -EBADMSG;
    if (len - CHECKED_AT < rest)
        return -EAGAIN;
    if (checksum(data + CHECKED_AT, rest) != get(data + 4, 4))
        return -EBADMSG;
    tg_record record = {.type = (tg_record_type)(unsigned char)data[16],
                        .sequence = get(data + 8, 8),
                        .bytes = CHECKED_AT + rest};
    if (record.type < TG_RECORD_OPENED || record.type > TG_RECORD_CARRIED)
        return -EBADMSG;
    tg_str payload = {data + TG_RECORD_HEADER_BYTES, rest - REST_MIN};
    int rc = parse_payload(payload, &record);
    if (rc == 0)
        *ret = record;
    return rc;
}

static int begin(const tg_record *record, tg_buf *out)
{
    char head[TG_RECORD_HEADER_BYTES + 17] = {0};
    size_t len = TG_RECORD_HEADER_BYTES;
    put_u64(head + 8, record->sequence);
    head[16] = (char)record->type;
    if (record->type != TG_RECORD_OPENED) {
        put_u64(head + len, record->opened_sequence);
        len += 8;
    }
    if (record->type == TG_RECORD_CLOSED) {
        put_u64(head + len, record->closed_unix_ns);
        head[len + 8] = (char)record->tenant.len;
        len += 9;
    }
    int rc = tg_buf_add(out, head, len);
    return rc == 0 && record->type == TG_RECORD_CLOSED ? tg_buf_add_str(out, record->tenant) : rc;
}

static void end(tg_buf *out, size_t start)
{
    char *head = out->data + start;
    size_t rest = out->len - start - CHECKED_AT;
    put_u32(head, (uint32_t)rest);
    put_u32(head + 4, checksum(head + CHECKED_AT, rest));
}

int tg_record_build(const tg_record *record, const tg_usage_event *event, tg_buf *out)
{
    size_t start = out->len;
    int rc = begin(record, out);
    if (rc == 0)
        rc = tg_usage_event_encode(event, out);
    if (rc == 0)
        end(out, start);
    else
        out->len = start;
    return rc;
}

int tg_record_build_raw(const tg_record *record, tg_buf *out)
{
    size_t start = out->len;
    int rc = begin(record, out);
    if (rc == 0)
        rc = tg_buf_add_str(out, record->event);
    if (rc == 0)
        end(out, start);
    else
        out->len = start;
    return rc;
}

/* ---- files ---- */

void tg_segment_name(uint64_t number, char ret[TG_SEGMENT_NAME])
{
    snprintf(ret, TG_SEGMENT_NAME, "%016llx.seg", (unsigned long long)number);
}

bool tg_segment_parse_name(const char *name, uint64_t *ret_number)
{
    char again[TG_SEGMENT_NAME];
    char *end_of_number;
    uint64_t number = strtoull(name, &end_of_number, 16);
    tg_segment_name(number, again);
    if (strcmp(name, again) != 0)
        return false;
    *ret_number = number;
    return true;
}

static int segment_new(int dir_fd, uint64_t number, int flags, tg_segment **ret)
{
    char name[TG_SEGMENT_NAME];
    tg_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return -ENOMEM;
    tg_list_init(&segment->node);
    segment->number = number;
    tg_segment_name(number, name);
    segment->fd = openat(dir_fd, name, flags | O_RDWR | O_CLOEXEC, 0600);
    if (segment->fd < 0) {
        int rc = -errno;
        free(segment);
        return rc;
    }
    *ret = segment;
    return 0;
}

int tg_segment_create(int dir_fd, uint64_t number, tg_segment **ret)
{
    tg_segment *segment = NULL;
    int rc = segment_new(dir_fd, number, O_CREAT | O_EXCL, &segment);
    if (rc < 0)
        return rc;
    rc = tg_segment_append(segment, TG_STR(TG_SEGMENT_MAGIC));
    if (rc < 0) {
        tg_segment_unlink(dir_fd, segment);
        tg_segment_free(segment);
        return rc;
    }
    *ret = segment;
    return 0;
}

int tg_segment_open(int dir_fd, uint64_t number, tg_segment **ret)
{
    return segment_new(dir_fd, number, 0, ret);
}

int tg_segment_append(tg_segment *segment, tg_str record)
{
    for (size_t done = 0; done < record.len;) {
        ssize_t n = pwrite(segment->fd, record.data + done, record.len - done,
                           (off_t)(segment->bytes + done));
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        bool full = n == 0 || errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
        if (done > 0)
            tg_segment_cut(segment); /* if that fails too, the next append writes over it */
        return full ? -ENOSPC : -EIO;
    }
    segment->bytes += record.len;
    return 0;
}

int tg_segment_cut(tg_segment *segment)
{
    return ftruncate(segment->fd, (off_t)segment->bytes) < 0 ? -errno : 0;
}

int tg_segment_unlink(int dir_fd, const tg_segment *segment)
{
    char name[TG_SEGMENT_NAME];
    tg_segment_name(segment->number, name);
    return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

tg_segment *tg_segment_free(tg_segment *segment)
{
    if (segment) {
        close(segment->fd);
        free(segment);
    }
    return NULL;
}
