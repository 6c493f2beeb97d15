/* A targets document from a text, for unit tests. */
#ifndef TG_TESTS_UNIT_TARGETS_H
#define TG_TESTS_UNIT_TARGETS_H

#include "libs/config/mesh.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline tg_targets *load_targets(const char *text)
{
    char path[] = "/tmp/tg-test-targets-XXXXXX";
    tg_targets *targets = NULL;
    tg_error err = {""};
    int fd = mkstemp(path);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    if (tg_targets_load(path, &err, &targets) < 0)
        printf("# %s\n", err.text);
    unlink(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(targets);
    return targets;
}

#endif
