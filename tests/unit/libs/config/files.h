/* Writes a text to a file of its own, named in errors as given: tests compare whole messages. */
#ifndef TG_TESTS_UNIT_CONFIG_FILES_H
#define TG_TESTS_UNIT_CONFIG_FILES_H

#include "tests/unit/harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch_dir[] = "/tmp/tg-config-XXXXXX";

static inline void remove_scratch(void)
{
    DIR *dir = opendir(scratch_dir);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        (void)unlinkat(dirfd(dir), entry->d_name, 0); /* refuses "." and ".." */
    if (dir)
        closedir(dir);
    (void)rmdir(scratch_dir);
}

/* Tests run in a directory of their own, so that a file's name is its path. */
static inline void enter_scratch(void)
{
    static int entered;
    if (entered)
        return;
    entered = mkdtemp(scratch_dir) && chdir(scratch_dir) == 0;
    CU_ASSERT_TRUE_FATAL(entered);
    atexit(remove_scratch);
}

static inline void write_file(const char *name, const char *text)
{
    enter_scratch();
    FILE *file = fopen(name, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static inline void check_text(const char *got, const char *expected, unsigned line)
{
    if (strcmp(got, expected) != 0)
        printf("# line %u: got      %s\n# line %u: expected %s\n", line, got, line, expected);
    CU_ASSERT_STRING_EQUAL(got, expected);
}

#endif
