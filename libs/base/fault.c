#include "libs/base/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

bool tg_fault_armed;
static const char *point;
static size_t point_len;
static atomic_ulong left;

__attribute__((constructor)) static void arm(void)
{
    point = getenv("TOLLGATE_FAULT_POINT");
    if (!point || !*point)
        return;
    const char *colon = strchr(point, ':');
    unsigned long nth = colon ? strtoul(colon + 1, NULL, 10) : 1;
    point_len = colon ? (size_t)(colon - point) : strlen(point);
    atomic_store(&left, nth > 0 ? nth : 1);
    tg_fault_armed = true;
}

void tg_fault_hit(const char *name)
{
    if (strlen(name) == point_len && memcmp(name, point, point_len) == 0 &&
        atomic_fetch_sub(&left, 1) == 1)
        raise(SIGKILL);
}
