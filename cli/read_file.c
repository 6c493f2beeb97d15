#include "cli/read_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int tg_cli_read_file(const char *path, tg_buf *out, tg_error *err)
{
    FILE *file = fopen(path, "re");
    char chunk[4096];
    int rc = 0;
    if (!file)
        return tg_error_set(err, -errno, "%s: %s", path, strerror(errno));
    for (size_t got; rc == 0 && (got = fread(chunk, 1, sizeof chunk, file)) > 0;)
        rc = tg_buf_add(out, chunk, got);
    if (rc == 0 && ferror(file))
        rc = -EIO;
    fclose(file);
    if (rc == -ENOSPC)
        return tg_error_set(err, rc, "%s: more than the %zu bytes allowed", path, out->limit);
    return rc < 0 ? tg_error_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}
