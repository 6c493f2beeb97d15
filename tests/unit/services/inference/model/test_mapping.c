#include "services/inference/model/mapping.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_BYTES (64 * 1024 + 5)

static void make_file(char *path)
{
    char bytes[1024];
    memset(bytes, 0x5a, sizeof(bytes));
    snprintf(path, 64, "/tmp/tollgate-mapping-XXXXXX");
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    for (size_t left = FILE_BYTES; left > 0; left -= left < sizeof(bytes) ? left : sizeof(bytes))
        CU_ASSERT_FATAL(write(fd, bytes, left < sizeof(bytes) ? left : sizeof(bytes)) > 0);
    close(fd);
}

static uint64_t sum_of(const tg_mapping *mapping)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < tg_mapping_size(mapping); i++)
        sum += tg_mapping_data(mapping)[i];
    return sum;
}

static void test_reads_and_refuses(void)
{
    char path[64];
    tg_mapping *mapping = NULL;
    tg_error err = {""};
    make_file(path);
    CU_ASSERT_EQUAL_FATAL(tg_mapping_open(path, &err, &mapping), 0);
    CU_ASSERT_EQUAL(tg_mapping_size(mapping), FILE_BYTES);
    CU_ASSERT_EQUAL(sum_of(mapping), (uint64_t)FILE_BYTES * 0x5a);
    CU_ASSERT_EQUAL(tg_mapping_check(mapping, &err), 0);
    unlink(path); /* the file that was opened is still the same */
    CU_ASSERT_EQUAL(tg_mapping_check(mapping, &err), 0);
    mapping = tg_mapping_close(mapping);
    CU_ASSERT_EQUAL(tg_mapping_open(path, &err, &mapping), -ENOENT);
    CU_ASSERT(err.text[0] != '\0');
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_mapping_open("/dev/null", &err, &mapping), -EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "it is not a regular file");
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0); /* nobody writes to it */
    CU_ASSERT_EQUAL(tg_mapping_open(path, NULL, &mapping), -EINVAL);
    unlink(path);
}

static void test_a_cut_file_reads_as_zeros_and_says_so(void)
{
    char path[64];
    for (size_t cut = 1; cut < FILE_BYTES; cut += 9973) {
        tg_mapping *mapping = NULL, *other = NULL;
        tg_error err = {""};
        make_file(path);
        CU_ASSERT_EQUAL_FATAL(tg_mapping_open(path, NULL, &mapping), 0);
        CU_ASSERT_EQUAL_FATAL(tg_mapping_open(path, NULL, &other), 0);
        CU_ASSERT_EQUAL(truncate(path, (off_t)cut), 0);
        CU_ASSERT_EQUAL(sum_of(mapping), (uint64_t)cut * 0x5a);
        CU_ASSERT_EQUAL(tg_mapping_check(mapping, &err), -EIO);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "it had 65541 bytes when it was opened and has"));
        /* Whole again, but what was read was not: only reading tells. */
        CU_ASSERT_EQUAL(truncate(path, FILE_BYTES), 0);
        CU_ASSERT_EQUAL(tg_mapping_check(mapping, NULL), -EIO);
        CU_ASSERT_EQUAL(tg_mapping_check(other, NULL), -EIO); /* its time has changed */
        tg_mapping_close(mapping);
        tg_mapping_close(other);
        unlink(path);
    }
}

/* Cut, read and made whole, with the time it had: that zeros were read is known all the same. */
static void test_what_was_lost_is_remembered(void)
{
    char path[64];
    struct stat before;
    tg_mapping *mapping = NULL, *other = NULL;
    tg_error err = {""};
    make_file(path);
    CU_ASSERT_EQUAL_FATAL(stat(path, &before), 0);
    CU_ASSERT_EQUAL_FATAL(tg_mapping_open(path, NULL, &mapping), 0);
    CU_ASSERT_EQUAL_FATAL(tg_mapping_open(path, NULL, &other), 0);
    CU_ASSERT_EQUAL(truncate(path, 4096), 0);
    CU_ASSERT_EQUAL(sum_of(mapping), (uint64_t)4096 * 0x5a);
    CU_ASSERT_EQUAL(truncate(path, FILE_BYTES), 0);
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    CU_ASSERT_EQUAL(tg_mapping_check(mapping, &err), -EIO);
    CU_ASSERT_STRING_EQUAL(err.text, "it could not be read to its end");
    CU_ASSERT_EQUAL(tg_mapping_check(other, NULL), 0); /* nothing was read of it */
    tg_mapping_close(mapping);
    tg_mapping_close(other);
    unlink(path);
}

/* What is no mapping of ours ends a process as it always did, and a handler of somebody else is
 * called. */
static int child(const char *path, bool with_handler)
{
    int fd = open(path, O_RDONLY);
    volatile const char *data = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
    tg_mapping *mapping = NULL;
    signal(SIGBUS, with_handler ? _exit : SIG_DFL); /* _exit(SIGBUS): a handler that can be seen */
    if (tg_mapping_open(path, NULL, &mapping) < 0 || truncate(path, 1) < 0)
        return 1;
    return data[FILE_BYTES - 1] == 0 ? 2 : 3;
}

static void test_other_bus_errors_are_handed_on(void)
{
    for (int with_handler = 0; with_handler < 2; with_handler++) {
        char path[64];
        int status = 0;
        make_file(path);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
            _exit(child(path, with_handler));
        CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
        const bool handled = WIFEXITED(status) && WEXITSTATUS(status) == SIGBUS;
        const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
        CU_ASSERT(with_handler ? handled : killed);
        unlink(path);
    }
}

static void test_the_bound(void)
{
    static tg_mapping *all[TG_MAPPINGS_MAX + 1];
    char path[64];
    tg_error err = {""};
    size_t len = 0;
    make_file(path);
    while (len <= TG_MAPPINGS_MAX && tg_mapping_open(path, &err, &all[len]) == 0)
        len++;
    /* or the process's own bound */
    CU_ASSERT(len == TG_MAPPINGS_MAX || strstr(err.text, "open files"));
    CU_ASSERT(err.text[0] != '\0');
    while (len > 0)
        tg_mapping_close(all[--len]);
    CU_ASSERT_EQUAL(tg_mapping_open(path, NULL, &all[0]), 0);
    tg_mapping_close(all[0]);
    unlink(path);
}

/* The first must fork before the process has a handler of ours. */
static const tg_test tests[] = {
    {"other_bus_errors_are_handed_on", test_other_bus_errors_are_handed_on},
    {"reads_and_refuses", test_reads_and_refuses},
    {"a_cut_file_reads_as_zeros_and_says_so", test_a_cut_file_reads_as_zeros_and_says_so},
                                {"what_was_lost_is_remembered", test_what_was_lost_is_remembered},
    {"the_bound", test_the_bound}};
TG_TEST_MAIN("services_inference_model_mapping", tests)
