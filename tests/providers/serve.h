/* Serving: routes a request by its path, and plays the answer out in time, with its faults. */
#ifndef PROVIDERS_SERVE_H
#define PROVIDERS_SERVE_H

#include "tests/providers/conn.h"

extern const struct conn_handler serve_handler;

void serve_init(uint64_t seed);
void serve_stats(struct buf *out); /* JSON members, one per dialect, without the braces */

const char *http_reason(int status);
const char *http_date(void); /* of now, cached by the second */

#endif
