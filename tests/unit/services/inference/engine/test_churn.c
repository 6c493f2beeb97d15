/* Many requests at once and one after the other, through an engine whose forward pass is made up:
 * cancels by the thousand and amid a prompt, no memory that is not given back, and a first pass
 * before there is an engine at all. */
#include "services/inference/engine/engine.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

/* ---- a backend that looks at no weights: what is likely follows from the last token and its
 * position ---- */

typedef struct made_up {
    tg_backend base;
    uint32_t vocab;
    float *logits;
} made_up;

static sem_t entered, gate; /* of a step, while `gated` */
static atomic_bool gated;
static uint32_t passes;  /* of the engine that was opened last */
static bool broken;      /* they fail */

static int run_made_up(tg_backend *backend, const tg_forward_step *step, const float **ret_logits)
{
    made_up *m = (made_up *)backend;
    float *row = m->logits;
    passes++;
    if (broken)
        return -EIO;
    for (uint32_t i = 0; i < step->seqs_len; i++) {
        const tg_step_seq *s = &step->seqs[i];
        for (uint32_t k = s->tokens_len - s->logits; k < s->tokens_len; k++, row += m->vocab) {
            memset(row, 0, m->vocab * sizeof(*row));
            row[(s->tokens[k] * 31u + (s->first_position + k) * 7u) % m->vocab] = 10;
        }
    }
    *ret_logits = m->logits;
    if (gated) {
        sem_post(&entered);
        while (sem_wait(&gate) < 0 && errno == EINTR)
            ;
    }
    return 0;
}

static void close_made_up(tg_backend *backend)
{
    free(((made_up *)backend)->logits);
    free(backend);
}

static int open_made_up(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                        tg_backend **ret)
{
    static const tg_backend_ops ops = {
        .kind = "made up", .close = close_made_up, .run = run_made_up};
    made_up *m = calloc(1, sizeof(*m));
    float *logits = calloc((size_t)conf->step_logits_max * model->shape.vocab, sizeof(*logits));
    CU_ASSERT_FATAL(m && logits);
    (void)err;
    passes = 0;
    *m = (made_up){{&ops, "made up", 1, 0}, model->shape.vocab, logits};
    *ret = &m->base;
    return 0;
}

/* ---- a world ---- */

typedef struct world {
    char path[64];
    tg_engine *engine;
    sem_t ready;
    uint64_t open, ended, cancelled, output, engine_ns;
} world;

static void on_ready(void *user) { sem_post(&((world *)user)->ready); }

static void on_event(void *user, const tg_engine_event *event)
{
    world *w = user;
    if (event->finish == TG_FINISH_NONE)
        return;
    w->open--;
    w->ended++;
    w->cancelled += event->finish == TG_FINISH_CANCELLED;
    w->output += event->usage.output_tokens;
    w->engine_ns += event->usage.engine_ns;
}

static void drain(world *w)
{
    while (sem_wait(&w->ready) < 0 && errno == EINTR)
        ;
    tg_engine_drain(w->engine, on_event, w);
}

static int world_try(world *w, uint32_t max_queue, tg_error *err)
{
    *w = (world){.path = ""};
    sem_init(&w->ready, 0, 0);
    CU_ASSERT_EQUAL_FATAL(tiny_model_file((tiny_conf){.seed = 21, .bpe = true}, w->path), 0);
    const tg_engine_conf conf = {.model_path = w->path,
                                 .threads = 1,
                                 .max_seqs = 8,
                                 .max_queue = max_queue,
                                 .kv_tokens = 2048,
                                 .step_token_budget = 64,
                                 .open_backend = open_made_up,
                                 .notify = on_ready,
                                 .notify_user = w};
    return tg_engine_new(&conf, err, &w->engine);
}

static void world_make(world *w, uint32_t max_queue)
{
    CU_ASSERT_EQUAL_FATAL(world_try(w, max_queue, NULL), 0);
}

static void world_free(world *w)
{
    w->engine = tg_engine_free(w->engine);
    unlink(w->path);
    sem_destroy(&w->ready);
}

/* A server is ready when there is an engine, and then a first pass is done; where it fails there is
 * none. */
static void test_there_is_no_engine_before_its_first_pass(void)
{
    world w;
    tg_engine_status status;
    tg_error err = {""};
    world_make(&w, 8);
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT_EQUAL(passes, 1);
    CU_ASSERT_EQUAL(status.steps_total, 0); /* it is nobody's */
    world_free(&w);
    broken = true;
    CU_ASSERT_EQUAL(world_try(&w, 8, &err), -EIO);
    CU_ASSERT_STRING_EQUAL(err.text, "the first step failed");
    broken = false;
    world_free(&w);
}

static void await_step(void)
{
    while (sem_wait(&entered) < 0 && errno == EINTR)
        ;
}

/* Who leaves while its prompt is computed has no block left in the next step, which is
 * another's. */
static void test_client_gone_mid_prefill(void)
{
    static const uint32_t prompt[512]; /* eight steps */
    static const tg_str text = {"hello", 5};
    const tg_gen_request gone = {
        .tokens = prompt, .tokens_len = 512, .max_tokens = 9, .tenant = TG_STR("a")};
    const tg_gen_request other = {
        .text = &text, .max_tokens = 3, .ignore_end = true, .tenant = TG_STR("b")};
    tg_gen_ticket ticket, ignored;
    tg_engine_status status;
    world w;
    world_make(&w, 8);
    sem_init(&entered, 0, 0);
    sem_init(&gate, 0, 0);
    gated = true;
    w.open = 2;
    CU_ASSERT_EQUAL_FATAL(tg_engine_submit(w.engine, &gone, NULL, &ticket), 0);
    await_step();
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(status.running == 1 && status.kv_blocks_used == 64 / TG_KV_BLOCK_TOKENS);
    CU_ASSERT_EQUAL_FATAL(tg_engine_submit(w.engine, &other, NULL, &ignored), 0);
    CU_ASSERT_EQUAL(tg_engine_cancel(w.engine, ticket.seq_id), 0);
    sem_post(&gate);
    await_step();
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(status.steps_total == 1 && status.running == 1 && status.queue_depth == 0);
    CU_ASSERT_EQUAL(status.kv_blocks_used, 1); /* the other's */
    gated = false;
    sem_post(&gate);
    while (w.open > 0)
        drain(&w);
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(w.cancelled == 1 && w.output == 3 && status.kv_blocks_used == 0);
    world_free(&w);
    sem_destroy(&entered);
    sem_destroy(&gate);
}

/* While one step runs a thousand come and are cancelled: all have ended when it is over, and no
 * other step was needed. */
static void test_a_thousand_cancels_in_one_step(void)
{
    enum { MANY = 1000 };
    static uint64_t ids[1 + MANY];
    static const tg_str text = {"hello", 5};
    world w;
    tg_engine_status status;
    world_make(&w, MANY);
    sem_init(&entered, 0, 0);
    sem_init(&gate, 0, 0);
    gated = true;
    for (uint32_t i = 0; i <= MANY; i++) {
        const tg_gen_request r = {.text = &text,
                                  .max_tokens = 100,
                                  .ignore_end = true,
                                  .tenant = i % 2 ? TG_STR("a") : TG_STR("b")};
        tg_gen_ticket ticket;
        CU_ASSERT_EQUAL_FATAL(tg_engine_submit(w.engine, &r, NULL, &ticket), 0);
        ids[i] = ticket.seq_id;
        w.open++;
        if (i == 0)
            await_step();
    }
    /* One more is told at the door, before its prompt is looked at. */
    const uint32_t unknown = UINT32_MAX - 1;
    tg_gen_ticket ticket;
    tg_error err = {""};
    CU_ASSERT_EQUAL(tg_engine_submit(w.engine,
                                     &(tg_gen_request){.tokens = &unknown, .tokens_len = 1}, &err,
                                     &ticket),
                    -EAGAIN);
    CU_ASSERT_STRING_EQUAL(err.text, "the queue is full: 1000 requests wait");
    for (uint32_t i = 0; i <= MANY; i++)
        CU_ASSERT_EQUAL(tg_engine_cancel(w.engine, ids[(i * 5) % (1 + MANY)]), 0);
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(status.running == 1 && status.queue_depth == MANY && status.steps_total == 0);
    gated = false;
    sem_post(&gate);
    while (w.open > 0)
        drain(&w);
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT_EQUAL(w.cancelled, 1 + MANY);
    CU_ASSERT_EQUAL(status.steps_total, 1);
    CU_ASSERT(status.running == 0 && status.queue_depth == 0 && status.kv_blocks_used == 0);
    CU_ASSERT_EQUAL(tg_engine_cancel(w.engine, ids[MANY]), -ENOENT);
    world_free(&w);
    sem_destroy(&entered);
    sem_destroy(&gate);
}

/* Bytes in use: of the heap, to the byte, where a sanitizer counts them; else of the process. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void);

static size_t memory_in_use(void)
{
    size_t total, resident = 0;
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    FILE *file = fopen("/proc/self/statm", "r");
    CU_ASSERT_FATAL(file && fscanf(file, "%zu %zu", &total, &resident) == 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void submit_random(world *w, uint64_t *random, uint64_t *last_id)
{
    static const char letters[] = "the quick brown fox jumps over the lazy dog and runs away from "
                                  "all of them, again and again";
    static const tg_str stops[] = {{"xyz", 3}, {"a", 1}}, choices[] = {{"left", 4}, {"right", 5}};
    const tg_str text = {letters, 1 + tiny_random(random) % (sizeof(letters) - 1)};
    char tenant[32];
    tg_gen_ticket ticket;
    snprintf(tenant, sizeof(tenant), "tenant %u", (unsigned)(tiny_random(random) % 5000));
    tg_gen_request r = {.text = &text,
                        .max_tokens = 1 + (uint32_t)(tiny_random(random) % 4),
                        .tenant = tg_str_of(tenant),
                        .n = tiny_random(random) % 8 ? 1 : 1 + (uint32_t)(tiny_random(random) % 3),
                        .logprobs = tiny_random(random) % 8 == 0,
                        .priority = tiny_random(random) % 4 == 0,
                        .echo = tiny_random(random) % 16 == 0,
                        .sampling = {.temperature = tiny_random(random) % 4 == 0, .seed = *random}};
    if (tiny_random(random) % 4 == 0)
        r.stop = stops, r.stop_len = 2;
    if (tiny_random(random) % 16 == 0)
        r.constraint = (tg_constraint_spec){TG_CONSTRAINT_CHOICE, choices, 2};
    if (tiny_random(random) % 64 == 0)
        r.max_tokens = 5000; /* it never fits: refused, or as much as the context has */
    int rc;
    while ((rc = tg_engine_submit(w->engine, &r, NULL, &ticket)) == -EAGAIN)
        drain(w);
    CU_ASSERT(rc == 0 || rc == -EMSGSIZE);
    if (rc == 0) {
        w->open += r.n;
        *last_id = ticket.seq_id + r.n - 1;
    }
}

static void run_requests(world *w, uint64_t requests, uint64_t *random)
{
    uint64_t last_id = 0;
    tg_engine_interval interval;
    for (uint64_t i = 0; i < requests; i++) {
        submit_random(w, random, &last_id);
        if (tiny_random(random) % 8 == 0)
            tg_engine_cancel(w->engine, last_id - tiny_random(random) % 20);
        if (i % 1000 == 0)
            tg_engine_take_interval(w->engine, &interval);
    }
    while (w->open > 0)
        drain(w);
    tg_engine_take_interval(w->engine, &interval);
}

enum { ALL = TG_TEST_RACES ? 10000 : 100000 };

static void test_memory_does_not_grow(void)
{
    enum { FIRST = ALL / 5, GROWTH_MAX = 256 * 1024 };
    uint64_t random = tg_test_seed();
    world w;
    tg_engine_status status;
    world_make(&w, 64);
    run_requests(&w, FIRST, &random); /* buffers and caches reach their size */
    const size_t before = memory_in_use();
    run_requests(&w, ALL - FIRST, &random);
    const size_t after = memory_in_use();
    if (after > before + GROWTH_MAX)
        printf("# %zu bytes in use after %d requests, %zu after %d\n", before, FIRST, after, ALL);
    CU_ASSERT(after <= before + GROWTH_MAX); /* three bytes a request */
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(w.ended > ALL / 2 && w.cancelled > ALL / 100 &&
              w.output == status.output_tokens_total);
    CU_ASSERT(w.engine_ns == status.shared_ns &&
              status.shared_ns + status.overhead_ns + status.idle_ns == status.age_ns);
    CU_ASSERT(status.kv_blocks_used == 0 && status.running == 0 && status.queue_depth == 0);
    world_free(&w);
}

static const tg_test tests[] = {
    {"there_is_no_engine_before_its_first_pass", test_there_is_no_engine_before_its_first_pass},
    {"client_gone_mid_prefill", test_client_gone_mid_prefill},
    {"a_thousand_cancels_in_one_step", test_a_thousand_cancels_in_one_step},
    {"memory_does_not_grow", test_memory_does_not_grow}};
TG_TEST_MAIN("services_inference_engine_churn", tests)
