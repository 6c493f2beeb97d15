#include "cli/load_bar.h"

#include "libs/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CELLS 24
#define DRAW_NS 100000000u

void tg_load_bar_text(uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns, char *to,
                      size_t size)
{
    const double done = (double)done_bytes, total = (double)total_bytes,
                 seconds = (double)elapsed_ns * 1e-9;
    const double rate = seconds > 0 ? done / seconds : 0;
    const int full = total_bytes ? (int)(done / total * CELLS) : CELLS;
    char cells[CELLS + 1];
    memset(cells, ' ', CELLS);
    memset(cells, '=', (size_t)full);
    cells[CELLS] = '\0';
    snprintf(to, size, "loading [%s] %.0f of %.0f MB, %.0f MB/s, %.0f s left", cells, done * 1e-6,
             total * 1e-6, rate * 1e-6, rate > 0 ? (total - done) / rate : 0);
}

void tg_load_bar_progress(void *load_bar, uint64_t done_bytes, uint64_t total_bytes)
{
    tg_load_bar *bar = load_bar;
    const uint64_t now = tg_clock_mono_ns();
    char line[120];
    if (!isatty(STDERR_FILENO))
        return;
    if (bar->began_ns == 0)
        bar->began_ns = now;
    if (done_bytes == total_bytes) {
        fputs("\r\033[K", stderr);
        return;
    }
    if (bar->drawn_ns != 0 && now - bar->drawn_ns < DRAW_NS)
        return;
    bar->drawn_ns = now;
    tg_load_bar_text(done_bytes, total_bytes, now - bar->began_ns, line, sizeof(line));
    fprintf(stderr, "\r\033[K%s", line);
}
