/* A token's logits depend on its own prefix alone: not on batch, chunks, threads or block
 * numbers. */
#include "services/inference/backend/backend.h"
#include "services/inference/backend/cpu/pool.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LEN 300 /* past one span of attention */
#define BLOCKS 64

static tg_model *load(tiny_conf conf, tg_buf *file)
{
    tg_gguf *gguf = NULL;
    tg_model *model = NULL;
    tg_error err = {""};
    tiny_model(conf, file);
    if (tg_gguf_parse((const uint8_t *)file->data, file->len, &err, &gguf) < 0 ||
        tg_model_new(gguf, &err, &model) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(model);
    return model;
}

static tg_backend *open_kv(const tg_model *model, uint32_t threads, const char *path,
                           tg_kv_type kv_type)
{
    const tg_backend_conf conf = {.threads = threads, .kv_blocks = 2 * BLOCKS, .kv_type = kv_type,
                                  .step_tokens_max = 512, .step_logits_max = 8};
    tg_backend *backend = NULL;
    if (path)
        setenv("TOLLGATE_CPU", path, 1);
    int rc = tg_backend_open_cpu(model, &conf, NULL, &backend);
    unsetenv("TOLLGATE_CPU");
    if (rc < 0 && path)
        return NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(backend);
    return backend;
}

static tg_backend *open_backend(const tg_model *model, uint32_t threads, const char *path)
{
    return open_kv(model, threads, path, TG_KV_F16);
}

static void fill(uint32_t *tokens, uint32_t len, uint32_t vocab, uint64_t *random)
{
    for (uint32_t i = 0; i < len; i++)
        tokens[i] = (uint32_t)(tiny_random(random) % vocab);
}

/* The logits after `len` tokens, given in chunks of at most `chunk`. */
static void run_chunks(tg_backend *backend, const uint32_t *tokens, uint32_t len, uint32_t chunk,
                       const uint32_t *blocks, uint32_t vocab, float *ret)
{
    const float *logits = NULL;
    for (uint32_t at = 0; at < len; at += chunk) {
        uint32_t n = len - at < chunk ? len - at : chunk;
        const tg_step_seq seq = {tokens + at, n, at, blocks, at + n == len};
        const tg_forward_step step = {.seqs = &seq, .seqs_len = 1};
        CU_ASSERT_EQUAL_FATAL(backend->ops->run(backend, &step, &logits), 0);
    }
    memcpy(ret, logits, vocab * sizeof(float));
}

static void check_invariance_of(tiny_conf conf, tg_kv_type kv_type)
{
    tg_buf file;
    tg_model *model = load(conf, &file);
    const uint32_t vocab = model->shape.vocab;
    uint32_t tokens[LEN], other[LEN], blocks[BLOCKS], reversed[BLOCKS];
    uint64_t random = conf.seed;
    float *want = malloc(vocab * sizeof(float)), *got = malloc(vocab * sizeof(float));
    fill(tokens, LEN, vocab, &random);
    fill(other, LEN, vocab, &random);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        blocks[i] = i;
        reversed[i] = 2 * BLOCKS - 1 - i;
    }
    tg_backend *one = open_kv(model, 1, NULL, kv_type), *three = open_kv(model, 3, NULL, kv_type);
    run_chunks(one, tokens, LEN, LEN, blocks, vocab, want);
    const uint32_t chunks[] = {1, 7, 64, 255};
    for (size_t i = TG_TEST_RACES ? 2 : 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        run_chunks(three, tokens, LEN, chunks[i], reversed, vocab, got);
        CU_ASSERT_EQUAL(memcmp(want, got, vocab * sizeof(float)), 0);
    }
    /* In company: the last token decodes while others prefill. */
    run_chunks(three, tokens, LEN - 1, 100, blocks, vocab, got);
    const tg_step_seq seqs[] = {{other, 150, 0, reversed, 1},
                                {tokens + LEN - 1, 1, LEN - 1, blocks, 1},
                                {other + 5, 3, 0, reversed + 20, false}};
    const tg_forward_step step = {.seqs = seqs, .seqs_len = 3};
    const float *logits = NULL;
    CU_ASSERT_EQUAL(three->ops->run(three, &step, &logits), 0);
    CU_ASSERT_EQUAL(memcmp(want, logits + vocab, vocab * sizeof(float)), 0);
    tg_backend_close(one);
    tg_backend_close(three);
    free(want);
    free(got);
    tg_model_free(model);
    tg_buf_free(&file);
}

static void check_invariance(tiny_conf conf) { check_invariance_of(conf, TG_KV_F16); }

static void test_invariance_with_kv_in_q8(void)
{
    check_invariance_of((tiny_conf){.seed = 1, .type = TG_DTYPE_F32}, TG_KV_Q8);
    if (TG_TEST_RACES)
        return;
    check_invariance_of(
        (tiny_conf){.seed = 5, .type = TG_DTYPE_Q4_1, .width = 96, .heads = 2, .kv_heads = 1},
        TG_KV_Q8);
    check_invariance_of(
        (tiny_conf){.seed = 6, .type = TG_DTYPE_Q8_0, .architecture = "qwen2", .window = 40},
        TG_KV_Q8);
}

static void test_invariance(void)
{
    check_invariance((tiny_conf){.seed = 1, .type = TG_DTYPE_F32, .tied = true});
    check_invariance(
        (tiny_conf){.seed = 6, .type = TG_DTYPE_Q8_0, .architecture = "qwen2", .window = 40});
    if (TG_TEST_RACES) /* the threads share out whatever the types and shapes are */
        return;
    check_invariance((tiny_conf){.seed = 3, .type = TG_DTYPE_Q8_0, .kv_heads = 4});
    check_invariance((tiny_conf){.seed = 4, .type = TG_DTYPE_Q4_0, .width = 96, .heads = 6});
    check_invariance(
        (tiny_conf){.seed = 5, .type = TG_DTYPE_Q4_1, .width = 96, .heads = 3, .kv_heads = 1});
    check_invariance((tiny_conf){.seed = 2, .type = TG_DTYPE_F16, .heads = 4, .kv_heads = 1});
    check_invariance(
        (tiny_conf){.seed = 7, .type = TG_DTYPE_Q4_0, .architecture = "qwen3", .tied = true});
    check_invariance((tiny_conf){.seed = 8, .type = TG_DTYPE_Q4_1, .window = 260});
    check_invariance((tiny_conf){.seed = 12, .type = TG_DTYPE_BF16});
    check_invariance((tiny_conf){.seed = 13, .type = TG_DTYPE_Q5_0, .tied = true});
    check_invariance((tiny_conf){.seed = 14, .type = TG_DTYPE_Q5_1});
    check_invariance(
        (tiny_conf){.seed = 15, .type = TG_DTYPE_Q4_K, .width = 256, .ffn = 512, .tied = true});
    check_invariance((tiny_conf){.seed = 16, .type = TG_DTYPE_Q5_K, .width = 256, .ffn = 256});
    check_invariance(
        (tiny_conf){.seed = 17, .type = TG_DTYPE_Q6_K, .width = 256, .ffn = 256, .tied = true});
}

/* All instruction sets, and the tied and the separate output: the same bits on a quantised
 * model. */
static void test_paths_agree(void)
{
    static const char *const paths[] = {"scalar", "avx2", "avx512", "amx"};
    tg_buf file;
    tg_model *model = load((tiny_conf){.seed = 9, .type = TG_DTYPE_Q4_1}, &file);
    const uint32_t vocab = model->shape.vocab;
    uint32_t tokens[40], blocks[BLOCKS];
    uint64_t random = 9;
    float *want = malloc(vocab * sizeof(float)), *got = malloc(vocab * sizeof(float));
    fill(tokens, 40, vocab, &random);
    for (uint32_t i = 0; i < BLOCKS; i++)
        blocks[i] = i;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        tg_backend *backend = open_backend(model, 2, paths[i]);
        if (!backend) {
            tg_test_skip("no processor feature: AVX2, AVX-512 with VNNI or AMX");
            continue;
        }
        run_chunks(backend, tokens, 40, 16, blocks, vocab, i ? got : want);
        CU_ASSERT(i == 0 || memcmp(want, got, vocab * sizeof(float)) == 0);
        tg_backend_close(backend);
    }
    free(want);
    free(got);
    tg_model_free(model);
    tg_buf_free(&file);
}

static uint64_t fingerprint(tg_backend *backend, uint32_t vocab)
{
    uint32_t tokens[20], blocks[2] = {1, 0};
    uint64_t random = 11, hash = 0xcbf29ce484222325u;
    float *logits = malloc(vocab * sizeof(float));
    fill(tokens, 20, vocab, &random);
    run_chunks(backend, tokens, 20, 20, blocks, vocab, logits);
    for (size_t k = 0; k < vocab * sizeof(float); k++)
        hash = (hash ^ ((const unsigned char *)logits)[k]) * 0x100000001b3u;
    free(logits);
    return hash;
}

/* Stored fingerprints of logits: a change of any rule in numerics.h shows here, on whichever path
 * it is. */
static void test_numerics_version(void)
{
    static const char *const paths[] = {"scalar", "avx2", "avx512"};
    static const struct {
        tg_dtype type;
        uint64_t want;
        tg_kv_type kv_type;
    } stored[] = {{TG_DTYPE_F32, 0x313bba2971b9a42u, TG_KV_F16},
                  {TG_DTYPE_F16, 0x760305724106076bu, TG_KV_F16},
                  {TG_DTYPE_BF16, 0x9481bf2f092518f0u, TG_KV_F16},
                  {TG_DTYPE_Q8_0, 0x629e9952e586b32du, TG_KV_F16},
                  {TG_DTYPE_Q4_0, 0xd9bb7f5dba343de3u, TG_KV_F16},
                  {TG_DTYPE_Q4_1, 0xf0b6616c69bb50bu, TG_KV_F16},
                  {TG_DTYPE_Q5_0, 0x198066068bb6a9a8u, TG_KV_F16},
                  {TG_DTYPE_Q5_1, 0x95879c9ad9fd55u, TG_KV_F16},
                  {TG_DTYPE_Q4_K, 0xacead8df9273a5d2u, TG_KV_F16},
                  {TG_DTYPE_Q5_K, 0xf74cdb61310c6e9eu, TG_KV_F16},
                  {TG_DTYPE_Q6_K, 0xa357854bb2d9fb2fu, TG_KV_F16},
                  {TG_DTYPE_Q8_0, 0xa704db861cf7975eu, TG_KV_Q8}};
    for (size_t i = 0; i < (TG_TEST_RACES ? 1 : sizeof(stored) / sizeof(stored[0])); i++) {
        const tg_dtype_info *type = tg_dtype_get(stored[i].type);
        const uint32_t wide = type->block_len == TG_QUANT_SUPER ? TG_QUANT_SUPER : 0;
        tg_buf file;
        tg_model *model = load(
            (tiny_conf){.seed = 11, .type = stored[i].type, .width = wide, .ffn = wide}, &file);
        for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++) {
            tg_backend *backend = open_kv(model, 1, paths[p], stored[i].kv_type);
            if (!backend) {
                tg_test_skip("no processor feature: AVX2 or AVX-512 with VNNI");
                continue;
            }
            const uint64_t hash = fingerprint(backend, model->shape.vocab);
            if (hash != stored[i].want)
                printf("# %s on %s: the fingerprint is 0x%llx\n", type->name, paths[p],
                       (unsigned long long)hash);
            CU_ASSERT_EQUAL(hash, stored[i].want);
            tg_backend_close(backend);
        }
        tg_model_free(model);
        tg_buf_free(&file);
    }
}

/* What others may leave a thread with: rounding up, and, where there is such a thing, what is below
 * the normal numbers taken for zero. */
static void spoil_environment(void)
{
    fesetround(FE_UPWARD);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u);
#endif
}

static bool environment_is_sound(void)
{
    volatile float least = 0x1p-126f, half = 0.5f, tiny = least * half, same = 1.0f + 0x1p-25f;
    return fegetround() == FE_TONEAREST && tiny != 0 && same == 1.0f;
}

static void note_environment(void *context, uint32_t index, uint32_t thread)
{
    atomic_uint *sound = context;
    (void)index;
    /* the caller's own is its affair here; and it leaves the others time to take part */
    if (thread == 0)
        sched_yield();
    if (thread > 0)
        atomic_fetch_add(&sound[0], 1);
    if (thread > 0 && environment_is_sound())
        atomic_fetch_add(&sound[1], 1);
}

/* Logits are those of the stored fingerprint though every thread was left in another
 * environment. */
static void test_environment_of_threads(void)
{
    tg_buf file;
    tg_model *model = load((tiny_conf){.seed = 11, .type = TG_DTYPE_F32}, &file);
    tg_backend *backend = open_backend(model, 3, NULL);
    const uint64_t want = fingerprint(backend, model->shape.vocab);
    tg_backend_close(backend);
    spoil_environment();
    backend = open_backend(model, 3, NULL);
    spoil_environment();
    CU_ASSERT_EQUAL(fingerprint(backend, model->shape.vocab), want);
    CU_ASSERT(environment_is_sound()); /* who asks for a step draws from it */
    tg_backend_close(backend);
    atomic_uint sound[2] = {0};
    tg_pool *pool = NULL;
    spoil_environment();
    CU_ASSERT_EQUAL_FATAL(tg_pool_new(3, &pool), 0);
    for (int i = 0; i < 1000 && sound[0] == 0; i++)
        tg_pool_run(pool, note_environment, sound, 1000);
    CU_ASSERT(sound[0] > 0 && sound[1] == sound[0]);
    tg_pool_free(pool);
    fesetenv(FE_DFL_ENV);
    tg_model_free(model);
    tg_buf_free(&file);
}

static void test_bad_steps(void)
{
    tg_buf file;
    tg_model *model = load((tiny_conf){.seed = 1}, &file);
    tg_backend *backend = open_backend(model, 2, NULL);
    const uint32_t tokens[] = {1, model->shape.vocab}, blocks[] = {0};
    const float *logits;
    tg_step_seq seq = {tokens, 2, 0, blocks, 1};
    const tg_forward_step step = {.seqs = &seq, .seqs_len = 1};
    CU_ASSERT(backend->ops->run(backend, &step, &logits) < 0);
    seq.tokens_len = 0;
    CU_ASSERT(backend->ops->run(backend, &step, &logits) < 0);
    seq.tokens_len = 1;
    CU_ASSERT_EQUAL(backend->ops->run(backend, &step, &logits), 0);
    tg_backend_close(backend);
    tg_model_free(model);
    tg_buf_free(&file);
}

/* A file that is cut after loading changes nothing; one that is cut or changed while it is read is
 * refused. */
static void test_file_is_cut(void)
{
    static const char *const words[] = {"bytes when it was opened",
                                        "was changed while it was read"};
    const uint32_t tokens[] = {5, 6, 7}, blocks[] = {0};
    for (int tied = 0; tied < 2; tied++) {
        char path[64];
        float want[TINY_SPM_TOKENS], got[TINY_SPM_TOKENS];
        tg_model *model = NULL;
        CU_ASSERT_EQUAL_FATAL(
            tiny_model_file((tiny_conf){.seed = 3, .type = TG_DTYPE_Q8_0, .tied = tied}, path), 0);
        CU_ASSERT_EQUAL_FATAL(tg_model_open(path, NULL, &model), 0);
        tg_backend *backend = open_backend(model, 2, NULL);
        run_chunks(backend, tokens, 3, 1, blocks, TINY_SPM_TOKENS, want);
        CU_ASSERT_EQUAL(truncate(path, 100), 0);
        run_chunks(backend, tokens, 3, 1, blocks, TINY_SPM_TOKENS, got);
        CU_ASSERT_EQUAL(memcmp(want, got, sizeof(want)), 0);
        tg_backend_close(backend);
        tg_model_free(model);
        unlink(path);
    }
    for (int how = 0; how < 2; how++) {
        char path[64];
        const tg_backend_conf conf = {
            .threads = 2, .kv_blocks = BLOCKS, .step_tokens_max = 16, .step_logits_max = 1};
        tg_model *model = NULL;
        tg_backend *backend = NULL;
        tg_error err = {""};
        CU_ASSERT_EQUAL_FATAL(tiny_model_file((tiny_conf){.seed = 3, .type = TG_DTYPE_Q4_1}, path),
                              0);
        CU_ASSERT_EQUAL_FATAL(tg_model_open(path, NULL, &model), 0);
        const struct timespec times[2] = {{1, 0}, {1, 0}};
        CU_ASSERT_EQUAL(how == 0 ? truncate(path, 100) : utimensat(AT_FDCWD, path, times, 0), 0);
        CU_ASSERT_EQUAL(tg_backend_open_cpu(model, &conf, &err, &backend), -EIO);
        if (!strstr(err.text, words[how]) || !strstr(err.text, path))
            printf("# '%s' lacks '%s'\n", err.text, words[how]);
        CU_ASSERT(strstr(err.text, words[how]) && strstr(err.text, path));
        tg_model_free(model);
        unlink(path);
    }
}

typedef struct seen {
    uint64_t calls, done, total;
} seen;

static void on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    seen *s = user;
    CU_ASSERT(done_bytes > s->done && done_bytes <= total_bytes &&
              (s->calls == 0 || total_bytes == s->total));
    *s = (seen){s->calls + 1, done_bytes, total_bytes};
}

/* What is planned is what is taken, and loading tells how far it is. */
static void test_plan_and_progress(void)
{
    tg_buf file;
    tg_model *model = load((tiny_conf){.seed = 1, .type = TG_DTYPE_Q4_0, .layers = 5}, &file);
    seen s = {0, 0, 0};
    const tg_backend_conf conf = {.threads = 3,
                                  .kv_blocks = 7,
                                  .step_tokens_max = 20,
                                  .step_logits_max = 2,
                                  .progress = on_progress,
                                  .progress_user = &s};
    tg_backend *backend = NULL;
    tg_backend_needs needs;
    tg_error err = {""};
    CU_ASSERT_EQUAL_FATAL(tg_backend_plan_cpu(model, &conf, &err, &needs), 0);
    CU_ASSERT_EQUAL(needs.kv_bytes, 7 * tg_backend_kv_block_bytes(model, TG_KV_F16));
    CU_ASSERT_EQUAL_FATAL(tg_backend_open_cpu(model, &conf, &err, &backend), 0);
    CU_ASSERT_EQUAL(backend->memory_bytes,
                    needs.weights_bytes + needs.kv_bytes + needs.scratch_bytes);
    CU_ASSERT(s.calls > 5 && s.done == s.total && s.total == needs.weights_bytes);
    tg_backend_close(backend);
    const tg_backend_conf q8 = {.threads = 3,
                                .kv_blocks = 7,
                                .kv_type = TG_KV_Q8,
                                .step_tokens_max = 20,
                                .step_logits_max = 2};
    CU_ASSERT_EQUAL(tg_backend_plan_cpu(model, &q8, &err, &needs), 0);
    CU_ASSERT_EQUAL(needs.kv_bytes, 7 * tg_backend_kv_block_bytes(model, TG_KV_Q8));
    /* layers, heads, int8, scales */
    CU_ASSERT_EQUAL(tg_backend_kv_block_bytes(model, TG_KV_Q8), 5 * 2 * (2 * 16 * 16 + 2 * 16 * 2));
    CU_ASSERT_EQUAL_FATAL(tg_backend_open_cpu(model, &q8, &err, &backend), 0);
    CU_ASSERT_EQUAL(backend->memory_bytes,
                    needs.weights_bytes + needs.kv_bytes + needs.scratch_bytes);
    tg_backend_close(backend);
    CU_ASSERT_EQUAL(tg_backend_plan_cpu(model, &(tg_backend_conf){.threads = 1000}, &err, &needs),
                    -EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "1000 threads; 0 (one per processor) to 256 are allowed");
    tg_model_free(model);
    tg_buf_free(&file);
}

static const tg_test tests[] = {{"logits_depend_on_the_prefix_alone", test_invariance},
                                {"the_same_with_kv_in_q8", test_invariance_with_kv_in_q8},
                                {"paths_agree", test_paths_agree},
                                {"numerics_version", test_numerics_version},
                                {"environment_of_threads", test_environment_of_threads},
                                {"bad_steps", test_bad_steps},
                                {"file_is_cut", test_file_is_cut},
                                {"plan_and_progress", test_plan_and_progress}};
TG_TEST_MAIN("services_inference_backend_forward", tests)
