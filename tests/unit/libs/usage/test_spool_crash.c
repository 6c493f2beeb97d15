/* The process dies at any byte of any write: what the spool then finds is a prefix of what was
 * written, with every attempt that was still open closed as aborted, and nothing twice.
 *
 * A random history of opening, closing and acknowledging runs once. After each step the files are
 * copied; then, for every byte of the step's record, the files of just before the step with that
 * much of the record are laid down, and a spool is opened over them. */
#include "libs/usage/spool.h"
#include "tests/unit/harness.h"
#include "tests/unit/libs/usage/sample.h"
#include "tests/unit/libs/usage/spool_dir.h"

#include <sys/wait.h>

enum { ATTEMPTS = 14, SEGMENT_BYTES = 1400, NOW_S = 1800000000 };

typedef enum state { NEVER, OPENED, CLOSED, ACKED } state;

typedef struct model {
    state states[ATTEMPTS];
    uint64_t slots[ATTEMPTS];
    uint64_t sequences[ATTEMPTS];
} model;

static char live_dir[64], crash_dir[64];

static tg_spool *open_spool(const char *dir)
{
    tg_spool_conf conf = {.dir = dir, .sync_ms = 50, .segment_bytes = SEGMENT_BYTES};
    tg_error err = {""};
    tg_spool *spool = NULL;
    if (tg_spool_open(NULL, &conf, (uint64_t)NOW_S * 1000000000u, &err, &spool) < 0)
        printf("# open: %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(spool);
    return spool;
}

static tg_usage_event closed_event(unsigned i)
{
    tg_usage_event event = sample_event(i, 1);
    sample_close(&event);
    return event;
}

/* What is found of each attempt. */
static void expect(const model *m, const char *where)
{
    unsigned found[ATTEMPTS] = {0};
    uint64_t sequence = 0;
    tg_spool *spool = open_spool(crash_dir);
    for (tg_str tenant, bytes; tg_spool_next(spool, sequence, &sequence, &tenant, &bytes) == 0;) {
        tg_usage_event event;
        CU_ASSERT_EQUAL_FATAL(tg_usage_event_decode(bytes.data, bytes.len, NULL, &event), 0);
        unsigned i = (unsigned)strtoul(event.request_id + 24, NULL, 16);
        CU_ASSERT_TRUE_FATAL(i < ATTEMPTS);
        tg_usage_event closed = closed_event(i);
        bool right = m->states[i] == OPENED ? event.outcome == TG_OUTCOME_ABORTED
                                            : sample_equal(&event, &closed);
        if (!right)
            printf("# %s: attempt %u has outcome %s\n", where, i, tg_outcome_name(event.outcome));
        CU_ASSERT_FATAL(right);
        found[i]++;
    }
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        /* An acknowledged one may be sent again, as long as its segment is there. */
        unsigned least = m->states[i] == OPENED || m->states[i] == CLOSED;
        unsigned most = m->states[i] != NEVER;
        if (found[i] < least || found[i] > most)
            printf("# %s: attempt %u in state %d is there %u times\n", where, i, (int)m->states[i],
                   found[i]);
        CU_ASSERT_FATAL(found[i] >= least && found[i] <= most);
    }
    tg_spool_close(spool);
}

static const spool_file *find(const spool_files *files, const char *name)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->items[i].name, name) == 0)
            return &files->items[i];
    return NULL;
}

/* Every byte of what the step added to the newest file. Returns how many points were tried. */
static size_t crash_everywhere(const spool_files *before, const spool_files *after,
                               const model *m_before, const model *m_after)
{
    const spool_file *newest = &after->items[after->count - 1];
    const spool_file *old = find(before, newest->name);
    size_t from = old ? old->len : 0;
    for (size_t len = from; len <= newest->len; len++) {
        char where[96];
        snprintf(where, sizeof where, "%s cut at %zu", newest->name, len);
        spool_dir_clear(crash_dir);
        for (size_t i = 0; i < before->count; i++)
            spool_file_write(crash_dir, before->items[i].name, before->items[i].data,
                             before->items[i].len);
        spool_file_write(crash_dir, newest->name, newest->data, len);
        expect(len < newest->len ? m_before : m_after, where);
    }
    return newest->len - from + 1;
}

/* One random step; false when all is done. */
static bool step(tg_spool *spool, model *m, uint64_t *random)
{
    for (int tries = 0; tries < 1000; tries++) {
        unsigned i = (unsigned)(tg_random_next(random) % ATTEMPTS);
        tg_usage_event opened = sample_event(i, 1), closed = closed_event(i);
        if (m->states[i] == NEVER) {
            CU_ASSERT_EQUAL_FATAL(tg_spool_opened(spool, &opened, &m->slots[i]), 0);
            m->states[i] = OPENED;
            return true;
        }
        if (m->states[i] == OPENED) {
            CU_ASSERT_EQUAL_FATAL(tg_spool_closed(spool, m->slots[i], &closed), 0);
            m->states[i] = CLOSED;
            return true;
        }
        if (m->states[i] == CLOSED) {
            uint64_t sequence = 0;
            for (tg_str t, bytes; tg_spool_next(spool, sequence, &sequence, &t, &bytes) == 0;) {
                tg_usage_event event;
                tg_usage_event_decode(bytes.data, bytes.len, NULL, &event);
                if (strcmp(event.request_id, closed.request_id) == 0)
                    break;
            }
            tg_spool_acked(spool, sequence);
            m->states[i] = ACKED;
            return true;
        }
    }
    return false;
}

static void test_any_crash_point_recovers_a_prefix(void)
{
    static spool_files before, after;
    uint64_t random = tg_test_seed();
    size_t points = 0;
    for (size_t round = 0; round < tg_test_rounds(1); round++) {
        model m = {0};
        spool_dir_clear(live_dir);
        tg_spool *spool = open_spool(live_dir);
        before.count = 0;
        for (model was = m; step(spool, &m, &random); was = m) {
            spool_files_read(live_dir, &after);
            if (after.count > 0)
                points += crash_everywhere(&before, &after, &was, &m);
            spool_files_free(&before);
            before = after;
        }
        spool_files_free(&before);
        tg_spool_close(spool);
    }
    printf("# %zu crash points\n", points);
    CU_ASSERT_TRUE(points > 2000);
}

/* Recovery itself may be killed: opening again, over whatever it wrote, gives the same. */
static void test_crash_during_recovery(void)
{
    static spool_files found, after;
    model m = {0};
    spool_dir_clear(live_dir);
    tg_spool *spool = open_spool(live_dir);
    for (unsigned i = 0; i < 6; i++) {
        tg_usage_event event = sample_event(i, 1);
        CU_ASSERT_EQUAL_FATAL(tg_spool_opened(spool, &event, &m.slots[i]), 0);
        m.states[i] = OPENED;
    }
    spool_files_read(live_dir, &found);
    tg_spool_close(spool);
    tg_spool_close(open_spool(live_dir)); /* the recovery whose writes are then cut */
    spool_files_read(live_dir, &after);
    for (size_t f = 0; f < after.count; f++) {
        const spool_file *file = &after.items[f];
        if (find(&found, file->name))
            continue;
        for (size_t len = 0; len <= file->len; len++) {
            spool_dir_clear(crash_dir);
            for (size_t i = 0; i < found.count; i++)
                spool_file_write(crash_dir, found.items[i].name, found.items[i].data,
                                 found.items[i].len);
            for (size_t i = 0; i < f; i++)
                spool_file_write(crash_dir, after.items[i].name, after.items[i].data,
                                 after.items[i].len);
            spool_file_write(crash_dir, file->name, file->data, len);
            expect(&m, file->name);
        }
    }
    spool_files_free(&found);
    spool_files_free(&after);
}

static int killed_at(const char *point)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test", point, live_dir, (char *)NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* What the child does: one attempt, with TOLLGATE_FAULT_POINT read at its start. */
static int victim(const char *dir)
{
    uint64_t slot;
    tg_usage_event event = sample_event(0, 1);
    tg_spool_conf conf = {.dir = dir};
    tg_spool *spool = NULL;
    if (tg_spool_open(NULL, &conf, 1, NULL, &spool) < 0 ||
        tg_spool_opened(spool, &event, &slot) < 0)
        return 1;
    sample_close(&event);
    return tg_spool_closed(spool, slot, &event) < 0;
}

static void test_killed_for_real(void)
{
    static const char *const points[] = {"spool_after_opened", "spool_after_closed:1"};
    for (unsigned p = 0; p < 2; p++) {
        spool_dir_clear(live_dir);
        setenv("TOLLGATE_FAULT_POINT", points[p], 1);
        CU_ASSERT_EQUAL(killed_at("victim"), 9);
        unsetenv("TOLLGATE_FAULT_POINT");
        tg_spool *spool = open_spool(live_dir);
        tg_spool_stats stats;
        tg_spool_stats_get(spool, &stats);
        CU_ASSERT_EQUAL(stats.recovered, p == 0 ? 1 : 0);
        CU_ASSERT_EQUAL(stats.unacked, 1);
        tg_spool_close(spool);
    }
}

static const tg_test tests[] = {
    {"any_crash_point_recovers_a_prefix", test_any_crash_point_recovers_a_prefix},
    {"crash_during_recovery", test_crash_during_recovery},
    {"killed_for_real", test_killed_for_real},
};

int main(int argc, char **argv)
{
    if (argc == 3)
        return victim(argv[2]);
    spool_dir_make(live_dir);
    spool_dir_make(crash_dir);
    int rc = tg_test_run("libs_usage_spool_crash", tests, sizeof tests / sizeof *tests);
    spool_dir_remove(live_dir);
    spool_dir_remove(crash_dir);
    return rc;
}
