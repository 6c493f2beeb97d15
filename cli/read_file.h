/* A file that the command line names, whole. */
#ifndef TG_CLI_READ_FILE_H
#define TG_CLI_READ_FILE_H

#include "libs/base/buf.h"
#include "libs/base/error.h"

/* Adds its bytes to `out`. 0, or -errno with a message; -ENOSPC past out's limit. */
int tg_cli_read_file(const char *path, tg_buf *out, tg_error *err);

#endif
