/* The witness: one JSON line for each request served, written in one go before the answer's last byte. */
#include "tests/providers/providers.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t served[DIALECTS], failed[DIALECTS];
static int fd = -1;

void log_open(const char *path)
{
    if (!path)
        return;
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
}

void log_write(const record *r, bool finished, unsigned tokens_sent, uint64_t bytes_sent)
{
    struct timespec now;
    for (int d = 0; d < DIALECTS; d++)
        if (strcmp(r->dialect, dialect_names[d]) == 0)
            (r->status == 200 ? served : failed)[d]++;
    if (fd < 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *line = json_pack(
        "{s:f, s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:b, s:i, s:I, s:s, s:s, s:s, s:s}", "time",
        (double)now.tv_sec + (double)now.tv_nsec * 1e-9, "dialect", r->dialect, "path", r->path, "model",
        r->model, "status", r->status, "stream", r->stream, "input_tokens", (json_int_t)r->input_tokens,
        "output_tokens", (json_int_t)r->output_tokens, "finished", finished, "tokens_sent",
        (int)tokens_sent, "bytes_sent", (json_int_t)bytes_sent, "attempt", r->attempt, "traceparent",
        r->traceparent, "request_id", r->request_id, "key", r->key);
    char *dump = json_dumps(line, JSON_COMPACT);
    size_t len = strlen(dump);
    dump = realloc(dump, len + 2);
    dump[len++] = '\n';
    if (write(fd, dump, len) != (ssize_t)len)
        fprintf(stderr, "providers: the log cannot be written\n");
    free(dump);
    json_decref(line);
}
