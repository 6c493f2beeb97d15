/* The bytes of a GGUF file as a directory of keys and tensors. */
#include "services/inference/model/gguf_parts.h"

#include <errno.h>
#include <stdlib.h>

const uint8_t tg_gguf_type_sizes[TG_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
const char *const tg_gguf_type_names[TG_GGUF_TYPES] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

/* A read position that can't leave the file. */
typedef struct reader {
    const uint8_t *data;
    size_t size, at;
    size_t file_bytes; /* ≥ size: where tensors may lie */
    tg_error *err;
} reader;

static int cut(const reader *in, const char *what)
{
    return tg_error_set(
        in->err, -EINVAL,
        "the file is truncated: it ends at byte %zu, inside %s that starts at byte %zu", in->size,
        what, in->at);
}

static int take(reader *in, void *to, size_t len, const char *what)
{
    if (in->size - in->at < len)
        return cut(in, what);
    memcpy(to, in->data + in->at, len);
    in->at += len;
    return 0;
}

static int take_str(reader *in, tg_str *ret, const char *what)
{
    uint64_t len = 0;
    int rc = take(in, &len, sizeof(len), what);
    if (rc < 0)
        return rc;
    if (in->size - in->at < len)
        return cut(in, what);
    *ret = (tg_str){(const char *)in->data + in->at, (size_t)len};
    in->at += (size_t)len;
    return 0;
}

static int skip_array(reader *in, tg_gguf_entry *out)
{
    uint32_t element = 0;
    int rc = take(in, &element, sizeof(element), "an array");
    if (rc == 0)
        rc = take(in, &out->count, sizeof(out->count), "an array");
    if (rc < 0)
        return rc;
    if (element >= TG_GGUF_TYPES || element == TG_GGUF_ARRAY)
        return tg_error_set(in->err, -EINVAL, "key '" TG_STR_FMT "': arrays of type %u are unknown",
                            TG_STR_ARG(out->key), element);
    out->element = (tg_gguf_type)element;
    out->data = in->data + in->at;
    if (element == TG_GGUF_STRING) {
        for (uint64_t i = 0; i < out->count && rc == 0; i++) {
            tg_str ignored;
            rc = take_str(in, &ignored, "an array of strings");
        }
        return rc;
    }
    if (out->count > (in->size - in->at) / tg_gguf_type_sizes[element])
        return cut(in, "an array");
    in->at += (size_t)out->count * tg_gguf_type_sizes[element];
    return 0;
}

static int read_entry(reader *in, tg_gguf_entry *out)
{
    uint32_t type = 0;
    int rc = take_str(in, &out->key, "a metadata key");
    if (rc == 0)
        rc = take(in, &type, sizeof(type), "a metadata value");
    if (rc < 0)
        return rc;
    if (out->key.len == 0 || out->key.len > 255)
        return tg_error_set(in->err, -EINVAL, "a metadata key of %zu bytes; 1 to 255 are allowed",
                            out->key.len);
    if (type >= TG_GGUF_TYPES)
        return tg_error_set(in->err, -EINVAL, "key '" TG_STR_FMT "' has the unknown type %u",
                            TG_STR_ARG(out->key), type);
    out->type = (tg_gguf_type)type;
    if (type == TG_GGUF_ARRAY)
        return skip_array(in, out);
    if (type == TG_GGUF_STRING) {
        tg_str text;
        rc = take_str(in, &text, "a string");
        if (rc == 0) {
            out->data = (const uint8_t *)text.data;
            out->len = text.len;
        }
        return rc;
    }
    if (in->size - in->at < tg_gguf_type_sizes[type])
        return cut(in, "a metadata value");
    out->data = in->data + in->at;
    in->at += tg_gguf_type_sizes[type];
    return 0;
}

/* Name, shape, type; leaves the offset into the data section in *ret_offset. */
static int read_tensor(reader *in, tg_gguf_tensor *out, uint64_t *ret_offset)
{
    uint32_t type = 0;
    int rc = take_str(in, &out->name, "a tensor's name");
    if (rc == 0)
        rc = take(in, &out->dims_len, sizeof(out->dims_len), "a tensor's shape");
    if (rc < 0)
        return rc;
    if (out->name.len == 0 || out->name.len > 255)
        return tg_error_set(in->err, -EINVAL, "a tensor's name of %zu bytes; 1 to 255 are allowed",
                            out->name.len);
    if (out->dims_len < 1 || out->dims_len > TG_GGUF_DIMS_MAX)
        return tg_error_set(in->err, -EINVAL,
                            "tensor '" TG_STR_FMT "' has %u dimensions; 1 to 4 are allowed",
                            TG_STR_ARG(out->name), out->dims_len);
    uint64_t count = 1;
    for (uint32_t i = 0; i < TG_GGUF_DIMS_MAX; i++) {
        out->dims[i] = 1;
        if (i < out->dims_len && (rc = take(in, &out->dims[i], 8, "a tensor's shape")) < 0)
            return rc;
        if (out->dims[i] == 0 || __builtin_mul_overflow(count, out->dims[i], &count))
            return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "' has an impossible shape",
                                TG_STR_ARG(out->name));
    }
    rc = take(in, &type, sizeof(type), "a tensor's type");
    if (rc == 0)
        rc = take(in, ret_offset, sizeof(*ret_offset), "a tensor's offset");
    if (rc < 0)
        return rc;
    const tg_dtype_info *info = tg_dtype_get(type);
    if (!info || info->block_len == 0)
        return tg_error_set(
            in->err, -EINVAL,
            "tensor '" TG_STR_FMT "' has the type %s (%u), which is "
            "not supported; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are",
            TG_STR_ARG(out->name), info ? info->name : "unknown", type);
    if (out->dims[0] % info->block_len != 0)
        return tg_error_set(in->err, -EINVAL,
                            "tensor '" TG_STR_FMT "': rows of %s hold a multiple of "
                            "%u values, not %llu",
                            TG_STR_ARG(out->name), info->name, info->block_len,
                            (unsigned long long)out->dims[0]);
    uint64_t bytes;
    if (__builtin_mul_overflow(count / info->block_len, info->block_bytes, &bytes) ||
        bytes > in->file_bytes)
        return tg_error_set(in->err, -EINVAL,
                            "tensor '" TG_STR_FMT "' is larger than the file: the "
                            "file is truncated or its shape is wrong",
                            TG_STR_ARG(out->name));
    out->type = (tg_dtype)type;
    out->size_bytes = (size_t)bytes;
    return 0;
}

/* Turns offsets into pointers, now that the start of the data section is known. */
static int place_tensors(tg_gguf_dir *dir, const reader *in, const uint8_t *data,
                         const uint64_t *offsets)
{
    uint32_t alignment = 32;
    int rc = tg_gguf_dir_u32(dir, "general.alignment", in->err, &alignment);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (alignment < 8 || alignment > 65536 || (alignment & (alignment - 1)) != 0)
        return tg_error_set(in->err, -EINVAL,
                            "general.alignment is %u; a power of two from 8 to 65536 is allowed",
                            alignment);
    const size_t start = (in->at + alignment - 1) & ~(size_t)(alignment - 1), end = in->file_bytes;
    for (size_t i = 0; i < dir->tensor_count; i++) {
        tg_gguf_tensor *tensor = &dir->tensors[i];
        if (offsets[i] % alignment != 0)
            return tg_error_set(in->err, -EINVAL,
                                "tensor '" TG_STR_FMT "' starts at offset %llu, not a "
                                "multiple of %u",
                                TG_STR_ARG(tensor->name), (unsigned long long)offsets[i],
                                alignment);
        if (start > end || offsets[i] > end - start ||
            tensor->size_bytes > end - start - offsets[i])
            return tg_error_set(in->err, -EINVAL,
                                "the file is truncated: tensor '" TG_STR_FMT "' ends "
                                "past its %zu bytes",
                                TG_STR_ARG(tensor->name), end);
        tensor->data = data + start + offsets[i];
    }
    return 0;
}

static int read_counts(reader *in, uint64_t *ret_tensors, uint64_t *ret_keys)
{
    char magic[4];
    uint32_t version = 0;
    if (take(in, magic, sizeof(magic), "the header") < 0 || memcmp(magic, "GGUF", 4) != 0) {
        if (in->err)
            in->err->text[0] = '\0';
        return tg_error_set(in->err, -EINVAL, "not a GGUF file: it does not begin with 'GGUF'");
    }
    int rc = take(in, &version, sizeof(version), "the header");
    if (rc == 0 && version != 2 && version != 3)
        return tg_error_set(in->err, -EINVAL, "GGUF version %u is not supported; 2 and 3 are",
                            version);
    if (rc == 0)
        rc = take(in, ret_tensors, 8, "the header");
    if (rc == 0)
        rc = take(in, ret_keys, 8, "the header");
    if (rc == 0 && *ret_tensors > TG_GGUF_TENSORS_MAX)
        return tg_error_set(in->err, -EINVAL, "%llu tensors; at most %d are allowed",
                            (unsigned long long)*ret_tensors, TG_GGUF_TENSORS_MAX);
    if (rc == 0 && *ret_keys > TG_GGUF_KEYS_MAX)
        return tg_error_set(in->err, -EINVAL, "%llu metadata keys; at most %d are allowed",
                            (unsigned long long)*ret_keys, TG_GGUF_KEYS_MAX);
    return rc;
}

int tg_gguf_measure(const uint8_t *data, size_t size_bytes, tg_error *err, size_t *ret_head_bytes)
{
    reader in = {data, size_bytes, 0, size_bytes, err};
    uint64_t tensors = 0, keys = 0, offset;
    int rc = read_counts(&in, &tensors, &keys);
    for (uint64_t i = 0; i < keys && rc == 0; i++) {
        tg_gguf_entry entry;
        rc = read_entry(&in, &entry);
    }
    for (uint64_t i = 0; i < tensors && rc == 0; i++) {
        tg_gguf_tensor tensor;
        rc = read_tensor(&in, &tensor, &offset);
    }
    if (rc == 0)
        *ret_head_bytes = in.at;
    return rc;
}

int tg_gguf_read_dir(const uint8_t *head, size_t head_bytes, const uint8_t *data, size_t size_bytes,
                     tg_error *err, tg_gguf_dir *ret)
{
    reader in = {head, head_bytes, 0, size_bytes, err};
    tg_gguf_dir dir = {0};
    uint64_t tensors = 0, keys = 0, *offsets = NULL;
    int rc = read_counts(&in, &tensors, &keys);
    if (rc < 0)
        return rc;
    dir.entries = calloc((size_t)keys + 1, sizeof(*dir.entries));
    dir.tensors = calloc((size_t)tensors + 1, sizeof(*dir.tensors));
    offsets = calloc((size_t)tensors + 1, sizeof(*offsets));
    if (!dir.entries || !dir.tensors || !offsets)
        rc = -ENOMEM;
    for (; rc == 0 && dir.entry_count < keys; dir.entry_count++)
        rc = read_entry(&in, &dir.entries[dir.entry_count]);
    for (; rc == 0 && dir.tensor_count < tensors; dir.tensor_count++)
        rc = read_tensor(&in, &dir.tensors[dir.tensor_count], &offsets[dir.tensor_count]);
    if (rc == 0)
        rc = place_tensors(&dir, &in, data, offsets);
    free(offsets);
    if (rc < 0)
        tg_gguf_dir_free(&dir);
    else
        *ret = dir;
    return rc;
}

void tg_gguf_dir_free(tg_gguf_dir *dir)
{
    free(dir->entries);
    free(dir->tensors);
    *dir = (tg_gguf_dir){0};
}

static uint64_t sign_extended(uint64_t value, uint8_t bytes)
{
    const int unused = 64 - 8 * bytes;
    return (uint64_t)((int64_t)(value << unused) >> unused);
}

tg_gguf_value tg_gguf_entry_value(const tg_gguf_entry *entry)
{
    tg_gguf_value ret = {.kind = TG_GGUF_IS_U64, .type = tg_gguf_type_names[entry->type]};
    float f32;
    switch (entry->type) {
    case TG_GGUF_ARRAY:
        ret.kind = TG_GGUF_IS_ARRAY;
        ret.type = tg_gguf_type_names[entry->element];
        ret.u64 = entry->count;
        break;
    case TG_GGUF_STRING:
        ret.kind = TG_GGUF_IS_STR;
        ret.str = (tg_str){(const char *)entry->data, (size_t)entry->len};
        break;
    case TG_GGUF_F32:
        ret.kind = TG_GGUF_IS_F64;
        memcpy(&f32, entry->data, sizeof(f32));
        ret.f64 = (double)f32;
        break;
    case TG_GGUF_F64:
        ret.kind = TG_GGUF_IS_F64;
        memcpy(&ret.f64, entry->data, sizeof(ret.f64));
        break;
    case TG_GGUF_BOOL:
        ret.kind = TG_GGUF_IS_BOOL;
        ret.u64 = entry->data[0] != 0;
        break;
    default:
        memcpy(&ret.u64, entry->data, tg_gguf_type_sizes[entry->type]);
        if (entry->type == TG_GGUF_I8 || entry->type == TG_GGUF_I16 || entry->type == TG_GGUF_I32 ||
            entry->type == TG_GGUF_I64) {
            ret.kind = TG_GGUF_IS_I64;
            ret.i64 = (int64_t)sign_extended(ret.u64, tg_gguf_type_sizes[entry->type]);
        }
    }
    return ret;
}
