/* How keys and values lie in KV memory: for a block of 16 positions and a key head
 *   F16   keys [head_dim][16], then values [16][head_dim]
 *   Q8    the same as int8, then for groups of 32 dimensions (the last may be shorter) the keys'
 *         scales [group][16], then the values', F16
 * A number read from Q8 is scale × int8 rounded to F16, so that attention is one kernel, over F16:
 * a span's blocks are expanded before it is walked.
 */
#ifndef TG_CPU_KV_FORMAT_H
#define TG_CPU_KV_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_KV_GROUP 32         /* dimensions that share a scale */
#define TG_KV_GROUPS_MAX 8     /* of a head */
#define TG_KV_EXPANDED_SPARE 16 /* F16 numbers past an expanded block that may be written */

static inline uint32_t tg_kv_groups(uint32_t head_dim)
{
    return (head_dim + TG_KV_GROUP - 1) / TG_KV_GROUP;
}

/* F16 numbers of a block and head. */
static inline size_t tg_kv_head_halves(uint32_t head_dim) { return (size_t)2 * 16 * head_dim; }

static inline size_t tg_kv_head_bytes(uint32_t head_dim, bool q8)
{
    return q8 ? (size_t)2 * 16 * (head_dim + tg_kv_groups(head_dim) * sizeof(uint16_t))
              : tg_kv_head_halves(head_dim) * sizeof(uint16_t);
}

/* In a Q8 block: the scales of keys, then those of values, [group][16] each. */
static inline uint16_t *tg_kv_scales(uint8_t *block, uint32_t head_dim)
{
    return (uint16_t *)(void *)(block + (size_t)2 * 16 * head_dim);
}

#endif
