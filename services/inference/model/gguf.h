/* GGUF files, versions 2 and 3, little-endian: metadata keys and the directory of tensors.
 *
 * The file is hostile until proven otherwise: every count, length, shape and offset is checked
 * against the file's size before it is used, and a file that fails says why in one sentence. After
 * a successful parse every slice and tensor returned lies inside the file.
 * Format: the "GGUF" specification in ggml's documentation.
 *
 * A model may be split over files: the first, "NAME-00001-of-0000N.gguf", holds the metadata, key
 * split.count says how many there are, and each says in split.no which it is, from 0. Opening the
 * first opens all.
 *
 * Ownership: tg_gguf_open maps the files until tg_gguf_free. Metadata is copied, so a file that
 *            changes later changes nothing of it; tensors lie in the mapping (mapping.h) until
 *            tg_gguf_tensor_keep. Whoever reads tensors asks tg_gguf_check afterwards whether they
 *            were still the file's. tg_gguf_parse borrows the caller's bytes, which must be 8-byte
 *            aligned.
 * Threads:   read-only once made, but for tg_gguf_tensor_keep.
 * Bounds:    TG_GGUF_KEYS_MAX keys, TG_GGUF_TENSORS_MAX tensors, TG_GGUF_PARTS_MAX parts, 4
 *            dimensions.
 */
#ifndef TG_INFERENCE_GGUF_H
#define TG_INFERENCE_GGUF_H

#include "libs/base/error.h"
#include "libs/base/str.h"
#include "services/inference/model/dtype.h"

#include <stdbool.h>

#define TG_GGUF_KEYS_MAX 4096     /* of metadata in a file */
#define TG_GGUF_TENSORS_MAX 65536 /* in a file, and in all parts of a split one */
#define TG_GGUF_PARTS_MAX 512     /* files that a model is split over */
#define TG_GGUF_DIMS_MAX 4        /* of a tensor */

typedef struct tg_gguf tg_gguf;

typedef struct tg_gguf_tensor {
    tg_str name;
    uint64_t dims[TG_GGUF_DIMS_MAX]; /* dims[0] is the contiguous one; absent ones are 1 */
    uint32_t dims_len;
    tg_dtype type;
    const uint8_t *data;
    size_t size_bytes;
} tg_gguf_tensor;

/* -errno of open, -EINVAL, or -EIO as check */
int tg_gguf_open(const char *path, tg_error *err, tg_gguf **ret);
int tg_gguf_parse(const uint8_t *data, size_t size_bytes, tg_error *err, tg_gguf **ret);
int tg_gguf_parse_parts(const tg_str *parts, size_t parts_len, tg_error *err, tg_gguf **ret);
tg_gguf *tg_gguf_free(tg_gguf *gguf);

/* 0 while every file is what it was when it was opened; else -EIO, naming the file. */
int tg_gguf_check(const tg_gguf *gguf, tg_error *err);

uint32_t tg_gguf_part_count(const tg_gguf *gguf);
uint64_t tg_gguf_file_bytes(const tg_gguf *gguf); /* of all parts */

size_t tg_gguf_tensor_count(const tg_gguf *gguf);
const tg_gguf_tensor *tg_gguf_tensor_at(const tg_gguf *gguf, size_t index); /* by name, ascending */
const tg_gguf_tensor *tg_gguf_tensor_find(const tg_gguf *gguf, const char *name); /* or NULL */

/* All metadata, for showing it. Strings may hold any bytes. */
typedef enum tg_gguf_kind {
    TG_GGUF_IS_U64,
    TG_GGUF_IS_I64,
    TG_GGUF_IS_F64,
    TG_GGUF_IS_BOOL,
    TG_GGUF_IS_STR,
    TG_GGUF_IS_ARRAY
} tg_gguf_kind;

typedef struct tg_gguf_value {
    tg_gguf_kind kind;
    const char *type;  /* "u32", "string"; of an array its elements' */
    uint64_t u64;      /* an array: how many elements; a bool: 0 or 1 */
    int64_t i64;
    double f64;
    tg_str str;
} tg_gguf_value;

size_t tg_gguf_key_count(const tg_gguf *gguf);
/* in the file's order */
tg_str tg_gguf_key_at(const tg_gguf *gguf, size_t index, tg_gguf_value *ret);

/* Metadata. 0; -ENOENT when the key is absent (no message); -EINVAL, with a message, when its type
 * is another or its value does not fit. Integers of every width convert. */
int tg_gguf_u32(const tg_gguf *gguf, const char *key, tg_error *err, uint32_t *ret);
int tg_gguf_f32(const tg_gguf *gguf, const char *key, tg_error *err, float *ret);
int tg_gguf_bool(const tg_gguf *gguf, const char *key, tg_error *err, bool *ret);
int tg_gguf_str(const tg_gguf *gguf, const char *key, tg_error *err, tg_str *ret);

/* Arrays are copied into memory the caller frees with free(). Strings still point into the file. */
int tg_gguf_str_array(const tg_gguf *gguf, const char *key, tg_error *err, tg_str **ret,
                      size_t *ret_count);
int tg_gguf_f32_array(const tg_gguf *gguf, const char *key, tg_error *err, float **ret,
                      size_t *ret_count);
int tg_gguf_i32_array(const tg_gguf *gguf, const char *key, tg_error *err, int32_t **ret,
                      size_t *ret_count);

/* Copies the tensor out of its file, for good: its data changes. 0 or -ENOMEM. */
int tg_gguf_tensor_keep(tg_gguf *gguf, const tg_gguf_tensor *tensor);

/* Tells the kernel that the tensor's pages are not needed for now; they come back when read
 * again. */
void tg_gguf_tensor_drop(const tg_gguf *gguf, const tg_gguf_tensor *tensor);

#endif
