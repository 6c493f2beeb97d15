/* The closed records that are not yet acknowledged, in order of sequence: where each lies on disk.
 *
 * Acknowledgements come in any order. 32 bytes a record; at most half of the entries are ever
 * acknowledged ones that wait behind an older record.
 * Threads: one at a time.
 */
#ifndef TG_USAGE_UNACKED_H
#define TG_USAGE_UNACKED_H

#include "libs/usage/segment.h"

typedef struct tg_unacked_entry {
    uint64_t sequence;
    uint64_t closed_unix_ns;
    tg_segment *segment; /* NULL: acknowledged */
    uint32_t offset;
} tg_unacked_entry;

typedef struct tg_unacked {
    tg_unacked_entry *entries; /* live ones are [start, end) */
    size_t start, end, cap;
    size_t acked; /* of the live ones */
} tg_unacked;

/* Room for one more, so that a record written to disk can always be noted. 0 or -ENOMEM. */
int tg_unacked_reserve(tg_unacked *queue);
/* Rising sequences only; after tg_unacked_reserve. */
void tg_unacked_push(tg_unacked *queue, const tg_unacked_entry *entry);
/* The first unacknowledged one with a sequence of at least `sequence`, or NULL. */
const tg_unacked_entry *tg_unacked_from(const tg_unacked *queue, uint64_t sequence);
/* The segment the record lies in, or NULL when it was acknowledged before or never existed. */
tg_segment *tg_unacked_ack(tg_unacked *queue, uint64_t sequence);
size_t tg_unacked_count(const tg_unacked *queue);
void tg_unacked_free(tg_unacked *queue);

#endif
