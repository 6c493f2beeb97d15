#include "services/inference/serve/request_log.h"

#include "libs/base/clock.h"
#include "libs/json/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int tg_request_log_open(const char *path, tg_error *err, int *ret_fd)
{
    *ret_fd = -1;
    if (!path || !*path)
        return 0;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return tg_error_set(err, -errno, "request_log: %s: %s", path, strerror(errno));
    *ret_fd = fd;
    return 0;
}

void tg_request_record_init(tg_request_record *record, const char *request_id, uint32_t attempt,
                            const char *tenant, const char *model)
{
    tg_str_copy(record->request_id, sizeof record->request_id, tg_str_of(request_id));
    tg_str_copy(record->tenant, sizeof record->tenant, tg_str_of(tenant));
    tg_str_copy(record->model, sizeof record->model, tg_str_of(model));
    record->attempt = attempt;
}

static void put_u64(tg_json_out *out, const char *key, uint64_t value)
{
    tg_json_out_key(out, key);
    tg_json_out_u64(out, value);
}

static void put_text(tg_json_out *out, const char *key, const char *value)
{
    tg_json_out_key(out, key);
    tg_json_out_text(out, value);
}

void tg_request_log_write(int fd, const tg_request_record *record, const tg_gen_usage *usage,
                          const char *finish, uint64_t wall_ns)
{
    char when[TG_CLOCK_TEXT];
    tg_buf line;
    if (fd < 0)
        return;
    tg_buf_init(&line, 4096);
    tg_clock_format(wall_ns, when, sizeof when);
    tg_json_out out = tg_json_out_to(&line);
    tg_json_out_begin_object(&out);
    put_text(&out, "time", when);
    put_text(&out, "request_id", record->request_id);
    put_u64(&out, "attempt", record->attempt);
    put_text(&out, "tenant", record->tenant);
    put_text(&out, "model", record->model);
    put_text(&out, "finish", finish);
    put_u64(&out, "status", 200);
    put_u64(&out, "prompt_tokens", usage->prompt_tokens);
    put_u64(&out, "cached_tokens", usage->cached_tokens);
    put_u64(&out, "output_tokens", usage->output_tokens);
    put_u64(&out, "queue_ns", usage->queue_ns);
    put_u64(&out, "prefill_ns", usage->prefill_ns);
    put_u64(&out, "decode_ns", usage->decode_ns);
    put_u64(&out, "engine_ns", usage->engine_ns);
    put_u64(&out, "loose_tools", record->loose_tools);
    tg_json_out_end_object(&out);
    tg_buf_add_char(&line, '\n');
    ssize_t written = write(fd, line.data, line.len);
    (void)written; /* a full disk: the account has a hole, the service goes on */
    tg_buf_free(&line);
}
