/* The spool's inside, shared by spool.c (attempts and acknowledgements), store.c (segments:
 * writing, reading, deleting), recovery.c (opening what a dead process left) and sync.c (fdatasync
 * off the loop). */
#ifndef TG_USAGE_SPOOL_INTERNAL_H
#define TG_USAGE_SPOOL_INTERNAL_H

#include "libs/usage/spool.h"
#include "libs/usage/unacked.h"

#define TG_SPOOL_WINDOW_BYTES (64u << 10) /* read ahead of tg_spool_next */

/* A closed record can be this much longer than its opened one: the model that answered, eight
 * counterfactuals, counts and times. Kept free below the limit for every open attempt. */
#define TG_SPOOL_CLOSED_EXTRA_BYTES 1536

/* An opened record is moved out of the oldest segment only if the segment is this large for each.
 */
#define TG_SPOOL_CARRY_BYTES 4096

typedef struct tg_spool_slot {
    uint64_t sequence; /* of the opened record; 0: a free slot */
    tg_segment *segment;
    uint32_t offset;
    uint32_t reserved; /* bytes kept free for the closed record */
    uint32_t next_free;
    uint32_t attempt;
    uint32_t generation; /* of the name that the caller holds */
    bool closing;        /* closed, but the disk refused the record so far */
    char request_id[TG_UUID_TEXT];
} tg_spool_slot;

typedef struct tg_spool_pending {
    tg_list node;
    uint32_t slot;
    tg_usage_event event;
} tg_spool_pending;

typedef struct tg_spool_syncer tg_spool_syncer;

struct tg_spool {
    tg_spool_conf conf; /* defaults filled in; dir is not kept */
    int dir_fd, lock_fd;

    tg_list segments;   /* oldest first */
    tg_segment *active; /* the last one, written to; NULL before the first record */
    uint64_t next_number, last_sequence;
    uint64_t bytes;    /* of all segments */
    uint64_t reserved; /* of all open attempts */
    bool ready;        /* recovery has seen all: segments may be deleted */
    bool rotated;      /* since the last tg_spool_carry */

    tg_spool_slot *slots;
    uint32_t slot_count, slot_cap, free_slot; /* free_slot: UINT32_MAX when none */
    uint32_t opened;
    tg_list pending;
    uint32_t pending_count;
    tg_unacked unacked;

    tg_buf scratch; /* the record being written */
    char *window;   /* bytes [window_offset, + window_len) of window_segment */
    const tg_segment *window_segment;
    uint64_t window_offset;
    size_t window_len;

    bool dirty, dir_dirty;   /* not yet synced: the active segment, the directory */
    tg_spool_syncer *syncer; /* NULL without a loop */

    uint64_t recovered, torn_bytes, unreadable, sync_errors;
    void (*on_closed)(void *user);
    void *on_closed_user;
};

/* ---- store.c ---- */

/* Writes spool->scratch, one whole record, to the active segment (rotating first when it is full)
 * and takes its sequence. 0, -ENOSPC, -EIO or -ENOMEM. */
int tg_spool_write(tg_spool *spool, tg_segment **ret_segment, uint32_t *ret_offset);
/* Takes back the record just written. */
void tg_spool_unwrite(tg_spool *spool);
/* Slices are valid until the next read. 0, -EAGAIN (cut short), -EBADMSG or -EIO. */
int tg_spool_read(tg_spool *spool, const tg_segment *segment, uint64_t offset, tg_record *ret);
/* Deletes the oldest segments as long as nothing needs them. */
void tg_spool_trim(tg_spool *spool);
/* Moves opened records that alone keep the oldest segment; before a new attempt is written. */
void tg_spool_carry(tg_spool *spool);
void tg_spool_drop_segment(tg_spool *spool, tg_segment *segment);
/* Writes a closed record and queues it to be sent. `event` NULL: record->event as it is. */
int tg_spool_write_closed(tg_spool *spool, tg_record *record, const tg_usage_event *event);

/* ---- recovery.c ---- */

int tg_spool_recover(tg_spool *spool, uint64_t now_unix_ns, tg_error *err);

/* ---- sync.c ---- */

int tg_spool_syncer_new(tg_spool *spool, uv_loop_t *loop);
void tg_spool_syncer_close(tg_spool *spool);
/* Something was written: makes sure that the timer runs. */
void tg_spool_syncer_arm(tg_spool *spool);
/* Syncs a segment that is full, without waiting for it. */
void tg_spool_syncer_start(tg_spool *spool, const tg_segment *segment);
/* Tries to write the closed records that the disk refused (spool.c). */
void tg_spool_retry_pending(tg_spool *spool);

#endif
