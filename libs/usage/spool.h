/* The spool: usage events on local disk between an attempt and Kafka's acknowledgement.
 *
 * Two records per attempt. *opened*, written before the first upstream byte, makes sure no served
 * attempt can vanish; *closed*, written before the last byte to the client, carries the usage.
 * Records are written with write(2), so they survive kill -9 of the process; fdatasync is grouped
 * every `sync_ms`, which is the window a power loss can take.
 *
 * On disk: a directory with a lock file and numbered segments. A record is
 * {u32 length, u32 crc32 of the rest, u64 sequence, u8 type, payload}, little-endian (segment.h). A
 * torn tail is cut at the last whole record. Segments are deleted oldest first, once every closed
 * record in it is acknowledged and every opened record in it is closed; an opened record that alone
 * keeps a segment is carried to the newest one when space runs short.
 *
 * Recovery (in tg_spool_open): an opened record without its closed one is closed by the spool as
 * ABORTED with estimated counts (input as opened, output 0), and joins the queue to be sent.
 *
 * Threads: the loop's. Bounds: `limit_bytes` on disk (-ENOSPC from tg_spool_opened past it; a
 * margin is kept so that closed records of opened attempts still fit); `opened_max` attempts open
 * at once.
 */
#ifndef TG_USAGE_SPOOL_H
#define TG_USAGE_SPOOL_H

#include "libs/usage/event.h"

#include <uv.h>

typedef struct tg_spool_conf {
    const char *dir;        /* made if missing; locked: -EBUSY when another process holds it */
    uint32_t sync_ms;       /* default 50; 0: fdatasync every record */
    uint64_t segment_bytes; /* default 4 MiB */
    uint64_t limit_bytes;   /* default 256 MiB */
    uint32_t opened_max;    /* default 65536 */
} tg_spool_conf;

typedef struct tg_spool tg_spool;

typedef struct tg_spool_stats {
    uint64_t bytes;        /* on disk */
    uint64_t opened;       /* attempts open now */
    uint64_t unacked;      /* closed records not yet acknowledged */
    uint64_t recovered;    /* orphans closed by recovery at open */
    uint64_t torn_bytes;   /* cut from a torn tail at open */
    uint64_t oldest_unacked_unix_ns; /* 0: none */
    uint64_t pending;      /* closed records the disk refused so far */
    uint64_t unreadable;   /* reads of a closed record that failed; it stays unacknowledged */
    uint64_t sync_errors;  /* fdatasync failed: the window a power loss can take is wider */
} tg_spool_stats;

/* `loop` runs the sync timer; NULL: the caller calls tg_spool_sync itself (tests). */
int tg_spool_open(uv_loop_t *loop, const tg_spool_conf *conf, uint64_t now_unix_ns, tg_error *err,
                  tg_spool **ret);
/* Writes opened; *ret_slot names the attempt until tg_spool_closed. 0, -ENOSPC (limit or disk
 * full), -EIO. */
int tg_spool_opened(tg_spool *spool, const tg_usage_event *event, uint64_t *ret_slot);
/* Writes closed. The event's identity must be that of the slot (-EINVAL). -ENOSPC, -EIO, -ENOMEM:
 * the disk refused; the spool keeps the event in memory (up to TG_SPOOL_PENDING_MAX) and writes it
 * as soon as it can; if the process dies before, recovery closes the attempt as estimated. */
#define TG_SPOOL_PENDING_MAX 4096 /* closed events kept in memory that the disk refused */
int tg_spool_closed(tg_spool *spool, uint64_t slot, const tg_usage_event *event);

/* The next closed record after `after_sequence` (0: the first unacknowledged): serialised event,
 * its tenant as key and its sequence. 0; -ENOENT when there is none. Bytes valid until the next
 * call. */
int tg_spool_next(tg_spool *spool, uint64_t after_sequence, uint64_t *ret_sequence,
                  tg_str *ret_tenant, tg_str *ret_event);
/* This closed record is safe in Kafka. Any order. */
void tg_spool_acked(tg_spool *spool, uint64_t sequence);
int tg_spool_sync(tg_spool *spool);
void tg_spool_stats_get(const tg_spool *spool, tg_spool_stats *ret);
/* Called whenever a closed record was added (the producer's wake-up). */
void tg_spool_on_closed(tg_spool *spool, void (*on_closed)(void *user), void *user);
/* Syncs, unlocks, frees; open attempts stay open on disk and are recovered at the next open. The
 * loop must run once more to release the timer. */
tg_spool *tg_spool_close(tg_spool *spool);

#endif
