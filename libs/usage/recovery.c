/* What a process that died left in its spool: whole records are kept, a torn tail is cut, attempts
 * that were open are closed as aborted. */
#include "libs/usage/spool_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct opened {
    uint64_t sequence;
    tg_segment *segment;
    uint32_t offset;
    bool settled; /* closed, or carried to a later record */
} opened;

typedef struct opened_list {
    opened *items; /* by rising sequence */
    size_t count, cap;
} opened_list;

static int note_opened(opened_list *list, uint64_t sequence, tg_segment *segment, uint64_t offset)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 256;
        opened *items = realloc(list->items, cap * sizeof *items);
        if (!items)
            return -ENOMEM;
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = (opened){sequence, segment, (uint32_t)offset, false};
    return 0;
}

static void settle(opened_list *list, uint64_t sequence)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->items[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < list->count && list->items[low].sequence == sequence)
        list->items[low].settled = true;
}

static int note_closed(tg_spool *spool, const tg_record *record, tg_segment *segment,
                       uint64_t offset)
{
    int rc = tg_unacked_reserve(&spool->unacked);
    if (rc < 0)
        return rc;
    segment->unacked++;
    tg_unacked_push(&spool->unacked, &(tg_unacked_entry){record->sequence, record->closed_unix_ns,
                                                         segment, (uint32_t)offset});
    return 0;
}

static int note(tg_spool *spool, opened_list *list, const tg_record *record, tg_segment *segment,
                uint64_t offset)
{
    spool->last_sequence = record->sequence;
    if (record->type != TG_RECORD_OPENED)
        settle(list, record->opened_sequence);
    if (record->type == TG_RECORD_CLOSED)
        return note_closed(spool, record, segment, offset);
    return note_opened(list, record->sequence, segment, offset);
}

/* The magic is there; -EAGAIN when the file was never written that far (or holds a power loss's
 * zeros). */
static int check_magic(const tg_segment *segment)
{
    char magic[TG_SEGMENT_MAGIC_BYTES];
    ssize_t n = pread(segment->fd, magic, sizeof magic, 0);
    if (n < 0)
        return -EIO;
    if (n == sizeof magic && memcmp(magic, TG_SEGMENT_MAGIC, sizeof magic) == 0)
        return 0;
    /* All but the last byte right: another version's records, not ours to cut. */
    return n == sizeof magic && memcmp(magic, TG_SEGMENT_MAGIC, sizeof magic - 1) == 0
               ? -EPROTONOSUPPORT
               : -EAGAIN;
}

/* Reads one segment to its last whole record and cuts what follows. */
static int replay(tg_spool *spool, opened_list *list, tg_segment *segment)
{
    struct stat st;
    uint64_t at = 0;
    if (fstat(segment->fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size > TG_SEGMENT_BYTES_MAX)
        return -EFBIG;
    segment->bytes = (uint64_t)st.st_size;
    int rc = check_magic(segment);
    if (rc == 0)
        at = TG_SEGMENT_MAGIC_BYTES;
    while (rc == 0) {
        tg_record record;
        rc = tg_spool_read(spool, segment, at, &record);
        if (rc == 0 && record.sequence <= spool->last_sequence)
            rc = -EBADMSG;
        if (rc == 0)
            rc = note(spool, list, &record, segment, at);
        if (rc == 0)
            at += record.bytes;
    }
    if (rc != -EAGAIN && rc != -EBADMSG)
        return rc;
    spool->torn_bytes += segment->bytes - at;
    spool->bytes += at;
    if (segment->bytes == at)
        return 0;
    segment->bytes = at;
    spool->window_segment = NULL;
    return tg_segment_cut(segment);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The numbers of the segments there are, rising. */
static int list_segments(tg_spool *spool, uint64_t **ret, size_t *ret_count)
{
    uint64_t *numbers = NULL;
    size_t count = 0, cap = 0;
    int rc = 0;
    int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));) {
        uint64_t number;
        if (!tg_segment_parse_name(entry->d_name, &number))
            continue;
        if (count == cap) {
            cap = cap ? cap * 2 : 64;
            uint64_t *more = realloc(numbers, cap * sizeof *more);
            if (!more) {
                rc = -ENOMEM;
                break;
            }
            numbers = more;
        }
        numbers[count++] = number;
    }
    closedir(dir);
    if (rc < 0) {
        free(numbers);
        return rc;
    }
    if (count > 1)
        qsort(numbers, count, sizeof *numbers, compare_numbers);
    *ret = numbers;
    *ret_count = count;
    return 0;
}

/* The attempt as its opened record says, ended now: input as estimated then, no output. */
static int close_orphan(tg_spool *spool, const opened *o, uint64_t now_unix_ns)
{
    tg_record record;
    tg_usage_event event;
    int rc = tg_spool_read(spool, o->segment, o->offset, &record);
    if (rc < 0)
        return rc;
    record.opened_sequence = o->sequence;
    record.closed_unix_ns = now_unix_ns;
    record.tenant = (tg_str){NULL, 0};
    spool->recovered++;
    /* Bytes that another version wrote go to billing as they are: it keeps what it cannot read. */
    if (tg_usage_event_decode(record.event.data, record.event.len, NULL, &event) < 0)
        return tg_spool_write_closed(spool, &record, NULL);
    event.outcome = TG_OUTCOME_ABORTED;
    event.tokens.output = event.tokens.reasoning = 0;
    event.input_source = event.output_source = TG_COUNT_ESTIMATED;
    event.closed_unix_ns = now_unix_ns > event.opened_unix_ns ? now_unix_ns : event.opened_unix_ns;
    event.total_ns = event.closed_unix_ns - event.opened_unix_ns;
    record.tenant = tg_str_of(event.tenant);
    record.closed_unix_ns = event.closed_unix_ns;
    return tg_spool_write_closed(spool, &record, &event);
}

int tg_spool_recover(tg_spool *spool, uint64_t now_unix_ns, tg_error *err)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    opened_list list = {0};
    int rc = list_segments(spool, &numbers, &count);
    spool->next_number = 1;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        tg_segment *segment;
        char name[TG_SEGMENT_NAME];
        tg_segment_name(numbers[i], name);
        rc = tg_segment_open(spool->dir_fd, numbers[i], &segment);
        if (rc < 0) {
            tg_error_set(err, rc, "%s: %s", name, strerror(-rc));
            break;
        }
        spool->next_number = numbers[i] + 1;
        tg_list_add_tail(&spool->segments, &segment->node);
        rc = replay(spool, &list, segment);
        if (rc == -EPROTONOSUPPORT)
            tg_error_set(err, rc, "%s was written by another version of the spool", name);
        else if (rc < 0)
            tg_error_set(err, rc, "%s: %s", name, strerror(-rc));
        else if (segment->bytes <= TG_SEGMENT_MAGIC_BYTES)
            tg_spool_drop_segment(spool, segment);
    }
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        if (list.items[i].settled)
            continue;
        rc = close_orphan(spool, &list.items[i], now_unix_ns);
        if (rc < 0)
            tg_error_set(err, rc, "%zu attempts were open and cannot be closed: %s", list.count - i,
                         strerror(-rc));
    }
    if (rc == 0) {
        spool->ready = true;
        tg_spool_trim(spool);
    }
    free(list.items);
    free(numbers);
    return rc;
}
