#include "services/inference/engine/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 4096

typedef struct version { /* of the cgroup interface */
    const char *mount, *limit, *usage;
    const char *cache[2]; /* lines of memory.stat */
} version;

static const version v1 = {"/sys/fs/cgroup/memory",
                           "memory.limit_in_bytes",
                           "memory.usage_in_bytes",
                           {"total_inactive_file", "total_active_file"}};
static const version v2 = {
    "/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file", "active_file"}};

/* The number after `key`, or the file's first when key is NULL. False when it is not there ("max"
 * is no number). */
static bool read_number(const char *path, const char *key, uint64_t *ret)
{
    char line[LINE_BYTES];
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof(line), file)) {
        const size_t key_len = key ? strlen(key) : 0;
        if (key &&
            (strncmp(line, key, key_len) != 0 || (line[key_len] != ' ' && line[key_len] != ':')))
            continue;
        char *start = line + key_len + (key ? 1 : 0), *end;
        *ret = strtoull(start, &end, 10);
        found = end != start;
    }
    if (file)
        fclose(file);
    return found;
}

static void lower(tg_memory_room *io, uint64_t bytes, const char *what)
{
    if (bytes < io->bytes)
        *io = (tg_memory_room){bytes, what};
}

static void look_at_cgroup(const char *dir, const version *v, tg_memory_room *io)
{
    char path[2 * LINE_BYTES];
    uint64_t limit = 0, used = 0, cache = 0, part;
    snprintf(path, sizeof(path), "%s/%s", dir, v->limit);
    if (!read_number(path, NULL, &limit))
        return;
    snprintf(path, sizeof(path), "%s/%s", dir, v->usage);
    read_number(path, NULL, &used);
    snprintf(path, sizeof(path), "%s/memory.stat", dir);
    for (size_t i = 0; i < 2; i++)
        if (read_number(path, v->cache[i], &part))
            cache += part;
    used = used > cache ? used - cache : 0;
    lower(io, limit > used ? limit - used : 0, "the cgroup's limit");
}

/* The group and all above it. */
static void look_at_cgroups(const char *root, const version *v, char *group, tg_memory_room *io)
{
    char dir[LINE_BYTES * 3 / 2];
    for (;;) {
        while (*group && group[strlen(group) - 1] == '/')
            group[strlen(group) - 1] = '\0';
        snprintf(dir, sizeof(dir), "%s%s%s", root, v->mount, group);
        look_at_cgroup(dir, v, io);
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

void tg_memory_room_find(const char *root, uint64_t limit_bytes, tg_memory_room *ret)
{
    char path[LINE_BYTES], line[LINE_BYTES];
    uint64_t kilobytes = 0;
    *ret = (tg_memory_room){UINT64_MAX, "nothing"};
    if (limit_bytes > 0)
        lower(ret, limit_bytes, "the configured limit");
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    /* "0::/group" is v2's, "9:memory:/group" v1's */
    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (strcmp(controllers, ":") == 0)
            look_at_cgroups(root, &v2, group, ret);
        else if (strstr(controllers, "memory"))
            look_at_cgroups(root, &v1, group, ret);
    }
    if (file)
        fclose(file);
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (read_number(path, "MemAvailable", &kilobytes))
        lower(ret, kilobytes * 1024, "MemAvailable");
}

uint64_t tg_memory_total(const tg_backend_needs *needs)
{
    return needs->weights_bytes + needs->kv_bytes + needs->scratch_bytes + TG_MEMORY_OVERHEAD_BYTES;
}

uint64_t tg_memory_left(uint64_t limit_bytes, uint64_t taken_bytes)
{
    const uint64_t taken = taken_bytes + TG_MEMORY_OVERHEAD_BYTES;
    return limit_bytes == 0 ? 0 : limit_bytes > taken ? limit_bytes - taken : 1;
}

int tg_memory_check(const tg_backend_needs *needs, uint32_t kv_tokens, const tg_memory_room *room,
                    tg_error *err)
{
    const double mb = 1e-6;
    const uint64_t total = tg_memory_total(needs);
    if (total <= room->bytes)
        return 0;
    return tg_error_set(
        err, -ENOMEM,
        "the model needs %.0f MB: weights %.0f MB, KV of %u tokens %.0f MB, scratch %.0f "
        "MB, the rest %.0f MB; %s leaves %.0f MB. Fewer kv_tokens, a smaller quantisation or more "
        "memory would do",
        (double)total * mb, (double)needs->weights_bytes * mb, kv_tokens,
        (double)needs->kv_bytes * mb, (double)needs->scratch_bytes * mb,
        (double)TG_MEMORY_OVERHEAD_BYTES * mb, room->what, (double)room->bytes * mb);
}

uint32_t tg_memory_kv_tokens(const tg_backend_needs *needs, uint32_t wanted,
                             const tg_memory_room *room)
{
    const uint32_t blocks = wanted / TG_KV_BLOCK_TOKENS,
                   least = TG_MEMORY_KV_TOKENS_LEAST / TG_KV_BLOCK_TOKENS;
    const uint64_t total = tg_memory_total(needs), rest = total - needs->kv_bytes;
    if (total <= room->bytes || blocks <= least)
        return blocks * TG_KV_BLOCK_TOKENS;
    const uint64_t left = room->bytes > rest ? (room->bytes - rest) / 4 * 3 : 0;
    const uint64_t fit = left / (needs->kv_bytes / blocks);
    return (uint32_t)(fit < least ? least : fit < blocks ? fit : blocks) * TG_KV_BLOCK_TOKENS;
}
