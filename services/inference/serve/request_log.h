/* The engine's own account of what it served: one JSON line a request, written before the client is
 * told that it ended. No prompt, no answer, no key. Reconciliation compares it with the ledger. */
#ifndef TG_INFERENCE_REQUEST_LOG_H
#define TG_INFERENCE_REQUEST_LOG_H

#include "libs/base/error.h"
#include "services/inference/engine/engine.h"

typedef struct tg_request_record {
    char request_id[64];
    uint32_t attempt;
    char tenant[64];
    char model[128];
    uint32_t loose_tools; /* whose calls are not held to their schemas */
} tg_request_record;

/* Opens for appending. 0 and *ret_fd, or -errno with a reason. "" gives -1: off. */
int tg_request_log_open(const char *path, tg_error *err, int *ret_fd);
void tg_request_record_init(tg_request_record *record, const char *request_id, uint32_t attempt,
                            const char *tenant, const char *model);
void tg_request_log_write(int fd, const tg_request_record *record, const tg_gen_usage *usage,
                          const char *finish, uint64_t wall_ns);

#endif
