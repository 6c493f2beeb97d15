#include "services/inference/engine/memory.h"

#include "services/inference/engine/engine.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

/* Writes `text` to root/path, making the folders. */
static void put(const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void fresh_root(void)
{
    snprintf(root, sizeof(root), "/tmp/tollgate-memory-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", root);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void expect(uint64_t configured, uint64_t bytes, const char *what)
{
    tg_memory_room room;
    tg_memory_room_find(root, configured, &room);
    if (room.bytes != bytes || strcmp(room.what, what) != 0)
        printf("# %llu by %s\n", (unsigned long long)room.bytes, room.what);
    CU_ASSERT_EQUAL(room.bytes, bytes);
    CU_ASSERT_STRING_EQUAL(room.what, what);
}

static void test_nothing_limits(void)
{
    fresh_root();
    expect(0, UINT64_MAX, "nothing");
    expect(5000, 5000, "the configured limit");
    put("/proc/meminfo", "MemTotal:       100 kB\nMemAvailable:    70 kB\n");
    expect(0, 70 * 1024, "MemAvailable");
    expect(5000, 5000, "the configured limit");
    put("/proc/self/cgroup", "nonsense\n\n0:\n");
    expect(0, 70 * 1024, "MemAvailable");
    remove_root();
}

static void test_cgroup_v2(void)
{
    fresh_root();
    put("/proc/meminfo", "MemAvailable: 1000000 kB\n");
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    expect(0, 1000000 * 1024ull, "MemAvailable");
    put("/sys/fs/cgroup/a/memory.max", "10000\n");
    expect(0, 10000, "the cgroup's limit");
    put("/sys/fs/cgroup/a/memory.current", "4000\n");
    expect(0, 6000, "the cgroup's limit");
    put("/sys/fs/cgroup/a/memory.stat", "anon 900\nfile 7\ninactive_file 1000\nactive_file 500\n");
    expect(0, 7500, "the cgroup's limit");
    put("/sys/fs/cgroup/a/b/memory.max", "2000\n");
    put("/sys/fs/cgroup/a/b/memory.current", "3000\n");
    expect(0, 0, "the cgroup's limit");
    put("/proc/self/cgroup", "0::/\n"); /* a namespace's own root, or no group */
    expect(0, 1000000 * 1024ull, "MemAvailable");
    put("/sys/fs/cgroup/memory.max", "123456\n");
    expect(0, 123456, "the cgroup's limit");
    remove_root();
}

static void test_cgroup_v1(void)
{
    fresh_root();
    put("/proc/self/cgroup", "11:cpuset:/x\n9:memory:/docker/1f\n0::/ignored\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    expect(0, 9223372036854771712ull, "the cgroup's limit");
    put("/sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes", "50000\n");
    put("/sys/fs/cgroup/memory/docker/1f/memory.usage_in_bytes", "20000\n");
    put("/sys/fs/cgroup/memory/docker/1f/memory.stat", "inactive_file 1\ntotal_inactive_file 3000\n"
                                                       "total_active_file 2000\n");
    expect(0, 35000, "the cgroup's limit");
    remove_root();
}

static void test_the_sum_is_spelled_out(void)
{
    const tg_backend_needs needs = {
        .weights_bytes = 1300000000, .kv_bytes = 500000000, .scratch_bytes = 20000000};
    const uint64_t total = tg_memory_total(&needs);
    tg_error err = {""};
    CU_ASSERT_EQUAL(total, 1820000000 + TG_MEMORY_OVERHEAD_BYTES);
    CU_ASSERT_EQUAL(tg_memory_check(&needs, 16384, &(tg_memory_room){total, "MemAvailable"}, &err),
                    0);
    CU_ASSERT_EQUAL(
        tg_memory_check(&needs, 16384, &(tg_memory_room){total - 1000000, "MemAvailable"}, &err),
        -ENOMEM);
    static const char words[] =
        "the model needs 1870 MB: weights 1300 MB, KV of 16384 tokens 500 MB, scratch 20 MB, "
        "the rest 50 MB; MemAvailable leaves 1869 MB.";
    if (strncmp(err.text, words, strlen(words)) != 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL(strncmp(err.text, words, strlen(words)), 0);
}

static void test_what_is_left_for_a_second_model(void)
{
    CU_ASSERT_EQUAL(tg_memory_left(0, 1000), 0); /* no limit stays none */
    CU_ASSERT_EQUAL(tg_memory_left(TG_MEMORY_OVERHEAD_BYTES + 1500, 1000), 500);
    /* and nothing does not become none */
    CU_ASSERT_EQUAL(tg_memory_left(TG_MEMORY_OVERHEAD_BYTES + 1000, 1000), 1);
    CU_ASSERT_EQUAL(tg_memory_left(5, 1000), 1);
}

static void test_the_default_kv_shrinks(void)
{
    const tg_backend_needs needs = {
        .weights_bytes = 1000000000, .kv_bytes = 16384000000, .scratch_bytes = 10000000};
    /* and a block of KV takes 16 MB */
    const uint64_t rest = tg_memory_total(&needs) - needs.kv_bytes;
    const struct {
        uint64_t room_bytes;
        uint32_t tokens;
    } cases[] = {{UINT64_MAX, 16384},         {rest + 16384000000, 16384},
                 {rest + 16383999999, 12272}, {rest + 1600000000, 75 * 16},
                 {rest + 1000, 512},          {1000, 512}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const tg_memory_room room = {cases[i].room_bytes, "MemAvailable"};
        uint32_t tokens = tg_memory_kv_tokens(&needs, 16384, &room);
        if (tokens != cases[i].tokens)
            printf("# case %zu: %u tokens\n", i, tokens);
        CU_ASSERT_EQUAL(tokens, cases[i].tokens);
    }
    CU_ASSERT_EQUAL(tg_memory_kv_tokens(&needs, 100, &(tg_memory_room){1, ""}), 96);
}

static void test_this_machine(void)
{
    tg_memory_room room;
    tg_memory_room_find("", 0, &room);
    CU_ASSERT(room.bytes > 0);
}

/* A start that cannot succeed says so at once, with the words. */
static void test_engine_refusals(void)
{
    static const struct {
        uint64_t limit_bytes;
        uint32_t threads;
        int rc;
        const char *words;
    } cases[] = {{1000000, 1, -ENOMEM, "; the configured limit leaves 1 MB"},
                 {0, 1000, -EINVAL, "1000 threads; 0 (one per processor) to 256 are allowed"},
                 {0, 0, 0, ""},
                 {(uint64_t)1 << 30, 256, 0, ""}};
    char path[64];
    CU_ASSERT_EQUAL_FATAL(tiny_model_file((tiny_conf){.seed = 1, .type = TG_DTYPE_Q4_0}, path), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tg_error err = {""};
        tg_engine *engine = NULL;
        const tg_engine_conf conf = {.model_path = path,
                                     .threads = cases[i].threads,
                                     .kv_tokens = 64,
                                     .memory_limit_bytes = cases[i].limit_bytes};
        CU_ASSERT_EQUAL(tg_engine_new(&conf, &err, &engine), cases[i].rc);
        if (!strstr(err.text, cases[i].words))
            printf("# '%s' lacks '%s'\n", err.text, cases[i].words);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].words));
        tg_engine_free(engine);
    }
    /* By default it takes what fits: 8 sequences of 2,048 tokens would take more than 1 MB beside
     * the rest. */
    tg_error err = {""};
    tg_engine *engine = NULL;
    tg_engine_status status;
    const tg_engine_conf conf = {.model_path = path, .threads = 1,
                                 .memory_limit_bytes = TG_MEMORY_OVERHEAD_BYTES + (3 << 20)};
    CU_ASSERT_EQUAL_FATAL(tg_engine_new(&conf, &err, &engine), 0);
    tg_engine_get_status(engine, &status);
    CU_ASSERT(status.kv_blocks_total >= 32 && status.kv_blocks_total < 1024);
    CU_ASSERT(status.context_limit <= status.kv_blocks_total * TG_KV_BLOCK_TOKENS);
    CU_ASSERT(status.memory_bytes + TG_MEMORY_OVERHEAD_BYTES <= conf.memory_limit_bytes);
    tg_engine_free(engine);
    unlink(path);
}

static const tg_test tests[] = {
    {"nothing_limits", test_nothing_limits},
    {"cgroup_v2", test_cgroup_v2},
    {"cgroup_v1", test_cgroup_v1},
    {"the_sum_is_spelled_out", test_the_sum_is_spelled_out},
    {"what_is_left_for_a_second_model", test_what_is_left_for_a_second_model},
    {"the_default_kv_shrinks", test_the_default_kv_shrinks},
    {"this_machine", test_this_machine},
    {"engine_refusals", test_engine_refusals}};
TG_TEST_MAIN("services_inference_engine_memory", tests)
