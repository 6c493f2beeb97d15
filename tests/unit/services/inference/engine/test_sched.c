#include "services/inference/engine/sched.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>

static void test_shares_sum_exactly(void)
{
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(100000); round++) {
        uint64_t weights[9], shares[9], sum = 0;
        const uint32_t len = 1 + (uint32_t)(tiny_random(&random) % 9);
        const uint64_t total = tiny_random(&random) >> (tiny_random(&random) % 60);
        for (uint32_t i = 0; i < len; i++)
            weights[i] = tiny_random(&random) >> (24 + tiny_random(&random) % 40);
        tg_share(total, weights, len, shares);
        for (uint32_t i = 0; i < len; i++)
            sum += shares[i];
        CU_ASSERT_EQUAL(sum, total);
    }
}

typedef struct world {
    tg_buf file;
    tg_model *model;
    tg_kv *kv;
    tg_sched sched;
    uint64_t ids;
} world;

static void world_make(world *w, uint32_t blocks, uint32_t max_seqs, uint32_t budget)
{
    static const uint8_t key[16] = {9};
    tg_gguf *gguf = NULL;
    *w = (world){0};
    tiny_model((tiny_conf){.seed = 1, .layers = 1}, &w->file);
    CU_ASSERT_EQUAL_FATAL(tg_gguf_parse((const uint8_t *)w->file.data, w->file.len, NULL, &gguf), 0);
    CU_ASSERT_EQUAL_FATAL(tg_model_new(gguf, NULL, &w->model), 0);
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(blocks, key, &w->kv), 0);
    w->sched = (tg_sched){.kv = w->kv, .max_seqs = max_seqs, .max_queue = 100, .budget = budget};
}

static void world_free(world *w)
{
    tg_kv_free(w->kv);
    tg_model_free(w->model);
    tg_buf_free(&w->file);
}

/* A prompt of `len` equal tokens. */
static tg_seq *add(world *w, uint32_t len, uint32_t max_tokens, uint32_t priority, uint32_t token)
{
    tg_token_list tokens = {0};
    tg_seq *seq = NULL;
    for (uint32_t i = 0; i < len; i++)
        tg_token_list_add(&tokens, token);
    const tg_gen_request r = {.max_tokens = max_tokens, .priority = priority, .tokens = tokens.ids};
    CU_ASSERT_EQUAL_FATAL(tg_seq_new(&r, w->model, w->kv, 1024, 64, &tokens, NULL, &seq), 0);
    tg_token_list_free(&tokens);
    seq->id = ++w->ids;
    CU_ASSERT_EQUAL(tg_sched_enqueue(&w->sched, seq), 0);
    return seq;
}

/* One step with made-up tokens; sequences at their limit leave. Returns the tokens planned. */
static uint32_t step(world *w)
{
    tg_sched_admit(&w->sched, 0);
    uint32_t planned = tg_sched_plan(&w->sched);
    for (uint32_t i = w->sched.running_len; i > 0; i--) {
        tg_seq *seq = w->sched.running[i - 1];
        if (seq->planned == 0)
            continue;
        tg_sched_advance(&w->sched, seq);
        if (seq->computed == seq->len)
            seq->tokens[seq->len++] = 5;
        if (seq->len == seq->limit) {
            tg_sched_remove(&w->sched, seq);
            tg_seq_free(seq);
        }
    }
    return planned;
}

static void test_decode_goes_first(void)
{
    world w;
    world_make(&w, 64, 4, 32);
    tg_seq *short_one = add(&w, 4, 20, 0, 3);
    step(&w);
    CU_ASSERT_EQUAL(short_one->len, 5);
    tg_seq *long_one = add(&w, 200, 20, 0, 4);
    for (uint32_t i = 0; i < 6; i++) { /* a long prompt never makes decoding wait */
        CU_ASSERT_EQUAL(step(&w), 32);
        CU_ASSERT_EQUAL(short_one->len, 6 + i);
        CU_ASSERT_EQUAL(long_one->computed, 31 * (i + 1));
    }
    tg_sched_remove(&w.sched, short_one);
    tg_sched_remove(&w.sched, long_one);
    tg_seq_free(short_one);
    tg_seq_free(long_one);
    CU_ASSERT_EQUAL(w.sched.promised, 0);
    CU_ASSERT(tg_kv_check(w.kv));
    world_free(&w);
}

static void test_interactive_before_batch(void)
{
    world w;
    world_make(&w, 64, 1, 32);
    tg_seq *batch = add(&w, 4, 1, 1, 3), *interactive = add(&w, 4, 1, 0, 3);
    tg_sched_admit(&w.sched, 0);
    CU_ASSERT_PTR_EQUAL(w.sched.running[0], interactive);
    CU_ASSERT_PTR_EQUAL(tg_sched_find(&w.sched, 1), batch);
    tg_sched_remove(&w.sched, interactive);
    tg_sched_remove(&w.sched, batch);
    tg_seq_free(interactive);
    tg_seq_free(batch);
    world_free(&w);
}

static void test_admission_waits_for_memory(void)
{
    world w;
    world_make(&w, 8, 4, 64); /* 128 tokens */
    add(&w, 40, 40, 0, 3);    /* at most 79 slots: 5 blocks */
    add(&w, 40, 40, 0, 4);
    step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len, 1);
    CU_ASSERT_EQUAL(w.sched.waiting_len, 1);
    for (uint32_t i = 0; i < 200; i++)
        step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len + w.sched.waiting_len, 0);
    CU_ASSERT_EQUAL(tg_kv_count(w.kv).used, 0);
    world_free(&w);
}

static void test_prefix_is_reused(void)
{
    world w;
    world_make(&w, 64, 4, 256);
    add(&w, 40, 1, 0, 3);
    step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len, 0);
    tg_seq *again = add(&w, 40, 1, 0, 3);
    tg_sched_admit(&w.sched, 0);
    CU_ASSERT_EQUAL(again->usage.cached_tokens, 32);
    CU_ASSERT_EQUAL(tg_sched_plan(&w.sched), 8);
    tg_sched_remove(&w.sched, again);
    tg_seq_free(again);
    again = add(&w, 32, 1, 0, 3); /* the last token is computed even when all blocks are there */
    tg_sched_admit(&w.sched, 0);
    CU_ASSERT_EQUAL(again->usage.cached_tokens, 16);
    tg_sched_remove(&w.sched, again);
    tg_seq_free(again);
    CU_ASSERT(tg_kv_check(w.kv));
    world_free(&w);
}

/* Random arrivals and removals: budgets hold, memory balances, everyone gets through. */
static void test_random_schedules(void)
{
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(20); round++) {
        world w;
        world_make(&w, 20, 3, 24);
        for (int i = 0; i < 400; i++) {
            if (w.sched.waiting_len < 10 && tiny_random(&random) % 3 == 0)
                add(&w, 1 + (uint32_t)(tiny_random(&random) % 60), 1 + (uint32_t)(tiny_random(&random) % 60),
                    (uint32_t)(tiny_random(&random) % 2), (uint32_t)(tiny_random(&random) % 2));
            if (tiny_random(&random) % 10 == 0) {
                tg_seq *seq = tg_sched_find(&w.sched, 1 + tiny_random(&random) % (w.ids + 1));
                if (seq)
                    tg_sched_remove(&w.sched, seq);
                tg_seq_free(seq);
            }
            CU_ASSERT(step(&w) <= 24);
            CU_ASSERT(tg_kv_check(w.kv));
        }
        for (int i = 0; i < 5000 && w.sched.running_len + w.sched.waiting_len > 0; i++)
            step(&w);
        CU_ASSERT_EQUAL(w.sched.running_len + w.sched.waiting_len, 0);
        CU_ASSERT_EQUAL(w.sched.promised, 0);
        CU_ASSERT_EQUAL(tg_kv_count(w.kv).used, 0);
        world_free(&w);
    }
}

static void test_queue_is_bounded(void)
{
    world w;
    world_make(&w, 64, 1, 32);
    w.sched.max_queue = 1;
    tg_seq *first = add(&w, 4, 1, 0, 3);
    CU_ASSERT_EQUAL(tg_sched_enqueue(&w.sched, first), -EAGAIN);
    tg_sched_remove(&w.sched, first);
    tg_seq_free(first);
    world_free(&w);
}

static const tg_test tests[] = {{"shares_sum_exactly", test_shares_sum_exactly},
                                {"decode_goes_first", test_decode_goes_first},
                                {"interactive_before_batch", test_interactive_before_batch},
                                {"admission_waits_for_memory", test_admission_waits_for_memory},
                                {"prefix_is_reused", test_prefix_is_reused},
                                {"random_schedules", test_random_schedules},
                                {"queue_is_bounded", test_queue_is_bounded}};
TG_TEST_MAIN("services_inference_engine_sched", tests)
