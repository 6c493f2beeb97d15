/* Named points at which a test can kill the process, to prove that nothing is lost there.
 *
 * TOLLGATE_FAULT_POINT=name:N in the environment makes the process raise SIGKILL when it passes the
 * point of that name for the Nth time (N defaults to 1). Unset, a point costs one load and one
 * branch. Points: ledger_in_transaction, ledger_after_commit, outbox_after_ack, spool_after_opened,
 * spool_after_closed, producer_after_ack. Threads: any.
 */
#ifndef TG_BASE_FAULT_H
#define TG_BASE_FAULT_H

#include <stdbool.h>

extern bool tg_fault_armed; /* read once, before main */
void tg_fault_hit(const char *name);

static inline void tg_fault_point(const char *name)
{
    if (__builtin_expect(tg_fault_armed, 0))
        tg_fault_hit(name);
}

#endif
