#include "tests/unit/harness.h"

#include <CUnit/TestRun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *skip_reason;

void tg_test_skip(const char *why) { skip_reason = why; }

uint64_t tg_test_seed(void)
{
    static uint64_t seed;
    if (seed == 0) {
        const char *given = getenv("TG_TEST_SEED");
        seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
        if (seed == 0)
            seed = 1;
        printf("# TG_TEST_SEED=%llu\n", (unsigned long long)seed);
    }
    return seed;
}

size_t tg_test_rounds(size_t small)
{
    const char *longer = getenv("TG_TEST_LONG");
    return longer && *longer == '1' ? small * 10 : small;
}

static int run_one(const char *suite, CU_pSuite cu_suite, CU_pTest test)
{
    skip_reason = NULL;
    CU_run_test(cu_suite, test);
    CU_pFailureRecord failure = CU_get_failure_list();
    if (failure) {
        printf("not ok %s.%s: %s:%u: %s\n", suite, test->pName, failure->strFileName,
               failure->uiLineNumber, failure->strCondition);
        return 1;
    }
    if (skip_reason)
        printf("skip %s.%s: %s\n", suite, test->pName, skip_reason);
    else
        printf("ok %s.%s\n", suite, test->pName);
    return 0;
}

int tg_test_run(const char *suite, const tg_test *tests, size_t count)
{
    const char *only = getenv("TG_TEST_ONLY");
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite cu_suite = CU_add_suite(suite, NULL, NULL);
    for (size_t i = 0; cu_suite && i < count; i++) {
        if (only && strcmp(only, tests[i].name) != 0)
            continue;
        CU_pTest test = CU_add_test(cu_suite, tests[i].name, tests[i].run);
        if (!test)
            return 2;
        failed += run_one(suite, cu_suite, test);
    }
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
