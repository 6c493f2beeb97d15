#include "libs/usage/unacked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Moves the unacknowledged entries to the front of the array. */
static void compact(tg_unacked *queue)
{
    size_t to = 0;
    for (size_t i = queue->start; i < queue->end; i++)
        if (queue->entries[i].segment)
            queue->entries[to++] = queue->entries[i];
    queue->start = 0;
    queue->end = to;
    queue->acked = 0;
}

int tg_unacked_reserve(tg_unacked *queue)
{
    if (queue->end < queue->cap)
        return 0;
    if (queue->cap > 0 && (queue->start + queue->acked) * 2 >= queue->cap) {
        compact(queue);
        return 0;
    }
    size_t cap = queue->cap ? queue->cap * 2 : 64;
    tg_unacked_entry *entries = realloc(queue->entries, cap * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    queue->entries = entries;
    queue->cap = cap;
    return 0;
}

void tg_unacked_push(tg_unacked *queue, const tg_unacked_entry *entry)
{
    queue->entries[queue->end++] = *entry;
}

static size_t lower_bound(const tg_unacked *queue, uint64_t sequence)
{
    size_t low = queue->start, high = queue->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (queue->entries[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const tg_unacked_entry *tg_unacked_from(const tg_unacked *queue, uint64_t sequence)
{
    for (size_t i = lower_bound(queue, sequence); i < queue->end; i++)
        if (queue->entries[i].segment)
            return &queue->entries[i];
    return NULL;
}

tg_segment *tg_unacked_ack(tg_unacked *queue, uint64_t sequence)
{
    size_t at = lower_bound(queue, sequence);
    if (at == queue->end || queue->entries[at].sequence != sequence)
        return NULL;
    tg_segment *segment = queue->entries[at].segment;
    if (!segment)
        return NULL;
    queue->entries[at].segment = NULL;
    queue->acked++;
    while (queue->start < queue->end && !queue->entries[queue->start].segment) {
        queue->start++;
        queue->acked--;
    }
    if (queue->start == queue->end)
        queue->start = queue->end = 0;
    return segment;
}

size_t tg_unacked_count(const tg_unacked *queue)
{
    return queue->end - queue->start - queue->acked;
}

void tg_unacked_free(tg_unacked *queue)
{
    free(queue->entries);
    *queue = (tg_unacked){0};
}
