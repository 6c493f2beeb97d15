/* How far a model's loading is, on a terminal: one line on stderr that is drawn anew, at most ten
 * times a second, and gone when loading is done. Bytes, rate and the time left. Where stderr is
 * no terminal nothing is printed. */
#ifndef TG_CLI_LOAD_BAR_H
#define TG_CLI_LOAD_BAR_H

#include <stddef.h>
#include <stdint.h>

typedef struct tg_load_bar { /* zero at first */
    uint64_t began_ns, drawn_ns;
} tg_load_bar;

/* a tg_load_progress_fn */
void tg_load_bar_progress(void *load_bar, uint64_t done_bytes, uint64_t total_bytes);

/* The line, without the carriage return, cut at `size`. */
void tg_load_bar_text(uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns, char *to,
                      size_t size);

#endif
