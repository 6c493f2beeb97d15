/* Attempts and acknowledgements; see store.c for the files and recovery.c for what a crash left. */
#include "libs/usage/spool_internal.h"

#include "libs/base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES_DEFAULT (UINT64_C(4) << 20)
#define LIMIT_BYTES_DEFAULT (UINT64_C(256) << 20)
#define OPENED_MAX_DEFAULT 65536
#define NO_SLOT UINT32_MAX

/* ---- slots: attempts that are open ---- */

static int take_slot(tg_spool *spool, uint32_t *ret)
{
    if (spool->opened == spool->conf.opened_max)
        return -ENOSPC;
    if (spool->free_slot != NO_SLOT) {
        *ret = spool->free_slot;
        spool->free_slot = spool->slots[*ret].next_free;
        return 0;
    }
    if (spool->slot_count == spool->slot_cap) {
        uint32_t cap = spool->slot_cap ? spool->slot_cap * 2 : 64;
        if (cap > spool->conf.opened_max)
            cap = spool->conf.opened_max;
        tg_spool_slot *slots = realloc(spool->slots, cap * sizeof *slots);
        if (!slots)
            return -ENOMEM;
        spool->slots = slots;
        spool->slot_cap = cap;
    }
    *ret = spool->slot_count++;
    return 0;
}

static void release_slot(tg_spool *spool, uint32_t index)
{
    spool->slots[index] = (tg_spool_slot){.next_free = spool->free_slot};
    spool->free_slot = index;
}

/* The caller's name of a slot holds a part of the first sequence, so that a slot used again is not
 * mistaken for its former attempt. */
static uint64_t name_slot(uint32_t index, uint32_t generation)
{
    return (uint64_t)generation << 32 | index;
}

/* ---- opened and closed ---- */

int tg_spool_opened(tg_spool *spool, const tg_usage_event *event, uint64_t *ret_slot)
{
    tg_segment *segment;
    uint32_t index, offset;
    if (!tg_list_empty(&spool->pending))
        tg_spool_retry_pending(spool);
    tg_spool_carry(spool);
    tg_record record = {.type = TG_RECORD_OPENED, .sequence = spool->last_sequence + 1};
    tg_buf_clear(&spool->scratch);
    int rc = tg_record_build(&record, event, &spool->scratch);
    if (rc < 0)
        return rc;
    uint64_t len = spool->scratch.len, reserved = len + TG_SPOOL_CLOSED_EXTRA_BYTES;
    if (spool->bytes + len + spool->reserved + reserved > spool->conf.limit_bytes)
        return -ENOSPC;
    rc = take_slot(spool, &index);
    if (rc < 0)
        return rc;
    rc = tg_spool_write(spool, &segment, &offset);
    if (rc == 0 && spool->conf.sync_ms == 0 && (rc = tg_spool_sync(spool)) < 0)
        tg_spool_unwrite(spool);
    if (rc < 0) {
        release_slot(spool, index);
        return rc;
    }
    tg_spool_slot *slot = &spool->slots[index];
    *slot = (tg_spool_slot){.sequence = record.sequence,
                            .segment = segment,
                            .offset = offset,
                            .reserved = (uint32_t)reserved,
                            .attempt = event->attempt,
                            .generation = (uint32_t)record.sequence};
    memcpy(slot->request_id, event->request_id, sizeof slot->request_id);
    segment->opened++;
    spool->opened++;
    spool->reserved += reserved;
    *ret_slot = name_slot(index, slot->generation);
    tg_fault_point("spool_after_opened");
    return 0;
}

static int close_slot(tg_spool *spool, uint32_t index, const tg_usage_event *event)
{
    tg_spool_slot *slot = &spool->slots[index];
    tg_record record = {.opened_sequence = slot->sequence,
                        .closed_unix_ns = event->closed_unix_ns,
                        .tenant = tg_str_of(event->tenant)};
    int rc = tg_spool_write_closed(spool, &record, event);
    if (rc < 0)
        return rc;
    slot->segment->opened--;
    spool->opened--;
    spool->reserved -= slot->reserved;
    release_slot(spool, index);
    if (spool->conf.sync_ms == 0)
        tg_spool_sync(spool); /* the record stands, whether or not it is safe from a power loss */
    tg_spool_trim(spool);
    tg_fault_point("spool_after_closed");
    if (spool->on_closed)
        spool->on_closed(spool->on_closed_user);
    return 0;
}

static void keep_pending(tg_spool *spool, uint32_t index, const tg_usage_event *event)
{
    tg_spool_pending *pending =
        spool->pending_count < TG_SPOOL_PENDING_MAX ? malloc(sizeof *pending) : NULL;
    if (!pending)
        return; /* the opened record stays, and recovery closes it as estimated */
    pending->slot = index;
    pending->event = *event;
    tg_list_add_tail(&spool->pending, &pending->node);
    spool->pending_count++;
    if (spool->syncer)
        tg_spool_syncer_arm(spool);
}

void tg_spool_retry_pending(tg_spool *spool)
{
    while (!tg_list_empty(&spool->pending)) {
        tg_spool_pending *pending = TG_CONTAINER_OF(spool->pending.next, tg_spool_pending, node);
        tg_list_remove(&pending->node); /* first: on_closed may come back here */
        if (close_slot(spool, pending->slot, &pending->event) < 0) {
            tg_list_add_tail(spool->pending.next, &pending->node);
            return;
        }
        spool->pending_count--;
        free(pending);
    }
}

int tg_spool_closed(tg_spool *spool, uint64_t slot_name, const tg_usage_event *event)
{
    uint32_t index = (uint32_t)slot_name;
    if (index >= spool->slot_count)
        return -EINVAL;
    tg_spool_slot *slot = &spool->slots[index];
    if (!slot->sequence || slot->closing || slot->generation != (uint32_t)(slot_name >> 32) ||
        slot->attempt != event->attempt ||
        memcmp(slot->request_id, event->request_id, sizeof slot->request_id) != 0)
        return -EINVAL;
    if (!tg_list_empty(&spool->pending))
        tg_spool_retry_pending(spool);
    int rc = close_slot(spool, index, event);
    if (rc < 0) {
        slot->closing = true;
        keep_pending(spool, index, event);
    }
    return rc;
}

void tg_spool_on_closed(tg_spool *spool, void (*on_closed)(void *user), void *user)
{
    spool->on_closed = on_closed;
    spool->on_closed_user = user;
}

/* ---- the queue to be sent ---- */

int tg_spool_next(tg_spool *spool, uint64_t after_sequence, uint64_t *ret_sequence,
                  tg_str *ret_tenant, tg_str *ret_event)
{
    const tg_unacked_entry *entry;
    while ((entry = tg_unacked_from(&spool->unacked, after_sequence + 1))) {
        tg_record record;
        if (tg_spool_read(spool, entry->segment, entry->offset, &record) == 0 &&
            record.sequence == entry->sequence) {
            *ret_sequence = record.sequence;
            *ret_tenant = record.tenant;
            *ret_event = record.event;
            return 0;
        }
        spool->unreadable++; /* the others must not wait for it */
        after_sequence = entry->sequence;
    }
    return -ENOENT;
}

void tg_spool_acked(tg_spool *spool, uint64_t sequence)
{
    tg_segment *segment = tg_unacked_ack(&spool->unacked, sequence);
    if (segment && --segment->unacked == 0)
        tg_spool_trim(spool);
}

/* ---- the whole ---- */

int tg_spool_sync(tg_spool *spool)
{
    if (!tg_list_empty(&spool->pending))
        tg_spool_retry_pending(spool);
    if (spool->dirty && spool->active && fdatasync(spool->active->fd) < 0) {
        spool->sync_errors++;
        return -EIO;
    }
    spool->dirty = false;
    if (spool->dir_dirty && fsync(spool->dir_fd) < 0) {
        spool->sync_errors++;
        return -EIO;
    }
    spool->dir_dirty = false;
    return 0;
}

void tg_spool_stats_get(const tg_spool *spool, tg_spool_stats *ret)
{
    const tg_unacked_entry *first = tg_unacked_from(&spool->unacked, 0);
    *ret = (tg_spool_stats){.bytes = spool->bytes,
                            .opened = spool->opened,
                            .unacked = tg_unacked_count(&spool->unacked),
                            .recovered = spool->recovered,
                            .torn_bytes = spool->torn_bytes,
                            .oldest_unacked_unix_ns = first ? first->closed_unix_ns : 0,
                            .pending = spool->pending_count,
                            .unreadable = spool->unreadable,
                            .sync_errors = spool->sync_errors};
}

static int make_dirs(const char *path)
{
    char part[4096];
    if (!tg_str_copy(part, sizeof part, tg_str_of(path)))
        return -ENAMETOOLONG;
    for (char *slash = part + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return -errno;
    }
    return mkdir(part, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int lock(tg_spool *spool, const char *path, tg_error *err)
{
    int rc = make_dirs(path);
    if (rc == 0) {
        spool->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (spool->dir_fd >= 0)
            spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (spool->lock_fd < 0)
            rc = -errno;
    }
    if (rc < 0)
        return tg_error_set(err, rc, "spool %s: %s", path, strerror(-rc));
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return tg_error_set(err, -EBUSY, "spool %s is in use by another process", path);
    return 0;
}

static void fill_defaults(tg_spool_conf *conf)
{
    conf->dir = NULL; /* the caller's string need not outlive the open */
    if (conf->segment_bytes == 0)
        conf->segment_bytes = SEGMENT_BYTES_DEFAULT;
    if (conf->segment_bytes > TG_SEGMENT_BYTES_MAX - TG_RECORD_BYTES_MAX)
        conf->segment_bytes = TG_SEGMENT_BYTES_MAX - TG_RECORD_BYTES_MAX;
    if (conf->limit_bytes == 0)
        conf->limit_bytes = LIMIT_BYTES_DEFAULT;
    if (conf->opened_max == 0)
        conf->opened_max = OPENED_MAX_DEFAULT;
}

int tg_spool_open(uv_loop_t *loop, const tg_spool_conf *conf, uint64_t now_unix_ns, tg_error *err,
                  tg_spool **ret)
{
    tg_spool *spool = calloc(1, sizeof *spool);
    if (!spool)
        return -ENOMEM;
    spool->conf = *conf;
    fill_defaults(&spool->conf);
    spool->dir_fd = spool->lock_fd = -1;
    spool->free_slot = NO_SLOT;
    tg_list_init(&spool->segments);
    tg_list_init(&spool->pending);
    tg_buf_init(&spool->scratch, TG_RECORD_BYTES_MAX);
    int rc = lock(spool, conf->dir, err);
    if (rc == 0) {
        rc = tg_spool_recover(spool, now_unix_ns, err);
        if (rc < 0)
            tg_error_prefix(err, "spool %s", conf->dir);
    }
    if (rc == 0)
        rc = tg_spool_sync(spool);
    if (rc == 0 && loop)
        rc = tg_spool_syncer_new(spool, loop);
    if (rc < 0) {
        tg_error_set(err, rc, "spool %s: %s", conf->dir, strerror(-rc));
        tg_spool_close(spool);
        return rc;
    }
    *ret = spool;
    return 0;
}

tg_spool *tg_spool_close(tg_spool *spool)
{
    if (!spool)
        return NULL;
    tg_spool_syncer_close(spool);
    tg_spool_sync(spool);
    spool->active = NULL;
    tg_spool_trim(spool); /* a spool that is all delivered leaves nothing to send again */
    while (!tg_list_empty(&spool->pending)) {
        tg_spool_pending *pending = TG_CONTAINER_OF(spool->pending.next, tg_spool_pending, node);
        tg_list_remove(&pending->node);
        free(pending);
    }
    while (!tg_list_empty(&spool->segments)) {
        tg_segment *segment = TG_CONTAINER_OF(spool->segments.next, tg_segment, node);
        tg_list_remove(&segment->node);
        tg_segment_free(segment);
    }
    tg_unacked_free(&spool->unacked);
    tg_buf_free(&spool->scratch);
    free(spool->window);
    free(spool->slots);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    if (spool->dir_fd >= 0)
        close(spool->dir_fd);
    free(spool);
    return NULL;
}
