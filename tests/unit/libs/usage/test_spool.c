#include "libs/usage/spool.h"
#include "tests/unit/harness.h"
#include "tests/unit/libs/usage/sample.h"
#include "tests/unit/libs/usage/spool_dir.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NOW UINT64_C(1800000000000000000)

static char dir[64];

static tg_spool *open_spool(uint64_t segment_bytes, uint64_t limit_bytes)
{
    tg_spool_conf conf = {
        .dir = dir, .sync_ms = 50, .segment_bytes = segment_bytes, .limit_bytes = limit_bytes};
    tg_error err = {""};
    tg_spool *spool = NULL;
    int rc = tg_spool_open(NULL, &conf, NOW, &err, &spool);
    if (rc < 0)
        printf("# open: %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return spool;
}

static tg_spool_stats stats_of(const tg_spool *spool)
{
    tg_spool_stats stats;
    tg_spool_stats_get(spool, &stats);
    return stats;
}

static uint64_t open_attempt(tg_spool *spool, unsigned number)
{
    tg_usage_event event = sample_event(number, 1);
    uint64_t slot = 0;
    CU_ASSERT_EQUAL_FATAL(tg_spool_opened(spool, &event, &slot), 0);
    return slot;
}

static void close_attempt(tg_spool *spool, uint64_t slot, unsigned number)
{
    tg_usage_event event = sample_event(number, 1);
    sample_close(&event);
    CU_ASSERT_EQUAL_FATAL(tg_spool_closed(spool, slot, &event), 0);
}

static unsigned number_of(const tg_usage_event *event)
{
    return (unsigned)strtoul(event->request_id + 24, NULL, 16);
}

/* Reads the whole queue; acknowledges it if asked. */
static size_t drain(tg_spool *spool, tg_usage_event *events, size_t max, bool ack)
{
    uint64_t sequence = 0;
    size_t count = 0;
    for (tg_str tenant, bytes; tg_spool_next(spool, sequence, &sequence, &tenant, &bytes) == 0;) {
        tg_usage_event event;
        CU_ASSERT_EQUAL_FATAL(tg_usage_event_decode(bytes.data, bytes.len, NULL, &event), 0);
        CU_ASSERT_TRUE(tg_str_is(tenant, event.tenant));
        if (count < max)
            events[count] = event;
        count++;
        if (ack)
            tg_spool_acked(spool, sequence);
    }
    return count;
}

static void test_one_attempt(void)
{
    tg_usage_event events[2];
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(0, 0);
    uint64_t slot = open_attempt(spool, 7);
    CU_ASSERT_EQUAL(drain(spool, events, 2, false), 0);
    CU_ASSERT_EQUAL(stats_of(spool).opened, 1);
    close_attempt(spool, slot, 7);
    CU_ASSERT_EQUAL_FATAL(drain(spool, events, 2, false), 1);
    tg_usage_event expected = sample_event(7, 1);
    sample_close(&expected);
    CU_ASSERT(sample_equal(&events[0], &expected));
    CU_ASSERT_EQUAL(stats_of(spool).opened, 0);
    CU_ASSERT_EQUAL(stats_of(spool).unacked, 1);
    CU_ASSERT_EQUAL(stats_of(spool).oldest_unacked_unix_ns, expected.closed_unix_ns);
    CU_ASSERT_EQUAL(drain(spool, events, 2, true), 1);
    CU_ASSERT_EQUAL(drain(spool, events, 2, true), 0);
    CU_ASSERT_EQUAL(stats_of(spool).oldest_unacked_unix_ns, 0);
    tg_spool_close(spool);
    spool_files files;
    spool_files_read(dir, &files);
    CU_ASSERT_EQUAL(files.count, 0); /* all delivered: nothing to send again */
    spool_files_free(&files);
}

static void test_slots_are_checked(void)
{
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(0, 0);
    uint64_t first = open_attempt(spool, 1);
    tg_usage_event event = sample_event(2, 1);
    CU_ASSERT_EQUAL(tg_spool_closed(spool, first, &event), -EINVAL); /* another's identity */
    CU_ASSERT_EQUAL(tg_spool_closed(spool, UINT64_MAX, &event), -EINVAL);
    close_attempt(spool, first, 1);
    event = sample_event(1, 1);
    CU_ASSERT_EQUAL(tg_spool_closed(spool, first, &event), -EINVAL); /* closed already */
    uint64_t second = open_attempt(spool, 1);
    CU_ASSERT_NOT_EQUAL(first, second);
    CU_ASSERT_EQUAL(tg_spool_closed(spool, first, &event), -EINVAL);
    CU_ASSERT_EQUAL(stats_of(spool).opened, 1);
    tg_spool_close(spool);
}

static void test_reopen_keeps_the_queue(void)
{
    tg_usage_event events[8];
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(0, 0);
    for (unsigned i = 1; i <= 3; i++)
        close_attempt(spool, open_attempt(spool, i), i);
    open_attempt(spool, 4);
    tg_spool_close(spool);
    spool = open_spool(0, 0);
    CU_ASSERT_EQUAL(stats_of(spool).recovered, 1);
    CU_ASSERT_EQUAL(stats_of(spool).torn_bytes, 0);
    CU_ASSERT_EQUAL_FATAL(drain(spool, events, 8, false), 4);
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(number_of(&events[i]), i + 1);
    CU_ASSERT_EQUAL(events[2].outcome, TG_OUTCOME_OK);
    tg_usage_event *orphan = &events[3];
    CU_ASSERT_EQUAL(orphan->outcome, TG_OUTCOME_ABORTED);
    CU_ASSERT_EQUAL(orphan->tokens.input, 104);
    CU_ASSERT_EQUAL(orphan->tokens.output, 0);
    CU_ASSERT_EQUAL(orphan->input_source, TG_COUNT_ESTIMATED);
    CU_ASSERT_EQUAL(orphan->output_source, TG_COUNT_ESTIMATED);
    CU_ASSERT_EQUAL(orphan->cost_picousd, 104 * 250000);
    CU_ASSERT_EQUAL(orphan->closed_unix_ns, NOW);
    CU_ASSERT_EQUAL(orphan->total_ns, NOW - orphan->opened_unix_ns);
    tg_spool_close(spool);
    spool = open_spool(0, 0); /* recovered once, not twice */
    CU_ASSERT_EQUAL(stats_of(spool).recovered, 0);
    CU_ASSERT_EQUAL(drain(spool, events, 8, true), 4);
    tg_spool_close(spool);
}

static void test_lock(void)
{
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(0, 0), *second = NULL;
    tg_spool_conf conf = {.dir = dir};
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_spool_open(NULL, &conf, NOW, &err, &second), -EBUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "in use"));
    tg_spool_close(spool);
}

static void test_segments_rotate_and_go(void)
{
    tg_usage_event events[4];
    spool_files files;
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(2000, 0);
    uint64_t slots[40];
    for (unsigned i = 0; i < 40; i++)
        slots[i] = open_attempt(spool, i);
    for (unsigned i = 40; i-- > 0;) /* closed in another order than opened */
        close_attempt(spool, slots[i], i);
    spool_files_read(dir, &files);
    CU_ASSERT_TRUE(files.count > 5);
    size_t sum = 0;
    for (size_t i = 0; i < files.count; i++)
        sum += files.items[i].len;
    CU_ASSERT_EQUAL(stats_of(spool).bytes, sum);
    spool_files_free(&files);
    CU_ASSERT_EQUAL(drain(spool, events, 4, true), 40);
    spool_files_read(dir, &files);
    CU_ASSERT_EQUAL(files.count, 1); /* the one being written */
    CU_ASSERT_EQUAL(stats_of(spool).bytes, files.items[0].len);
    spool_files_free(&files);
    tg_spool_close(spool);
}

static void test_acks_in_any_order(void)
{
    enum { COUNT = 500 };
    uint64_t state = tg_test_seed(), sequences[COUNT];
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(4000, 0);
    for (unsigned i = 0; i < COUNT; i++)
        close_attempt(spool, open_attempt(spool, i), i);
    uint64_t sequence = 0;
    size_t count = 0;
    for (tg_str tenant, bytes; tg_spool_next(spool, sequence, &sequence, &tenant, &bytes) == 0;)
        sequences[count++] = sequence;
    CU_ASSERT_EQUAL_FATAL(count, COUNT);
    for (size_t i = COUNT; i > 1; i--) {
        size_t other = (size_t)(tg_random_next(&state) % i);
        uint64_t swap = sequences[i - 1];
        sequences[i - 1] = sequences[other];
        sequences[other] = swap;
    }
    for (size_t i = 0; i < COUNT; i++) {
        tg_spool_acked(spool, sequences[i]);
        tg_spool_acked(spool, sequences[i]); /* twice does nothing */
        CU_ASSERT_EQUAL(stats_of(spool).unacked, COUNT - 1 - i);
        if (i % 3 == 0) { /* new ones come and go meanwhile */
            tg_str tenant, bytes;
            close_attempt(spool, open_attempt(spool, 9999), 9999);
            CU_ASSERT_EQUAL(tg_spool_next(spool, 2 * COUNT, &sequence, &tenant, &bytes), 0);
            tg_spool_acked(spool, sequence);
        }
    }
    CU_ASSERT_EQUAL(stats_of(spool).unacked, 0);
    tg_spool_close(spool);
}

static void test_limit(void)
{
    enum { LIMIT = 60000 };
    uint64_t slots[200];
    unsigned count = 0;
    int rc = 0;
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(8000, LIMIT);
    for (; count < 200; count++) {
        tg_usage_event event = sample_event(count, 1);
        rc = tg_spool_opened(spool, &event, &slots[count]);
        if (rc < 0)
            break;
    }
    CU_ASSERT_EQUAL(rc, -ENOSPC);
    CU_ASSERT_TRUE(count > 10 && count < 200);
    for (unsigned i = 0; i < count; i++) { /* the margin: every open attempt still closes */
        tg_usage_event event = sample_event(i, 1);
        sample_close(&event);
        memset(event.model_answered, 'm', sizeof event.model_answered - 1);
        event.counterfactual_count = TG_USAGE_COUNTERFACTUALS;
        for (int j = 0; j < TG_USAGE_COUNTERFACTUALS; j++) {
            memset(event.counterfactuals[j].target, 't', TG_USAGE_NAME_MAX - 1);
            event.counterfactuals[j].cost_picousd = INT64_MAX;
        }
        CU_ASSERT_EQUAL(tg_spool_closed(spool, slots[i], &event), 0);
    }
    CU_ASSERT_TRUE(stats_of(spool).bytes <= LIMIT);
    tg_usage_event events[4];
    CU_ASSERT_EQUAL(drain(spool, events, 4, true), count);
    close_attempt(spool, open_attempt(spool, 1000), 1000); /* there is room again */
    tg_spool_close(spool);
}

/* One attempt stays open while thousands come and go: its segment must not keep all the others. */
static void test_long_stream_is_carried(void)
{
    tg_usage_event events[4];
    spool_dir_clear(dir);
    tg_spool *spool = open_spool(8192, 65536);
    uint64_t slot = open_attempt(spool, 424242);
    for (unsigned i = 0; i < 2000; i++) {
        close_attempt(spool, open_attempt(spool, i), i);
        drain(spool, events, 4, true);
    }
    CU_ASSERT_TRUE(stats_of(spool).bytes <= 65536);
    spool_files files;
    spool_files_read(dir, &files);
    tg_spool_close(spool);
    /* Killed here: the attempt is recovered, once. */
    spool_dir_clear(dir);
    for (size_t i = 0; i < files.count; i++)
        spool_file_write(dir, files.items[i].name, files.items[i].data, files.items[i].len);
    spool_files_free(&files);
    spool = open_spool(8192, 65536);
    CU_ASSERT_EQUAL(stats_of(spool).recovered, 1);
    uint64_t sequence = 0;
    unsigned found = 0;
    for (tg_str tenant, bytes; tg_spool_next(spool, sequence, &sequence, &tenant, &bytes) == 0;) {
        CU_ASSERT_EQUAL(tg_usage_event_decode(bytes.data, bytes.len, NULL, &events[0]), 0);
        found += number_of(&events[0]) == 424242;
    }
    CU_ASSERT_EQUAL(found, 1);
    tg_spool_close(spool);
    (void)slot;
}

/* Writing fails for real: a file size limit stands for a full disk. Runs in a child, since the
 * limit and the ignored signal belong to the process. */
static int run_without_space(void)
{
    signal(SIGXFSZ, SIG_IGN);
    tg_spool *spool = open_spool(1 << 20, 0);
    uint64_t slot = open_attempt(spool, 1), other = 0;
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)stats_of(spool).bytes + 10; /* the next record is cut short */
    setrlimit(RLIMIT_FSIZE, &limit);
    tg_usage_event event = sample_event(2, 1), closed = sample_event(1, 1);
    sample_close(&closed);
    if (tg_spool_opened(spool, &event, &other) != -ENOSPC)
        return 1;
    if (tg_spool_closed(spool, slot, &closed) != -ENOSPC || stats_of(spool).pending != 1)
        return 2;
    if (tg_spool_closed(spool, slot, &closed) != -EINVAL)
        return 3;
    limit.rlim_cur = before;
    setrlimit(RLIMIT_FSIZE, &limit);
    if (tg_spool_opened(spool, &event, &other) != 0 || stats_of(spool).pending != 0)
        return 4;
    tg_usage_event events[2];
    if (drain(spool, events, 2, false) != 1 || !sample_equal(&events[0], &closed))
        return 5;
    tg_spool_close(spool);
    spool = open_spool(1 << 20, 0);
    int result = stats_of(spool).torn_bytes == 0 && stats_of(spool).recovered == 1 ? 0 : 6;
    tg_spool_close(spool);
    return result;
}

static int in_child(int (*run)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(run());
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_no_space_on_disk(void)
{
    spool_dir_clear(dir);
    CU_ASSERT_EQUAL(in_child(run_without_space), 0);
}

/* A real file system that is full. */
static void test_enospc(void)
{
    char small[96];
    spool_dir_clear(dir);
    snprintf(small, sizeof small, "%s/small", dir);
    mkdir(small, 0700);
    if (mount("tmpfs", small, "tmpfs", 0, "size=64k") < 0) {
        rmdir(small);
        puts("# not root: no file system can be mounted; no_space_on_disk covers the path");
        return;
    }
    tg_spool_conf conf = {.dir = small, .segment_bytes = 16384, .sync_ms = 50};
    tg_spool *spool = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_spool_open(NULL, &conf, NOW, NULL, &spool), 0);
    uint64_t slots[400];
    unsigned count = 0;
    for (int rc = 0; count < 400; count++) {
        tg_usage_event event = sample_event(count, 1);
        if ((rc = tg_spool_opened(spool, &event, &slots[count])) < 0) {
            CU_ASSERT_EQUAL(rc, -ENOSPC);
            break;
        }
    }
    CU_ASSERT_TRUE(count > 20 && count < 400);
    tg_usage_event closed = sample_event(0, 1);
    sample_close(&closed);
    CU_ASSERT_EQUAL(tg_spool_closed(spool, slots[0], &closed), -ENOSPC);
    CU_ASSERT_EQUAL(stats_of(spool).pending, 1);
    mount("tmpfs", small, "tmpfs", MS_REMOUNT, "size=256k");
    CU_ASSERT_EQUAL(tg_spool_sync(spool), 0);
    CU_ASSERT_EQUAL(stats_of(spool).pending, 0);
    for (unsigned i = 1; i < count; i++)
        close_attempt(spool, slots[i], i);
    tg_usage_event events[1];
    CU_ASSERT_EQUAL(drain(spool, events, 1, true), count);
    tg_spool_close(spool);
    umount(small);
    rmdir(small);
}

static void test_foreign_files(void)
{
    tg_spool *spool = NULL;
    tg_spool_conf conf = {.dir = dir};
    tg_error err = {""};
    spool_dir_clear(dir);
    spool_file_write(dir, "notes.txt", "hello", 5);
    spool_file_write(dir, "0000000000000001.seg", "\0\0\0\0\0\0\0\0\0\0\0\0",
                     12); /* after a power loss */
    spool = open_spool(0, 0);
    CU_ASSERT_EQUAL(stats_of(spool).torn_bytes, 12);
    tg_spool_close(spool);
    spool_file_write(dir, "0000000000000002.seg", "tgspool2 something newer", 24);
    CU_ASSERT_EQUAL(tg_spool_open(NULL, &conf, NOW, &err, &spool), -EPROTONOSUPPORT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "another version"));
    spool_files files;
    spool_files_read(dir, &files);
    CU_ASSERT_EQUAL(files.count, 1); /* refused, not deleted */
    spool_files_free(&files);
}

static const tg_test tests[] = {
    {"one_attempt", test_one_attempt},
    {"slots_are_checked", test_slots_are_checked},
    {"reopen_keeps_the_queue", test_reopen_keeps_the_queue},
    {"lock", test_lock},
    {"segments_rotate_and_go", test_segments_rotate_and_go},
    {"acks_in_any_order", test_acks_in_any_order},
    {"limit", test_limit},
    {"long_stream_is_carried", test_long_stream_is_carried},
    {"no_space_on_disk", test_no_space_on_disk},
    {"enospc", test_enospc},
    {"foreign_files", test_foreign_files},
};

int main(void)
{
    spool_dir_make(dir);
    int rc = tg_test_run("libs_usage_spool", tests, sizeof tests / sizeof *tests);
    spool_dir_remove(dir);
    return rc;
}
