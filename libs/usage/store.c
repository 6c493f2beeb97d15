/* Segments of the spool: writing to the newest, reading from any, deleting the oldest. */
#include "libs/usage/spool_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tg_segment *oldest(const tg_spool *spool)
{
    return tg_list_empty(&spool->segments)
               ? NULL
               : TG_CONTAINER_OF(spool->segments.next, tg_segment, node);
}

void tg_spool_drop_segment(tg_spool *spool, tg_segment *segment)
{
    tg_segment_unlink(spool->dir_fd,
                      segment); /* a file that stays is read again and found settled */
    spool->bytes -= segment->bytes;
    if (spool->window_segment == segment)
        spool->window_segment = NULL;
    if (spool->active == segment)
        spool->active = NULL;
    tg_list_remove(&segment->node);
    tg_segment_free(segment);
    spool->dir_dirty = true;
}

void tg_spool_trim(tg_spool *spool)
{
    for (tg_segment *s;
         spool->ready && (s = oldest(spool)) && s != spool->active && !s->opened && !s->unacked;)
        tg_spool_drop_segment(spool, s);
}

/* Writes the opened record of one slot again, at the end. */
static int carry_slot(tg_spool *spool, tg_spool_slot *slot)
{
    tg_record record;
    tg_segment *segment;
    uint32_t offset;
    int rc = tg_spool_read(spool, slot->segment, slot->offset, &record);
    if (rc < 0)
        return rc;
    record.type = TG_RECORD_CARRIED;
    record.opened_sequence = slot->sequence;
    record.sequence = spool->last_sequence + 1;
    tg_buf_clear(&spool->scratch);
    rc = tg_record_build_raw(&record, &spool->scratch);
    if (rc == 0)
        rc = tg_spool_write(spool, &segment, &offset);
    if (rc < 0)
        return rc;
    slot->segment->opened--;
    segment->opened++;
    slot->segment = segment;
    slot->offset = offset;
    slot->sequence = record.sequence;
    return 0;
}

/* Segments go in order, so one long stream would keep all that came after it. Past half of the
 * limit, the opened records that alone hold the oldest segment move to the newest; one segment per
 * rotation, and only where that gains more than it writes. */
void tg_spool_carry(tg_spool *spool)
{
    tg_segment *s = oldest(spool);
    if (!spool->rotated)
        return;
    spool->rotated = false;
    if (!s || s == spool->active || s->unacked || spool->bytes <= spool->conf.limit_bytes / 2 ||
        (uint64_t)s->opened * TG_SPOOL_CARRY_BYTES > s->bytes)
        return;
    for (uint32_t i = 0; i < spool->slot_count && s->opened > 0; i++)
        if (spool->slots[i].sequence && spool->slots[i].segment == s &&
            carry_slot(spool, &spool->slots[i]) < 0)
            return;
    tg_spool_trim(spool);
}

static int rotate(tg_spool *spool)
{
    tg_segment *fresh = NULL;
    int rc = tg_segment_create(spool->dir_fd, spool->next_number, &fresh);
    if (rc < 0)
        return rc;
    if (spool->active && spool->dirty) {
        if (spool->syncer)
            tg_spool_syncer_start(spool, spool->active);
        else if (fdatasync(spool->active->fd) < 0)
            spool->sync_errors++;
    }
    spool->next_number++;
    tg_list_add_tail(&spool->segments, &fresh->node);
    spool->active = fresh;
    spool->bytes += fresh->bytes;
    spool->dir_dirty = true;
    spool->rotated = true;
    tg_spool_trim(spool);
    return 0;
}

int tg_spool_write(tg_spool *spool, tg_segment **ret_segment, uint32_t *ret_offset)
{
    tg_str record = tg_buf_str(&spool->scratch);
    if (!spool->active || (spool->active->bytes > TG_SEGMENT_MAGIC_BYTES &&
                           spool->active->bytes + record.len > spool->conf.segment_bytes)) {
        int rc = rotate(spool);
        if (rc < 0)
            return rc;
    }
    tg_segment *segment = spool->active;
    uint64_t offset = segment->bytes;
    int rc = tg_segment_append(segment, record);
    if (rc < 0)
        return rc;
    spool->bytes += record.len;
    spool->last_sequence++;
    spool->dirty = true;
    if (spool->syncer && spool->conf.sync_ms > 0)
        tg_spool_syncer_arm(spool);
    *ret_segment = segment;
    *ret_offset = (uint32_t)offset;
    return 0;
}

void tg_spool_unwrite(tg_spool *spool)
{
    spool->active->bytes -= spool->scratch.len;
    spool->bytes -= spool->scratch.len;
    spool->last_sequence--;
    spool->window_segment = NULL;
    tg_segment_cut(spool->active);
}

static int fill_window(tg_spool *spool, const tg_segment *segment, uint64_t offset)
{
    if (!spool->window && !(spool->window = malloc(TG_SPOOL_WINDOW_BYTES)))
        return -ENOMEM;
    uint64_t want = segment->bytes - offset;
    if (want > TG_SPOOL_WINDOW_BYTES)
        want = TG_SPOOL_WINDOW_BYTES;
    spool->window_segment = NULL;
    size_t have = 0;
    while (have < want) {
        ssize_t n = pread(segment->fd, spool->window + have, want - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -EIO;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    spool->window_segment = segment;
    spool->window_offset = offset;
    spool->window_len = have;
    return 0;
}

int tg_spool_read(tg_spool *spool, const tg_segment *segment, uint64_t offset, tg_record *ret)
{
    if (spool->window_segment == segment && offset >= spool->window_offset &&
        offset - spool->window_offset < spool->window_len) {
        size_t at = (size_t)(offset - spool->window_offset);
        int rc = tg_record_parse(spool->window + at, spool->window_len - at, ret);
        if (rc == 0)
            return 0; /* else it may have been read before it was whole */
    }
    if (offset >= segment->bytes)
        return -EAGAIN;
    int rc = fill_window(spool, segment, offset);
    return rc < 0 ? rc : tg_record_parse(spool->window, spool->window_len, ret);
}

int tg_spool_write_closed(tg_spool *spool, tg_record *record, const tg_usage_event *event)
{
    tg_unacked_entry entry;
    int rc = tg_unacked_reserve(&spool->unacked);
    if (rc < 0)
        return rc;
    record->type = TG_RECORD_CLOSED;
    record->sequence = spool->last_sequence + 1;
    tg_buf_clear(&spool->scratch);
    rc = event ? tg_record_build(record, event, &spool->scratch)
               : tg_record_build_raw(record, &spool->scratch);
    if (rc == 0)
        rc = tg_spool_write(spool, &entry.segment, &entry.offset);
    if (rc < 0)
        return rc;
    entry.sequence = record->sequence;
    entry.closed_unix_ns = record->closed_unix_ns;
    entry.segment->unacked++;
    tg_unacked_push(&spool->unacked, &entry);
    return 0;
}
