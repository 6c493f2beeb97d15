/* JSON text (RFC 8259) into a read-only tree: schemas, and the tools and arguments that chat
 * templates see.
 *
 * Keys keep their order, which is what templates print and what structured output writes. A key
 * that comes twice in an object is refused, because two readers would take different values.
 * Strings are decoded, and what is no UTF-8 is refused, as are escapes of lone surrogates. Errors
 * begin with line:column, both from 1, columns in bytes.
 *
 * Ownership: nodes and strings lie in the caller's arena and live as long as it; the text is not
 * kept.
 * Threads:   a tree is never written again and may be shared.
 * Bounds:    those below; time is O(n log n) in the length of the text.
 */
#ifndef TG_INFERENCE_TEXT_JSON_TREE_H
#define TG_INFERENCE_TEXT_JSON_TREE_H

#include "libs/base/arena.h"
#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_JSON_TREE_BYTES_MAX ((size_t)4 << 20) /* of one text */
#define TG_JSON_TREE_NODES_MAX 262144u           /* values in one text */
#define TG_JSON_TREE_DEPTH_MAX 64u               /* arrays and objects inside each other */

typedef enum tg_json_kind {
    TG_JSON_NULL,
    TG_JSON_BOOL,
    TG_JSON_NUMBER,
    TG_JSON_STRING,
    TG_JSON_ARRAY,
    TG_JSON_OBJECT
} tg_json_kind;

typedef struct tg_json_node tg_json_node;
struct tg_json_node {
    tg_json_kind kind;
    bool boolean;
    bool is_int;               /* a number without fraction and exponent that fits an int64 */
    int64_t integer;           /* where is_int */
    double number; /* the nearest double of any number; one beyond all doubles is refused */
    tg_str text;               /* a string's bytes; a number as it was written */
    tg_str key;                /* of a member of an object */
    uint32_t at;               /* the byte of the text where it, or its key, begins */
    uint32_t from, upto;       /* its own bytes, without a key */
    uint32_t len;              /* children */
    const tg_json_node *first; /* child, then along `next` in the text's order */
    const tg_json_node *next;
};

/* 0; -EINVAL or -EMSGSIZE with a message; -ENOMEM when the arena is full. */
int tg_json_tree_parse(tg_str text, tg_arena *arena, tg_error *err, const tg_json_node **ret);

/* The member of that name; NULL where there is none, or `object` is NULL or no object. */
const tg_json_node *tg_json_tree_get(const tg_json_node *object, const char *key);

const char *tg_json_kind_name(tg_json_kind kind); /* "null", "boolean", "number", … */

#endif
