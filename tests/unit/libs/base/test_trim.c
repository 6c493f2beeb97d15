#include "libs/base/trim.h"
#include "tests/unit/harness.h"

#include <stdio.h>

static const char constants[3 << 16] = {[0] = 'a', [(3 << 16) - 1] = 'z'};
static char written[] = "as it came from the file";

/* KiB of files' pages that are resident, or 0. */
static unsigned long resident_files(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        return 0;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "RssFile: %lu", &kib) == 1)
            break;
    fclose(status);
    return kib;
}

static void gives_pages_back_and_keeps_what_they_hold(void)
{
    volatile char sum = 0;
    written[0] = 'A';
    for (size_t i = 0; i < sizeof constants; i += 1024)
        sum = (char)(sum + constants[i]);
    const unsigned long before = resident_files();
    tg_trim();
    const unsigned long after = resident_files();
    CU_ASSERT_FATAL(before > 0);
    CU_ASSERT(after < before);
    CU_ASSERT_EQUAL(constants[0], 'a');
    CU_ASSERT_EQUAL(constants[sizeof constants - 1], 'z');
    CU_ASSERT_STRING_EQUAL(written, "As it came from the file");
}

static const tg_test tests[] = {
    {"gives_pages_back_and_keeps_what_they_hold", gives_pages_back_and_keeps_what_they_hold},
};
TG_TEST_MAIN("libs_base_trim", tests)
