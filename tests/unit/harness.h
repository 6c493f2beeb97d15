/* One table of CUnit tests per file, and a runner that prints one line per test:
 *
 *     ok libs_base_buf.append_grows
 *     not ok libs_base_buf.limit: test_buf.c:31: CU_ASSERT_EQUAL(rc, -ENOSPC)
 *     skip backend.avx512: this processor has no AVX-512
 *
 * tests/run.py counts these lines. Usage, at the end of a test file:
 *
 *     static const tg_test tests[] = {{"append_grows", test_append_grows}, ...};
 *     TG_TEST_MAIN("libs_base_buf", tests)
 */
#ifndef TG_TESTS_UNIT_HARNESS_H
#define TG_TESTS_UNIT_HARNESS_H

#include <CUnit/CUnit.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tg_test {
    const char *name;
    void (*run)(void);
} tg_test;

int tg_test_run(const char *suite, const tg_test *tests, size_t count);

/* Marks the running test as skipped; return from it right after. `why` must outlive the run. */
void tg_test_skip(const char *why);

/* The seed of the property tests: TG_TEST_SEED, else drawn from the clock. Printed once. */
uint64_t tg_test_seed(void);

/* Repetitions of a property test: `small`, or ten times that with TG_TEST_LONG=1. */
size_t tg_test_rounds(size_t small);

/* 1 under ThreadSanitizer, which asks about races and is slow: what other builds compare in full
 * takes a few shapes there. */
#ifdef __SANITIZE_THREAD__
#define TG_TEST_RACES 1
#else
#define TG_TEST_RACES 0
#endif

#define TG_TEST_MAIN(suite, tests)                                                                 \
    int main(void) { return tg_test_run(suite, tests, sizeof(tests) / sizeof((tests)[0])); }

#endif
