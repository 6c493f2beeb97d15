/* Reading files and the environment is kept apart from yaml.c, which is pure. */
#include "libs/base/buf.h"
#include "libs/config/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *process_env(const char *name) { return getenv(name); }

static int read_all(FILE *file, tg_buf *buf)
{
    for (;;) {
        int rc = tg_buf_reserve(buf, 1);
        if (rc < 0)
            return rc == -ENOSPC ? -E2BIG : rc;
        size_t room = buf->cap - buf->len - 1, got = fread(buf->data + buf->len, 1, room, file);
        buf->len += got;
        if (got == 0)
            return ferror(file) ? -(errno ? errno : EIO) : 0;
    }
}

int tg_yaml_load(tg_arena *arena, const char *path, tg_error *err, const tg_yaml_node **ret_root)
{
    tg_buf buf;
    FILE *file = fopen(path, "re");
    if (!file) {
        int rc = -errno;
        return tg_error_set(err, rc, "%s: %s", path, strerror(-rc));
    }
    tg_buf_init(&buf, TG_YAML_BYTES_MAX + 1);
    int rc = read_all(file, &buf);
    fclose(file);
    if (rc < 0)
        tg_error_set(err, rc, "%s: %s", path, strerror(-rc));
    else
        rc = tg_yaml_parse(arena, path, tg_buf_str(&buf), process_env, err, ret_root);
    tg_buf_free(&buf);
    return rc;
}
