#include "services/inference/engine/sched.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>

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
    CU_ASSERT_EQUAL_FATAL(tg_gguf_parse((const uint8_t *)w->file.data, w->file.len, NULL, &gguf),
                          0);
    CU_ASSERT_EQUAL_FATAL(tg_model_new(gguf, NULL, &w->model), 0);
    CU_ASSERT_EQUAL_FATAL(tg_kv_new(blocks, key, &w->kv), 0);
    w->sched = (tg_sched){.kv = w->kv, .max_seqs = max_seqs, .max_queue = 400, .budget = budget};
    CU_ASSERT_EQUAL_FATAL(tg_sched_init(&w->sched), 0);
}

static void world_free(world *w)
{
    CU_ASSERT_EQUAL(tg_map_count(w->sched.tenants), 0);
    tg_sched_free(&w->sched);
    tg_kv_free(w->kv);
    tg_model_free(w->model);
    tg_buf_free(&w->file);
}

/* A prompt of `len` equal tokens. */
static tg_seq *add_for(world *w, const char *tenant, uint32_t len, uint32_t max_tokens,
                       uint32_t priority, uint32_t token)
{
    tg_token_list tokens = {0};
    tg_seq *seq = NULL;
    for (uint32_t i = 0; i < len; i++)
        tg_token_list_add(&tokens, token);
    const tg_gen_request r = {.max_tokens = max_tokens, .priority = priority, .tokens = tokens.ids,
                              .tenant = tg_str_of(tenant)};
    CU_ASSERT_EQUAL_FATAL(tg_seq_new(&r, w->model, w->kv, 1024, 64, &tokens, NULL, &seq), 0);
    tg_token_list_free(&tokens);
    seq->id = ++w->ids;
    CU_ASSERT_EQUAL(tg_sched_enqueue(&w->sched, seq), 0);
    return seq;
}

static tg_seq *add(world *w, uint32_t len, uint32_t max_tokens, uint32_t priority, uint32_t token)
{
    return add_for(w, "", len, max_tokens, priority, token);
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
        tg_sched_advance(&w->sched, seq, 0);
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

/* Whoever was served least goes first with its prompt, but not before those that decode have their
 * token. */
static void test_decode_goes_before_who_was_served_less(void)
{
    world w;
    world_make(&w, 200, 4, 32);
    tg_seq *decoding = add_for(&w, "much", 4, 100, 0, 3),
           *prompt = add_for(&w, "little", 900, 1, 0, 4);
    step(&w);
    CU_ASSERT_EQUAL_FATAL(decoding->len, 5);
    decoding->share->served += 2000;
    for (uint32_t i = 0; i < 20; i++) {
        step(&w);
        CU_ASSERT_EQUAL(decoding->len, 6 + i);
        CU_ASSERT_EQUAL(prompt->computed, 28 + 31 * (i + 1));
    }
    tg_sched_remove(&w.sched, decoding);
    tg_sched_remove(&w.sched, prompt);
    tg_seq_free(decoding);
    tg_seq_free(prompt);
    world_free(&w);
}

static void test_what_can_never_fit_is_refused(void)
{
    world w;
    tg_seq *seq = NULL;
    tg_error err = {""};
    const uint32_t ids[40] = {0};
    const tg_token_list tokens = {.ids = (uint32_t *)(uintptr_t)ids, .len = 40, .cap = 40};
    const tg_gen_request r = {.tokens = ids, .tokens_len = 40, .max_tokens = 25};
    world_make(&w, 64, 4, 32);
    /* 64 slots: 4 blocks */
    CU_ASSERT_EQUAL(tg_seq_new(&r, w.model, w.kv, 1024, 3, &tokens, &err, &seq), -EMSGSIZE);
    CU_ASSERT_STRING_EQUAL(err.text,
                           "prompt and answer may take 65 tokens; the KV memory holds 48");
    CU_ASSERT_EQUAL(tg_seq_new(&r, w.model, w.kv, 1024, 4, &tokens, &err, &seq), 0);
    tg_seq_free(seq);
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

/* Of what is cached the end of a text goes before its beginning, without which the end is of no
 * use. */
static void test_a_cached_beginning_outlives_the_end(void)
{
    world w;
    uint32_t blocks[3];
    world_make(&w, 8, 4, 256);
    add(&w, 100, 1, 0, 3); /* six full blocks */
    step(&w);
    CU_ASSERT_EQUAL_FATAL(tg_kv_count(w.kv).cached, 6);
    for (int i = 0; i < 3; i++) /* two are free */
        CU_ASSERT_EQUAL_FATAL(tg_kv_take(w.kv, &blocks[i]), 0);
    for (int i = 0; i < 3; i++)
        tg_kv_release(w.kv, blocks[i]);
    tg_seq *again = add(&w, 100, 1, 0, 3);
    tg_sched_admit(&w.sched, 0);
    CU_ASSERT_EQUAL(again->usage.cached_tokens, 80);
    tg_sched_remove(&w.sched, again);
    tg_seq_free(again);
    world_free(&w);
}

/* Two equal prompts that come together: what the first computes the second takes, block by
 * block. */
static void test_equal_prompts_are_computed_once(void)
{
    world w;
    uint32_t planned = 0;
    world_make(&w, 64, 4, 32);
    tg_seq *first = add(&w, 100, 20, 0, 3), *second = add(&w, 100, 20, 0, 3);
    for (int i = 0; i < 4; i++)
        planned += step(&w);
    CU_ASSERT(first->len > 100 && second->len > 100);
    CU_ASSERT_EQUAL(second->usage.cached_tokens, 96);
    CU_ASSERT_EQUAL(planned, 100 + 4); /* and nothing else: all four steps were the prompts' */
    CU_ASSERT(tg_kv_check(w.kv));
    while (w.sched.running_len > 0)
        step(&w);
    CU_ASSERT_EQUAL(w.sched.promised, 0);
    world_free(&w);
}

/* Takes all memory that is not owned, and gives it back: nothing is cached any more. */
static void forget_cached(world *w)
{
    uint32_t blocks[400], len = 0;
    while (len < 400 && tg_kv_take(w->kv, &blocks[len]) == 0)
        len++;
    while (len > 0)
        tg_kv_release(w->kv, blocks[--len]);
}

/* What one that gave way computes anew has been counted to its tenant, and is not counted again. */
static void test_giving_way_costs_nothing(void)
{
    world w;
    world_make(&w, 200, 2, 32);
    tg_seq *first = add_for(&w, "flood", 100, 400, 0, 1),
           *second = add_for(&w, "flood", 100, 400, 0, 2);
    while (second->len < 120)
        step(&w);
    add_for(&w, "other", 20, 3, 0, 3);
    step(&w);
    CU_ASSERT_FATAL(second->gave_way && second->computed == 0 && second->paid >= 118);
    forget_cached(&w);
    while (tg_map_count(w.sched.tenants) > 1)
        step(&w);
    uint32_t again = 0;
    while (second->computed < second->paid) {
        const uint64_t before = w.sched.time;
        const uint32_t had = second->computed;
        CU_ASSERT_FATAL(step(&w) > 0);
        const uint32_t fresh =
            second->computed > second->paid ? second->computed - second->paid : 0;
        again += second->computed - had - fresh;
        /* The first one's token, and the second's new ones, which count as the prompt's where their
         * chunk begins in it. */
        CU_ASSERT_EQUAL(w.sched.time - before, 2 + fresh * (had < 100 ? 1 : 2));
    }
    CU_ASSERT(again > 100);
    tg_sched_remove(&w.sched, first);
    tg_sched_remove(&w.sched, second);
    tg_seq_free(first);
    tg_seq_free(second);
    world_free(&w);
}

/* Promises and tenants' counts are those of the sequences that are there. */
static void check_books(const world *w)
{
    uint32_t promised = 0, seqs = w->sched.waiting_len + w->sched.running_len, counted = 0,
             running = 0;
    tg_str salt;
    void *value;
    for (uint32_t i = 0; i < w->sched.running_len; i++)
        promised += w->sched.running[i]->blocks_needed - w->sched.running[i]->blocks_len;
    CU_ASSERT_EQUAL_FATAL(w->sched.promised, promised);
    for (size_t at = 0; tg_map_next(w->sched.tenants, &at, &salt, &value);) {
        const tg_tenant_share *share = value;
        CU_ASSERT_FATAL(share->seqs > 0 && share->running <= share->seqs);
        counted += share->seqs;
        running += share->running;
    }
    CU_ASSERT_EQUAL_FATAL(counted, seqs);
    CU_ASSERT_EQUAL_FATAL(running, w->sched.running_len);
}

/* One tenant fills engine and queue; another's short request is served as if they were not
 * there. */
static void test_a_flood_delays_nobody_else(void)
{
    world w;
    world_make(&w, 400, 4, 32);
    for (int i = 0; i < 200; i++)
        add_for(&w, "flood", 100, 50, 0, (uint32_t)(i % 7));
    for (int i = 0; i < 40; i++)
        step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len, 4);
    tg_seq *other = add_for(&w, "other", 20, 3, 0, 3);
    uint32_t gave_way = 0;
    step(&w);
    for (tg_seq *seq = w.sched.first[0]; seq; seq = seq->next)
        gave_way += seq->gave_way;
    CU_ASSERT_EQUAL(gave_way, 1); /* the youngest of the flood, and first of it in the queue */
    CU_ASSERT_TRUE(w.sched.first[0]->gave_way);
    CU_ASSERT_EQUAL(other->len, 21); /* its first token after one step */
    check_books(&w);
    for (int i = 0; i < 2; i++)
        step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len, 3); /* it is through */
    for (int i = 0; i < 20000 && w.sched.running_len + w.sched.waiting_len > 0; i++)
        step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len + w.sched.waiting_len, 0); /* the one that gave way, too */
    world_free(&w);
}

/* A long prompt of one tenant shares the budget with others' short ones, which go first. */
static void test_a_long_prompt_delays_no_short_one(void)
{
    world w;
    world_make(&w, 200, 8, 32);
    tg_seq *long_one = add_for(&w, "long", 900, 10, 0, 3);
    step(&w);
    for (int i = 0; i < 5; i++) {
        tg_seq *short_one = add_for(&w, "short", 10, 5, 0, (uint32_t)i);
        const uint32_t before = long_one->computed;
        step(&w);
        CU_ASSERT_EQUAL(short_one->len, 11);
        CU_ASSERT(long_one->computed > before);
    }
    while (w.sched.running_len > 0)
        step(&w);
    world_free(&w);
}

/* Two tenants that always have work get equal shares, however their requests look. */
/* The long one loses to the other tenant's, and that one to the short one: but the long one came
 * before the short one. */
static void test_of_a_tenant_the_oldest_goes_first(void)
{
    world w;
    world_make(&w, 64, 1, 32);
    const uint32_t lens[] = {41, 30, 22}; /* all three of tenants that were served nothing yet */
    tg_seq *seqs[3];
    for (uint32_t i = 0; i < 3; i++)
        seqs[i] = add_for(&w, i == 1 ? "globex" : "acme", lens[i], 1, 0, i);
    static const uint32_t order[] = {1, 0, 2};
    for (uint32_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(tg_sched_admit(&w.sched, 0), 1);
        CU_ASSERT_PTR_EQUAL(w.sched.running[0], seqs[order[i]]);
        while (w.sched.running_len > 0)
            step(&w);
    }
    world_free(&w);
}

static void test_backlogged_tenants_share_equally(void)
{
    world w;
    world_make(&w, 400, 4, 32);
    for (int i = 0; i < 100; i++)
        add_for(&w, "small", 10, 10, 0, (uint32_t)(i % 7));
    for (int i = 0; i < 100; i++)
        add_for(&w, "large", 200, 40, 0, (uint32_t)(7 + i % 7));
    tg_tenant_share *small = w.sched.first[0]->share, *large = w.sched.last[0]->share;
    uint64_t most = 0;
    for (int i = 0; i < 150; i++) {
        step(&w);
        const uint64_t apart = small->served > large->served ? small->served - large->served
                                                             : large->served - small->served;
        most = apart > most ? apart : most;
    }
    CU_ASSERT(small->served > 1000 && large->served > 1000);
    CU_ASSERT(most <= 4 * (200 + 2 * 40)); /* what is under way: max_seqs of the largest request */
    while (w.sched.first[0])
        step(&w);
    while (w.sched.running_len > 0)
        step(&w);
    world_free(&w);
}

/* Every step a tenant that was never here brings a short request, enough to fill the step: a long
 * one gets through. */
static void test_ever_new_tenants_starve_nobody(void)
{
    /* one waits for a place; one for its prompt's turn */
    for (uint32_t max_seqs = 1; max_seqs <= 8; max_seqs += 7) {
        world w;
        char name[16];
        world_make(&w, 400, max_seqs, 32);
        const uint64_t id = add_for(&w, "long", 300, 1, 0, 3)->id;
        uint32_t steps = 0;
        for (; steps < 2000 && tg_sched_find(&w.sched, id); steps++) {
            snprintf(name, sizeof(name), "new %u", steps);
            if (w.sched.waiting_len < 8)
                add_for(&w, name, 32, 1, 0, steps % 7);
            step(&w);
        }
        CU_ASSERT(steps < 400);
        while (w.sched.running_len + w.sched.waiting_len > 0)
            step(&w);
        world_free(&w);
    }
}

/* A tenant keeps one running sequence, and blocks that others share are not won: who needs more
 * waits. */
static void test_nobody_gives_way_for_nothing(void)
{
    world w;
    world_make(&w, 20, 4, 256);
    for (uint32_t i = 0; i < 2; i++)
        add_for(&w, "flood", 100, 60, 0, i);
    step(&w);
    tg_seq *other = add_for(&w, "other", 260, 60, 0, 3);
    CU_ASSERT_EQUAL(other->blocks_needed, 20);
    step(&w);
    CU_ASSERT_EQUAL(w.sched.preempted, 0);
    CU_ASSERT_EQUAL(w.sched.running_len, 2);
    while (w.sched.running_len + w.sched.waiting_len > 0)
        step(&w);
    world_free(&w);

    world_make(&w, 14, 4, 256);
    add_for(&w, "flood", 100, 12, 0, 1); /* 7 blocks */
    step(&w);
    for (uint32_t i = 0; i < 2; i++) /* 6 of these are the first one's */
        add_for(&w, "flood", 100, 12, 0, 1);
    step(&w);
    CU_ASSERT_EQUAL(w.sched.running_len, 3);
    add_for(&w, "other", 100, 60, 0, 3); /* needs 10; 5 are free, and 2 could be won */
    step(&w);
    CU_ASSERT_EQUAL(w.sched.preempted, 0);
    while (w.sched.running_len + w.sched.waiting_len > 0)
        step(&w);
    world_free(&w);
}

static void test_batch_waits_for_so_many_and_no_more(void)
{
    world w;
    world_make(&w, 64, 1, 32);
    tg_seq *batch = add(&w, 4, 1, 1, 3);
    uint32_t passed = 0;
    for (; batch->admitted_ns == 0 && passed < 100; passed++) {
        add(&w, 4, 1, 0, 3);
        tg_sched_admit(&w.sched, 1);
        if (batch->admitted_ns == 0)
            step(&w);
    }
    CU_ASSERT_EQUAL(passed, TG_BATCH_PATIENCE + 1);
    while (w.sched.running_len + w.sched.waiting_len > 0)
        step(&w);
    world_free(&w);
}

static const char *const tenants[] = {"acme", "globex", "initech"};

/* Random arrivals and removals: budgets hold, memory balances, everyone gets through. */
static void test_random_schedules(void)
{
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(20); round++) {
        world w;
        world_make(&w, 20, 3, 24);
        for (int i = 0; i < 400; i++) {
            if (w.sched.waiting_len < 10 && tiny_random(&random) % 3 == 0)
                add_for(&w, tenants[tiny_random(&random) % 3],
                        1 + (uint32_t)(tiny_random(&random) % 60),
                        1 + (uint32_t)(tiny_random(&random) % 60),
                        (uint32_t)(tiny_random(&random) % 2), (uint32_t)(tiny_random(&random) % 2));
            if (tiny_random(&random) % 10 == 0) {
                tg_seq *seq = tg_sched_find(&w.sched, 1 + tiny_random(&random) % (w.ids + 1));
                if (seq)
                    tg_sched_remove(&w.sched, seq);
                tg_seq_free(seq);
            }
            CU_ASSERT(step(&w) <= 24);
            CU_ASSERT(tg_kv_check(w.kv));
            check_books(&w);
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

static const tg_test tests[] = {
    {"decode_goes_first", test_decode_goes_first},
    {"decode_goes_before_who_was_served_less", test_decode_goes_before_who_was_served_less},
    {"what_can_never_fit_is_refused", test_what_can_never_fit_is_refused},
    {"interactive_before_batch", test_interactive_before_batch},
    {"admission_waits_for_memory", test_admission_waits_for_memory},
    {"prefix_is_reused", test_prefix_is_reused},
    {"a_cached_beginning_outlives_the_end", test_a_cached_beginning_outlives_the_end},
    {"equal_prompts_are_computed_once", test_equal_prompts_are_computed_once},
    {"giving_way_costs_nothing", test_giving_way_costs_nothing},
    {"a_flood_delays_nobody_else", test_a_flood_delays_nobody_else},
    {"a_long_prompt_delays_no_short_one", test_a_long_prompt_delays_no_short_one},
    {"of_a_tenant_the_oldest_goes_first", test_of_a_tenant_the_oldest_goes_first},
    {"backlogged_tenants_share_equally", test_backlogged_tenants_share_equally},
    {"ever_new_tenants_starve_nobody", test_ever_new_tenants_starve_nobody},
    {"nobody_gives_way_for_nothing", test_nobody_gives_way_for_nothing},
    {"batch_waits_for_so_many_and_no_more", test_batch_waits_for_so_many_and_no_more},
    {"random_schedules", test_random_schedules},
    {"queue_is_bounded", test_queue_is_bounded}};
TG_TEST_MAIN("services_inference_engine_sched", tests)
