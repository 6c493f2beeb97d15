/* The step loop allocates nothing: neither the engine's thread nor the backend's, from a request's
 * admission to its end.
 *
 * What it works with is there when a request is accepted, on the thread that submits it, or stays
 * from one request to the next: the room for events that wait to be drained grows with the most of
 * them that ever did, and walks of a constraint are made once. So the same requests come three
 * times, under other tenants' names (nothing is in the prefix cache), and the third time counts. */
#include "tests/unit/services/inference/engine_world.h"

#include <sched.h>
#include <stdatomic.h>

enum { TOLD_MAX = 3 };

/* The sanitizers call it for every allocation; other builds do not have it. */
__attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                          void (*on_free)(const volatile void *));
__attribute__((weak)) void __sanitizer_print_stack_trace(void);

static _Thread_local bool is_the_tests; /* this thread */
static atomic_bool counting;
static atomic_uint allocations;

static void on_malloc(const volatile void *block, size_t size)
{
    (void)block, (void)size;
    if (is_the_tests || !counting)
        return;
    if (atomic_fetch_add(&allocations, 1) < TOLD_MAX)
        __sanitizer_print_stack_trace();
}

static void on_free(const volatile void *block) { (void)block; }

/* All that a step can have in it: one of each kind. */
static tg_gen_request request_of(uint32_t i, const char *tenant)
{
    static char letters[300];
    static const tg_logit_bias bias[] = {{65, 3}, {66, 2}, {67, -5}};
    static const tg_str text = {"one two three one two three one two", 35},
                        regex = {"([0-9]{3}-(ab){2,4}c){9}", 24};
    static const tg_str stops[] = {{"never to be seen", 16}, {"nor this", 8}},
                        prompt = {letters, sizeof(letters)};
    tg_gen_request r = text_request(&text, 150, i);
    for (size_t k = 0; k < sizeof(letters); k++)
        letters[k] = (char)('a' + k * k % 26);
    r.tenant = tg_str_of(tenant);
    r.priority = i % 5 == 4;
    r.echo = i % 8 >= 5;
    switch (i % 8) {
    case 0: /* in chunks, among those that decode; and one that others share */
        r.text = &prompt;
        r.n = i == 16 ? 3 : 0;
        break;
    case 1:
        r.sampling = (tg_sampling){
            .temperature = 0.8f, .top_p = 0.9f, .top_k = 40, .min_p = 0.01f, .seed = i};
        r.adjustments = (tg_adjustments){.repetition_penalty = 1.1f,
                                         .presence_penalty = 0.5f,
                                         .frequency_penalty = 0.5f,
                                         .bias = bias,
                                         .bias_len = 3,
                                         .min_tokens = 20};
        break;
    case 2:
        r.constraint = (tg_constraint_spec){TG_CONSTRAINT_JSON_OBJECT, NULL, 0};
        break;
    case 3:
        if (i == 3)
            r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1};
        else
            r = holding_calls(r);
        break;
    case 4:
        r.stop = stops;
        r.stop_len = 2;
        break;
    case 5:
        r.logprobs = true;
        r.top_logprobs = 5;
        break;
    case 6: /* it repeats itself, and is guessed */
        r.sampling.temperature = 0;
        break;
    default: /* it takes the place of who has several */
        r.tenant = TG_STR("another");
        break;
    }
    return r;
}

static void submit_all(world *w, const char *tenant)
{
    tg_engine_status before, status;
    tg_engine_get_status(w->engine, &before);
    for (uint32_t i = 0; i < 24; i++)
        if (i % 8 != 7)
            CU_ASSERT_EQUAL_FATAL(submit(w, i < 17 ? i : i + 2, request_of(i, tenant), NULL), 0);
    do { /* the engine is full */
        sched_yield();
        tg_engine_get_status(w->engine, &status);
    } while (status.output_tokens_total < before.output_tokens_total + 30);
    for (uint32_t i = 7; i < 24; i += 8)
        CU_ASSERT_EQUAL_FATAL(submit(w, i < 17 ? i : i + 2, request_of(i, tenant), NULL), 0);
}

static void run_undrained(world *w, const char *tenant)
{
    tg_engine_status status = {.running = 1};
    submit_all(w, tenant);
    for (; status.running + status.queue_depth > 0; sched_yield())
        tg_engine_get_status(w->engine, &status);
    drain_all(w);
}

static void test_none(void)
{
    world w;
    tg_engine_status before, after;
    if (!__sanitizer_install_malloc_and_free_hooks) {
        tg_test_skip("only a sanitizer tells of allocations");
        return;
    }
    is_the_tests = true;
    CU_ASSERT_FATAL(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
    world_make_like(&w, (world){.calls = true}, 6, 64, 2048);
    run_undrained(&w, "first");
    /* events wait in two places, which change over when they are drained */
    run_undrained(&w, "second");
    tg_engine_get_status(w.engine, &before);
    counting = true;
    submit_all(&w, "third");
    drain_all(&w);
    counting = false;
    tg_engine_get_status(w.engine, &after);
    CU_ASSERT_EQUAL(allocations, 0);
    printf("# %u allocations in %llu steps, %llu tokens; %llu gave way, %llu were guessed\n",
           allocations, (unsigned long long)(after.steps_total - before.steps_total),
           (unsigned long long)(after.output_tokens_total - before.output_tokens_total),
           (unsigned long long)(after.preempted_total - before.preempted_total),
           (unsigned long long)(after.guessed_tokens_total - before.guessed_tokens_total));
    /* It was what it is said to be. */
    CU_ASSERT(after.steps_total - before.steps_total > 60 &&
              after.output_tokens_total - before.output_tokens_total > 1000);
    CU_ASSERT(after.prompt_tokens_total - before.prompt_tokens_total > 1500);
    CU_ASSERT(after.preempted_total > before.preempted_total &&
              after.guessed_tokens_total > before.guessed_tokens_total);
    CU_ASSERT(strstr(w.results[11].text.data, "</tool_call>") ||
              strstr(w.results[21].text.data, "</tool_call>"));
    for (uint32_t i = 0; i < 26; i++)
        CU_ASSERT(w.results[i].ends == 1 && w.results[i].finish != TG_FINISH_ERROR);
    world_free(&w);
}

static const tg_test tests[] = {{"none", test_none}};
TG_TEST_MAIN("services_inference_engine_allocations", tests)
