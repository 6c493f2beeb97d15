/* A file mapped for reading, safe against being cut short or changed by somebody else.
 *
 * Reading a page past the end of a mapped file that was truncated raises SIGBUS, which would end
 * the process. Here a handler puts zeros in the place of the lost rest, so that the reader goes on,
 * and remembers it; tg_mapping_check then says so. It also compares the file's size and time of
 * change with those at opening. So: read, check, and use what was read only if the check is
 * content. Bytes that are read twice may differ.
 *
 * A SIGBUS of any other address goes to the handler that was there before.
 *
 * Threads: any may read and check; open and close are safe beside other mappings' use.
 * Bounds:  TG_MAPPINGS_MAX at once in a process.
 */
#ifndef TG_INFERENCE_MAPPING_H
#define TG_INFERENCE_MAPPING_H

#include "libs/base/error.h"

#include <stddef.h>
#include <stdint.h>

#define TG_MAPPINGS_MAX 1024 /* model files and parts of such, mapped at once */

typedef struct tg_mapping tg_mapping;

/* 0; -errno of open, -EINVAL (not a regular file, or empty) or -EMFILE, with a message that leaves
 * the file's name to the caller. */
int tg_mapping_open(const char *path, tg_error *err, tg_mapping **ret);
tg_mapping *tg_mapping_close(tg_mapping *mapping);

const uint8_t *tg_mapping_data(const tg_mapping *mapping);
size_t tg_mapping_size(const tg_mapping *mapping);

/* 0 while the file is what it was at opening; else -EIO with such a message. */
int tg_mapping_check(const tg_mapping *mapping, tg_error *err);

#endif
