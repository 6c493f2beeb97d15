/* The one thing that gRPC's C face cannot do: quieten the locks of the library below it. Nothing of
 * this folder's headers is included, since they are C11. */
#include <absl/synchronization/mutex.h>

extern "C" void tg_rpc_quiet_mutexes(void)
{
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}
