/* What gguf.c (files, access) and gguf_parse.c (bytes to a directory) share; for them alone. */
#ifndef TG_INFERENCE_GGUF_PARTS_H
#define TG_INFERENCE_GGUF_PARTS_H

#include "services/inference/model/gguf.h"

typedef enum tg_gguf_type { /* GGUF's numbers */
                            TG_GGUF_U8,
                            TG_GGUF_I8,
                            TG_GGUF_U16,
                            TG_GGUF_I16,
                            TG_GGUF_U32,
                            TG_GGUF_I32,
                            TG_GGUF_F32,
                            TG_GGUF_BOOL,
                            TG_GGUF_STRING,
                            TG_GGUF_ARRAY,
                            TG_GGUF_U64,
                            TG_GGUF_I64,
                            TG_GGUF_F64,
                            TG_GGUF_TYPES
} tg_gguf_type;

extern const uint8_t tg_gguf_type_sizes[TG_GGUF_TYPES]; /* 0: string, array */
extern const char *const tg_gguf_type_names[TG_GGUF_TYPES];

typedef struct tg_gguf_entry {
    tg_str key;
    tg_gguf_type type;
    tg_gguf_type element; /* of an array */
    uint64_t count;       /* of an array */
    const uint8_t *data; /* the value; for strings and arrays the bytes after the length or count */
    uint64_t len;         /* of a string */
} tg_gguf_entry;

typedef struct tg_gguf_dir { /* what a file, or one of its parts, holds */
    tg_gguf_entry *entries;
    size_t entry_count;
    tg_gguf_tensor *tensors;
    size_t tensor_count;
} tg_gguf_dir;

/* How many bytes at the file's start are header, metadata and directory. Every byte is read once
 * only, so the file may change meanwhile. */
int tg_gguf_measure(const uint8_t *data, size_t size_bytes, tg_error *err, size_t *ret_head_bytes);

/* Reads the directory from the head; tensors lie in `data`, which is the whole file. Nothing is
 * left allocated on failure. */
int tg_gguf_read_dir(const uint8_t *head, size_t head_bytes, const uint8_t *data, size_t size_bytes,
                     tg_error *err, tg_gguf_dir *ret);
void tg_gguf_dir_free(tg_gguf_dir *dir);

tg_gguf_value tg_gguf_entry_value(const tg_gguf_entry *entry);

/* as tg_gguf_u32 */
int tg_gguf_dir_u32(const tg_gguf_dir *dir, const char *key, tg_error *err, uint32_t *ret);

#endif
