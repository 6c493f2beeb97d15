#include "tests/providers/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fd = -1;

int log_open(const char *path)
{
    if (!path)
        return 0;
    fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        perror(path);
    return fd < 0 ? -1 : 0;
}

static void text(struct buf *line, const char *name, const char *value)
{
    buf_printf(line, ",\"%s\":", name);
    buf_json_text(line, value);
}

static void number(struct buf *line, const char *name, int64_t value)
{
    buf_printf(line, ",\"%s\":%lld", name, (long long)value);
}

static void truth(struct buf *line, const char *name, bool value)
{
    buf_printf(line, ",\"%s\":%s", name, value ? "true" : "false");
}

static void tokens(struct buf *line, const struct record *r)
{
    number(line, "input_tokens", r->truth.input);
    number(line, "cache_read_tokens", r->truth.cache_read);
    number(line, "cache_write_5m_tokens", r->truth.cache_write_5m);
    number(line, "cache_write_1h_tokens", r->truth.cache_write_1h);
    number(line, "output_tokens", r->truth.output);
    number(line, "reasoning_tokens", r->truth.reasoning);
    if (r->told_usage) {
        number(line, "reported_input_tokens", r->told.input);
        number(line, "reported_output_tokens", r->told.output);
    } else {
        buf_text(line, ",\"reported_input_tokens\":null,\"reported_output_tokens\":null");
    }
    number(line, "tokens_sent", (int64_t)r->tokens_sent);
    number(line, "bytes_sent", (int64_t)r->bytes_sent);
}

void log_write(const struct record *r)
{
    static struct buf line; /* its memory is kept from line to line */
    struct timespec now;
    if (fd < 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    buf_clear(&line);
    buf_printf(&line, "{\"time\":%lld.%06ld", (long long)now.tv_sec, now.tv_nsec / 1000);
    number(&line, "seq", (int64_t)r->seq);
    text(&line, "dialect", r->dialect);
    text(&line, "path", r->path);
    text(&line, "model", r->model);
    number(&line, "status", r->status);
    truth(&line, "stream", r->stream);
    truth(&line, "finished", strcmp(r->end, "finished") == 0);
    text(&line, "end", r->end);
    text(&line, "error", r->error);
    tokens(&line, r);
    number(&line, "duration_us", (int64_t)r->duration_us);
    text(&line, "hash", r->hash);
    text(&line, "key", r->key);
    text(&line, "request_id", r->request_id);
    text(&line, "attempt", r->attempt);
    text(&line, "request", r->request);
    text(&line, "traceparent", r->traceparent);
    text(&line, "client_request_id", r->client_request_id);
    truth(&line, "fault", r->fault);
    buf_text(&line, "}\n");
    ssize_t wrote = write(fd, line.data, line.len);
    if (wrote != (ssize_t)line.len) { /* a witness with gaps is none */
        fprintf(stderr, "providers: the log: %s\n", wrote < 0 ? strerror(errno) : "disk full");
        abort();
    }
}

int log_read(uint64_t from, struct buf *ret)
{
    static char part[64 << 10];
    if (fd < 0)
        return -1;
    while (ret->len < LOG_READ_BYTES_MAX) {
        ssize_t got = pread(fd, part, sizeof part, (off_t)(from + ret->len));
        if (got <= 0)
            break;
        buf_add(ret, part, (size_t)got);
    }
    return 0;
}
