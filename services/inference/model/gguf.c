#include "services/inference/model/gguf_parts.h"

#include "services/inference/model/mapping.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct part {
    tg_mapping *mapping; /* NULL: the caller's bytes */
    /* our copy of what comes before the tensors, so that nobody can change it; or NULL */
    uint8_t *head;
    size_t head_bytes;
    const uint8_t *data;
    size_t size_bytes;
    char *path; /* NULL: the caller's bytes */
} part;

typedef struct kept { /* a tensor's bytes, copied out of its file */
    struct kept *next;
    _Alignas(64) uint8_t data[];
} kept;

struct tg_gguf {
    part *parts;
    uint32_t parts_len;
    tg_gguf_dir dir; /* the first part's keys, and the tensors of all, by name */
    kept *kept;
};

/* Where the parts come from: fills ret, with a message on failure. */
typedef struct source {
    int (*part)(const struct source *source, uint32_t index, uint32_t count, tg_error *err,
                part *ret);
    const char *path;
    const tg_str *given;
    size_t given_len;
} source;

static int by_name(const void *a, const void *b)
{
    const tg_gguf_tensor *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.data, y->name.data, len);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

static int sort_tensors(tg_gguf_dir *dir, tg_error *err)
{
    qsort(dir->tensors, dir->tensor_count, sizeof(*dir->tensors), by_name);
    for (size_t i = 1; i < dir->tensor_count; i++)
        if (by_name(&dir->tensors[i - 1], &dir->tensors[i]) == 0)
            return tg_error_set(err, -EINVAL, "tensor '" TG_STR_FMT "' appears twice",
                                TG_STR_ARG(dir->tensors[i].name));
    return 0;
}

/* ---- one file or several ---- */

static int given_part(const source *from, uint32_t index, uint32_t count, tg_error *err, part *ret)
{
    if (index >= from->given_len)
        return tg_error_set(err, -EINVAL, "part %u of %u is missing", index + 1, count);
    ret->data = (const uint8_t *)from->given[index].data;
    ret->size_bytes = from->given[index].len;
    return 0;
}

/* "NAME-00001-of-00003.gguf" → the path of another part; -EINVAL when the name is not of that
 * form. */
static int part_path(const char *first, uint32_t index, uint32_t count, tg_error *err, char **ret)
{
    char ending[40];
    const int ending_len = snprintf(ending, sizeof(ending), "-%05u-of-%05u.gguf", 1u, count);
    const size_t len = strlen(first);
    if (len < (size_t)ending_len || strcmp(first + len - (size_t)ending_len, ending) != 0)
        return tg_error_set(err, -EINVAL,
                            "the name does not end in '%s', so the other parts can't be found",
                            ending);
    char *path = strdup(first);
    if (!path)
        return -ENOMEM;
    snprintf(path + len - (size_t)ending_len, (size_t)ending_len + 1, "-%05u-of-%05u.gguf",
             index + 1, count);
    *ret = path;
    return 0;
}

static int map_file(part *ret, tg_error *err)
{
    int rc = tg_mapping_open(ret->path, err, &ret->mapping);
    if (rc < 0)
        return rc;
    ret->data = tg_mapping_data(ret->mapping);
    ret->size_bytes = tg_mapping_size(ret->mapping);
    tg_error why = {""}; /* not the matter when the file changed meanwhile */
    rc = tg_gguf_measure(ret->data, ret->size_bytes, &why, &ret->head_bytes);
    if (rc == 0 && !(ret->head = malloc(ret->head_bytes)))
        return -ENOMEM;
    if (rc == 0)
        memcpy(ret->head, ret->data, ret->head_bytes);
    int changed = tg_mapping_check(ret->mapping, err);
    return changed < 0 ? changed : rc < 0 ? tg_error_set(err, rc, "%s", why.text) : 0;
}

static int mapped_part(const source *from, uint32_t index, uint32_t count, tg_error *err, part *ret)
{
    int rc = 0;
    if (index > 0)
        rc = part_path(from->path, index, count, err, &ret->path);
    else if (!(ret->path = strdup(from->path)))
        rc = -ENOMEM;
    if (rc < 0)
        return rc;
    rc = map_file(ret, err);
    if (rc < 0)
        tg_error_prefix(err, "model file '%s'", ret->path);
    return rc;
}

static int read_part(const part *from, tg_error *err, tg_gguf_dir *ret)
{
    int rc = tg_gguf_read_dir(from->head ? from->head : from->data,
                              from->head ? from->head_bytes : from->size_bytes, from->data,
                              from->size_bytes, err, ret);
    if (rc < 0 && from->path)
        tg_error_prefix(err, "model file '%s'", from->path);
    return rc;
}

/* What a directory says about parts: 1 of 1 when nothing. */
static int read_split(const tg_gguf_dir *dir, tg_error *err, uint32_t *ret_index,
                      uint32_t *ret_count, uint32_t *ret_tensors)
{
    *ret_index = 0;
    *ret_count = 1;
    *ret_tensors = (uint32_t)dir->tensor_count;
    int rc = tg_gguf_dir_u32(dir, "split.count", err, ret_count);
    if (rc == 0 || rc == -ENOENT)
        rc = tg_gguf_dir_u32(dir, "split.no", err, ret_index);
    if (rc == 0 || rc == -ENOENT)
        rc = tg_gguf_dir_u32(dir, "split.tensors.count", err, ret_tensors);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (*ret_count < 1 || *ret_count > TG_GGUF_PARTS_MAX)
        return tg_error_set(err, -EINVAL, "key 'split.count' is %u; 1 to %d are allowed",
                            *ret_count, TG_GGUF_PARTS_MAX);
    return 0;
}

static int add_tensors(tg_gguf_dir *to, const tg_gguf_dir *from, tg_error *err)
{
    const size_t len = to->tensor_count + from->tensor_count;
    if (len > TG_GGUF_TENSORS_MAX)
        return tg_error_set(err, -EINVAL, "%zu tensors; at most %d are allowed", len,
                            TG_GGUF_TENSORS_MAX);
    tg_gguf_tensor *tensors = realloc(to->tensors, (len + 1) * sizeof(*tensors));
    if (!tensors)
        return -ENOMEM;
    memcpy(tensors + to->tensor_count, from->tensors, from->tensor_count * sizeof(*tensors));
    to->tensors = tensors;
    to->tensor_count = len;
    return 0;
}

static int add_part(tg_gguf *gguf, const source *from, uint32_t index, uint32_t count,
                    tg_error *err)
{
    tg_gguf_dir dir = {0};
    uint32_t is = 0, of = 0, tensors;
    int rc = from->part(from, index, count, err, &gguf->parts[index]);
    gguf->parts_len = index + 1;
    if (rc == 0)
        rc = read_part(&gguf->parts[index], err, &dir);
    if (rc == 0)
        rc = read_split(&dir, err, &is, &of, &tensors);
    if (rc == 0 && (is != index || of != count))
        rc = tg_error_set(err, -EINVAL,
                          "the file%s%s says that it is part %u of %u: it is of another model",
                          gguf->parts[index].path ? " " : "",
                          gguf->parts[index].path ? gguf->parts[index].path : "", is + 1, of);
    if (rc == 0)
        rc = add_tensors(&gguf->dir, &dir, err);
    tg_gguf_dir_free(&dir);
    if (rc < 0)
        tg_error_prefix(err, "part %u of %u", index + 1, count);
    return rc;
}

static int read_all(tg_gguf *gguf, const source *from, tg_error *err)
{
    uint32_t index = 0, count = 1, tensors = 0;
    gguf->parts = calloc(1, sizeof(*gguf->parts));
    if (!gguf->parts)
        return -ENOMEM;
    gguf->parts_len = 1;
    int rc = from->part(from, 0, 1, err, &gguf->parts[0]);
    if (rc == 0)
        rc = read_part(&gguf->parts[0], err, &gguf->dir);
    if (rc == 0)
        rc = read_split(&gguf->dir, err, &index, &count, &tensors);
    if (rc == 0 && index != 0)
        return tg_error_set(err, -EINVAL,
                            "the file is part %u of %u; give the first, which names the others",
                            index + 1, count);
    if (rc < 0)
        return rc;
    part *parts = realloc(gguf->parts, count * sizeof(*parts));
    if (!parts)
        return -ENOMEM;
    memset(parts + 1, 0, (count - 1) * sizeof(*parts));
    gguf->parts = parts;
    for (uint32_t i = 1; i < count && rc == 0; i++)
        rc = add_part(gguf, from, i, count, err);
    if (rc == 0 && gguf->dir.tensor_count != tensors)
        rc = tg_error_set(
            err, -EINVAL,
            "the %u parts hold %zu tensors; key 'split.tensors.count' says %u: one is of "
            "another model",
            count, gguf->dir.tensor_count, tensors);
    return rc < 0 ? rc : sort_tensors(&gguf->dir, err);
}

static int make(const source *from, tg_error *err, tg_gguf **ret)
{
    tg_gguf *gguf = calloc(1, sizeof(*gguf));
    if (!gguf)
        return -ENOMEM;
    int rc = read_all(gguf, from, err);
    if (rc < 0) {
        tg_gguf_free(gguf);
        return rc;
    }
    *ret = gguf;
    return 0;
}

int tg_gguf_parse(const uint8_t *data, size_t size_bytes, tg_error *err, tg_gguf **ret)
{
    const tg_str whole = {(const char *)data, size_bytes};
    return tg_gguf_parse_parts(&whole, 1, err, ret);
}

int tg_gguf_parse_parts(const tg_str *parts, size_t parts_len, tg_error *err, tg_gguf **ret)
{
    const source from = {.part = given_part, .given = parts, .given_len = parts_len};
    return make(&from, err, ret);
}

int tg_gguf_open(const char *path, tg_error *err, tg_gguf **ret)
{
    const source from = {.part = mapped_part, .path = path};
    return make(&from, err, ret);
}

int tg_gguf_check(const tg_gguf *gguf, tg_error *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < gguf->parts_len && rc == 0; i++)
        if (gguf->parts[i].mapping && (rc = tg_mapping_check(gguf->parts[i].mapping, err)) < 0)
            tg_error_prefix(err, "model file '%s'", gguf->parts[i].path);
    return rc;
}

tg_gguf *tg_gguf_free(tg_gguf *gguf)
{
    if (!gguf)
        return NULL;
    for (uint32_t i = 0; i < gguf->parts_len; i++) {
        tg_mapping_close(gguf->parts[i].mapping);
        free(gguf->parts[i].head);
        free(gguf->parts[i].path);
    }
    while (gguf->kept) {
        kept *next = gguf->kept->next;
        free(gguf->kept);
        gguf->kept = next;
    }
    free(gguf->parts);
    tg_gguf_dir_free(&gguf->dir);
    free(gguf);
    return NULL;
}

uint32_t tg_gguf_part_count(const tg_gguf *gguf) { return gguf->parts_len; }

uint64_t tg_gguf_file_bytes(const tg_gguf *gguf)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < gguf->parts_len; i++)
        total += gguf->parts[i].size_bytes;
    return total;
}

/* ---- tensors ---- */

size_t tg_gguf_tensor_count(const tg_gguf *gguf) { return gguf->dir.tensor_count; }

const tg_gguf_tensor *tg_gguf_tensor_at(const tg_gguf *gguf, size_t index)
{
    return &gguf->dir.tensors[index];
}

const tg_gguf_tensor *tg_gguf_tensor_find(const tg_gguf *gguf, const char *name)
{
    tg_gguf_tensor key = {.name = tg_str_of(name)};
    return bsearch(&key, gguf->dir.tensors, gguf->dir.tensor_count, sizeof(key), by_name);
}

static bool is_mapped(const tg_gguf *gguf, const tg_gguf_tensor *tensor)
{
    for (uint32_t i = 0; i < gguf->parts_len; i++) {
        const part *p = &gguf->parts[i];
        if (p->mapping && tensor->data >= p->data && tensor->data < p->data + p->size_bytes)
            return true;
    }
    return false;
}

int tg_gguf_tensor_keep(tg_gguf *gguf, const tg_gguf_tensor *tensor)
{
    if (!is_mapped(gguf, tensor))
        return 0;
    kept *copy = aligned_alloc(64, (sizeof(*copy) + tensor->size_bytes + 63) & ~(size_t)63);
    if (!copy)
        return -ENOMEM;
    memcpy(copy->data, tensor->data, tensor->size_bytes);
    copy->next = gguf->kept;
    gguf->kept = copy;
    tg_gguf_tensor_drop(gguf, tensor);
    gguf->dir.tensors[tensor - gguf->dir.tensors].data = copy->data;
    return 0;
}

void tg_gguf_tensor_drop(const tg_gguf *gguf, const tg_gguf_tensor *tensor)
{
    if (!is_mapped(gguf, tensor))
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)tensor->data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)tensor->data + tensor->size_bytes) & ~(page - 1);
    if (end > start)
        madvise((void *)start, end - start, MADV_DONTNEED);
}

/* ---- metadata ---- */

size_t tg_gguf_key_count(const tg_gguf *gguf) { return gguf->dir.entry_count; }

tg_str tg_gguf_key_at(const tg_gguf *gguf, size_t index, tg_gguf_value *ret)
{
    *ret = tg_gguf_entry_value(&gguf->dir.entries[index]);
    return gguf->dir.entries[index].key;
}

static const tg_gguf_entry *find_in(const tg_gguf_dir *dir, const char *key)
{
    for (size_t i = 0; i < dir->entry_count; i++)
        if (tg_str_is(dir->entries[i].key, key))
            return &dir->entries[i];
    return NULL;
}

static const tg_gguf_entry *find(const tg_gguf *gguf, const char *key)
{
    return find_in(&gguf->dir, key);
}

static int wrong_type(const tg_gguf_entry *found, const char *wanted, tg_error *err)
{
    return tg_error_set(err, -EINVAL, "key '" TG_STR_FMT "' is of type %s; %s is expected",
                        TG_STR_ARG(found->key), tg_gguf_type_names[found->type], wanted);
}

int tg_gguf_u32(const tg_gguf *gguf, const char *key, tg_error *err, uint32_t *ret)
{
    return tg_gguf_dir_u32(&gguf->dir, key, err, ret);
}

int tg_gguf_dir_u32(const tg_gguf_dir *dir, const char *key, tg_error *err, uint32_t *ret)
{
    const tg_gguf_entry *found = find_in(dir, key);
    if (!found)
        return -ENOENT;
    uint64_t value = 0;
    switch (found->type) {
    case TG_GGUF_U8: case TG_GGUF_U16: case TG_GGUF_U32: case TG_GGUF_U64:
    case TG_GGUF_I8: case TG_GGUF_I16: case TG_GGUF_I32: case TG_GGUF_I64:
        memcpy(&value, found->data, tg_gguf_type_sizes[found->type]);
        break;
    default:
        return wrong_type(found, "an integer", err);
    }
    bool is_signed = found->type == TG_GGUF_I8 || found->type == TG_GGUF_I16 ||
                     found->type == TG_GGUF_I32 || found->type == TG_GGUF_I64;
    bool negative = is_signed && (value >> (8 * tg_gguf_type_sizes[found->type] - 1)) != 0;
    if (negative || value > UINT32_MAX)
        return tg_error_set(err, -EINVAL, "key '%s' is out of range; 0 to 4294967295 is allowed",
                            key);
    *ret = (uint32_t)value;
    return 0;
}

int tg_gguf_f32(const tg_gguf *gguf, const char *key, tg_error *err, float *ret)
{
    const tg_gguf_entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type == TG_GGUF_F32) {
        memcpy(ret, found->data, sizeof(*ret));
        return 0;
    }
    if (found->type != TG_GGUF_F64)
        return wrong_type(found, "a float", err);
    double value;
    memcpy(&value, found->data, sizeof(value));
    *ret = (float)value;
    return 0;
}

int tg_gguf_bool(const tg_gguf *gguf, const char *key, tg_error *err, bool *ret)
{
    const tg_gguf_entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type != TG_GGUF_BOOL)
        return wrong_type(found, "a bool", err);
    *ret = found->data[0] != 0;
    return 0;
}

int tg_gguf_str(const tg_gguf *gguf, const char *key, tg_error *err, tg_str *ret)
{
    const tg_gguf_entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type != TG_GGUF_STRING)
        return wrong_type(found, "a string", err);
    *ret = (tg_str){(const char *)found->data, (size_t)found->len};
    return 0;
}

static int find_array(const tg_gguf *gguf, const char *key, tg_gguf_type element, tg_error *err,
                      const tg_gguf_entry **ret)
{
    const tg_gguf_entry *found = find(gguf, key);
    if (!found)
        return -ENOENT;
    if (found->type != TG_GGUF_ARRAY)
        return wrong_type(found, "an array", err);
    if (found->element != element)
        return tg_error_set(err, -EINVAL, "key '%s' is an array of %s; %s is expected", key,
                            tg_gguf_type_names[found->element], tg_gguf_type_names[element]);
    *ret = found;
    return 0;
}

int tg_gguf_str_array(const tg_gguf *gguf, const char *key, tg_error *err, tg_str **ret,
                      size_t *ret_count)
{
    const tg_gguf_entry *found = NULL;
    int rc = find_array(gguf, key, TG_GGUF_STRING, err, &found);
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

static int copy_array(const tg_gguf *gguf, const char *key, tg_gguf_type element, tg_error *err,
                      void **ret, size_t *ret_count)
{
    const tg_gguf_entry *found = NULL;
    int rc = find_array(gguf, key, element, err, &found);
    if (rc < 0)
        return rc;
    size_t bytes = (size_t)found->count * tg_gguf_type_sizes[element];
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
    return copy_array(gguf, key, TG_GGUF_F32, err, (void **)ret, ret_count);
}

int tg_gguf_i32_array(const tg_gguf *gguf, const char *key, tg_error *err, int32_t **ret,
                      size_t *ret_count)
{
    return copy_array(gguf, key, TG_GGUF_I32, err, (void **)ret, ret_count);
}
