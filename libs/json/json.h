/* JSON: a bounded, fully validating reader and a writer into a tg_buf.
 *
 * The reader parses the whole text before it hands anything out (syntax, UTF-8, depth, size,
 * duplicate keys within one object), so a body that is forwarded verbatim has been checked from end
 * to end. The library behind it (simdjson) is known to json.cpp alone.
 *
 * Ownership: a tg_json_doc owns copies of everything; values and strings taken from it live as long
 * as the document's next parse. Threads: one document belongs to one thread.
 */
#ifndef TG_JSON_JSON_H
#define TG_JSON_JSON_H

#include "libs/base/buf.h"
#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TG_JSON_DEPTH_MAX 64 /* nesting of arrays and objects */
#define TG_JSON_KEYS_MAX 4096 /* members of one object */

typedef struct tg_json_doc tg_json_doc;

typedef enum tg_json_type {
    TG_JSON_NONE, /* absent: what a lookup gives when there is no such member */
    TG_JSON_NULL,
    TG_JSON_BOOL,
    TG_JSON_NUMBER,
    TG_JSON_STRING,
    TG_JSON_ARRAY,
    TG_JSON_OBJECT
} tg_json_type;

/* A value inside a document: two words, passed by value. */
typedef struct tg_json {
    const void *doc;
    size_t at;
} tg_json;

/* A reusable parser and document. NULL when out of memory. */
tg_json_doc *tg_json_doc_new(void);
tg_json_doc *tg_json_doc_free(tg_json_doc *doc);

/* 0; -EINVAL with a sentence that gives the position; -E2BIG past `size_max`; -ENOMEM. The text is
 * copied (padding included) and need not outlive the call. */
int tg_json_parse(tg_json_doc *doc, tg_str text, size_t size_max, tg_error *err, tg_json *ret_root);

tg_json_type tg_json_type_of(tg_json value);

/* Lookups never fail: a missing member or a wrong container gives TG_JSON_NONE. */
tg_json tg_json_get(tg_json object, const char *key);
/* "usage.prompt_tokens_details.cached_tokens" */
tg_json tg_json_path(tg_json object, const char *dotted);
size_t tg_json_count(tg_json container);                  /* elements or members; 0 otherwise */
tg_json tg_json_at(tg_json array, size_t index);          /* linear: prefer the iterator */

/* Conversions: 0, or -EINVAL when the value is of another type or out of range. */
int tg_json_bool(tg_json value, bool *ret);
int tg_json_u64(tg_json value, uint64_t *ret); /* 3.0 is accepted, 3.5 is not */
int tg_json_i64(tg_json value, int64_t *ret);
int tg_json_f64(tg_json value, double *ret);
int tg_json_str(tg_json value, tg_str *ret); /* unescaped, may hold NUL bytes */

/* for (tg_json_iter it = tg_json_iterate(value); tg_json_next(&it);) … it.key (objects),
 * it.value */
typedef struct tg_json_iter {
    tg_str key;
    tg_json value;
    const void *doc;
    size_t at, end;
    bool object;
} tg_json_iter;

tg_json_iter tg_json_iterate(tg_json container);
bool tg_json_next(tg_json_iter *iter);

/* The raw text of the top-level members of an object that tg_json_parse has accepted. Used to
 * forward a body with one member changed and everything else verbatim. */
typedef struct tg_json_member {
    tg_str key_raw; /* with its quotes, as it stands */
    tg_str value_raw;
} tg_json_member;

/* Advances *at through `text` (start at 0). True while there is a member. */
bool tg_json_raw_next(tg_str text, size_t *at, tg_json_member *ret);
/* Compares a key_raw with an ASCII key, escapes undone: "mod\u0065l" is model too. Always use this
 * to find a member in raw text, or an escaped key would slip through where the parser sees it. */
bool tg_json_raw_key_is(tg_str key_raw, const char *key);

/* Writing: appends to a tg_buf; commas and nesting are the writer's business. */
typedef struct tg_json_out {
    tg_buf *buf;
    bool comma; /* a comma is due before the next value */
    int status; /* the first -errno of any append */
} tg_json_out;

tg_json_out tg_json_out_to(tg_buf *buf);
void tg_json_out_begin_object(tg_json_out *out);
void tg_json_out_end_object(tg_json_out *out);
void tg_json_out_begin_array(tg_json_out *out);
void tg_json_out_end_array(tg_json_out *out);
void tg_json_out_key(tg_json_out *out, const char *key);
void tg_json_out_str(tg_json_out *out, tg_str value); /* invalid UTF-8 becomes U+FFFD */
void tg_json_out_text(tg_json_out *out, const char *value);
void tg_json_out_u64(tg_json_out *out, uint64_t value);
void tg_json_out_i64(tg_json_out *out, int64_t value);
/* The shortest of 15 to 17 digits that reads back equal; NaN and infinities set status to
 * -EINVAL. */
void tg_json_out_f64(tg_json_out *out, double value);
void tg_json_out_bool(tg_json_out *out, bool value);
void tg_json_out_null(tg_json_out *out);
void tg_json_out_raw(tg_json_out *out, tg_str json); /* already valid JSON */
void tg_json_out_value(tg_json_out *out, tg_json value); /* a parsed value, re-encoded */

/* Just the escaped, quoted string. */
int tg_json_quote(tg_buf *buf, tg_str value);

#ifdef __cplusplus
}
#endif

#endif
