/* fdatasync for the spool: grouped by a timer and done in libuv's thread pool, because a disk may
 * take longer than a token. The timer runs only while something waits to be synced. */
#include "libs/usage/spool_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRY_MS 200 /* how often closed records that the disk refused are tried again */

struct tg_spool_syncer {
    uv_timer_t timer;
    tg_spool *spool;
    tg_list jobs; /* in the thread pool */
};

typedef struct job {
    uv_work_t work;
    tg_list node;
    tg_spool *spool; /* NULL once the spool was closed */
    int fd, dir_fd;  /* our own copies; -1: nothing to sync */
    bool failed;
} job;

static void job_run(uv_work_t *work)
{
    job *j = TG_CONTAINER_OF(work, job, work);
    j->failed = (j->fd >= 0 && fdatasync(j->fd) < 0) || (j->dir_fd >= 0 && fsync(j->dir_fd) < 0);
}

static void job_free(job *j)
{
    if (j->fd >= 0)
        close(j->fd);
    if (j->dir_fd >= 0)
        close(j->dir_fd);
    free(j);
}

static void job_done(uv_work_t *work, int status)
{
    job *j = TG_CONTAINER_OF(work, job, work);
    tg_list_remove(&j->node);
    if (j->spool && (j->failed || status < 0))
        j->spool->sync_errors++;
    job_free(j);
}

void tg_spool_syncer_start(tg_spool *spool, const tg_segment *segment)
{
    tg_spool_syncer *syncer = spool->syncer;
    job *j = calloc(1, sizeof *j);
    if (!j) {
        spool->sync_errors++;
        return;
    }
    j->spool = spool;
    j->fd = segment ? fcntl(segment->fd, F_DUPFD_CLOEXEC, 3) : -1;
    j->dir_fd = spool->dir_dirty ? fcntl(spool->dir_fd, F_DUPFD_CLOEXEC, 3) : -1;
    if ((segment && j->fd < 0) ||
        uv_queue_work(syncer->timer.loop, &j->work, job_run, job_done) < 0) {
        spool->sync_errors++;
        job_free(j);
        return;
    }
    tg_list_add_tail(&syncer->jobs, &j->node);
    if (segment == spool->active)
        spool->dirty = false;
    spool->dir_dirty = false;
}

static void on_timer(uv_timer_t *timer)
{
    tg_spool_syncer *syncer = TG_CONTAINER_OF(timer, tg_spool_syncer, timer);
    tg_spool *spool = syncer->spool;
    if (!tg_list_empty(&spool->pending))
        tg_spool_retry_pending(spool);
    /* One at a time: a slow disk gets larger groups, not a queue. */
    if (tg_list_empty(&syncer->jobs) && (spool->dirty || spool->dir_dirty))
        tg_spool_syncer_start(spool, spool->dirty ? spool->active : NULL);
    if (spool->dirty)
        tg_spool_syncer_arm(spool);
    else if (!tg_list_empty(&spool->pending))
        uv_timer_start(timer, on_timer, RETRY_MS, 0);
}

void tg_spool_syncer_arm(tg_spool *spool)
{
    if (!uv_is_active((uv_handle_t *)&spool->syncer->timer))
        uv_timer_start(&spool->syncer->timer, on_timer, spool->conf.sync_ms, 0);
}

int tg_spool_syncer_new(tg_spool *spool, uv_loop_t *loop)
{
    tg_spool_syncer *syncer = calloc(1, sizeof *syncer);
    if (!syncer)
        return -ENOMEM;
    int rc = uv_timer_init(loop, &syncer->timer);
    if (rc < 0) {
        free(syncer);
        return rc;
    }
    uv_unref((uv_handle_t *)&syncer->timer);
    syncer->spool = spool;
    tg_list_init(&syncer->jobs);
    spool->syncer = syncer;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(TG_CONTAINER_OF(handle, tg_spool_syncer, timer));
}

void tg_spool_syncer_close(tg_spool *spool)
{
    tg_spool_syncer *syncer = spool->syncer;
    if (!syncer)
        return;
    spool->syncer = NULL;
    while (!tg_list_empty(&syncer->jobs)) {
        job *j = TG_CONTAINER_OF(syncer->jobs.next, job, node);
        j->spool = NULL;
        tg_list_remove(&j->node);
    }
    uv_close((uv_handle_t *)&syncer->timer, on_timer_closed);
}
