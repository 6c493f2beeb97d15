#include "services/inference/model/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct slot { /* what the handler reads: atomics only */
    atomic_bool taken;
    atomic_uintptr_t start; /* 0: not to be looked at */
    atomic_size_t bytes;
    atomic_bool cut; /* zeros stand in for a part of it */
} slot;

struct tg_mapping {
    slot *slot;
    const uint8_t *data;
    size_t size_bytes;
    int fd; /* stays open, so that a file renamed over the path does not matter */
    struct stat at_open;
};

static slot slots[TG_MAPPINGS_MAX];
static struct sigaction previous;
static uintptr_t page_bytes;

static void hand_on(int number, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO)
        previous.sa_sigaction(number, info, context);
    else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)
        signal(number, SIG_DFL); /* raised again on return, and fatal then */
    else
        previous.sa_handler(number);
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    const uintptr_t at = (uintptr_t)info->si_addr;
    const int saved = errno;
    for (size_t i = 0; i < TG_MAPPINGS_MAX; i++) {
        const uintptr_t start = atomic_load(&slots[i].start);
        const uintptr_t end = start + atomic_load(&slots[i].bytes);
        if (start == 0 || at < start || at >= end)
            continue;
        const uintptr_t page = at & ~(page_bytes - 1);
        atomic_store(&slots[i].cut, true);
        /* The bare system call: what libc or a sanitizer does around it is not for a signal's
         * handler. */
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        if (syscall(SYS_mmap, page, end - page, PROT_READ, flags, -1, 0L) == (long)page) {
            errno = saved;
            return;
        }
    }
    hand_on(number, info, context);
}

static void install(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    action.sa_sigaction = on_bus_error;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
}

static slot *take_slot(void)
{
    for (size_t i = 0; i < TG_MAPPINGS_MAX; i++)
        if (!atomic_exchange(&slots[i].taken, true))
            return &slots[i];
    return NULL;
}

/* The file is open and fits the bounds: maps it and tells the handler. */
static int map(tg_mapping *m, tg_error *err)
{
    m->slot = take_slot();
    if (!m->slot)
        return tg_error_set(err, -EMFILE, "%d files are mapped already", TG_MAPPINGS_MAX);
    void *data = mmap(NULL, m->size_bytes, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (data == MAP_FAILED)
        return tg_error_set(err, -errno, "it can't be mapped: %s", strerror(errno));
    m->data = data;
    atomic_store(&m->slot->cut, false);
    atomic_store(&m->slot->bytes, m->size_bytes);
    atomic_store(&m->slot->start, (uintptr_t)data);
    return 0;
}

int tg_mapping_open(const char *path, tg_error *err, tg_mapping **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    tg_mapping *m = calloc(1, sizeof(*m));
    int rc = 0;
    if (!m)
        return -ENOMEM;
    pthread_once(&once, install);
    m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not wait for its writer */
    if (m->fd < 0 || fstat(m->fd, &m->at_open) < 0)
        rc = tg_error_set(err, -errno, "%s", strerror(errno));
    else if (!S_ISREG(m->at_open.st_mode))
        rc = tg_error_set(err, -EINVAL, "it is not a regular file");
    else if (m->at_open.st_size == 0)
        rc = tg_error_set(err, -EINVAL, "it is empty");
    if (rc == 0) {
        m->size_bytes = (size_t)m->at_open.st_size;
        rc = map(m, err);
    }
    if (rc < 0) {
        tg_mapping_close(m);
        return rc;
    }
    *ret = m;
    return 0;
}

tg_mapping *tg_mapping_close(tg_mapping *m)
{
    if (!m)
        return NULL;
    if (m->data) {
        atomic_store(&m->slot->start, 0);
        munmap((void *)(uintptr_t)m->data, m->size_bytes);
    }
    if (m->slot)
        atomic_store(&m->slot->taken, false);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
    return NULL;
}

const uint8_t *tg_mapping_data(const tg_mapping *m) { return m->data; }

size_t tg_mapping_size(const tg_mapping *m) { return m->size_bytes; }

int tg_mapping_check(const tg_mapping *m, tg_error *err)
{
    struct stat now;
    if (fstat(m->fd, &now) < 0)
        return tg_error_set(err, -EIO, "%s", strerror(errno));
    if (now.st_size != m->at_open.st_size)
        return tg_error_set(
            err, -EIO,
            "it had %lld bytes when it was opened and has %lld now: it was changed while "
            "it was read",
            (long long)m->at_open.st_size, (long long)now.st_size);
    if (atomic_load(&m->slot->cut))
        return tg_error_set(err, -EIO, "it could not be read to its end");
    if (now.st_mtim.tv_sec != m->at_open.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != m->at_open.st_mtim.tv_nsec)
        return tg_error_set(err, -EIO, "it was changed while it was read");
    return 0;
}
