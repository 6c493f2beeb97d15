/* A spool opened over any files: it opens or says why not, and what it then holds is the same at
 * the next opening, with nothing left to recover and nothing torn.
 *
 * The first byte chooses. Even: the rest is the segment files as they are, cut into 1 to 4. Odd:
 * the rest is a list of records (type, opened sequence, length, event), written with their right
 * checksums, so that the checksum does not keep the fuzzer out. */
#include "libs/usage/segment.h"
#include "libs/usage/spool.h"

#include "tests/unit/libs/usage/spool_dir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1 };

static char dir[64];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void write_segment(unsigned number, const char *data, size_t len)
{
    char name[TG_SEGMENT_NAME];
    tg_segment_name(number, name);
    spool_file_write(dir, name, data, len);
}

static void write_raw(unsigned files, const char *data, size_t size)
{
    for (unsigned i = 0; i < files; i++) {
        size_t from = size * i / files, to = size * (i + 1) / files;
        write_segment(i + 1, data + from, to - from);
    }
}

static void write_records(const uint8_t *data, size_t size)
{
    tg_buf file;
    tg_buf_init(&file, 0);
    tg_buf_add(&file, TG_SEGMENT_MAGIC, TG_SEGMENT_MAGIC_BYTES);
    uint64_t sequence = 0;
    while (size >= 3) {
        size_t len = data[2];
        if (len > size - 3)
            len = size - 3;
        tg_record record = {.type = (tg_record_type)(1 + data[0] % 3),
                            .sequence = ++sequence,
                            .opened_sequence = data[1],
                            .closed_unix_ns = data[1],
                            .tenant = TG_STR("t"),
                            .event = {(const char *)data + 3, len}};
        require(tg_record_build_raw(&record, &file) == 0);
        data += 3 + len;
        size -= 3 + len;
    }
    write_segment(1, file.data, file.len);
    tg_buf_free(&file);
}

static void remove_dir(void) { spool_dir_remove(dir); }

/* How many closed records there are; all are acknowledged if asked. */
static size_t walk(tg_spool *spool, bool ack)
{
    uint64_t sequence = 0;
    size_t count = 0;
    for (tg_str tenant, event; tg_spool_next(spool, sequence, &sequence, &tenant, &event) == 0;
         count++)
        if (ack)
            tg_spool_acked(spool, sequence);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_spool_conf conf = {.dir = dir, .sync_ms = 50, .segment_bytes = 4096};
    tg_error err = {""};
    tg_spool *spool = NULL;
    tg_spool_stats stats;
    if (!dir[0]) {
        spool_dir_make(dir);
        atexit(remove_dir);
    }
    spool_dir_clear(dir);
    if (size == 0)
        return 0;
    if (data[0] % 2)
        write_records(data + 1, size - 1);
    else
        write_raw(1 + data[0] / 2 % 4, (const char *)data + 1, size - 1);
    if (tg_spool_open(NULL, &conf, NOW, &err, &spool) < 0) {
        require(err.text[0] != '\0');
        return 0;
    }
    size_t count = walk(spool, false);
    tg_spool_stats_get(spool, &stats);
    require(stats.unacked == count && stats.unreadable == 0 && stats.opened == 0);
    tg_spool_close(spool);
    require(tg_spool_open(NULL, &conf, NOW, &err, &spool) == 0);
    tg_spool_stats_get(spool, &stats);
    require(stats.recovered == 0 && stats.torn_bytes == 0 && stats.unacked == count);
    require(walk(spool, true) == count);
    tg_spool_close(spool);
    return 0;
}
