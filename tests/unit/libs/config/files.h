/* Writes a text to a file of its own, named in errors as given: tests compare whole messages. */
#ifndef TG_TESTS_UNIT_CONFIG_FILES_H
#define TG_TESTS_UNIT_CONFIG_FILES_H

#include "tests/unit/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tests run in a directory of their own, so that a file's name is its path. */
static inline void enter_scratch(void)
{
    static char dir[] = "/tmp/tg-config-XXXXXX";
    static int entered;
    if (!entered && mkdtemp(dir) && chdir(dir) == 0)
        entered = 1;
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
