#include "services/inference/model/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum value_type {
    VALUE_U8, VALUE_I8, VALUE_U16, VALUE_I16, VALUE_U32, VALUE_I32, VALUE_F32, VALUE_BOOL,
    VALUE_STRING, VALUE_ARRAY, VALUE_U64, VALUE_I64, VALUE_F64, VALUE_TYPES
} value_type;

static const uint8_t value_sizes[VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const value_names[VALUE_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32",
                                                     "i32",  "f32",    "bool",  "string", "array",
                                                     "u64",  "i64",    "f64"};

typedef struct entry {
    tg_str key;
    value_type type;
    value_type element;  /* of an array */
    uint64_t count;      /* of an array */
    const uint8_t *data; /* the value; for strings and arrays the bytes after the length or count */
    uint64_t len;        /* of a string */
} entry;

struct tg_gguf {
    const uint8_t *data;
    size_t size_bytes;
    bool mapped; /* ours to unmap */
    entry *entries;
    size_t entry_count;
    tg_gguf_tensor *tensors; /* sorted by name */
    size_t tensor_count;
};

/* A read position that can't leave the file. */
typedef struct reader {
    const uint8_t *data;
    size_t size, at;
    tg_error *err;
} reader;

static int cut(const reader *in, const char *what)
{
    return tg_error_set(in->err, -EINVAL,
                        "the file is truncated: it ends at byte %zu, inside %s that starts at byte %zu",
                        in->size, what, in->at);
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

static int skip_array(reader *in, entry *out)
{
    uint32_t element = 0;
    int rc = take(in, &element, sizeof(element), "an array");
    if (rc == 0)
        rc = take(in, &out->count, sizeof(out->count), "an array");
    if (rc < 0)
        return rc;
    if (element >= VALUE_TYPES || element == VALUE_ARRAY)
        return tg_error_set(in->err, -EINVAL, "key '" TG_STR_FMT "': arrays of type %u are unknown",
                            TG_STR_ARG(out->key), element);
    out->element = (value_type)element;
    out->data = in->data + in->at;
    if (element == VALUE_STRING) {
        for (uint64_t i = 0; i < out->count && rc == 0; i++) {
            tg_str ignored;
            rc = take_str(in, &ignored, "an array of strings");
        }
        return rc;
    }
    if (out->count > (in->size - in->at) / value_sizes[element])
        return cut(in, "an array");
    in->at += (size_t)out->count * value_sizes[element];
    return 0;
}

static int read_entry(reader *in, entry *out)
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
    if (type >= VALUE_TYPES)
        return tg_error_set(in->err, -EINVAL, "key '" TG_STR_FMT "' has the unknown type %u",
                            TG_STR_ARG(out->key), type);
    out->type = (value_type)type;
    if (type == VALUE_ARRAY)
        return skip_array(in, out);
    if (type == VALUE_STRING) {
        tg_str text;
        rc = take_str(in, &text, "a string");
        if (rc == 0) {
            out->data = (const uint8_t *)text.data;
            out->len = text.len;
        }
        return rc;
    }
    if (in->size - in->at < value_sizes[type])
        return cut(in, "a metadata value");
    out->data = in->data + in->at;
    in->at += value_sizes[type];
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
        return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "' has %u dimensions; 1 to 4 are "
                            "allowed", TG_STR_ARG(out->name), out->dims_len);
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
        return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "' has the type %s (%u), which is "
                            "not supported; F32, F16, Q8_0, Q4_0 and Q4_1 are",
                            TG_STR_ARG(out->name), info ? info->name : "unknown", type);
    if (out->dims[0] % info->block_len != 0)
        return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "': rows of %s hold a multiple of "
                            "%u values, not %llu", TG_STR_ARG(out->name), info->name, info->block_len,
                            (unsigned long long)out->dims[0]);
    uint64_t bytes;
    if (__builtin_mul_overflow(count / info->block_len, info->block_bytes, &bytes) ||
        bytes > in->size)
        return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "' is larger than the file: the "
                            "file is truncated or its shape is wrong", TG_STR_ARG(out->name));
    out->type = (tg_dtype)type;
    out->size_bytes = (size_t)bytes;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const tg_gguf_tensor *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.data, y->name.data, len);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* Turns offsets into pointers, now that the start of the data section is known. */
static int place_tensors(tg_gguf *gguf, reader *in, const uint64_t *offsets)
{
    uint32_t alignment = 32;
    int rc = tg_gguf_u32(gguf, "general.alignment", in->err, &alignment);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (alignment < 8 || alignment > 65536 || (alignment & (alignment - 1)) != 0)
        return tg_error_set(in->err, -EINVAL, "general.alignment is %u; a power of two from 8 to 65536 "
                            "is allowed", alignment);
    size_t start = (in->at + alignment - 1) & ~(size_t)(alignment - 1);
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        tg_gguf_tensor *tensor = &gguf->tensors[i];
        if (offsets[i] % alignment != 0)
            return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "' starts at offset %llu, not a "
                                "multiple of %u", TG_STR_ARG(tensor->name),
                                (unsigned long long)offsets[i], alignment);
        if (start > gguf->size_bytes || offsets[i] > gguf->size_bytes - start ||
            tensor->size_bytes > gguf->size_bytes - start - offsets[i])
            return tg_error_set(in->err, -EINVAL, "the file is truncated: tensor '" TG_STR_FMT "' ends "
                                "past its %zu bytes", TG_STR_ARG(tensor->name), gguf->size_bytes);
        tensor->data = gguf->data + start + offsets[i];
    }
    qsort(gguf->tensors, gguf->tensor_count, sizeof(*gguf->tensors), by_name);
    for (size_t i = 1; i < gguf->tensor_count; i++)
        if (by_name(&gguf->tensors[i - 1], &gguf->tensors[i]) == 0)
            return tg_error_set(in->err, -EINVAL, "tensor '" TG_STR_FMT "' appears twice",
                                TG_STR_ARG(gguf->tensors[i].name));
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
        return tg_error_set(in->err, -EINVAL, "GGUF version %u is not supported; 2 and 3 are", version);
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

static int parse(tg_gguf *gguf, tg_error *err)
{
    reader in = {gguf->data, gguf->size_bytes, 0, err};
    uint64_t tensors = 0, keys = 0, *offsets = NULL;
    int rc = read_counts(&in, &tensors, &keys);
    if (rc < 0)
        return rc;
    gguf->entries = calloc((size_t)keys + 1, sizeof(*gguf->entries));
    gguf->tensors = calloc((size_t)tensors + 1, sizeof(*gguf->tensors));
    offsets = calloc((size_t)tensors + 1, sizeof(*offsets));
    if (!gguf->entries || !gguf->tensors || !offsets)
        rc = -ENOMEM;
    for (; rc == 0 && gguf->entry_count < keys; gguf->entry_count++)
        rc = read_entry(&in, &gguf->entries[gguf->entry_count]);
    for (; rc == 0 && gguf->tensor_count < tensors; gguf->tensor_count++)
        rc = read_tensor(&in, &gguf->tensors[gguf->tensor_count], &offsets[gguf->tensor_count]);
    if (rc == 0)
        rc = place_tensors(gguf, &in, offsets);
    free(offsets);
    return rc;
}

static int make(const uint8_t *data, size_t size_bytes, bool mapped, tg_error *err, tg_gguf **ret)
{
    tg_gguf *gguf = calloc(1, sizeof(*gguf));
    if (!gguf)
        return -ENOMEM;
    gguf->data = data;
    gguf->size_bytes = size_bytes;
    int rc = parse(gguf, err);
    if (rc < 0) {
        tg_gguf_free(gguf);
        return rc;
    }
    gguf->mapped = mapped;
    *ret = gguf;
    return 0;
}

int tg_gguf_parse(const uint8_t *data, size_t size_bytes, tg_error *err, tg_gguf **ret)
{
    return make(data, size_bytes, false, err, ret);
}

int tg_gguf_open(const char *path, tg_error *err, tg_gguf **ret)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0 || fstat(fd, &info) < 0) {
        rc = -errno;
        tg_error_set(err, rc, "model file '%s': %s", path, strerror(-rc));
        goto out;
    }
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
        rc = tg_error_set(err, -EINVAL, "model file '%s' is %s", path,
                          S_ISREG(info.st_mode) ? "empty" : "not a regular file");
        goto out;
    }
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        rc = -errno;
        tg_error_set(err, rc, "model file '%s' can't be mapped: %s", path, strerror(-rc));
        goto out;
    }
    rc = make(data, (size_t)info.st_size, true, err, ret);
    if (rc < 0) {
        munmap(data, (size_t)info.st_size);
        tg_error_prefix(err, "model file '%s'", path);
    }
out:
    if (fd >= 0)
        close(fd);
    return rc;
}

tg_gguf *tg_gguf_free(tg_gguf *gguf)
{
    if (!gguf)
        return NULL;
    if (gguf->mapped)
        munmap((void *)(uintptr_t)gguf->data, gguf->size_bytes);
    free(gguf->entries);
    free(gguf->tensors);
    free(gguf);
    return NULL;
}

size_t tg_gguf_tensor_count(const tg_gguf *gguf) { return gguf->tensor_count; }

const tg_gguf_tensor *tg_gguf_tensor_at(const tg_gguf *gguf, size_t index)
{
    return &gguf->tensors[index];
}

const tg_gguf_tensor *tg_gguf_tensor_find(const tg_gguf *gguf, const char *name)
{
    tg_gguf_tensor key = {.name = tg_str_of(name)};
    return bsearch(&key, gguf->tensors, gguf->tensor_count, sizeof(key), by_name);
}

static const entry *find(const tg_gguf *gguf, const char *key)
{
    for (size_t i = 0; i < gguf->entry_count; i++)
        if (tg_str_is(gguf->entries[i].key, key))
            return &gguf->entries[i];
    return NULL;
}

static int wrong_type(const entry *found, const char *wanted, tg_error *err)
{
    return tg_error_set(err, -EINVAL, "key '" TG_STR_FMT "' is of type %s; %s is expected",
                        TG_STR_ARG(found->key), value_names[found->type], wanted);
}

int tg_gguf_u32(const tg_gguf *gguf, const char *key, tg_error *err, uint32_t *ret)
{
    const entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    uint64_t value = 0;
    switch (found->type) {
    case VALUE_U8: case VALUE_U16: case VALUE_U32: case VALUE_U64:
    case VALUE_I8: case VALUE_I16: case VALUE_I32: case VALUE_I64:
        memcpy(&value, found->data, value_sizes[found->type]);
        break;
    default:
        return wrong_type(found, "an integer", err);
    }
    bool is_signed = found->type == VALUE_I8 || found->type == VALUE_I16 ||
                     found->type == VALUE_I32 || found->type == VALUE_I64;
    bool negative = is_signed && (value >> (8 * value_sizes[found->type] - 1)) != 0;
    if (negative || value > UINT32_MAX)
        return tg_error_set(err, -EINVAL, "key '%s' is out of range; 0 to 4294967295 is allowed", key);
    *ret = (uint32_t)value;
    return 0;
}

int tg_gguf_f32(const tg_gguf *gguf, const char *key, tg_error *err, float *ret)
{
    const entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type == VALUE_F32) {
        memcpy(ret, found->data, sizeof(*ret));
        return 0;
    }
    if (found->type != VALUE_F64)
        return wrong_type(found, "a float", err);
    double value;
    memcpy(&value, found->data, sizeof(value));
    *ret = (float)value;
    return 0;
}

int tg_gguf_bool(const tg_gguf *gguf, const char *key, tg_error *err, bool *ret)
{
    const entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type != VALUE_BOOL)
        return wrong_type(found, "a bool", err);
    *ret = found->data[0] != 0;
    return 0;
}

int tg_gguf_str(const tg_gguf *gguf, const char *key, tg_error *err, tg_str *ret)
{
    const entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type != VALUE_STRING)
        return wrong_type(found, "a string", err);
    *ret = (tg_str){(const char *)found->data, (size_t)found->len};
    return 0;
}

static int find_array(const tg_gguf *gguf, const char *key, value_type element, tg_error *err,
                      const entry **ret)
{
    const entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type != VALUE_ARRAY)
        return wrong_type(found, "an array", err);
    if (found->element != element)
        return tg_error_set(err, -EINVAL, "key '%s' is an array of %s; %s is expected", key,
                            value_names[found->element], value_names[element]);
    *ret = found;
    return 0;
}

int tg_gguf_str_array(const tg_gguf *gguf, const char *key, tg_error *err, tg_str **ret,
                      size_t *ret_count)
{
    const entry *found = NULL;
    int rc = find_array(gguf, key, VALUE_STRING, err, &found);
    if (rc < 0)
        return rc;
    tg_str *list = calloc((size_t)found->count + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    const uint8_t *at = found->data;
    for (uint64_t i = 0; i < found->count; i++) {
        uint64_t len;
        memcpy(&len, at, sizeof(len));
        list[i] = (tg_str){(const char *)at + sizeof(len), (size_t)len};
        at += sizeof(len) + len;
    }
    *ret = list;
    *ret_count = (size_t)found->count;
    return 0;
}

static int copy_array(const tg_gguf *gguf, const char *key, value_type element, tg_error *err,
                      void **ret, size_t *ret_count)
{
    const entry *found = NULL;
    int rc = find_array(gguf, key, element, err, &found);
    if (rc < 0)
        return rc;
    size_t bytes = (size_t)found->count * value_sizes[element];
    void *list = malloc(bytes + 1);
    if (!list)
        return -ENOMEM;
    memcpy(list, found->data, bytes);
    *ret = list;
    *ret_count = (size_t)found->count;
    return 0;
}

int tg_gguf_f32_array(const tg_gguf *gguf, const char *key, tg_error *err, float **ret,
                      size_t *ret_count)
{
    return copy_array(gguf, key, VALUE_F32, err, (void **)ret, ret_count);
}

int tg_gguf_i32_array(const tg_gguf *gguf, const char *key, tg_error *err, int32_t **ret,
                      size_t *ret_count)
{
    return copy_array(gguf, key, VALUE_I32, err, (void **)ret, ret_count);
}

void tg_gguf_tensor_drop(const tg_gguf *gguf, const tg_gguf_tensor *tensor)
{
    if (!gguf->mapped)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)tensor->data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)tensor->data + tensor->size_bytes) & ~(page - 1);
    if (end > start)
        madvise((void *)start, end - start, MADV_DONTNEED);
}
